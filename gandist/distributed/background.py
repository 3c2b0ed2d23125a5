"""Background work that does not block training: one task at a time on its own thread, from copies in host memory."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Background:
    """One task at a time. The next call, on its caller's thread, raises the error of a failed task."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._pending: Future[Any] | None = None

    def start(self, task: Callable[[], T]) -> Future[T]:
        """Begin a task after the previous one is done."""
        self.wait()
        started = self._thread.submit(task)
        self._pending = started
        return started

    def check(self) -> None:
        """Raise the last task's error, if it has failed by now."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Wait until the last task is done."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def close(self) -> None:
        try:
            self.wait()
        finally:
            self._thread.shutdown()


@torch.no_grad()
def to_host(tensor: Tensor, room: Tensor | None = None) -> Tensor:
    """A copy in host memory, in the tensor's own layout; in `room`, an earlier copy, if that has the same form.

    The copy of a GPU tensor is only queued, into pinned memory: it is complete after `arrival`.
    """
    alike = room is not None and (room.dtype, room.shape, room.stride()) == (
        tensor.dtype,
        tensor.shape,
        tensor.stride(),
    )
    if room is None or not alike:
        room = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
    return room.copy_(tensor, non_blocking=True)


def arrival(device: torch.device) -> Callable[[], object]:
    """A function that waits, on any thread, until the GPU has done the work queued on the current stream by now."""
    if device.type != "cuda":
        return lambda: None
    event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # a wait that leaves the core to others
    event.record(torch.cuda.current_stream(device))
    return event.synchronize


class Moment:
    """A point in the work of a device: on a GPU its current stream's, on a CPU the present."""

    def __init__(self, device: torch.device) -> None:
        self._time = time.perf_counter()
        self._event: torch.cuda.Event | None = None
        if device.type == "cuda":
            self._event = torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(device))

    def since(self, earlier: "Moment") -> float:
        """Seconds from another moment to this one; waits until the device has reached this one."""
        if self._event is None or earlier._event is None:
            return self._time - earlier._time
        self._event.synchronize()
        return float(earlier._event.elapsed_time(self._event)) / 1e3


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device, copied from pinned memory: otherwise Python would wait for the GPU's earlier work."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
