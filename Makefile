# Everything sets itself up: Python 3.11 or newer and make are all that is needed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo up test lint format bench lock lock-kafka clean
.DEFAULT_GOAL := demo

demo: $(READY)  ## the whole product at work on real fills with faults, in a minute
	$(BIN)/stream-recon demo

up: $(READY)  ## broker, topics and worker, until Ctrl-C
	$(BIN)/stream-recon up

test: lint  ## everything CI runs
	$(BIN)/pytest

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(READY)
	$(BIN)/stream-recon bench match

lock: $(READY)  ## pin the newest allowed versions; `make lock UP=` keeps those that still fit
	$(BIN)/uv pip compile $(UP) --universal --generate-hashes --all-extras --python-version 3.11 --no-header --no-annotate \
		--quiet pyproject.toml --output-file requirements.lock
UP ?= --upgrade

lock-kafka: $(READY)  ## pin the jars of the embedded broker; the version is in the script
	$(BIN)/python -m stream_recon.broker.jars

# Installed again only when the lock or the project's own metadata change.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
