import json
import re
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

import pytest

from gandist.errors import ConfigError
from gandist.monitoring.health import MOTION, SIGNALS, SIGNALS_OF_SAMPLES
from gandist.monitoring.metrics import MEASURES, METRICS, PHASES, Metric
from gandist.monitoring.telemetry import Silent, SweepTelemetry, Telemetry, open_telemetry, target, write_targets
from tests.helpers.prometheus_server import needs_prometheus, prometheus

ROW = {
    "images_seen": 1280,
    "goal": 100_000,
    "loss/D": 1.25,
    "loss/G": float("nan"),
    "score/real": 0.5,
    "sign/real": 0.6,
    "augment/p": 0.1,
    "score/fake": -0.5,
    "grad_norm/D": 3.0,
    "grad_norm/G": 2.0,
    "lr/D": 2e-4,
    "lr/G": 1e-4,
    "skipped/D": 3,
    "skipped/G": 0,
    "img_per_s": 4000.0,
    "data_wait_s": 0.1,
    "memory_bytes": 1 << 30,
    "memory_used_bytes": 2 << 30,
    "memory_limit_bytes": 4 << 30,
    "world_size": 2,
    "damaged": 1,
    "rollbacks": 1,
    "verdict": "collapsing",
    "eval_s": 4.5,
    **dict.fromkeys((*SIGNALS, *SIGNALS_OF_SAMPLES, MOTION), 0.5),
    **{f"quality/{name}": 0.5 for name in MEASURES},
}


def read(port: int) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        text: str = reply.read().decode()
    return text


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(name, {"run": "clothes", "rank": "1", **labels})


def test_metrics_are_named_as_prometheus_asks() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"gandist_[a-z_]+", metric.name)
        assert metric.help.endswith(".")
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert (metric.kind == "histogram") == bool(metric.buckets)
        assert metric.unit in metric.name
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_steps_and_checkpoints_are_served() -> None:
    telemetry = Telemetry("clothes", 1, restarts=2)
    port = telemetry.serve("127.0.0.1", 0)
    telemetry.steps(1, 64, 0.05, 0.002)
    telemetry.steps(1, 64, 0.15, 0.002)
    before = time.time()
    telemetry.checkpoint(2.5, 0.02, 1000)
    text = read(port)
    telemetry.close()
    telemetry.close()
    for line in (
        'gandist_images_total{rank="1",run="clothes"} 128.0',
        'gandist_steps_total{rank="1",run="clothes"} 2.0',
        'gandist_restarts_total{rank="1",run="clothes"} 2.0',
        'gandist_step_seconds_bucket{le="0.06",rank="1",run="clothes"} 1.0',
        'gandist_step_seconds_bucket{le="0.2",rank="1",run="clothes"} 2.0',
        'gandist_data_wait_seconds_sum{rank="1",run="clothes"} 0.004',
        'gandist_checkpoint_write_seconds_sum{rank="1",run="clothes"} 2.5',
        'gandist_checkpoint_stall_seconds_sum{rank="1",run="clothes"} 0.02',
        'gandist_checkpoint_size_bytes{rank="1",run="clothes"} 1000.0',
    ):
        assert line in text.splitlines()
    stamp = value(telemetry, "gandist_checkpoint_timestamp_seconds")
    assert stamp is not None
    assert before <= stamp <= time.time()
    with pytest.raises(urllib.error.URLError):
        read(port)


def test_a_tick_feeds_every_metric_that_names_a_key() -> None:
    telemetry = Telemetry("clothes", 1, carried={"skipped/D": 2})
    assert value(telemetry, "gandist_skipped_steps_total", player="D") == 0
    assert value(telemetry, "gandist_loss", player="D") is None
    telemetry.tick(ROW)
    for metric in METRICS:
        for value_of_label in metric.keys.values() if metric.row else ():
            labels = {metric.label: value_of_label} if metric.label else {}
            labels |= {metric.name: "collapsing"} if metric.kind == "enum" else {}
            assert value(telemetry, metric.name, **labels) is not None, metric.name
    assert value(telemetry, "gandist_verdict", gandist_verdict="collapsing") == 1
    assert value(telemetry, "gandist_verdict", gandist_verdict="healthy") == 0
    assert value(telemetry, "gandist_loss", player="D") == 1.25
    assert str(value(telemetry, "gandist_loss", player="G")) == "nan"
    assert value(telemetry, "gandist_learning_rate", player="G") == 1e-4
    assert value(telemetry, "gandist_images_seen") == 1280
    # Totals of the run come in, increments go out; a return to a checkpoint takes nothing away.
    assert value(telemetry, "gandist_skipped_steps_total", player="D") == 1
    telemetry.tick({"skipped/D": 2, "unknown": 1.0})
    telemetry.tick({"skipped/D": 4})
    assert value(telemetry, "gandist_skipped_steps_total", player="D") == 3
    assert value(telemetry, "gandist_damaged_samples_total") == 1


def test_what_alerts_ask_for_is_there_from_the_start() -> None:
    before = time.time()
    main, other = Telemetry("clothes", 0), Telemetry("clothes", 1)
    for name in ("gandist_checkpoint_timestamp_seconds", "gandist_step_timestamp_seconds"):
        found = main.registry.get_sample_value(name, {"run": "clothes", "rank": "0"})
        assert found is not None
        assert before <= found <= time.time()
    assert value(other, "gandist_checkpoint_timestamp_seconds") is None  # only the main rank writes any
    assert value(other, "gandist_phase", gandist_phase="starting") == 1
    started = value(other, "gandist_step_timestamp_seconds") or 0.0
    other.steps(1, 64, 0.05, 0.002)
    assert (value(other, "gandist_step_timestamp_seconds") or 0.0) > started
    other.phase("ended")
    assert [value(other, "gandist_phase", gandist_phase=phase) for phase in PHASES] == [0, 0, 0, 1]


def test_the_number_of_series_is_bounded() -> None:
    """However long a run, and whatever its rows hold, a rank has so many series and no more."""

    def series(metric: Metric) -> int:
        # A bucket for what is beyond the last, a sum and a count; the client adds the time of a counter's creation.
        each = {"counter": 2, "gauge": 1, "enum": 1, "histogram": len(metric.buckets) + 4}[metric.kind]
        return each * (len(metric.values) or 1)

    telemetry = Telemetry("clothes", 0)
    for i in range(300):
        telemetry.tick({**ROW, f"quality/{i}": 1.0, f"loss/{i}": 1.0, f"unheard-of-{i}": 1.0})
        telemetry.steps(1, i, i / 10, i / 100)
        telemetry.checkpoint(i, i, i)
        telemetry.phase(PHASES[i % len(PHASES)])
    found = [sample for family in telemetry.registry.collect() for sample in family.samples]
    assert len(found) == sum(map(series, METRICS)) < 300


def test_a_step_costs_microseconds() -> None:
    telemetry = Telemetry("clothes", 0)
    best_s = float("inf")
    for _ in range(5):
        start = time.thread_time()
        for _ in range(1000):
            telemetry.steps(1, 64, 0.05, 0.001)
        best_s = min(best_s, (time.thread_time() - start) / 1000)
    assert best_s < 50e-6


def test_a_taken_port_gives_way_to_a_free_one(caplog: pytest.LogCaptureFixture) -> None:
    first, second, third = (Telemetry("clothes", rank) for rank in range(3))
    taken = first.serve("127.0.0.1", 0)
    assert not caplog.records
    port = second.serve("127.0.0.1", taken)
    assert port != taken
    assert str(taken) in caplog.text
    assert 'rank="1"' in read(port)
    # The port of a rank far up, past the last one there is.
    assert 0 < third.serve("127.0.0.1", 65536 + 10) < 65536
    for telemetry in (first, second, third):
        telemetry.close()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"telemetry\.host.*192\.0\.2\.7"):
        Telemetry("clothes", 0).serve("192.0.2.7", 0)


def test_telemetry_that_is_off_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = open_telemetry(False, "clothes", 0)
    assert type(telemetry) is Silent
    assert telemetry.serve("127.0.0.1", 0) is None
    telemetry.steps(1, 1, 0.1, 0.1)
    telemetry.tick(ROW)
    telemetry.checkpoint(1, 1, 1)
    telemetry.close()
    assert not caplog.records
    on = open_telemetry(True, "clothes", 1, restarts=3)
    assert isinstance(on, Telemetry)
    assert value(on, "gandist_restarts_total") == 3


WITHOUT_CLIENT = """
import sys
sys.modules["prometheus_client"] = None
import logging
logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
from gandist.monitoring.telemetry import open_telemetry
telemetry = open_telemetry(True, "clothes", 0)
print(telemetry.serve("127.0.0.1", 0))
telemetry.steps(1, 1, 0.1, 0.1)
print(sorted({"ray", "torch"} & set(sys.modules)))
"""


def test_a_run_goes_on_without_prometheus_client() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_CLIENT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "None\n[]\n"
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("WARNING gandist prometheus-client is not installed")


def test_targets_are_written_whole_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.json"
    write_targets(path, ["127.0.0.1:1", "127.0.0.1:2"], {"team": "vision"})
    write_targets(path, ["127.0.0.1:3"])
    assert json.loads(path.read_text()) == [{"targets": ["127.0.0.1:3"], "labels": {}}]
    assert [file.name for file in tmp_path.iterdir()] == ["prometheus.json"]
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    with pytest.raises(ValueError, match="run"):
        write_targets(path, [], {"run": "clothes"})


def test_target_is_an_address_that_others_reach() -> None:
    assert target("10.0.0.7", 9464) == "10.0.0.7:9464"
    assert target("::1", 9464) == "[::1]:9464"
    host, port = target("0.0.0.0", 9464).rsplit(":", 1)
    assert port == "9464"
    assert host not in ("", "0.0.0.0")
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))
        server.listen()
        with socket.create_connection((host, server.getsockname()[1]), timeout=5):
            pass


RANK = """
import sys, threading
from gandist.monitoring.telemetry import Telemetry
rank = int(sys.argv[1])
telemetry = Telemetry("clothes", rank, restarts=1)
print(telemetry.serve("127.0.0.1", 0), flush=True)
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
telemetry.tick({"loss/D": 1.25, "loss/G": 0.75, "world_size": 2})
telemetry.checkpoint(0.5, 0.01, 10**6)
while not done.wait(0.02):
    telemetry.steps(1, 10, 0.05, 0.001)
"""


def start_rank(rank: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RANK, str(rank)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def first_line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()


@pytest.mark.slow
@needs_prometheus
def test_prometheus_finds_and_scrapes_every_rank(tmp_path: Path) -> None:
    ranks = [start_rank(0), start_rank(1)]
    try:
        with prometheus(tmp_path / "prometheus.json", tmp_path / "prometheus") as api:
            # Prometheus is already up when the run starts.
            write_targets(tmp_path / "prometheus.json", [f"127.0.0.1:{first_line(rank.stdout)}" for rank in ranks])
            api.wait_for("gandist_images_total > 500", n=2)
            images = api.wait_for("gandist_images_total", n=2)
            assert sorted(labels["rank"] for labels, _ in images) == ["0", "1"]
            assert {labels["run"] for labels, _ in images} == {"clothes"}
            assert not any(label.startswith("exported_") for labels, _ in images for label in labels)
            # Steps of 10 images, 20 ms and a little apart.
            ((_, speed),) = api.wait_for("sum by (run) (rate(gandist_images_total[2s])) > 200")
            assert speed <= 1100
            quantile = "histogram_quantile(.9, sum by (le) (rate(gandist_step_seconds_bucket[2s])))"
            ((_, slow_step_s),) = api.wait_for(quantile)
            assert 0.03 < slow_step_s <= 0.06
            losses = api.wait_for('gandist_loss{rank="0"}', n=2)
            assert {labels["player"]: loss for labels, loss in losses} == {"D": 1.25, "G": 0.75}
            ((_, age_s),) = api.wait_for('time() - gandist_checkpoint_timestamp_seconds{rank="1"}')
            assert 0 <= age_s < 60
            assert [count for _, count in api.wait_for("max(gandist_restarts_total)")] == [1]
            seen = {series["__name__"] for series, _ in api.wait_for('{__name__=~"gandist_.*"}')}
            units = api.get("/api/v1/targets/metadata", metric="gandist_step_seconds")["data"]
            assert {entry["unit"] for entry in units} == {"seconds"}
            assert {
                "gandist_skipped_steps_total",
                "gandist_world_size",
                "gandist_checkpoint_stall_seconds_sum",
            } <= seen
    finally:
        for rank in ranks:
            rank.communicate(timeout=20)
    assert [rank.returncode for rank in ranks] == [0, 0]


def test_a_sweep_serves_its_trials_by_state() -> None:
    sweep = SweepTelemetry("losses", "127.0.0.1", 0)
    try:
        sweep.tell({"running": 2, "stopped": 3}, 4000, 11.5)
        with urllib.request.urlopen(f"http://127.0.0.1:{sweep.port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    finally:
        sweep.close()
    assert 'gandist_trials{state="running",sweep="losses"} 2.0' in text
    assert 'gandist_trials{state="stopped",sweep="losses"} 3.0' in text
    assert 'gandist_trials{state="pending",sweep="losses"} 0.0' in text
    assert 'gandist_sweep_images{sweep="losses"} 4000.0' in text
    assert 'gandist_sweep_best{sweep="losses"} 11.5' in text
