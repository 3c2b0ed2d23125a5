"""The SNGAN pair: the layers, shapes and counts of the papers' tables, its conditions, and derivatives of D
within narrower limits than the contract of all pairs has."""

from itertools import pairwise, product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gandist.gan.networks import Shape
from gandist.gan.networks.norms import iterate
from gandist.gan.networks.sngan import BlockD, BlockG, ConditionalNorm, Discriminator, Generator

PAPER = Shape(resolution=32, channels=3, z_dim=128, width=64, norm="batch")
SMALL = PAPER._replace(z_dim=6, width=4)


def pair(shape: Shape, norm_D: str = "spectral") -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    return Generator(shape), Discriminator(shape._replace(norm=norm_D))


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def convolutions(net: nn.Module, *inputs: Tensor) -> list[tuple[int, int, int, int]]:
    """(channels in, out, kernel, resolution) of each convolution, in the order of one run."""
    found: list[tuple[int, int, int, int]] = []

    def note(module: nn.Conv2d, _: object, out: Tensor) -> None:
        found.append((module.in_channels, module.out_channels, module.kernel_size[0], out.shape[-1]))

    hooks = [m.register_forward_hook(note) for m in net.modules() if isinstance(m, nn.Conv2d)]
    net(*inputs)
    assert hooks
    return found


def test_layers_at_32_pixels() -> None:
    G, D = pair(PAPER)
    expected = []
    for r in (4, 8, 16):
        expected += [(256, 256, 3, 2 * r), (256, 256, 3, 2 * r), (256, 256, 1, r)]
    assert convolutions(G, torch.randn(2, 128)) == [*expected, (256, 3, 3, 32)]
    first = [(3, 128, 3, 32), (128, 128, 3, 32), (3, 128, 1, 16)]
    second = [(128, 128, 3, 16), (128, 128, 3, 16), (128, 128, 1, 8)]
    assert convolutions(D, torch.randn(2, 3, 32, 32)) == [*first, *second, *[(128, 128, 3, 8)] * 4]


@pytest.mark.parametrize(
    ("resolution", "widths_G", "widths_D"),
    [(64, [16, 8, 4, 2, 1], [1, 2, 4, 8, 16]), (128, [16, 16, 8, 4, 2, 1], [1, 2, 4, 8, 16, 16])],
)
def test_layers_above(resolution: int, widths_G: list[int], widths_D: list[int]) -> None:
    """1024-512-256-128-64 and its mirror at the paper's width 64; here at width 2."""
    G, D = pair(SMALL._replace(resolution=resolution, width=2))
    g, d = [2 * w for w in widths_G], [2 * w for w in widths_D]
    expected = []
    for k, (a, b) in enumerate(pairwise(g)):
        expected += [(a, b, 3, 8 * 2**k), (b, b, 3, 8 * 2**k), (a, b, 1, 4 * 2**k)]
    assert convolutions(G, torch.randn(2, 6)) == [*expected, (2, 3, 3, resolution)]
    expected = [(3, 2, 3, resolution), (2, 2, 3, resolution), (3, 2, 1, resolution // 2)]
    for k, (a, b) in enumerate(pairwise(d[:-1]), 1):
        r = resolution // 2**k
        expected += [(a, a, 3, r), (a, b, 3, r), (a, b, 1, r // 2)]
    last = [(d[-2], d[-2], 3, 4), (d[-2], d[-1], 3, 4)]
    last += [(d[-2], d[-1], 1, 4)] if d[-2] != d[-1] else []
    assert convolutions(D, torch.randn(2, 3, resolution, resolution)) == expected + last


def test_counts_at_32_pixels() -> None:
    """With biases everywhere, G has 4,276,739 and D 1,053,825 parameters; without those of no gradient, these."""
    G, D = pair(PAPER)
    dense = 128 * 16 * 256 + 16 * 256
    up = 2 * 9 * 256 * 256 + 256 * 256 + 2 * 2 * 256  # two 3x3 and the shortcut's 1x1, two BatchNorms
    assert parameters(G) == dense + 3 * up + 2 * 256 + (9 * 256 * 3 + 3) == 4_276_739 - 3 * 3 * 256 == 4_274_435
    first = (9 * 3 * 128 + 128) + (9 * 128 * 128 + 128) + (3 * 128 + 128)
    down = 2 * (9 * 128 * 128 + 128) + (128 * 128 + 128)
    assert parameters(D) == first + down + 2 * 2 * (9 * 128 * 128 + 128) + 128 == 1_053_825 - 1 == 1_053_824
    conditional, projecting = pair(PAPER._replace(classes=10))
    assert parameters(conditional) == 4_274_435 + 3 * 2 * 2 * (10 - 1) * 256, "ten gains and biases where one was"
    assert parameters(projecting) == 1_053_824 + 10 * 128


@pytest.mark.parametrize(
    ("resolution", "g", "d", "in_G", "in_D"),
    [
        (64, [1024, 512, 256, 128, 64], [64, 128, 256, 512, 1024], 12_217_795, 10_141_440),
        (128, [1024, 1024, 512, 256, 128, 64], [64, 128, 256, 512, 1024, 1024], 32_144_835, 29_017_856),
    ],
)
def test_counts_above(resolution: int, g: list[int], d: list[int], in_G: int, in_D: int) -> None:
    with torch.device("meta"):
        G, D = pair(PAPER._replace(resolution=resolution), "none")
    ups = sum(9 * a * b + 9 * b * b + a * b + 2 * (a + b) for a, b in pairwise(g))
    assert parameters(G) == 129 * 16 * 1024 + ups + 2 * 64 + (9 * 64 * 3 + 3) == in_G
    downs = sum(9 * a * a + a + 9 * a * b + b + (a * b + b) for a, b in pairwise(d))
    if d[-2] == d[-1]:
        downs -= d[-1] * d[-1] + d[-1]  # the last block's shortcut is the identity
    first = (9 * 3 * 64 + 64) + (9 * 64 * 64 + 64) + (3 * 64 + 64)
    assert parameters(D) == first + downs + 1024 == in_D


def test_the_blocks_are_the_papers() -> None:
    """In the papers' order: G's shortcut convolves after upsampling, D's before pooling."""
    torch.manual_seed(0)
    up = BlockG(SMALL._replace(norm="group"), 8, 4)
    x = torch.randn(2, 8, 4, 4)

    def larger(h: Tensor) -> Tensor:
        return h.repeat_interleave(2, 2).repeat_interleave(2, 3)

    h = up.conv_2(F.relu(up.norm_2(up.conv_1(larger(F.relu(up.norm_1(x, None)))), None)))
    torch.testing.assert_close(up(x, None), up.shortcut(larger(x)) + h)

    for halve, first in product((True, False), (True, False)):
        down = BlockD(SMALL._replace(norm="none"), 4, 8, halve, first)
        conv_1, conv_2, shortcut = (m for m in down.modules() if isinstance(m, nn.Conv2d))
        x = torch.randn(2, 4, 4, 4)
        h = conv_2(F.relu(conv_1(x if first else F.relu(x)))) + shortcut(x)
        torch.testing.assert_close(down(x), F.avg_pool2d(h, 2) if halve else h)


def test_every_class_has_gains_and_biases_of_its_own() -> None:
    torch.manual_seed(0)
    conditional = ConditionalNorm(SMALL._replace(classes=3), 4)
    x, y = 2 + 3 * torch.randn(6, 4, 5, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    normal = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(conditional(x, y), normal, msg="gain 1 and bias 0 at first")
    gain, bias = torch.randn(3, 4), torch.randn(3, 4)
    conditional.gain.weight.data.copy_(gain - 1)  # type: ignore[union-attr, operator]
    conditional.bias.weight.data.copy_(bias)  # type: ignore[union-attr, operator]
    expected = torch.stack(
        [n * gain[k][:, None, None] + bias[k][:, None, None] for n, k in zip(normal, y, strict=True)]
    )
    torch.testing.assert_close(conditional(x, y), expected)


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_the_generator_heeds_the_class(norm: str) -> None:
    G, _ = pair(SMALL._replace(classes=3, norm=norm))
    z, y = torch.randn(3, 6), torch.arange(3)
    before = G.eval()(z, y).detach()
    for module in G.modules():
        if isinstance(module, ConditionalNorm):
            module.gain.weight.data[1] += 0.5  # type: ignore[union-attr, operator, index]
    changed = (G(z, y).detach() - before).abs().amax((1, 2, 3)) > 1e-4
    assert changed.tolist() == [False, True, False], "of class 1 alone"


def test_captions_condition_by_linear_maps() -> None:
    G, _ = pair(SMALL._replace(text_dim=7, norm="group"))
    assert {type(m.gain) for m in G.modules() if isinstance(m, ConditionalNorm)} == {nn.Linear}


def test_the_discriminator_projects_on_the_class() -> None:
    """f(x, y) = y^T V phi(x) + psi(phi(x)) (Miyato & Koyama, eq. 3), where phi ends in a sum over the image."""
    _, D = pair(SMALL._replace(classes=3))
    x, y = torch.randn(5, 3, 32, 32), torch.tensor([0, 1, 2, 0, 1])
    phi = F.relu(D.features[:-1](x)).sum((2, 3))
    V = D.embed.weight  # type: ignore[union-attr]
    expected = torch.einsum("nk,kc,nc->n", F.one_hot(y).float(), V, phi) + phi @ D.score.weight[0]
    torch.testing.assert_close(D(x, y), expected)


def test_every_layer_of_the_discriminator_has_spectral_norm_1() -> None:
    _, D = pair(SMALL._replace(classes=3))
    D.double()
    for _ in range(400):
        iterate(D)
    layers = [m for m in D.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]
    assert len(layers) == 10 + 2
    for layer in layers:
        sigma = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
        assert float(sigma) == pytest.approx(1, abs=1e-6), layer


def test_initialisation() -> None:
    """Xavier's uniform bound, with gain sqrt(2) inside the residuals; all biases 0."""
    G, D = pair(PAPER)
    inside = [m for b in G.modules() if isinstance(b, BlockG) for m in (b.conv_1, b.conv_2)]
    inside += [m for b in D.modules() if isinstance(b, BlockD) for m in b.residual if isinstance(m, nn.Conv2d)]
    layers = [m for net in (G, D) for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == (1 + 9 + 1) + (6 + 4 + 1)
    for layer in layers:
        weight = next(p for name, p in layer.named_parameters() if name != "bias")  # before it is normalised
        pixels = weight[0, 0].numel()
        gain = 2 if any(layer is m for m in inside) else 1
        bound = (gain * 6 / (pixels * sum(weight.shape[:2]))) ** 0.5
        assert 0.95 * bound < float(weight.detach().abs().max()) <= bound * (1 + 1e-6), layer
        assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize(("norm", "norm_D"), [("batch", "spectral"), ("group", "group"), ("none", "none")])
def test_no_parameter_is_without_gradient(norm: str, norm_D: str) -> None:
    """BatchNorm takes from a channel what a bias gave it: where biases follow, there are none."""
    G, D = pair(SMALL._replace(classes=2, norm=norm, width=32), norm_D)  # several channels in a group of GroupNorm
    y = torch.tensor([0, 1, 0, 1])
    scores = D.double()(G.double()(torch.randn(4, 6, dtype=torch.float64), y), y)
    (scores @ torch.randn(4, dtype=torch.float64)).backward()
    for name, p in [*G.named_parameters(), *D.named_parameters()]:
        assert p.grad is not None, name
        assert float(p.grad.abs().max()) > 1e-9, name


def penalties(D: nn.Module, x: Tensor) -> tuple[tuple[Tensor, list[Tensor]], tuple[Tensor, list[Tensor]]]:
    """|grad_x D|^2 and its gradient, by double backward, and by reverse mode over a JVP along grad_x D."""
    weights = list(D.parameters())
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    double = g.square().sum()
    of_double = torch.autograd.grad(double, weights, allow_unused=True, materialize_grads=True)
    g = g.detach()
    slopes = torch.func.jvp(D, (x.detach(),), (g,))[1]
    forward = 2 * slopes.sum() - g.square().sum()
    of_forward = torch.autograd.grad(forward, weights, allow_unused=True, materialize_grads=True)
    return (double.detach(), list(of_double)), (forward.detach(), list(of_forward))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own use of it
@pytest.mark.parametrize("norm_D", ["spectral", "group", "none"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_both_ways_to_the_gradient_penalty_agree(norm_D: str, memory_format: torch.memory_format) -> None:
    def flat(tensors: list[Tensor]) -> Tensor:
        return torch.cat([t.flatten() for t in tensors])

    _, D = pair(SMALL, norm_D)
    D.to(memory_format=memory_format)  # type: ignore[call-overload]
    x = torch.randn(3, 3, 32, 32).to(memory_format=memory_format)
    (a, of_a), (b, of_b) = penalties(D, x)
    assert float(a) == pytest.approx(float(b), rel=1e-6)
    assert float((flat(of_a) - flat(of_b)).norm() / flat(of_a).norm()) < 1e-6

    D.double()
    x = x.double()
    exact = penalties(D, x)
    generator = torch.Generator().manual_seed(0)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in D.parameters()]
    step, values = 1e-6, []
    for sign in (1, -1):
        moved = {n: p + sign * step * d for (n, p), d in zip(D.named_parameters(), direction, strict=True)}
        at = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(torch.func.functional_call(D, moved, at).sum(), at)
        values.append(g.square().sum())
    finite = float((values[0] - values[1]) / (2 * step))
    for _, gradient in exact:
        along = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True))
        assert along == pytest.approx(finite, rel=1e-6)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own use of it
@pytest.mark.parametrize("norm_D", ["spectral", "group", "none"])
def test_forward_mode_under_autocast_stays_close(norm_D: str) -> None:
    _, D = pair(SMALL, norm_D)
    x = torch.randn(3, 3, 32, 32).requires_grad_()
    (g,) = torch.autograd.grad(D(x).sum(), x)
    with torch.autocast("cpu", torch.bfloat16):
        slopes = torch.func.jvp(D, (x.detach(),), (g,))[1]
    torch.testing.assert_close(slopes.detach().float(), g.square().sum((1, 2, 3)), rtol=0.05, atol=0)
