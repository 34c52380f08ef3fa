"""A reconciliation type that another package adds, and one whose package does not load."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from stream_recon.domain.config import ReconciliationConfig
from stream_recon.domain.topics import TopicPlan
from stream_recon.service import ReconciliationRun
from stream_recon.shell.settings import WorkerSettings
from stream_recon.shell.verifying import verify
from stream_recon.sources import JsonLines
from stream_recon.strategies.registry import Strategy
from tests.commands import environment

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "examples" / "strategy_package"
DAY = [
    "reconcile", "--internal", "examples/day/internal.jsonl", "--exchange", "examples/day/exchange.jsonl",
    "--contracts", "examples/day/contracts.yaml", "--instruments", "examples/day/instruments.json", "-o", "json",
]  # fmt: skip


class Site(NamedTuple):
    """A folder of installed packages."""

    folder: Path

    def install(self, name: str, entry_points: Mapping[str, str], *modules: Path) -> None:
        """What an installer leaves of a package: its modules and its entry points."""
        info = self.folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        points = "".join(f"{key} = {value}\n" for key, value in entry_points.items())
        (info / "entry_points.txt").write_text(f"[stream_recon.strategies]\n{points}")
        for module in modules:
            shutil.copy(module, self.folder)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Python where these are installed."""
        env = environment({"PYTHONPATH": f"{self.folder}:{ROOT}"})
        return subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, check=False, cwd=ROOT, env=env
        )  # fmt: skip

    def reconcile(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Compare the example files."""
        return self.run("-m", "stream_recon.cli.main", *DAY, *words)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """The example package is installed."""
    one = Site(tmp_path)
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    one.install(project["name"], project["entry-points"]["stream_recon.strategies"], PACKAGE / "fills_only.py")
    return one


def test_a_type_of_another_package_is_supported_and_runs(site: Site) -> None:
    said = site.run(
        "-c",
        "from stream_recon.service import ReconciliationStrategyFactory as F; print(F.get_supported_types()[-1])",
    )
    assert said.stdout == "fills_only\n"
    done = site.reconcile("--type", "fills_only")
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)["result"]
    assert (result["type"], result["summary"]["by_kind"]) == (
        "fills_only", {"fill_mismatch": 1, "missing_internal": 1},
    )  # fmt: skip


def test_a_package_that_does_not_load_is_reported_and_something_else_is_run(site: Site, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    site.install("broken", {"broken": "broken:BROKEN"})
    done = site.reconcile("--type", "broken")
    result = json.loads(done.stdout)["result"]
    assert (result["type"], result["requested_type"]) == ("full", "broken")
    assert "its package failed to load: ModuleNotFoundError: No module named 'no_such_module'" in done.stderr
    said = site.run(
        "-c",
        "import asyncio; from stream_recon.service import ReconciliationService as S;"
        "from stream_recon.sources import JsonLines as J;"
        "r = asyncio.run(S({'reconciliation_type': 'broken'}, internal=J('examples/day/internal.jsonl'),"
        "exchange=J('examples/day/exchange.jsonl')).perform_reconciliation());"
        "print(r.type, r.requested_type, 'failed to load' in r.fallback_reason)",
    )
    assert said.stdout == "full broken True\n", said.stderr


def test_a_package_that_names_an_identity_that_does_not_exist_is_reported_and_something_else_is_run(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "misnamed.py").write_text(
        "from stream_recon.strategies.registry import Strategy as S\n"
        "ONE = S('one', ('trades',))\nTWO = S('two', 'trade', cut='now', window_us=-1)\n"
    )
    site.install("misnamed", {"one": "misnamed:ONE", "two": "misnamed:TWO"})
    done = site.reconcile("--type", "one")
    result = json.loads(done.stdout)["result"]
    assert (result["type"], result["requested_type"]) == ("full", "one")
    assert "package misnamed, misnamed:ONE: there is no identity 'trades'; did you mean trade?" in done.stderr
    said = site.run("-c", "from stream_recon.strategies.registry import registry as r; print(r().failed['two'])")
    assert said.stdout == (
        "package misnamed, misnamed:TWO: identities must be a tuple of one or more of trade, order, position, balance, "
        "net_change, but is 'trade'; cut must be settled or live, but is 'now'; window_us must be None or a whole "
        "number of microseconds from 0, but is -1\n"
    )


def test_a_package_may_not_take_the_name_of_one_of_the_nine(site: Site, tmp_path: Path) -> None:
    (tmp_path / "thief.py").write_text("from fills_only import FILLS_ONLY\nFULL = FILLS_ONLY._replace(type='full')\n")
    site.install("thief", {"full": "thief:FULL"})
    said = site.run(
        "-c", "from stream_recon.strategies.registry import registry as r; print(r().of('full').identities)"
    )
    assert said.stdout == "('trade', 'order', 'position', 'balance')\n"


def test_a_result_of_a_type_that_is_not_known_here_is_not_verified_and_why_is_told() -> None:
    internal, exchange = (
        JsonLines(ROOT / "examples" / "day" / f"{origin}.jsonl") for origin in ("internal", "exchange")
    )
    strategy = Strategy("fills_only", ("trade",))
    made = ReconciliationRun(strategy, ReconciliationConfig(), internal=internal, exchange=exchange)
    result = asyncio.run(made.execute_reconciliation())
    settings = WorkerSettings(bootstrap="nobody is asked", plan=TopicPlan())
    done = asyncio.run(verify(settings, result, lambda _: None, lambda *_: None))
    [why] = done.unchecked
    assert (done.wrong, done.records) == ([], 0)
    assert why.startswith("'fills_only' is not a supported reconciliation type")
