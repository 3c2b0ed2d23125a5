"""The promise: a Prometheus beside a run finds its ranks by the run's own file, and sees what they do, over a crash
too: no rate is above what was trained, none is negative, and the restart is counted."""

import json
import time
from itertools import pairwise
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from cluster.alerts import ALERTS
from cluster.dashboard import ROWS, marks, panels
from cluster.local import free_port
from cluster.monitoring import rules
from cluster.picture.__main__ import DASHBOARD
from cluster.picture.panels import rows_of
from cluster.picture.window import Window, variables_of
from gandist.launch.resumption import run_root
from gandist.monitoring.metrics import METRICS
from gandist.monitoring.telemetry import SweepTelemetry, announce
from tests.helpers.forked import ranks
from tests.helpers.prometheus_server import Prometheus, filled, fired, needs_prometheus, prometheus
from tests.helpers.slow_loss import slow_loss
from tests.helpers.train_on_ranks import tiny

SPEED = 90.0
"""How many times shorter the durations of the alerts are here."""


@needs_prometheus
@pytest.mark.slow
def test_a_run_of_two_ranks_is_scraped(tmp_path: Path) -> None:
    config = tiny(
        tmp_path,
        "scraped",
        **slow_loss(tmp_path),
        telemetry={"port": free_port(), "dir": str(tmp_path / "metrics")},
        # Healthy to the end, as a tiny G is with BatchNorm and without classes: of each it would soon draw one image.
        model={"width": 4, "classes": 0, "z_dim": 8, "norm": "batch"},
        data__path="builtin:fashion-1k",
        precision="fp32",
        track__tensorboard=False,
        train__total_kimg=1000,
        train__tick_kimg=0.24,
        train__checkpoint_kimg=0.24,
        eval={"every_kimg": 1, "n": 60, "extractor": "classifier"},
    )
    root = Path(run_root(config))
    root.mkdir()
    (root / "config.yaml").write_text(config.model_dump_json())
    command = (2, tmp_path, "gandist.train", str(root / "config.yaml"))
    run = ranks(*command)
    sweep = SweepTelemetry("losses", "127.0.0.1", 0)
    sweep.tell({"running": 1}, 4000, 11.5)
    (tmp_path / "losses").mkdir()
    announce(tmp_path / "losses", [f"127.0.0.1:{sweep.port}"])
    try:
        with prometheus(tmp_path / "*.prometheus.json", tmp_path / "prometheus", rules(SPEED)) as api:
            api.wait_for('gandist_images_total{run="scraped"} > 0', n=2, timeout_s=180)
            began = time.time()  # What was counted before a series was first scraped is no increase of it.
            api.wait_for("rate(gandist_images_total[5s]) > 0", n=2)
            api.wait_for("gandist_checkpoint_timestamp_seconds > 0")
            (quantile,) = {value for _, value in api.wait_for(
                "histogram_quantile(0.5, sum by (le) (rate(gandist_step_seconds_bucket[5s])))")}  # fmt: skip
            assert 0 < quantile < 10
            assert len(api.wait_for('gandist_loss{player="G"}', n=2)) == 2
            (total,) = (value for _, value in api.wait_for("sum(gandist_images_total)"))
            (position,) = (value for _, value in api.wait_for("max(gandist_images_seen)"))
            assert abs(total - position) < 2_500
            api.wait_for('gandist_quality{measure="fd-classifier"} > 0', n=2, timeout_s=180)
            for metric in METRICS:
                api.wait_for(f'{{__name__=~"{metric.name}(_count)?"}}')
            memory = api.wait_for("gandist_device_memory_used_bytes / gandist_device_memory_limit_bytes", n=2)
            assert all(0 < share < 1 for _, share in memory)
            assert len(memory) == 2

            for query in queries():
                # Of runs whose G is given pictures; of GPUs, whose exporter does not run here.
                if "ssim_hole" in query or "DCGM" in query:
                    assert api.query(filled(query)) == []
                else:
                    api.wait_for(filled(query))
            assert undrawn(api, began) == {"Outputs beside their targets", *(panel.title for panel in ROWS["GPUs"])}
            assert fired(api) == set()
            loaded = api.get("/api/v1/rules")["data"]["groups"][0]["rules"]
            assert [(rule["name"], rule["health"]) for rule in loaded] == [(alert.name, "ok") for alert in ALERTS]

            ((_, position),) = api.wait_for("max(gandist_images_seen)")
            kill(run)
            run = ranks(*command)
            api.wait_for(
                "gandist_restarts_total == 1 and time() - gandist_start_timestamp_seconds > 4", 2, timeout_s=180
            )
            # Far enough that what a rank trains in a second, after which it leaves its counts, is little of it.
            api.wait_for(f"max(gandist_images_seen) > {position + 1_800}", timeout_s=180)
            ((_, restarts),) = api.wait_for("increase((max by (run) (gandist_restarts_total))[5m:1s])")
            assert 0.9 < restarts < 1.2
            # As many images as the run's position advanced by, in both attempts together. A counter that went on from
            # the checkpoint would count all that came before it once more.
            ((_, seen),) = api.history("max by (run) (gandist_images_seen)", began, 0.2).items()
            trained = sum(max(0, after - before) for before, after in pairwise(seen))
            ((_, increase),) = api.wait_for(f"sum(increase(gandist_images_total[{time.time() - began:.0f}s]))")
            assert 0.8 * trained < increase < 1.2 * trained
            speeds = api.history("rate(gandist_images_total[5s])", began)
            assert min(min(values) for values in speeds.values()) >= 0

            stop_one(run, int(config.telemetry.port), api)
            api.wait_for('ALERTS{alertstate="firing", alertname="GandistRunStalled", run="scraped"}')
            kill(run)
            api.wait_for('ALERTS{alertstate="firing", alertname="GandistRunGone", run="scraped"}')
    finally:
        sweep.close()
        kill(run)
    assert len(json.loads((root / "prometheus.json").read_text())[0]["targets"]) == 1


def undrawn(api: Prometheus, began: float) -> set[str]:
    """Panels of the dashboard's picture without data."""
    dashboard = json.loads(DASHBOARD.read_text())
    rows = rows_of(dashboard, Window(api.url, began, time.time(), scrape_s=1), variables_of(dashboard, {}))
    assert [row.title for row in rows] == [*ROWS]
    return {panel.title for row in rows for panel in row.panels if panel.empty}


def queries() -> list[str]:
    """Of the dashboard: of every panel, and what is marked where a process started."""
    _, starts = marks()["Starts"]
    shown = [query for panel in panels() for query in panel.expressions.values()]
    return [*shown, f"max_over_time(({starts})[2m:1s])"]


def kill(run: list[BaseProcess]) -> None:
    """As by `kill -9`."""
    for rank in run:
        rank.kill()
        rank.join()


def stop_one(run: list[BaseProcess], port: int, api: Prometheus) -> None:
    """The rank that does not serve the metrics of both stops, so that the other waits for it: not in an evaluation,
    during which a run is not told to be stalled."""
    (idle,) = [
        rank
        for rank in (psutil.Process(each.pid) for each in run)
        if all(each.laddr.port != port for each in rank.net_connections("tcp") if each.status == "LISTEN")
    ]
    idle.suspend()
    time.sleep(2)  # some scrapes
    while api.query('gandist_phase{gandist_phase="evaluating", run="scraped"} == 1'):
        idle.resume()
        time.sleep(0.2)
        idle.suspend()
        time.sleep(2)
