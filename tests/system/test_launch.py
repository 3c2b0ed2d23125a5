"""Runs on Ray that end other than well: what the user is told, and that nothing is tried that cannot help."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gandist import train
from gandist.config.run import RunConfig, load
from gandist.errors import DataError, RunError
from gandist.launch.driver import launch
from gandist.launch.resumption import prepare, run_root
from tests.helpers.small_datasets import damage, make_set
from tests.helpers.train_on_ranks import tiny

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    # Ray's own: files and processes left to the end, and what its dependencies have deprecated.
    pytest.mark.filterwarnings("default"),
]


def on_ray(folder: Path, name: str, **changes: Any) -> RunConfig:
    alone = {"launch__kind": "ray", "launch__workers": 1, "launch__max_failures": 0, "track__tensorboard": False}
    return tiny(folder, name, **{**alone, **changes})


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five shards of images, the last of them damaged in one byte that is an image's."""
    index = make_set(tmp_path_factory.mktemp("damaged"), 200, classes=10, channels=1)
    damage(index, 199)
    return Path(index.base)


WATCHED = """
import sys, time
from gandist.gan.objectives import OBJECTIVES

def watched(real, fake):
    assert "torch._dynamo" not in sys.modules, "torch's compiler is imported, and nothing is compiled"
    time.sleep(0.04)
    return OBJECTIVES["ns"].critic(real, fake)

OBJECTIVES["watched"] = OBJECTIVES["ns"]._replace(critic=watched)
"""
"""A loss that waits, in the worker of a run, and looks at what has been imported."""


def test_damage_found_before_the_first_step_is_not_tried_again(ray_here: str, shards: Path, tmp_path: Path) -> None:
    counted, starts = tmp_path / "counted.py", tmp_path / "starts"
    counted.write_text(f"import os\nwith open({str(starts)!r}, 'a') as file:\n    print(os.getpid(), file=file)\n")
    config = on_ray(tmp_path, "refused", data__path=str(shards), launch__max_failures=3, imports=[str(counted)])
    counted.unlink()  # its text goes to the workers, which may be on other machines
    outcome = launch(config, prepare(config, "auto"))
    assert outcome.status == "refused"
    assert "sha256" in outcome.message
    assert sorted(shards.glob("*.tar"))[-1].name in outcome.message
    assert not (tmp_path / "refused" / "attempt.json").exists()
    assert len({*starts.read_text().split()} - {str(os.getpid())}) == 1, "one worker"


@pytest.mark.nightly
def test_damage_met_in_mid_run_ends_it_with_the_shards_name(ray_here: str, shards: Path, tmp_path: Path) -> None:
    """Too large for the cache, the set is decoded as it is read, and the damage is met on the way."""
    config = on_ray(
        tmp_path, "streamed", data__path=str(shards), data__cache_gib=1e-5, train__batch=40, train__total_kimg=2
    )
    with pytest.raises(DataError, match=sorted(shards.glob("*.tar"))[-1].name):
        launch(config, prepare(config, "auto"))


@pytest.mark.nightly
def test_a_crash_is_told_with_its_cause(ray_here: str, tmp_path: Path) -> None:
    config = on_ray(tmp_path, "crash")
    checkpoints = prepare(config, "auto")
    (tmp_path / "crash" / "samples").write_text("a file where a folder is needed")
    with pytest.raises(RunError, match="samples"):
        launch(config, checkpoints)


def test_sigterm_to_the_driver_leaves_a_checkpoint_and_the_run_goes_on(
    ray_here: str, shards: Path, tmp_path: Path, spared: None
) -> None:
    """An elastic run, which takes the workers that there are, and counts the damage that it skips."""
    (tmp_path / "watched.py").write_text(WATCHED)
    config = on_ray(
        tmp_path, "stopped", data__path=str(shards), data__on_damage="skip", launch__workers=[1, 3],
        train__total_kimg=1000, train__checkpoint_kimg=1000, imports=[str(tmp_path / "watched.py")],
        game__objective="watched",
    )  # fmt: skip
    file = tmp_path / "stopped.yaml"
    file.write_text(config.model_dump_json())
    metrics, asked = Path(run_root(config)) / "metrics.jsonl", 0.0

    def stop_at_the_first_row() -> None:
        nonlocal asked
        while main.is_alive() and not (metrics.exists() and metrics.read_bytes()):
            time.sleep(0.1)
        asked = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)

    main = threading.main_thread()
    threading.Thread(target=stop_at_the_first_row, daemon=True).start()
    assert train.main([str(file)]) == 143
    assert 0 < time.monotonic() - asked < 20
    (stopped,) = (Path(run_root(config)) / "checkpoints").iterdir()
    images = int(stopped.name)
    assert 0 < images < 1_000_000

    before = dict(os.environ)
    longer = load(str(file), [f"train.total_kimg={(images + 120) / 1000}"])
    assert launch(longer, prepare(longer, "auto")).status == "done"
    newest = max(int(path.name) for path in (Path(run_root(config)) / "checkpoints").iterdir())
    assert images < newest <= images + 132
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert {row["damaged"] for row in rows} == {1}
    assert {row["world_size"] for row in rows} == {2}

    # Beside its workers a run has the actor by which they report together, and Ray's own for requests of resources: the
    # controller is in this process, and what it needed of the environment is gone.
    job = ray.get_runtime_context().get_job_id()
    actors = {each["ActorClassName"] for each in ray._private.state.actors().values() if each["JobID"] == job}
    assert {"RayTrainWorker", "SynchronizationActor"} <= actors
    assert actors <= {"RayTrainWorker", "SynchronizationActor", "_AutoscalingCoordinatorActor"}
    assert dict(os.environ) == before


def test_what_ray_refuses_is_told_too(ray_here: str, tmp_path: Path) -> None:
    config = on_ray(tmp_path, "refused-by-ray", launch__resources={"CPU": -1.0})
    with pytest.raises(RunError, match="resource"):
        launch(config, prepare(config, "auto"))
