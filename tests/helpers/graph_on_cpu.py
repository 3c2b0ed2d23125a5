"""A CUDA graph for CPUs: the operations of a step as they reach the device, recorded once, then done again.

As in a graph, Python does not run in the replay: a number of the host stays what it was, each operation reads and
writes the very memory that it did when it was recorded, and what is to change must lie in a tensor.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from gandist.distributed import randomness
from gandist.distributed.captured import Play, Record
from gandist.distributed.philox import DrawKind, Key, draw, twin
from gandist.gan.players import Players


def draw_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a CPU draw by operations of torch, as a tape records them; on a GPU nothing changes."""

    def drawn(kind: DrawKind, key: Key, images_seen: Tensor, sub: int, rows: range, width: int) -> Tensor:
        return (draw if images_seen.is_cuda else twin)(kind, key, images_seen, sub, rows, width)

    monkeypatch.setattr(randomness, "draw", drawn)


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records what is done within, and plays it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.done: list[tuple[OpOverload, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
    ) -> object:
        assert "_local_scalar_dense" not in str(func), "a graph cannot look at a value"
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = {x.untyped_storage().data_ptr() for x in _tensors((args, kwargs))}
        # What shares its memory with an argument is a view of it, or was changed in place.
        fresh = [x if x.untyped_storage().data_ptr() not in given else None for x in _tensors(result)]
        self.done.append((func, args, kwargs, fresh))  # type: ignore[arg-type]
        return result

    def play(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, fresh in self.done:
                for ours, new in zip(fresh, _tensors(func(*args, **kwargs)), strict=True):
                    if ours is not None:
                        ours.copy_(new)


def _tensors(tree: object) -> list[Tensor]:
    """Those of arguments or results of an operation, in order; by hand, for torch's trees take longer than the step."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, tuple | list):
        return []
    return [x for part in tree for x in _tensors(part)]


def _state(players: Players) -> Iterator[Tensor]:
    """All that a step changes."""
    for net in (players.G.net, players.D.net, players.G_ema):
        yield from net.state_dict().values()
    for player in (players.G, players.D):
        yield player.skipped
        for state in player.optimizer.state.values():
            yield from state.values()
    yield from players.memory.values()


def taped(players: Players, *others: Tensor) -> Record:
    """Records steps of these players on tapes; they and the others are after a recording what they were before it."""

    def record(play: Play) -> Play:
        state = [*_state(players), *others]
        before, tape = [x.clone() for x in state], Tape()
        with tape:
            result = play()
        for now, then in zip(state, before, strict=True):
            now.detach().copy_(then)

        def replay() -> Tensor:
            tape.play()
            return result

        return replay

    return record
