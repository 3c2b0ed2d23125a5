"""Each alert fires in series that were made to provoke it, alone, and none does while a run is well, is started again
in new pods, or has ended: by `promtool test rules`."""

import itertools
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from cluster.alerts import ALERTS, RUNBOOK, groups
from cluster.monitoring import ROOT
from cluster.promql import duration, promql
from gandist.monitoring.health import State
from gandist.monitoring.metrics import PHASES

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="the program promtool is not installed (Debian package prometheus)"
)
RULES = ROOT / "cluster/prometheus/rules.yml"
MINUTES = 120
RANKS = ("0", "1")
STATES: tuple[State, ...] = ("healthy", "overfitting", "unfaithful", "collapsing", "diverged")

Values = dict[tuple[str, str], Callable[[int], float | None]]
"""Of each series, by name with its labels and by rank: its value so many minutes after the beginning; None: no sample,
and the series has ended where the one before was a sample."""


def healthy() -> Values:
    """Two ranks, 2,000 images a second together, a checkpoint every ten minutes."""
    values: Values = {}
    for rank in RANKS:
        values |= {
            ("gandist_images_total", rank): lambda t: 60_000 * t,
            ("gandist_steps_total", rank): lambda t: 1000 * t,
            ("gandist_step_seconds_sum", rank): lambda t: 60 * t,
            ("gandist_data_wait_seconds_sum", rank): lambda t: 3 * t,
            ('gandist_skipped_steps_total{player="D"}', rank): lambda t: 2 * t,
            ('gandist_skipped_steps_total{player="G"}', rank): lambda t: 0,
            ("gandist_restarts_total", rank): lambda t: 0,
            ("gandist_step_timestamp_seconds", rank): lambda t: 60 * t,
            ("gandist_images_seen", rank): lambda t: 120_000 * t,
            ("gandist_goal_images", rank): lambda t: 120_000 * 1000,
            ("gandist_images_per_second", rank): lambda t: 2000,
            ("gandist_world_size", rank): lambda t: 2,
            ("gandist_device_memory_used_bytes", rank): lambda t: 50e9,
            ("gandist_device_memory_limit_bytes", rank): lambda t: 80e9,
        }
        values |= _states("gandist_verdict", STATES, rank, lambda t: "healthy")
        values |= _states("gandist_phase", PHASES, rank, lambda t: "training")
    return values | {("gandist_checkpoint_timestamp_seconds", "0"): lambda t: t // 10 * 600}


def _states(name: str, states: Iterable[str], rank: str, state: Callable[[int], str | None]) -> Values:
    def value(each: str) -> Callable[[int], float | None]:
        return lambda t: None if state(t) is None else float(state(t) == each)

    return {(f'{name}{{{name}="{each}"}}', rank): value(each) for each in states}


def on_all(changes: dict[str, Callable[[int], float | None]]) -> Values:
    return {(name, rank): value for name, value in changes.items() for rank in RANKS}


def verdict(state: Callable[[int], str]) -> Values:
    return _states("gandist_verdict", STATES, "0", state) | _states("gandist_verdict", STATES, "1", state)


def within(values: Values, low: int, high: int) -> Values:
    """The same from minute `low` to before minute `high`, with counters that begin at zero."""

    def cut(name: str, value: Callable[[int], float | None]) -> Callable[[int], float | None]:
        counter = re.match(r"gandist_(?!restarts)\w+(_total|_sum)\b", name) is not None
        return lambda t: value(t - low if counter else t) if low <= t < high else None

    return {(name, rank): cut(name, value) for (name, rank), value in values.items()}


class Case(NamedTuple):
    lives: list[Values]
    """One of a run after the other, each in pods of its own."""
    firing: dict[int, set[str]]
    """Alerts that fire so many minutes after the beginning; all others are silent."""


def stop(minute: int, rate: float) -> Callable[[int], float]:
    return lambda t: rate * min(t, minute)


def constant(value: float, t: int) -> float:
    return value


def saved(start: int, t: int) -> float:
    """Time of the newest checkpoint: every ten minutes after the process started."""
    return max(60 * start, t // 10 * 600)


def restarted(times: list[int]) -> list[Values]:
    """A run that began at 0, and again in new pods two minutes before each of these."""
    lives = []
    for number, (low, high) in enumerate(itertools.pairwise([0, *times, MINUTES])):
        attempt = healthy() | on_all({"gandist_restarts_total": partial(constant, number)})
        attempt |= {("gandist_checkpoint_timestamp_seconds", "0"): partial(saved, low)}
        lives.append(within(attempt, low, high if high == MINUTES else high - 2))
    return lives


SILENT = {
    "healthy": Case([healthy()], {20: set(), 60: set(), 119: set()}),
    "started again in new pods": Case(restarted([40, 80]), {39: set(), 41: set(), 43: set(), 90: set(), 119: set()}),
    "ended": Case(
        [within(healthy() | on_all({"gandist_goal_images": lambda t: 120_000 * 60}), 0, 60)],
        {59: set(), 61: set(), 66: set(), 80: set(), 119: set()},
    ),
    "ended, and its last checkpoint takes long": Case(
        [
            healthy()
            | on_all({"gandist_step_timestamp_seconds": stop(30, 60), "gandist_steps_total": stop(30, 1000)})
            | on_all({"gandist_images_total": stop(30, 60_000), "gandist_step_seconds_sum": stop(30, 60)})
            | on_all({"gandist_data_wait_seconds_sum": stop(30, 3)})
            | on_all({'gandist_skipped_steps_total{player="D"}': stop(30, 2)})
            | {("gandist_checkpoint_timestamp_seconds", "0"): stop(30, 60)}
            | _states("gandist_phase", PHASES, "0", lambda t: "training" if t <= 30 else "ended")
        ],
        {32: set(), 60: set(), 119: set()},
    ),
    "a long evaluation": Case(
        [
            healthy()
            | on_all({"gandist_step_timestamp_seconds": lambda t: 60 * (t if t < 30 or t > 55 else 30)})
            | _states("gandist_phase", PHASES, "0", lambda t: "evaluating" if 30 <= t <= 55 else "training")
        ],
        {45: set(), 57: set()},
    ),
}

PROVOKED = {
    "GandistRunStalled": Case(
        [healthy() | on_all({"gandist_step_timestamp_seconds": stop(30, 60), "gandist_steps_total": stop(30, 1000)})],
        {30: set(), 40: set(), 45: {"GandistRunStalled"}},
    ),
    "GandistRunGone": Case(
        [within(healthy(), 0, 30)], {29: set(), 33: set(), 40: {"GandistRunGone"}, 65: set(), 119: set()}
    ),
    "GandistThroughputFell": Case(
        [healthy() | on_all({"gandist_images_per_second": lambda t: 2000 if t < 40 else 1000})],
        {45: set(), 55: {"GandistThroughputFell"}, 119: set()},
    ),
    "GandistDataWaitHigh": Case(
        [healthy() | on_all({"gandist_data_wait_seconds_sum": lambda t: 3 * t if t < 30 else 90 + 30 * (t - 30)})],
        {30: set(), 60: {"GandistDataWaitHigh"}},
    ),
    "GandistCollapsing": Case(
        [healthy() | verdict(lambda t: "collapsing" if 30 <= t < 60 else "healthy")],
        {29: set(), 31: {"GandistCollapsing"}, 61: set()},
    ),
    "GandistUnfaithful": Case(
        [healthy() | verdict(lambda t: "unfaithful" if 30 <= t < 60 else "healthy")],
        {29: set(), 31: {"GandistUnfaithful"}, 61: set()},
    ),
    "GandistDiverged": Case(
        [healthy() | verdict(lambda t: "diverged" if t == 30 else "healthy")],
        {29: set(), 31: {"GandistDiverged"}, 47: set()},
    ),
    "GandistNonfiniteSteps": Case(
        [healthy() | on_all({'gandist_skipped_steps_total{player="G"}': lambda t: 100 * max(0, t - 30)})],
        {30: set(), 60: {"GandistNonfiniteSteps"}},
    ),
    "GandistCheckpointOld": Case(
        [healthy() | {("gandist_checkpoint_timestamp_seconds", "0"): lambda t: min(t // 10, 2) * 600}],
        {75: set(), 90: {"GandistCheckpointOld"}},
    ),
    "GandistRestartsRepeated": Case(
        [
            *restarted([10, 20, 30, 40])[:-1],
            within(healthy() | on_all({"gandist_restarts_total": lambda t: 4}), 40, 60),
        ],
        {
            21: set(),
            42: {"GandistRestartsRepeated"},
            66: {"GandistRunGone", "GandistRestartsRepeated"},
            75: {"GandistRunGone"},
            119: set(),
        },
    ),
    "GandistRankMissing": Case(
        [healthy() | {key: value for key, value in within(healthy(), 0, 30).items() if key[1] == "1"}],
        {29: set(), 31: set(), 34: {"GandistRankMissing"}},
    ),
    "GandistRanksUneven": Case(
        [healthy() | {("gandist_data_wait_seconds_sum", "1"): lambda t: 3 * t if t < 30 else 90 + 17 * (t - 30)}],
        {30: set(), 60: {"GandistRanksUneven"}},
    ),
    "GandistDeviceMemoryNearFull": Case(
        [healthy() | {("gandist_device_memory_used_bytes", "1"): lambda t: 50e9 if t < 30 else 78e9}],
        {31: set(), 40: {"GandistDeviceMemoryNearFull"}},
    ),
}  # fmt: skip


def series(case: Case) -> list[dict[str, str]]:
    """In promtool's notation, with an instance and a pod for each rank of each life."""
    found = []
    for life, values in enumerate(case.lives):
        for (name, rank), value in values.items():
            points = [value(t) for t in range(MINUTES + 1)]
            samples = [
                (("stale" if t and points[t - 1] is not None else "_") if point is None else f"{point:.12g}")
                for t, point in enumerate(points)
            ]
            labels = f'run="demo",rank="{rank}",instance="10.0.{life}.{rank}:9464",pod="demo-{life}-{rank}"'
            own = re.search(r"\{(.*)\}", name)
            labels += f",{own[1]}" if own else ""
            found.append({"series": f"{name.partition('{')[0]}{{{labels}}}", "values": " ".join(samples)})
    return found


def firing(names: set[str]) -> list[dict[str, Any]]:
    samples = []
    for alert in ALERTS:
        if alert.name in names:
            labels = {"alertname": alert.name, "alertstate": "firing", "severity": alert.severity, "run": "demo"}
            labels |= {"rank": "1"} if alert.name == "GandistDeviceMemoryNearFull" else {}
            rendered = ", ".join(f'{key}="{value}"' for key, value in labels.items())
            samples.append({"labels": f"ALERTS{{{rendered}}}", "value": 1})
    return samples


def run_promtool(cases: dict[str, Case], rules: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": series(case),
            "promql_expr_test": [
                {"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{minute}m", "exp_samples": firing(names)}
                for minute, names in case.firing.items()
            ],
        }
        for name, case in cases.items()
    ]
    file = folder / "cases.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))
    return subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, timeout=60)


@needs_promtool
def test_each_alert_fires_where_it_is_provoked_and_nowhere_else(tmp_path: Path) -> None:
    assert [alert.name for alert in ALERTS] == list(PROVOKED)
    for name, case in PROVOKED.items():
        assert any(name in names for names in case.firing.values())
        assert set() in case.firing.values()
    done = run_promtool(SILENT | PROVOKED, RULES, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_cases_find_rules_that_were_changed(tmp_path: Path) -> None:
    rules, cases = tmp_path / "rules.yml", SILENT | PROVOKED
    for before, after, name in (
        ("for: 1m", "for: 30m", "GandistRunStalled"),
        ("> 0.95", "> 0.99", "GandistDeviceMemoryNearFull"),
        ("|ended", "", "ended, and its last checkpoint takes long"),
    ):
        for text, faults in ((RULES.read_text(), 0), (RULES.read_text().replace(before, after), 1)):
            rules.write_text(text)
            assert run_promtool({name: cases[name]}, rules, tmp_path).returncode == faults


def test_a_query_names_only_what_is_declared() -> None:
    assert promql("time() - gandist_step_timestamp_seconds > 10m") == "time() - gandist_step_timestamp_seconds > 600"
    assert promql("rate(gandist_step_seconds_sum[10m])") == "rate(gandist_step_seconds_sum[10m])"
    assert promql("(x)[1h:1m] > 2h", speed=60) == "(x)[60000ms:1000ms] > 120"
    assert duration("10m") == "10m"
    assert duration("10m", speed=100) == "6000ms"
    assert duration("0s", speed=60) == "0ms"
    for wrong, reason in {
        "gandist_image_total": "gandist_image_total is not",
        "gandist_step_seconds": "gandist_step_seconds is not",
        "gandist_loss_sum": "gandist_loss_sum is not",
        'gandist_loss{pod="a"}': "no label pod",
        'gandist_loss{player="E"}': "no player='E'",
        'gandist_images_seen{le="1"}': "no label le",
        'gandist_verdict{gandist_verdict=~"healthy|wrong"}': "wrong",
        'gandist_trials{run="a"}': "no label run",
        "max by (run, pod) (gandist_loss)": "label pod",
    }.items():
        with pytest.raises(ValueError, match=reason):
            promql(wrong)


def test_every_alert_has_its_entry_in_the_runbook() -> None:
    headings = re.findall(r"^### (\w+)$", (ROOT / RUNBOOK).read_text(), re.MULTILINE)
    assert headings == [alert.name for alert in ALERTS]
    for rule, alert in zip(groups()["groups"][0]["rules"], ALERTS, strict=True):
        assert rule["annotations"]["runbook"] == f"{RUNBOOK}#{alert.name.lower()}"
