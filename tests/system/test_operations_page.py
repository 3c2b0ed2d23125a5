"""The commands of docs/operations.md, each as it is written."""

import contextlib
import importlib
import io
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.checkout_copy import ROOT, commands_of

NOT_HERE = {
    'eval "$(gandist completion zsh)" # in ~/.zshrc, after compinit': "needs zsh; tests/unit/completion has zsh, where "
    "it is installed, check the script",
    "gandist completion fish | source # in ~/.config/fish/config.fish": "needs fish; as above",
    "python -m torch.distributed.flight_recorder.fr_trace runs/demo/nccl --prefix rank_": "needs what torch records of "
    "a hang on several GPUs",
}
"""Commands that this test leaves out, and why."""
WRITTEN = commands_of("docs/operations.md")
BATCH = 8
TINY = ("launch.kind=local", "model.width=4", f"train.batch={BATCH}", "train.total_kimg=0.2", "eval.every_kimg=null")
"""What is added to `train` after its configuration, so that it takes seconds."""


def test_what_is_left_out_is_there() -> None:
    assert NOT_HERE.keys() <= {*WRITTEN}
    assert len(WRITTEN) > 2 * len(NOT_HERE)


def run(command: str, folder: Path) -> str:
    """What a command prints, run in this process if it is gandist's alone, and else in bash.

    Args:
        folder: where it leaves its files, and in place of the page's shared storage.
    """
    words = [word.replace("/mnt/shared", str(folder)) for word in shlex.split(command)]
    if words[0] == "gandist":
        module, output = importlib.import_module(f"gandist.{words[1]}"), io.StringIO()
        (folder / "configs").symlink_to(ROOT / "configs")
        if words[1] == "train":
            words[3:3] = TINY
        with contextlib.chdir(folder), contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            status = module.main(words[2:])
        assert status == 0, output.getvalue()
        return output.getvalue()
    programs = f'gandist() {{ python -m gandist "$@"; }}; python() {{ {sys.executable} "$@"; }}\n'
    shell = ["bash", "--norc", "-euo", "pipefail", "-c", f"{programs}{command}\ncomplete"]
    done = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in WRITTEN if command not in NOT_HERE])
def test_command(command: str, tmp_path: Path) -> None:
    said = run(command, tmp_path)
    if "doctor" in command:
        assert "\nok  torch " in said
    elif "completion" in command:
        assert "gandist" in said.splitlines()[-1], "bash completes it"
    elif "schemas" in command:
        assert (Path(said.splitlines()[0]) / "run.schema.json").exists()
    else:
        (table,) = (tmp_path / "runs/demo/profile").glob("*-rank0.txt")
        steps = 20 if "20" in command else 10
        assert table.name == f"{BATCH * (4 + steps):08d}-rank0.txt"
        assert "Self CPU time total" in table.read_text()
        assert table.with_suffix(".json.gz").exists()
