"""WaveGAN: the layers and counts of the paper's tables, lengths, phase shuffle, conditions."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gandist.gan.networks import Shape
from gandist.gan.networks.norms import iterate
from gandist.gan.networks.sketch import sketched
from gandist.gan.networks.wavegan import Discriminator, Generator, WaveOptions, levels, shuffled
from gandist.gan.penalties import uniforms_of
from tests.helpers.no_host_sync import Blind

PAPER = Shape(32, 3, z_dim=100, width=64, norm="none", sample=(1, 16_384))
SMALL = PAPER._replace(z_dim=6, width=4, sample=(1, 1024))


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def built_D(shape: Shape = SMALL, **options: Any) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(shape._replace(options=WaveOptions(**options)))


@pytest.mark.parametrize(
    ("samples", "in_G", "in_D"),
    [(4_096, 5_130_241, 4_311_553 - 1), (16_384, 19_065_345, 17_427_969 - 1), (65_536, 73_149_953, 69_875_201 - 1)],
)
def test_layers_and_counts(samples: int, in_G: int, in_D: int) -> None:
    """19.1 M and 17.4 M as published at 16,384 samples; D without the bias of its score."""
    shape = PAPER._replace(sample=(1, samples))
    with sketched():
        G, D = Generator(shape), built_D(shape)
    channels = [64 * 2**k for k in range({4_096: 4, 16_384: 5, 65_536: 6}[samples])]
    kernels = 25 * (channels[0] + sum(a * b for a, b in pairwise(channels)))
    made = 100 * 16 * channels[-1] + 16 * channels[-1] + kernels + sum(channels[:-1]) + 1
    judged = kernels + sum(channels) + 16 * channels[-1]
    assert (parameters(G), parameters(D)) == (made, judged) == (in_G, in_D)
    for net, kind in ((G, nn.ConvTranspose2d), (D, nn.Conv2d)):
        layers = [m for m in net.modules() if isinstance(m, kind)]
        assert {(m.kernel_size, m.stride) for m in layers} == {((1, 25), (1, 4))}
        assert len(layers) == len(channels)
    with torch.device("meta"):
        assert G(torch.empty(2, 100)).shape == (2, 1, samples)
        assert D(torch.empty(2, 1, samples)).shape == (2,)


@pytest.mark.parametrize(
    ("samples", "first", "count"), [(64, 16, 1), (252, 63, 1), (256, 16, 2), (8_192, 32, 4), (12_288, 48, 4)]
)
def test_lengths_between(samples: int, first: int, count: int) -> None:
    shape = SMALL._replace(sample=(2, samples))
    assert levels(shape) == (first, [4 * 2**k for k in reversed(range(count))])
    made = Generator(shape)(torch.randn(3, 6))
    assert made.shape == (3, 2, samples)
    assert built_D(shape)(made).shape == (3,)


@pytest.mark.parametrize(("samples", "nearest"), [(60, 64), (16_000, 15_872), (257, 256), (255, 256), (22_050, 22_528)])
def test_other_lengths_are_refused(samples: int, nearest: int) -> None:
    for net in (Generator, Discriminator):
        with pytest.raises(ValueError, match=rf"not {samples:,}; set data.options.samples={nearest}$"):
            net(SMALL._replace(sample=(1, samples)))
    levels(SMALL._replace(sample=(1, nearest)))


def test_features_of_D_shrink_by_four() -> None:
    D, x = built_D(), torch.randn(2, 1, 1024)
    lengths: list[int] = []
    for convolution in D.convolutions:
        convolution.register_forward_hook(lambda _, inputs, out: lengths.append(out.shape[3]))
    D(x)
    assert lengths == [256, 64, 16]


def moved_slowly(x: Tensor, shifts: list[int]) -> Tensor:
    """Sample by sample: cut out of each one, which is mirrored at its ends."""
    reach, length = max(map(abs, shifts)), x.shape[-1]
    longer = nn.functional.pad(x, (reach, reach, 0, 0), mode="reflect")
    return torch.stack([of[..., reach + s : reach + s + length] for of, s in zip(longer, shifts, strict=True)])


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("reach", "length"), [(2, 16), (2, 5), (1, 3), (3, 8)])
def test_phase_shuffle(reach: int, length: int, dtype: torch.dtype, order: torch.memory_format) -> None:
    shifts = list(range(-reach, reach + 1))
    x = torch.randn(len(shifts), 3, 1, length).to(dtype, memory_format=order).requires_grad_()
    u = (torch.arange(len(shifts)) + 0.5) / len(shifts)
    found, slow = shuffled(x, u, reach), moved_slowly(x, shifts)
    assert torch.equal(found, slow)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    weights = torch.randn_like(found)
    ours, theirs = (torch.autograd.grad((made * weights).sum(), x)[0] for made in (found, slow))
    assert torch.equal(ours, theirs), "of two terms at most: no order changes their sum"
    _, tangent = torch.func.jvp(lambda x: shuffled(x, u, reach), (x.detach(),), (weights,))  # type: ignore[misc]
    assert torch.equal(tangent, moved_slowly(weights, shifts))


def test_every_shift_is_as_frequent() -> None:
    """At the ends of [0, 1), and at 1, which float32 may round to."""
    x = torch.arange(16.0)[None, None, None].expand(7, -1, -1, -1)
    u = torch.tensor([0.0, 0.1999, 0.2, 0.5, 0.8, 1 - 2**-24, 1.0])
    assert shuffled(x, u, 2)[:, 0, 0, 8].tolist() == [6, 6, 7, 8, 10, 10, 10]


def test_numbers_shuffle_all_layers_but_the_last() -> None:
    D, x = built_D(SMALL._replace(sample=(1, 4_096))), torch.randn(2, 1, 4_096)
    assert uniforms_of(D) == 3
    middle = torch.full((2, 3), 0.5)
    torch.testing.assert_close(D(x), D(x, None, middle), msg="no place further")
    for layer in range(3):
        u = middle.clone()
        u[0, layer] = 0.1
        assert ((D(x, None, u) - D(x)).abs() > 1e-4).tolist() == [True, False]
    assert uniforms_of(built_D(shuffle=0)) == 0


def test_nothing_of_the_shuffle_is_brought_to_the_host() -> None:
    D, x, u = built_D(), torch.randn(2, 1, 1024), torch.rand(2, 2)
    with Blind():  # type: ignore[no-untyped-call]
        torch.autograd.backward(D(x, None, u).sum())


def test_classes_are_projected_on() -> None:
    D = built_D(SMALL._replace(classes=3))
    x, y = torch.randn(5, 1, 1024), torch.tensor([0, 1, 2, 0, 1])
    seen: list[Tensor] = []
    D.convolutions[-1].register_forward_hook(lambda _, inputs, out: seen.append(D.act(out)))
    scores = D(x, y)
    phi, embed = seen[0][:, :, 0], D.embed
    assert isinstance(embed, nn.Embedding)
    expected = phi.mT.flatten(1) @ D.score.weight[0] + (embed(y) * phi.sum(2)).sum(1)
    torch.testing.assert_close(scores, expected)


def test_spectral_norms_are_1() -> None:
    D = built_D(SMALL._replace(norm="spectral", classes=3)).double()
    for _ in range(500):
        iterate(D)
    layers = [m for m in D.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]
    largest = [float(torch.linalg.matrix_norm(m.weight.detach().flatten(1), 2)) for m in layers]
    assert largest == pytest.approx([1] * 5, abs=1e-4)
