"""What an earlier version packed and trained is of use still: read, drawn from, begun from; but not resumed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gandist import sample, train
from gandist.config.run import completed, differences, load
from gandist.data.index_files import read_index
from gandist.run.trained import open_trained
from tests.helpers import earlier_version

EARLIER = Path(earlier_version.__file__).parent


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the set and of the run, with the run's own configuration as the file `mine.yaml`."""
    shutil.copytree(EARLIER / "set", tmp_path / "set")
    shutil.copytree(EARLIER / "run", tmp_path / "runs/run")
    shutil.copy(EARLIER / "run/config.yaml", tmp_path / "mine.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_packed_set_is_read(earlier: Path) -> None:
    index = read_index("set")
    assert (index.n, index.classes, index.class_names) == (16, 2, ("a", "b"))


@pytest.mark.parametrize("resume", ["auto", "must"])
def test_a_run_is_not_resumed(earlier: Path, resume: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its random numbers were others: going on would make a run that nobody can make again."""
    assert train.main(["mine.yaml", "--resume", resume]) == 2
    told = capsys.readouterr().err
    assert "written by an earlier version, which drew other random numbers" in told
    assert "--from" in told
    assert [path.name for path in (earlier / "runs/run/checkpoints").iterdir()] == ["00000016"]


def test_fields_that_came_since_are_no_difference(earlier: Path) -> None:
    manifest = json.loads((earlier / "runs/run/checkpoints/00000016/manifest.json").read_text())
    assert "medium" not in manifest["config"]["data"]
    assert differences(completed(manifest["config"]), load("mine.yaml").resolved()) == []
    assert differences(completed(manifest["config"]), load("mine.yaml", ["model.z_dim=5"]).resolved()) == [
        "model.z_dim: 4 -> 5"
    ]


def test_a_run_begins_from_it(earlier: Path) -> None:
    assert train.main(["mine.yaml", "--from", "runs/run", "run.name=next", "train.total_kimg=0.024"]) == 0
    assert sorted(path.name for path in (earlier / "runs/next/checkpoints").iterdir()) == ["00000016", "00000024"]
    assert train.main(["mine.yaml", "run.name=next", "train.total_kimg=0.032", "--resume", "must"]) == 0, (
        "it is resumed"
    )


def test_it_is_drawn_from(earlier: Path) -> None:
    assert sample.main(["runs/run", "--n", "4", "--class", "1", "--out", "out.png"]) == 0
    drawn = open_trained("runs/run", torch.device("cpu")).draw(3)
    assert drawn.shape == (3, 32, 32, 1)
    assert drawn.dtype == np.uint8
    config = yaml.safe_load((earlier / "runs/run/config.yaml").read_text())
    assert "medium" not in config["data"], "the run was not written to"
