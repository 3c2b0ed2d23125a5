"""The rooms of the package import downwards only, as `pyproject.toml` has it (`tool.importlinter`)."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache', '--no-logo'])"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on the package in a folder, by the contracts of the `pyproject.toml` beside it."""
    return subprocess.run(
        [sys.executable, "-c", LINT],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_imports_go_down_only() -> None:
    linted = lint(ROOT)
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("gan/adam.py", "from gandist.config import run", "Imports of the rooms go down only"),
        ("data/order.py", "    from gandist.training import tick", "Imports of the rooms go down only"),
        ("bench/measure.py", "from gandist.tune import space", "Imports of the rooms go down only"),
        ("new.py", "import os", "Imports of the rooms go down only"),
        ("config/sections.py", "from gandist.config import checks", "No modules of a room import in a circle"),
        ("training/tick.py", "import ray.train", "Ray is imported in launch and tune only"),
        ("monitoring/signals.py", "import prometheus_client", "Prometheus is imported in two modules only"),
        ("training/outputs.py", "import wandb", "Trackers' libraries are imported in monitoring.trackers only"),
    ],
)
def test_an_import_that_is_not_allowed_is_found(module: str, line: str, broken: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "gandist", tmp_path / "gandist", ignore=shutil.ignore_patterns("__pycache__", "assets"))
    with (tmp_path / "gandist" / module).open("a") as file:
        file.write(f"\n\ndef late() -> None:\n{line}\n" if line.startswith(" ") else f"\n\n{line}\n")
    linted = lint(tmp_path)
    assert linted.returncode == 1, linted.stderr
    assert [text for text in linted.stdout.splitlines() if text.endswith(" BROKEN")] == [f"{broken} BROKEN"]
