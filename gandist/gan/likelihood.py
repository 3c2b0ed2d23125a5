"""Maximum likelihood: G alone, where it knows how likely it is to make a sample.

The baseline of GANs for texts, which begin where it has ended (Yu et al. 2017, arXiv:1609.05473; Nie et al. 2019).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from gandist.distributed.averaging import USUAL, Averaging
from gandist.distributed.ranks import Ranks
from gandist.gan.adversarial import Latents, Reals, Scheduled
from gandist.gan.descent import Descent, Number
from gandist.gan.networks.norms import synchronise
from gandist.gan.penalties import Noise
from gandist.gan.players import Players

LIKELIHOOD = "likelihood"
"""Its name in `game.objective`."""
METHOD = "nll"
"""What G must have: nll(x: (N, ...), y) -> -log p(x | y) in nats, (N,)."""


class LikelihoodLoss(nn.Module):
    """The mean over samples of -log p(x | y), in nats."""

    def __init__(self, G: nn.Module) -> None:
        super().__init__()
        self.G = G

    def forward(self, x: Tensor, y: Tensor | None, weights: Mapping[str, Number]) -> tuple[Tensor, Tensor]:
        """The loss (), and detached statistics: the loss. There are no penalties that `weights` could weigh."""
        G: Any = self.G
        loss: Tensor = G.nll(x, y).mean()
        return loss, loss.detach()[None]


class Likelihood(Descent):
    """The loss, wrapped for the ranks once, and its step. The loop uses it as a `Game`."""

    statistics = ("loss/G", "grad_norm/G")

    def __init__(
        self,
        players: Players,
        ranks: Ranks,
        precision: str,
        accumulate: int = 1,
        averaging: Averaging = USUAL,
    ) -> None:
        super().__init__(ranks.device, precision, accumulate)
        synchronise(players.G.net, ranks.gradients)
        self.loss = ranks.distributed(LikelihoodLoss(players.G.net), averaging)

    def noise_for(self, player: str, due: Iterable[str] = ()) -> dict[str, Noise]:
        """No noise: nothing is drawn."""
        return {}

    def step(
        self, players: Players, reals: Sequence[Reals], for_D: Sequence[Latents], for_G: Latents, now: Scheduled
    ) -> Tensor:
        """One update of G on `reals[0]`, then of its running average. D stays as it is."""
        (x, y, _) = reals[0]
        statistics = self.descend(players.G, self.loss, self.parts(x, y), {})
        players.average(now.beta)
        return statistics
