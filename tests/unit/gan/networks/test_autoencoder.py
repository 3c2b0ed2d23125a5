"""The autoencoders: their papers' sizes, what their codes are, and what the bottlenecks ask of encoder and codes."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.networks.autoencoder import AutoencoderOptions, Gaussian, Quantised, generator, latents, multiple
from gandist.gan.networks.sketch import sketched
from gandist.testing import CHECKS, check_autocast, check_pair

VQGAN: dict[str, Any] = {"bottleneck": "vq", "factor": 16, "code_channels": 256, "codes": 1024}


def shape(resolution: int = 32, width: int = 8, channels: int = 3, **options: Any) -> Shape:
    y = (channels, resolution, resolution)
    return Shape(resolution, channels, 0, width, norm="group", y=y, options=AutoencoderOptions(**options))


def built(**options: Any) -> tuple[Any, Tensor, Tensor]:
    """G in float64, z and y for four images."""
    torch.manual_seed(0)
    of = shape(**options)
    G = generator(of).double()
    return G, torch.randn(4, latents(of), dtype=torch.float64), torch.rand(4, 3, 32, 32, dtype=torch.float64) * 2 - 1


def parameters(G: torch.nn.Module) -> dict[str, int]:
    return {name: sum(p.numel() for p in part.parameters()) for name, part in G.named_children()}


def test_size_of_vqgan_at_256_pixels() -> None:
    """The paper states none: these are ours, 72.0 M in all, as VQGAN's size is usually given (72 M)."""
    with sketched():
        G = generator(shape(256, 128, multiples=(1, 1, 2, 2, 4), blocks=2, attention="lowest", **VQGAN))
        assert G.encoder(torch.empty(1, 3, 256, 256)).shape == (1, 256, 16, 16)
        assert G.decode(torch.empty(1, 256, 16, 16)).shape == (1, 3, 256, 256)
    assert parameters(G) == {"encoder": 29_298_176, "decoder": 42_449_795, "codebook": 1024 * 256}


def test_size_of_latent_diffusions_autoencoder() -> None:
    """Encoder and decoder of the published one: 83,653,863 parameters less 92 of two 1x1 convolutions of 4 channels."""
    with sketched():
        G = generator(shape(256, 128, factor=8, multiples=(1, 2, 4, 4), blocks=2, attention="middle"))
    assert sum(parameters(G).values()) == 83_653_863 - (8 * 8 + 8) - (4 * 4 + 4)


@pytest.mark.slow
@pytest.mark.parametrize("bottleneck", ["vq", "kl"])
def test_other_bottlenecks_are_pairs_too(bottleneck: str) -> None:
    """With attention. Rounding to bf16 turns some codes into their neighbours, so that images differ: see below. The
    other checks of Gaussian codes are test_pairs'."""
    checks = [check for check in CHECKS if (check is check_autocast) == (bottleneck == "kl")]
    of = shape(factor=2, bottleneck=bottleneck, attention="lowest", sees_y=True)
    check_pair("autoencoder", of, checks=checks)


@pytest.mark.parametrize("factor", [2, 4, 8, 16])
def test_sizes_of_codes(factor: int) -> None:
    for bottleneck in ("kl", "vq"):
        of = shape(factor=factor, bottleneck=bottleneck, code_channels=5)
        G = generator(of)
        code = G.encode(torch.zeros(2, 3, 32, 64))
        assert code.shape == (2, 5, 32 // factor, 64 // factor)
        assert G.decode(code).shape == (2, 3, 32, 64)
        assert multiple(of) == factor
        assert latents(of) == (5 * (32 // factor) ** 2 if bottleneck == "kl" else 0)


def test_a_gaussian_code_is_its_mean_where_z_is_0() -> None:
    G, z, y = built()
    assert isinstance(G, Gaussian)
    torch.testing.assert_close(G(torch.zeros_like(z), y), G.decode(G.encode(y)), rtol=0, atol=0)
    mean, log_var = G.moments(y)
    torch.testing.assert_close(G(z, y), G.decode(mean + (log_var / 2).exp() * z.view_as(mean)))
    assert not torch.equal(G(z, y), G(torch.zeros_like(z), y))


def test_the_divergence_is_that_of_the_code() -> None:
    G, z, y = built()
    images, terms = G.images_and_terms(z, y)
    assert torch.equal(images, G(z, y))
    mean, log_var = G.moments(y)
    code = torch.distributions.Normal(mean, (log_var / 2).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mean), 1.0)
    expected = torch.distributions.kl_divergence(code, prior).sum((1, 2, 3)).mean()
    torch.testing.assert_close(terms, {"kl": expected})


def test_codes_are_the_nearest_vectors() -> None:
    G, z, y = built(bottleneck="vq")
    assert isinstance(G, Quantised)
    h, vectors = G.encoder(y), G.codebook.vectors
    distances = torch.cdist(h.permute(0, 2, 3, 1).reshape(-1, 4), vectors)
    numbers = G.numbers(y)
    assert torch.equal(numbers.flatten(), distances.argmin(1))
    assert torch.equal(G.encode(y), vectors[numbers].permute(0, 3, 1, 2))
    assert torch.equal(G.codes_of(numbers), G.encode(y))
    torch.testing.assert_close(G(z, y), G.decode(G.encode(y)))
    assert torch.equal(G.code_counts(y), torch.bincount(numbers.flatten(), minlength=64))
    assert int((G.code_counts(y) > 0).sum()) > 16, "a new codebook is in use"


def test_under_autocast_most_codes_stay_and_vectors_are_not_rounded() -> None:
    G, z, y = built(bottleneck="vq")
    G, z, y = G.float(), z.float(), y.float()
    numbers = G.numbers(y)
    with torch.autocast("cpu", torch.bfloat16):
        assert float((G.numbers(y) == numbers).float().mean()) > 0.9
        assert torch.equal(G.codes_of(numbers), G.codebook.vectors.detach()[numbers].permute(0, 3, 1, 2))
        images, terms = G.images_and_terms(z, y)
    assert images.dtype == torch.bfloat16
    assert terms["codebook"].dtype == torch.float32
    (images.float().square().mean() + terms["codebook"]).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in G.parameters())


def test_the_codebook_learns_what_is_encoded_and_the_encoder_commits_itself() -> None:
    G, z, y = built(bottleneck="vq", commitment=0.25)
    h, vectors = G.encoder(y).permute(0, 2, 3, 1), G.codebook.vectors
    numbers = G.numbers(y)
    _, terms = G.images_and_terms(z, y)
    apart = (h - vectors[numbers]).detach()
    assert terms["codebook"].item() == pytest.approx(1.25 * float(apart.square().mean()))
    (of_codes,) = torch.autograd.grad(terms["codebook"], vectors, retain_graph=True)
    expected = torch.zeros_like(vectors).index_add_(0, numbers.flatten(), -2 / apart.numel() * apart.reshape(-1, 4))
    torch.testing.assert_close(of_codes, expected)
    bias = G.encoder[-1].bias
    (of_bias,) = torch.autograd.grad(terms["codebook"], bias)
    torch.testing.assert_close(of_bias, 0.25 * 2 / apart.numel() * apart.sum((0, 1, 2)))


def test_images_teach_the_encoder_straight_through_and_not_the_codes() -> None:
    G, z, y = built(bottleneck="vq")
    leaf = G.encode(y).detach().requires_grad_()
    (at_code,) = torch.autograd.grad(G.decode(leaf).square().sum(), leaf)
    loss = G(z, y).square().sum()
    of_bias, of_codes = torch.autograd.grad(loss, [G.encoder[-1].bias, G.codebook.vectors], allow_unused=True)
    torch.testing.assert_close(of_bias, at_code.sum((0, 2, 3)))
    assert of_codes is None


@pytest.mark.parametrize("bottleneck", ["kl", "vq"])
def test_a_pass_leaves_nothing_behind(bottleneck: str) -> None:
    """So that a copy is whole, and another state may be called through the same modules."""
    G, z, y = built(bottleneck=bottleneck)
    G.images_and_terms(z, y)[0].sum().backward()
    other = copy.deepcopy(G)
    assert torch.equal(other(z, y), G(z, y))
    moved = {name: value + 0.1 for name, value in G.state_dict().items()}
    expected = functional_call(G, moved, (z, y))
    other.load_state_dict(moved)
    assert torch.equal(other(z, y), expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"multiples": (1, 2)}, "has 2 numbers, and there are 3 resolutions with options.factor=4"),
        ({"multiples": (1, 0, 2)}, "each at least 1"),
    ],
)
def test_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        generator(shape(**options))


def test_it_enlarges_nothing() -> None:
    with pytest.raises(ValueError, match="an autoencoder enlarges nothing: y has 16 pixels, not 32"):
        generator(shape()._replace(y=(3, 16, 16)))
    assert NETWORKS["autoencoder"].scales == (1,)
