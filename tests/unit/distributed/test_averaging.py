"""How gradients are averaged changes what is sent, and the weights only by the rounding that was asked for."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from gandist.config.run import RunConfig, may_change
from tests.helpers.scripts import python
from tests.helpers.train_on_ranks import final_digests, final_tensors, tiny, train_all

CASES: dict[str, dict[str, object]] = {
    "plain": {},
    "buckets": {"launch__bucket_mib": 0.001},
    "bf16": {"optim__gradients": "bf16"},
    "accumulated": {"train__accumulate": 2},
    "accumulated-bf16": {"train__accumulate": 2, "optim__gradients": "bf16"},
    "fp32": {"precision": "fp32"},
    "fp32-bf16": {"precision": "fp32", "optim__gradients": "bf16"},
    "elbo": {"model__name": "vae", "game__objective": "elbo"},
    "elbo-bf16": {"model__name": "vae", "game__objective": "elbo", "optim__gradients": "bf16"},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunConfig]:
    folder: Path = tmp_path_factory.mktemp("averaging")
    configs = {name: tiny(folder, name, train__total_kimg=0.06, **changes) for name, changes in CASES.items()}
    train_all(2, list(configs.values()), folder)
    return configs


def gap(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Relative difference of the weights that gradients move, as the norm over all of them."""
    names = [name for name in a if name.startswith(("D/", "G/")) and a[name].is_floating_point()]
    difference, size = (
        torch.stack([tensor.double().square().sum() for tensor in tensors]).sum().sqrt()
        for tensors in ([a[name] - b[name] for name in names], [a[name] for name in names])
    )
    return float(difference / size)


@pytest.mark.slow
def test_two_ranks_add_alike_in_any_buckets(runs: dict[str, RunConfig]) -> None:
    assert final_digests(runs["buckets"]) == final_digests(runs["plain"])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name.endswith("bf16")])
def test_bf16_gradients_train_the_same_to_their_rounding(runs: dict[str, RunConfig], name: str) -> None:
    full = final_tensors(runs[name.removesuffix("bf16").removesuffix("-") or "plain"])
    rounded = final_tensors(runs[name])
    assert 1e-5 < gap(full, rounded) < 5e-3


def test_only_the_bucket_size_may_change_when_a_run_goes_on() -> None:
    assert may_change("launch.bucket_mib")
    assert not may_change("optim.gradients")


ALONE = """
import sys, torch
import torch.distributed as dist
from gandist.distributed.averaging import Uncompiled
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=0, world_size=1)
net = Uncompiled(torch.nn.Linear(3, 1))
net(torch.ones(2, 3)).sum().backward()
assert net.module.weight.grad.tolist() == [[2, 2, 2]]
assert "torch._dynamo" not in sys.modules
import torch._dynamo
print(torch._dynamo.utils.get_optimize_ddp_mode())
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_ranks_leave_the_compiler_alone(tmp_path: Path) -> None:
    """They do not import it, and it is whole once somebody else does; its setting has the default that DDP took."""
    done = python("-c", ALONE, str(tmp_path / "store"))
    assert (done.returncode, done.stdout) == (0, "ddp_optimizer\n"), done.stderr
