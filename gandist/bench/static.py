"""The step on one constant batch: the speed of training if input cost nothing."""

import math
from collections.abc import Callable
from functools import cached_property, partial

import numpy as np
import torch

from gandist.bench.measure import Flops, block
from gandist.config.methods import new_game, new_players
from gandist.config.run import RunConfig
from gandist.config.sample import condition_of, rows_of
from gandist.data.resident import RawBatch
from gandist.distributed.ranks import Ranks
from gandist.training.inputs import Inputs
from gandist.training.rounds import Rounds
from gandist.training.stepper import stepper

WARM_UP = 5
"""Steps before timing, in periods of the penalties."""


class Static:
    """A run of a configuration on noise images held on the device: their content takes no time."""

    def __init__(self, config: RunConfig, ranks: Ranks) -> None:
        self.config, self.ranks, self.device = config, ranks, ranks.device
        self.players = new_players(config, ranks.device)
        self.game = new_game(config, self.players, ranks)
        self.precision = ranks.precision(config.precision)
        self.images = config.train.batch * config.game.n_critic
        """Images per step, over all ranks."""
        self.period = math.lcm(*(term.interval for term in config.game.penalties.values()))
        """Number of steps after which the same penalties are due again."""
        rng = np.random.default_rng(ranks.rank)
        share, row = config.train.batch // ranks.world_size, rows_of(config).row
        noise = np.frombuffer(rng.bytes(share * row.n_bytes), row.dtype).reshape(share, *row.shape).copy()
        conditions = condition_of(config).made_up(share, rng)
        self.inputs = Inputs(config, ranks, conditions, self.game)
        self.resident = RawBatch(*(torch.from_numpy(each).to(ranks.device) for each in (noise, conditions)))
        self._bare_steps = 0

    def next(self) -> RawBatch:
        raise AssertionError("the samples are resident")

    def numbers(self, images_seen: int, batches: int) -> np.ndarray:
        """The same batch again and again."""
        return np.tile(np.arange(len(self.resident.rows)), (batches, 1))

    @cached_property
    def rounds(self) -> Rounds:
        """Rounds as a run plays them: captured, compiled or eager, as configured."""
        return Rounds(self.config, self.ranks, self.players, self.game, self.inputs, self)

    def __call__(self) -> object:
        """One step as a run plays it."""
        return self.rounds.play(1)

    def eager(self) -> object:
        """One step in eager mode, regardless of the configuration."""
        return self.rounds.play(1, self.rounds.play_on_device)

    def bare(self) -> object:
        """`Game.step` on the inputs of a period's first steps, again and again: nothing is drawn or scheduled."""
        step = self._bare[self._bare_steps % self.period]
        self._bare_steps += 1
        return step()

    @cached_property
    def _bare(self) -> list[Callable[[], object]]:
        """The steps of a period."""
        return [self._bare_step(number * self.images) for number in range(self.period)]

    def _bare_step(self, seen: int) -> Callable[[], object]:
        numbers = torch.tensor(self.inputs.scheduled(seen, 1.0), dtype=torch.float64, device=self.device)
        batches, seen_there = [self.resident] * self.config.game.n_critic, torch.tensor(seen, device=self.device)
        inputs = self.inputs.of(self.players, batches, seen_there, numbers, self.inputs.due(seen))
        step = partial(self.game.step, self.players, *inputs)
        return stepper(self.config, step, self.game, self.players, self.ranks)

    @property
    def facts(self) -> dict[str, str]:
        """The actual mode of execution, for records."""
        return {"precision": self.precision, "mode": self.rounds.run.mode, "device": self.device.type}

    def warm_up(self) -> float:
        """Play the first steps, in which the step is captured or compiled; return the seconds."""
        return block(self, self.device)(WARM_UP * self.period)

    def flops(self) -> float:
        """Floating-point operations per step, averaged over a period. It runs eagerly: do not time anything after
        it."""
        with Flops() as counted:
            for _ in range(self.period):
                self.eager()
        return float(counted.total / self.period)
