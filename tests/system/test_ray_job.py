"""`ray job submit` from a user's checkout to a head that asks for a token, by the README's own command; and the
commands by which pods of Kubernetes look at such a head and drain it."""

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cluster.local import START_S, free_port, free_ports, wait_for
from tests.helpers.checkout_copy import commands_of, copy_checkout, environment
from tests.helpers.kubernetes_manifests import load
from tests.helpers.kubernetes_pods import pods
from tests.helpers.slow_loss import slow_loss

pytestmark = [pytest.mark.slow, pytest.mark.ray]

PODS = pods([next(each for each in load() if (each.kind, each.name) == ("RayJob", "gandist"))])
(SUBMIT,) = [command for command in commands_of("README.md") if "ray job submit" in command]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home with a short name: Ray keeps its sockets there, whose paths may have 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="gandist-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the heavy things in it that must stay at home."""
    folder = copy_checkout(tmp_path_factory.mktemp("job") / "gandist")
    for name in (".git/objects/pack", "runs/old/checkpoints/00000064", "data/shards", "sweeps/1", "dist"):
        (folder / name).mkdir(parents=True)
        (folder / name / "heavy").write_bytes(os.urandom(20_000_000))
    return folder


@pytest.fixture(scope="module")
def head(checkout: Path, home: Path) -> Iterator[dict[str, str]]:
    """The environment in which `ray job submit` reaches a head started for these tests alone."""
    # The seconds are those of the image: what a stopped job has for its last checkpoint.
    env = {**environment(checkout, home), "RAY_AUTH_MODE": "token", "RAY_JOB_STOP_WAIT_TIME_S": "60"}
    env["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"  # 30 s that nobody waits for
    subprocess.run(["ray", "get-auth-token", "--generate"], env=env, check=True, capture_output=True)
    port, dashboard, agent, metrics, client = islice(free_ports(), 5)
    command = ["ray", "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1"]
    command += [f"--port={port}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    command += [f"--metrics-export-port={metrics}", f"--ray-client-server-port={client}"]
    command += ["--min-worker-port=0", "--max-worker-port=0"]
    log = home / "head.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=env, cwd=home, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    address = f"http://127.0.0.1:{dashboard}"
    try:
        deadline = time.monotonic() + 300
        while not answers(address, home):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        wait_for("127.0.0.1", agent, START_S)
        # What a user's shell has is the address; the token's mode stands in the command.
        yield {**environment(checkout, home), "RAY_API_SERVER_ADDRESS": address}
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def ask(url: str, home: Path, method: str = "GET") -> Any:
    """What Ray's dashboard answers to a request with the token, as to a `ray job` command, which takes 2 s to start."""
    token = (home / ".ray/auth_token").read_text().strip()
    request = urllib.request.Request(url, method=method, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def answers(address: str, home: Path) -> bool:
    """Whether the head at this address takes jobs."""
    try:
        return bool(ask(f"{address}/api/jobs/", home) == [])
    except OSError:
        return False


def test_ray_job(checkout: Path, head: dict[str, str], home: Path, tmp_path: Path) -> None:
    """Submitted, read, stopped in mid-run, and submitted again: the second job goes on from the first one's end."""
    run = tmp_path / "storage/demo"

    def ray(command: str) -> str:
        bash = ["bash", "-euo", "pipefail", "-c", command]
        done = subprocess.run(
            bash, cwd=checkout, env=head, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def rows() -> list[dict[str, float]]:
        file = run / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    (loss,) = slow_loss(tmp_path)["imports"]
    smaller = f"run.dir={tmp_path / 'storage'} train.tick_kimg=0.1 imports={loss} game.objective=slow model.width=4"
    submit = SUBMIT.replace("submit", "submit --no-wait --submission-id first")
    # No checkpoint is due before the job is stopped.
    ray(f"{submit} {smaller} train.checkpoint_kimg=1000")
    first = f"{head['RAY_API_SERVER_ADDRESS']}/api/jobs/first"
    deadline = time.monotonic() + 300
    while not rows():
        going = time.monotonic() < deadline and ask(first, home)["status"] in ("PENDING", "RUNNING")
        assert going, ask(f"{first}/logs", home)["logs"]
        time.sleep(0.2)
    assert not list(run.glob("checkpoints/*"))
    assert ask(f"{first}/stop", home, "POST") == {"stopped": True}
    deadline = time.monotonic() + 240
    while (status := ask(first, home)["status"]) == "RUNNING":
        assert time.monotonic() < deadline, ask(f"{first}/logs", home)
        time.sleep(0.2)
    assert status == "STOPPED"
    said, (manifest,) = ask(f"{first}/logs", home)["logs"], run.glob("checkpoints/*/manifest.json")
    seen = json.loads(manifest.read_text())["images_seen"]
    assert f"stopped run=demo images_seen={seen}\n" in said
    assert 0 < seen < 220_000

    to = seen + 256
    said = ray(f"{SUBMIT} {smaller} train.total_kimg={to / 1000}")
    assert f"training run=demo images_seen={seen} " in said
    assert min(row["images_seen"] for row in rows() if row["attempt"] == 2) > seen
    assert max(row["images_seen"] for row in rows() if row["attempt"] == 1) <= seen
    manifest_2 = json.loads((run / f"checkpoints/{to:08d}/manifest.json").read_text())
    assert manifest_2["images_seen"] == to
    assert manifest_2["world_size"] == 2

    (upload,) = home.glob("ray/session_2*/runtime_resources/working_dir_files/_ray_pkg_*/")
    files = [file for file in upload.rglob("*") if file.is_file() and file.suffix != ".pyc"]  # which the jobs compiled
    sizes = {file.relative_to(upload): file.stat().st_size for file in files}
    assert Path("gandist/train/__init__.py") in sizes
    assert {file.parts[0] for file in sizes} <= {"gandist", "configs", "pyproject.toml", "LICENSE"}
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sizes:
            archive.write(upload / name, name)
    assert len(zipped.getvalue()) < 6_000_000, sorted(sizes, key=lambda name: -sizes[name])[:10]  # docs/train.md


@pytest.mark.nightly
def test_a_sweep_as_a_job(checkout: Path, head: dict[str, str], tmp_path: Path) -> None:
    job, _, _ = SUBMIT.partition("python -m gandist.train")
    overrides = f"dir={tmp_path / 'sweeps'} trials=1 scheduler=none train.total_kimg=0.2 eval.every_kimg=0.2 eval.n=64"
    command = f"{job}python -m gandist.tune configs/sweep-losses.yaml {overrides}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=checkout,
        env=head,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout
    table = pq.read_table(tmp_path / "sweeps/losses/trials.parquet")
    assert table.column("state").to_pylist() == ["done"]
    assert (tmp_path / "sweeps/losses/best.yaml").is_file()
    assert (tmp_path / "sweeps/losses/report.html").is_file()


def test_ray_job_wants_the_token(checkout: Path, head: dict[str, str]) -> None:
    command = SUBMIT.replace("RAY_AUTH_MODE=token ", "")
    assert command != SUBMIT
    done = subprocess.run(["bash", "-c", command], cwd=checkout, env=head, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "RAY_AUTH_MODE" in done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("wget"), reason="wget is not installed")
def test_the_submitters_probe(head: dict[str, str]) -> None:
    """The probe of the pod that submits jobs (k8s/) knows a head that answers from one that is gone, and from one that
    takes connections and is silent."""
    probe = next(pod for pod in PODS if pod.role == "submitter").container["livenessProbe"]

    def alive(address: str) -> bool:
        environment = {**os.environ, "RAY_DASHBOARD_ADDRESS": address}
        return (
            subprocess.run(probe["exec"]["command"], env=environment, timeout=probe["timeoutSeconds"]).returncode == 0
        )

    assert alive(head["RAY_API_SERVER_ADDRESS"].removeprefix("http://"))
    assert not alive(f"127.0.0.1:{free_port()}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not alive(f"127.0.0.1:{silent.getsockname()[1]}")


def test_prestop_of_a_worker_is_a_notice(head: dict[str, str], home: Path) -> None:
    """The command (k8s/) is one that this Ray takes: the node counts as being taken away. The last of these tests."""
    (worker,) = (pod for pod in PODS if pod.role.startswith("workers"))
    script = worker.container["lifecycle"]["preStop"]["exec"]["command"][-1].replace("\\\n", " ")
    (notice,) = re.findall(r"ray drain-node.*", script)
    (node,) = ask(f"{head['RAY_API_SERVER_ADDRESS']}/nodes?view=summary", home)["data"]["summary"]
    environment = {**head, "RAY_AUTH_MODE": "token", "RAY_ADDRESS": (home / "ray/ray_current_cluster").read_text()}
    command = ["bash", "-c", f"{notice} --node-id {node['raylet']['nodeId']}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
