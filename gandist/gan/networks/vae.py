"""The variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114), built from DCGAN's networks.

The decoder is DCGAN's G: it maps z to the mean of p(x|z), a Gaussian with the same variance for all pixels. The
encoder is DCGAN's D up to its 4x4 features. A linear layer maps these features, and y, to the mean and the log
variance of q(z|x).
"""

import torch
from torch import Tensor, nn

from gandist.gan.networks import dcgan
from gandist.gan.networks.norms import at_least_float32
from gandist.gan.networks.shape import Shape, condition

Generator = dcgan.Generator


class Encoder(nn.Module):
    """x: (N, C, H, W), y: (N,) -> (mu, log_var) of q(z|x, y), each (N, z_dim)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.features = dcgan.Discriminator(shape).features
        self.moments = nn.Conv2d(dcgan.levels(shape)[0], 2 * shape.z_dim, 4)
        self.embed = condition(shape, 2 * shape.z_dim)
        for part in (self.moments, self.embed):
            if part is not None:
                part.apply(dcgan.init_dcgan)
        nn.init.zeros_(self.moments.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        moments: Tensor = self.moments(self.features(x)).flatten(1)
        if self.embed is not None:
            moments = moments + self.embed(y)
        mu, log_var = moments.chunk(2, dim=1)
        return mu, log_var


def kl(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mu, exp(log_var)) || N(0, I)) in nats (N,) from moments (N, d) (appendix B); in float32 or wider."""
    mu, log_var = at_least_float32(mu), at_least_float32(log_var)
    return 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(dim=1)


class ElboLoss(nn.Module):
    """The negative evidence lower bound, which the decoder G and the encoder E both minimise.

    With a decoder N(G(z), s^2 I) the negative bound (eq. 3) is, up to constants,
        (1/2 |x - G(z)|^2 + s^2 KL(q(z|x) || p(z))) / s^2.
    The loss is this bound times s^2, and `weight` is the decoder's variance s^2 for images in [-1, 1]. At unit
    variance, `weight` equals the beta of Higgins et al. 2017 (beta-VAE, eq. 4). A larger weight keeps q(z|x) closer to
    p(z) and makes the images blurrier.
    """

    def __init__(self, G: nn.Module, E: nn.Module) -> None:
        super().__init__()
        self.G, self.E = G, E

    def forward(self, x: Tensor, y: Tensor | None, eps: Tensor, weight: Tensor | float) -> tuple[Tensor, Tensor]:
        """The loss () for images x (N, C, H, W), labels y and eps (N, z_dim) from N(0, I), and detached statistics
        (2,): the batch means of the reconstruction error 1/2 |x - G(mu + sigma eps)|^2 and the divergence in nats."""
        mu, log_var = (at_least_float32(moment) for moment in self.E(x, y))
        z = mu + (0.5 * log_var).exp() * eps
        error = at_least_float32(x) - at_least_float32(self.G(z, y))
        reconstruction = 0.5 * error.square().flatten(1).sum(dim=1).mean()
        divergence = kl(mu, log_var).mean()
        return reconstruction + weight * divergence, torch.stack([reconstruction, divergence]).detach()
