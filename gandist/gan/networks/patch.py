"""PatchGAN's discriminator (Isola et al. 2017, arXiv:1611.07004, sec. 3.2 and appendix 6.1.2).

4x4 convolutions: `layers` of stride 2, two of stride 1, the last of which scores. With three layers at width 64 these
are C64-C128-C256-C512 and a score for every 70x70 patch; the padding of one pixel makes 30x30 scores of 256x256 pixels.
All but the first and the last have a norm. LeakyReLU(0.2); weights from N(0, 0.02). The last layer has no bias: a
relativistic objective would give it no gradient.
"""

from itertools import pairwise

from torch import Tensor, nn

from gandist.gan.networks.dcgan import init_dcgan
from gandist.gan.networks.norms import at_least_float32, norm, spectral


def smallest(layers: int) -> int:
    """Pixels of the side of the smallest image that has a score."""
    return 3 << layers


class PatchNet(nn.Module):
    """x: (N, channels, H, W) -> scores (N, H / 2^layers - 2, W / 2^layers - 2), and the activations of each layer."""

    def __init__(self, channels: int, width: int, layers: int, norm_name: str) -> None:
        super().__init__()
        widths = [channels, *(width * min(2**k, 8) for k in range(layers + 1))]
        bias = norm_name not in ("batch", "sync")
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 4, 2 if k < layers else 1, 1, bias=k == 0 or bias),
                norm(norm_name if k else "none", after),
                nn.LeakyReLU(0.2, inplace=True),
            )
            for k, (before, after) in enumerate(pairwise(widths))
        )
        self.score = nn.Conv2d(widths[-1], 1, 4, 1, 1, bias=False)
        self.apply(init_dcgan)
        spectral(self, norm_name)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return at_least_float32(self.score(x).squeeze(1)), features
