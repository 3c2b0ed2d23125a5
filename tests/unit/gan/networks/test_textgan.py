"""WGAN-GP's character model: its layers by the paper's size, and texts in shares."""

import torch

from gandist.gan.networks import Shape
from gandist.gan.networks.sketch import sketched
from gandist.gan.networks.textgan import Discriminator, Generator

PAPER = Shape(32, 3, z_dim=128, width=512, norm="none", sample=(96, 32))


def parameters(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_layers_and_counts() -> None:
    """As published: 32 symbols' length, 512 features, 5 blocks; D without its last bias and the one before it."""
    with sketched():
        G, D = Generator(PAPER), Discriminator(PAPER)
    convolution = 512 * 512 * 5 + 512
    in_G = (128 + 1) * 512 * 32 + 5 * 2 * convolution + 96 * (512 + 1)
    in_D = 512 * (96 + 1) + 5 * 2 * convolution + 512 * 32 - 512
    assert (parameters(G), parameters(D)) == (in_G, in_D) == (15_275_104, 13_177_856)


def test_a_block_adds_three_tenths_of_its_convolutions() -> None:
    """G's blocks, by the formula, on (N, C, L)."""
    torch.manual_seed(0)
    G = Generator(Shape(32, 3, z_dim=6, width=4, norm="none", sample=(5, 8))).double()
    z = torch.randn(3, 6, dtype=torch.float64)
    h = G.dense(z).view(3, 8, 4).transpose(1, 2)
    for block in G.blocks:
        first, second = (layer for layer in block.layers if isinstance(layer, torch.nn.Conv2d))  # type: ignore[union-attr]
        inner = torch.conv1d(h.relu(), first.weight[:, :, 0], first.bias, padding=2)
        h = h + 0.3 * torch.conv1d(inner.relu(), second.weight[:, :, 0], second.bias, padding=2)
    shares = torch.einsum("vc,ncl->nvl", G.out.weight[:, :, 0, 0], h) + G.out.bias[:, None]  # type: ignore[index]
    torch.testing.assert_close(G(z), shares.softmax(1), rtol=1e-12, atol=1e-12)
