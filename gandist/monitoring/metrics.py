"""Every Prometheus metric, declared once; `telemetry.py` serves them.

Each series of a run is labelled by `run` and `rank`, never by process, so a restarted rank continues its series. The
metrics marked *run-wide* have the same value on every rank: take their `max by (run)`, not their sum. The number of
series is bounded: all label values are declared here.

Counters start at zero in each process; rate() and increase() handle this reset. Counts after a killed process's last
scrape are lost, so a rate is too low for one interval, never too high. If a restart also changes the target
(`instance`, `pod`), the new series adds to the old one: `sum by (run, rank) (rate(...))`.

`gandist_restarts_total` alone counts for the run, not the process: it starts at the number of earlier attempts, which
increase() does not see on a new target's series. Apply increase() to the run's maximum, which is independent of the
target: `increase((max by (run) (gandist_restarts_total))[1h:1m])`.

A process takes its series with it. Values set after the last scrape are lost.
"""

from typing import Any, Literal, NamedTuple, get_args

from gandist.monitoring.health import MOTION, SIGNALS, SIGNALS_OF_SAMPLES, State

STEP_BUCKETS_S = (0.001, 0.003, 0.006, 0.01, 0.02, 0.03, 0.06, 0.1, 0.2, 0.3, 0.6, 1, 2, 3, 6, 10, 30)
WAIT_BUCKETS_S = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
CHECKPOINT_BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600)


class Metric(NamedTuple):
    kind: Literal["counter", "gauge", "histogram", "enum"]
    name: str
    unit: str
    help: str
    row: str = ""
    """Key of a tick's row with its value; for a metric with a `label`, the part of the keys before the `/`."""
    label: str = ""
    """Label besides `run` and `rank`; its value is the part of the row's key after the `/`."""
    values: tuple[str, ...] = ()
    """Values of the label; an enum's states."""
    buckets: tuple[float, ...] = ()

    @property
    def keys(self) -> dict[str, str]:
        """Keys of a row with its values, and the label value of each."""
        return {f"{self.row}/{value}": value for value in self.values} if self.label else {self.row: ""}


STATES = (
    *("pending", "running", "paused", "done", "stopped"),
    *("overfitting", "unfaithful", "collapsing", "diverged", "crashed"),
)
"""States of a sweep's trial: `stopped` by the scheduler; `overfitting`, `unfaithful`, `collapsing` and `diverged` by
the verdict on its run's health; `crashed` by an error."""

RESTORED = (
    *("psnr", "ssim", "pd-effnet-lite0", "pd-classifier", "l1", "l1_hole", "ssim_hole", "variety"),
    *("mel_l1", "stft", "stoi"),
)
"""Measures of outputs beside their targets, of a run whose G is given samples."""
OF_MOTION = ("motion", "motion_spread", "consistency", "frozen")
"""Measures of clips, of which none is better the higher, or the lower: real clips' values are right."""
TEXTS = (
    *("js_1", "js_2", "js_3", "js_4", "novel", "dictionary", "unique", "distinct_2"),
    *("bleu", "self_bleu", "length_distance", "nll_held_out", "nll_oracle"),
)
"""Measures of texts."""
MEASURES = (
    *("fid", "fd-effnet-lite0", "fd-classifier", "fad-classifier", "fad-bands", "fad-torchscript"),
    *("fvd-classifier", "fvd-torchscript", "fd-frames-effnet-lite0", "fd-frames-classifier", "fd-ngrams", "fd-minilm"),
    *("kid", "kid_se", "is"),
    *("precision", "recall", "density", "coverage", "memorisation", "ppl", "fd_worst_class", "recognised"),
    *OF_MOTION,
    *RESTORED,
    *TEXTS,
)
"""Measures of an evaluation, without those of single classes."""
SIGNAL_NAMES = tuple(name.partition("/")[2] for name in (*SIGNALS, *SIGNALS_OF_SAMPLES, MOTION))
PHASES = ("starting", "training", "evaluating", "ended")
"""Phases of a rank. `ended`: its loop is over, and only the last checkpoint remains to be written."""
PLAYERS: dict[str, Any] = {"label": "player", "values": ("D", "G")}


# Names are as in Prometheus, so that the metric of a dashboard's query is easy to find here.
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
        "Times that the run was started again, before this process too; run-wide.",
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
        "Unix time of the newest checkpoint, of the process's start before its first: its age is the work that a crash "
        "would lose. Of rank 0.",
    ),
    Metric(
        "gauge", "gandist_start_timestamp_seconds", "seconds",
        "Unix time at which this process started to train.",
    ),
    Metric(
        "gauge", "gandist_step_timestamp_seconds", "seconds",
        "Unix time at which this rank last finished a step, or went from one phase into another.",
    ),
    Metric(
        "enum", "gandist_phase", "",
        "What this rank does.",
        values=PHASES,
    ),
    Metric(
        "gauge", "gandist_images_seen", "",
        "Real images shown to D by all ranks, before restarts too: the position in the run; run-wide.",
        row="images_seen",
    ),
    Metric(
        "gauge", "gandist_goal_images", "images",
        "Real images that the run is to be trained on; run-wide.",
        row="goal",
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
        row="signal", label="signal", values=SIGNAL_NAMES,
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
    Metric(
        "gauge", "gandist_device_memory_used_bytes", "bytes",
        "Memory in use on this rank's device, by whatever; on CPUs that of its cgroup, or of the machine.",
        row="memory_used_bytes",
    ),
    Metric(
        "gauge", "gandist_device_memory_limit_bytes", "bytes",
        "Memory that this rank's device has; on CPUs the limit of its cgroup, or what the machine has.",
        row="memory_limit_bytes",
    ),
)  # fmt: skip

SWEEP_METRICS = (
    Metric(
        "gauge", "gandist_trials", "",
        "Trials of a sweep by their state.",
        label="state", values=STATES,
    ),
    Metric(
        "gauge", "gandist_sweep_images", "images",
        "Images that the trials of a sweep were trained on, all together.",
    ),
    Metric(
        "gauge", "gandist_sweep_best", "",
        "Metric of a sweep's best trial so far.",
    ),
)  # fmt: skip
"""Metrics of a sweep's driver, labelled by `sweep`."""
