"""What an earlier version packed and trained is of use still: read, gone on with, drawn from."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from gandist import sample, train
from gandist.data.index import read_index
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


def test_a_run_goes_on_as_it_would_have(earlier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To float32's rounding: another machine's kernels add up in another order."""
    assert train.main(["mine.yaml", "--resume", "must"]) == 0
    assert "resume run=run images_seen=16" in capsys.readouterr().err
    found = load_file("runs/run/checkpoints/00000032/G.safetensors")
    expected = load_file(EARLIER / "G-after.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5)
    before = load_file(EARLIER / "run/checkpoints/00000016/G.safetensors")
    assert any(not torch.allclose(before[name], tensor, rtol=1e-2) for name, tensor in expected.items()), "it moved"


def test_what_has_changed_is_told_and_what_is_new_is_not(earlier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["mine.yaml", "model.z_dim=5"]) == 2
    told = capsys.readouterr().err
    assert "model.z_dim: 4 -> 5" in told
    assert "data.medium" not in told


def test_a_run_begins_from_it(earlier: Path) -> None:
    assert train.main(["mine.yaml", "--from", "runs/run", "run.name=next", "train.total_kimg=0.024"]) == 0
    assert sorted(path.name for path in (earlier / "runs/next/checkpoints").iterdir()) == ["00000016", "00000024"]


def test_it_is_drawn_from(earlier: Path) -> None:
    assert sample.main(["runs/run", "--n", "4", "--class", "1", "--out", "out.png"]) == 0
    drawn = open_trained("runs/run", torch.device("cpu")).draw(3)
    assert drawn.shape == (3, 32, 32, 1)
    assert drawn.dtype == np.uint8
    config = yaml.safe_load((earlier / "runs/run/config.yaml").read_text())
    assert "medium" not in config["data"], "the run was not written to"
