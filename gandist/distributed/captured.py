"""A GPU function, such as the step: recorded as one CUDA graph for each form of its arguments, and replayed.

A step launches some hundred kernels, most of them shorter than their launch: run eagerly, the GPU waits for Python. A
graph launches them all at once. Images that come from the host lie in buffers, which are filled before the replay.
Everything else that changes from step to step is made on the device, within the graph. The first calls
of a form run eagerly and count as real steps: they set up the libraries, DDP's buckets and the optimisers' state.
"""

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from gandist.distributed.ranks import on

log = logging.getLogger("gandist")

WARM_UP, WARM_UP_DDP = 3, 11
"""Eager steps of a form before its capture; DDP needs more (PyTorch's notes on CUDA graphs)."""

AHEAD = 8
"""Calls by which Python may run ahead of the GPU."""
PAUSE_S = 1e-4
"""Pause between two checks whether a call is done."""
FAILED: list[torch.cuda.CUDAGraph] = []
"""Graphs whose capture failed, kept alive: torch's allocators may still refer to them."""

Mode = Literal["graph", "eager", "compile"]
Form = tuple[tuple[Hashable, ...], ...]
"""Key of a graph: for each tensor its place, shape, strides and type; strings and the lengths of sequences with theirs.
Calls of equal form share a graph."""
Play = Callable[[], Tensor]
Record = Callable[[Play], Play]
"""Records a function's device work without running it, and returns a function that runs it."""


class Recorded(NamedTuple):
    """A recorded call: its input buffers and its replay."""

    buffers: list[Tensor]
    replay: Play


class Eager:
    """A function, such as `Game.step`, that Python calls each time; on `stream` if one is given."""

    mode: Mode = "eager"

    def __init__(self, function: Callable[..., Tensor], stream: torch.cuda.Stream | None = None) -> None:
        self.function, self._stream = function, stream

    def __call__(self, *arguments: Any) -> Tensor:
        """The function's result, valid until the next call."""
        with on(self._stream):
            return self.function(*arguments)

    def reset(self) -> None:
        """Announce that the tensors that the function changes, such as the players', have been replaced."""


class Captured(Eager):
    """A function, recorded once for each form of its arguments and replayed.

    Tensors and strings in the arguments may change from call to call, also inside sequences and mappings; all other
    arguments, such as the players, must stay the same.
    """

    mode: Mode = "graph"

    def __init__(
        self,
        function: Callable[..., Tensor],
        recorder: Callable[[], Record],
        warm_up: int,
        stream: torch.cuda.Stream | None = None,
        timeout_s: float = math.inf,
    ) -> None:
        """`stream` runs the calls before a recording, and the recorder records on it; Python waits up to `timeout_s`
        for a call."""
        super().__init__(function, stream)
        self._recorder, self._warm_up, self._timeout_s = recorder, warm_up, timeout_s
        self._record = recorder()
        self._refused = False
        self._behind: deque[torch.cuda.Event] = deque()
        self._played: Counter[Form] = Counter()
        self._recorded: dict[Form, Recorded] = {}

    def reset(self) -> None:
        self._recorded.clear()  # before NCCL's groups end, which would wait for the graphs
        self._record = self._recorder()  # new graphs cannot share the memory of the old ones

    def __call__(self, *arguments: Any) -> Tensor:
        found = list(leaves(arguments))
        given = [x for _, x in found if isinstance(x, Tensor)]
        form = tuple((name, x.shape, x.stride(), x.dtype) if isinstance(x, Tensor) else (name, x) for name, x in found)
        if form not in self._recorded:
            self._played[form] += 1
            if self._played[form] <= self._warm_up or self._refused:
                return super().__call__(*arguments)
            try:
                self._recorded[form] = self._capture(arguments, given)
            except RuntimeError as error:  # from an operation that reads a value, perhaps in a file of `imports`
                self.mode, self._refused = "eager", True
                self.reset()
                cause = error.__context__ or error  # the error at the end of a capture only says that one happened
                log.warning("step=eager: the step cannot be captured as a CUDA graph: %s", str(cause).splitlines()[0])
                return super().__call__(*arguments)
        buffers, replay = self._recorded[form]
        if buffers:
            torch._foreach_copy_(buffers, given)
        result = replay()
        self._keep_pace()
        return result

    def _keep_pace(self) -> None:
        """Wait until the GPU is at most AHEAD calls behind: pending calls hold the memory of their arguments."""
        if self._stream is None:
            return
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._stream.device))
        self._behind.append(event)
        if len(self._behind) > AHEAD:
            wait(self._behind.popleft(), self._timeout_s)

    def _capture(self, arguments: Any, given: list[Tensor]) -> Recorded:
        buffers = [x.clone() for x in given]
        its_own = rebuilt(arguments, iter(buffers))
        return Recorded(buffers, self._record(lambda: self.function(*its_own)))


def captured(
    function: Callable[..., Tensor], stream: torch.cuda.Stream, warm_up: int = WARM_UP, timeout_s: float = math.inf
) -> Captured:
    """The function, captured on a stream other than the device's default one."""
    return Captured(function, lambda: on_gpu(stream), warm_up, stream, timeout_s)


def wait(event: torch.cuda.Event, timeout_s: float) -> None:
    """Wait for an event.

    Raises:
        torch.distributed.DistBackendError: the wait takes too long. NCCL's watchdog does not see the calls of a graph.
    """
    until = time.monotonic() + timeout_s
    while not event.query():  # type: ignore[no-untyped-call]
        if time.monotonic() > until:
            raise dist.DistBackendError(f"a step has not ended after {timeout_s:g} s: another worker does not answer")
        time.sleep(PAUSE_S)


def on_gpu(stream: torch.cuda.Stream) -> Record:
    """Records CUDA graphs on a stream. The graphs share memory: only the statistics outlast a replay, and they are
    read before the next one."""
    pool = torch.cuda.graph_pool_handle()

    def record(play: Play) -> Play:
        graph, usual = torch.cuda.CUDAGraph(), torch.cuda.current_stream(stream.device)
        try:
            # thread_local: the data loader, writer and watcher threads go on during the capture.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                result = play()
        except BaseException:
            # If ending the capture fails, torch leaves the stream current. Until 2.13 its allocator also believes that
            # the capture goes on, so it would never reuse memory that another stream has used.
            FAILED.append(graph)
            torch.cuda.set_stream(usual)
            with suppress(RuntimeError):
                torch._C._cuda_endAllocateToPool(stream.device.index, pool)
            raise

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay

    return record


def leaves(tree: object, name: str = "") -> Iterator[tuple[str, Tensor | str]]:
    """The tensors and strings in nested sequences and mappings, and the length of each of these, in order and each with
    its place."""
    if isinstance(tree, Tensor | str):
        yield name, tree
    elif isinstance(tree, Mapping):
        yield name, f"{len(tree)} keys"
        for key, value in tree.items():
            yield from leaves(value, f"{name}/{key}")
    elif isinstance(tree, Sequence):
        yield name, f"{len(tree)} items"
        for i, value in enumerate(tree):
            yield from leaves(value, f"{name}/{i}")


def rebuilt(tree: Any, replacements: Iterator[Tensor]) -> Any:
    """The same tree with its tensors replaced, in the order of `leaves`."""
    if isinstance(tree, Tensor):
        return next(replacements)
    if isinstance(tree, str):
        return tree
    if isinstance(tree, Mapping):
        return {key: rebuilt(value, replacements) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(rebuilt(value, replacements) for value in tree))
    return [rebuilt(value, replacements) for value in tree] if isinstance(tree, Sequence) else tree
