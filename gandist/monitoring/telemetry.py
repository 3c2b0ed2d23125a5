"""The metrics of `metrics.py`, kept and served by every rank of a run and by the driver of a sweep."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gandist.monitoring.metrics import METRICS, PHASES, STATES, SWEEP_METRICS
from gandist.storage.atomic import write_atomically

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from gandist.monitoring.exposition import Port, Shared

logger = logging.getLogger("gandist")


class Silent:
    """The same calls without any metrics: for telemetry that is off or unavailable."""

    def serve(self, host: str, port: int, folder: str | None = None) -> int | None:
        """The port of the metrics; None if nothing is served."""
        return None

    def phase(self, phase: str) -> None:
        """Record what this rank does from now on: one of `PHASES`."""

    def steps(self, steps: int, images: int, seconds: float, data_wait_s: float) -> None:
        """Count steps of this rank: the `images` that each showed to D, their duration, and their wait for data."""

    def tick(self, row: Mapping[str, Any]) -> None:
        """Update `METRICS` from a tick's row (of `metrics.jsonl`); other keys are ignored."""

    def checkpoint(self, write_s: float, stall_s: float, size_bytes: int) -> None:
        """Record that a checkpoint has just been completed on storage."""

    def close(self) -> None:
        """Stop serving; may be called again."""


class Telemetry(Silent):
    """Metrics of one rank, in their own registry.

    Args:
        run: name of the run.
        rank: this process's rank.
        restarts: number of earlier attempts at the run.
        carried: totals (`skipped/D`, `skipped/G`, `damaged`) that a resumed run continues. The counters still start at
            zero in each process: to `rate()`, a counter that falls to a value other than zero looks like a burst of
            that many.

    Raises:
        ImportError: prometheus-client is not installed.
    """

    def __init__(self, run: str, rank: int, *, restarts: int = 0, carried: Mapping[str, float] | None = None):
        import prometheus_client as prometheus

        self.registry = prometheus.CollectorRegistry()
        self._labels = (run, str(rank))
        self._totals = dict(carried or {})
        self._server: Port | Shared | None = None
        self._metrics: dict[str, Any] = {}
        for metric in METRICS:
            options: dict[str, Any] = {"unit": metric.unit, "registry": self.registry}
            if metric.buckets:
                options["buckets"] = metric.buckets
            if metric.kind == "enum":
                options = {"states": list(metric.values), "registry": self.registry}
            labels = ("run", "rank", *filter(None, [metric.label]))
            kind = getattr(prometheus, metric.kind.capitalize())
            self._metrics[metric.name] = kind(metric.name, metric.help, labels, **options)
        # Looked up once, since the training loop calls step().
        self._images = self._series("gandist_images_total")
        self._steps = self._series("gandist_steps_total")
        self._step_s = self._series("gandist_step_seconds")
        self._data_wait_s = self._series("gandist_data_wait_seconds")
        self._stepped = self._series("gandist_step_timestamp_seconds")
        # Counters exist from the start: else increase() would miss their first step away from zero.
        for metric in METRICS:
            if metric.kind == "counter":
                for value in metric.keys.values():
                    self._series(metric.name, value)
        self._series("gandist_restarts_total").inc(restarts)
        self._series("gandist_start_timestamp_seconds").set(time.time())
        if rank == 0:  # the main rank writes the checkpoints
            self._series("gandist_checkpoint_timestamp_seconds").set(time.time())
        self.phase(PHASES[0])

    def _series(self, name: str, value: str = "") -> Any:
        return self._metrics[name].labels(*self._labels, *filter(None, [value]))

    def serve(self, host: str, port: int, folder: str | None = None) -> int:
        """Serve `/metrics` on a thread of this process, or through a folder shared with others; returns the port.

        Raises:
            ConfigError: see `exposition.serve` and `exposition.Shared`.
        """
        self._server = _serve(self.registry, host, port, folder, ".".join(self._labels))
        return self._server.port

    def phase(self, phase: str) -> None:
        self._series("gandist_phase").state(phase)
        self._stepped.set(time.time())

    def steps(self, steps: int, images: int, seconds: float, data_wait_s: float) -> None:
        self._images.inc(steps * images)
        self._steps.inc(steps)
        for _ in range(steps):
            self._step_s.observe(seconds / steps)
            self._data_wait_s.observe(data_wait_s / steps)
        self._stepped.set(time.time())

    def tick(self, row: Mapping[str, Any]) -> None:
        for metric in METRICS:
            if not metric.row:
                continue
            for key, value in metric.keys.items():
                if key not in row:
                    continue
                if metric.kind == "gauge":
                    self._series(metric.name, value).set(row[key])
                elif metric.kind == "enum":
                    self._series(metric.name).state(row[key])
                else:
                    self._series(metric.name, value).inc(max(0.0, row[key] - self._totals.get(key, 0.0)))
                    self._totals[key] = row[key]

    def checkpoint(self, write_s: float, stall_s: float, size_bytes: int) -> None:
        self._series("gandist_checkpoint_write_seconds").observe(write_s)
        self._series("gandist_checkpoint_stall_seconds").observe(stall_s)
        self._series("gandist_checkpoint_size_bytes").set(size_bytes)
        self._series("gandist_checkpoint_timestamp_seconds").set(time.time())

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None


class SweepTelemetry:
    """Metrics of a sweep, served by its driver.

    Raises:
        ImportError: prometheus-client is not installed.
        ConfigError: see `exposition.serve` and `exposition.Shared`.
    """

    def __init__(self, sweep: str, host: str, port: int, folder: str | None = None) -> None:
        import prometheus_client as prometheus

        registry, self._sweep = prometheus.CollectorRegistry(), sweep
        self._trials, self._images, self._best = (
            prometheus.Gauge(
                metric.name, metric.help, ("sweep", *filter(None, [metric.label])), unit=metric.unit, registry=registry
            )
            for metric in SWEEP_METRICS
        )
        self.tell(dict.fromkeys(STATES, 0), 0, None)
        self._server = _serve(registry, host, port, folder, f"{sweep}.sweep")
        self.port = self._server.port

    def tell(self, trials: Mapping[str, int], images: int, best: float | None) -> None:
        """Update the number of trials by state, their total images, and the best trial's metric if there is one."""
        for state in STATES:
            self._trials.labels(self._sweep, state).set(trials.get(state, 0))
        self._images.labels(self._sweep).set(images)
        if best is not None:
            self._best.labels(self._sweep).set(best)

    def close(self) -> None:
        self._server.close()


def _serve(registry: CollectorRegistry, host: str, port: int, folder: str | None, name: str) -> Port | Shared:
    from gandist.monitoring.exposition import Shared, serve

    return Shared(registry, host, port, folder, name) if folder else serve(registry, host, port)


def open_telemetry(
    enabled: bool, run: str, rank: int, *, restarts: int = 0, carried: Mapping[str, float] | None = None
) -> Silent:
    """A rank's telemetry: silent if it is off, or (with a warning) if prometheus-client is missing."""
    if not enabled:
        return Silent()
    try:
        return Telemetry(run, rank, restarts=restarts, carried=carried)
    except ImportError:
        logger.warning("prometheus-client is not installed: this run serves no metrics (pip install prometheus-client)")
        return Silent()


def target(host: str, port: int) -> str:
    """The `host:port` at which Prometheus reaches a server on `host`, an address or a wildcard."""
    if host in ("", "0.0.0.0", "::"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # Connecting a datagram socket sends nothing; it selects the address that other machines see.
                probe.connect(("192.0.2.1", 9))
                host = probe.getsockname()[0]
            except OSError:
                host = socket.gethostname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def announce(root: Path, targets: Sequence[str]) -> None:
    """Write the targets of a run or a sweep to its folder, and to `NAME.prometheus.json` beside the folder, since
    Prometheus accepts a `*` only in the last part of a path."""
    for path in (root / "prometheus.json", root.with_name(f"{root.name}.prometheus.json")):
        write_targets(path, targets)


def write_targets(path: Path, targets: Sequence[str], labels: Mapping[str, str] | None = None) -> None:
    """Write the `host:port` addresses of a run's ranks as a Prometheus `file_sd` file, without duplicates, atomically.

    Raises:
        ValueError: a label is also a metric's label: Prometheus would rename the metric's to `exported_...`.
    """
    clash = {"run", "rank", "sweep", "player"} & set(labels or {})
    if clash:
        raise ValueError(f"labels of the metrics themselves cannot be target labels: {', '.join(sorted(clash))}")
    groups = [{"targets": list(dict.fromkeys(targets)), "labels": dict(labels or {})}]
    write_atomically(path, f"{json.dumps(groups, indent=1)}\n".encode())
