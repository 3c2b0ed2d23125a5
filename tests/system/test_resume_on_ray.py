"""The promise on Ray: whichever of its processes is killed, a run ends with the same weights, bit for bit."""

import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from gandist import train
from gandist.launch.resumption import run_root
from gandist.run.progress import decode
from tests.helpers.slow_loss import slow_loss
from tests.helpers.train_on_ranks import final_digests, tiny, train_all
from tests.system.test_resume_bitwise import checkpoints, file_of, start, wait_for_progress

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    # Ray's own: files and processes left to the end, and what its dependencies have deprecated.
    pytest.mark.filterwarnings("default"),
]


def processes_of(name: str, family: list[psutil.Process]) -> list[psutil.Process]:
    """Those of a family in which Ray's actor of this name lives."""
    found = []
    for process in family:
        try:
            if name in "".join(process.cmdline()[:1]):
                found.append(process)
        except psutil.Error:
            continue
    return found


def below(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """All processes of a driver that started its own cluster."""
    return psutil.Process(driver.pid).children(recursive=True)


def end_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        if process.is_running():
            process.kill()
    psutil.wait_procs(processes, timeout=20)


@pytest.mark.timeout(1500)
def test_resume_bitwise_on_ray(ray_here: str, tmp_path: Path) -> None:
    """Two workers: `kill -9` of one of them, then of the driver with its cluster, at random moments; the same command
    each time, to the end on a cluster that is there already. They end as two ranks do without Ray, which nobody
    kills."""
    changes: dict[str, Any] = {
        "train__batch": 16,
        "train__tick_kimg": 0.16,
        "train__checkpoint_kimg": 0.16,
        "train__total_kimg": 1.28,
        "track__tensorboard": False,
        "precision": "fp32",
        "model__norm": "batch",
        "launch__kind": "ray",
        "launch__workers": 2,
    }
    whole, killed = tiny(tmp_path, "whole", **changes), tiny(tmp_path, "killed", **changes, **slow_loss(tmp_path))
    train_all(2, [whole], tmp_path)

    driver = start(killed)
    cluster: list[psutil.Process] = []
    try:
        seen = wait_for_progress(killed, driver, 0)
        time.sleep(random.uniform(0, 0.5))
        random.choice(processes_of("RayTrainWorker", below(driver))).send_signal(signal.SIGKILL)
        seen = wait_for_progress(killed, driver, checkpoints(killed))
        time.sleep(random.uniform(0, 0.5))
        cluster = below(driver)
        assert processes_of("RayTrainWorker", cluster)
        assert not processes_of("TrainController", cluster), "it is in the driver"
        assert not processes_of("AutoscalingCoordinator", cluster), "nobody shares this cluster"
    finally:
        driver.kill()
        driver.wait()
    _, alive = psutil.wait_procs(cluster, timeout=5)
    end_all(alive)
    assert 0 < seen < 1_280
    assert train.main([str(file_of(killed))]) == 0
    rows = decode((Path(run_root(killed)) / "metrics.jsonl").read_bytes())
    assert min(row["images_seen"] for row in rows if row["attempt"] == 3) > seen, "what was saved is not done again"
    assert final_digests(killed) == final_digests(whole)
