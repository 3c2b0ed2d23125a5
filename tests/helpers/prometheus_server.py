"""Debian's Prometheus on a `file_sd` file, for tests that ask it what it has seen of a run."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.local import free_port

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="the program prometheus is not installed (Debian package prometheus)",
)


class Prometheus:
    """HTTP API of a running server."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        # A proxy of the environment has no business with loopback.
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def get(self, path: str, **query: str) -> Any:
        """The JSON answer to a request, such as `get("/api/v1/targets")`."""
        with self._open(f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=10) as reply:
            return json.load(reply)

    def ready(self) -> bool:
        try:
            with self._open(f"{self.url}/-/ready", timeout=10) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series of a PromQL expression, as of now."""
        result = self.get("/api/v1/query", query=expression)["data"]["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def history(self, expression: str, start_s: float, step_s: float = 0.5) -> dict[tuple[str, ...], list[float]]:
        """Values of each series of an expression from a Unix time until now, by the values of its labels."""
        result = self.get("/api/v1/query_range", query=expression, start=str(start_s), end=str(time.time()),
                          step=str(step_s))["data"]["result"]  # fmt: skip
        return {tuple(series["metric"].values()): [float(value) for _, value in series["values"]] for series in result}

    def wait_for(
        self,
        expression: str,
        n: int = 1,
        timeout_s: float = 60,
        meanwhile: Callable[[], object] = lambda: time.sleep(0.1),
    ) -> list[tuple[dict[str, str], float]]:
        """The answer to a query as soon as it has `n` series or more; at once it may have none: a scrape was late.

        Raises:
            TimeoutError: with the query, its last answer, and the state of the targets.
        """
        deadline = time.monotonic() + timeout_s
        while len(found := self.query(expression)) < n:
            if time.monotonic() > deadline:
                targets = self.get("/api/v1/targets")["data"]["activeTargets"]
                raise TimeoutError(f"{expression}: {len(found)} series, wanted {n}: {found}; targets: {targets}")
            meanwhile()
        return found


@contextmanager
def prometheus(targets: Path, folder: Path, rules: str = "") -> Iterator[Prometheus]:
    """Run Prometheus on loopback, scraping the targets of a `file_sd` file 5 times a second.

    The file may appear, and change, later; its name may be a pattern. Data and log go to `folder`.

    Args:
        rules: content of a rule file, evaluated as often.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {
                "job_name": "gandist",
                "file_sd_configs": [{"files": [str(targets.resolve())], "refresh_interval": "500ms"}],
            }
        ],
    }
    (folder / "rules.yml").write_text(rules or "groups: []")
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        api = Prometheus(port)
        deadline = time.monotonic() + 30
        while not api.ready():
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"prometheus did not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield api
    finally:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def fired(api: Prometheus) -> set[tuple[str, str]]:
    """Run and name of each alert that has fired in the last five minutes."""
    found = api.query('count_over_time(ALERTS{alertstate="firing"}[5m])')
    return {(labels["run"], labels["alertname"]) for labels, _ in found}


def filled(query: str) -> str:
    """A query of the dashboard as Grafana sends it, where all runs and sweeps are chosen."""
    for variable, value in {"$__rate_interval": "4s", "$run": ".*", "$sweep": ".*"}.items():
        query = query.replace(variable, value)
    assert "$" not in query
    return query
