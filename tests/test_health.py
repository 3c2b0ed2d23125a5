"""Verdicts on what real runs recorded, on rows made for each rule, and what is done about them.

`tests/recorded/` holds the signs of real runs, a row a tick; docs/quality.md has their commands.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from gandist.health import Action, Verdict, decide, judge
from gandist.objectives import OBJECTIVES
from gandist.sections import HealthSection

RECORDED = Path(__file__).parent / "recorded"


def read(name: str) -> tuple[list[dict[str, Any]], bool]:
    """The rows of a recorded run, and whether its objective is centred."""
    head, *rows = map(json.loads, (RECORDED / f"{name}.jsonl").read_text().splitlines())
    objective = OBJECTIVES.get(head["objective"])
    return rows, objective is not None and objective.centred


def changes(name: str) -> list[tuple[int, str]]:
    """Images seen, and the verdict, wherever that changes."""
    rows, centred = read(name)
    states = [(rows[i - 1]["images_seen"], judge(rows[:i], centred).state) for i in range(1, len(rows) + 1)]
    return [next(group) for _, group in itertools.groupby(states, key=lambda pair: pair[1])]


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDED.glob("ok-*.jsonl")))
def test_no_false_alarm(name: str) -> None:
    assert [state for _, state in changes(name)] == ["healthy"]


@pytest.mark.parametrize(("name", "state", "at"), [
    ("collapse", "collapsing", 8000),
    ("chase", "collapsing", 10048),
    ("lr100-cgan", "diverged", 2048),
    ("lr100-wgan-gp", "diverged", 8000),
    ("few", "overfitting", 180096),  # recorded without the diversity within classes, which is first to tell
    ("few-within", "collapsing", 132096),
    ("ramp", "diverged", 40000),
])  # fmt: skip
def test_a_run_that_failed_is_found_out(name: str, state: str, at: int) -> None:
    found = {state: seen for seen, state in reversed(changes(name))}
    assert found[state] == at
    assert found.keys() <= {"healthy", state}


HEALTHY = {
    "loss/D": 0.7, "loss/G": 0.9, "grad_norm/D": 2.0, "grad_norm/G": 1.5, "sign/real": 0.5, "signal/diversity": 0.9,
    "signal/nonfinite": 0.0, "steps": 60,
}  # fmt: skip


def evaluated(*distances: float, **others: float) -> list[dict[str, Any]]:
    return [{**HEALTHY, "quality/fid": distance, **others} for distance in distances]


def verdict(rows: list[dict[str, Any]], centred: bool = True) -> Verdict:
    return judge([{"images_seen": 1000 * i, **row} for i, row in enumerate(rows, 1)], centred)


@pytest.mark.parametrize(("rows", "state", "reason"), [
    ([HEALTHY] * 60, "healthy", ""),
    ([HEALTHY] * 9 + [{**HEALTHY, "loss/G": None}], "diverged", "loss/G was finite in no step"),
    ([{**HEALTHY, "signal/nonfinite": 1.0, "steps": 8}] * 2, "healthy", ""),
    ([HEALTHY] * 9 + [{**HEALTHY, "signal/nonfinite": 0.2}], "healthy", ""),
    ([HEALTHY] * 8 + [{**HEALTHY, "signal/nonfinite": 0.2}] * 2, "diverged", "20% of the steps"),
    ([HEALTHY] * 9 + [{**HEALTHY, "grad_norm/G": 900.0}], "healthy", ""),
    ([HEALTHY] * 8 + [{**HEALTHY, "grad_norm/G": 900.0}] * 2, "diverged", "grad_norm/G is 900, and was 1.5"),
    ([{**HEALTHY, "loss/D": -2000.0}], "diverged", "loss/D is 2e+03"),
    (evaluated(50, 10, 12, 9, 11), "healthy", ""),
    (evaluated(50, 10, 40), "healthy", ""),
    (evaluated(50, 10, 40, 60), "diverged", "quality/fid is 60, and was 10"),
    ([HEALTHY] * 5 + [{**HEALTHY, "signal/diversity": 0.4}] * 3, "collapsing", "differed 0.90 times"),
    ([HEALTHY] * 5 + [{**HEALTHY, "signal/diversity": 0.4}] * 2, "healthy", ""),
    ([{**HEALTHY, "signal/diversity": d} for d in (0.1, 0.1, 0.2, 0.3, 0.9)], "healthy", ""),
    ([{**HEALTHY, "signal/diversity": 0.2}] * 24, "healthy", ""),
    ([{**HEALTHY, "signal/diversity": 0.2}] * 25, "collapsing", "differ 0.20 times"),
    ([{**HEALTHY, "signal/diversity": 0.01}] * 5, "collapsing", "they are one"),
    ([{**HEALTHY, "signal/diversity_within": 0.2}] * 25, "collapsing", "images of one class of G differ 0.20 times"),
    ([{**HEALTHY, "signal/diversity": 0.3}] + [{**HEALTHY, "signal/diversity": 0.3, "grad_norm/G": 1e-4}] * 3,
     "collapsing", "no gradient"),
    ([{**HEALTHY, "signal/diversity": 0.3}, {**HEALTHY, "signal/diversity": 0.3, "grad_norm/G": None}]
     + [{**HEALTHY, "signal/diversity": 0.3, "grad_norm/G": 1e-4}] * 3, "collapsing", "no gradient"),
    (evaluated(50, 10, **{"quality/coverage": 0.5}) + evaluated(9, 9, **{"quality/coverage": 0.2}),
     "collapsing", "coverage of the real images is 0.20, and was 0.50"),
    (evaluated(50, 10, **{"quality/memorisation": 0.4}), "overfitting", "0.40 times as far from training images"),
    (evaluated(50, 10, 14, 15, **{"sign/real": 0.97}), "overfitting", "mean sign is 0.97), and quality/fid is 15"),
    (evaluated(50, 10, 14, 15), "healthy", ""),
])  # fmt: skip
def test_each_rule(rows: list[dict[str, Any]], state: str, reason: str) -> None:
    found = verdict(rows)
    assert (found.state, reason in found.reason) == (state, True), found


def test_a_sign_counts_only_where_0_tells_real_from_fake() -> None:
    assert verdict(evaluated(50, 10, 14, 15, **{"sign/real": 1.0}), centred=False).state == "healthy"


def test_another_extractor_is_another_scale() -> None:
    rows = [*evaluated(5, 5), *({**HEALTHY, "quality/fd-classifier": d} for d in (60.0, 50.0))]
    assert verdict(rows).state == "healthy"


def test_what_is_done() -> None:
    plan, ill = HealthSection(), Verdict("diverged", "loss")
    assert decide(Verdict(), plan, 0, None, False) == Action()
    assert decide(Verdict("overfitting", "x"), plan, 0, 7, False) == Action("warn", "overfitting: x")
    assert decide(ill, plan, 0, 7, False) == Action("roll_back", "diverged: loss", 7)
    assert decide(ill, plan, 2, 7, False).kind == "stop"
    assert decide(ill, plan, 0, None, False).kind == "stop"
    assert decide(ill, plan, 0, 7, done=True).kind == "warn"
    assert decide(ill, HealthSection(diverged="ignore"), 0, 7, False).kind == "ignore"
