"""How all ranks reach the same decision at the same step, and the requests of a rank's host."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from gandist.distributed.ranks import Ranks

POLL_S = 0.5
"""Approximate seconds between two polls on whether to go on."""
PREEMPTION_POLLS = 10
"""Every this many polls, the host is asked about a pre-emption."""

NextStep = Literal["go", "save", "stop"]


class Host:
    """The environment of a rank; a launcher overrides it. All ranks make the same calls."""

    start = ""
    """Identifier shared by all attempts of one start of the run; "" if there is only one attempt."""
    report_every_s = 0.0
    """Minimum seconds between two reported rows; the last row is always reported."""

    profile = 0
    """Steps to profile; 0 for none."""

    def joined(self) -> None:
        """Called when all ranks have found each other and training is about to begin."""

    def stopping(self) -> bool:
        """Whether this process was asked to end."""
        return False

    def preempted(self) -> bool:
        """Whether a rank's machine is about to be taken away."""
        return False

    def report(self, row: dict[str, Any]) -> None:
        """Receive a tick's row of metrics."""


class Outcome(NamedTuple):
    """How a rank's loop ended: `done`; `stopped` (on request after a last checkpoint, or overtaken by another attempt:
    see the message); or `refused` with a message."""

    status: str
    images_seen: int = 0
    message: str = ""


class Vote(NamedTuple):
    """A rank's message in a poll: integers, combined by an all-reduce maximum."""

    stop: int = 0
    report: int = 0
    done: int = 0
    steps: int = 0
    """Steps until the next poll."""


class Consensus:
    """Decisions that all ranks take at the same step, about every POLL_S seconds and at each tick.

    Between polls a step costs no communication: each poll agrees on the number of steps until the next.
    """

    def __init__(self, ranks: Ranks, host: Host) -> None:
        self.ranks, self.host = ranks, host
        self._preempted, self._notice = False, False
        self._polls, self._steps_left, self._steps, self._since = 0, 1, 0, time.perf_counter()
        self._reported = -math.inf

    def step(self, rows: Sequence[dict[str, Any]], done: bool, stop_asked: Callable[[], bool]) -> NextStep:
        """Decide after each step of a training rank how to go on; `rows` are those that have been completed.

        `save` is returned once for each notice of a pre-emption; a finished run does not stop early.
        """
        self._steps, self._steps_left = self._steps + 1, self._steps_left - 1
        if self._steps_left > 0 and not rows:
            return "go"
        steps = max(1, round(POLL_S * self._steps / (time.perf_counter() - self._since)))
        report = bool(rows) and (done or time.perf_counter() - self._reported >= self.host.report_every_s)
        agreed = self.poll(Vote(self.host.stopping() or stop_asked(), report, done, steps), rows)
        self._steps_left, self._steps, self._since = agreed.steps, 0, time.perf_counter()
        if agreed.stop and not agreed.done:
            return "stop"
        return "save" if self._notice else "go"

    def poll(self, mine: Vote, rows: Sequence[dict[str, Any]] = ()) -> Vote:
        """One all-reduce between all processes, surplus ranks included."""
        agreed = Vote(*self.ranks.all_reduce_max([int(value) for value in mine]))
        if agreed.report:
            self._reported = time.perf_counter()
            for row in rows:
                self.host.report(row)
        self._polls, self._notice = self._polls + 1, False
        if self._polls % PREEMPTION_POLLS == 0:
            before, self._preempted = self._preempted, self.host.preempted()
            self._notice = self._preempted and not before
        return agreed


def wait(consensus: Consensus) -> Outcome:
    """The loop of a surplus rank: it takes part in the polls until the others end."""
    while True:
        agreed = consensus.poll(Vote())
        if agreed.done or agreed.stop:
            return Outcome("done" if agreed.done else "stopped")
