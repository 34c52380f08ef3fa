"""The ground the rest stands on: the lock, the import contracts, CI, and what is deployed with Docker."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from stream_recon.cli.options import load_contracts, load_instruments

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()


def run(*command: str | Path, cwd: Path = ROOT, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run one of the tools beside our interpreter, to its end."""
    tool = Path(sys.executable).with_name(str(command[0]))
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": path}
    return subprocess.run([tool, *command[1:]], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def declared() -> list[Requirement]:
    """Every dependency of the project, with those of its extras."""
    texts = [*PROJECT["dependencies"], *(text for extra in PROJECT["optional-dependencies"].values() for text in extra)]
    return [requirement for text in texts if (requirement := Requirement(text)).name != PROJECT["name"]]


@pytest.mark.parametrize("requirement", declared(), ids=lambda requirement: str(requirement.name))
def test_the_lock_pins_what_the_project_declares(requirement: Requirement) -> None:
    pinned = re.search(rf"^{re.escape(requirement.name)}==([^ ]+)", LOCK, re.MULTILINE)
    assert pinned, "make lock"
    assert requirement.specifier.contains(pinned[1]), "make lock"


def test_every_line_of_the_lock_has_a_hash_and_none_names_a_registry() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.strip())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in LOCK


def test_the_worker_hooks_into_exactly_the_pinned_faust() -> None:
    assert "faust-streaming==0.15.3" in PROJECT["dependencies"]
    assert version("faust-streaming") == "0.15.3"


@pytest.mark.parametrize(
    ("where", "what", "broken"),
    [
        ("domain/events.py", "import time", "stream_recon.domain.events -> time"),
        ("core/lane.py", "import random", "stream_recon.core.lane -> random"),
        ("strategies/registry.py", "import asyncio", "stream_recon.strategies.registry -> asyncio"),
        ("domain/topics.py", "import stream_recon.core.lane", "stream_recon.domain.topics -> stream_recon.core.lane"),
        ("core/lane.py", "import stream_recon.shell.topics", "stream_recon.core.lane -> stream_recon.shell.topics"),
    ],
)
def test_an_import_against_the_contracts_is_found(tmp_path: Path, where: str, what: str, broken: str) -> None:
    shutil.copytree(ROOT / "stream_recon", tmp_path / "stream_recon", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "stream_recon" / where).open("a") as module:
        module.write(f"\n{what}\n")
    done = run("lint-imports", "--no-cache", cwd=tmp_path, path=str(tmp_path))
    assert done.returncode == 1
    assert broken in re.sub(r"\s+", " ", done.stdout)


def test_ci_runs_the_command_of_the_readme() -> None:
    assert re.search(r"^make test\b", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("exec make test")
    recipe = (ROOT / "Makefile").read_text().partition("\ntest:")[2].partition("\n\n")[0]
    assert recipe.rstrip().endswith("$(BIN)/pytest")


def test_the_compose_file_is_valid_and_careful() -> None:
    done = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")
    assert done.returncode == 0, done.stdout
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(services) == {"kafka", "topic-init", "worker"}
    for service in services.values():
        assert re.search(r":(\d+(\.\d+)+|local)$", service["image"]), "a pinned image"
        assert service["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert all("healthcheck" in services[name] for name in ("kafka", "worker"))
    assert all(services[name]["read_only"] for name in ("topic-init", "worker"))


def test_the_worker_in_docker_is_given_files_that_are_there_and_can_be_read(tmp_path: Path) -> None:
    worker = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["worker"]
    given = {}
    for volume in worker["volumes"]:
        found = re.fullmatch(r"\$\{[A-Z]+:-(.+)\}:/config/(.+):ro", volume)
        assert found, volume
        given[f"/config/{found[2]}"] = Path(shutil.copy(ROOT / found[1], tmp_path / found[2]))
    environment = worker["environment"]
    assert load_contracts(given[environment["STREAM_RECON_CONTRACTS"]]).contracts
    assert load_instruments(given[environment["STREAM_RECON_INSTRUMENTS"]]) == load_instruments(
        ROOT / "examples" / "instruments.json"
    )


def test_the_image_is_pinned_and_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert all(re.search(r":\d+\.\d+\.\d+", line) for line in lines if line.startswith("FROM"))
    assert "USER 10001" in lines
    assert any("--require-hashes" in line for line in lines)
