"""The page on Python: every example below which its output stands is run, and the rest is what the repository holds."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from stream_recon.strategies.registry import Strategy
from tests.commands import environment

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", PAGE, re.DOTALL)
PACKAGE = ROOT / "examples" / "strategy_package"


def test_there_are_examples_and_each_has_its_output() -> None:
    assert len(EXAMPLES) == PAGE.count("```python\n") == 5


@pytest.mark.parametrize(("program", "told"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_prints_what_the_page_says(program: str, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT, env=environment()
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == told


def test_what_is_not_run_is_python_all_the_same() -> None:
    blocks = re.findall(r"```py\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    for text in blocks:
        compile(f"async def example():\n{re.sub('^', ' ', text, flags=re.MULTILINE)}\n pass", "page", "exec")


def test_the_package_on_the_page_is_that_in_the_examples() -> None:
    [module] = re.findall(r"```py\n# fills_only.py\n(.*?)```", PAGE, re.DOTALL)
    assert module.strip() in (PACKAGE / "fills_only.py").read_text()
    [project] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    whole = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    assert tomllib.loads(project)["project"]["entry-points"] == whole["entry-points"]


def test_every_field_of_a_strategy_is_on_the_page() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE.split("| field of `Strategy` | says |")[1], re.MULTILINE))
    # A continuous type runs in every worker, and one that stands for others is the schedule's: neither is for packages.
    assert told == set(Strategy._fields) - {"continuous", "outer"}
