"""The fully connected pair: its layers and counts, and its start."""

import pytest
import torch
from torch import nn

from gandist.gan.networks import mlp
from gandist.gan.networks.shape import Shape

SHAPE = Shape(resolution=32, channels=3, z_dim=100, width=64, norm="none")


def pair(shape: Shape) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return mlp.Generator(shape), mlp.Discriminator(shape)


def kinds(net: nn.Module) -> list[str]:
    return [type(m).__name__ for m in net.modules() if not list(m.children())]


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("classes", [0, 10])
def test_layers_and_counts(classes: int) -> None:
    G, D = pair(SHAPE._replace(classes=classes))
    embed, extra = (["Embedding"], 100) if classes else ([], 0)
    assert kinds(G) == embed + 3 * ["Linear", "ReLU"] + ["Linear"]
    assert kinds(D) == embed + 3 * ["Linear", "LeakyReLU"] + ["Linear"], "no sigmoid last"
    hidden = 2 * (512 * 512 + 512)
    assert parameters(G) == classes * 100 + (100 + extra + 1) * 512 + hidden + 513 * 3072
    assert parameters(D) == classes * 100 + (3072 + extra + 1) * 512 + hidden + 512, "no bias on the score"


@pytest.mark.parametrize("norm_D", ["none", "spectral"])
def test_layers_of_the_discriminator_are_normalised_where_asked(norm_D: str) -> None:
    _, D = pair(SHAPE._replace(width=2, norm=norm_D))
    assert hasattr(D.layers[0], "parametrizations") == (norm_D == "spectral")  # type: ignore[index]


def test_features_keep_their_size_at_the_start() -> None:
    """Every rectified layer has mean square 1 for inputs of mean square 1, and the images are within Tanh's reach."""
    G, D = pair(SHAPE)
    sizes: list[float] = []
    for net, inputs in ((G, torch.randn(200, 100)), (D, torch.randn(200, 3, 32, 32))):
        for layer in net.layers:  # type: ignore[union-attr]
            if isinstance(layer, nn.ReLU | nn.LeakyReLU):
                layer.register_forward_hook(lambda _, __, out: sizes.append(float(out.detach().square().mean())))
        net(inputs)
    assert len(sizes) == 6
    assert all(0.7 < size < 1.4 for size in sizes), sizes
    assert 0.3 < float(G(torch.randn(200, 100)).detach().std()) < 0.7
