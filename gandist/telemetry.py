"""Every Prometheus metric of a run, declared once; served by every rank of it.

Each series is labelled by `run` and `rank`, never by process, so that a restarted rank goes on with its own.
The metrics marked *run-wide* have the same value on every rank: take their `max by (run)`, not their sum.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from gandist.errors import ConfigError
from gandist.health import SIGNALS, State

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

logger = logging.getLogger("gandist")

STEP_BUCKETS_S = (0.001, 0.003, 0.006, 0.01, 0.02, 0.03, 0.06, 0.1, 0.2, 0.3, 0.6, 1, 2, 3, 6, 10, 30)
WAIT_BUCKETS_S = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
CHECKPOINT_BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600)


class Metric(NamedTuple):
    kind: Literal["counter", "gauge", "histogram", "enum"]
    name: str
    unit: str
    help: str
    row: str = ""
    """Key of a tick's row that feeds it; where it has a `label`, what stands before the `/` of such keys."""
    label: str = ""
    """Label besides `run` and `rank`; its value is what stands behind the `/` in the row's key."""
    values: tuple[str, ...] = ()
    """Values of the label; an enum's states."""
    buckets: tuple[float, ...] = ()

    @property
    def keys(self) -> dict[str, str]:
        """Keys of a row that feed it, and the value of the label that each stands for."""
        return {f"{self.row}/{value}": value for value in self.values} if self.label else {self.row: ""}


MEASURES = (
    *("fid", "fd-effnet-lite0", "fd-classifier", "kid", "kid_se", "is"),
    *("precision", "recall", "density", "coverage", "memorisation", "ppl"),
)
"""What an evaluation finds, but for single classes."""
PLAYERS: dict[str, Any] = {"label": "player", "values": ("D", "G")}


# Names are those that Prometheus shows, so that a dashboard's query is found here.
METRICS = (
    Metric(
        "counter", "gandist_images_total", "images",
        "Real images that this rank showed to D since its process started.",
    ),
    Metric(
        "counter", "gandist_steps_total", "steps",
        "Training steps that this rank took since its process started.",
    ),
    Metric(
        "counter", "gandist_skipped_steps_total", "steps",
        "Updates of a player skipped for a non-finite gradient since the process started; run-wide.",
        row="skipped", **PLAYERS,
    ),
    Metric(
        "counter", "gandist_damaged_samples_total", "samples",
        "Damaged samples replaced by sound ones since the process started.",
        row="damaged",
    ),
    Metric(
        "counter", "gandist_restarts_total", "restarts",
        "Times that the run was started again; run-wide.",
    ),
    Metric(
        "histogram", "gandist_step_seconds", "seconds",
        "Duration of a training step, the wait for its data included.",
        buckets=STEP_BUCKETS_S,
    ),
    Metric(
        "histogram", "gandist_data_wait_seconds", "seconds",
        "Part of a training step spent waiting for its images.",
        buckets=WAIT_BUCKETS_S,
    ),
    Metric(
        "histogram", "gandist_checkpoint_write_seconds", "seconds",
        "Time from the start of a checkpoint until it is whole on storage.",
        buckets=CHECKPOINT_BUCKETS_S,
    ),
    Metric(
        "histogram", "gandist_checkpoint_stall_seconds", "seconds",
        "Time that training stood still for a checkpoint.",
        buckets=CHECKPOINT_BUCKETS_S,
    ),
    Metric(
        "gauge", "gandist_checkpoint_size_bytes", "bytes",
        "Size of the newest checkpoint.",
    ),
    Metric(
        "gauge", "gandist_checkpoint_timestamp_seconds", "seconds",
        "Unix time of the newest checkpoint; its age is time() minus this.",
    ),
    Metric(
        "gauge", "gandist_start_timestamp_seconds", "seconds",
        "Unix time at which this process started to train.",
    ),
    Metric(
        "gauge", "gandist_images_seen", "",
        "Real images shown to D by all ranks, before restarts too: the position in the run; run-wide.",
        row="images_seen",
    ),
    Metric(
        "gauge", "gandist_images_per_second", "",
        "Images per second of all ranks together, over the last tick; run-wide.",
        row="img_per_s",
    ),
    Metric(
        "gauge", "gandist_world_size", "",
        "Number of ranks; run-wide.",
        row="world_size",
    ),
    Metric(
        "gauge", "gandist_loss", "",
        "Mean loss of a player over the last tick; run-wide.",
        row="loss", **PLAYERS,
    ),
    Metric(
        "gauge", "gandist_score_real", "",
        "Mean score (logit) that D gave real images over the last tick; run-wide.",
        row="score/real",
    ),
    Metric(
        "gauge", "gandist_score_fake", "",
        "Mean score (logit) that D gave generated images over the last tick; run-wide.",
        row="score/fake",
    ),
    Metric(
        "gauge", "gandist_sign_real", "",
        "Mean sign of D's scores of real images over the last tick: near 1, D overfits, unless the objective counts "
        "differences of scores alone; run-wide.",
        row="sign/real",
    ),
    Metric(
        "gauge", "gandist_augment_p", "",
        "Probability with which images are augmented; run-wide.",
        row="augment/p",
    ),
    Metric(
        "gauge", "gandist_gradient_norm", "",
        "Mean norm of a player's gradient over the last tick; run-wide.",
        row="grad_norm", **PLAYERS,
    ),
    Metric(
        "gauge", "gandist_signal", "",
        "Sign of the run's health at the last tick; run-wide.",
        row="signal", label="signal", values=tuple(name.partition("/")[2] for name in SIGNALS),
    ),
    Metric(
        "enum", "gandist_verdict", "",
        "Verdict on the run's health at the last tick; run-wide.",
        row="verdict", values=get_args(State),
    ),
    Metric(
        "counter", "gandist_rollbacks_total", "rollbacks",
        "Times that the run was taken back to an earlier checkpoint since the process started; run-wide.",
        row="rollbacks",
    ),
    Metric(
        "gauge", "gandist_quality", "",
        "Measure of the average of G at the last evaluation; its protocol is in the run's evaluations.jsonl; run-wide.",
        row="quality", label="measure", values=MEASURES,
    ),
    Metric(
        "gauge", "gandist_evaluation_seconds", "seconds",
        "Time that training stood still for the last evaluation.",
        row="eval_s",
    ),
    Metric(
        "gauge", "gandist_learning_rate", "",
        "Learning rate of a player; run-wide.",
        row="lr", **PLAYERS,
    ),
    Metric(
        "gauge", "gandist_device_memory_bytes", "bytes",
        "Most memory that this rank's tensors took on its device.",
        row="memory_bytes",
    ),
)  # fmt: skip


class Silent:
    """The same calls, without any metrics: telemetry that is switched off or cannot be had."""

    def serve(self, host: str, port: int) -> int | None:
        """Port that is served on; None where nothing is served."""
        return None

    def step(self, images: int, step_s: float, data_wait_s: float) -> None:
        """Count a step of this rank: `images` shown to D, its duration, and the wait for data within it."""

    def tick(self, row: Mapping[str, Any]) -> None:
        """Take over what a tick's row (of `metrics.jsonl`) has of `METRICS`; other keys are ignored."""

    def checkpoint(self, write_s: float, stall_s: float, size_bytes: int) -> None:
        """Record that a checkpoint has just become whole on storage."""

    def close(self) -> None:
        """Stop serving; may be called again."""


class Telemetry(Silent):
    """Metrics of one rank, in a registry of their own.

    Args:
        run: name of the run.
        rank: this process's rank.
        restarts: how often the run was started again before.
        carried: totals (`skipped/D`, `skipped/G`, `damaged`) that a resumed run goes on from. Counters count
            from zero in each process all the same: one that came back at a lower value than it had, but not
            at zero, would look to `rate()` like a burst of that many.

    Raises:
        ImportError: prometheus-client is not installed.
    """

    def __init__(self, run: str, rank: int, *, restarts: int = 0, carried: Mapping[str, float] | None = None):
        import prometheus_client as prometheus

        self.registry = prometheus.CollectorRegistry()
        self._labels = (run, str(rank))
        self._totals = dict(carried or {})
        self._server: tuple[WSGIServer, Thread] | None = None
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
        # Looked up once: step() is called in the training loop.
        self._images = self._series("gandist_images_total")
        self._steps = self._series("gandist_steps_total")
        self._step_s = self._series("gandist_step_seconds")
        self._data_wait_s = self._series("gandist_data_wait_seconds")
        # Counters exist from the start, or increase() would miss their first step away from zero.
        for metric in METRICS:
            if metric.kind == "counter":
                for value in metric.keys.values():
                    self._series(metric.name, value)
        self._series("gandist_restarts_total").inc(restarts)
        self._series("gandist_start_timestamp_seconds").set(time.time())

    def _series(self, name: str, value: str = "") -> Any:
        return self._metrics[name].labels(*self._labels, *filter(None, [value]))

    def serve(self, host: str, port: int) -> int:
        """Serve `/metrics` on a thread of this process; returns the port.

        Port 0 takes any free one. So does a port that is taken, with a warning: an earlier attempt may still
        be dying on it, which is no reason to stop training.

        Raises:
            ConfigError: `host` is not an address of this machine.
        """
        from prometheus_client import start_http_server

        try:
            self._server = start_http_server(port, host, self.registry)
        except (OSError, OverflowError) as error:
            try:
                self._server = start_http_server(0, host, self.registry)
            except OSError as fault:
                raise ConfigError(f"telemetry.host: cannot serve metrics on {host!r}: {fault}") from fault
            taken = self._server[0].server_port
            logger.warning("telemetry.port: %d is not to be had (%s); serving on port %d", port, error, taken)
        return int(self._server[0].server_port)

    def step(self, images: int, step_s: float, data_wait_s: float) -> None:
        self._images.inc(images)
        self._steps.inc()
        self._step_s.observe(step_s)
        self._data_wait_s.observe(data_wait_s)

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
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
            self._server = None


def open_telemetry(
    enabled: bool, run: str, rank: int, *, restarts: int = 0, carried: Mapping[str, float] | None = None
) -> Silent:
    """A rank's telemetry: silent where it is off, or (with a warning) where prometheus-client is missing."""
    if not enabled:
        return Silent()
    try:
        return Telemetry(run, rank, restarts=restarts, carried=carried)
    except ImportError:
        logger.warning("prometheus-client is not installed: this run serves no metrics (pip install prometheus-client)")
        return Silent()


def target(host: str, port: int) -> str:
    """The `host:port` at which Prometheus reaches what is served on `host`, an address or a wildcard."""
    if host in ("", "0.0.0.0", "::"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # Connecting a datagram socket sends nothing; it picks the address that other machines see.
                probe.connect(("192.0.2.1", 9))
                host = probe.getsockname()[0]
            except OSError:
                host = socket.gethostname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def write_targets(path: Path, targets: Sequence[str], labels: Mapping[str, str] | None = None) -> None:
    """Write the `host:port` addresses of a run's ranks as a Prometheus `file_sd` file, atomically.

    Raises:
        ValueError: a label that the metrics carry too: Prometheus would rename theirs to `exported_...`.
    """
    clash = {"run", "rank", "player"} & set(labels or {})
    if clash:
        raise ValueError(f"labels of the metrics themselves cannot be target labels: {', '.join(sorted(clash))}")
    groups = [{"targets": list(targets), "labels": dict(labels or {})}]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(groups, indent=1) + "\n")
    temporary.replace(path)
