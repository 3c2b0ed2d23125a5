"""Real-ESRGAN's U-Net discriminator (Wang et al. 2021, arXiv:2107.10833, sec. 3.3), which scores every pixel.

Three 4x4 convolutions of stride 2 halve the resolution and double the channels. Three times, bilinear upsampling and a
3x3 convolution follow, and the features of that resolution are added. Three 3x3 convolutions end it. All but the first
and the last convolution are normalised, spectrally in the paper: 4.38 M parameters at width 64. LeakyReLU(0.2). The
paper does not give the initialisation; this is He's. The last layer has no bias: a relativistic objective would give it
no gradient.
"""

from torch import Tensor, nn

from gandist.gan.networks.norms import at_least_float32, norm, spectral
from gandist.gan.networks.resample import bilinear2

SLOPE = 0.2
HALVINGS = 3


def init_he(module: nn.Module) -> None:
    """He's initialisation for leaky ReLU (He et al. 2015, arXiv:1502.01852), without biases."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _layer(before: int, after: int, size: int, stride: int, norm_name: str) -> nn.Sequential:
    made = nn.Sequential(
        nn.Conv2d(before, after, size, stride, 1, bias=False),
        norm(norm_name, after),
        nn.LeakyReLU(SLOPE, inplace=True),
    )
    made.apply(init_he)
    spectral(made, norm_name)
    return made


class UNetNet(nn.Module):
    """x: (N, channels, H, W) -> scores (N, H, W), and the activations of each layer. H and W are multiples of 8."""

    def __init__(self, channels: int, width: int, norm_name: str) -> None:
        super().__init__()
        widths = [width << k for k in range(HALVINGS + 1)]
        self.first = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(SLOPE, inplace=True))
        self.down = nn.ModuleList(_layer(w, 2 * w, 4, 2, norm_name) for w in widths[:-1])
        self.up = nn.ModuleList(_layer(w, w // 2, 3, 1, norm_name) for w in widths[:0:-1])
        self.last = nn.ModuleList(_layer(width, width, 3, 1, norm_name) for _ in range(2))
        self.score = nn.Conv2d(width, 1, 3, padding=1, bias=False)
        self.first.apply(init_he)
        self.score.apply(init_he)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = [self.first(x)]
        for layer in self.down:
            features.append(layer(features[-1]))
        h = features[-1]
        for layer, skip in zip(self.up, features[-2::-1], strict=True):
            h = layer(bilinear2(h))
            features.append(h)
            h = h + skip
        for layer in self.last:
            h = layer(h)
            features.append(h)
        return at_least_float32(self.score(h).squeeze(1)), features
