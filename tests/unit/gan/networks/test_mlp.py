"""The fully connected pair: its layers and counts, its start, and that both players heed the class."""

import pytest
import torch
from torch import nn
from torch.func import jvp

from gandist.gan.networks import mlp
from gandist.gan.networks.shape import Shape

SHAPE = Shape(resolution=32, channels=3, z_dim=100, width=64, norm="none")
SMALL = SHAPE._replace(width=2, z_dim=6)


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


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize("norm_D", ["none", "spectral"])
def test_shapes(classes: int, norm_D: str) -> None:
    shape = SMALL._replace(resolution=64, channels=1, classes=classes)
    G, _ = pair(shape)
    _, D = pair(shape._replace(norm=norm_D))
    y = torch.arange(3) % classes if classes else None
    with torch.autocast("cpu", torch.bfloat16):
        x = G(torch.randn(3, 6), y)
        assert D(x.float(), y).shape == (3,)
    assert x.shape == (3, 1, 64, 64)
    assert float(x.detach().abs().max()) <= 1
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


def test_both_heed_the_class() -> None:
    G, D = pair(SMALL._replace(classes=3))
    z, x = torch.randn(1, 6).expand(3, -1), torch.randn(1, 3, 32, 32).expand(3, -1, -1, -1)
    for results in (G(z, torch.arange(3)).flatten(1), D(x, torch.arange(3))[:, None]):
        assert float(torch.pdist(results.detach()).min()) > 1e-3


def test_pixels_keep_their_places_in_channels_last() -> None:
    _, D = pair(SMALL)
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(D(x.to(memory_format=torch.channels_last)), D(x))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own use of it
@pytest.mark.parametrize("norm", ["none", "spectral"])
def test_forward_mode_agrees_with_double_backward(norm: str) -> None:
    _, D = pair(SMALL._replace(norm=norm, classes=3))
    D.double()
    x, v = torch.randn(2, 4, 3, 32, 32, dtype=torch.float64)
    y, weights = torch.arange(4) % 3, list(D.parameters())
    forward = jvp(lambda x: D(x, y), (x,), (v,))[1].sum()
    (g,) = torch.autograd.grad(D(x.requires_grad_(), y).sum(), x, create_graph=True)
    backward = (g * v).sum()
    torch.testing.assert_close(forward, backward)
    for a, b in zip(
        torch.autograd.grad(forward, weights, allow_unused=True, materialize_grads=True),
        torch.autograd.grad(backward, weights, allow_unused=True, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
