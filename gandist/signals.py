"""Cheap signs of how a run fares, read once a tick: nothing that an evaluation would be needed for."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from gandist.players import Players

N = 64
"""Images that are compared with one another."""
COARSE_PX = 8
"""They are compared at this height and width: fine detail differs between any two images."""


class Probe:
    """Latents that stay the same, and real images with whose variety that of their images is compared."""

    def __init__(self, x: Tensor, z: Tensor, y: Tensor | None) -> None:
        """x (N, C, H, W): real images in [-1, 1]; y: their conditions, which z (N, latents) is drawn to."""
        self.real, self.z, self.y = spread(x), z, y

    @torch.no_grad()
    def look(self, players: Players) -> Tensor:
        """(diversity, drift), float64, on the device.

        Diversity is the mean distance between two images of G, over that between two real ones. G's own images, not
        those of its average, in which a collapse would show late. Drift is |G - G_ema| / |G_ema| over the weights.
        """
        G, G_ema = players.G.net, players.G_ema.eval()
        # The average's modules, which evaluate, with the weights and statistics of G, which goes on training.
        images = functional_call(G_ema, dict(G.state_dict()), (self.z, self.y))
        ours, theirs = ([weight.data for weight in net.parameters()] for net in (G, G_ema))
        norm = torch.nn.utils.get_total_norm
        drift = norm(torch._foreach_sub(ours, theirs)) / norm(theirs)
        return torch.stack([spread(images) / self.real, drift.double()])


def spread(x: Tensor) -> Tensor:
    """Mean distance between two of the images x (N, C, H, W), of their pixels averaged to `COARSE_PX`: float64 ()."""
    return torch.pdist(F.adaptive_avg_pool2d(x, COARSE_PX).flatten(1).double()).mean()
