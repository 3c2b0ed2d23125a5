"""A kind of data that is no image goes the whole way with a file of one's own: packed, trained, gone on with, drawn."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from gandist import report, sample, train
from gandist.data.cache import ShardCache
from gandist.data.index_files import read_index, write_index
from gandist.data.indexing import index_shards

RAMPS = Path(__file__).parents[1] / "helpers/ramps.py"
"""Not imported here: runs import it, and what it adds to the tables is gone after a test."""
N, LENGTH = 64, 64
REAL_RISE = 0.75 * 0.75 * 65534 * 56 / 63
"""From the first to the last eight numbers of a line, on the mean: of slopes from 0.5 to 1 and gains from 0.5 to 1."""


def rows_of(n: int) -> np.ndarray:
    """Lines (n, 64) int16 that rise and fall in turn, the steeper the later."""
    slopes = np.linspace(0.5, 1, n) * np.where(np.arange(n) % 2, -1, 1)
    return (slopes[:, None] * np.linspace(-32767, 32767, LENGTH)).astype(np.int16)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The configuration of a run on shards of lines, its working directory the test's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    with tarfile.open("set/000000.tar", "w") as shard:
        for number, row in enumerate(rows_of(N)):
            for ending, content in (("i16", row.astype("<i2").tobytes()), ("cls", str(number % 2).encode())):
                member = tarfile.TarInfo(f"{number:06d}.{ending}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    cache = ShardCache(tmp_path / "cache/shards", 1 << 30)
    write_index(index_shards(["set/000000.tar"], cache, base="set", extensions=("i16",)), "set")
    tree = {
        "imports": [str(RAMPS)],
        "run": {"name": "lines"},
        "data": {"path": "set", "medium": "ramps", "cache_dir": "cache"},
        "model": {"name": "lines", "classes": 2, "z_dim": 4, "options": {"hidden": 48}},
        "game": {"objective": "ns", "penalties": {"r1": 0.1}},
        "train": {"batch": 32, "total_kimg": 8, "tick_kimg": 2, "sample_kimg": 8, "checkpoint_kimg": 4},
        "optim": {"lr_G": 2e-3, "lr_D": 2e-3, "ema_half_life_kimg": 0.5},
        "eval": {"every_kimg": None},
        "launch": {"kind": "local", "threads": 1},
        "precision": "fp32",
    }
    Path("mine.yaml").write_text(yaml.safe_dump(tree))
    return "mine.yaml"


def test_it_is_learnt(mine: str) -> None:
    """Samples of each class rise and fall as real ones do, and what G has drawn is written as files of the medium."""
    assert train.main([mine]) == 0
    assert read_index("set").n == N
    for label, sign in ((0, 1), (1, -1)):
        assert sample.main(["runs/lines", "--n", "8", "--class", str(label), "--out", f"of-{label}"]) == 0
        files = sorted(Path(f"of-{label}").iterdir())
        assert [file.name for file in files] == [f"{number:06d}.i16" for number in range(8)]
        drawn = np.stack([np.frombuffer(file.read_bytes(), "<i2") for file in files])
        assert drawn.shape == (8, LENGTH)
        rise = drawn[:, -8:].mean() - drawn[:, :8].mean()
        assert sign * rise == pytest.approx(REAL_RISE, rel=0.25)
    rows = [json.loads(line) for line in Path("runs/lines/metrics.jsonl").read_text().splitlines()]
    assert all(row["verdict"] == "healthy" for row in rows)
    assert rows[-1]["signal/diversity"] > 0.3
    assert report.main(["runs/lines", "--out", "report.html"]) == 0
    assert (Path("runs/lines") / "samples/00008000.png").is_file()


@pytest.mark.parametrize("resident", ["never", "always"])
def test_a_run_that_goes_on_is_the_run_that_went_through(mine: str, resident: str) -> None:
    """Bit for bit, wherever the rows lie; and streamed from the shards as from the decoded file."""
    whole, half = ["train.total_kimg=0.64", f"data.resident={resident}"], ["train.checkpoint_kimg=0.32"]
    assert train.main([mine, "run.name=a", *whole, *half]) == 0
    assert train.main([mine, "run.name=b", *half, "train.total_kimg=0.32", "data.cache_gib=0.000001"]) == 0
    assert train.main([mine, "run.name=b", *whole, *half]) == 0
    for player in ("G", "D", "G_ema"):
        a, b = (load_file(f"runs/{name}/checkpoints/00000640/{player}.safetensors") for name in "ab")
        assert all(a[name].equal(b[name]) for name in a)


def test_options_are_checked_and_kept(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    for override, told in (
        ("data.options.lenght=3", "data.options.lenght: unknown key; there are: length"),
        ("data.options.length=x", "data.options.length: input should be a valid integer"),
        ("model.options.hiden=3", "model.options.hiden: unknown key; there are: hidden"),
        ("data.medium=ramp", "data.medium: unknown value 'ramp'; one of audio, image, ramps"),
        ("data.medium=image", "model.name: lines makes samples of data.medium=ramps, not image"),
        ("model.classes=0", "model.classes: lines is conditioned on class, not on none"),
    ):
        assert train.main([mine, override]) == 2, override
        assert told in capsys.readouterr().err
    assert train.main([mine, "train.total_kimg=0.1"]) == 0
    kept = yaml.safe_load(Path("runs/lines/config.yaml").read_text())
    assert kept["data"]["options"] == {"length": 64}
    assert kept["model"]["options"] == {"hidden": 48}
    assert train.main([mine, "model.options.hidden=32"]) == 2
    assert "model.options.hidden: 48 -> 32" in capsys.readouterr().err
