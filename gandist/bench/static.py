"""The step on one constant batch: the speed of training if input cost nothing."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gandist.bench.measure import Flops, block
from gandist.config.methods import new_game, new_players
from gandist.config.run import RunConfig
from gandist.config.sample import condition_of, medium_of
from gandist.data.feed import RawBatch
from gandist.distributed.captured import Eager
from gandist.distributed.ranks import Ranks
from gandist.training.inputs import Inputs
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
        share, row = config.train.batch // ranks.world_size, medium_of(config).row
        noise = np.frombuffer(rng.bytes(share * row.n_bytes), row.dtype).reshape(share, *row.shape).copy()
        conditions = condition_of(config).made_up(share, rng)
        self.inputs = Inputs(config, ranks, conditions, self.game)
        batch = RawBatch(*(torch.from_numpy(each).to(ranks.device) for each in (noise, conditions)))
        self.raw = [batch] * config.game.n_critic
        self._stepper: Eager | None = None

    def __call__(self) -> Tensor:
        """One step as a run plays it: captured, compiled or eager, as configured."""
        if self._stepper is None:
            self._stepper = stepper(self.config, self.game, self.players, self.ranks)
        return self._play(self._stepper)

    @property
    def facts(self) -> dict[str, str]:
        """The actual mode of execution, for records."""
        return {"precision": self.precision, "mode": self.mode, "device": self.device.type}

    def eager(self) -> Tensor:
        """One step in eager mode, regardless of the configuration."""
        return self._play(self.game.step)

    def _play(self, step: Callable[..., Tensor]) -> Tensor:
        statistics = step(self.players, *self.inputs.of(self.players, self.raw))
        self.players.images_seen += self.images
        return statistics

    @property
    def mode(self) -> str:
        """The actual mode of the step: `graph`, `eager` or `compile`."""
        return self._stepper.mode if self._stepper else "eager"

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
