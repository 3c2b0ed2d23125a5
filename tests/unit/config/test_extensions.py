"""Files of a user's own: the example of the documents, and what goes wrong with such files."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gandist.config import extensions
from gandist.config.run import load
from gandist.errors import CheckpointError, ConfigError
from gandist.run.trained import open_trained
from gandist.testing import check_pair
from gandist.train import main
from tests.helpers.checkout_copy import ROOT
from tests.helpers.scripts import python


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two files of docs/own-network.md, under the names they begin with."""
    folder = tmp_path_factory.mktemp("mine")
    for text in re.findall(
        r"```(?:python|yaml)\n(# \S+\n.*?)```", (ROOT / "docs/own-network.md").read_text(), re.DOTALL
    ):
        (folder / text.split()[1]).write_text(text)
    assert {path.name for path in folder.iterdir()} == {"my_methods.py", "mine.yaml"}
    return folder


def train(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "gandist.train", "mine.yaml", "train.total_kimg=0.1", *overrides, cwd=folder)


@pytest.mark.slow
def test_the_example_of_the_documents(
    example: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = train(example)
    assert done.returncode == 0, done.stderr
    row = (example / "runs/mine/metrics.jsonl").read_text()
    assert '"penalty/drift"' in row
    assert (example / "runs/mine/imports/my_methods.py").read_text() == (example / "my_methods.py").read_text()
    monkeypatch.chdir(example)
    monkeypatch.setattr(extensions, "executed", {})
    assert main(["mine.yaml", "train.total_kimg=0.2"]) == 0
    assert "resume run=mine" in capsys.readouterr().err

    # Drawn from where the file is no longer: the run has kept its own.
    monkeypatch.setattr(extensions, "executed", {})
    (example / "my_methods.py").rename(example / "moved.py")
    images = open_trained(str(example / "runs/mine"), torch.device("cpu")).draw(3)
    (example / "moved.py").rename(example / "my_methods.py")
    assert images.shape == (3, 32, 32, 1)
    assert images.dtype == np.uint8

    kept = example / "runs/mine/imports/my_methods.py"
    kept.write_text(kept.read_text() + "\nraise SystemExit\n")
    monkeypatch.setattr(extensions, "executed", {})
    with pytest.raises(CheckpointError, match=r"my_methods\.py: damaged: its sha256"):
        open_trained(str(example / "runs/mine"), torch.device("cpu"))

    (example / "my_methods.py").write_text((example / "my_methods.py").read_text() + "\n# changed\n")
    monkeypatch.setattr(extensions, "executed", {})
    assert main(["mine.yaml", "train.total_kimg=0.5"]) == 2
    assert "my_methods.py: changed since" in capsys.readouterr().err


def test_the_pair_of_the_example_is_checked_by_one_call(example: Path) -> None:
    load(str(example / "mine.yaml"))
    check_pair("plain")


def test_two_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """The one beside the configuration counts, and a second one of that name in this process is refused."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "nets.py").write_text(f"WHICH = {folder!r}\n")
        (tmp_path / folder / "mine.yaml").write_text("imports: nets.py\n")
    load(str(tmp_path / "a/mine.yaml"))
    load(str(tmp_path / "a/mine.yaml"))
    assert sys.modules["gandist_imports_nets"].WHICH == "a"
    with pytest.raises(ConfigError, match="another file of this name"):
        load(str(tmp_path / "b/mine.yaml"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["no such file", "beside the configuration"]),
        ("import nothing_of_that_name", ["ModuleNotFoundError", "nothing_of_that_name"]),
        ("def f(:", ["SyntaxError"]),
    ],
)
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, text: str | None, words: list[str]) -> None:
    if text is not None:
        (tmp_path / "broken.py").write_text(text)
    (tmp_path / "mine.yaml").write_text("imports: [broken.py]\n")
    with pytest.raises(ConfigError) as caught:
        load(str(tmp_path / "mine.yaml"))
    for word in ["mine.yaml", "imports: broken.py", *words]:
        assert word in str(caught.value)
