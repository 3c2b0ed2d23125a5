"""Is the run well? A verdict from the rows of its metrics alone, and what is to be done about it.

Nothing is kept between ticks: a run that is resumed reads its rows, and comes to the same verdicts.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from gandist.sections import HealthSection

State = Literal["healthy", "overfitting", "collapsing", "diverged"]
Row = Mapping[str, Any]


SIGNALS = ("signal/diversity", "signal/drift", "signal/nonfinite")
"""Of each tick's row, besides losses, scores and gradient norms: what a `Probe` looks at, and the share of steps in
which a loss or a gradient was not finite."""


class Verdict(NamedTuple):
    state: State = "healthy"
    reason: str = ""


def judge(rows: Sequence[Row]) -> Verdict:
    """The verdict after the last of a run's rows."""
    return Verdict()


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
