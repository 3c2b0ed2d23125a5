"""Metrics of several processes on one port, which outlives each of them."""

import logging
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from cluster.local import free_port
from gandist.config.run import validate
from gandist.errors import ConfigError
from gandist.monitoring import exposition
from gandist.monitoring.telemetry import SweepTelemetry, Telemetry, target, write_targets
from tests.helpers.forked import first_line, forked
from tests.helpers.prometheus_server import needs_prometheus, prometheus
from tests.unit.monitoring.test_telemetry import ROW, read

PERIOD_S = 0.25
"""Metrics are written four times as often as usual, so that tests wait less."""


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "PERIOD_S", PERIOD_S)


def families(port: int) -> dict[str, Metric]:
    """What is served, parsed by the client; none while nothing is."""
    try:
        found = list(text_string_to_metric_families(read(port)))
    except (urllib.error.URLError, ConnectionError):
        return {}
    assert len({family.name for family in found}) == len(found)
    return {family.name: family for family in found}


def ranks(port: int) -> set[str]:
    found = families(port)
    return {sample.labels["rank"] for sample in found["gandist_steps"].samples} if found else set()


def within(seconds: float, true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.slow
def test_metrics_of_several_processes_are_one_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folder, port = tmp_path / "metrics", free_port()
    runs = [Telemetry("clothes", 0), Telemetry("clothes", 1), Telemetry("shoes", 0)]
    for telemetry in runs:
        telemetry.tick(ROW)
        telemetry.steps(1, 64, 0.05, 0.01)
        assert telemetry.serve("127.0.0.1", port, str(folder)) == port
    sweep = SweepTelemetry("losses", "127.0.0.1", port, str(folder))
    try:
        assert caplog.text.count("held by another process") == 3
        found = families(port)  # in which each family comes once
        for telemetry in runs:
            own = {
                (sample.name, *sorted(sample.labels.items())): sample.value
                for family in telemetry.registry.collect()
                for sample in family.samples
                if not sample.name.endswith("_created")
            }
            all_ = {
                (sample.name, *sorted(sample.labels.items())): sample.value
                for family in found.values()
                for sample in family.samples
            }
            assert own.items() - all_.items() == {pair for pair in own.items() if pair[1] != pair[1]}  # NaN
        assert {sample.labels["sweep"] for sample in found["gandist_trials"].samples} == {"losses"}
        assert found["gandist_step_seconds"].type == "histogram"
        assert found["gandist_images"].documentation.startswith("Real images")
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            text = answer.read().decode()
        assert "# UNIT gandist_step_seconds seconds\n" in text  # which Prometheus asks for, and shows
        # What changes is seen about a period later.
        runs[2].steps(1, 64, 0.05, 0.01)
        assert within(3, lambda: 128 in [sample.value for sample in families(port)["gandist_images"].samples])
        # The holder of the port ends; another goes on, and has nothing of it.
        runs[0].close()
        assert within(3, lambda: ranks(port) == {"0", "1"})
        assert {
            (sample.labels["run"], sample.labels["rank"]) for sample in families(port)["gandist_steps"].samples
        } == {("clothes", "1"), ("shoes", "0")}
    finally:
        for telemetry in runs:
            telemetry.close()
            telemetry.close()
        sweep.close()
    assert list(folder.iterdir()) == []


def test_files_that_nobody_stands_behind_are_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port, text = free_port(), 'gandist_steps_total{run="old",rank="%d"} 1\n# EOF\n'
    telemetry = Telemetry("clothes", 9)
    with subprocess.Popen(["sleep", "60"]) as living:
        head = exposition._owner(living.pid)
        gone = head.split(" start ")[0] + " start 1"  # its number, but another start
        for i, line in enumerate(["", "# pid 1", gone, head, head]):
            (tmp_path / f"old.{i}.prom").write_text(f"{line}\n# TYPE gandist_steps counter\n{text % i}")
        (tmp_path / "old.5.prom").write_text(f"{head}\n# TYPE gandist_steps counter\n{text % 5}"[:-8])  # torn
        old_s = time.time() - exposition.STALE_S
        os.utime(tmp_path / "old.4.prom", (old_s, old_s))
        try:
            telemetry.serve("127.0.0.1", port, str(tmp_path))
            assert ranks(port) == {"3", "9"}
            assert sorted(file.name for file in tmp_path.iterdir()) == [
                "clothes.9.prom", "old.3.prom", "old.5.prom"]  # fmt: skip
            living.kill()  # dead, and not yet waited for
            assert within(2, lambda: ranks(port) == {"9"})
        finally:
            telemetry.close()
            living.kill()


@pytest.mark.slow
def test_an_attempt_that_was_overtaken_leaves_the_file_to_the_later(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "clothes.0.prom"
    telemetry = Telemetry("clothes", 0)
    telemetry.serve("127.0.0.1", port, str(tmp_path))
    try:
        with subprocess.Popen(["sleep", "60"]) as later:
            head = exposition._owner(later.pid)
            file.write_text(f"{head}\n# EOF\n")
            time.sleep(2.2 * PERIOD_S)
            assert file.read_text().startswith(head)
            assert "gandist_steps" not in families(port)
            later.kill()
        assert within(3, lambda: ranks(port) == {"0"})
        with subprocess.Popen(["sleep", "60"]) as later:
            file.write_text(f"{exposition._owner(later.pid)}\n# EOF\n")
            telemetry.close()
            later.kill()
        assert file.exists()
    finally:
        telemetry.close()


def test_a_folder_or_port_that_cannot_be_had_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"telemetry\.dir: .*file"):
        Telemetry("clothes", 0).serve("127.0.0.1", free_port(), str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"telemetry\.host: .*192\.0\.2\.7"):
        Telemetry("clothes", 0).serve("192.0.2.7", free_port(), str(tmp_path))
    with pytest.raises(ConfigError, match=r"telemetry\.dir: .*set telemetry\.port=9464"):
        validate({"telemetry": {"dir": "/tmp/gandist-metrics"}})
    with pytest.raises(ConfigError, match=r"telemetry\.dir: must be a folder on the disk of each machine"):
        validate({"telemetry": {"dir": "s3://bucket/metrics", "port": 9464}})
    # In mid-run neither is a reason to stop training.
    telemetry, folder = Telemetry("clothes", 0), tmp_path / "metrics"
    telemetry.serve("127.0.0.1", free_port(), str(folder))
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert within(5, lambda: "FileNotFoundError" in caplog.text)
    telemetry.close()


def rank_of_a_run(rank: int, restarts: int, port: int, folder: Path) -> None:
    """Called in a process of its own: takes ten images fifty times a second, until it is killed."""
    exposition.PERIOD_S = PERIOD_S
    telemetry = Telemetry("clothes", rank, restarts=restarts)
    if not restarts:
        telemetry.steps(1, 10**6, 1, 0)  # a long run
    telemetry.serve("127.0.0.1", port, str(folder))
    print("serving", flush=True)
    while True:
        telemetry.steps(1, 10, 0.02, 0)
        time.sleep(0.02)


@contextmanager
def processes(port: int, folder: Path) -> Iterator[Callable[..., list[BaseProcess]]]:
    """Start ranks, in processes of their own; each is there as soon as it serves."""
    started: list[BaseProcess] = []

    def start(ranks: Sequence[int], restarts: int, port: int = port, folder: Path = folder) -> list[BaseProcess]:
        logs = [folder.parent / f"{rank}-{restarts}.log" for rank in ranks]
        begun = [
            forked(log, rank_of_a_run, rank, restarts, port, folder) for log, rank in zip(logs, ranks, strict=True)
        ]
        started.extend(begun)
        assert [first_line(*each) for each in zip(logs, begun, strict=True)] == ["serving"] * len(begun)
        return begun

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.join(20)


@needs_prometheus
@pytest.mark.slow
def test_a_killed_holder_of_the_port_is_followed_by_another(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "metrics"
    began = time.time()
    with processes(port, folder) as start, prometheus(tmp_path / "targets.json", tmp_path / "prometheus") as api:
        (holder,) = start([0], 0)
        others = start([1, 2], 0)
        write_targets(tmp_path / "targets.json", [target("127.0.0.1", port)] * 3)
        assert ranks(port) == {"0", "1", "2"}
        api.wait_for("rate(gandist_images_total[2s]) > 0", n=3)
        assert len(api.get("/api/v1/targets")["data"]["activeTargets"]) == 1
        # What the restart is an increase from has been seen: on a busy machine many a scrape is too late.
        api.wait_for("count_over_time((max by (run) (gandist_restarts_total))[5m:1s]) > 2")

        holder.kill()
        assert within(3, lambda: ranks(port) == {"1", "2"})
        api.wait_for("count(gandist_images_total) == 2", timeout_s=5)
        for rank in others:
            rank.kill()
        # The same run again, one rank of it elsewhere, as in another pod.
        elsewhere = free_port()
        start([0, 1], 1)
        start([2], 1, elsewhere, tmp_path / "elsewhere")
        write_targets(tmp_path / "targets.json", [target("127.0.0.1", port), target("127.0.0.1", elsewhere)])
        api.wait_for("rate(gandist_images_total[2s]) > 100 and gandist_restarts_total == 1", n=3)
        time.sleep(2)

        # A rank takes up to 500 images a second; they are left in steps of a period. A burst would be 500,000.
        rates = api.history("sum by (run, rank) (rate(gandist_images_total[2s]))", began)
        assert len(rates) == 3
        for values in rates.values():
            assert min(values) >= 0
            assert 100 < max(values) < 1000
        # What a new target's series begins with is no increase; that of the run's maximum is, and one.
        alone = api.history(f'increase(gandist_restarts_total{{instance=~".*:{elsewhere}"}}[5m])', began)
        assert {value for values in alone.values() for value in values} == {0}
        ((_, restarts),) = api.wait_for("increase((max by (run) (gandist_restarts_total))[5m:1s])")
        assert 0.9 < restarts < 1.3
