"""G alone, without a critic: it learns from its penalties, such as the distance to the target.

Image-to-image GANs begin so, for a critic teaches little while G's images are far from real ones (Ledig et al. 2017,
arXiv:1609.04802, section 3.2; Wang et al. 2021, arXiv:2107.10833, section 4.1).
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from gandist.distributed.averaging import USUAL, Averaging
from gandist.distributed.ranks import Ranks
from gandist.gan.adversarial import Latents, Reals, Rules, Scheduled
from gandist.gan.descent import Descent, Number
from gandist.gan.networks.norms import synchronise
from gandist.gan.penalties import Noise, Samples, Update, images_and_terms
from gandist.gan.players import Players

NONE = "none"
"""Its name in `game.objective`."""


class TargetLoss(nn.Module):
    """The sum of G's penalties."""

    def __init__(self, G: nn.Module, rules: Rules, memory: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.G, self.rules, self.memory = G, rules, memory
        self.penalties = rules.penalties_of("G")

    def forward(self, z: Tensor, y: Tensor | None, x: Tensor, weights: Mapping[str, Number]) -> tuple[Tensor, Tensor]:
        """The loss (), and detached statistics: the loss, then each penalty, NaN if it is not due."""
        rules = self.rules
        fake, of_G = images_and_terms(self.G, z, y)
        samples = {"fake": Samples(fake, y), "real": Samples(x, y)}
        game = (self.memory, rules.objective)
        update = Update(self.G, samples, {}, {}, *game, seen_alike=rules.seen_alike, terms=of_G, mel=rules.mel)
        terms = {name: self.penalties[name].value(update) for name in weights}
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        absent = torch.full_like(loss, torch.nan)
        return loss, torch.stack([loss, *(terms.get(name, absent) for name in self.penalties)]).detach()


class Supervised(Descent):
    """The loss, wrapped for the ranks once, and its step. The loop uses it as a `Game`."""

    def __init__(
        self,
        players: Players,
        rules: Rules,
        ranks: Ranks,
        precision: str,
        accumulate: int = 1,
        averaging: Averaging = USUAL,
    ) -> None:
        super().__init__(ranks.device, precision, accumulate)
        synchronise(players.G.net, ranks.gradients)
        self.loss = ranks.distributed(TargetLoss(players.G.net, rules, players.memory), averaging)
        self.statistics = ("loss/G", *(f"penalty/{name}" for name in rules.penalties_of("G")), "grad_norm/G")

    def noise_for(self, player: str, due: Iterable[str] = ()) -> dict[str, Noise]:
        """No noise: nothing is augmented."""
        return {}

    def step(
        self, players: Players, reals: Sequence[Reals], for_D: Sequence[Latents], for_G: Latents, now: Scheduled
    ) -> Tensor:
        """One update of G on `reals[0]`, then of its running average. D stays as it is."""
        (x, y, _) = reals[0]
        statistics = self.descend(players.G, self.loss, self.parts(for_G.z, y, x), now.weights_G)
        players.average(now.beta)
        return statistics
