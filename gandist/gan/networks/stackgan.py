"""StackGAN (Zhang et al. 2017, arXiv:1612.03242): stage I sketches a small image, stage II redraws it larger.

Both generators sample a code from a Gaussian around the condition (conditioning augmentation, sec. 3.2). Stage I maps
z and the code to 4x4 features, then alternates nearest-neighbour upsampling and 3x3 convolutions. It ends in a
convolution at full size, so it has one level more than DCGAN. At 64 pixels and width 64 its channels are 1024 -> 512 ->
256 -> 128 -> 64, as in the authors' code (which calls the 128 at 32 pixels the width). Stage II encodes stage I's
image to a quarter of its size with 8 width channels, joins a second code, and applies residual and upsampling blocks.
Each doubling halves the channels: 512 at 16 pixels to 32 at 256.

D is DCGAN's down to the 4x4 features, where the condition joins (sec. 3.3). Both stages use one class; stage II's D
has more levels (sec. 3.4). All convolutions have BatchNorm, except those that take or return images and scores. The
paper does not give the initialisation; this uses DCGAN's.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from gandist.gan.networks.dcgan import Discriminator as DCGANDiscriminator
from gandist.gan.networks.dcgan import Project, init_dcgan, levels
from gandist.gan.networks.norms import norm, spectral
from gandist.gan.networks.shape import Shape, condition
from gandist.gan.networks.vae import kl

CODE = 128
"""Dimension of a generator's code and of D's compressed condition: the paper's N_g and N_d."""


def latents_1(shape: Shape) -> int:
    """Random numbers that stage I takes: z, then the noise of its code."""
    return shape.z_dim + CODE


def latents_2(shape: Shape) -> int:
    """Random numbers that stage II takes: those of stage I, then the noise of its own code."""
    return latents_1(shape) + CODE


def _linear(shape: Shape, std: float) -> nn.Module:
    """y -> (N, CODE) with weights from N(0, std). Outputs have that standard deviation for classes and unit vectors.

    Raises:
        ValueError: the shape has no condition.
    """
    linear = condition(shape, CODE)
    if not isinstance(linear, nn.Embedding | nn.Linear):
        raise ValueError("StackGAN is conditioned: give it classes or text_dim")
    nn.init.normal_(linear.weight, 0.0, std)
    return linear


class ConditioningAugmentation(nn.Module):
    """y: (N,) classes or (N, text_dim) caption vectors -> (mu, log_var) of a Gaussian, each (N, CODE) (sec. 3.2)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        # Two classes start 0.25 sqrt(2 CODE) = 4 sigma apart, so G sees both the class and the noise.
        # In short runs a mu at scale 1 left G nearly blind to the noise, and at 0.02 to the class.
        self.mu, self.log_var = _linear(shape, 0.25), _linear(shape, 0.0)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.mu(y), self.log_var(y)

    def code(self, y: Tensor, eps: Tensor) -> Tensor:
        """mu(y) + sigma(y) eps (N, CODE), with eps (N, CODE) from N(0, I)."""
        mu, log_var = self(y)
        code: Tensor = mu + (0.5 * log_var).exp() * eps
        return code

    def kl(self, y: Tensor) -> Tensor:
        """KL(N(mu(y), sigma(y)^2) || N(0, I)) in nats (N,) (eq. 2): the second term of G's loss."""
        return kl(*self(y))


def _convolution(shape: Shape, channels: int, out: int) -> list[nn.Module]:
    """A 3x3 convolution with normalisation. It has no bias: the normalisation would cancel it."""
    return [nn.Conv2d(channels, out, 3, padding=1, bias=False), norm(shape.norm, out)]


def _decoder(shape: Shape, widths: list[int]) -> list[nn.Module]:
    """Features (N, widths[0], H, W) -> images. The size doubles for each further width."""
    layers: list[nn.Module] = []
    for wider, narrower in pairwise(widths):
        layers += [nn.Upsample(scale_factor=2), *_convolution(shape, wider, narrower), nn.ReLU(inplace=True)]
    return [*layers, nn.Conv2d(widths[-1], shape.channels, 3, padding=1, bias=False), nn.Tanh()]


class Residual(nn.Module):
    """(N, C, H, W) -> (N, C, H, W): two 3x3 convolutions added to the identity."""

    def __init__(self, shape: Shape, channels: int) -> None:
        super().__init__()
        same = (shape, channels, channels)
        self.layers = nn.Sequential(*_convolution(*same), nn.ReLU(inplace=True), *_convolution(*same))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.layers(x))


class Generator1(nn.Module):
    """Stage I: z: (N, latents_1), y -> images (N, C, H, W) in [-1, 1]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths = levels(shape._replace(resolution=2 * shape.resolution))
        self.augmentation = ConditioningAugmentation(shape)
        self.layers = nn.Sequential(
            Project(latents_1(shape), widths[0], 4, 1, 0, bias=False),
            norm(shape.norm, widths[0]),
            nn.ReLU(inplace=True),
            *_decoder(shape, widths),
        )
        self.layers.apply(init_dcgan)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        z, eps = z[:, :-CODE], z[:, -CODE:]
        images: Tensor = self.layers(torch.cat([z, self.augmentation.code(y, eps)], dim=1)[:, :, None, None])
        return images

    def kl(self, y: Tensor) -> Tensor:
        """Divergence (N,) of the conditioning augmentation."""
        return self.augmentation.kl(y)


class Generator2(nn.Module):
    """Stage II: z: (N, latents_2), y -> images (N, C, H, W) in [-1, 1].

    `stage_1` is a frozen part: it gets no gradient, and its BatchNorm uses its running statistics.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        top = 8 * shape.width
        doublings = (4 * shape.resolution // shape.stage_1_resolution).bit_length() - 1
        blocks = 4 if shape.resolution >= 256 else 2
        self.augmentation = ConditioningAugmentation(shape)
        self.encoder = nn.Sequential(
            nn.Conv2d(shape.channels, top // 2, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(top // 2, top, 4, 2, 1, bias=False),
            norm(shape.norm, top),
            nn.LeakyReLU(0.2, inplace=True),
        )
        self.layers = nn.Sequential(
            *_convolution(shape, top + CODE, top),
            nn.ReLU(inplace=True),
            *(Residual(shape, top) for _ in range(blocks)),
            *_decoder(shape, [top >> k for k in range(doublings + 1)]),
        )
        self.encoder.apply(init_dcgan)
        self.layers.apply(init_dcgan)
        self.stage_1 = Generator1(shape._replace(resolution=shape.stage_1_resolution)).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Generator2":
        super().train(mode)
        self.stage_1.eval()
        return self

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        z, eps = z[:, :-CODE], z[:, -CODE:]
        sketch = self.encoder(self.stage_1(z, y))
        images: Tensor = self.layers(_join(sketch, self.augmentation.code(y, eps)))
        return images

    def kl(self, y: Tensor) -> Tensor:
        """Divergence (N,) of stage II's own conditioning augmentation."""
        return self.augmentation.kl(y)


class Discriminator(nn.Module):
    """D of both stages: x: (N, C, H, W), y -> scores (N,)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        top = levels(shape)[0]
        self.features = DCGANDiscriminator(shape).features
        self.embed = _linear(shape, 1.0)
        self.joint = nn.Sequential(
            nn.Conv2d(top + CODE, top, 1, bias=False), norm(shape.norm, top), nn.LeakyReLU(0.2, inplace=True)
        )
        self.score = nn.Conv2d(top, 1, 4, bias=False)
        self.joint.apply(init_dcgan)
        self.score.apply(init_dcgan)
        for part in (self.embed, self.joint, self.score):  # the features are already normalised
            spectral(part, shape.norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        scores: Tensor = self.score(self.joint(_join(self.features(x), self.embed(y)))).flatten()
        return scores


def _join(h: Tensor, code: Tensor) -> Tensor:
    """Repeat the code (N, CODE) over the features h (N, C, H, W) and append it as further channels."""
    planes = code[:, :, None, None].expand(-1, -1, *h.shape[2:])
    # The joined tensor stays in channels_last only if both parts are.
    return torch.cat([h, planes.contiguous(memory_format=torch.channels_last)], dim=1)
