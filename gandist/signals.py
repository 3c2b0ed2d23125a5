"""Cheap signs of how a run fares, read once a tick: nothing that an evaluation would be needed for."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from gandist.health import SIGNALS
from gandist.players import Players

N = 64
"""Images that are compared with one another."""
COARSE_PX = 8
"""They are compared at this height and width: fine detail differs between any two images."""
PAIRS = 30
"""So many pairs of one class are needed for their mean distance to say something."""


class Probe:
    """Latents that stay the same, and real images with whose variety that of their images is compared."""

    def __init__(self, x: Tensor, z: Tensor, y: Tensor | None) -> None:
        """x (N, C, H, W): real images in [-1, 1]; y: their conditions, which z (N, latents) is drawn to."""
        self.z, self.y = z, y
        i, j = torch.triu_indices(len(x), len(x), 1, device=x.device)
        alike = y[i] == y[j] if y is not None and not y.is_floating_point() else None
        self.alike = alike if alike is not None and alike.sum() >= PAIRS else None
        """Of the pairs of images, those of one class; None where there are none, or too few."""
        self.real = self._spreads(x)
        self.names = SIGNALS if self.alike is not None else SIGNALS[:-1]

    def _spreads(self, x: Tensor) -> Tensor:
        """Mean distance between two of x (N, C, H, W), and between two of one class: float64, (1,) or (2,)."""
        d = torch.pdist(F.adaptive_avg_pool2d(x, COARSE_PX).flatten(1).double())
        return torch.stack([d.mean()] if self.alike is None else [d.mean(), d[self.alike].mean()])

    @torch.no_grad()
    def look(self, players: Players, nonfinite: Tensor) -> Tensor:
        """The values of `names`, float64, on the device; `nonfinite` is one of them.

        Diversity is the mean distance between two images of G, over that between two real ones, and the same within a
        class. G's own images, not those of its average, in which a collapse would show late. Drift is
        |G - G_ema| / |G_ema| over the weights.
        """
        G, G_ema = players.G.net, players.G_ema.eval()
        # The average's modules, which evaluate, with the weights and statistics of G, which goes on training.
        images = functional_call(G_ema, dict(G.state_dict()), (self.z, self.y))
        ours, theirs = ([weight.data for weight in net.parameters()] for net in (G, G_ema))
        norm = torch.nn.utils.get_total_norm
        drift = norm(torch._foreach_sub(ours, theirs)) / norm(theirs)
        diversity, *within = self._spreads(images) / self.real
        return torch.stack([diversity, drift.double(), nonfinite.double(), *within])
