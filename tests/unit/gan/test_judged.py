"""A piecewise-linear D judged without a second derivative: as by double backward, in fewer passes."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gandist.gan import NETWORKS, judged
from gandist.gan.networks.r3gan import Discriminator
from gandist.gan.networks.shape import Shape
from gandist.gan.networks.tape import SILENT, PiecewiseLinear, Tape
from gandist.gan.penalties import Way, judge
from gandist.testing import check_pair, check_slopes
from tests.helpers.graph_on_cpu import Tape as Graph

# The first forward-mode derivative of a process imports parts of torch that use its own deprecated jit.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")

N = 6
S, W = [1.0, -1.0, 0.0, 2.0, 0.5, 0.0], [1.0, 0.0, -1.0, 2.0, 0.5, 0.0]
"""Derivatives of a loss by each sample's score and squared slope: of both signs, and 0 in turn."""


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def critic(
    widths: tuple[int, ...] = (24, 16, 8), classes: int = 0, dtype: torch.dtype = torch.float64
) -> Discriminator:
    """R3GAN's D without a zero in its weights."""
    D = Discriminator(Shape(2 ** (len(widths) + 1), 3, z_dim=4, width=0, widths=widths, classes=classes))
    for p in D.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return D.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def samples(D: Discriminator, n: int = N) -> tuple[Tensor, Tensor | None]:
    first, levels = D.layers[0], sum(not list(layer.parameters()) for layer in D.layers)
    assert isinstance(first, nn.Conv2d)
    x = torch.randn(n, 3, 4 * 2**levels, 4 * 2**levels, dtype=first.weight.dtype)
    return x.contiguous(memory_format=torch.channels_last), None if D.embed is None else torch.arange(n) % 3


def found(
    D: nn.Module,
    given: tuple[Tensor, Tensor | None],
    way: Way,
    s: list[float] = S,
    w: list[float] = W,
    autocast: torch.dtype | None = None,
    scale: float = 1.0,
) -> list[Tensor]:
    """Scores, squared slopes, and the gradient of each weight, of `scale` times a loss with the derivatives s and w."""
    x, y = given
    with torch.autocast("cpu", autocast, enabled=autocast is not None):
        (scores,), slopes = judge(D, x, y, way)
    loss = scores @ scores.new_tensor(s) + slopes @ slopes.new_tensor(w)
    gradients = torch.autograd.grad(scale * loss, list(D.parameters()))
    for gradient, p in zip(gradients, D.parameters(), strict=True):
        assert (gradient.shape, gradient.dtype) == (p.shape, p.dtype)
    return [scores.detach(), slopes.detach(), *(gradient / scale for gradient in gradients)]


def apart(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """Distance of all gradients, relative to their norm."""
    a, b = (torch.cat([each.flatten() for each in results[2:]]).double() for results in (ours, theirs))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("widths", [(8,), (16, 8), (24, 16, 16, 8)], ids=str)
@pytest.mark.parametrize(("s", "w"), [(S, W), ([0.0] * N, W), (S, [0.0] * N)], ids=["both", "slopes", "scores"])
def test_is_double_backward(widths: tuple[int, ...], classes: int, s: list[float], w: list[float]) -> None:
    D = critic(widths, classes)
    given = samples(D)
    ours, theirs = found(D, given, "linear", s, w), found(D, given, "double", s, w)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10 * float(b.abs().max()))
    assert sum(float(gradient.abs().max()) > 1e-3 for gradient in ours[2:]) == len(ours) - 2 or s == [0.0] * N


def test_without_any_loss_the_gradient_is_zero() -> None:
    D = critic()
    zero = [0.0] * N
    assert all(float(gradient.abs().max()) == 0 for gradient in found(D, samples(D), "linear", zero, zero)[2:])


def test_in_float32() -> None:
    D = critic(classes=3, dtype=torch.float32)
    given = samples(D)
    ours, theirs = found(D, given, "linear"), found(D, given, "double")
    assert apart(ours, theirs) < 2e-6
    for a, b in zip(ours, theirs, strict=True):
        assert float((a - b).norm() / b.norm()) < 1e-4


@pytest.mark.parametrize(("autocast", "scale"), [(torch.bfloat16, 1.0), (torch.float16, 1.0), (torch.float16, 2.0**14)])
def test_rounds_no_worse_than_forward_mode(autocast: torch.dtype, scale: float) -> None:
    D = critic(classes=3, dtype=torch.float32)
    given = samples(D)
    exact = found(D, given, "double")
    ours, theirs = (apart(found(D, given, way, autocast=autocast, scale=scale), exact) for way in ("linear", "jvp"))
    assert ours < 1.1 * theirs
    assert ours < (0.05 if autocast is torch.bfloat16 else 0.02)


def test_small_gradients_survive_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a D at its start, whose branches end in weights near 0, for which fp16 scales losses."""
    D = critic((32, 16, 16), dtype=torch.float32)
    for name, p in D.named_parameters():
        p.data *= 1e-3 if name.endswith("branch.4.weight") else 0.1 if name == "score" else 1
    given, scores_only = samples(D), [0.0] * N
    exact = found(D, given, "double", w=scores_only)

    def worst(way: Way) -> float:
        ours = found(D, given, way, w=scores_only, autocast=torch.float16, scale=64.0)
        return max(float((a - b).norm() / b.norm()) for a, b in zip(ours[2:], exact[2:], strict=True))

    assert worst("linear") == pytest.approx(worst("double"), rel=0.05)
    monkeypatch.setattr(judged, "UNIT_FP16", 1.0)
    assert worst("linear") > 5 * worst("double")


def test_an_overflow_is_not_hidden() -> None:
    """From which gradient scaling learns to lower its scale."""
    D = critic(dtype=torch.float32)
    gradients = found(D, samples(D), "linear", autocast=torch.float16, scale=2.0**40)[2:]
    assert not all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_gradients_accumulate_beside_those_of_an_ordinary_pass() -> None:
    """In one graph, over several backward passes, and for hooks of the parameters once each."""
    D = critic()
    given = samples(D)
    calls: Counter[str] = Counter()
    for name, p in D.named_parameters():
        p.register_hook(lambda _, name=name: calls.update([name]))  # type: ignore[no-untyped-call]

    def loss(way: Way) -> Tensor:
        (scores,), slopes = judge(D, *given, way)
        total: Tensor = scores.mean() + slopes.square().mean() + D(*given).square().mean()
        return total

    expected = torch.autograd.grad(loss("double"), list(D.parameters()))
    calls.clear()
    for _ in range(2):
        torch.autograd.backward(loss("linear"))
    for p, gradient in zip(D.parameters(), expected, strict=True):
        assert p.grad is not None
        torch.testing.assert_close(p.grad, 2 * gradient)
    assert set(calls.values()) == {2}


class Calls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts convolutions with weights; a depthwise one is a resampling of plain torch."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._overloadpacket is torch.ops.aten.convolution and args[8] < args[0].shape[1]:
            self.counts["forward"] += 1
        if func._overloadpacket is torch.ops.aten.convolution_backward:
            assert not (args[10][0] and args[10][1]), "one of the two is not needed"
            self.counts["to x" if args[10][0] else "to weights"] += 1
        return func(*args, **(kwargs or {}))


def test_four_passes_are_enough() -> None:
    D = critic()
    given, layers = samples(D), sum(isinstance(layer, nn.Conv2d) for layer in D.modules())
    with Calls() as calls:
        found(D, given, "linear")
    assert calls.counts == {"forward": 2 * layers, "to x": layers, "to weights": layers}


def test_a_graph_replays_it() -> None:
    """Nothing in it looks at a value, and what a graph keeps is what other images need."""
    D = critic(classes=3)
    x, y = samples(D)
    expected = found(D, (x.flip(0), y), "linear")
    with Graph() as graph:
        results = found(D, (x, y), "linear")
    x.copy_(x.flip(0))
    graph.play()
    for ours, theirs in zip(results, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_frozen_parameters_have_no_gradient() -> None:
    D = critic()
    D.pool.requires_grad_(False)
    D.layers[0].requires_grad_(False)
    (scores,), slopes = judge(D, *samples(D), "linear")
    torch.autograd.backward((scores + slopes).sum())
    without = [name for name, p in D.named_parameters() if p.grad is None]
    assert without == ["pool", "layers.0.weight"]


def test_a_second_derivative_is_refused() -> None:
    D = critic((8,))
    (_,), slopes = judge(D, *samples(D), "linear")
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(slopes.sum(), D.pool, create_graph=True)


class Line(PiecewiseLinear):
    """D(x) = a <b, x>, with a parameter that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.randn(3))
        self.unused = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, y: Tensor | None = None, tape: Tape = SILENT) -> Tensor:
        return tape.linear(lambda x: self.a * x, tape.linear(lambda x: x @ self.b, x))


def test_any_network_can_offer_it() -> None:
    """By hand: |grad_x D|^2 = a^2 |b|^2, whose derivatives are 2 a |b|^2 and 2 a^2 b. `auto` takes this way."""
    D = Line()
    (scores,), slopes = judge(D, torch.randn(5, 3), None, "auto")
    assert scores.grad_fn is slopes.grad_fn, "one function gives both"
    torch.testing.assert_close(slopes, (4 * D.b.square().sum()).expand(5))
    a, b, unused = torch.autograd.grad(slopes.mean(), [D.a, D.b, D.unused], allow_unused=True)
    torch.testing.assert_close((a, b), (4 * D.b.square().sum(), 8 * D.b))
    assert unused is None


class Leaking(Discriminator):
    """R3GAN's D, whose weights are also used beside the tape."""

    def forward(self, x: Tensor, y: Tensor | None = None, tape: Tape = SILENT) -> Tensor:
        return super().forward(next(self.parameters()).mean() * x, y, tape)


def test_a_weight_used_beside_the_tape_is_noticed() -> None:
    pair, shape = NETWORKS["r3gan"], Shape(8, 3, z_dim=4, width=8)
    check_pair(pair, shape, checks=[check_slopes])
    with pytest.raises(AssertionError, match="linear and double backward disagree"):
        check_pair(pair._replace(discriminator=Leaking), shape, checks=[check_slopes])


def test_others_cannot() -> None:
    with pytest.raises(TypeError, match="Linear is not `PiecewiseLinear`"):
        judge(nn.Linear(2, 1), torch.zeros(1, 2), None, "linear")
