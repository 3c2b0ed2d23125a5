"""The Slurm script, run with `srun` and `scontrol` of a few lines, for which this machine is both nodes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import psutil
import pytest

from cluster.local import free_ports
from tests.helpers.checkout_copy import ROOT, environment

SCRIPT = ROOT / "cluster/slurm.sh"
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
[[ $1 != hostname ]] || exec hostname -I
[[ " $* " == *" --head "* ]] && flags=$HEAD_FLAGS || flags=$NODE_FLAGS
exec "$@" --min-worker-port=0 --max-worker-port=0 $flags
"""
HEAD_PORTS = ["dashboard-port", "ray-client-server-port"]
SCONTROL = """#!/usr/bin/env bash
[[ $1 == requeue ]] && echo "$2" > "$RUNS/requeued" || printf '%s\\n' node-a node-b
"""


def test_shellcheck() -> None:
    for script in [*ROOT.glob("cluster/*.sh"), SCRIPT]:
        command = [Path(sys.executable).parent / "shellcheck", script]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.fixture
def home() -> Iterator[Path]:
    """A home with a short name: Ray keeps its sockets there, whose paths may have 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="gandist-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.nightly
@pytest.mark.ray
@pytest.mark.slow
def test_told_of_its_end_it_leaves_a_checkpoint_and_queues_again(home: Path, tmp_path: Path) -> None:
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (home / name).write_text(text)
        (home / name).chmod(0o755)
    port, *others = islice(free_ports(), 7)
    node_ports = ["metrics-export-port", "dashboard-agent-listen-port"]
    flags = [f"--{name}={free}" for name, free in zip([*HEAD_PORTS, *node_ports, *node_ports], others, strict=True)]
    env = environment(ROOT, home)
    env |= {"PATH": f"{home}:{env['PATH']}", "RAY_PORT": str(port), "RUNS": str(tmp_path)}
    env |= {"HEAD_FLAGS": " ".join(flags[:4]), "NODE_FLAGS": " ".join(flags[4:])}
    env["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"  # 30 s that nobody waits for
    env |= {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node-[a-b]", "SLURM_CPUS_PER_TASK": "1"}
    overrides = ["train.tick_kimg=0.1", "train.checkpoint_kimg=1000", "launch.workers=2", f"run.dir={tmp_path}"]
    log, run = tmp_path / "log", tmp_path / "demo"
    with log.open("wb") as output:
        job = subprocess.Popen(
            [SCRIPT, "configs/demo.yaml", *overrides],
            cwd=ROOT,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    family = []
    try:
        deadline = time.monotonic() + 240
        while not (run / "metrics.jsonl").exists():
            assert job.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        assert not list(run.glob("checkpoints/*"))
        family = psutil.Process(job.pid).children(recursive=True)
        assert sum("raylet" in each.name() for each in family) == 2
        job.send_signal(signal.SIGUSR1)
        assert job.wait(timeout=180) == 143, log.read_text()
    finally:
        _, alive = psutil.wait_procs(family, timeout=30)
        for each in alive:
            each.kill()
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
    assert not alive
    (manifest,) = run.glob("checkpoints/*/manifest.json")
    left = json.loads(manifest.read_text())
    assert left["images_seen"] > 0
    assert left["world_size"] == 2  # one CPU a node: each has had a worker
    assert (tmp_path / "requeued").read_text() == "7\n"
    assert f"stopped run=demo images_seen={left['images_seen']}\n" in log.read_text()
