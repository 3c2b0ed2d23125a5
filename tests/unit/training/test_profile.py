"""A profile names the stages of the steps that it has seen, and changes nothing else."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from gandist.config.run import RunConfig
from gandist.distributed.captured import WARM_UP
from gandist.distributed.consensus import Host
from gandist.launch.resumption import run_root
from gandist.run.checkpoint import Checkpoints
from gandist.storage.storage import Storage
from gandist.training.worker import train
from tests.helpers.train_on_ranks import tiny

STEPS = 2
PENALISED = {"game__penalties": {"r1": 1}, "augment__kind": "diffaugment"}


def play(config: RunConfig, steps: int) -> Path:
    host = Host()
    host.profile = steps
    root = Path(run_root(config))
    assert train(config, Checkpoints(Storage(str(root))), host).status == "done"
    return root


def weights(root: Path) -> dict[str, Any]:
    (newest,) = sorted((root / "checkpoints").iterdir())[-1:]
    return {
        f"{file.name} {name}": each for file in newest.glob("*.safetensors") for name, each in load_file(file).items()
    }


@pytest.mark.slow
def test_a_profiled_run_is_the_same_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gandist")
    plain, seen = (play(tiny(tmp_path, name, **PENALISED), steps) for name, steps in (("plain", 0), ("seen", STEPS)))
    assert not (plain / "profile").exists()
    expected, found = weights(plain), weights(seen)
    assert len(expected) > 10
    assert expected.keys() == found.keys()
    assert all(each.equal(found[name]) for name, each in expected.items())

    # The profile begins after the warm-up, and the profiler warms up for a step more
    name = f"{12 * (WARM_UP + 1 + STEPS):08d}-rank0"
    events = json.loads(gzip.decompress((seen / f"profile/{name}.json.gz").read_bytes()))["traceEvents"]
    names = [event.get("name") for event in events if event.get("cat") == "user_annotation"]
    for stage in (
        "round",
        "inputs",
        "critic loss",
        "generator loss",
        "update of D",
        "update of G",
        "penalty r1",
        "average of G",
    ):
        assert names.count(stage) == STEPS, stage
    assert "data wait" in names
    assert names.count("augmentation") == 3 * STEPS  # real and fake ones for D, fake ones for G
    table = (seen / f"profile/{name}.txt").read_text()
    assert "aten::" in table
    assert table in caplog.text


def test_a_run_that_ends_within_the_warm_up_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = play(tiny(tmp_path, "short", train__total_kimg=0.024), STEPS)
    assert not (root / "profile").exists()
    assert "profile: the run ended within its first 3 steps" in caplog.text


@pytest.mark.slow
def test_a_run_that_ends_within_the_profile_writes_what_there_is(tmp_path: Path) -> None:
    root = play(tiny(tmp_path, "early", train__total_kimg=0.072), 50)
    assert [path.name for path in (root / "profile").glob("*.json.gz")] == ["00000072-rank0.json.gz"]
