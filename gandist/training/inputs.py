"""Inputs of a step: real samples and conditions on the device, latents, noise, and the scheduled numbers."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from gandist.config.methods import latents_of
from gandist.config.run import RunConfig
from gandist.config.sample import condition_of, medium_of
from gandist.config.schedule import ema_beta, peak, value_at
from gandist.data.feed import RawBatch
from gandist.data.index import Index
from gandist.distributed.randomness import Draws
from gandist.distributed.ranks import Ranks
from gandist.gan.adversarial import Game, Latents, Reals, Scheduled
from gandist.gan.elbo import Elbo
from gandist.gan.penalties import PENALTIES, Noise
from gandist.gan.players import Players


class Inputs:
    """All random and all scheduled inputs of a run, as functions of the images seen."""

    def __init__(self, config: RunConfig, ranks: Ranks, conditions: np.ndarray, game: Game | Elbo) -> None:
        """`conditions` are those of all real samples in stored form; the fakes' conditions may be drawn from them."""
        self.config, self.ranks, self.conditions = config, ranks, conditions
        self.draws = Draws(config.run.seed, ranks.device, ranks.rank, ranks.world_size)
        self.dtype = torch.float64 if config.precision == "fp64" else torch.float32
        self.latents, self.game = latents_of(config), game
        self.medium, self.condition = medium_of(config), condition_of(config)

    def of(self, players: Players, raw: Sequence[RawBatch]) -> tuple[list[Reals], list[Latents], Latents, Scheduled]:
        """The step's inputs, from one real batch per update of D; also sets the players' scheduled numbers."""
        seen = players.images_seen
        self._schedule(players)
        scheduled = self._scheduled(seen)
        return (
            [self._reals(part, scheduled.weights_D[sub], seen, sub) for sub, part in enumerate(raw)],
            [self._latents("D", (), seen, sub) for sub in range(len(raw))],
            self._latents("G", scheduled.weights_G, seen, 0),
            scheduled,
        )

    def of_samples(self, rows: int, columns: int) -> tuple[Tensor, Tensor | None]:
        """Fixed latents and conditions of a run's grid of samples, one condition per row."""
        z = self.draws.fixed_normal("samples", (rows * columns, self.latents)).to(self.dtype)
        stored = self.condition.of_samples(self.config.run.seed, rows, columns, self.conditions)
        return z, None if stored is None else self._condition(stored)

    def of_probe(self, rows: np.ndarray, conditions: np.ndarray) -> tuple[Tensor, Tensor, Tensor | None]:
        """Real samples (N, ...) for a `Probe`, with fixed latents and the samples' conditions."""
        x = self.medium.to_network(torch.from_numpy(rows).to(self.ranks.device), dtype=self.dtype)
        z = self.draws.fixed_normal("probe", (len(rows), self.latents)).to(self.dtype)
        return x, z, self._condition(torch.from_numpy(conditions))

    def sample_rows(self, most: int) -> int:
        """Number of rows in the run's grid of samples: one per condition, at most `most`."""
        return min(self.condition.count, most) or most

    def sample_captions(self, index: Index, rows: int) -> list[str]:
        """The captions of the rows of samples; empty if the run has no captions."""
        return self.condition.captions_of_samples(self.config.run.seed, rows, index)

    def _schedule(self, players: Players) -> None:
        """Set the scheduled numbers that the players and the augmentation hold."""
        optim, augment = self.config.optim, self.config.augment
        seen = players.images_seen
        for player, lr in ((players.G, optim.lr_G), (players.D, optim.lr_D)):
            player.set_lr(players.lr_scale * value_at(lr, seen))
            player.set_betas((optim.betas[0], value_at(optim.betas[1], seen)))
        if augment.kind != "none" and augment.target is None:
            players.memory["augment"][0] = value_at(augment.p, seen)

    def _scheduled(self, seen: int) -> Scheduled:
        """The scheduled numbers of the step at `seen` images."""
        game, optim = self.config.game, self.config.optim
        images = self.config.train.batch * game.n_critic
        half_life_kimg = value_at(optim.ema_half_life_kimg, seen)
        update_D, update_G = seen // self.config.train.batch, seen // images

        terms = game.penalties
        numbers = [term.interval * value_at(term.weight, seen) for term in terms.values()]
        numbers += [ema_beta(half_life_kimg, images, seen, optim.ema_rampup), value_at(game.clip, seen) or math.inf]
        exact = torch.tensor(numbers, dtype=torch.float64).to(self.ranks.device, non_blocking=True)
        *weights, _, clip = exact.to(self.dtype).unbind()

        def due(update: int, player: str) -> dict[str, Tensor]:
            return {
                name: weight
                for (name, term), weight in zip(terms.items(), weights, strict=True)
                if PENALTIES[name].of == player and update % term.interval == 0
            }

        return Scheduled(
            beta=exact[-2],
            weights_D=[due(update_D + sub, "D") for sub in range(game.n_critic)],
            weights_G=due(update_G, "G"),
            clip=clip if peak(game.clip) > 0 else None,
        )

    def _reals(self, raw: RawBatch, due: Iterable[str], seen: int, sub: int) -> Reals:
        uniforms = {
            name: self.draws.uniform(name, seen, sub, (self.config.train.batch,)) for name in self.medium.uniforms
        }
        x = self.medium.to_network(raw.rows, uniforms, self.dtype)
        return Reals(x, self._condition(raw.conditions), self._noise("D", due, seen, sub))

    def _latents(self, player: str, due: Iterable[str], seen: int, sub: int) -> Latents:
        batch = self.config.train.batch
        z = self.draws.normal(f"fakes/{player}/z", seen, sub, (batch, self.latents)).to(self.dtype)
        stored = self.condition.of_fakes(self.draws, f"fakes/{player}/y", seen, sub, batch, self.conditions)
        y = None if stored is None else self._condition(stored)
        return Latents(z, y, self._noise("G", due, seen, sub) if player == "G" else {})

    def _condition(self, stored: Tensor) -> Tensor | None:
        return self.condition.to_network(stored.to(self.ranks.device, non_blocking=True), self.dtype)

    def _noise(self, player: str, due: Iterable[str], seen: int, sub: int) -> dict[str, Tensor]:
        """Random numbers for the augmentation and for the penalties due in an update."""
        batch, sample = self.config.train.batch, self.medium.network_shape

        def draw(name: str, noise: Noise) -> Tensor:
            drawn = self.draws.normal if noise.kind == "normal" else self.draws.uniform
            return drawn(f"{player}/{name}", seen, sub, (batch, *noise.shape(sample))).to(self.dtype)

        return {name: draw(name, noise) for name, noise in self.game.noise_for(player, due).items()}
