"""Scores and squared slopes of a piecewise-linear D, and their gradient in its weights, without a second derivative.

D is a chain of linear steps h_l = W_l a_{l-1} + b_l and gates a_l = gate_l * h_l, where gate_l is 1 or the activation's
slope by the sign of h_l. Let g = grad_x D(x_n), delta_l = dD(x_n)/dh_l, and let the loss give s = dL/dD(x_n) and
w = dL/d|g|^2 for each sample. If

- D(x_n) depends on no other sample of the batch, and
- the activations are piecewise linear, so that around x almost everywhere the gates are constant,

then dL = s dD(x_n) + 2 w <g, d grad_x D(x_n)> with g fixed. The second term is the derivative of the tangent a' that
starts at a'_0 = g and passes through W_l and the gates, without biases. The gates and delta_l do not depend on W_l, so

    dL/dW_l = sum_n delta_l (x) c_{l-1}, with c = s a + 2 w a',    dL/db_l = sum_n s delta_l.

c is one forward pass: it starts at c_0 = s x + 2 w g, with the gates fixed and biases times s. So there are four passes
over D's convolutions: forward (the gates), backward to x (g and every delta), forward for c, and the products of delta
and c. A second backward pass takes six, a Jacobian-vector product and its backward pass at least eight.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import functional_call

from gandist.gan.networks.activation import gated
from gandist.gan.networks.tape import Convolution, PiecewiseLinear, Tape, unbiased

UNIT_FP16 = 256.0
"""Under fp16 autocast each delta is multiplied by this, and c divided: the deltas of a score are too small for fp16,
which scales losses for that reason, and c, which carries the loss's scale, is too large."""


def judged(D: PiecewiseLinear, x: Tensor, y: Tensor | None, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """D's scores of x (N,) and squared slopes |grad_x D(x)|^2 (N,), both differentiable in D's weights.

    `u`: the numbers (N, K) that a random D takes.

    Raises:
        RuntimeError: in a backward pass with create_graph=True: there is no second derivative.
    """
    found: tuple[Tensor, Tensor] = _Judged.apply(D, x.detach(), y, u, *D.parameters())  # type: ignore[no-untyped-call]
    return found


class Recording(Tape):
    """Keeps the gates of an ordinary forward pass, and where the gradients of all steps are found."""

    def __init__(self) -> None:
        self.edges: list[GradientEdge] = []
        self.gates: list[Tensor] = []

    def linear(self, operation: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        y = super().linear(operation, x)
        self.edges.append(get_gradient_edge(y))
        return y

    def activated(self, conv: Convolution, act: nn.LeakyReLU, x: Tensor) -> Tensor:
        y = super().activated(conv, act, x)
        self.gates.append(y.detach())
        return y

    def gate(self, act: nn.LeakyReLU, x: Tensor) -> Tensor:
        y = super().gate(act, x)
        self.gates.append(y.detach())
        return y


class Replay(Tape):
    """Passes c through the steps, and sums the gradients of the parameters on the way."""

    def __init__(self, s: Tensor, gates: Iterable[Tensor], deltas: Iterable[Tensor], parameters: Sequence[Tensor]):
        self.s, self.gates, self.deltas, self.parameters = s, iter(gates), iter(deltas), parameters
        self.gradients: list[Tensor | None] = [None] * len(parameters)

    def linear(self, operation: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        with torch.enable_grad():
            y = operation(x)
        self._add([y], [next(self.deltas)])
        return y.detach()

    def activated(self, conv: Convolution, act: nn.LeakyReLU, x: Tensor) -> Tensor:
        assert conv.bias is not None
        delta = next(self.deltas)
        with torch.enable_grad():
            y, b = unbiased(conv, x), self.s[:, None] * conv.bias
        self._add([y, b], [delta, delta.sum(tuple(range(2, delta.dim())), dtype=b.dtype)])
        return gated(y.detach(), b.detach(), next(self.gates), act.negative_slope)

    def gate(self, act: nn.LeakyReLU, x: Tensor) -> Tensor:
        return gated(x, None, next(self.gates), act.negative_slope)

    def _add(self, outputs: Sequence[Tensor], deltas: Sequence[Tensor]) -> None:
        """Add the gradients of the parameters that are behind these outputs, given the outputs' own."""
        pairs = [pair for pair in zip(outputs, deltas, strict=True) if pair[0].requires_grad]
        if not pairs:
            return
        outputs, deltas = zip(*pairs, strict=True)
        found = torch.autograd.grad(outputs, self.parameters, deltas, allow_unused=True)
        for i, new in enumerate(found):
            before = self.gradients[i]
            self.gradients[i] = new if before is None else before if new is None else before + new


class _Judged(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, D: PiecewiseLinear, x: Tensor, y: Tensor | None, u: Tensor | None, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.D, ctx.autocast = D, _autocast(x.device.type)
        ctx.unit = UNIT_FP16 if ctx.autocast["enabled"] and ctx.autocast["dtype"] is torch.float16 else 1.0
        tape = Recording()
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            scores = _run(D, [p.detach() for p in parameters], leaf, (y, u), tape)
        unit = torch.full_like(scores, ctx.unit)
        places: list[Any] = [leaf, *tape.edges]
        g, *deltas = torch.autograd.grad(scores, places, unit)
        g = g / ctx.unit
        ctx.n_gates = len(tape.gates)
        ctx.save_for_backward(x, y, u, g, *parameters, *tape.gates, *deltas)
        return scores.detach(), g.flatten(1).square().sum(1)

    @staticmethod
    def backward(ctx: Any, s: Tensor, w: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("gradients of `judged` cannot be differentiated again (create_graph=True)")
        x, y, u, g, *kept = ctx.saved_tensors
        wanted = ctx.needs_input_grad[4:]
        parameters, kept = kept[: len(wanted)], kept[len(wanted) :]
        gates, deltas = kept[: ctx.n_gates], kept[ctx.n_gates :]
        # Leaves of their own: hooks of the parameters, such as DDP's, await the gradients of the whole.
        leaves = [p.detach().requires_grad_(needed) for p, needed in zip(parameters, wanted, strict=True)]
        s, w = s / ctx.unit, 2 * w / ctx.unit
        tape = Replay(s, gates, deltas, [leaf for leaf in leaves if leaf.requires_grad])
        with torch.autocast(**ctx.autocast):
            _run(ctx.D, leaves, _scaled(x, s) + _scaled(g, w), (y, u), tape)
        gradients = iter(tape.gradients)
        return None, None, None, None, *(next(gradients) if needed else None for needed in wanted)


def _run(
    D: PiecewiseLinear,
    parameters: Sequence[Tensor],
    x: Tensor,
    given: tuple[Tensor | None, Tensor | None],
    tape: Tape,
) -> Tensor:
    """D's scores with these tensors in place of its parameters; `given` are y and u."""
    y, u = given
    names = (name for name, _ in D.named_parameters())
    random = {} if u is None else {"u": u}
    scores: Tensor = functional_call(D, dict(zip(names, parameters, strict=True)), (x, y), {"tape": tape, **random})
    return scores


def _scaled(x: Tensor, by: Tensor) -> Tensor:
    """Each sample of x (N, ...) times its number of `by` (N,)."""
    return x * by.view(-1, *[1] * (x.dim() - 1)).to(x.dtype)


def _autocast(device: str) -> dict[str, Any]:
    """The arguments that repeat the current autocast."""
    return {
        "device_type": device,
        "dtype": torch.get_autocast_dtype(device),
        "enabled": torch.is_autocast_enabled(device),
        "cache_enabled": torch.is_autocast_cache_enabled(),
    }
