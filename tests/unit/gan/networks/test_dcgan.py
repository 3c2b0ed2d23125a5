"""The DCGAN pair: the layers, shapes and counts of the text, and nothing else."""

from itertools import pairwise, product

import pytest
import torch
from torch import Tensor, nn

from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.networks.dcgan import Project

TEXT = Shape(resolution=32, channels=3, z_dim=100, width=64)
Step = tuple[str, int, int, int, int, int]


def pair(shape: Shape) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return NETWORKS["dcgan"].generator(shape), NETWORKS["dcgan"].discriminator(shape)


def convolutions(net: nn.Module) -> list[Step]:
    """(kind, channels in, out, kernel, stride, padding) of each convolution, in order."""
    kinds = {nn.Conv2d: "down", nn.ConvTranspose2d: "up", Project: "up"}
    return [
        (kinds[type(m)], m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0], int(m.padding[0]))
        for m in net.modules()
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    ]


def kinds(net: nn.Module) -> list[str]:
    return [type(m).__name__ for m in net.modules() if not list(m.children())]


def sizes(net: nn.Module, *inputs: Tensor) -> list[tuple[int, ...]]:
    """Output shapes (C, H, W) of the convolutions for one run."""
    found: list[tuple[int, ...]] = []
    hooks = [
        m.register_forward_hook(lambda _, __, out: found.append(tuple(out.shape[1:])))
        for m in net.modules()
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    ]
    net(*inputs)
    for hook in hooks:
        hook.remove()
    return found


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_the_pair_of_the_text() -> None:
    G, D = pair(TEXT)
    assert convolutions(G) == [
        ("up", 100, 256, 4, 1, 0),
        ("up", 256, 128, 4, 2, 1),
        ("up", 128, 64, 4, 2, 1),
        ("up", 64, 3, 4, 2, 1),
    ]
    assert convolutions(D) == [
        ("down", 3, 64, 4, 2, 1),
        ("down", 64, 128, 4, 2, 1),
        ("down", 128, 256, 4, 2, 1),
        ("down", 256, 1, 4, 1, 0),
    ]
    assert sizes(G, torch.randn(2, 100)) == [(256, 4, 4), (128, 8, 8), (64, 16, 16), (3, 32, 32)]
    assert sizes(D, torch.randn(2, 3, 32, 32)) == [(64, 16, 16), (128, 8, 8), (256, 4, 4), (1, 1, 1)]
    block = ["ConvTranspose2d", "BatchNorm2d", "ReLU"]
    assert kinds(G) == ["Project", "BatchNorm2d", "ReLU", *block, *block, "ConvTranspose2d", "Tanh"]
    block = ["Conv2d", "BatchNorm2d", "LeakyReLU"]
    assert kinds(D) == ["Conv2d", "LeakyReLU", *block, *block, "Conv2d"], "no BatchNorm first, no sigmoid last"
    assert {m.negative_slope for m in D.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}


def test_counts_of_the_text() -> None:
    G, D = pair(TEXT)
    up = 16 * (100 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    down = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 1)
    assert parameters(G) == up + 2 * (256 + 128 + 64) == 1_068_928
    assert parameters(D) == down + 2 * (128 + 256) == 663_296


@pytest.mark.parametrize("shape", [TEXT._replace(classes=c, norm=n) for c, n in product((0, 10), ("batch", "none"))])
def test_convolutions_have_no_bias(shape: Shape) -> None:
    for net in pair(shape):
        assert [name for name, m in net.named_modules() if getattr(m, "bias", None) is not None] == [
            name for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)
        ]


@pytest.mark.parametrize(
    ("resolution", "channels", "classes", "norm"),
    [(32, 1, 0, "batch"), (32, 3, 10, "none"), (64, 3, 0, "batch"), (64, 1, 5, "batch"), (128, 3, 4, "none")],
)
def test_shapes_and_counts(resolution: int, channels: int, classes: int, norm: str) -> None:
    width, z_dim = 4, 6
    G, D = pair(Shape(resolution, channels, z_dim, width, classes, norm))
    y = torch.arange(3) % classes if classes else None
    x = G(torch.randn(3, z_dim), y)
    assert x.shape == (3, channels, resolution, resolution)
    assert float(x.detach().abs().max()) <= 1
    assert D(x, y).shape == (3,)

    widths = {32: [16, 8, 4], 64: [32, 16, 8, 4], 128: [64, 32, 16, 8, 4]}[resolution]
    ends = pairwise(widths)
    between = sum(a * b for a, b in ends)
    top = widths[0]
    batchnorm = 2 if norm == "batch" else 0
    expected_G = 16 * ((z_dim + (z_dim if classes else 0)) * top + between + width * channels)
    assert parameters(G) == expected_G + batchnorm * sum(widths) + classes * z_dim
    expected_D = 16 * (channels * width + between + top)
    assert parameters(D) == expected_D + batchnorm * (sum(widths) - width) + classes * top


def test_scores_are_logits() -> None:
    _, D = pair(TEXT._replace(norm="none", width=8))
    D.score.weight.data.mul_(1000)  # type: ignore[union-attr, operator]
    scores = D(torch.randn(64, 3, 32, 32)).detach()
    assert float(scores.min()) < -1
    assert float(scores.max()) > 1


def test_the_discriminator_projects_on_the_class() -> None:
    """The score is the unconditional one plus <embedding of y, sum of the features> (Miyato & Koyama, eq. 3)."""
    _, D = pair(TEXT._replace(norm="none", width=4, classes=3))
    x, y = torch.randn(5, 3, 32, 32), torch.tensor([0, 1, 2, 0, 1])
    features = D.features(x)  # type: ignore[operator]
    plain = D.score(features).flatten()  # type: ignore[operator]
    projection = torch.einsum("nc,nchw->n", D.embed.weight[y], features)  # type: ignore[index, union-attr]
    torch.testing.assert_close(D(x, y), plain + projection)


def test_the_class_begins_on_the_scale_of_z() -> None:
    G, _ = pair(TEXT._replace(norm="none", width=4, classes=3))
    assert float(G.embed.weight.detach().std()) > 0.8  # type: ignore[union-attr, operator]


def test_initialisation_of_the_paper() -> None:
    for net in pair(TEXT):
        for m in net.modules():
            if isinstance(m, nn.Conv2d | nn.ConvTranspose2d):
                assert abs(float(m.weight.detach().std()) - 0.02) < 0.002
            if isinstance(m, nn.BatchNorm2d):
                assert abs(float(m.weight.detach().mean()) - 1) < 0.02
                assert float(m.bias.detach().abs().max()) == 0


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_project_is_a_transposed_convolution(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    ours, theirs = Project(10, 12, 4, 1, 0, bias=False), nn.ConvTranspose2d(10, 12, 4, 1, 0, bias=False)
    theirs.load_state_dict(ours.state_dict())
    ours = ours.to(memory_format=memory_format)  # type: ignore[call-overload]
    z = torch.randn(7, 10, 1, 1)
    a, b = ours(z), theirs(z)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    weights = torch.randn_like(a)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=0, atol=1e-6)
