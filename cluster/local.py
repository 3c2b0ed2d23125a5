"""`make cluster-local`: a Ray cluster of a head and two nodes on this machine, with Prometheus (and Grafana, if
installed), and the demo on it as a job, written to `runs/demo` as usual.

ARGS="train.total_kimg=1" changes the configuration; KEEP=1 keeps everything up after the job, until Ctrl-C.
Ctrl-C in mid-run stops the job after a last checkpoint; the same command resumes it.
"""

import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).resolve().parent.parent
PROMETHEUS = ROOT / "cluster/prometheus/prometheus.yml"
DASHBOARDS = ROOT / "cluster/grafana"
START_S = 120
"""Time limit for a node, and for the head's job agent, to start. Ray's own: 30 s, and 10 s for a job."""
ATTEMPTS = 3
"""Submissions of a job that Ray loses."""
STOP_S = 60
"""Time limit of a stopped job for its last checkpoint; Ray's own default is 3 s."""

log = logging.getLogger("gandist.cluster")


def main(overrides: Sequence[str] = ()) -> int:
    """Run the job; returns its exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        # A short path: Ray keeps sockets below it, and socket paths are limited to 107 characters.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gandist-", dir="/tmp")))
        os.environ |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S),
            "RAY_TMPDIR": str(folder),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        subprocess.run(["ray", "get-auth-token", "--generate"], check=True, capture_output=True)
        runs = ROOT / "runs"
        runs.mkdir(exist_ok=True)
        os.environ["RAY_API_SERVER_ADDRESS"] = dashboard = stack.enter_context(cluster(nodes=2))
        for each in (signal.SIGINT, signal.SIGTERM):  # replaces Ray's handlers, and a background shell job's ignoring
            signal.signal(each, signal.default_int_handler)
        log.info("Ray         %s   (its token: ray get-auth-token)", dashboard)
        names = ["demo", *(each.partition("=")[2] for each in overrides if each.startswith("run.name="))]
        if url := prometheus(stack, folder):
            log.info("Prometheus  %s", url)
            if url := grafana(stack, folder, url):
                log.info("Grafana     %s", url)
        status = train(names[-1], [f"run.dir={runs}", "launch.workers=2", *overrides])
        if os.environ.get("KEEP"):
            log.info("the job has ended; Ctrl-C takes the cluster down")
            signal.pause()
        return status
    return 128 + signal.SIGINT


@contextmanager
def cluster(nodes: int) -> Iterator[str]:
    """Start a head that does no work, and nodes of one CPU each; yields the dashboard's address."""
    from ray.cluster_utils import Cluster

    port, agent = free_port(8265), free_port()
    head = {"num_cpus": 0, "include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port}
    each = Cluster(initialize_head=True, head_node_args=head | {"dashboard_agent_listen_port": agent})
    try:
        for _ in range(nodes):  # one after the other: they choose ports
            each.add_node(wait=False, num_cpus=1)
            each.wait_for_nodes(timeout=START_S)
        wait_for(each.head_node.node_ip_address, agent, START_S)
        yield f"http://127.0.0.1:{port}"
    finally:
        family = psutil.Process().children(recursive=True)
        for node in [*each.worker_nodes, each.head_node]:
            each.remove_node(node, allow_graceful=False)
        for left in family:  # a node's agents outlive it by some seconds
            with suppress(psutil.NoSuchProcess):
                left.kill()


def train(run: str, overrides: Sequence[str]) -> int:
    """Submit the demo, show its log until it ends, and return its exit status; Ctrl-C stops it with a checkpoint.

    A job whose supervisor Ray cannot start, or loses, is submitted again, as the manifests' `backoffLimit` does.
    """
    from ray.job_submission import JobSubmissionClient

    for name in [run, *(f"{run}-{number}" for number in range(2, ATTEMPTS + 1))]:
        status = submit(name, overrides)
        if status == 0:
            return status
        job = JobSubmissionClient(os.environ["RAY_API_SERVER_ADDRESS"]).get_job_info(name)
        if not (job.error_type or "").startswith("JOB_SUPERVISOR_ACTOR"):
            return status
        log.warning("Ray lost the job %s: %s", name, job.message)
    return status


def submit(job: str, overrides: Sequence[str]) -> int:
    """Submit the demo as `job`, show its log until it ends, and return its exit status."""
    command = ["ray", "job", "submit", "--submission-id", job, "--working-dir", str(ROOT), "--"]
    command += ["python", "-m", "gandist.train", "configs/demo.yaml", *overrides]
    log.info("%s", " ".join(command))
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)  # Ctrl-C must reach this process only
    try:
        return process.wait()
    except KeyboardInterrupt:
        log.info("stopping the job after a last checkpoint")
        subprocess.run(["ray", "job", "stop", job], stdout=subprocess.DEVNULL, timeout=2 * STOP_S)
        raise
    finally:
        process.terminate()
        process.wait()


def prometheus(stack: ExitStack, folder: Path) -> str | None:
    """Start Prometheus with the checkout's configuration; returns its address, or None if it is not installed."""
    if shutil.which("prometheus") is None:
        log.info("Prometheus is not installed: nothing scrapes (Debian package prometheus)")
        return None
    port = free_port(9090)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration(PROMETHEUS, folder / "ray")))
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", "--log.level=warn"]
    command += [f"--storage.tsdb.path={folder / 'prometheus'}", f"--web.listen-address=127.0.0.1:{port}"]
    stack.enter_context(running(command, folder / "prometheus.log"))
    return f"http://127.0.0.1:{port}"


def configuration(file: Path, ray: Path) -> dict[str, Any]:
    """Prometheus's configuration `file`, adapted to this place and to a Ray with the temporary folder `ray`."""
    config: dict[str, Any] = yaml.safe_load(file.read_text())
    # Often enough to catch a short run.
    config["global"] = config.get("global", {}) | {"scrape_interval": "2s", "evaluation_interval": "2s"}

    def absolute(names: Sequence[str]) -> list[str]:
        paths = [os.path.normpath(file.parent / name) for name in names]
        return [each.replace("/tmp/ray/", f"{ray}/") for each in paths]

    if "rule_files" in config:
        config["rule_files"] = absolute(config["rule_files"])
    for scraped in config["scrape_configs"]:
        for found in scraped.get("file_sd_configs", ()):
            found |= {"files": absolute(found["files"]), "refresh_interval": "2s"}
    config.pop("alerting", None)  # no Alertmanager here
    return config


def grafana(stack: ExitStack, folder: Path, prometheus_url: str) -> str | None:
    """Start Grafana with the checkout's dashboards, readable by anyone; returns its address, or None if missing."""
    program = shutil.which("grafana-server") or shutil.which("grafana")
    if program is None:
        return None
    port = free_port(3000)
    source = {"name": "Prometheus", "uid": "prometheus", "type": "prometheus", "url": prometheus_url}
    provisioning: dict[str, dict[str, Any]] = {
        "datasources": {"datasources": [source | {"access": "proxy", "isDefault": True}]},
        "dashboards": {"providers": [{"name": "gandist", "type": "file", "options": {"path": str(DASHBOARDS)}}]},
    }
    for kind, content in provisioning.items():
        (folder / "provisioning" / kind).mkdir(parents=True)
        (folder / "provisioning" / kind / "gandist.yaml").write_text(yaml.safe_dump({"apiVersion": 1} | content))
    settings = {
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(port),
        "GF_PATHS_DATA": str(folder / "grafana"),
        "GF_PATHS_LOGS": str(folder / "grafana"),
        "GF_PATHS_PROVISIONING": str(folder / "provisioning"),
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    }
    home = os.environ.get("GF_PATHS_HOME", "/usr/share/grafana")
    command = [program, *(["server"] if Path(program).name == "grafana" else []), f"--homepath={home}"]
    stack.enter_context(running(command, folder / "grafana.log", settings))
    return f"http://127.0.0.1:{port}/dashboards"


@contextmanager
def running(command: Sequence[str], output: Path, settings: dict[str, str] | None = None) -> Iterator[None]:
    """Within, `command` runs without receiving Ctrl-C, and writes to `output`.

    Raises:
        RuntimeError: it ended within its first second.
    """
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            env=os.environ | (settings or {}),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        time.sleep(1)
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended:\n{output.read_text()}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(host: str, port: int, timeout_s: float) -> None:
    """Wait until something listens on this port.

    Raises:
        TimeoutError: nothing does within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        time.sleep(0.2)
    raise TimeoutError(f"nothing listens at {host}:{port} after {timeout_s:g} s")


def free_port(preferred: int | None = None) -> int:
    """`preferred`, or another loopback port if that is taken."""
    return next(free_ports() if preferred is None else free_ports(preferred))


def free_ports(*preferred: int) -> Iterator[int]:
    """Distinct loopback ports: `preferred` if they are free, else ports outside the range that the system assigns
    automatically, for instance to Ray's processes.

    Raises:
        RuntimeError: a thousand ports were tried, and none is free.
    """
    for port in [*preferred, *random.sample(range(20_000, 32_768), 1000)]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port
    raise RuntimeError("no port of loopback is free")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
