"""Rounds of the game with all that surrounds one: its inputs before, its statistics after."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from torch import Tensor

from gandist.config.methods import AnyGame
from gandist.config.run import RunConfig
from gandist.data.resident import RawBatch
from gandist.distributed.ranks import Ranks
from gandist.gan.players import Players
from gandist.training.inputs import Due, Inputs
from gandist.training.stepper import stepper
from gandist.training.tick import Tally
from gandist.training.timetable import Timetable

UNROLLED = 8
"""Rounds in one graph."""
SHORT_S = 2e-3
"""Rounds shorter than this are worth it: launching a graph takes some ten microseconds."""


class Reals(Protocol):
    """Real samples: resident on the device, or loaded batch by batch."""

    @property
    def resident(self) -> RawBatch | None: ...

    def next(self) -> RawBatch: ...

    def numbers(self, images_seen: int, batches: int) -> np.ndarray: ...


class Rounds:
    """Plays rounds. A round is a function of tensors on the device alone, so that a GPU captures it as one graph:
    real samples from the host are its only arguments, and resident ones are gathered within."""

    def __init__(
        self,
        config: RunConfig,
        ranks: Ranks,
        players: Players,
        game: AnyGame,
        inputs: Inputs,
        reals: Reals,
    ) -> None:
        self.players, self.game, self.inputs, self.reals = players, game, inputs, reals
        self.n_critic = config.game.n_critic
        self.images = config.train.batch * self.n_critic
        """Images of a round, over all ranks."""
        self.tally = Tally(game.statistics, ranks.device)
        self.timetable = Timetable(
            ranks.device, self.images, lambda seen: inputs.scheduled(seen, players.lr_scale), self._samples
        )
        self.run = stepper(config, self.play_on_device, game, players, ranks)
        self.unroll = 1
        """Rounds to play in one graph, if nothing is due between them."""

    def play(self, most: int, run: Callable[..., object] | None = None) -> tuple[int, float]:
        """Play at least one round and at most `most`; returns their number, and the seconds waited for images.

        `run` replaces the configured execution of `play_on_device`.
        """
        players, start = self.players, time.perf_counter()
        self.timetable.reach(players.images_seen)
        rounds = self.unroll if self.unroll <= min(most, self.timetable.left) else 1
        # A batch of real samples for each update of D, unless they lie on the device
        raw: list[list[RawBatch]] = [[] for _ in range(rounds)]
        if self.reals.resident is None:
            raw = [[self.reals.next() for _ in range(self.n_critic)] for _ in range(rounds)]
        wait_s = time.perf_counter() - start
        due = [self.inputs.due(players.images_seen + i * self.images) for i in range(rounds)]
        (run or self.run)(raw, due)
        self.timetable.take(rounds)
        players.images_seen += rounds * self.images
        return rounds, wait_s

    def play_on_device(self, raw: Sequence[Sequence[RawBatch]], due: Sequence[Due]) -> Tensor:
        """Rounds on the device, one for each element; returns the statistics of the last."""
        for batches, penalties in zip(raw, due, strict=True):
            now = self.timetable.now()
            if (resident := self.reals.resident) is not None:
                batches = [resident.select(numbers) for numbers in now.samples.chunk(self.n_critic)]
            inputs = self.inputs.of(self.players, batches, now.images_seen, now.scheduled, penalties)
            # `Game.step` in gan/adversarial.py: the updates of D, one of G, and G's average
            statistics = self.game.step(self.players, *inputs)
            self.tally.add(statistics)
            self.timetable.advance()
        return statistics

    def choose_unroll(self, unroll: int | str, step_s: float) -> None:
        """Set `unroll` by the configuration and the duration of a round: equal on all ranks, which must stay in step.

        Only resident samples are unrolled, and only rounds of equal form: others would need many graphs.
        """
        alike = len({self.inputs.due(i * self.images) for i in range(64)}) == 1
        if self.run.mode != "graph" or self.reals.resident is None or not alike:
            self.unroll = 1
        elif unroll == "auto":
            self.unroll = UNROLLED if step_s < SHORT_S else 1
        else:
            self.unroll = int(unroll)

    def reset(self) -> None:
        """Announce that the players' tensors, their position or the schedules have been replaced."""
        self.run.reset()
        self.timetable.restart()

    def close(self) -> None:
        self.run.reset()
        self.timetable.close()

    def _samples(self, images_seen: int, steps: int) -> np.ndarray:
        if self.reals.resident is None:
            return np.empty((steps, 0), np.int64)
        return self.reals.numbers(images_seen, steps * self.n_critic)
