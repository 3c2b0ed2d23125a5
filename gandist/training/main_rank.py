"""The main rank's tasks: it claims an attempt, writes the run's files, and judges the run's health.

`OtherRank` has the same calls and does nothing, so that all ranks run the same loop.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gandist.config.run import RunConfig
from gandist.config.sample import medium_of
from gandist.errors import OvertakenError
from gandist.gan.players import Players
from gandist.monitoring.health import Action, Row, State, Verdict, decide, judge
from gandist.monitoring.method import method_of
from gandist.run import attempt
from gandist.run.attempt import Attempt
from gandist.run.evaluations import Result
from gandist.storage.storage import Storage
from gandist.training.grid import Grid
from gandist.training.outputs import Outputs

log = logging.getLogger("gandist")

REMOTE_POLL_S = 5.0
"""Minimum seconds between two looks at an object store for a request to stop."""


class OtherRank:
    """A rank that writes no files of the run."""

    overtaken = ""
    """Message that a later attempt has taken the run over; "" if none has."""

    def samples(self, players: Players) -> None:
        """Draw the grid of samples; it is written in the background."""

    def evaluation(self, result: Result) -> bool:
        """Record an evaluation; returns whether it is the best so far, which only the main rank knows."""
        return False

    def judge(self, row: Row, before: State, rollbacks: int, done: bool) -> tuple[Verdict, Action]:
        """The verdict on the run after its newest row, and the action to take. Only the main rank knows both.

        `before` is the previous verdict, `rollbacks` the number of roll-backs, `done` whether the run ends here anyway.
        """
        return Verdict(), Action()

    def row(self, row: Row) -> None:
        """Append a row to `metrics.jsonl`."""

    def save(self, players: Players) -> float:
        """Start writing a checkpoint; returns for how many seconds training stood still."""
        return 0.0

    def roll_back_to(self, images_seen: int, number: int) -> None:
        """Restore the run's files to the checkpoint at `images_seen`, as roll-back `number`."""

    def stop_asked(self) -> bool:
        """Whether the run's storage asks to stop: on request, or because a later attempt has taken over."""
        return False

    def wait(self) -> None:
        """Wait until checkpoints and samples are on storage."""

    def close(self) -> None:
        """Wait until everything is on storage."""


class MainRank(OtherRank):
    """The rank that writes a run, until a later attempt takes over.

    It then writes nothing more, sets `overtaken`, and goes on: the other ranks still need it to finish the step.
    `stop_asked` ends the run on all ranks at the next poll.

    Raises, in every call:
        OSError: a background write failed.
    """

    def __init__(
        self,
        config: RunConfig,
        storage: Storage,
        claimed: Attempt | OvertakenError,
        files: Callable[[Attempt], Outputs],
        grid: Callable[[], Grid],
    ) -> None:
        """`claimed` is the result of `claim`; `files` opens the files of an attempt; `grid` makes what samples show."""
        self._medium, self._make_grid = medium_of(config), grid
        self._grid: Grid | None = None
        self._health, self._method, self._storage = config.health, method_of(config), storage
        self._attempt: Attempt | None = None
        self._outputs: Outputs | None = None
        self._polled, self.overtaken = 0.0, ""
        with self._until_overtaken():
            if isinstance(claimed, OvertakenError):
                raise claimed
            self._attempt = claimed
            self._outputs = files(claimed)

    @contextmanager
    def _until_overtaken(self) -> Iterator[None]:
        """Every change of the run's files runs inside this: the only place that handles being overtaken."""
        try:
            yield
        except OvertakenError as error:
            self.overtaken = str(error)

    @property
    def _files(self) -> Outputs:
        """The files of this attempt.

        Raises:
            OvertakenError: another attempt took over before they were opened.
        """
        if self._outputs is None:
            raise OvertakenError(self.overtaken)
        return self._outputs

    def samples(self, players: Players) -> None:
        with self._until_overtaken():
            if self._grid is None:
                self._grid = self._make_grid()
            self._files.samples(players, self._grid, self._medium)

    def evaluation(self, result: Result) -> bool:
        with self._until_overtaken():
            return self._files.evaluation(result)
        return False

    def judge(self, row: Row, before: State, rollbacks: int, done: bool) -> tuple[Verdict, Action]:
        verdict, action = Verdict(), Action()
        with self._until_overtaken():
            verdict = judge(self._files.recent(row), self._method)
            target = None if verdict.state == "healthy" else self._rollback_target()
            action = decide(verdict, self._health, rollbacks, target, done)
        if verdict.state != before and (verdict.state == "healthy" or action.kind != "ignore"):
            log.warning("health=%s images_seen=%d %s", verdict.state, row["images_seen"], verdict.reason)
        return verdict, action

    def _rollback_target(self) -> int | None:
        with self._until_overtaken():
            return self._files.rollback_target()
        return None

    def row(self, row: Row) -> None:
        with self._until_overtaken():
            self._files.row(row)

    def save(self, players: Players) -> float:
        stall_s = 0.0
        if not self.overtaken:
            with self._until_overtaken():
                stall_s = self._files.save(players)
        return stall_s

    def roll_back_to(self, images_seen: int, number: int) -> None:
        with self._until_overtaken():
            self._files.roll_back_to(images_seen, number)

    def stop_asked(self) -> bool:
        if self.overtaken or self._attempt is None:
            return True
        now = time.perf_counter()
        if now - self._polled < (0 if self._storage.local else REMOTE_POLL_S):
            return False
        self._polled = now
        with self._until_overtaken():
            self._attempt.check()
        return bool(self.overtaken) or attempt.stop_asked(self._storage)

    def wait(self) -> None:
        with self._until_overtaken():
            self._files.wait()

    def close(self) -> None:
        if self._outputs is not None:
            self._outputs.close()


def claim(storage: Storage, start: str) -> Attempt | OvertakenError:
    """This start's next attempt at the run; an error if a later start has taken over.

    The error is returned, not raised: the other ranks are still waiting for the attempt's number.
    """
    try:
        return Attempt(storage, start)
    except OvertakenError as error:
        return error
