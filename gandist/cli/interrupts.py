"""Ctrl-C ends a command with one line and the shell's usual status, at any moment."""

import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ParamSpec

STATUS = 130
"""128 plus the number of SIGINT."""
P = ParamSpec("P")


def interruptible(main: Callable[P, int]) -> Callable[P, int]:
    """A command's `main` that returns `STATUS` on Ctrl-C. (A training run takes the first Ctrl-C as a request to save
    and end, with another status.)"""

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        if signal.getsignal(signal.SIGINT) is _end:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return main(*args, **kwargs)
        except KeyboardInterrupt:
            _say()
            return STATUS

    return run


def while_importing() -> None:
    """Let Ctrl-C end this process in the same way before `main` runs: torch and Ray take seconds to import. It raises
    no exception, since torch would swallow one while it imports NumPy."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it may be ignored, as under nohup
        signal.signal(signal.SIGINT, _end)


@contextmanager
def importing() -> Iterator[None]:
    """The same for what `main` itself imports, within."""
    while_importing()
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is _end:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(signum: int, frame: FrameType | None) -> None:
    _say()
    os._exit(STATUS)


def _say() -> None:
    print("gandist: interrupted", file=sys.stderr, flush=True)  # noqa: T201
