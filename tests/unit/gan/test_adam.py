"""Adam with a beta2 on the device: PyTorch's AdamW, step by step."""

import pytest
import torch
from torch import nn

from gandist.gan.adam import FusedAdam, ScheduledAdam


def pair(weight_decay: float = 0.0) -> tuple[list[nn.Parameter], list[nn.Parameter], ScheduledAdam, torch.optim.AdamW]:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in ((3, 4), (5,))]
    theirs = [nn.Parameter(weight.detach().clone()) for weight in ours]
    lr, beta2 = torch.zeros(()), torch.zeros((), dtype=torch.float64)
    adam = ScheduledAdam(ours, lr, (0.5, beta2), weight_decay)
    adam.found_inf = torch.zeros(())
    return ours, theirs, adam, torch.optim.AdamW(theirs, lr=0.0, betas=(0.5, 0.0), weight_decay=weight_decay)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_it_steps_as_pytorch_does_while_lr_and_beta2_change(weight_decay: float) -> None:
    ours, theirs, adam, reference = pair(weight_decay)
    for k in range(12):
        lr, beta2 = 2.0**-k, 0.9 + 0.005 * k
        adam.param_groups[0]["lr"].fill_(lr)
        adam.param_groups[0]["betas"][1].fill_(beta2)
        reference.param_groups[0].update(lr=lr, betas=(0.5, beta2))
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        adam.step()
        reference.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for a, b in zip(ours, theirs, strict=True):
        assert adam.state[a].keys() == reference.state[b].keys()
        torch.testing.assert_close(adam.state[a], reference.state[b], rtol=1e-12, atol=1e-12, check_dtype=False)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_leaves_all_as_it_is(first: bool, bad: float) -> None:
    weights, _, adam, _ = pair(0.1)
    adam.param_groups[0]["lr"].fill_(0.1)
    adam.param_groups[0]["betas"][1].fill_(0.9)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    if not first:
        adam.step()
    before = [weight.detach().clone() for weight in weights]
    state = [{k: v.clone() for k, v in adam.state[weight].items()} for weight in weights if adam.state[weight]]
    weights[0].grad = torch.full_like(weights[0], bad)
    adam.found_inf.fill_(1.0)
    adam.step()
    assert all(torch.equal(a, b) for a, b in zip(weights, before, strict=True))
    if not first:
        torch.testing.assert_close([adam.state[weight] for weight in weights], state, rtol=0, atol=0)
    weights[0].grad = torch.ones_like(weights[0])
    adam.found_inf.fill_(0.0)
    adam.step()
    assert all(weight.isfinite().all() for weight in weights)
    assert float(adam.state[weights[0]]["step"]) == (1 if first else 2)


def test_the_fused_one_is_pytorchs_bit_for_bit() -> None:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in ((3, 4), (5,))]
    theirs = [nn.Parameter(weight.detach().clone()) for weight in ours]
    adam = FusedAdam(ours, 1e-2, betas=(0.5, 0.9), weight_decay=0.1, fused=True)
    reference = torch.optim.AdamW(theirs, 1e-2, betas=(0.5, 0.9), weight_decay=0.1, fused=True)
    for _ in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        for optimizer in (adam, reference):
            optimizer.step()
            optimizer.zero_grad()
            optimizer.load_state_dict(optimizer.state_dict())
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        assert all(weight.grad is None for weight in ours)
    torch.testing.assert_close(adam.state_dict(), reference.state_dict(), rtol=0, atol=0)
    assert adam.state_dict()["state"][0]["step"] == 5
