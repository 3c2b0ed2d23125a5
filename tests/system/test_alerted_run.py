"""The promise: what a real Prometheus scrapes of runs that go wrong fires the alerts meant for it, and no others.

Durations in the rules are a ninetieth of what they are. Three alerts fire in tests/system/test_scraped_run.py, where
ranks are stopped and killed; here one run is trained to diverge, and the metrics of the others are set directly.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from cluster.alerts import ALERTS
from cluster.dashboard import marks
from cluster.monitoring import rules
from gandist.launch.resumption import run_root
from gandist.monitoring.telemetry import Telemetry, write_targets
from tests.helpers.forked import command
from tests.helpers.prometheus_server import Prometheus, filled, fired, needs_prometheus, prometheus
from tests.helpers.slow_loss import slow_loss
from tests.helpers.train_on_ranks import tiny

SPEED = 90.0
STEP_S = 0.05


class Ranks:
    """Metrics served in this process, as those of many runs."""

    def __init__(self, targets: Path) -> None:
        self._targets = targets
        self._open: dict[tuple[str, int], tuple[Telemetry, int, float]] = {}

    def start(self, run: str, rank: int = 0, wait_s: float = 0.0, restarts: int = 0) -> Telemetry:
        """A rank; in the place of one before it, on another port."""
        telemetry = Telemetry(run, rank, restarts=restarts)
        telemetry.phase("training")
        telemetry.tick({"world_size": 1, "verdict": "healthy", "img_per_s": 2000.0})
        port = telemetry.serve("127.0.0.1", 0)
        before = self._open.get((run, rank))
        self._open[run, rank] = telemetry, port, wait_s
        self._announce()
        if before:
            before[0].close()
        return telemetry

    def lose(self, run: str, rank: int) -> None:
        self._open.pop((run, rank))[0].close()
        self._announce()

    def _announce(self) -> None:
        write_targets(self._targets, [f"127.0.0.1:{port}" for _, port, _ in self._open.values()])

    def train(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for (run, rank), (telemetry, _, wait_s) in self._open.items():
                telemetry.steps(1, 10, STEP_S, wait_s)
                if rank == 0 and run != "old":
                    telemetry.checkpoint(0.1, 0.01, 1000)
            time.sleep(STEP_S)

    def close(self) -> None:
        for telemetry, _, _ in self._open.values():
            telemetry.close()


@contextmanager
def diverging(folder: Path) -> Iterator[None]:
    """A run whose weights soon leave the range of float32, left alone by its health."""
    config = tiny(
        folder,
        "diverging",
        **slow_loss(folder),
        telemetry__enabled=True,
        precision="fp32",
        optim={"lr_G": 1e30, "lr_D": 1e30},
        train={"batch": 12, "total_kimg": 10_000, "tick_kimg": 0.12, "sample_kimg": 10_000, "checkpoint_kimg": 10},
        health={"diverged": "warn"},
    )
    root = Path(run_root(config))
    root.mkdir()
    (root / "config.yaml").write_text(config.model_dump_json())
    run = command(folder / "diverging.log", "gandist.train", str(root / "config.yaml"))
    try:
        yield
    finally:
        run.terminate()
        run.join(60)
        run.kill()


def provoke(ranks: Ranks, api: Prometheus) -> dict[str, str]:
    """Have each run go wrong in its own way; returns the alert meant for each."""
    ranks.start("collapsing").tick({"verdict": "collapsing"})
    ranks.start("unfaithful").tick({"verdict": "unfaithful"})
    ranks.start("full").tick({"memory_used_bytes": 98, "memory_limit_bytes": 100})
    ranks.start("waiting", wait_s=0.8 * STEP_S)
    with mock.patch("gandist.monitoring.telemetry.time.time", return_value=time.time() - 7200 / SPEED):
        old = ranks.start("old")
    old.phase("training")
    for rank in (0, 1):
        ranks.start("missing", rank).tick({"world_size": 2})
        ranks.start("uneven", rank, wait_s=0.5 * rank * STEP_S).tick({"world_size": 2})
    slower, rolled_back = ranks.start("slower"), ranks.start("rolled back")
    ranks.start("restarted")
    # Prometheus takes up to five seconds to find new targets; a run that takes no step so long is stalled.
    api.wait_for("gandist_world_size", n=12, meanwhile=lambda: ranks.train(0.1))
    ranks.train(1)
    ranks.lose("missing", 1)
    ranks.start("restarted", restarts=3)
    rolled_back.tick({"rollbacks": 1})
    ranks.train(7)
    slower.tick({"img_per_s": 500.0})
    return {
        "collapsing": "GandistCollapsing",
        "unfaithful": "GandistUnfaithful",
        "full": "GandistDeviceMemoryNearFull",
        "waiting": "GandistDataWaitHigh",
        "old": "GandistCheckpointOld",
        "missing": "GandistRankMissing",
        "uneven": "GandistRanksUneven",
        "slower": "GandistThroughputFell",
        "restarted": "GandistRestartsRepeated",
    }


@needs_prometheus
@pytest.mark.slow
def test_alerts_fire_for_the_runs_that_provoke_them_and_for_no_others(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path / "provoked.prometheus.json")
    with (
        prometheus(tmp_path / "*.prometheus.json", tmp_path / "prometheus", rules(SPEED)) as api,
        diverging(tmp_path),
    ):
        try:
            meant = set(provoke(ranks, api).items())
            diverged = {("diverging", "GandistDiverged"), ("diverging", "GandistNonfiniteSteps")}
            until = time.monotonic() + 60
            while not meant | diverged <= fired(api) and time.monotonic() < until:
                ranks.train(0.5)
            assert {(run, alert) for run, alert in fired(api) if run != "diverging"} == meant
            assert diverged <= fired(api)
            told(api)
            _, query = marks()["Roll-backs"]
            assert {labels["run"] for labels, _ in api.wait_for(filled(query))} == {"rolled back"}
        finally:
            ranks.close()


def told(api: Prometheus) -> None:
    """What is said of each alert names its run, and is rendered."""
    alerts = [alert for alert in api.get("/api/v1/alerts")["data"]["alerts"] if alert["state"] == "firing"]
    assert {alert["labels"]["alertname"] for alert in alerts} <= {alert.name for alert in ALERTS}
    assert alerts
    for alert in alerts:
        assert alert["labels"]["run"] in alert["annotations"]["summary"]
        assert not any(sign in text for text in alert["annotations"].values() for sign in ("{{", "<error", "<no value"))
