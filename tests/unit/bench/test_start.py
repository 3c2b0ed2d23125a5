"""`bench start` and `bench checkpoint`: processes that really start and go on, files that are really written."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gandist.bench import start
from gandist.bench.start import seconds
from gandist.config.run import RunConfig, load
from gandist.errors import RunError
from tests.helpers.small_datasets import make_set
from tests.unit.bench.test_step import records, tiny_file


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("start")
    make_set(folder, channels=1)
    data: dict[str, Any] = {"data__path": str(folder / "shards"), "data__cache_dir": str(folder / "cache")}
    return tiny_file(folder, **data)


OWN_TIME = """
import time, torch
with open({log!r}, "a") as file:
    print(time.process_time(), file=file)
"""
"""A file that a run imports: it notes the process's CPU time once torch is imported."""


@pytest.mark.slow
def test_a_start_its_parts_and_the_second_which_goes_on(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted, log = tmp_path / "noted.py", tmp_path / "noted.txt"
    noted.write_text(OWN_TIME.format(log=str(log)))
    timed = tmp_path / "timed.yaml"
    timed.write_text(yaml.safe_dump({**yaml.safe_load(Path(file).read_text()), "imports": [str(noted)]}))
    starts: list[tuple[float, list[dict[str, Any]]]] = []

    def watched(config: RunConfig, folder: Path, name: str, kind: str, steps: int) -> float:
        log.unlink(missing_ok=True)
        taken = seconds(config, folder, name, kind, steps)
        (imported_after,) = map(float, log.read_text().split())
        assert 0 < imported_after < taken, "a start begins with its process, before the import of torch"
        rows = [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
        starts.append((taken, rows))
        return taken

    monkeypatch.setattr(start, "seconds", watched)
    (found,) = records(capsys, "start", "--config", str(timed), "--repeats", "1")
    parts = found["parts"]
    assert {"import torch", "import gandist", "data", "networks", "first step"} < parts.keys()
    assert "bench" not in parts
    assert parts["import torch"] > parts["interpreter"] > 0
    assert all(each >= 0 for each in parts.values())
    assert found["warmup_s"] == found["first_step_s"]
    assert found["launch"] == "local"
    taken, rows = [taken for taken, _ in starts], starts[-1][1]
    assert taken == [found["first_step_s"], found["resume_s"]]
    assert [(row["images_seen"], row["attempt"], row["steps"]) for row in rows] == [(12, 1, 1), (24, 2, 1)]
    assert 0 < min(taken) < max(taken) < rows[1]["time_s"] - rows[0]["time_s"] + taken[0] + 60


def test_a_run_that_fails_is_told(file: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.touch()
    config = load(file, [f"imports={mine}"])
    mine.unlink()
    with pytest.raises(RunError, match=r"bench: -m gandist\.train ended with 2: gandist: .*mine\.py"):
        seconds(config, tmp_path, "run", "local", 1)


def test_a_checkpoint(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = records(capsys, "checkpoint", "--config", file, "--seconds", "0.1", "--dir", str(tmp_path))
    assert found["ratio"] == pytest.approx(found["stall_ms"] / found["ms_per_step"])
    assert found["mb_per_s"] == pytest.approx(found["mib"] * 2**20 / 1e6 / found["write_s"])
    # Both nets, the average, and two moments of each weight of both, in float32; and the notes besides.
    weights_G, weights_D = 8 * 16 * 16 + 16 * 8 * 16 + 8 * 4 * 16 + 4 * 16, 4 * 16 + 4 * 8 * 16 + 8 * 16 * 16 + 16 * 16
    assert 1 < found["mib"] * 2**20 / (4 * (4 * weights_G + 3 * weights_D)) < 1.2
    assert min(found[key] for key in ("stall_ms", "write_s", "load_s", "busy_ms_per_step")) > 0
    assert list(tmp_path.iterdir()) == []
