"""The commands of docs/hub.md, each as it is written, in their order."""

import contextlib
import importlib
import io
import shlex
import shutil
from pathlib import Path

import pytest

from tests.helpers.checkout_copy import ROOT, commands_of

PAGE = "docs/hub.md"
NOT_HERE = {
    "hf auth login": "asks for a token of the Hub's",
    "python -m gandist.push runs/garments me/garments --licence cc-by-4.0 --images-seen best": "writes to the Hub; "
    "tests/unit/test_push.py pushes to a stand-in",
    "python -m gandist.sample hf://me/garments --n 36 --out drawn.png": "reads from the Hub; as above",
    "python -m gandist.evaluate hf://me/garments@main --n 2000": "reads from the Hub; as above",
    "python -m gandist.train configs/demo.yaml launch.kind=local run.name=ours --from hf://me/garments": "as above",
}
"""Commands that this test leaves out, and why."""
SHORT = {"gandist.train": ["train.total_kimg=0.2", "eval.every_kimg=null"], "gandist.evaluate": ["--n", "64"]}
"""What is added to commands, so that they take seconds."""


def test_what_is_left_out_is_there() -> None:
    assert NOT_HERE.keys() <= {*commands_of(PAGE)}


@pytest.mark.slow
def test_commands(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    shutil.copy(ROOT / "configs/demo.yaml", tmp_path / "configs")
    for command in commands_of(PAGE):
        if command in NOT_HERE:
            continue
        _, _, module, *words = shlex.split(command)
        output = io.StringIO()
        with contextlib.chdir(tmp_path), contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            status = importlib.import_module(module).main([*words, *SHORT.get(module, [])])
        assert status == 0, f"{command}: {output.getvalue()}"
    assert (tmp_path / "drawn.png").exists()
    assert {path.name for path in (tmp_path / "runs/mine/checkpoints").iterdir()} == {"00000000", "00000256"}
