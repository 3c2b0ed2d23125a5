"""Norms by name; BatchNorm over ranks as over one; spectral norms against the SVD; the minibatch deviation."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from gandist.errors import ConfigError
from gandist.gan.networks.norms import (
    MinibatchStd,
    SyncBatchNorm,
    has_batch_norm,
    in_parts,
    iterate,
    needs_batches_apart,
    norm,
    spectral,
    synchronise,
    weight_norm,
)
from tests.helpers.forked import on_ranks


@pytest.mark.parametrize("affine", [True, False])
def test_norms_by_name(affine: bool) -> None:
    kinds = {"batch": nn.BatchNorm2d, "sync": SyncBatchNorm, "group": nn.GroupNorm}
    for name, kind in kinds.items():
        made = norm(name, 48, affine)
        assert isinstance(made, kind)
        assert sum(p.numel() for p in made.parameters()) == (2 * 48 if affine else 0), name
    for name in ("none", "spectral"):
        assert isinstance(norm(name, 48, affine), nn.Identity)


@pytest.mark.parametrize(("channels", "groups"), [(256, 32), (48, 4), (64, 16), (32, 8), (6, 1), (3, 1)])
def test_groups_divide_the_channels(channels: int, groups: int) -> None:
    made = norm("group", channels)
    assert isinstance(made, nn.GroupNorm)
    assert made.num_groups == groups
    x = 2 + 3 * torch.randn(2, channels, 4, 4)
    h = x.reshape(2, groups, -1)
    expected = (h - h.mean(2, keepdim=True)) / (h.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(made(x), expected.view_as(x))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own use of it
def test_group_norm_has_every_derivative_in_channels_last() -> None:
    torch.manual_seed(0)
    made = norm("group", 64).double()
    x, v = torch.randn(2, 2, 64, 3, 3, dtype=torch.float64)
    expected = torch.func.jvp(made, (x,), (v,))[1]
    x, v = x.to(memory_format=torch.channels_last), v.to(memory_format=torch.channels_last)
    found = torch.func.jvp(made, (x,), (v,))[1]
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.autograd.gradgradcheck(made, x[:, :, :1, :2].detach().requires_grad_())


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own use of it
def test_group_norm_has_a_forward_derivative_under_autocast() -> None:
    torch.manual_seed(0)
    made, (x, v) = norm("group", 64), torch.randn(2, 2, 64, 3, 3)
    expected = torch.func.jvp(made, (x,), (v,))[1]
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.func.jvp(made, (x.bfloat16(),), (v.bfloat16(),))[1]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)


def derivatives(net: nn.Module, x: Tensor, weigh: Tensor) -> dict[str, Tensor]:
    """Outputs, gradients, running statistics, and gradients of |grad_x|^2 of (weigh * net(x)^2).sum()."""
    x = x.clone().requires_grad_()
    names, weights = zip(*net.named_parameters(), strict=True)
    out = net(x)
    loss = (weigh * out.square()).sum()
    (g,) = torch.autograd.grad(loss, x, create_graph=True)
    first = torch.autograd.grad(loss, weights, retain_graph=True)
    second = torch.autograd.grad(g.square().sum(), [x, *weights])
    found = {"out": out, "x": g, "xx": second[0], **dict(net.named_buffers())}
    found |= {f"weights.{name}": t for name, t in zip(names, first, strict=True)}
    found |= {f"weights.{name}.x": t for name, t in zip(names, second[1:], strict=True)}
    return {name: t.detach().contiguous().clone() for name, t in found.items()}


def batches() -> tuple[nn.Module, Tensor, Tensor]:
    """A net with two norms, eight images, and what weighs its outputs."""
    torch.manual_seed(0)
    net = nn.Sequential(norm("sync", 3), nn.Conv2d(3, 4, 3), nn.Softplus(), norm("sync", 4)).double()
    for module in net.modules():
        if isinstance(module, SyncBatchNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    x, weigh = 5 + 2 * torch.randn(8, 3, 6, 6).double(), torch.randn(8, 4, 4, 4).double()
    return net, x, weigh


def one_rank(folder: Path) -> None:
    rank = dist.get_rank()
    net, x, weigh = batches()
    synchronise(net, dist.group.WORLD)
    found = derivatives(net, x[rank::2], weigh[rank::2])
    half = net.float()[0](x[rank::2].bfloat16().to(memory_format=torch.channels_last))  # type: ignore[index]
    assert half.dtype == torch.bfloat16
    assert half.is_contiguous(memory_format=torch.channels_last)
    save_file(found, folder / f"{rank}.safetensors")


def test_batch_norm_over_two_ranks_is_that_of_one(tmp_path: Path) -> None:
    """In value, gradients of images and weights, running statistics, and the same of |grad_x|^2."""
    on_ranks(2, tmp_path, one_rank, tmp_path)
    net, x, weigh = batches()
    for name in ("0", "3"):
        plain = nn.BatchNorm2d(net.get_submodule(name).num_features).double()  # type: ignore[arg-type]
        plain.load_state_dict(net.get_submodule(name).state_dict())
        net.set_submodule(name, plain)
    expected = derivatives(net, x, weigh)
    ranks = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(2)]
    assert set(ranks[0]) == set(expected)
    for key, theirs in expected.items():
        a, b = (rank[key] for rank in ranks)
        if key in ("out", "x", "xx"):
            ours = torch.stack([a, b], 1).flatten(0, 1)
        elif key.startswith("weights"):
            ours = a + b
        else:
            torch.testing.assert_close(a, b, rtol=0, atol=0)
            ours = a
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9, msg=key)


def test_batch_norm_of_no_group_is_torchs() -> None:
    torch.manual_seed(0)
    ours, theirs = norm("sync", 3), nn.BatchNorm2d(3)
    for _ in range(2):
        x = torch.randn(4, 3, 2, 2)
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=0, atol=0)


def weight_of(layer: nn.Module) -> Tensor:
    """What the layer computes with, detached."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def layers() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "Conv2d": nn.Conv2d(6, 5, 3),
        "Linear": nn.Linear(7, 4),
        "Embedding": nn.Embedding(9, 5),
        "EmbeddingBag": nn.EmbeddingBag(9, 5),
        "Bilinear": nn.Bilinear(3, 4, 5),
        "Conv1d": nn.Conv1d(6, 5, 3),
        "Conv3d": nn.Conv3d(4, 5, 2),
        "ConvTranspose1d": nn.ConvTranspose1d(6, 5, 3),
        "ConvTranspose2d": nn.ConvTranspose2d(6, 5, 3),
        "ConvTranspose2d in groups": nn.ConvTranspose2d(6, 4, 3, groups=2),
        "ConvTranspose3d": nn.ConvTranspose3d(4, 5, 2),
        "Conv2d in channels_last": nn.Conv2d(6, 5, 3).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
    }


@pytest.mark.parametrize("name", layers())
def test_sigma_is_the_largest_singular_value(name: str) -> None:
    net = layers()[name].double()
    plain = weight_of(net).clone()
    rows = 1 if "Transpose" in name else 0
    largest = torch.linalg.svdvals(plain.movedim(rows, 0).flatten(1))[0]
    spectral(net, "spectral")
    found = torch.linalg.svdvals(weight_of(net).movedim(rows, 0).flatten(1))[0]
    assert 1 <= float(found) < 1.05, "from the start, nearly"
    for _ in range(500):
        iterate(net)
    torch.testing.assert_close(weight_of(net), plain / largest, rtol=1e-9, atol=1e-9)
    assert weight_of(net).stride() == plain.stride()


@pytest.mark.parametrize("name", layers())
def test_the_matrix_is_that_of_torchs_own(name: str) -> None:
    ours, theirs = layers()[name].double(), layers()[name].double()
    spectral(ours, "spectral")
    for _ in range(500):
        iterate(ours)
    torch.testing.assert_close(weight_of(ours), weight_of(spectral_norm(theirs, n_power_iterations=500)))


class Own(nn.Module):
    """A layer of a user's own, with a matrix beside torch's layers."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.gain = nn.Parameter(torch.randn(3, 3)), nn.Parameter(torch.ones(3))
        self.inside = nn.Linear(3, 3)


def test_what_is_not_normalised_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", "gandist"):
        net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.LayerNorm((3, 2, 2)), nn.PReLU(3), Own())
        for each in (net, Own()):
            spectral(each, "spectral")
    assert [record.getMessage().split(" is ")[0] for record in caplog.records] == [
        "spectral: 4.kernel",
        "spectral: kernel",
    ]
    assert [name for name, _ in net.named_parameters() if "original" in name] == [
        "0.parametrizations.weight.original",
        "4.inside.parametrizations.weight.original",
    ]


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (lambda: nn.MultiheadAttention(4, 2), "MultiheadAttention: in_proj_weight"),
        (lambda: nn.LSTM(4, 2), "LSTM: weight_ih_l0, weight_hh_l0"),
        (lambda: nn.GRUCell(4, 2), "GRUCell: weight_ih, weight_hh"),
        (lambda: nn.LazyConv2d(4, 2), "LazyConv2d: weight, bias"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 2)), "ParametrizedConv2d: weight"),
        (lambda: spectral_norm(nn.Linear(3, 4)), "ParametrizedLinear: weight"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_what_cannot_be_normalised_is_refused_by_name(layer: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.norm_D: spectral does not know the weights of 0 \({said}\)"):
        spectral(nn.Sequential(layer()), "spectral")
    spectral(nn.Sequential(layer()), "batch")


def test_gradient_takes_u_and_v_for_constants() -> None:
    """dL/dW = (G - <G, W_SN> u v^T) / sigma with G = dL/dW_SN (eq. 10 to 12); as torch's own, with the same u and v."""
    torch.manual_seed(0)
    ours, theirs = nn.Conv2d(6, 5, 3).double(), nn.Conv2d(6, 5, 3).double()
    theirs.load_state_dict(ours.state_dict())
    W = weight_of(ours).clone()
    spectral(ours, "spectral")
    spectral_norm(theirs).eval()  # which does not iterate then
    u, v = (dict(ours.named_buffers())[f"parametrizations.weight.0.{name}"] for name in "uv")
    for name, buffer in theirs.named_buffers():
        buffer.copy_(u if name.endswith("_u") else v)

    x, weigh = torch.randn(2, 6, 5, 5).double(), torch.randn(2, 5, 3, 3).double()
    originals = [dict(m.named_parameters())["parametrizations.weight.original"] for m in (ours, theirs)]
    loss = sum((weigh * m(x)).sum() for m in (ours, theirs))
    assert isinstance(loss, Tensor)
    found, torchs = torch.autograd.grad(loss, originals)
    sigma = u @ W.flatten(1) @ v
    W_SN = (W / sigma).requires_grad_()
    (G,) = torch.autograd.grad((weigh * nn.functional.conv2d(x, W_SN)).sum(), W_SN)
    expected = (G - (G * W_SN.detach()).sum() * torch.outer(u, v).view_as(W)) / sigma
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, torchs, rtol=1e-12, atol=1e-12)


def test_sigma_is_not_rounded_under_autocast() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 64, 3)
    spectral(layer, "spectral")
    with torch.autocast("cpu", torch.bfloat16):
        half = layer.weight.detach()
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, layer.weight.detach(), rtol=0, atol=0)


def test_forward_changes_nothing_and_iterate_buffers_alone() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    spectral(net, "spectral")
    before = {name: t.clone() for name, t in net.state_dict().items()}
    assert {name.rpartition(".")[2] for name in before} == {"original", "u", "v", "bias"}
    net(torch.randn(2, 3, 4, 4)).sum().backward()
    torch.testing.assert_close(dict(net.state_dict()), before, rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        iterate(net)
    after = net.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.endswith((".u", ".v"))}
    for name in ("0.parametrizations.weight", "3.parametrizations.weight"):
        matrix = before[f"{name}.original"].flatten(1)
        v = nn.functional.normalize(matrix.T @ before[f"{name}.0.u"], dim=0)
        torch.testing.assert_close(after[f"{name}.0.v"], v)
        torch.testing.assert_close(after[f"{name}.0.u"], nn.functional.normalize(matrix @ v, dim=0))


def test_only_the_name_spectral_normalises_weights() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    spectral(net, "batch")
    assert not parametrize.is_parametrized(net[0])
    iterate(net)


@pytest.mark.parametrize(("n", "group", "size"), [(8, 4, 4), (8, 8, 8), (6, 4, 3), (4, 8, 4), (7, 4, 1)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_deviation_of_a_group(n: int, group: int, size: int, memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    x = torch.randn(n, 3, 2, 5).double().to(memory_format=memory_format)
    out = MinibatchStd(group)(x)
    assert out.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(out[:, :3], x, rtol=0, atol=0)
    images, stride = x.numpy(), n // size
    for i in range(n):
        members = images[i % stride :: stride]
        assert len(members) == size
        expected = np.sqrt(members.var(0) + 1e-8).mean()
        np.testing.assert_allclose(out[i, 3], np.full((2, 5), expected), rtol=1e-12)


def test_the_deviation_of_half_precision_is_computed_in_full() -> None:
    torch.manual_seed(0)
    x = (100 + torch.randn(512, 3, 2, 2)).bfloat16()
    out = MinibatchStd(4)(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out[:, 3:], MinibatchStd(4)(x.float())[:, 3:].bfloat16(), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own use of it
def test_the_deviation_has_every_derivative() -> None:
    torch.manual_seed(0)
    net, x, v = MinibatchStd(2), torch.randn(4, 2, 2, 1).double(), torch.randn(4, 2, 2, 1).double()
    assert torch.autograd.gradgradcheck(net, x.clone().requires_grad_())
    slope = torch.func.jvp(net, (x,), (v,))[1]
    torch.testing.assert_close(slope, (net(x + 1e-6 * v) - net(x - 1e-6 * v)) / 2e-6)


def test_who_has_batch_norm() -> None:
    seen = {name: nn.Sequential(nn.Conv2d(3, 8, 3), norm(name, 8)) for name in ("batch", "sync", "group", "none")}
    assert {name for name, net in seen.items() if has_batch_norm(net)} == {"batch", "sync"}
    deviation = nn.Sequential(nn.Conv2d(3, 8, 3), MinibatchStd(4))
    assert not has_batch_norm(deviation)
    spectral(deviation, "spectral")
    assert not has_batch_norm(deviation)


def test_who_needs_batches_apart() -> None:
    """Torch's own BatchNorm, in a network of a user's own; what is made by name knows parts."""
    own = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    assert needs_batches_apart(own)
    for name in ("batch", "sync", "group", "none"):
        assert not needs_batches_apart(nn.Sequential(norm(name, 8), MinibatchStd(4))), name


@pytest.mark.parametrize("layer", ["batch", "sync", "deviation"])
def test_a_batch_in_parts(layer: str) -> None:
    """Outputs, gradients and running statistics are those of the parts one after the other."""
    together, apart = (MinibatchStd(4) if layer == "deviation" else norm(layer, 3) for _ in range(2))
    given = torch.randn(8, 3, 4, 4, dtype=torch.float64) * torch.tensor([1.0] * 4 + [3.0] * 4)[:, None, None, None]
    for net in (together, apart):
        net.double()
    x, leaf = (given.clone().requires_grad_() for _ in range(2))
    with in_parts(together, 2):
        ours = together(x)
    theirs = torch.cat([apart(part) for part in leaf.chunk(2)])
    assert torch.equal(ours, theirs)
    assert not torch.allclose(together(x), theirs), "in one part it is another batch"
    for result in (ours, theirs):
        result.pow(3).sum().backward()
    assert x.grad is not None
    assert leaf.grad is not None
    torch.testing.assert_close(x.grad, leaf.grad)
    with in_parts(apart, 1):
        apart(given)  # as `together` has seen it above
    for a, b in zip(together.buffers(), apart.buffers(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["batch", "sync", "group"])
def test_norms_of_clips_are_torchs(name: str) -> None:
    """In value, gradients and running statistics, and in either order of memory, which they keep."""
    torch.manual_seed(0)
    ours = norm(name, 8).double()
    theirs = (nn.GroupNorm(2, 8) if name == "group" else nn.BatchNorm3d(8)).double()
    for layer in (ours, theirs):
        torch.manual_seed(1)
        for p in layer.parameters():
            nn.init.normal_(p)
    for order in (torch.contiguous_format, torch.channels_last_3d):
        x = (2 + 3 * torch.randn(4, 8, 2, 3, 5)).double().contiguous(memory_format=order)
        weigh = torch.randn_like(x)
        # In channels_last_3d torch's own GroupNorm ends the process
        mine, expected = derivatives(ours, x, weigh), derivatives(theirs, x.contiguous(), weigh.contiguous())
        for key, value in expected.items():
            torch.testing.assert_close(mine[key], value, rtol=1e-9, atol=1e-9, msg=key)
        assert ours(x).is_contiguous(memory_format=order)
        theirs(x.contiguous())
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x.contiguous()), check_stride=False)
        ours.train()
        theirs.train()


def test_the_deviation_of_clips_is_of_all_frames() -> None:
    x = torch.randn(6, 3, 2, 4, 4).contiguous(memory_format=torch.channels_last_3d)
    found = MinibatchStd(3)(x)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(found[:, :3], x)
    deviation = (x.view(3, 2, 3, 2, 4, 4).var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3, 4))
    torch.testing.assert_close(found[:, 3], deviation.repeat(3).view(6, 1, 1, 1).expand(-1, 2, 4, 4))


def test_the_lengths_of_a_clips_weights() -> None:
    net = nn.Conv3d(3, 4, 2)
    weight = net.weight.detach().clone()
    weight_norm(net, "weight")
    torch.testing.assert_close(net.weight, weight)
    lengths = dict(net.named_parameters())["parametrizations.weight.original0"]
    torch.testing.assert_close(lengths.flatten(), weight.flatten(1).norm(dim=1))
