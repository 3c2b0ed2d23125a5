"""The R3GAN pair: the layers and counts of the paper, and its start."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gandist.gan.networks.r3gan import Block, Discriminator, Generator, Resample, levels
from gandist.gan.networks.resample import down2, up2
from gandist.gan.networks.shape import Shape

SMALL = Shape(32, 3, z_dim=8, width=8, widths=(24, 16, 16, 8))
PRESETS = {
    "CIFAR-10": Shape(32, 3, z_dim=64, width=0, widths=(768,) * 4),
    "FFHQ-64": Shape(64, 3, z_dim=64, width=0, widths=(768, 768, 768, 768, 384)),
    "FFHQ-256": Shape(256, 3, z_dim=64, width=0, widths=(768, 768, 768, 768, 384, 192, 96)),
}


def pair(shape: Shape, started: bool = True) -> tuple[Generator, Discriminator]:
    """A pair as it begins, or with weights in which nothing is zero."""
    torch.manual_seed(0)
    G, D = Generator(shape), Discriminator(shape)
    if not started:
        for p in (*G.parameters(), *D.parameters()):
            p.data += 0.1 * torch.randn_like(p)
    return G, D


def images(n: int, shape: Shape = SMALL) -> Tensor:
    return torch.rand(n, shape.channels, shape.resolution, shape.resolution) * 2 - 1


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def blocks(*nets: nn.Module) -> list[Block]:
    return [m for net in nets for m in net.modules() if isinstance(m, Block)]


def convolutions(block: Block) -> list[nn.Conv2d]:
    return [layer for layer in block.branch if isinstance(layer, nn.Conv2d)]


def told(layers: nn.Sequential) -> list[str]:
    """What each layer is, in a word."""
    words: list[str] = []
    for layer in layers:
        if isinstance(layer, Resample):
            assert layer.function in (up2, down2)
            words.append("up" if layer.function is up2 else "down")
        elif isinstance(layer, Block):
            words.append(f"block {convolutions(layer)[0].in_channels}")
        else:
            assert isinstance(layer, nn.Conv2d)
            assert layer.kernel_size == (1, 1)
            words.append(f"{layer.in_channels}->{layer.out_channels}")
    return words


def test_the_pair_of_the_paper() -> None:
    G, D = pair(SMALL)
    block8, block16, block24 = ([f"block {c}"] * 2 for c in (8, 16, 24))
    assert told(G.layers) == [*block24, "24->16", "up", *block16, "up", *block16, "16->8", "up", *block8, "8->3"]
    assert told(D.layers) == ["3->8", *block8, "down", "8->16", *block16, "down", *block16, "down", "16->24", *block24]
    assert G(torch.randn(2, 8)).shape == (2, 3, 32, 32)
    assert D(images(2)).shape == (2,)


@pytest.mark.parametrize(("channels", "groups"), [(768, 96), (24, 3), (8, 1), (4, 1), (6, 3)])
def test_the_block_of_the_paper(channels: int, groups: int) -> None:
    first, act, middle, act2, last = Block(channels).branch
    for conv, ends, size in ((first, (1, 2), 1), (middle, (2, 2), 3), (last, (2, 1), 1)):
        assert isinstance(conv, nn.Conv2d)
        assert (conv.in_channels, conv.out_channels) == (ends[0] * channels, ends[1] * channels)
        assert conv.kernel_size == (size, size)
        assert (conv.bias is None) == (conv is last)
        assert conv.groups == (groups if conv is middle else 1)
    assert isinstance(act, nn.LeakyReLU)
    assert act.negative_slope == 0.2
    assert isinstance(act2, nn.LeakyReLU)
    assert act2.negative_slope == 0.2


def test_biases_stand_before_activations_only() -> None:
    for net in pair(SMALL._replace(classes=3)):
        assert {name.split(".")[-2] for name, _ in net.named_parameters() if "bias" in name} == {"0", "2"}
        for name, _ in net.named_parameters():
            assert "bias" not in name or ".branch." in name, name


@pytest.mark.parametrize("name", PRESETS)
def test_counts(name: str) -> None:
    shape = PRESETS[name]
    with torch.device("meta"):
        G, D = Generator(shape), Discriminator(shape)
    in_blocks = sum(2 * (c * 2 * c + 2 * c + 16 * 9 * 2 * c + 2 * c + 2 * c * c) for c in shape.widths)
    between = sum(a * b for a, b in pairwise(shape.widths) if a != b) + 3 * shape.widths[-1]
    assert parameters(G) == in_blocks + between + 16 * 768 + 64 * 768
    assert parameters(D) == in_blocks + between + 16 * 768 + 768
    # For FFHQ-256 the paper gives about 23 M each.
    millions = {"CIFAR-10": (20.732, 20.684), "FFHQ-64": (22.430, 22.381), "FFHQ-256": (23.058, 23.010)}[name]
    assert (round(parameters(G) / 1e6, 3), round(parameters(D) / 1e6, 3)) == millions


def test_levels() -> None:
    by_width = Shape(32, 3, 8, width=64)
    assert levels(by_width) == (512, 256, 128, 64)
    assert levels(by_width._replace(resolution=64)) == (512, 512, 256, 128, 64)
    assert levels(by_width._replace(resolution=256)) == (512, 512, 512, 512, 256, 128, 64)
    assert levels(SMALL) == (24, 16, 16, 8)
    for build in (Generator, Discriminator):
        with pytest.raises(ValueError, match=r"model\.widths names 4 levels; .* 64 pixels there are 5"):
            build(SMALL._replace(resolution=64))


def test_a_block_starts_as_the_identity() -> None:
    for block in blocks(*pair(SMALL)):
        x = torch.randn(2, convolutions(block)[0].in_channels, 8, 8)
        assert torch.equal(block(x), x)


def test_initialisation() -> None:
    """He's for LeakyReLU(0.2) times L^(-1/4), L = 8 branches of 3 layers; variance kept outside of them."""
    for block in blocks(*pair(SMALL._replace(widths=(64, 32, 32, 32)))):
        first, middle, _ = convolutions(block)
        for conv, inputs in ((first, first.in_channels), (middle, 16 * 9)):
            std = float(conv.weight.detach().std())
            assert std == pytest.approx((2 / 1.04 / inputs) ** 0.5 * 8**-0.25, rel=0.1)
            assert conv.bias is not None
            assert float(conv.bias.detach().abs().max()) == 0
    G, D = pair(SMALL._replace(widths=(256, 256, 256, 256), z_dim=64))
    style, x = G.modulate(torch.randn(64, 64)), images(64)
    assert float(style.detach().square().mean()) == pytest.approx(1, rel=0.1)
    assert float(G.basis.detach().square().mean()) == pytest.approx(1, rel=0.1)
    stem: Tensor = D.layers[0](x).detach()
    assert float(stem.square().mean() / x.square().mean()) == pytest.approx(1, rel=0.2)
    features = (torch.randn(64, 256, 4, 4) * D.pool.detach()).sum((2, 3))
    assert float(features.square().mean()) == pytest.approx(1, rel=0.1)
    assert float((features * D.score.detach()).sum(1).square().mean()) == pytest.approx(1, rel=0.4)


def test_the_basis_is_modulated_by_z() -> None:
    """Before the blocks the features are linear in z, channel by channel; at the start so is the image."""
    G, _ = pair(SMALL)
    z = torch.randn(2, 8)
    torch.testing.assert_close(G(z.sum(0, keepdim=True))[0], G(z).sum(0))
    seen: list[Tensor] = []
    handle = G.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    G(z)
    handle.remove()
    expected = torch.einsum("cz,nz,chw->nchw", G.modulate.weight, z, G.basis[0])
    torch.testing.assert_close(seen[0], expected)


def test_classes() -> None:
    shape = SMALL._replace(classes=3)
    G, D = pair(shape, started=False)
    z, x, y = torch.randn(1, 8).expand(3, -1), images(3), torch.arange(3)
    made = G(z, y).detach()
    assert float((made[0] - made[1]).abs().max()) > 0
    assert isinstance(D.embed, nn.Embedding)
    # A depthwise convolution over all of the 4x4 features, then the linear score and the projection.
    h = F.conv2d(D.layers(x), D.pool.transpose(0, 1), groups=24).flatten(1)
    torch.testing.assert_close(D(x, y), h @ D.score + (D.embed(y) * h).sum(1))


def test_scores_are_float32_under_autocast() -> None:
    G, D = pair(SMALL, started=False)
    with torch.autocast("cpu", torch.bfloat16):
        made = G(torch.randn(4, 8))
        assert made.dtype == torch.bfloat16
        assert D(made).dtype == torch.float32
