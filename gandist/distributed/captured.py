"""A function on a GPU, such as the step: recorded as one CUDA graph for each form of its arguments, and replayed.

A step launches some hundred kernels, most of them shorter than their launch: eagerly the GPU waits for Python. A graph
launches them all at once. What changes from step to step lies in buffers that are filled before the replay: images,
latents, noise, and the scheduled numbers, which are scalars on the device for that reason. The first steps of a form
are played eagerly, in earnest: the libraries, DDP's buckets and the optimisers' state come into being in them.
"""

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from gandist.distributed.ranks import on

log = logging.getLogger("gandist")

WARM_UP, WARM_UP_DDP = 3, 11
"""Eager steps of a form before it is captured; DDP asks for more (PyTorch's notes on CUDA graphs)."""

AHEAD = 4
"""Calls that Python may be ahead of the GPU."""
PAUSE_S = 1e-4
"""Between two looks at whether a call is done."""
FAILED: list[torch.cuda.CUDAGraph] = []
"""Graphs whose capture failed: torch's allocators may still ask them."""

Mode = Literal["graph", "eager", "compile"]
Form = tuple[tuple[str, torch.Size, tuple[int, ...], torch.dtype], ...]
"""What two calls must have in common to share a graph: of each tensor its place, shape, strides and type."""
Play = Callable[[], Tensor]
Record = Callable[[Play], Play]
"""Records what a function does to the device, without doing it, as a function that does it."""


class Recorded(NamedTuple):
    """A call as it was recorded: the buffers that it reads, and its replay."""

    buffers: list[Tensor]
    replay: Play


class Eager:
    """A function, such as `Game.step`, called by Python each time: on a stream, where one is given."""

    mode: Mode = "eager"

    def __init__(self, function: Callable[..., Tensor], stream: torch.cuda.Stream | None = None) -> None:
        self.function, self._stream = function, stream

    def __call__(self, *arguments: Any) -> Tensor:
        """The function's result, which lasts until the next call."""
        with on(self._stream):
            return self.function(*arguments)

    def reset(self) -> None:
        """What the function changes, players for example, lies in other tensors from here on."""


class Captured(Eager):
    """A function, recorded once for each form of its arguments and replayed.

    Of the arguments tensors may change from call to call, in nested sequences and mappings; all else, such as the
    players, must be what it was.
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
        """`stream` is that of the calls before a recording, and that on which the recorder records; `timeout_s` is how
        long Python waits for a call."""
        super().__init__(function, stream)
        self._recorder, self._warm_up, self._timeout_s = recorder, warm_up, timeout_s
        self._record = recorder()
        self._refused = False
        self._behind: deque[torch.cuda.Event] = deque()
        self._played: Counter[Form] = Counter()
        self._recorded: dict[Form, Recorded] = {}

    def reset(self) -> None:
        self._recorded.clear()  # before NCCL's groups end, which would wait for them
        self._record = self._recorder()  # memory that graphs shared cannot be shared with new ones

    def __call__(self, *arguments: Any) -> Tensor:
        named = list(tensors(arguments))
        form = tuple((name, x.shape, x.stride(), x.dtype) for name, x in named)
        given = [x for _, x in named]
        if form not in self._recorded:
            self._played[form] += 1
            if self._played[form] <= self._warm_up or self._refused:
                return super().__call__(*arguments)
            try:
                self._recorded[form] = self._capture(arguments, given)
            except RuntimeError as error:  # of an operation, in a file of `imports` perhaps, that looks at a value
                self.mode, self._refused = "eager", True
                self.reset()
                cause = error.__context__ or error  # the end of a capture says of an error in it that there was one
                log.warning("step=eager: it cannot be captured: %s", str(cause).splitlines()[0])
                return super().__call__(*arguments)
        buffers, replay = self._recorded[form]
        torch._foreach_copy_(buffers, given)
        result = replay()
        self._keep_pace()
        return result

    def _keep_pace(self) -> None:
        """Wait until the GPU is at most AHEAD calls behind: what they are given takes its memory until then."""
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
    """The function, captured on a stream that is not its device's default one."""
    return Captured(function, lambda: on_gpu(stream), warm_up, stream, timeout_s)


def wait(event: torch.cuda.Event, timeout_s: float) -> None:
    """Wait for an event.

    Raises:
        torch.distributed.DistBackendError: it takes too long. NCCL's own watchdog does not see what a graph asks of it.
    """
    until = time.monotonic() + timeout_s
    while not event.query():  # type: ignore[no-untyped-call]
        if time.monotonic() > until:
            raise dist.DistBackendError(f"a step has not ended after {timeout_s:g} s: another worker is not heard of")
        time.sleep(PAUSE_S)


def on_gpu(stream: torch.cuda.Stream) -> Record:
    """Records CUDA graphs on a stream. They share their memory: nothing in it outlasts a replay but the statistics,
    which are read before the next."""
    pool = torch.cuda.graph_pool_handle()

    def record(play: Play) -> Play:
        graph, usual = torch.cuda.CUDAGraph(), torch.cuda.current_stream(stream.device)
        try:
            # thread_local: the threads that feed, write and watch go on meanwhile.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                result = play()
        except BaseException:
            # Where ending the capture fails, torch leaves the stream current and (until 2.13) its allocator in the
            # belief that a capture goes on, so that it would give out no memory twice that another stream has used.
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


def tensors(tree: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of nested sequences and mappings in their order, each with its place."""
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from tensors(value, f"{name}/{key}")
    elif isinstance(tree, Sequence):
        for i, value in enumerate(tree):
            yield from tensors(value, f"{name}/{i}")


def rebuilt(tree: Any, replacements: Iterator[Tensor]) -> Any:
    """The same tree, its tensors replaced in the order of `tensors`."""
    if isinstance(tree, Tensor):
        return next(replacements)
    if isinstance(tree, Mapping):
        return {key: rebuilt(value, replacements) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(rebuilt(value, replacements) for value in tree))
    return [rebuilt(value, replacements) for value in tree] if isinstance(tree, Sequence) else tree
