"""`bench e2e`: the run it measures is a whole one, and its speed is that between the first row and the last."""

from pathlib import Path

import pytest

from gandist.bench.e2e import events, run, speed
from gandist.config.run import load
from tests.helpers.small_datasets import make_set
from tests.unit.bench.test_step import records, tiny_file


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Steps of 12 images and rows every 5 of them."""
    folder = tmp_path_factory.mktemp("e2e")
    make_set(folder, channels=1)
    data = {"data__path": str(folder / "shards"), "data__cache_dir": str(folder / "cache")}
    return tiny_file(folder, **data, train__sample_kimg=0.06, train__checkpoint_kimg=0.06)


def test_a_run_against_its_step(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = records(capsys, "e2e", "--config", file, "--seconds", "0.1", "--dir", str(tmp_path))
    assert found["ratio"] == pytest.approx(found["img_per_s"] / found["static_img_per_s"])
    assert found["ms_per_step"] == pytest.approx(12e3 / found["img_per_s"])
    assert (found["mode"], found["precision"], found["threads"]) == ("eager", "fp32", 1)
    assert 0 < found["data_wait_share"] < 1
    assert 0 < found["checkpoint_stall_share"] < 1
    assert found["rows"] >= 6  # two of each run at least
    # One at each row but the last.
    assert found["checkpoints"] == found["grids"] == found["rows"]
    assert list(tmp_path.iterdir()) == []


def test_speed_is_that_after_the_first_tick(file: str, tmp_path: Path) -> None:
    rows = run(load(file, [f"run.dir={tmp_path}"]), 180)
    assert [row["images_seen"] for row in rows] == [60, 120, 180]
    assert speed(rows) == 120 / (rows[2]["time_s"] - rows[0]["time_s"])
    made = {path.stem for path in (tmp_path / "tiny/samples").glob("*.png")}
    assert made == {"00000000", "00000060", "00000120", "00000180"}


def test_what_falls_between_the_rows() -> None:
    rows = [{"images_seen": seen} for seen in (60, 120, 180)]
    assert events(rows, 0.060, 12) == 2  # at 60 and 120
    assert events(rows, 0.100, 12) == 1
    assert events(rows, 0.170, 12) == 0  # reached by the last row's step
    assert events(rows, 0.024, 12) == 5  # at 72, 96, 120, 144, 168
