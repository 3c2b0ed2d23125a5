"""The promise: killed at any moment and started again, a run ends with the same weights, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from gandist.config import RunConfig
from gandist.resumption import run_root
from tests.worlds import final_digests, tiny

KIMG = {"train__total_kimg": 8, "train__batch": 16, "train__tick_kimg": 0.5, "train__checkpoint_kimg": 0.5}


def start(config: RunConfig) -> subprocess.Popen[str]:
    """`python -m gandist.train` on the configuration, as a user would start it."""
    file = Path(config.run.dir) / f"{config.run.name}.yaml"
    file.write_text(config.model_dump_json())
    environment = {**os.environ, "RAY_ADDRESS": "local", "RAY_AUTH_MODE": "disabled"}
    return subprocess.Popen([sys.executable, "-m", "gandist.train", str(file)], env=environment, text=True)


def checkpoints(config: RunConfig) -> int:
    """How many images the newest checkpoint has seen; 0 before the first."""
    folder = Path(run_root(config)) / "checkpoints"
    names = [path.name for path in folder.iterdir() if path.name.isdigit()] if folder.exists() else []
    return max(map(int, names), default=0)


def wait_for_progress(config: RunConfig, process: subprocess.Popen[str], past: int, timeout_s: float = 120) -> int:
    """Wait until there is a checkpoint past `past` images; its images."""
    end = time.monotonic() + timeout_s
    while (seen := checkpoints(config)) <= past:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end, f"no checkpoint past {past} images within {timeout_s} s"
        time.sleep(0.02)
    return seen


def worker_processes(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """Ray Train's workers below a driver that started its own cluster."""
    found = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            if "RayTrainWorker" in "".join(process.cmdline()[:1]):
                found.append(process)
        except psutil.Error:
            continue
    return found


def end_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        if process.is_running():
            process.kill()
    psutil.wait_procs(processes, timeout=20)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_resume_bitwise_alone(tmp_path: Path, precision: str) -> None:
    """One process, killed three times at random moments; in fp16 the gradient scalers' state is part of it."""
    changes: dict[str, Any] = {**KIMG, "precision": precision, "model__norm": "batch", "train__total_kimg": 4}
    whole, killed = (tiny(tmp_path, name, **changes) for name in ("whole", "killed"))
    assert start(whole).wait(timeout=300) == 0
    seen = 0
    for _ in range(2):
        process = start(killed)
        seen = wait_for_progress(killed, process, seen)
        time.sleep(random.uniform(0, 0.3))
        process.kill()
        process.wait()
    assert start(killed).wait(timeout=300) == 0
    assert final_digests(killed) == final_digests(whole)


@pytest.mark.slow
@pytest.mark.ray
def test_resume_bitwise_on_ray(tmp_path: Path) -> None:
    """Two workers: `kill -9` of one of them, then of the driver, at random moments; the same command each time."""
    changes: dict[str, Any] = {
        **KIMG,
        "precision": "bf16",
        "model__norm": "batch",
        "launch__kind": "ray",
        "launch__workers": 2,
        "train__total_kimg": 24,
    }
    whole, killed = (tiny(tmp_path, name, **changes) for name in ("whole", "killed"))
    assert start(whole).wait(timeout=300) == 0

    driver = start(killed)
    cluster: list[psutil.Process] = []
    try:
        seen = wait_for_progress(killed, driver, 0)
        time.sleep(random.uniform(0, 0.5))
        random.choice(worker_processes(driver)).send_signal(signal.SIGKILL)
        seen = wait_for_progress(killed, driver, checkpoints(killed))
        time.sleep(random.uniform(0, 0.5))
        cluster = psutil.Process(driver.pid).children(recursive=True)
    finally:
        driver.kill()
        driver.wait()
    _, alive = psutil.wait_procs(cluster, timeout=30)
    end_all(alive)
    assert seen < 24_000
    assert start(killed).wait(timeout=300) == 0
    assert final_digests(killed) == final_digests(whole)
