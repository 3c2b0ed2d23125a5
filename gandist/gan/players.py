"""The state that training changes: G, D, the running average of G, the optimisers, and the images seen."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from gandist.distributed.randomness import key
from gandist.errors import CheckpointError
from gandist.gan.adam import FusedAdam, ScheduledAdam

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""The order in memory of weights of so many dimensions: convolutions' of pictures and of clips."""


def in_channels_last(x: Tensor) -> Tensor:
    """x, or a copy of it with its channels last in memory, if it has height and width."""
    # Unlike `contiguous`, `to` also lays out a single channel last, whose layout convolutions then give their results
    return x.to(memory_format=CHANNELS_LAST[x.dim()]) if x.dim() in CHANNELS_LAST else x


def lay_channels_last(net: nn.Module) -> None:
    """Lay the weights and buffers of `net` out with their channels last, in place."""
    for tensor in (*net.parameters(), *net.buffers()):
        tensor.data = in_channels_last(tensor.data)


@dataclass
class Player:
    """A network and its optimiser."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: GradScaler
    skipped: Tensor
    """Updates skipped because a gradient was not finite; float64 scalar on the device."""

    def update(self) -> Tensor:
        """Take the optimiser's step unless the gradient is not finite; returns the gradient norm ().

        The decision stays on the device: the fused optimisers read `found_inf`, as with GradScaler.
        """
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        found_inf = (~norm.isfinite()).float()
        self.optimizer.found_inf = found_inf  # type: ignore[attr-defined]
        self.optimizer.step()
        self.skipped += found_inf
        if self.scaler.is_enabled():
            self.scaler.update()
        return norm

    @property
    def weights(self) -> list[Tensor]:
        """The trained weights, without those that a network has frozen."""
        return [weight for group in self.optimizer.param_groups for weight in group["params"]]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within, gradients flow through the player but none is accumulated: it is the other player's turn."""
        for weight in self.weights:
            weight.requires_grad_(False)
        try:
            yield
        finally:
            for weight in self.weights:
                weight.requires_grad_(True)

    @torch.no_grad()
    def clip(self, bound: Tensor | float | None) -> None:
        """Clip every weight to [-bound, bound] (WGAN, Arjovsky et al. 2017, algorithm 1); None clips nothing."""
        if bound is not None:
            least, most = ([b] * len(self.weights) if isinstance(b, Tensor) else b for b in (-bound, bound))
            torch._foreach_clamp_min_(self.weights, least)
            torch._foreach_clamp_max_(self.weights, most)

    def set_beta2(self, beta2: Tensor) -> None:
        """Set Adam's beta2, float64, on the device; on the host if the optimiser's numbers are there."""
        for group in self.optimizer.param_groups:
            beta1, held = group["betas"]
            group["betas"] = (beta1, held.copy_(beta2) if isinstance(held, Tensor) else float(beta2))

    def set_lr(self, lr: Tensor | float) -> None:
        """Set the learning rate, on the device; on the host if the optimiser's numbers are there."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = float(lr)


@dataclass
class Players:
    """All state that training changes. A checkpoint holds exactly these fields, and they suffice to resume."""

    G: Player
    D: Player
    G_ema: nn.Module
    images_seen: int = 0
    memory: dict[str, Tensor] = field(default_factory=dict)
    """Small float64 tensors that methods keep between steps: an augmentation's p, running means of scores."""
    rollbacks: int = 0
    """Roll-backs to an earlier checkpoint so far."""
    lr_scale: float = 1.0
    """Factor of both learning rates, which each roll-back reduces."""

    @torch.no_grad()
    def average(self, beta: Tensor | float) -> None:
        """G_ema <- beta G_ema + (1 - beta) G; BatchNorm's statistics and other buffers are copied.

        A forward pass with values that are not finite spoils the buffers even though the step is skipped. G then takes
        back the last finite buffers.
        """
        G, G_ema = ([weight.data for weight in net.parameters()] for net in (self.G.net, self.G_ema))
        moves = torch._foreach_sub(G, G_ema)
        torch._foreach_mul_(moves, 1 - beta)
        torch._foreach_add_(G_ema, moves)
        ours, theirs = (list(net.buffers()) for net in (self.G_ema, self.G.net))
        if any(buffer.is_floating_point() for buffer in theirs):
            _take_finite(*([each for each in buffers if each.is_floating_point()] for buffers in (theirs, ours)))
        if ours:
            torch._foreach_copy_(ours, theirs)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Every tensor by file and name. These are the live tensors: copy them before training continues."""
        return {
            "G": dict(self.G.net.state_dict()),
            "D": dict(self.D.net.state_dict()),
            "G_ema": dict(self.G_ema.state_dict()),
            "optim_G": _optimizer_tensors(self.G),
            "optim_D": _optimizer_tensors(self.D),
        }

    def scalars(self) -> dict[str, Any]:
        """All other state as plain data. Reads from the device once."""
        numbers, plain = self.scalars_later()
        return plain(numbers.cpu())

    def scalars_later(self) -> tuple[Tensor, Callable[[Tensor], dict[str, Any]]]:
        """`scalars()` in two halves: its numbers on the device, float64 (any,), and a function that completes it from a
        CPU copy of them. Later changes of the players do not affect the result."""
        scalers = {f"scaler_{name}": _state_of(player.scaler) for name, player in (("G", self.G), ("D", self.D))}
        state = {"images_seen": self.images_seen, "rollbacks": self.rollbacks, "lr_scale": self.lr_scale}
        scales = [number for _, numbers in scalers.values() for number in numbers]
        live, names = [self.G.skipped, self.D.skipped, *scales, *self.memory.values()], list(self.memory)
        shapes = [tensor.shape for tensor in live]

        def plain(numbers: Tensor) -> dict[str, Any]:
            parts = numbers.split_with_sizes([shape.numel() for shape in shapes])
            read: Iterator[Any] = iter([part.view(shape).tolist() for part, shape in zip(parts, shapes, strict=True)])
            skipped = {"skipped_G": next(read), "skipped_D": next(read)}
            whole = {
                name: {**settings, "scale": next(read), "_growth_tracker": int(next(read))} if numbers else settings
                for name, (settings, numbers) in scalers.items()
            }
            return {**state, **skipped, **whole, "memory": dict(zip(names, read, strict=True))}

        return torch.cat([tensor.double().flatten() for tensor in live]), plain

    def load(self, tensors: dict[str, dict[str, Tensor]], scalars: dict[str, Any]) -> None:
        """Restore the state that `tensors()` and `scalars()` returned.

        Raises:
            CheckpointError: the tensors do not fit these networks.
        """
        for name, net in (("G", self.G.net), ("D", self.D.net), ("G_ema", self.G_ema)):
            load_weights(net, tensors[name], name)
        try:
            self.images_seen = int(scalars["images_seen"])
            self.rollbacks, self.lr_scale = int(scalars.get("rollbacks", 0)), float(scalars.get("lr_scale", 1.0))
            for name, tensor in self.memory.items():
                tensor.copy_(torch.tensor(scalars["memory"][name], dtype=tensor.dtype))
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"the state does not fit the configured game: {error!r}") from error
        for name, player in (("G", self.G), ("D", self.D)):
            try:
                _load_optimizer(player, tensors[f"optim_{name}"])
                player.skipped.fill_(scalars[f"skipped_{name}"])
                if player.scaler.is_enabled():
                    player.scaler.load_state_dict(scalars[f"scaler_{name}"])
            except (RuntimeError, KeyError, ValueError) as error:
                raise CheckpointError(
                    f"optim_{name} or the state: does not fit the configured network: {error!r}"
                ) from error


def build_players(
    generator: Callable[[], nn.Module],
    discriminator: Callable[[], nn.Module],
    *,
    seed: int,
    device: torch.device,
    precision: str = "fp32",
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.0,
    memory: Mapping[str, tuple[float, ...]] = {},
    on_device: bool | None = None,
    scheduled_beta2: bool = False,
) -> Players:
    """New players, the same on every rank: the initial weights depend on `seed` alone.

    Adam is the fused one in its decoupled form (AdamW, Loshchilov & Hutter 2019), which equals Adam without weight
    decay. Learning rates start at 0: each step sets them, and a scheduled beta2. Weights that a network has frozen are
    not updated.

    Args:
        on_device: whether the optimisers' numbers are tensors on the device, as a captured step requires; true by
            default on a GPU.
        scheduled_beta2: whether beta2 changes during the run.
    """
    on_device = device.type == "cuda" if on_device is None else on_device

    def build(make: Callable[[], nn.Module], purpose: str) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(key(seed, purpose) % 2**63)
            net = make()
        net = net.to(device, torch.float64 if precision == "fp64" else torch.float32)
        lay_channels_last(net)
        return net

    def player(net: nn.Module) -> Player:
        weights = [p for p in net.parameters() if p.requires_grad]
        lr = torch.zeros((), device=device) if on_device else 0.0
        optimizer: torch.optim.Optimizer
        if isinstance(lr, Tensor) and scheduled_beta2:
            beta2 = torch.full_like(lr, betas[1], dtype=torch.float64)
            optimizer = ScheduledAdam(weights, lr, (betas[0], beta2), weight_decay)
        else:
            optimizer = FusedAdam(weights, lr, betas, weight_decay=weight_decay, fused=True, capturable=on_device)
        scaler = GradScaler(device.type, enabled=precision == "fp16")
        return Player(net, optimizer, scaler, torch.zeros((), dtype=torch.float64, device=device))

    G, D = build(generator, "weights/G"), build(discriminator, "weights/D")
    kept = {name: torch.tensor(start, dtype=torch.float64, device=device) for name, start in memory.items()}
    return Players(player(G), player(D), copy.deepcopy(G).requires_grad_(False), memory=kept)


def _take_finite(buffers: list[Tensor], others: list[Tensor]) -> None:
    """Replace values of `buffers` that are not finite by the others', in a few operations for all of them."""
    values, spare = (torch.cat([each.flatten() for each in tensors]) for tensors in (buffers, others))
    parts = torch.where(values.isfinite(), values, spare).split_with_sizes([each.numel() for each in buffers])
    torch._foreach_copy_(buffers, [part.view(each.shape) for part, each in zip(parts, buffers, strict=True)])


def load_weights(net: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    """Load the tensors of a network, called `name`, into it.

    Raises:
        CheckpointError: the tensors do not fit.
    """
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{name}: does not fit the configured network: {error}") from error


def _state_of(scaler: GradScaler) -> tuple[dict[str, Any], list[Tensor]]:
    """A scaler's `state_dict()`, with its scale and growth tracker apart if they are already on the device."""
    if not scaler.is_enabled() or scaler._scale is None or scaler._growth_tracker is None:
        return scaler.state_dict(), []
    settings = {
        "growth_factor": scaler.get_growth_factor(),
        "backoff_factor": scaler.get_backoff_factor(),
        "growth_interval": scaler.get_growth_interval(),
    }
    return settings, [scaler._scale, scaler._growth_tracker]


def _optimizer_tensors(player: Player) -> dict[str, Tensor]:
    state = player.optimizer.state
    return {
        f"{name}.{field}": value
        for name, parameter in player.net.named_parameters()
        for field, value in state.get(parameter, {}).items()
    }


def _load_optimizer(player: Player, tensors: dict[str, Tensor]) -> None:
    parameters = {name: p for name, p in player.net.named_parameters() if p.requires_grad}
    numbers = {name: number for number, name in enumerate(parameters)}
    state: dict[int, dict[str, Tensor]] = {}
    for full, value in tensors.items():
        name, field = full.rsplit(".", 1)
        if value.dim():
            # The fused optimisers walk weights and moments in memory order: both need the same layout.
            value = torch.empty_like(parameters[name]).copy_(value)
        state.setdefault(numbers[name], {})[field] = value
    groups = player.optimizer.state_dict()["param_groups"]
    player.optimizer.load_state_dict({"state": state, "param_groups": groups})
