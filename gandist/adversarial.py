"""The two-player game (Goodfellow et al. 2014, arXiv:1406.2661): objectives, the two losses, and the step."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gandist.players import Player, Players
from gandist.ranks import Ranks


class Objective(NamedTuple):
    """What each player minimises, from the scores D gives: logits, the higher the more real."""

    critic: Callable[[Tensor, Tensor], Tensor]
    """(D(x), D(G(z))) -> D's loss."""
    generator: Callable[[Tensor, Tensor], Tensor]
    """(D(x), D(G(z))) -> G's loss. Most look at the second alone."""
    paired: bool = False
    """Whether G's loss looks at D(x): it is computed for G's update only where it does."""


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """-E log sigmoid(D(x)) - E log(1 - sigmoid(D(G(z)))): the value function of the 2014 paper, negated."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


OBJECTIVES: dict[str, Objective] = {
    # Eq. 1 of the 2014 paper: G minimises E log(1 - sigmoid(D(G(z)))). Its gradient fades where D is sure.
    "minimax": Objective(_cross_entropy, lambda real, fake: -F.softplus(fake).mean()),
    # The same game with the non-saturating loss of the paper's section 3: G maximises E log sigmoid(D(G(z))).
    "ns": Objective(_cross_entropy, lambda real, fake: F.softplus(-fake).mean()),
    # Least squares with a=0, b=c=1 (Mao et al. 2017, arXiv:1611.04076, eq. 2 and 9).
    "ls": Objective(
        lambda real, fake: 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean(),
        lambda real, fake: 0.5 * (fake - 1).square().mean(),
    ),
    # The critic of WGAN (Arjovsky et al. 2017, arXiv:1701.07875): it has to be kept Lipschitz by other means.
    "wasserstein": Objective(lambda real, fake: fake.mean() - real.mean(), lambda real, fake: -fake.mean()),
    # Hinge (Lim & Ye 2017, arXiv:1705.02894; Miyato et al. 2018, arXiv:1802.05957, eq. 16 and 17).
    "hinge": Objective(
        lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(), lambda real, fake: -fake.mean()
    ),
    # Relativistic pairing (Jolicoeur-Martineau 2019, arXiv:1807.00734; Huang et al. 2024, arXiv:2501.05441):
    # each fake is compared with one real image.
    "rp": Objective(
        lambda real, fake: F.softplus(fake - real).mean(),
        lambda real, fake: F.softplus(real - fake).mean(),
        paired=True,
    ),
}


class Reals(NamedTuple):
    """Real images x (N, C, H, W) in [-1, 1] and their labels y (N,), or None."""

    x: Tensor
    y: Tensor | None


class Latents(NamedTuple):
    """Noise z (N, z_dim) and the labels y (N,) asked of G, or None."""

    z: Tensor
    y: Tensor | None


class CriticLoss(nn.Module):
    """D's loss on real and generated images: all of D's forward passes, so that DDP sees them as one."""

    def __init__(self, D: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.D, self.objective = D, objective
        # BatchNorm over a mixed batch would tell real from fake by the batch's own statistics.
        self.apart = any(isinstance(module, _BatchNorm) for module in D.modules())

    def forward(self, x: Tensor, y: Tensor | None, x_fake: Tensor, y_fake: Tensor | None) -> tuple[Tensor, Tensor]:
        """The loss (), and detached statistics (3,): loss, mean D(x), mean D(G(z))."""
        if self.apart:
            real, fake = self.D(x, y), self.D(x_fake, y_fake)
        else:
            both = None if y is None or y_fake is None else torch.cat([y, y_fake])
            real, fake = self.D(torch.cat([x, x_fake]), both).chunk(2)
        real, fake = _at_least_float32(real), _at_least_float32(fake)
        loss = self.objective.critic(real, fake)
        return loss, torch.stack([loss, real.mean(), fake.mean()]).detach()


class GeneratorLoss(nn.Module):
    """G's loss through a frozen D. D is kept out of the module tree: DDP must average G's gradients only."""

    def __init__(self, G: nn.Module, D: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.G, self.objective = G, objective
        self._frozen = (D,)

    def forward(self, z: Tensor, y: Tensor | None, x: Tensor, y_real: Tensor | None) -> tuple[Tensor, Tensor]:
        """The loss (), and detached statistics (1,): the loss. Of x only paired objectives take notice."""
        (D,) = self._frozen
        fake = D(self.G(z, y), y)
        real = D(x, y_real) if self.objective.paired else fake
        loss = self.objective.generator(_at_least_float32(real), _at_least_float32(fake))
        return loss, loss.detach()[None]


STATISTICS = ("loss/D", "score/real", "score/fake", "grad_norm/D", "loss/G", "grad_norm/G")
"""Names of what `Game.step` returns, in its order."""


class Game:
    """The two losses, wrapped for the ranks once, and the step that plays one round."""

    def __init__(
        self, players: Players, objective: Objective, ranks: Ranks, precision: str, accumulate: int = 1
    ) -> None:
        G, D = players.G.net, players.D.net
        self.critic_loss = ranks.distributed(CriticLoss(D, objective))
        self.generator_loss = ranks.distributed(GeneratorLoss(G, D, objective))
        self.autocast_dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        self.device_type = ranks.device.type
        self.accumulate = accumulate

    def step(
        self, players: Players, reals: Sequence[Reals], for_D: Sequence[Latents], for_G: Latents, beta: float
    ) -> Tensor:
        """One round of Algorithm 1: len(reals) updates of D, one of G, then G's running average.

        Args:
            reals: this rank's share of a fresh global batch for each update of D.
            for_D: the latents of the fakes in each update of D.
            for_G: the latents of G's own update; paired objectives compare them with the last of `reals`.
            beta: what the running average keeps of itself.

        Returns:
            `STATISTICS`, (6,) float32, on the device; of several updates of D, those of the last.
        """
        G, D = players.G, players.D
        for (x, y), (z, y_fake) in zip(reals, for_D, strict=True):
            with torch.no_grad(), self._autocast():
                x_fake = torch.cat([G.net(*part) for part in self._parts(z, y_fake)]).to(x.dtype)
            critic = self._descend(D, self.critic_loss, self._parts(x, y, x_fake, y_fake))
        D.net.requires_grad_(False)
        generator = self._descend(G, self.generator_loss, self._parts(*for_G, *reals[-1]))
        D.net.requires_grad_(True)
        players.average(beta)
        return torch.cat([critic, generator])

    def _descend(self, player: Player, loss_of: nn.Module, parts: list[tuple[Tensor | None, ...]]) -> Tensor:
        """One update of `player` against the mean loss over `parts`: (statistics..., gradient norm)."""
        player.optimizer.zero_grad()
        sums: list[Tensor] = []
        for i, part in enumerate(parts):
            last = i + 1 == len(parts)
            with nullcontext() if last or not hasattr(loss_of, "no_sync") else loss_of.no_sync():  # type: ignore[operator]
                with self._autocast():
                    loss, statistics = loss_of(*part)
                player.scaler.scale(loss / len(parts)).backward()
            sums.append(statistics)
        norm = player.update()
        return torch.cat([torch.stack(sums).mean(0).float(), norm.float()[None]])

    def _parts(self, *tensors: Tensor | None) -> list[tuple[Tensor | None, ...]]:
        """The micro-batches: each tensor in `accumulate` equal chunks."""
        chunks = [[None] * self.accumulate if t is None else t.chunk(self.accumulate) for t in tensors]
        return list(zip(*chunks, strict=True))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device_type, self.autocast_dtype, enabled=self.autocast_dtype is not None)


def _at_least_float32(scores: Tensor) -> Tensor:
    """Losses are computed in full precision whatever D ran in."""
    return scores if scores.dtype == torch.float64 else scores.float()
