"""The step on one batch that stays the same: what training comes to where images cost nothing."""

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
"""Steps before the first that is timed, for each in which other penalties are due."""


class Static:
    """A run of a configuration on images that are noise, held on the device: what is in them takes no time."""

    def __init__(self, config: RunConfig, ranks: Ranks) -> None:
        self.config, self.ranks, self.device = config, ranks, ranks.device
        self.players = new_players(config, ranks.device)
        self.game = new_game(config, self.players, ranks)
        self.precision = ranks.precision(config.precision)
        self.images = config.train.batch * config.game.n_critic
        """Of a step, over all ranks."""
        self.period = math.lcm(*(term.interval for term in config.game.penalties.values()))
        """Steps after which the same penalties are due again."""
        rng = np.random.default_rng(ranks.rank)
        share, row = config.train.batch // ranks.world_size, medium_of(config).row
        noise = np.frombuffer(rng.bytes(share * row.n_bytes), row.dtype).reshape(share, *row.shape).copy()
        conditions = condition_of(config).made_up(share, rng)
        self.inputs = Inputs(config, ranks, conditions, self.game)
        batch = RawBatch(*(torch.from_numpy(each).to(ranks.device) for each in (noise, conditions)))
        self.raw = [batch] * config.game.n_critic
        self._stepper: Eager | None = None

    def __call__(self) -> Tensor:
        """A step as a run takes it: captured, compiled or neither, as configured."""
        if self._stepper is None:
            self._stepper = stepper(self.config, self.game, self.players, self.ranks)
        return self._play(self._stepper)

    @property
    def facts(self) -> dict[str, str]:
        """What really runs, for records."""
        return {"precision": self.precision, "mode": self.mode, "device": self.device.type}

    def eager(self) -> Tensor:
        """A step operation by operation, whatever is configured."""
        return self._play(self.game.step)

    def _play(self, step: Callable[..., Tensor]) -> Tensor:
        statistics = step(self.players, *self.inputs.of(self.players, self.raw))
        self.players.images_seen += self.images
        return statistics

    @property
    def mode(self) -> str:
        """How the step really runs: `graph`, `eager` or `compile`."""
        return self._stepper.mode if self._stepper else "eager"

    def warm_up(self) -> float:
        """Take the first steps, in which a step is captured or compiled; seconds."""
        return block(self, self.device)(WARM_UP * self.period)

    def flops(self) -> float:
        """Floating-point operations of a step, the mean of a period. Taken eagerly: time nothing after it."""
        with Flops() as counted:
            for _ in range(self.period):
                self.eager()
        return float(counted.total / self.period)
