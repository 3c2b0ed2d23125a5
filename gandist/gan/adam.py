"""Adam: PyTorch's fused one; and one with a beta2 that changes inside a captured step, where the fused one takes beta2
as a host number."""

from collections.abc import Callable, Iterable
from inspect import unwrap

import torch
from torch import Tensor, nn


class Uncompiled(torch.optim.Optimizer):
    """An optimiser that torch.compile never meets. torch guards these methods from its compiler, and at the first call
    imports it for that: more than a second."""

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)


class FusedAdam(Uncompiled, torch.optim.AdamW):
    """`torch.optim.AdamW` (Loshchilov & Hutter 2019, arXiv:1711.05101)."""

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))


class PlainAdam(Uncompiled, torch.optim.Adam):
    """`torch.optim.Adam` (Kingma & Ba 2015, arXiv:1412.6980)."""

    step = torch.no_grad()(unwrap(torch.optim.Adam.step))


class ScheduledAdam(Uncompiled):
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) whose learning rate and beta2 are tensors on the device.

    Its state and its steps are those of `torch.optim.AdamW`, up to rounding. As in the fused one, a `found_inf` of 1
    leaves weights and state unchanged.
    """

    found_inf: Tensor
    """float32 scalar on the device, set before each step."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: Tensor,
        betas: tuple[float, Tensor],
        weight_decay: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        """`lr` is float32 and beta2 float64: scalars on the device."""
        # With `capturable`, loading a state keeps the step count on the device.
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "eps": eps, "capturable": True}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for weight in weights:
                if not self.state[weight]:
                    step = torch.zeros((), dtype=torch.float32, device=weight.device)
                    moments = {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
                    self.state[weight] = {"step": step, **moments}
            beta1, beta2 = group["betas"]
            self._update(group["lr"], beta1, beta2, group["weight_decay"], group["eps"], weights)

    def _update(
        self, lr: Tensor, beta1: float, beta2: Tensor, weight_decay: float, eps: float, weights: list[Tensor]
    ) -> None:
        states = [self.state[weight] for weight in weights]
        steps, m, v = ([state[name] for state in states] for name in ("step", "exp_avg", "exp_avg_sq"))
        taken, lr, dtype = 1 - self.found_inf.double(), lr.double(), weights[0].dtype
        # A gradient that is not finite stays so when multiplied by 0.
        g = [torch.where(taken > 0, weight.grad, 0.0) for weight in weights if weight.grad is not None]
        t = steps[0] + 1.0
        kept_m, kept_v = 1 - taken * (1 - beta1), 1 - taken * (1 - beta2)
        torch._foreach_mul_(m, kept_m.to(dtype))
        torch._foreach_add_(m, torch._foreach_mul(g, (1 - kept_m).to(dtype)))
        torch._foreach_mul_(v, kept_v.to(dtype))
        torch._foreach_mul_(g, g)
        torch._foreach_mul_(g, (1 - kept_v).to(dtype))
        torch._foreach_add_(v, g)
        update = torch._foreach_sqrt(v)
        torch._foreach_mul_(update, (1 - beta2**t).rsqrt().to(dtype))
        torch._foreach_add_(update, eps)
        update = torch._foreach_div(m, update)
        torch._foreach_mul_(update, (taken * lr / (1 - beta1**t)).to(dtype))
        torch._foreach_mul_(weights, (1 - taken * lr * weight_decay).to(dtype))
        torch._foreach_sub_(weights, update)
        torch._foreach_add_(steps, [taken.float()] * len(steps))  # a bare tensor would be read as a number
