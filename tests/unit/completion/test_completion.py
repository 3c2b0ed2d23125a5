"""Shells complete commands, options, values and fields, by what the commands' parsers say."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gandist.__main__ import COMMANDS
from gandist.completion import SHELLS, main
from gandist.completion.scripts import COMMANDS as SAID
from gandist.completion.scripts import script
from gandist.config.run import field_paths
from tests.helpers.checkout_copy import ROOT
from tests.helpers.scripts import python

COMPLETE = """
source {script}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_gandist_complete gandist "${{COMP_WORDS[COMP_CWORD]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
"""What bash does at the tab key; the words are those that readline makes."""


def in_a_process(code: str, *arguments: str) -> str:
    done = python("-c", code, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_the_parsers_say_is_current() -> None:
    """In a process of its own, for other tests add to the tables that some arguments list."""
    said = in_a_process("from gandist.completion.commands import text; print(text(), end='')")
    assert said == SAID.read_text(), "run `make docs`"


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("completion") / "gandist.bash"
    file.write_text(script("bash"))
    return file


def completed(bash: Path, line: str) -> list[str]:
    """What bash proposes at the end of the line; a line that ends in a space has an empty last word."""
    words = [*line.split(), *([""] if line.endswith(" ") else [])]
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE.format(script=bash), "bash", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "proposed"),
    [
        ("gandist tr", ["train"]),
        ("gandist train --dr", ["--dry-run"]),
        ("gandist train --resume ", ["auto", "never", "must"]),
        ("gandist train configs/dem", ["configs/demo.yaml"]),
        ("gandist train dem", ["demo"]),
        ("gandist train demo train.tot", ["train.total_kimg="]),
        ("gandist train demo model.name = dc", ["dcgan"]),
        ("gandist train demo data.flip =", ["true", "false"]),
        ("gandist train demo data.path = conf", ["configs"]),
        ("gandist train --fro", ["--from"]),
        ("gandist tune sweep-l", ["sweep-losses"]),
        ("gandist bench step --mode g", ["graph"]),
        ("gandist sample runs --device c", ["cpu", "cuda"]),
        ("gandist train demo nothi", []),
    ],
)
def test_bash_proposes(line: str, proposed: list[str], bash: Path) -> None:
    assert completed(bash, line) == proposed


def test_all_commands_and_fields_are_proposed(bash: Path) -> None:
    assert set(completed(bash, "gandist ")) == {*COMMANDS}
    assert {each.rstrip("=") for each in completed(bash, "gandist train demo ")} == {*field_paths()}


@pytest.mark.parametrize(("shell", "check"), [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")])
def test_the_shell_reads_its_script(shell: str, check: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([shell]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in COMMANDS)
    assert "train.total_kimg=" in said or shell == "bash"
    if (found := shutil.which(shell)) is not None:
        (tmp_path / "script").write_text(said)
        assert subprocess.run([found, check, tmp_path / "script"], timeout=20).returncode == 0


def test_no_shell_waits_for_torch() -> None:
    code = "import sys; from gandist.__main__ import main; code = main(); print([*sys.modules].count('torch'), code)"
    for shell in SHELLS:
        said = subprocess.check_output([sys.executable, "-c", code, "completion", shell], text=True, cwd=ROOT)
        assert said.splitlines()[-1] == "0 0"


def test_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from gandist import __version__
    from gandist.__main__ import main

    monkeypatch.setattr(sys, "argv", ["gandist", "--version"])
    assert main() == 0
    assert capsys.readouterr().out == f"gandist {__version__}\n"
