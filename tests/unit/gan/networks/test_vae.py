"""The VAE: its divergence and its loss against closed forms, and the networks' shapes."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from gandist.gan.networks import dcgan, vae
from gandist.gan.networks.shape import Shape
from gandist.gan.networks.vae import ElboLoss, kl

SHAPE = Shape(resolution=32, channels=3, z_dim=6, width=4)
N, D, Z = 5, 4, 3


class Linear(nn.Module):
    """x = W z + b."""

    def __init__(self, orthogonal: bool = False) -> None:
        super().__init__()
        W = torch.randn(D, Z, dtype=torch.float64)
        if orthogonal:
            W = torch.linalg.qr(W).Q * torch.tensor([2.0, 1.0, 0.5])
        self.W, self.b = nn.Parameter(W), nn.Parameter(torch.randn(D, dtype=torch.float64))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return z @ self.W.T + self.b


class Fixed(nn.Module):
    """An encoder that gives one mu and one log_var for each x."""

    def __init__(self, mu: Tensor, log_var: Tensor) -> None:
        super().__init__()
        self.mu, self.log_var = nn.Parameter(mu), nn.Parameter(log_var)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.mu.expand(len(x), -1), self.log_var.expand(len(x), -1)


def float64(*size: int) -> Tensor:
    return torch.randn(*size, dtype=torch.float64)


def sigma_points() -> Tensor:
    """eps (2 Z, Z) whose mean over any quadratic form is that over N(0, I)."""
    axes = math.sqrt(Z) * torch.eye(Z, dtype=torch.float64)
    return torch.cat([axes, -axes])


def test_kl_is_that_of_torch() -> None:
    torch.manual_seed(0)
    mu, log_var = float64(7, 5), float64(7, 5)
    expected = kl_divergence(Normal(mu, (log_var / 2).exp()), Normal(torch.zeros_like(mu), torch.ones_like(mu)))
    torch.testing.assert_close(kl(mu, log_var), expected.sum(1))
    assert kl(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0, 0]
    assert kl(mu.bfloat16(), log_var.bfloat16()).dtype == torch.float32
    assert kl(mu, log_var).dtype == torch.float64


def test_gradients_of_the_loss() -> None:
    """By hand: with r = x - W z - b and z = mu + sigma eps, of the mean over N images."""
    torch.manual_seed(0)
    beta, x, eps = 0.7, float64(N, D), float64(N, Z)
    G, E = Linear(), Fixed(float64(N, Z), float64(N, Z))
    loss, statistics = ElboLoss(G, E)(x, None, eps, beta)
    loss.backward()
    with torch.no_grad():
        mu, log_var, sigma = E.mu, E.log_var, (E.log_var / 2).exp()
        z = mu + sigma * eps
        r = x - z @ G.W.T - G.b
        error, divergence = 0.5 * r.square().sum() / N, 0.5 * (mu**2 + sigma**2 - 1 - log_var).sum() / N
        torch.testing.assert_close(statistics, torch.stack([error, divergence]))
        torch.testing.assert_close(loss, error + beta * divergence)
        torch.testing.assert_close(G.W.grad, -r.T @ z / N)
        torch.testing.assert_close(G.b.grad, -r.sum(0) / N)
        torch.testing.assert_close(E.mu.grad, (-r @ G.W + beta * mu) / N)
        torch.testing.assert_close(E.log_var.grad, ((-r @ G.W) * sigma * eps / 2 + beta * (sigma**2 - 1) / 2) / N)
    assert not statistics.requires_grad


@pytest.mark.parametrize("variance", [1.0, 0.3])
@pytest.mark.parametrize("exact", [True, False])
def test_the_bound_lies_below_the_evidence_by_the_divergence_from_the_posterior(variance: float, exact: bool) -> None:
    """A linear decoder of variance s^2: log p(x) and p(z|x) are known, and the weight is s^2."""
    torch.manual_seed(0)
    G, x = Linear(orthogonal=True), float64(D)
    with torch.no_grad():
        W = G.W
        marginal = MultivariateNormal(G.b, W @ W.T + variance * torch.eye(D, dtype=torch.float64))
        evidence = marginal.log_prob(x)  # type: ignore[no-untyped-call]
        covariance = torch.linalg.inv(torch.eye(Z, dtype=torch.float64) + W.T @ W / variance)
        posterior = MultivariateNormal(covariance @ W.T @ (x - G.b) / variance, covariance)
        mu, log_var = posterior.mean, covariance.diagonal().log()
        if not exact:
            mu, log_var = mu + 0.3 * float64(Z), log_var + 0.3 * float64(Z)
        eps = sigma_points()
        loss, _ = ElboLoss(G, Fixed(mu, log_var))(x.expand(len(eps), -1), None, eps, variance)
        bound = -loss / variance - D / 2 * math.log(2 * math.pi * variance)
        gap = kl_divergence(MultivariateNormal(mu, torch.diag(log_var.exp())), posterior)
    torch.testing.assert_close(evidence - bound, gap, rtol=0, atol=1e-9)
    assert (gap < 1e-9) == exact


def networks(shape: Shape) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return vae.Generator(shape), vae.Encoder(shape)


@pytest.mark.parametrize("norm", ["batch", "sync", "group", "none"])
@pytest.mark.parametrize(("resolution", "classes", "text_dim"), [(32, 0, 0), (64, 5, 0), (32, 0, 7)])
def test_shapes_and_counts(norm: str, resolution: int, classes: int, text_dim: int) -> None:
    shape = SHAPE._replace(resolution=resolution, classes=classes, text_dim=text_dim, norm=norm)
    G, E = networks(shape)
    x = torch.rand(3, 3, resolution, resolution) * 2 - 1
    y = torch.arange(3) if classes else torch.randn(3, text_dim) if text_dim else None
    assert [tuple(moment.shape) for moment in E(x, y)] == [(3, 6), (3, 6)]
    loss, statistics = ElboLoss(G, E)(x, y, torch.randn(3, 6), 1.0)
    assert loss.shape == ()
    assert statistics.shape == (2,)

    features = dcgan.Discriminator(shape._replace(classes=0, text_dim=0))
    top = {32: 16, 64: 32}[resolution]
    expected = sum(p.numel() for p in features.parameters()) - 16 * top + (16 * top + 1) * 12
    assert sum(p.numel() for p in E.parameters()) == expected + (classes or text_dim) * 12


def test_the_decoder_is_dcgan() -> None:
    assert vae.Generator is dcgan.Generator


def test_eps_is_the_only_noise() -> None:
    loss_of = ElboLoss(*networks(SHAPE))
    x, eps = torch.randn(4, 3, 32, 32), torch.randn(4, 6)
    before = torch.random.get_rng_state()
    first, again, other = (loss_of(x, None, e, 1.0)[0] for e in (eps, eps, -eps))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_loss_is_full_precision_under_autocast() -> None:
    """The networks round, the loss does not: it is what float32 makes of their rounded results."""
    G, E = networks(SHAPE._replace(norm="none"))
    x, eps = torch.randn(4, 3, 32, 32), torch.randn(4, 6)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        loss, statistics = ElboLoss(G, E)(x, None, eps, 2.0)
        mu, log_var = (moment.float() for moment in E(x))
        images = G(mu + (log_var / 2).exp() * eps)
    assert images.dtype == torch.bfloat16
    assert loss.dtype == statistics.dtype == torch.float32
    reconstruction = (x.double() - images.double()).square().sum() / 8
    torch.testing.assert_close(statistics[0].double(), reconstruction, rtol=1e-5, atol=0)
    torch.testing.assert_close(loss, statistics[0] + 2 * statistics[1])
