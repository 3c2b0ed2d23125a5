"""In CI nothing is skipped silently."""

from pathlib import Path

from tests.helpers.checkout_copy import ROOT
from tests.helpers.scripts import python

TESTS = """
import pytest

@pytest.mark.skipif(True, reason="no prometheus here")
def test_by_marker(): ...

def test_inside():
    pytest.skip("no dataset here")

@pytest.mark.gpu
@pytest.mark.skipif(True, reason="no GPU")
def test_gpu(): ...
"""


def counts(folder: Path, ci: str) -> str:
    file = folder / "test_skips.py"
    file.write_text(TESTS)
    command = ["-m", "pytest", "-q", "-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml"), str(file)]
    return python(*command, CI=ci).stdout


def test_skips_are_named(tmp_path: Path) -> None:
    output = counts(tmp_path, ci="")
    assert "3 skipped" in output
    assert "test_inside - Skipped: no dataset here" in output


def test_skips_fail_in_ci(tmp_path: Path) -> None:
    output = counts(tmp_path, ci="true")
    assert "1 failed, 1 skipped, 1 error" in output
    assert "in CI nothing is skipped: Skipped: no dataset here" in output
