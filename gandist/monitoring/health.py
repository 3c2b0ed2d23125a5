"""Health of a run: a verdict from the rows of its metrics alone, and the action to take.

There is no state between ticks: a resumed run reads its rows and reaches the same verdicts.
"""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from gandist.config.sections import HealthSection

State = Literal["healthy", "overfitting", "unfaithful", "collapsing", "diverged"]
Row = Mapping[str, Any]


WORST, WORST_CLASS = "signal/diversity_worst", "worst_class"
"""Keys of the smallest diversity within a class, and of that class."""
FRECHET = ("fid", "fd-", "fad-", "fvd-")
"""Starts of the names of Fréchet distances."""
WORST_DISTANCE = "fd_worst_class"
"""Measure of an evaluation: the largest Fréchet distance within a class."""
SIGNALS = ("signal/diversity", "signal/drift", "signal/nonfinite", "signal/diversity_within", WORST)
"""Keys in each tick's row besides losses, scores and gradient norms: the values of a `Probe` (the last two only in a
run with classes), and the share of steps in which a loss or a gradient was not finite."""
FAITHFUL, CHANGE = SIGNALS_OF_SAMPLES = ("signal/faithful", "signal/change")
"""Keys of the values of `Targets`, in a run whose G is given samples; the second if anything needs no learning."""
MOTION = "signal/motion"
"""Key of the motion of G's clips, over that of real ones (a `Probe`'s), in a run that makes clips."""


class Method(NamedTuple):
    """Facts about the run's method that a verdict needs."""

    centred: bool = True
    """Whether 0 separates D's scores of real and fake samples (`Objective.centred`)."""
    units: Mapping[str, float] = {}
    """Units of losses and gradients, by the row's key; 1 if missing. A loss that sums over an image's values grows with
    their number, and so does its limit."""
    ticks: int = 1
    """Consecutive ticks beyond a limit that mean divergence."""
    samples: str = "images"
    """What samples are called (`Medium.nouns`)."""


class Verdict(NamedTuple):
    state: State = "healthy"
    reason: str = ""


LOGITS = Method()


def judge(rows: Sequence[Row], method: Method = LOGITS) -> Verdict:
    """The verdict after the last of a run's rows.

    Args:
        rows: rows of `metrics.jsonl`, oldest first; None or NaN stands for a value that was not finite. Values that
            rows of an older version lack are not judged.
    """
    rules: dict[State, str] = {
        "diverged": _diverged(rows, method),
        "collapsing": _collapsing(rows, method.samples),
        "unfaithful": _unfaithful(rows),
        "overfitting": _overfitting(rows, method),
    }
    return next((Verdict(state, reason) for state, reason in rules.items() if reason), Verdict())


def _values(rows: Sequence[Row], key: str) -> list[float]:
    """The values of a key, from the rows that have it."""
    return [math.nan if row[key] is None else float(row[key]) for row in rows if key in row]


def _window(rows: Sequence[Row], ticks: int, steps: int) -> int:
    """Number of last rows that hold at least `ticks` ticks and `steps` steps (a tick of a large batch has few steps);
    one more than all rows if they hold fewer.

    Rows without a step count are assumed to have enough steps.
    """
    taken = itertools.accumulate(row.get("steps", math.inf) for row in reversed(rows))
    enough = (count for count, sum_ in enumerate(taken, 1) if count >= ticks and sum_ >= steps)
    return next(enough, len(rows) + 1)


LIMITS = {"loss/D": 1e3, "loss/G": 1e3, "grad_norm/D": 1e5, "grad_norm/G": 1e5}
"""In the method's units. No learning run comes near: losses are logarithms of probabilities, small distances, or at
most twice the VAE loss of a grey image."""
EXPLOSION = 100.0
"""Explosion: this many times the usual value, for two ticks."""
USUAL_TICKS = 50
"""The usual value is the median over at most this many ticks, and at least five."""
NONFINITE = 0.1
"""Share of steps that are not finite from which, for two ticks, the run has diverged."""
NONFINITE_STEPS = 100
"""Minimum steps for that verdict: a scaler of fp16 finds its level in the first dozen or two."""
WORSE = 3.0
"""Diverged: the Fréchet distance is this many times its best, in two evaluations."""


def _diverged(rows: Sequence[Row], method: Method) -> str:
    for key in ("loss/D", "loss/G"):
        if not all(map(math.isfinite, _values(rows[-1:], key))):
            return f"{key} was finite in no step"
    shares, steps = _values(rows, "signal/nonfinite")[-2:], sum(_values(rows, "steps")[-2:])
    if len(shares) == 2 and min(shares) >= NONFINITE and steps >= NONFINITE_STEPS:
        return f"{shares[-1]:.0%} of the steps were not finite"
    for key, limit in LIMITS.items():
        sizes = [abs(value) for value in _values(rows, key) if math.isfinite(value)]
        unit = method.units.get(key, 1.0)
        if len(sizes) >= method.ticks and min(sizes[-method.ticks :]) > limit * unit:
            return f"{key} is {sizes[-1]:.3g}, above {limit * unit:.3g}"
        before, now = sizes[:-2][-USUAL_TICKS:], sizes[-2:]
        if len(before) >= 5:
            usual = statistics.median(before)
            if min(now) > EXPLOSION * max(unit, usual):
                return f"{key} is {now[-1]:.3g}, and was {usual:.3g}"
    return _grown(rows, WORSE, samples=method.samples)


def _grown(
    rows: Sequence[Row], times: float, share: float = 0.0, worst_class: bool = False, *, samples: str = "images"
) -> str:
    """A message if a Fréchet distance, or that of the worst class, is `times` its best: in the last two evaluations and
    in all evaluations of the last `share` of the run."""
    distances = tuple(f"quality/{start}" for start in FRECHET)
    name = next((key for row in reversed(rows) for key in row if key.startswith(distances)), "")
    key, said = (f"quality/{WORST_DISTANCE}", f"{name} of the worst class") if worst_class else (name, name)
    measured = [row for row in rows if name in row and key in row]
    since = (1 - share) * rows[-1]["images_seen"]
    last = max(2, sum(row["images_seen"] > since for row in measured))
    before, now = _values(measured[:-last], key), _values(measured[-last:], key)
    if not before or not min(now) > times * min(before):
        return ""
    best = measured[before.index(min(before))]["images_seen"]
    return f"{said} is {now[-1]:.3g}, and was {min(before):.3g} at {best:,} {samples}"


RECENT, RECENT_STEPS = 3, 50
"""Ticks and steps that a sign of collapse must last."""
VARIED = 0.5
"""Diversity from which on G is considered to draw different images."""
SAME = 0.25
"""Diversity below which G's images are hardly distinct."""
PATIENCE_TICKS, PATIENCE_STEPS = 25, 500
"""Ticks and steps after which they must be distinct: early in a run all of G's images are alike."""
ONE, ONE_TICKS, ONE_STEPS = 0.02, 5, 100
"""Diversity below which G draws one image, and the ticks and steps for which this is tolerated."""
DEAD = 1e-3
"""Share of G's largest gradient norm so far, below which G learns nothing."""


def _collapsing(rows: Sequence[Row], samples: str) -> str:
    for key, which in (
        ("signal/diversity", samples),
        ("signal/diversity_within", f"{samples} of one class"),
        (WORST, f"{samples} of class {rows[-1].get(WORST_CLASS)}"),
    ):
        if key in rows[-1] and (reason := _alike([row for row in rows if key in row], key, f"two {which} of G")):
            return reason
    if MOTION in rows[-1] and (reason := _still([row for row in rows if MOTION in row], samples)):
        return reason
    diversity, recent = _values(rows, "signal/diversity"), _window(rows, RECENT, RECENT_STEPS)
    gradients = _finite(rows, "grad_norm/G")
    alike = len(diversity) >= recent and max(diversity[-recent:]) < VARIED
    if alike and gradients and max(gradients[-recent:]) < DEAD * max(gradients):
        return f"G's {samples} are alike ({diversity[-1]:.2f}), and D leaves it no gradient ({gradients[-1]:.2g})"
    coverage = _values(rows, "quality/coverage")
    if len(coverage) >= 3 and max(coverage[-2:]) < max(coverage) / 2 and max(coverage) >= 0.1:
        return f"coverage of the real {samples} is {coverage[-1]:.2f}, and was {max(coverage):.2f}"
    return ""


def _alike(rows: Sequence[Row], key: str, what: str) -> str:
    """A message if a diversity has fallen or has never risen. All rows have the key."""
    diversity = _values(rows, key)
    recent, patience = _window(rows, RECENT, RECENT_STEPS), _window(rows, PATIENCE_TICKS, PATIENCE_STEPS)
    one = _window(rows, ONE_TICKS, ONE_STEPS)
    if len(diversity) <= recent:
        return ""
    now, before = max(diversity[-recent:]), max(diversity[:-recent])
    said = f"{what} differ {now:.2f} times as much as real ones"
    if before >= VARIED and now < before / 2:
        return f"{said}, and differed {before:.2f} times as much"
    if len(diversity) >= patience and now < SAME:
        return said
    if len(diversity) >= one and max(diversity[-one:]) < ONE:
        return f"{said}: they are one"
    return ""


STILL = 0.1
"""Motion below which G's clips stand still."""


def _still(rows: Sequence[Row], samples: str) -> str:
    """A message if G's clips do not move. All rows have their motion.

    Only after patience, even of clips that have moved: those of a G that has learnt nothing flicker, and come to rest
    before they begin to move as real ones do.
    """
    motion = _finite(rows, MOTION)
    recent, patience = _window(rows, RECENT, RECENT_STEPS), _window(rows, PATIENCE_TICKS, PATIENCE_STEPS)
    if len(motion) < max(recent, patience) or max(motion[-recent:]) >= STILL:
        return ""
    return f"G's {samples} stand still: they move {motion[-1]:.2f} times as much as real ones"


ANYONES = 0.1
"""Faithfulness below which outputs could as well belong to any input: 64 outputs that are drawn without looking at it
come to 0, give or take 0.03."""
OWN = 0.3
"""Faithfulness from which on G has looked at its input, so that its loss counts at once."""
COPIED = 0.1
"""Change below which G copies what needs no learning: the best change of this size (in squares) would lessen the error
by a hundredth."""


def _unfaithful(rows: Sequence[Row]) -> str:
    faithful, recent = _finite(rows, FAITHFUL), _window(rows, RECENT, RECENT_STEPS)
    patience = _window(rows, PATIENCE_TICKS, PATIENCE_STEPS)
    if FAITHFUL in rows[-1] and len(faithful) >= recent and max(faithful[-recent:]) < ANYONES:
        said = f"G ignores its condition: its outputs belong to their targets by {faithful[-1]:.2f} (1: wholly)"
        if (before := max(faithful[:-recent], default=0.0)) >= OWN:
            return f"{said}, and did by {before:.2f}"
        if len(faithful) >= patience:
            return said
    change = _finite(rows, CHANGE)
    if CHANGE in rows[-1] and len(change) >= patience and max(change[-recent:]) < COPIED:
        return f"G copies its condition: it changes what needs no learning by {change[-1]:.2f} of what it lacks"
    return ""


def _finite(rows: Sequence[Row], key: str) -> list[float]:
    return [value for value in _values(rows, key) if math.isfinite(value)]


REPEATED = 0.5
"""Ratio of the distances of G's images and of new real images to training images, below which G repeats these."""
CERTAIN = 0.9
"""Mean sign of D's scores of real images above which D has memorised them."""
STALE = 1.2
"""Worse: the Fréchet distance is this many times its best, in two evaluations."""
RISEN, RISEN_SHARE = 1.25, 0.2
"""Worse for good, whatever D's scores: this many times the best, in every evaluation of the last share of the run and
in at least two. Evaluations of 2,000 images at a constant quality deviate by a twentieth; with more evaluations, more
must agree."""


def _overfitting(rows: Sequence[Row], method: Method) -> str:
    repeats, samples = _values(rows, "quality/memorisation"), method.samples
    if repeats and repeats[-1] < REPEATED:
        return f"G's {samples} lie {repeats[-1]:.2f} times as far from training {samples} as other real {samples} do"
    signs = _values(rows, "sign/real")[-RECENT:]
    if (
        method.centred
        and (grown := _grown(rows, STALE, samples=samples))
        and (sign := statistics.median(signs)) > CERTAIN
    ):
        return f"D knows the training {samples} (their scores' mean sign is {sign:.2f}), and {grown}"
    risen = (_grown(rows, RISEN, RISEN_SHARE, worst_class=each, samples=samples) for each in (False, True))
    return next(filter(None, risen), "")


class Action(NamedTuple):
    """The action that follows from a verdict."""

    kind: Literal["ignore", "warn", "roll_back", "stop"] = "ignore"
    reason: str = ""
    to: int = 0
    """Images seen at the rollback target."""


def decide(verdict: Verdict, plan: HealthSection, rollbacks: int, rollback_target: int | None, done: bool) -> Action:
    """The action that the plan requires. `rollback_target`: images seen at the checkpoint for a roll-back, if any.

    A finished run is neither stopped nor rolled back.
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
    if rollback_target is None:
        return Action("stop", f"{reason}; there is no sound checkpoint to go back to; {mend}")
    if rollbacks >= plan.max_rollbacks:
        return Action("stop", f"{reason}, again after {rollbacks} roll-backs (health.max_rollbacks); {mend}")
    return Action("roll_back", reason, rollback_target)
