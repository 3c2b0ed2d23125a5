"""Prometheus alerts, declared once: the plain rules and Kubernetes' PrometheusRule are generated from them.

Series are aggregated by run, and by rank if the rank matters: `instance` and `pod` change at a restart. Counters start
at zero in each process, so rates are taken before sums. A run that has ended takes its series with it; lookbacks
(`..._over_time`) span minutes, so that no alert stays forever. `up` is not used: the targets of an ended run stay in
its file, and pods exist before they train.
"""

from typing import Any, Literal, NamedTuple

from cluster.promql import duration, promql

RUNBOOK = "docs/monitoring.md"


class Alert(NamedTuple):
    name: str
    lasting: str
    """How long `expr` must hold."""
    severity: Literal["warning", "critical"]
    expr: str
    summary: str
    description: str

    @property
    def anchor(self) -> str:
        """Anchor of the alert's entry in the runbook."""
        return self.name.lower()


ENDED = 'unless on (run) max by (run) (gandist_phase{gandist_phase="ended"}) == 1'
BUSY = 'unless on (run) max by (run) (gandist_phase{gandist_phase=~"evaluating|ended"}) == 1'
RUN = "Run {{ $labels.run }}"
PERCENTAGE = "{{ $value | humanizePercentage }}"
AGE = "{{ $value | humanizeDuration }}"


def wait_share(by: str) -> str:
    """Share of the step time spent waiting for images."""
    wait, step = (f"sum by ({by}) (rate(gandist_{part}_seconds_sum[10m]))" for part in ("data_wait", "step"))
    return f"{wait} / {step}"


ALERTS = (
    Alert(
        "GandistRunStalled", "1m", "critical",
        f"time() - max by (run) (gandist_step_timestamp_seconds) > 10m {BUSY}",
        f"{RUN} takes no steps.",
        f"The last step of any rank was {AGE} ago, and no evaluation is going on.",
    ),
    Alert(
        # This much work left means that the run was cut off: a run that ends well has less left.
        "GandistRunGone", "5m", "critical",
        "max by (run) (last_over_time(gandist_images_seen[30m]))"
        " + 10m * max by (run) (last_over_time(gandist_images_per_second[30m]))"
        " < max by (run) (last_over_time(gandist_goal_images[30m]))"
        " unless on (run) count by (run) (gandist_steps_total)",
        f"{RUN} has disappeared before its goal.",
        "None of its ranks has been seen for five minutes, and more than ten minutes of work were left.",
    ),
    Alert(
        "GandistThroughputFell", "10m", "warning",
        "max by (run) (gandist_images_per_second)"
        " < 0.6 * quantile_over_time(0.5, (max by (run) (gandist_images_per_second))[1h:1m])",
        f"{RUN} has become slower.",
        "It trains on {{ $value | humanize }} images per second, less than 0.6 times its median of the last hour.",
    ),
    Alert(
        "GandistDataWaitHigh", "15m", "warning",
        f"{wait_share('run')} > 0.3",
        f"{RUN} waits for its images.",
        f"{PERCENTAGE} of the time of a step is spent waiting for data.",
    ),
    Alert(
        "GandistCollapsing", "0s", "warning",
        'max by (run) (gandist_verdict{gandist_verdict="collapsing"}) == 1',
        "G of run {{ $labels.run }} collapses.",
        "Its images have become alike; the reason is in the last rows of metrics.jsonl.",
    ),
    Alert(
        "GandistUnfaithful", "0s", "warning",
        'max by (run) (gandist_verdict{gandist_verdict="unfaithful"}) == 1',
        "G of run {{ $labels.run }} does not do what its condition asks.",
        "Its outputs belong to no input, or are copies of it; the reason is in the last rows of metrics.jsonl.",
    ),
    Alert(
        # After a roll-back the verdict is healthy again within a tick.
        "GandistDiverged", "0s", "critical",
        'max by (run) (max_over_time(gandist_verdict{gandist_verdict="diverged"}[15m])) == 1',
        f"{RUN} has diverged.",
        "A loss, gradient or distance has exploded; what was done about it is in the run's log.",
    ),
    Alert(
        "GandistNonfiniteSteps", "5m", "warning",
        "max by (run) (increase(gandist_skipped_steps_total[30m]))"
        " / max by (run) (increase(gandist_steps_total[30m])) > 0.05",
        f"{RUN} skips steps.",
        f"A player's gradient was not finite in {PERCENTAGE} of the steps of the last half hour.",
    ),
    Alert(
        "GandistCheckpointOld", "5m", "warning",
        f"time() - max by (run) (gandist_checkpoint_timestamp_seconds) > 1h {ENDED}",
        f"{RUN} has written no checkpoint for long.",
        f"A crash would lose the work of {AGE}.",
    ),
    Alert(
        # The count is the run's, and a new target's series starts at it: take the maximum first, then its increase.
        "GandistRestartsRepeated", "0s", "warning",
        "increase((max by (run) (gandist_restarts_total))[1h:1m]) > 2.5"
        " and on (run) count by (run) (last_over_time(gandist_restarts_total[10m]))",
        f"{RUN} is started again and again.",
        "It was started {{ $value | humanize }} times more within an hour.",
    ),
    Alert(
        # All ranks step together: a rank whose last step is older than another's is gone, whichever process serves it.
        "GandistRankMissing", "2m", "critical",
        "max by (run) (gandist_world_size) > count by (run) (max by (run, rank) (gandist_step_timestamp_seconds)"
        f" > on (run) group_left () (max by (run) (gandist_step_timestamp_seconds) - 2m)) {ENDED}",
        "Ranks of run {{ $labels.run }} are missing.",
        "Of {{ $value }} ranks not all are seen to take steps.",
    ),
    Alert(
        "GandistRanksUneven", "15m", "warning",
        f"max by (run) ({wait_share('run, rank')}) - min by (run) ({wait_share('run, rank')}) > 0.2",
        "Ranks of run {{ $labels.run }} wait for each other.",
        f"One rank waits for its images in {PERCENTAGE} more of its time than another; all go at its pace.",
    ),
    Alert(
        "GandistDeviceMemoryNearFull", "5m", "warning",
        "max by (run, rank) (gandist_device_memory_used_bytes)"
        " / max by (run, rank) (gandist_device_memory_limit_bytes) > 0.95",
        "The device of rank {{ $labels.rank }} of run {{ $labels.run }} is nearly full.",
        f"{PERCENTAGE} of its memory is in use.",
    ),
)  # fmt: skip


def groups(speed: float = 1.0) -> dict[str, Any]:
    """The rules in Prometheus's form; `speed`: factor that shortens their durations, for tests."""
    rules = [
        {
            "alert": alert.name,
            "expr": promql(alert.expr, speed),
            "for": duration(alert.lasting, speed),
            "labels": {"severity": alert.severity},
            "annotations": {
                "summary": alert.summary,
                "description": alert.description,
                "runbook": f"{RUNBOOK}#{alert.anchor}",
            },
        }
        for alert in ALERTS
    ]
    return {"groups": [{"name": "gandist", "rules": rules}]}
