"""Is the run well? A verdict from the rows of its metrics alone, and what is to be done about it.

Nothing is kept between ticks: a run that is resumed reads its rows, and comes to the same verdicts.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from gandist.sections import HealthSection

State = Literal["healthy", "overfitting", "collapsing", "diverged"]
Row = Mapping[str, Any]


SIGNALS = ("signal/diversity", "signal/drift", "signal/nonfinite", "signal/diversity_within")
"""Of each tick's row, besides losses, scores and gradient norms: what a `Probe` looks at (the last in a run with
classes only), and the share of steps in which a loss or a gradient was not finite."""


class Verdict(NamedTuple):
    state: State = "healthy"
    reason: str = ""


def judge(rows: Sequence[Row], centred: bool = True) -> Verdict:
    """The verdict after the last of a run's rows.

    Args:
        rows: of `metrics.jsonl`, oldest first; a value that was not finite is None or NaN.
        centred: whether 0 is where D's scores tell real from fake (`Objective.centred`).
    """
    rules: dict[State, str] = {
        "diverged": _diverged(rows),
        "collapsing": _collapsing(rows),
        "overfitting": _overfitting(rows, centred),
    }
    return next((Verdict(state, reason) for state, reason in rules.items() if reason), Verdict())


def _values(rows: Sequence[Row], key: str) -> list[float]:
    """The values of a key, in the rows that have it."""
    return [math.nan if row[key] is None else float(row[key]) for row in rows if key in row]


LIMITS = {"loss/D": 1e3, "loss/G": 1e3, "grad_norm/D": 1e5, "grad_norm/G": 1e5}
"""No run that learns comes near: losses are logarithms of probabilities, or small distances."""
EXPLOSION = 100.0
"""So many times what is usual, two ticks long, is an explosion."""
USUAL_TICKS = 50
"""What is usual is the median of at most so many ticks, and of at least five."""
NONFINITE = 0.1
"""Share of steps, two ticks long, that may not be finite."""
NONFINITE_STEPS = 100
"""So many steps are needed to tell: a scaler of fp16 seeks its level in the first dozen or two."""
WORSE = 3.0
"""So many times the best Fréchet distance, in two evaluations, is a run that has lost what it had learnt."""


def _diverged(rows: Sequence[Row]) -> str:
    for key in ("loss/D", "loss/G"):
        if not all(map(math.isfinite, _values(rows[-1:], key))):
            return f"{key} was finite in no step"
    shares, steps = _values(rows, "signal/nonfinite")[-2:], sum(_values(rows, "steps")[-2:])
    if len(shares) == 2 and min(shares) >= NONFINITE and steps >= NONFINITE_STEPS:
        return f"{shares[-1]:.0%} of the steps were not finite"
    for key, limit in LIMITS.items():
        sizes = [abs(value) for value in _values(rows, key) if math.isfinite(value)]
        if sizes and sizes[-1] > limit:
            return f"{key} is {sizes[-1]:.3g}"
        before, now = sizes[:-2][-USUAL_TICKS:], sizes[-2:]
        if len(before) >= 5:
            usual = statistics.median(before)
            if min(now) > EXPLOSION * max(1.0, usual):
                return f"{key} is {now[-1]:.3g}, and was {usual:.3g}"
    name, best, now = _distances(rows)
    return f"{name} is {now[-1]:.3g}, and was {best:.3g}" if now and min(now) > WORSE * best else ""


def _distances(rows: Sequence[Row]) -> tuple[str, float, list[float]]:
    """The name of the Fréchet distance at the last evaluation; the best before the last two; and these two."""
    names = [key for row in rows for key in row if key.startswith(("quality/fid", "quality/fd-"))]
    values = _values(rows, names[-1]) if names else []
    return (names[-1], min(values[:-2]), values[-2:]) if len(values) >= 3 else ("", 0.0, [])


RECENT = 3
"""Ticks over which a sign of collapse has to last."""
VARIED = 0.5
"""A diversity from which on G is taken to draw different images."""
SAME = 0.25
"""A diversity below which its images are hardly told apart."""
PATIENCE_TICKS = 25
"""By then they should be told apart: early in a run all of G's images are alike."""
ONE, ONE_TICKS = 0.02, 5
"""A diversity at which they are one image, and so many ticks that this may last."""
DEAD = 1e-3
"""Share of the largest gradient that G ever had, below which it learns nothing."""


def _collapsing(rows: Sequence[Row]) -> str:
    diversity = _values(rows, "signal/diversity")
    gradients = [value for value in _values(rows, "grad_norm/G") if math.isfinite(value)]
    for values, images in ((diversity, "images"), (_values(rows, "signal/diversity_within"), "images of one class")):
        if reason := _alike(values, f"two {images} of G"):
            return reason
    alike = len(diversity) >= RECENT and max(diversity[-RECENT:]) < VARIED
    if alike and gradients and max(gradients[-RECENT:]) < DEAD * max(gradients):
        return f"G's images are alike ({diversity[-1]:.2f}), and D leaves it no gradient ({gradients[-1]:.2g})"
    coverage = _values(rows, "quality/coverage")
    if len(coverage) >= 3 and max(coverage[-2:]) < max(coverage) / 2 and max(coverage) >= 0.1:
        return f"coverage of the real images is {coverage[-1]:.2f}, and was {max(coverage):.2f}"
    return ""


def _alike(diversity: Sequence[float], what: str) -> str:
    if len(diversity) <= RECENT:
        return ""
    now, before = max(diversity[-RECENT:]), max(diversity[:-RECENT])
    said = f"{what} differ {now:.2f} times as much as real ones"
    if before >= VARIED and now < before / 2:
        return f"{said}, and differed {before:.2f} times as much"
    if len(diversity) >= PATIENCE_TICKS and now < SAME:
        return said
    if len(diversity) >= ONE_TICKS and max(diversity[-ONE_TICKS:]) < ONE:
        return f"{said}: they are one"
    return ""


REPEATED = 0.5
"""G's images lie so much nearer to training images than new real images do: it repeats them."""
CERTAIN = 0.9
"""A mean sign of D on real images from which on it knows them by heart."""
STALE = 1.2
"""So many times the best Fréchet distance, in two evaluations, is a run that gets worse."""


def _overfitting(rows: Sequence[Row], centred: bool) -> str:
    repeats = _values(rows, "quality/memorisation")
    if repeats and repeats[-1] < REPEATED:
        return f"G's images lie {repeats[-1]:.2f} times as far from training images as other real images do"
    name, best, now = _distances(rows)
    signs = _values(rows, "sign/real")[-RECENT:]
    if centred and now and min(now) > STALE * best and (sign := statistics.median(signs)) > CERTAIN:
        grown = f"{name} is {now[-1]:.3g}, and was {best:.3g}"
        return f"D knows the training images (their scores' mean sign is {sign:.2f}), and {grown}"
    return ""


class Action(NamedTuple):
    """What is done about a verdict."""

    kind: Literal["ignore", "warn", "roll_back", "stop"] = "ignore"
    reason: str = ""
    to: int = 0
    """Images seen at the checkpoint that is gone back to."""


def decide(verdict: Verdict, plan: HealthSection, rollbacks: int, refuge: int | None, done: bool) -> Action:
    """What the plan wants done. `refuge`: images seen at the checkpoint that could be gone back to.

    A run that is done anyway is neither stopped nor taken back.
    """
    if verdict.state == "healthy":
        return Action()
    wanted, reason = getattr(plan, verdict.state), f"{verdict.state}: {verdict.reason}"
    if wanted in ("ignore", "warn"):
        return Action(wanted, reason)
    if done:
        return Action("warn", reason)
    mend = f"lower optim.lr_G and optim.lr_D, or set health.{verdict.state}=warn"
    if wanted == "stop":
        return Action("stop", f"{reason}; {mend}")
    if refuge is None:
        return Action("stop", f"{reason}; there is no sound checkpoint to go back to; {mend}")
    if rollbacks >= plan.max_rollbacks:
        return Action("stop", f"{reason}, again after {rollbacks} roll-backs (health.max_rollbacks); {mend}")
    return Action("roll_back", reason, refuge)
