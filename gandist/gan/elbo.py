"""The variational autoencoder as a game: G is the decoder, and an encoder takes D's place.

Both minimise one loss, the negative evidence lower bound (Kingma & Welling 2014, arXiv:1312.6114, eq. 10).
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from gandist.distributed.averaging import USUAL, Averaging
from gandist.distributed.ranks import Ranks
from gandist.gan.adversarial import Latents, Reals, Scheduled
from gandist.gan.descent import Descent, on_the_last
from gandist.gan.networks.norms import synchronise
from gandist.gan.networks.vae import ElboLoss
from gandist.gan.penalties import Noise
from gandist.gan.players import Players

ELBO = "elbo"
"""Its name in `game.objective`. The weight of the penalty `kl` is its beta."""


class Elbo(Descent):
    """The one loss, wrapped for the ranks once, and its step. The loop uses it as a `Game`."""

    statistics = ("loss/D", "grad_norm/D", "loss/G", "grad_norm/G")
    """D's loss is the divergence of the codes, G's the reconstruction error."""

    def __init__(
        self,
        players: Players,
        ranks: Ranks,
        precision: str,
        accumulate: int = 1,
        averaging: Averaging = USUAL,
    ) -> None:
        super().__init__(ranks.device, precision, accumulate)
        for net in (players.G.net, players.D.net):
            synchronise(net, ranks.gradients)
        self.loss = ranks.distributed(ElboLoss(players.G.net, players.D.net), averaging)

    def noise_for(self, player: str, due: Iterable[str] = ()) -> dict[str, Noise]:
        """No extra noise: the codes are sampled with the latents that the loop draws for D's fakes."""
        return {}

    def step(
        self, players: Players, reals: Sequence[Reals], for_D: Sequence[Latents], for_G: Latents, now: Scheduled
    ) -> Tensor:
        """One update of both networks on the mean loss over `reals[0]`, then of the decoder's running average.

        Codes are sampled with `for_D[0].z`; `for_G` is ignored.
        """
        G, E = players.G, players.D
        for player in (G, E):
            player.optimizer.zero_grad()
        (x, y, _), eps = reals[0], for_D[0].z
        beta = now.weights_G.get("kl", 1.0)
        parts = self.parts(x, y, eps)
        sums = []
        for i, part in enumerate(parts):
            with on_the_last(self.loss, i + 1 == len(parts)):
                with self.autocast():
                    loss, statistics = self.loss(*part, beta)
                (loss / len(parts)).backward()
            sums.append(statistics)
        reconstruction, divergence = torch.stack(sums).mean(0).float()
        norm_E, norm_G = E.update().float(), G.update().float()
        players.average(now.beta)
        return torch.stack([divergence, norm_E, reconstruction, norm_G])
