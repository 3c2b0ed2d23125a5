"""Inputs of a step: real samples and conditions on the device, latents, noise, and the scheduled numbers."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from gandist.config.methods import AnyGame, latents_of
from gandist.config.run import RunConfig
from gandist.config.sample import condition_of, medium_of, rows_of
from gandist.config.schedule import Ramp, ema_beta, peak, value_at
from gandist.data.index import Index
from gandist.data.resident import RawBatch
from gandist.distributed.randomness import Draws
from gandist.distributed.ranks import Ranks
from gandist.gan.adversarial import Latents, Reals, Scheduled
from gandist.gan.penalties import PENALTIES, Noise
from gandist.gan.players import Players

Due = tuple[tuple[str, ...], ...]
"""Names of the penalties due in a step: in each update of D, and last in that of G."""


class Inputs:
    """All random and all scheduled inputs of a run, as functions of the images seen.

    The host says which penalties are due, and the scheduled numbers; `of` does the rest on the device, so that a
    captured step makes its own inputs.
    """

    def __init__(self, config: RunConfig, ranks: Ranks, conditions: np.ndarray, game: AnyGame) -> None:
        """`conditions` are those of all real samples in stored form; the fakes' conditions may be drawn from them."""
        self.config, self.ranks, self.conditions = config, ranks, conditions
        self.stored = torch.tensor(conditions, device=ranks.device)
        self.draws = Draws(config.run.seed, ranks.device, ranks.rank, ranks.world_size)
        self.dtype = torch.float64 if config.precision == "fp64" else torch.float32
        self.latents, self.game = latents_of(config), game
        self.medium, self.rows, self.condition = medium_of(config), rows_of(config), condition_of(config)

    def due(self, seen: int) -> Due:
        """The penalties due in the step at `seen` images, by their intervals in updates of their player."""
        game, batch = self.config.game, self.config.train.batch

        def due(update: int, player: str) -> tuple[str, ...]:
            terms = game.penalties.items()
            return tuple(name for name, t in terms if PENALTIES[name].of == player and update % t.interval == 0)

        critics = [due(seen // batch + sub, "D") for sub in range(game.n_critic)]
        return *critics, due(seen // (batch * game.n_critic), "G")

    def scheduled(self, seen: int, lr_scale: float) -> list[float]:
        """The scheduled numbers of the step at `seen` images, in the order in which `of` reads them."""
        game, optim = self.config.game, self.config.optim
        half_life_kimg = value_at(optim.ema_half_life_kimg, seen)
        return [
            lr_scale * value_at(optim.lr_G, seen),
            lr_scale * value_at(optim.lr_D, seen),
            value_at(optim.betas[1], seen),
            value_at(self.config.augment.p, seen),
            ema_beta(half_life_kimg, self.config.train.batch * game.n_critic, seen, optim.ema_rampup),
            value_at(game.clip, seen) or math.inf,
            value_at(game.weight_G, seen),
            value_at(game.temperature, seen),
            *(term.interval * value_at(term.weight, seen) for term in game.penalties.values()),
        ]

    def of(
        self, players: Players, raw: Sequence[RawBatch], seen: Tensor, scheduled: Tensor, due: Due
    ) -> tuple[list[Reals], list[Latents], Latents, Scheduled]:
        """The step's inputs; also sets the players' scheduled numbers. Everything happens on the device.

        Args:
            raw: a real batch for each update of D.
            seen: images seen, (), int64.
            scheduled: the result of `scheduled`, (K,), float64.
        """
        lr_G, lr_D, beta2, p, beta, clip, weight_G, temperature, *weights = scheduled.unbind()
        self._schedule(players, lr_G, lr_D, beta2, p)
        if isinstance(softness := getattr(players.G.net, "softness", None), Tensor):
            softness.copy_(temperature)
        weight_of = dict(zip(self.config.game.penalties, (weight.to(self.dtype) for weight in weights), strict=True))
        *of_D, of_G = ({name: weight_of[name] for name in names} for names in due)
        reals = [self._reals(part, due[sub], seen, sub) for sub, part in enumerate(raw)]
        return (
            reals,
            [self._latents("D", (), seen, sub, real.y) for sub, real in enumerate(reals)],
            self._latents("G", due[-1], seen, 0, reals[-1].y),
            Scheduled(
                beta,
                of_D,
                of_G,
                clip.to(self.dtype) if peak(self.config.game.clip) > 0 else None,
                None if self.config.game.weight_G == 1 else weight_G.to(self.dtype),
            ),
        )

    def of_samples(self, rows: int, columns: int) -> tuple[Tensor, Tensor | None]:
        """Fixed latents and conditions of a run's grid of samples, one condition per row."""
        stored = self.condition.of_samples(self.config.run.seed, rows, columns, self.conditions)
        return self.fixed_latents("samples", rows * columns), None if stored is None else self._condition(stored)

    def fixed_latents(self, purpose: str, n: int) -> Tensor:
        """The same latents (n, latents) during the whole run."""
        return self.draws.fixed_normal(purpose, (n, self.latents)).to(self.dtype)

    def sample_rows(self, most: int) -> int:
        """Number of rows in the run's grid of samples: one per condition, at most `most`."""
        return min(self.condition.count, most) or most

    def sample_captions(self, index: Index, rows: int) -> list[str]:
        """The captions of the rows of samples; empty if the run has no captions."""
        return self.condition.captions_of_samples(self.config.run.seed, rows, index)

    def _schedule(self, players: Players, lr_G: Tensor, lr_D: Tensor, beta2: Tensor, p: Tensor) -> None:
        """Set the scheduled numbers that the players and the augmentation hold."""
        optim, augment = self.config.optim, self.config.augment
        for player, lr in ((players.G, lr_G), (players.D, lr_D)):
            player.set_lr(lr)
            if isinstance(optim.betas[1], Ramp):
                player.set_beta2(beta2)
        if augment.kind != "none" and augment.target is None:
            players.memory["augment"][0].copy_(p)

    def _reals(self, raw: RawBatch, due: Iterable[str], seen: Tensor, sub: int) -> Reals:
        uniforms = {
            name: self.draws.uniform(name, seen, sub, (self.config.train.batch,)) for name in self.rows.uniforms
        }
        x = self.rows.to_network(raw.rows, uniforms, self.dtype)
        numbers = self._drawn("condition", self.condition.noise(), seen, sub)
        x, y = self.condition.of_reals(x, raw.conditions, numbers, self.dtype)
        return Reals(x, y, self._noise("D", due, seen, sub))

    def _latents(self, player: str, due: Iterable[str], seen: Tensor, sub: int, y_real: Tensor | None) -> Latents:
        """Latents with conditions of their own, or with those of the real samples beside them."""
        batch = self.config.train.batch
        z = self.draws.normal(f"fakes/{player}/z", seen, sub, (batch, self.latents)).to(self.dtype)
        if self.condition.pairing == "same_sample":
            y = y_real
        else:
            stored = self.condition.of_fakes(self.draws, f"fakes/{player}/y", seen, sub, batch, self.stored)
            y = None if stored is None else self._condition(stored)
        return Latents(z, y, self._noise("G", due, seen, sub) if player == "G" else {})

    def _condition(self, stored: Tensor) -> Tensor | None:
        return self.condition.to_network(stored.to(self.ranks.device, non_blocking=True), self.dtype)

    def _noise(self, player: str, due: Iterable[str], seen: Tensor, sub: int) -> dict[str, Tensor]:
        """Random numbers for the augmentation and for the penalties due in an update."""
        return self._drawn(player, self.game.noise_for(player, due), seen, sub)

    def _drawn(self, purpose: str, wanted: Mapping[str, Noise], seen: Tensor, sub: int) -> dict[str, Tensor]:
        batch, sample = self.config.train.batch, self.medium.network_shape

        def draw(name: str, noise: Noise) -> Tensor:
            drawn = self.draws.normal if noise.kind == "normal" else self.draws.uniform
            return drawn(f"{purpose}/{name}", seen, sub, (batch, *noise.shape(sample))).to(self.dtype)

        return {name: draw(name, noise) for name, noise in wanted.items()}
