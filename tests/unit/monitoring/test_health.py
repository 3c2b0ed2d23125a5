"""Verdicts on what real runs recorded, on rows made for each rule, and what is done about them.

`tests/helpers/recorded_runs/` holds the signs of real runs, a row a tick; docs/quality.md has their commands.
"""

import itertools
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gandist.config.run import load, validate
from gandist.config.sections import HealthSection
from gandist.monitoring.health import LOGITS, Action, Method, Verdict, decide, judge
from gandist.monitoring.method import method_of

RECORDED = Path(__file__).parents[2] / "helpers/recorded_runs"


@cache
def method(objective: str, resolution: int = 32, channels: int = 1) -> Method:
    of_its_own = {"elbo": "vae", "none": "superres-fashion"}.get(objective)
    changes = [f"model.resolution={resolution}", f"data.channels={channels}"]
    changes += [] if objective == "elbo" else [f"game.objective={objective}"]
    return method_of(load(of_its_own or "demo", changes))


def read(name: str) -> tuple[list[dict[str, Any]], Method]:
    """The rows of a recorded run, and what its first line says of its method."""
    head, *rows = map(json.loads, (RECORDED / f"{name}.jsonl").read_text().splitlines())
    return rows, method(**head)


def changes(name: str) -> list[tuple[int, str]]:
    """Images seen, and the verdict, wherever that changes."""
    rows, of = read(name)
    states = [(rows[i - 1]["images_seen"], judge(rows[:i], of).state) for i in range(1, len(rows) + 1)]
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
    ("lr100-vae-64", "diverged", 2048),
    ("lost-class", "overfitting", 220032),
    ("copies", "unfaithful", 16000),
    ("ignores", "unfaithful", 16000),
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


def verdict(rows: list[dict[str, Any]], of: Method = LOGITS) -> Verdict:
    return judge([{"images_seen": 1000 * i, **row} for i, row in enumerate(rows, 1)], of)


def worst(diversity: float) -> dict[str, Any]:
    return {**HEALTHY, "signal/diversity_within": 0.8, "signal/diversity_worst": diversity, "worst_class": 7}


def of_picture(faithful: float | None, change: float | None = None, steps: int = 60) -> dict[str, Any]:
    """A row of a run whose G is given pictures."""
    found = {**HEALTHY, "signal/faithful": faithful, "steps": steps}
    return found if change is None else {**found, "signal/change": change}


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
    (evaluated(50, 10, 12, 12.2), "healthy", ""),
    (evaluated(50, 10, 14), "healthy", ""),
    (evaluated(50, 10, 14, 12, 14, 12), "healthy", ""),
    (evaluated(50, 10, 12, 14, 15), "overfitting", "quality/fid is 15, and was 10 at 2,000 images"),
    # A class is lost, the others make up for it.
    ([{**row, "quality/fd_worst_class": d} for row, d in zip(evaluated(50, 10, 9, 9), (90, 20, 28, 26), strict=True)],
     "overfitting", "quality/fid of the worst class is 26, and was 20 at 2,000 images"),
    ([{**row, "quality/fd_worst_class": d} for row, d in zip(evaluated(50, 10, 9, 9), (90, 20, 28, 24), strict=True)],
     "healthy", ""),
    ([HEALTHY] * 5 + [worst(0.3)] * 3, "healthy", ""),
    ([worst(0.6)] * 5 + [worst(0.2)] * 3, "collapsing", "of class 7 of G differ 0.20 times as much as real ones, and"),
    ([worst(0.2)] * 25, "collapsing", "two images of class 7 of G differ 0.20 times"),
    ([worst(0.01)] * 5, "collapsing", "of class 7 of G differ 0.01 times as much as real ones: they are one"),
    # What a G makes of the picture that it is given.
    ([of_picture(0.0, 0.0)] * 24, "healthy", ""),
    ([of_picture(0.05)] * 25, "unfaithful", "G ignores its condition: its outputs belong to their targets by 0.05"),
    ([of_picture(0.05)] * 24 + [of_picture(0.15)], "healthy", ""),
    ([of_picture(0.4)] + [of_picture(0.05)] * 2, "healthy", ""),
    ([of_picture(0.4)] + [of_picture(0.05)] * 3, "unfaithful", "by 0.05 (1: wholly), and did by 0.40"),
    ([of_picture(0.2)] + [of_picture(0.05)] * 3, "healthy", ""),
    ([of_picture(None)] + [of_picture(0.05)] * 24, "healthy", ""),
    ([of_picture(0.05, steps=5)] * 99, "healthy", ""),
    ([of_picture(0.05, steps=5)] * 100, "unfaithful", "G ignores its condition"),
    ([of_picture(0.7, 0.05)] * 25, "unfaithful", "it changes what needs no learning by 0.05 of what it lacks"),
    ([of_picture(0.7, 0.05)] * 24 + [of_picture(0.7, 0.2)], "healthy", ""),
    ([of_picture(0.7, 0.5)] * 25, "healthy", ""),
    ([of_picture(0.05)] * 25 + [HEALTHY], "healthy", ""),
    ([{**of_picture(0.0), "signal/diversity": 0.0}] * 5, "collapsing", "they are one"),
    # What clips move.
    ([{**HEALTHY, "signal/motion": 0.09}] * 24, "healthy", ""),
    ([{**HEALTHY, "signal/motion": 0.09}] * 25, "collapsing", "G's images stand still: they move 0.09 times as much"),
    ([{**HEALTHY, "signal/motion": 0.09}] * 24 + [{**HEALTHY, "signal/motion": 0.11}], "healthy", ""),
    ([{**HEALTHY, "signal/motion": 1.0}] + [{**HEALTHY, "signal/motion": 0.05}] * 9, "healthy", ""),
    ([{**HEALTHY, "signal/motion": 1.0}] * 23 + [{**HEALTHY, "signal/motion": 0.05}] * 2, "healthy", ""),
    ([{**HEALTHY, "signal/motion": 1.0}] * 23 + [{**HEALTHY, "signal/motion": 0.05}] * 3, "collapsing", "move 0.05"),
    ([{**HEALTHY, "signal/motion": 0.0}] * 25 + [HEALTHY], "healthy", ""),
    # A large batch has few steps a tick.
    ([{**worst(0.01), "steps": 5}] * 5, "healthy", ""),
    ([{**HEALTHY, "signal/diversity": 0.2, "steps": 5}] * 60, "healthy", ""),
    ([{**HEALTHY, "signal/diversity": 0.2, "steps": 5}] * 100, "collapsing", "differ 0.20 times"),
])  # fmt: skip
def test_each_rule(rows: list[dict[str, Any]], state: str, reason: str) -> None:
    found = verdict(rows)
    assert (found.state, reason in found.reason) == (state, True), found


def test_a_sign_counts_only_where_0_tells_real_from_fake() -> None:
    sure = evaluated(50, 10, 12.2, 12.3, **{"sign/real": 1.0})
    assert verdict(sure).state == "overfitting"
    assert verdict(sure, LOGITS._replace(centred=False)).state == "healthy"


@pytest.mark.parametrize(("objective", "key", "resolution", "channels", "most"), [
    ("ns", "loss/G", 32, 1, 1e3),
    ("ns", "loss/G", 128, 3, 1e3),
    ("rp", "grad_norm/D", 128, 3, 1e5),
    ("wasserstein", "loss/D", 32, 1, 1e3),
    ("wasserstein", "loss/D", 64, 1, 2e3),
    ("wasserstein", "grad_norm/G", 64, 1, 2e5),
    ("elbo", "loss/G", 32, 1, 1e3),
    ("elbo", "loss/G", 64, 3, 12e3),
    ("elbo", "loss/G", 128, 3, 48e3),
    ("elbo", "grad_norm/D", 64, 3, 12e5),
    ("elbo", "loss/D", 64, 3, 16e3),
])  # fmt: skip
def test_limits_are_in_the_units_of_the_method(
    objective: str, key: str, resolution: int, channels: int, most: float
) -> None:
    """A loss that sums over a picture's values grows with it, and one of logits does not."""
    of = method(objective, resolution, channels)
    assert verdict([{**HEALTHY, key: 0.99 * most}], of).state == "healthy"
    found = verdict([{**HEALTHY, key: 1.01 * most}] * of.ticks, of)
    assert (found.state, f"above {most:.3g}" in found.reason) == ("diverged", True), found


def test_a_likelihood_is_a_sum_over_a_texts_places() -> None:
    texts = {"medium": "text", "options": {"length": 100, "symbols": "ab"}}
    tree = {"data": texts, "model": {"name": "relgan"}, "game": {"objective": "likelihood"}}
    of = method_of(validate(tree))
    assert of.samples == "texts"
    for loss, state in ((9e4, "healthy"), (1.1e5, "diverged")):
        assert judge([{"images_seen": 100, "loss/G": loss, "grad_norm/G": 1.0}], of).state == state


def test_one_leap_of_a_vae_is_no_divergence() -> None:
    """Seen at 64 px in RGB: 5 million nats in the second step, and 22 in the third and fourth."""
    leap = {**HEALTHY, "loss/D": 2.5e6, "grad_norm/D": 8.7e7}
    of = method("elbo", 64, 3)
    assert verdict([leap], of).state == "healthy"
    assert verdict([leap, HEALTHY], of).state == "healthy"
    assert verdict([leap, leap], of).reason == "loss/D is 2.5e+06, above 1.6e+04"


def test_a_drawing_in_grey_is_within_a_vaes_limits_at_any_size() -> None:
    """Half a unit a value is what it costs where every value is -1 or 1, at most."""
    for resolution in (32, 64, 128):
        grey = 0.5 * 3 * resolution**2
        assert verdict([{**HEALTHY, "loss/G": grey}] * 9, method("elbo", resolution, 3)).state == "healthy"


def test_rows_of_an_older_version_are_judged_as_before() -> None:
    """A run goes on whose first rows know nothing of single classes, nor count steps."""
    old = [{key: value for key, value in HEALTHY.items() if key != "steps"}] * 40
    assert verdict(old).state == "healthy"
    assert verdict([*old, worst(0.1)]).state == "healthy", "one tick"
    assert verdict([*old, *[worst(0.1)] * 24]).state == "healthy"
    assert verdict([*old, *[worst(0.1)] * 25]).state == "collapsing"
    assert verdict([worst(0.1)] * 25 + old[:1]).state == "healthy", "the last row does not say"
    alike = [{**row, "signal/diversity": 0.2} for row in old]
    assert verdict(alike[:24]).state == "healthy"
    assert verdict(alike[:25]).state == "collapsing"


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
