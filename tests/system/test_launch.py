"""Runs on Ray that end other than well: what the user is told, and that nothing is tried that cannot help."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gandist.config.run import RunConfig
from gandist.data.builtin import builtin
from gandist.data.cache import default_cache_dir
from gandist.data.index_files import read_index
from gandist.errors import DataError, RunError
from gandist.launch.driver import launch
from gandist.launch.resumption import prepare, run_root
from tests.helpers.train_on_ranks import tiny

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    # Ray's own: files and processes left to the end, and what its dependencies have deprecated.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Ray on this machine, with room for two workers of one CPU each."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    context = ray.init(address="local", num_cpus=2)
    yield context.address_info["gcs_address"]
    ray.shutdown()
    del os.environ["RAY_AUTH_MODE"]


def on_ray(folder: Path, name: str, **changes: Any) -> RunConfig:
    return tiny(folder, name, **{"launch__kind": "ray", "launch__workers": 1, "launch__max_failures": 0, **changes})


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Ten shards of real images, the last of them damaged in one byte that is an image's."""
    shutil.copytree(builtin("fashion-10k", default_cache_dir()), tmp_path / "shards")
    index = read_index(str(tmp_path / "shards"))
    shard = Path(index.url(index.shards.num_rows - 1))
    data = bytearray(shard.read_bytes())
    data[index.samples.column("offset")[-1].as_py() + 100] ^= 0xFF
    shard.write_bytes(data)
    return tmp_path / "shards"


def test_damage_found_before_the_first_step_is_not_tried_again(cluster: str, shards: Path, tmp_path: Path) -> None:
    counted, starts = tmp_path / "counted.py", tmp_path / "starts"
    counted.write_text(f"import os\nwith open({str(starts)!r}, 'a') as file:\n    print(os.getpid(), file=file)\n")
    config = on_ray(tmp_path, "refused", data__path=str(shards), launch__max_failures=3, imports=[str(counted)])
    outcome = launch(config, prepare(config, "auto"))
    assert outcome.status == "refused"
    assert "sha256" in outcome.message
    assert sorted(shards.glob("*.tar"))[-1].name in outcome.message
    assert not (tmp_path / "refused" / "attempt.json").exists()
    assert len({*starts.read_text().split()} - {str(os.getpid())}) == 1, "one worker"


def test_damage_met_in_mid_run_ends_it_with_the_shards_name(cluster: str, shards: Path, tmp_path: Path) -> None:
    """Too large for the cache, the set is decoded as it is read, and the damage is met on the way."""
    config = on_ray(
        tmp_path, "streamed", data__path=str(shards), data__cache_gib=1e-3, train__batch=500, train__total_kimg=20
    )
    with pytest.raises(DataError, match=sorted(shards.glob("*.tar"))[-1].name):
        launch(config, prepare(config, "auto"))


def test_an_elastic_run_takes_the_workers_there_are_and_counts_the_damage_it_skips(
    cluster: str, shards: Path, tmp_path: Path
) -> None:
    config = on_ray(tmp_path, "skipped", data__path=str(shards), data__on_damage="skip", launch__workers=[1, 3])
    assert launch(config, prepare(config, "auto")).status == "done"
    rows = [json.loads(line) for line in (tmp_path / "skipped" / "metrics.jsonl").read_text().splitlines()]
    assert [row["damaged"] for row in rows] == [1, 1]
    assert [row["world_size"] for row in rows] == [2, 2]


def test_a_crash_is_told_with_its_cause(cluster: str, tmp_path: Path) -> None:
    config = on_ray(tmp_path, "crash")
    checkpoints = prepare(config, "auto")
    (tmp_path / "crash" / "samples").write_text("a file where a folder is needed")
    with pytest.raises(RunError, match="samples"):
        launch(config, checkpoints)


def test_sigterm_to_the_driver_leaves_a_checkpoint_and_the_run_goes_on(cluster: str, tmp_path: Path) -> None:
    config = on_ray(tmp_path, "stopped", launch__workers=2, train__total_kimg=1000, train__checkpoint_kimg=1000)
    file = tmp_path / "stopped.yaml"
    file.write_text(config.model_dump_json())
    command = [sys.executable, "-m", "gandist.train", str(file)]
    environment = {**os.environ, "RAY_ADDRESS": cluster}
    driver = subprocess.Popen(command, env=environment, text=True)
    rows = Path(run_root(config)) / "metrics.jsonl"
    end = time.monotonic() + 300
    while not rows.exists() or not rows.read_bytes():
        assert driver.poll() is None, "it ended"
        assert time.monotonic() < end, "no first row"
        time.sleep(0.1)
    driver.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    assert driver.wait(timeout=60) == 143
    assert time.monotonic() - asked < 20
    (stopped,) = (Path(run_root(config)) / "checkpoints").iterdir()
    images = int(stopped.name)
    assert 0 < images < 1_000_000

    total = f"train.total_kimg={(images + 120) / 1000}"
    assert subprocess.run([*command, total], env=environment, timeout=120).returncode == 0
    newest = max(int(path.name) for path in (Path(run_root(config)) / "checkpoints").iterdir())
    assert images < newest <= images + 132


def test_what_ray_refuses_is_told_too(cluster: str, tmp_path: Path) -> None:
    config = on_ray(tmp_path, "refused-by-ray", launch__resources={"CPU": -1.0})
    with pytest.raises(RunError, match="resource"):
        launch(config, prepare(config, "auto"))
