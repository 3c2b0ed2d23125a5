"""`make cluster-local` as a user types it: two nodes train, Prometheus sees both ranks, and Ctrl-C leaves nothing."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from cluster.local import PROMETHEUS, configuration
from tests.helpers.checkout_copy import ROOT, copy_checkout, environment
from tests.helpers.prometheus_server import Prometheus, needs_prometheus

GRAFANA = """#!/usr/bin/env bash
cp -r "$GF_PATHS_PROVISIONING" "$HOME/provisioning"
exec sleep 1000
"""
"""What stands for Grafana: it notes what it is told to show."""


def test_prometheus_is_told_of_the_runs_and_of_this_ray(tmp_path: Path) -> None:
    config = configuration(PROMETHEUS, tmp_path / "ray")
    found = {each["job_name"]: each.get("file_sd_configs") for each in config["scrape_configs"]}
    jobs = {name: each[0]["files"] for name, each in found.items() if each}
    assert jobs["gandist"] == [str(ROOT / f"{each}/*.prometheus.json") for each in ("runs", "sweeps")]
    assert jobs["ray"] == [str(tmp_path / "ray/prom_metrics_service_discovery.json")]


def wait_for(make: subprocess.Popen[bytes], log: Path, done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 450
    while not done():
        assert make.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)


def supervisors(make: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Ray's processes that run jobs, of the cluster below this `make`."""
    return [each for each in psutil.Process(make.pid).children(recursive=True) if "JobSupervisor" in each.name()]


def ray_messages(make: subprocess.Popen[bytes]) -> str:
    """The latest lines of the logs of Ray's own processes, of the cluster below this `make`."""
    (gcs,) = [each for each in psutil.Process(make.pid).children(recursive=True) if each.name() == "gcs_server"]
    logs = Path(gcs.environ()["RAY_TMPDIR"]) / "ray/session_latest/logs"
    names = ("gcs_server.out", "raylet.out", "dashboard_agent.log", "runtime_env_agent.log")
    return "\n".join(f"== {name}\n{(logs / name).read_text()[-4000:]}" for name in names if (logs / name).exists())


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gandist-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@needs_prometheus
@pytest.mark.nightly
@pytest.mark.ray
@pytest.mark.slow
def test_cluster_local(home: Path, tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "gandist")
    (home / "grafana-server").write_text(GRAFANA)
    (home / "grafana-server").chmod(0o755)
    env = environment(checkout, home) | {"KEEP": "1"}
    env["PATH"] = f"{home}:{env['PATH']}"
    log = tmp_path / "log"
    with log.open("wb") as output:
        make = subprocess.Popen(
            # Long enough for Prometheus, which looks for targets every 2 s, and at them every 2 s.
            ["make", "cluster-local", "ARGS=model.width=8 train.total_kimg=9.6 train.tick_kimg=2 eval.every_kimg=null"],
            cwd=checkout,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    family: list[psutil.Process] = []
    try:
        wait_for(make, log, lambda: supervisors(make))
        for each in supervisors(make):  # the first job is lost, and the second one goes on
            each.kill()
        wait_for(make, log, lambda: "the job has ended" in log.read_text())
        said = log.read_text()
        assert "Ray lost the job demo: Job supervisor actor died" in said
        assert re.search(r"Job 'demo-[23]' succeeded", said), said + ray_messages(make)
        manifest = json.loads((checkout / "runs/demo/checkpoints/00009600/manifest.json").read_text())
        assert manifest["world_size"] == 2

        (ray,) = re.findall(r"^Ray +(http\S+)", said, re.MULTILINE)
        listing = f"ray list actors --address {ray} --format json --filter class_name=RayTrainWorker".split()
        listed = subprocess.run(listing, env=env | {"RAY_AUTH_MODE": "token"}, capture_output=True, text=True)
        assert listed.returncode == 0, listed.stderr
        workers = json.loads(listed.stdout)
        assert len(workers) == len({each["node_id"] for each in workers}) == 2

        (port,) = re.findall(r"^Prometheus +http://127.0.0.1:(\d+)", said, re.MULTILINE)
        api = Prometheus(int(port))
        seen = api.query('last_over_time(gandist_images_total{run="demo"}[10m])')
        assert {labels["rank"] for labels, _ in seen} == {"0", "1"}
        assert all(value > 0 for _, value in seen)
        api.wait_for('up{job="ray"} == 1', n=3)

        (source,) = yaml.safe_load((home / "provisioning/datasources/gandist.yaml").read_text())["datasources"]
        assert source["url"] == f"http://127.0.0.1:{port}"
        (folder,) = yaml.safe_load((home / "provisioning/dashboards/gandist.yaml").read_text())["providers"]
        assert folder["options"]["path"] == str(checkout / "cluster/grafana")

        family = psutil.Process(make.pid).children(recursive=True)
        assert {"raylet", "gcs_server", "prometheus", "sleep"} <= {each.name() for each in family}
        os.killpg(make.pid, signal.SIGINT)  # as a terminal does at Ctrl-C
        make.wait(timeout=60)
    finally:
        if make.poll() is None:
            family = psutil.Process(make.pid).children(recursive=True)  # sessions of their own among them
            os.killpg(make.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=10)
        for each in alive:
            each.kill()
    assert not alive
