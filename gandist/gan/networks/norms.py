"""Normalisation, by name: of features (`batch`, `sync`, `group`, `none`) and of weights (`spectral`, `weight`)."""

import functools
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from gandist.errors import ConfigError

log = logging.getLogger("gandist")

GROUPS = 32
"""Groups of GroupNorm (Wu & He 2018, arXiv:1803.08494), or fewer if a group would have under 4 channels: a channel
normalised alone loses its mean."""


def norm(name: str, channels: int, affine: bool = True) -> nn.Module:
    """The feature normalisation `name` over `channels`; the identity for `none`, and for what normalises weights."""
    if name == "batch":
        return BatchNorm2d(channels, affine=affine)
    if name == "sync":
        return SyncBatchNorm(channels, affine=affine)
    if name == "group":
        return GroupNorm(math.gcd(GROUPS, channels // 4 or 1), channels, affine=affine)
    return nn.Identity()


def frame_by_frame(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function` of pictures x (N, C, H, W). Clips (N, C, F, H, W) are to it pictures whose frames lie one below the
    other, which in either order of memory is a view."""
    return function(x) if x.dim() < 5 else function(x.flatten(2, 3)).view(x.shape[0], -1, *x.shape[2:])


class OfBatch(nn.Module):
    """A layer that depends on the batch. Inside `in_parts` each part of the batch is a batch of its own."""

    parts = 1

    def of_parts(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """`function` of each part of x, (N, ...) -> (N, ...)."""
        return function(x) if self.parts == 1 else torch.cat([function(part) for part in x.chunk(self.parts)])


@contextmanager
def in_parts(net: nn.Module, parts: int) -> Iterator[None]:
    """Within, every `OfBatch` layer of `net` treats a batch as `parts` equal parts, one after the other."""
    layers = [module for module in net.modules() if isinstance(module, OfBatch)]
    for layer in layers:
        layer.parts = parts
    try:
        yield
    finally:
        for layer in layers:
            layer.parts = 1


class BatchNorm2d(OfBatch, nn.BatchNorm2d):
    """PyTorch's, in parts, of pictures and of clips."""

    def forward(self, x: Tensor) -> Tensor:
        return frame_by_frame(functools.partial(self.of_parts, super().forward), x)


class GroupNorm(nn.GroupNorm):
    """GroupNorm from plain operations: torch's fails in forward mode under autocast and in channels_last."""

    def forward(self, x: Tensor) -> Tensor:
        return frame_by_frame(self._normalised, x)

    def _normalised(self, x: Tensor) -> Tensor:
        x32 = at_least_float32(x)
        centred = x32 - self._over_groups(x32)
        out = centred * (self._over_groups(centred.square()) + self.eps).rsqrt()
        if self.affine:
            out = out * self.weight[:, None, None] + self.bias[:, None, None]
        return out.to(x.dtype)

    def _over_groups(self, x: Tensor) -> Tensor:
        """The mean of each channel's group, (N, C, 1, 1)."""
        means = x.mean((2, 3)).reshape(x.shape[0], self.num_groups, -1)
        return means.mean(2, keepdim=True).expand_as(means).reshape(x.shape[0], -1, 1, 1)


def at_least_float32(x: Tensor) -> Tensor:
    """x in float32, or unchanged if float64. Statistics and losses use it whatever precision the networks ran in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def layout(x: Tensor) -> torch.memory_format:
    """The order in which x (N, C, H, W) lies in memory: channels_last, or contiguous."""
    last = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


class _SumOverRanks(torch.autograd.Function):
    """The sum of all ranks' tensors, on every rank; differentiable to every order."""

    @staticmethod
    def forward(x: Tensor, group: dist.ProcessGroup) -> Tensor:
        total = x.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def setup_context(
        ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, dist.ProcessGroup], _: Tensor
    ) -> None:
        ctx.group = inputs[1]  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        return _sum_over_ranks(grad, ctx.group), None  # type: ignore[attr-defined]


def _sum_over_ranks(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    total: Tensor = _SumOverRanks.apply(x, group)  # type: ignore[no-untyped-call]
    return total


class SyncBatchNorm(OfBatch, nn.BatchNorm2d):
    """BatchNorm over the images or clips of all ranks: the result is that of one process.

    Unlike torch's, it also runs on CPUs. Every rank must hold the same number of images.
    """

    group: dist.ProcessGroup | None = None
    """Ranks to average over, set by `synchronise`; None for this process alone."""

    def forward(self, x: Tensor) -> Tensor:
        alone = not self.training or self.group is None
        normalised = super().forward if alone else self._synchronised
        return frame_by_frame(functools.partial(self.of_parts, normalised), x)

    def _synchronised(self, x: Tensor) -> Tensor:
        group = self.group
        assert group is not None
        world = dist.get_world_size(group)
        x32 = at_least_float32(x)
        mean = _sum_over_ranks(x32.mean((0, 2, 3)), group) / world
        centred = x32 - mean[:, None, None]
        var = _sum_over_ranks(centred.square().mean((0, 2, 3)), group) / world
        with torch.no_grad():
            n = x.numel() // x.shape[1] * world
            assert self.momentum is not None
            self.get_buffer("running_mean").lerp_(mean, self.momentum)
            self.get_buffer("running_var").lerp_(var * n / max(1, n - 1), self.momentum)
            self.get_buffer("num_batches_tracked").add_(1)
        out: Tensor = centred * (var + self.eps).rsqrt()[:, None, None]
        if self.affine:
            out = out * self.weight[:, None, None] + self.bias[:, None, None]
        return out.to(x.dtype)


def synchronise(net: nn.Module, group: dist.ProcessGroup | None) -> None:
    """Let every SyncBatchNorm of `net` average over the ranks of `group`."""
    for module in net.modules():
        if isinstance(module, SyncBatchNorm):
            module.group = group


class Spectral(nn.Module):
    """W / sigma(W) with sigma = u^T W v (Miyato et al. 2018, arXiv:1802.05957, eq. 8), as a parametrisation.

    The forward pass has no side effect: `iterate` takes one step of the power iteration per update of D.
    """

    def __init__(self, weight: Tensor, dim: int = 0) -> None:
        """`dim`: the weight's output dimension, its rows as a matrix; all other dimensions together are the columns."""
        super().__init__()
        self.dim = dim
        matrix = self._matrix(weight.detach())
        self.u: Tensor
        self.v: Tensor
        self.register_buffer("u", torch.randn_like(matrix[:, 0]))
        self.register_buffer("v", torch.randn_like(matrix[0]))
        if not weight.is_meta:
            self.u, self.v = nn.functional.normalize(self.u, dim=0), nn.functional.normalize(self.v, dim=0)
            # Enough steps to divide by nearly the largest singular value from the first update on.
            for _ in range(15):
                self.iterate(weight)

    def forward(self, weight: Tensor) -> Tensor:
        # No matrix product: autocast would round it.
        return weight / (self.u[:, None] * self._matrix(weight) * self.v).sum()

    def _matrix(self, weight: Tensor) -> Tensor:
        return weight.transpose(0, self.dim).flatten(1)

    @torch.no_grad()
    def iterate(self, weight: Tensor) -> None:
        """One step of the power iteration (algorithm 1)."""
        matrix = self._matrix(weight)
        with torch.autocast(weight.device.type, enabled=False):
            self.v.copy_(nn.functional.normalize(matrix.T @ self.u, dim=0))
            self.u.copy_(nn.functional.normalize(matrix @ self.v, dim=0))


WEIGHTED = (_ConvNd, nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag)
"""Layers whose `weight` is a matrix, or is treated as one."""
UNWEIGHTED = (nn.LayerNorm, nn.RMSNorm)
"""Layers whose parameters of several dimensions scale features and are not matrices."""


def spectral(net: nn.Module, name: str) -> None:
    """Normalise the weights of every layer of `net`, embeddings included, if `name` is `spectral`.

    Call it after the initialisation: a normalised weight cannot be set. Custom layers keep their own weights
    unnormalised, and a warning names them; the torch layers inside them are normalised.

    Raises:
        ConfigError: a torch layer has weights that are not known to be one matrix (attention, recurrent layers), or
            that cannot be normalised yet (another parametrisation, a lazy layer).
    """
    if name != "spectral":
        return
    for where, module in list(net.named_modules()):
        if isinstance(module, (*UNWEIGHTED, parametrize.ParametrizationList)):
            continue
        left = [each for each, weight in module.named_parameters(recurse=False) if weight.ndim > 1 or is_lazy(weight)]
        if isinstance(module, WEIGHTED) and "weight" in left and not is_lazy(module.weight):
            # As in torch: the outputs are the second dimension of a transposed convolution's weight.
            dim = 1 if isinstance(module, _ConvTransposeNd) else 0
            # Unsafe: the shape is known to stay, and trying it out on the meta device would import torch's compiler.
            parametrize.register_parametrization(module, "weight", Spectral(module.weight, dim), unsafe=True)
            left.remove("weight")
        elif isinstance(module, WEIGHTED) or (left and type(module).__module__.startswith("torch.nn.modules.")):
            raise ConfigError(
                f"model.norm_D: spectral does not know the weights of {where or 'the network'} "
                f"({type(module).__name__}: {', '.join(left) or 'weight'}); take another layer, or another norm"
            )
        for each in left:
            _warn_once(f"{where}.{each}".lstrip("."), type(module).__name__)


@functools.cache
def _warn_once(parameter: str, kind: str) -> None:
    log.warning(
        "spectral: %s is normalised in torch's layers alone; this is a parameter of %s, and is left as it is",
        parameter,
        kind,
    )


class WeightNorm(nn.Module):
    """g v / |v| for each output (Salimans & Kingma 2016, arXiv:1602.07868, eq. 2), as a parametrisation.

    As torch's, which imports its compiler to be sketched. An output is a row of the weight's first dimension, of a
    transposed convolution an input, as in torch.
    """

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        return v * (g / self._lengths(v))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        sketch = weight.new_empty(len(weight), *[1] * (weight.dim() - 1)) if weight.is_meta else None
        return self._lengths(weight) if sketch is None else sketch, weight

    def _lengths(self, v: Tensor) -> Tensor:
        return v.square().sum(tuple(range(1, v.dim())), keepdim=True).sqrt()


def weight_norm(net: nn.Module, name: str) -> None:
    """Give every convolution and dense layer of `net` a length and a direction, if `name` is `weight`.

    Call it after the initialisation, which then sets both.
    """
    for module in list(net.modules()) if name == "weight" else ():
        if isinstance(module, _ConvNd | nn.Linear):
            parametrize.register_parametrization(module, "weight", WeightNorm(), unsafe=True)


def iterate(net: nn.Module) -> None:
    """Take a step of the power iteration for every spectrally normalised weight of `net`."""
    for module in net.modules():
        if isinstance(module, parametrize.ParametrizationList) and isinstance(module[0], Spectral):
            module[0].iterate(module.original)


class MinibatchStd(OfBatch):
    """Append a feature map: the mean deviation within a group of images (Karras et al. 2018, arXiv:1710.10196, 3).

    (N, C, H, W) -> (N, C + 1, H, W), and of clips (N, C, F, H, W) -> (N, C + 1, F, H, W). Image i is in group
    i mod (N / group). If `group` does not divide N, the group size is the largest smaller number that does.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        return frame_by_frame(functools.partial(self.of_parts, self._with_deviation), x)

    def _with_deviation(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        size = next(size for size in range(min(self.group, n), 0, -1) if n % size == 0)
        groups = at_least_float32(x).view(size, n // size, *x.shape[1:])
        deviation = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
        plane = deviation.to(x.dtype).repeat(size)[:, None, None, None].expand(-1, 1, height, width)
        return torch.cat([x, plane.contiguous(memory_format=layout(x))], 1)


def needs_batches_apart(net: nn.Module) -> bool:
    """Whether `net` has a layer that depends on the batch and knows no parts, such as torch's own BatchNorm."""
    return any(isinstance(module, _BatchNorm) and not isinstance(module, OfBatch) for module in net.modules())


def has_batch_norm(net: nn.Module) -> bool:
    """Whether `net` keeps running statistics; forward-mode differentiation fails on these in training mode."""
    return any(isinstance(module, _BatchNorm) for module in net.modules())
