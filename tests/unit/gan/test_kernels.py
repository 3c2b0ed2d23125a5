"""The kernels against their twins of plain torch: on a GPU, or on the CPU in Triton's interpreter.

For the interpreter TRITON_INTERPRET=1 must be set before Triton is imported: tests/unit/gan/test_kernels_built.py runs
this file so. Without it and without a GPU nothing here runs.
"""

import os
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any, TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.gan import kernels
from gandist.gan.networks import activation, resample, tape
from gandist.gan.networks.activation import bias_leaky_relu
from gandist.gan.networks.r3gan import Block, Discriminator
from gandist.gan.networks.resample import down2, up2
from gandist.gan.networks.shape import Shape
from gandist.gan.penalties import judge

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not (INTERPRETED or torch.cuda.is_available()), reason="no GPU, nor Triton's interpreter"),
    # The first forward-mode derivative of a process imports parts of torch that use its own deprecated jit.
    pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning"),
]
BY_NIGHT = [pytest.mark.nightly] if INTERPRETED else []
on_a_gpu = pytest.mark.skipif(INTERPRETED, reason="the interpreter knows no CUDA graphs")

SHAPES = [(2, 6, 5, 7), (1, 3, 4, 4), (3, 136, 3, 2), (2, 96, 1, 4), (2, 2, 3, 200), (1, 1, 1, 1), (0, 3, 4, 4)]
"""Odd and even, narrower and wider than a tile in either layout, and empty."""
FORMATS = [torch.contiguous_format, torch.channels_last]
DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]

T = TypeVar("T")
Kernel = Callable[[Tensor, Tensor, Tensor], Tensor | tuple[Tensor, ...]]
KERNELS: dict[str, Kernel] = {
    "up": lambda x, b, gate: resample._up(x),
    "down": lambda x, b, gate: resample._down(x),
    "biased": lambda x, b, gate: activation.gated(x, b, None, 0.2),
    "biased and gated": lambda x, b, gate: activation.gated(x, b, gate, 0.2),
    "gated": lambda x, b, gate: activation.gated(x, None, gate, 0.2),
    "biased by sample": lambda x, b, gate: activation.gated(x, by_sample(x, b), gate, 0.2),
    "summed": lambda x, b, gate: activation._summed(x, gate, 0.2),
}


def by_sample(x: Tensor, b: Tensor) -> Tensor:
    """A bias (N, C), whose strides are not those of a contiguous tensor."""
    return (b[:, None] * torch.arange(1, len(x) + 1, device=b.device)).mT


@pytest.fixture(autouse=True)
def used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "EVERYWHERE", INTERPRETED)
    torch.manual_seed(0)
    assert kernels.usable(torch.zeros(1, 1, 1, 1, device=DEVICE))


def twin(compute: Callable[[], T]) -> T:
    """What it returns without the kernels."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (resample, activation, tape):
            patch.setattr(module, "usable", lambda x: False)
        return compute()


def randn(*shape: int, dtype: torch.dtype = torch.float32, memory_format: torch.memory_format = FORMATS[0]) -> Tensor:
    return torch.randn(shape, device=DEVICE).to(dtype).contiguous(memory_format=memory_format)


def close(ours: Tensor, exact: Tensor) -> None:
    """To one unit in the last place, for the interpreter cuts where a GPU rounds to bfloat16; sums (C,) to twenty."""
    eps = (20 if ours.dim() == 1 else 1) * torch.finfo(ours.dtype).eps
    torch.testing.assert_close(ours.double(), exact.double(), rtol=eps, atol=eps)


def parts(results: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return results if isinstance(results, tuple) else (results,)


def combined(*values: Iterable[Any], every: int) -> list[Any]:
    """All combinations. By day the interpreter runs one in `every`; each value takes its turn."""
    return [
        pytest.param(*row, marks=BY_NIGHT if sum(places) % every else [])
        for places, row in (zip(*each, strict=True) for each in product(*map(enumerate, values)))
    ]


@pytest.mark.parametrize(("name", "dtype", "memory_format"), combined(KERNELS, DTYPES, FORMATS, every=4))
def test_values(name: str, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    for shape in SHAPES:
        x, gate = (randn(*shape, dtype=dtype, memory_format=memory_format) for _ in range(2))
        b = randn(shape[1])
        ours, theirs = KERNELS[name](x, b, gate), twin(lambda: KERNELS[name](x, b, gate))  # noqa: B023
        exact = twin(lambda: KERNELS[name](x.double(), b, gate))  # noqa: B023
        for ours_, theirs_, exact_ in zip(parts(ours), parts(theirs), parts(exact), strict=True):
            assert (ours_.shape, ours_.dtype) == (theirs_.shape, theirs_.dtype)
            assert ours_.dim() == 1 or ours_.is_contiguous(memory_format=memory_format)
            close(ours_, exact_)


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels": lambda x: x[:, 1::2],
    "pixels": lambda x: x[:, :, 1:, ::2],
    "swapped": lambda x: x.mT,
    "one": lambda x: x[:1, :1, :1, :1].expand_as(x),
    "spread": lambda x: x[:, :, :1, :1].expand_as(x),
    "one image": lambda x: x[:1].expand_as(x),
    "grey": lambda x: x[:, :1].expand_as(x),
}


@pytest.mark.parametrize(("name", "view", "memory_format"), combined(KERNELS, VIEWS, FORMATS, every=3))
def test_any_strides(name: str, view: str, memory_format: torch.memory_format) -> None:
    """Slices and expanded gradients as they come; the gate beside them in the other layout."""
    x = VIEWS[view](randn(2, 6, 4, 6, memory_format=memory_format))
    before = x.clone()
    gate = randn(*x.shape).contiguous(memory_format=FORMATS[memory_format == torch.contiguous_format])
    b = randn(2 * x.shape[1])[::2]
    for b_ in (b, b[:1].expand_as(b)) if "biased" in name else (b,):
        ours, exact = KERNELS[name](x, b_, gate), twin(lambda: KERNELS[name](x.double(), b_, gate))  # noqa: B023
        for ours_, exact_ in zip(parts(ours), parts(exact), strict=True):
            close(ours_, exact_)
    assert torch.equal(x, before)


@pytest.mark.parametrize(("name", "axis"), combined(KERNELS, range(4), every=2))
def test_offsets_past_2_to_the_31(name: str, axis: int) -> None:
    """Of the last along one axis. On a CPU most of these 8 GiB are never touched, so that none is there."""
    strides = [64, 16, 4, 1]
    strides[axis] = 2**30 + 64
    far = torch.empty(2**32, dtype=torch.bfloat16, device=DEVICE)
    x = far.as_strided((4, 4, 4, 4), strides).copy_(randn(4, 4, 4, 4))
    b = randn(4)
    ours, exact = KERNELS[name](x, b, x), twin(lambda: KERNELS[name](x.clone().double(), b, x))
    for ours_, exact_ in zip(parts(ours), parts(exact), strict=True):
        close(ours_, exact_)


def test_more_rows_than_kernels_number_are_the_twins() -> None:
    one = torch.empty(1, device=DEVICE)
    assert kernels.usable(one.expand(2**15, 2**4, 2**10, 16))
    assert not kernels.usable(one.expand(2**15, 2**5, 2**10, 1))
    assert not kernels.usable(one.expand(2**15, 1, 2**10, 2**5))


def act(x: Tensor) -> Tensor:
    return bias_leaky_relu(x, x[0, :, 0, 0], 0.2)


@pytest.mark.parametrize(
    ("f", "memory_format"),
    [
        pytest.param(f, memory_format, id=f"{f.__name__}-{memory_format}", marks=[] if by_day else BY_NIGHT)
        # R3GAN's D, below, has the other two with all their derivatives.
        for f, memory_format, by_day in (
            (up2, FORMATS[0], True),
            (up2, FORMATS[1], False),
            (down2, FORMATS[0], False),
            (down2, FORMATS[1], False),
            (act, FORMATS[0], False),
            (act, FORMATS[1], False),
        )
    ],
)
def test_derivatives_in_float64(f: Callable[[Tensor], Tensor], memory_format: torch.memory_format) -> None:
    x = randn(2, 2, 2, 4, dtype=torch.float64, memory_format=memory_format).requires_grad_()
    assert torch.autograd.gradcheck(f, x, check_forward_ad=True, fast_mode=True)
    # Piecewise linear: squared, so that there is a second derivative to check.
    assert torch.autograd.gradgradcheck(lambda x: f(x).square(), x, check_fwd_over_rev=True, fast_mode=True)


def test_at_zero_the_slope_is_torchs() -> None:
    x = torch.tensor([0.0, -0.0, 1.0, -1.0], device=DEVICE).view(1, 1, 2, 2).requires_grad_()
    for shift in (0.0, -1.0):
        b = torch.full((1,), shift, device=DEVICE, requires_grad=True)
        ours = torch.autograd.grad(bias_leaky_relu(x, b, 0.2).sum(), (x, b))
        theirs = torch.autograd.grad(F.leaky_relu(x + b, 0.2).sum(), (x, b))
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


def critic() -> tuple[Discriminator, Tensor]:
    """R3GAN's D without a zero in its weights, and images for it."""
    D = Discriminator(Shape(8, 3, z_dim=4, width=0, widths=(16, 8)))
    for p in D.parameters():
        p.data += 0.1 * torch.randn_like(p)
    D = D.to(DEVICE).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return D, randn(3, 3, 8, 8, memory_format=torch.channels_last)


def judged(D: Discriminator, x: Tensor, way: str, autocast: bool = False) -> list[Tensor]:
    """Scores, slopes, and the gradient of both in D's weights, one vector."""
    with torch.autocast(DEVICE, torch.bfloat16, enabled=autocast):
        (scores,), slopes = judge(D, x, None, way)  # type: ignore[arg-type]
    grads = torch.autograd.grad((scores + slopes).sum(), list(D.parameters()))
    assert all(g.dtype == torch.float32 for g in grads)
    return [scores.detach(), slopes.detach(), torch.cat([g.flatten() for g in grads])]


@pytest.mark.parametrize(
    ("way", "autocast"),
    [
        ("linear", False),
        ("jvp", True),
        *(
            pytest.param(*each, marks=BY_NIGHT)
            for each in (("linear", True), ("jvp", False), ("double", False), ("double", True))
        ),
    ],
)
def test_gradient_penalties(way: str, autocast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    D, x = critic()
    ours, theirs = judged(D, x, way, autocast), twin(lambda: judged(D, x, way))
    for a, b in zip(ours, theirs, strict=True):
        assert float((a - b).norm() / b.norm()) < (0.1 if autocast else 1e-4)


def test_a_block_keeps_its_weights_names_precision_and_layout() -> None:
    block = Block(8).to(DEVICE).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    names = ["branch.0.weight", "branch.0.bias", "branch.2.weight", "branch.2.bias", "branch.4.weight"]
    assert list(block.state_dict()) == names
    x = randn(2, 8, 4, 4, dtype=torch.bfloat16, memory_format=torch.channels_last)
    with torch.autocast(DEVICE, torch.bfloat16):
        y = block(x)
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert sum(node.name() == "_GatedBackward" for node in walked(y)) == 2, "each activation is one fused node"


def walked(y: Tensor) -> list[torch.autograd.graph.Node]:
    """The nodes of y's graph."""
    assert y.grad_fn is not None
    nodes, todo = [], [y.grad_fn]
    while todo:
        node = todo.pop()
        if node not in nodes:
            nodes.append(node)
            todo += [before for before, _ in node.next_functions if before is not None]
    return nodes


def test_results_repeat_bit_for_bit() -> None:
    n = 1 if INTERPRETED else 8
    x, gate = (randn(n, 96, 8, 8, dtype=torch.bfloat16, memory_format=torch.channels_last) for _ in range(2))
    first = activation._summed(x, gate, 0.2)
    for _ in range(1 if INTERPRETED else 3):
        assert all(torch.equal(a, b) for a, b in zip(first, activation._summed(x, gate, 0.2), strict=True))


@on_a_gpu
@pytest.mark.parametrize("way", ["linear", "jvp", "double"])
def test_in_a_cuda_graph(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """D judged and differentiated, the kernels and the twins each in a graph: what is replayed is what eager makes."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    D, x = critic()
    other = torch.randn_like(x)

    def captured() -> list[Tensor]:
        given = x.clone()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                judged(D, given, way, autocast=True)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = judged(D, given, way, autocast=True)
        given.copy_(other)
        graph.replay()
        return [t.clone() for t in results]

    ours, theirs = captured(), twin(captured)
    for a, b in zip(ours, judged(D, other, way, autocast=True), strict=True):
        assert float((a - b).norm() / b.norm()) < 1e-3
    for a, b in zip(ours, theirs, strict=True):
        assert float((a - b).norm() / b.norm()) < 0.1
