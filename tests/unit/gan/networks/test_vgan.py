"""VGAN: the paper's layers and counts, frames that fit, two streams, and convolutions against torch's."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.networks.clip_conv import Doubling, Halving
from gandist.gan.networks.norms import iterate
from gandist.gan.networks.sketch import sketched
from gandist.gan.networks.vgan import Discriminator, Generator, VGANOptions, levels
from gandist.testing import check_channels_last, check_every_parameter_learns, check_export, check_pair, check_shapes

PAPER = Shape(64, 3, z_dim=100, width=64, norm="batch", sample=(3, 32, 64, 64))
SMALL = Shape(32, 3, z_dim=6, width=4, norm="batch", sample=(3, 4, 32, 32))
TWO = VGANOptions(streams="two")


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_layers_and_counts_are_the_papers() -> None:
    """64 pixels, 32 frames: 2x4x4 features of 512 channels, then 256, 128, 64 and the clip; kernels 4x4x4, stride 2.

    Each BatchNorm has two numbers a channel, and only what is not normalised has a bias. D's score has none.
    """
    channels = [512, 256, 128, 64]
    with sketched():
        G, D = Generator(PAPER), Discriminator(PAPER)
        both = Generator(PAPER._replace(options=TWO))
    kernels = 64 * sum(a * b for a, b in pairwise(channels))
    made = 100 * 512 * 2 * 4 * 4 + kernels + 2 * sum(channels) + 64 * 64 * 3 + 3
    judged = 64 * 64 * 3 + 64 + kernels + 2 * (512 + 256 + 128) + 512 * 2 * 4 * 4
    still = 100 * 512 * 4 * 4 + kernels // 4 + 2 * sum(channels) + 16 * 64 * 3
    assert (parameters(G), parameters(D)) == (made, judged) == (12_662_659, 11_040_576)
    assert parameters(both) == made + 64 * 64 + 1 + still == 16_243_460
    for net, kind in ((G, Doubling), (D, Halving)):
        layers = [m for m in net.modules() if isinstance(m, kind)]
        assert [(m.kernel_size, m.stride, m.padding) for m in layers] == [((4, 4, 4), (2, 2, 2), (1, 1, 1))] * 4


@pytest.mark.parametrize("pair", ["vgan", "mocogan"])
@pytest.mark.parametrize("frames", [8, 16, 32])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_every_size(size: int, frames: int, pair: str) -> None:
    shape = SMALL._replace(resolution=size, channels=1, sample=(1, frames, size, size), classes=5, norm="none")
    with sketched():
        G, D = NETWORKS[pair].generator(shape), NETWORKS[pair].discriminator(shape)
        y = torch.zeros(2, dtype=torch.long)
        made = G(torch.empty(2, NETWORKS[pair].latents(shape)), y)
        found = D(made, y)
    assert made.shape == (2, 1, frames, size, size)
    assert all(scores.shape == (2,) for scores in ((found,) if pair == "vgan" else found))


@pytest.mark.parametrize(
    ("size", "frames", "of"),
    [
        (64, 32, [2, 4, 8, 16, 32]),
        (32, 8, [2, 2, 4, 8]),
        (64, 20, [5, 5, 5, 10, 20]),
        (32, 3, [3, 3, 3, 3]),
        (32, 64, [8, 16, 32, 64]),
    ],
)
def test_frames_that_fit(size: int, frames: int, of: list[int]) -> None:
    assert levels(SMALL._replace(sample=(3, frames, size, size)))[0] == of


@pytest.mark.parametrize(("size", "frames", "nearest"), [(32, 9, 8), (64, 100, 96), (32, 65, 64), (128, 11, 10)])
def test_other_frames_are_refused(size: int, frames: int, nearest: int) -> None:
    for pair in ("vgan", "mocogan"):
        with pytest.raises(ValueError, match=rf"^{frames} frames of {size} px .*; set data.options.frames={nearest}$"):
            NETWORKS[pair].discriminator(SMALL._replace(resolution=size, sample=(3, frames, size, size)))
    levels(SMALL._replace(sample=(3, nearest, size, size)))


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("few", [1, 3])
def test_convolutions_are_torchs(few: int, times: int) -> None:
    """To rounding, in value and in both gradients, and to the first two derivatives in either mode."""
    torch.manual_seed(0)
    halving, doubling = Halving(few, 5, times, True).double(), Doubling(5, few, times, True).double()
    for layer, convolve, channels in ((halving, F.conv3d, few), (doubling, F.conv_transpose3d, 5)):
        x = torch.randn(2, channels, 4, 6, 8, dtype=torch.float64)
        x = x.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
        expected = convolve(x, layer.weight, layer.bias, (times, 2, 2), (times - 1, 1, 1))
        found = layer(x)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        weigh, of = torch.randn_like(found), [x, *layer.parameters()]
        ours, theirs = (torch.autograd.grad(each.square(), of, weigh) for each in (found, expected))
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
        tangent = torch.func.jvp(layer, (x.detach(),), (2 * x.detach(),))[1]
        torch.testing.assert_close(tangent, 2 * (expected - layer(torch.zeros_like(x))), rtol=0, atol=1e-12)


@pytest.mark.parametrize("times", [1, 2])
def test_gradients_in_bfloat16(times: int) -> None:
    """Of two frames as well, of which those of torch's kernels of three in time are wrong on a CPU."""
    torch.manual_seed(0)
    for layer, channels in ((Halving(8, 16, times, True), 8), (Doubling(16, 8, times, True), 16)):
        x = torch.randn(8, channels, 2 * times, 8, 8).contiguous(memory_format=torch.channels_last_3d)
        weigh = torch.randn_like(layer(x))
        expected = torch.autograd.grad(layer(x), layer.weight, weigh)[0]
        with torch.autocast("cpu", torch.bfloat16):
            found = torch.autograd.grad(layer(x), layer.weight, weigh.bfloat16())[0]
        assert float((found - expected).norm() / expected.norm()) < 0.02


def test_two_streams_are_foreground_mask_and_background() -> None:
    torch.manual_seed(0)
    G = Generator(SMALL._replace(options=TWO, norm="none", classes=3)).double()
    z, y = torch.randn(2, 6, dtype=torch.float64), torch.tensor([0, 2])
    seen: dict[str, Tensor] = {}
    assert G.background is not None
    G.last.register_forward_hook(lambda _, inputs, out: seen.update(moving=out))
    G.background.register_forward_hook(lambda _, inputs, out: seen.update(still=out))
    clips, terms = G.images_and_terms(z, y)
    m, f, b = torch.sigmoid(seen["moving"][:, 3:]), torch.tanh(seen["moving"][:, :3]), seen["still"][:, :, None]
    torch.testing.assert_close(clips, m * f + (1 - m) * b)
    torch.testing.assert_close(terms["mask"], m.mean())
    assert b.shape == (2, 3, 1, 32, 32)
    assert torch.equal(G(z, y), clips)
    with torch.no_grad():
        assert G.last.bias is not None
        G.last.bias[3] = -100
    assert torch.equal(G(z, y), b.expand_as(clips)), "where the mask is 0, every frame is the background"
    assert not Generator(SMALL).terms


def test_two_streams_are_checked() -> None:
    checks = [check_shapes, check_channels_last, check_every_parameter_learns, check_export]
    check_pair("vgan", SMALL._replace(options=TWO, classes=3), checks)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_features_keep_their_size(norm: str) -> None:
    torch.manual_seed(0)
    shape = PAPER._replace(width=16, norm=norm, sample=(1, 8, 32, 32))
    G, D = Generator(shape), Discriminator(shape)
    sizes: list[float] = []
    for layer in [m for net in (G, D) for m in net.modules() if isinstance(m, Doubling | Halving)]:
        layer.register_forward_hook(lambda _, inputs, out: sizes.append(float(out.detach().std())))
    D(G(torch.randn(16, 100)))
    assert all(0.3 < size < 2 for size in sizes), sizes


def test_spectral_norms_are_1() -> None:
    torch.manual_seed(0)
    D = Discriminator(SMALL._replace(norm="spectral", classes=3)).double()
    for _ in range(500):
        iterate(D)
    layers = [m for m in D.modules() if isinstance(m, nn.Conv3d | nn.Linear | nn.Embedding)]
    largest = [float(torch.linalg.matrix_norm(m.weight.detach().flatten(1), 2)) for m in layers]
    assert largest == pytest.approx([1] * 5, abs=1e-4)
