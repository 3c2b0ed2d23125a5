"""Common frame of every command: messages, Ctrl-C, and errors as one line and an exit status."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

from gandist.cli.interrupts import interruptible
from gandist.cli.logs import show_messages
from gandist.errors import GandistError, RunError

P = ParamSpec("P")

REFUSED, FAILED = 2, 1
"""Exit statuses: arguments, configuration or data are unusable; the started work failed."""


def command(*, failure: str | None = None, prefix: str = "gandist") -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Make a function a command's `main`: its messages go to standard error, Ctrl-C ends it with `interrupts.STATUS`,
    and an error that a user can fix prints one line to standard error.

    Args:
        failure: message for a failure that no argument fixes (a RunError, or an OSError), which ends the command with
            `FAILED`. None for a command that starts nothing that could fail so. An OSError then concerns the user's
            files and ends it with `REFUSED`, as a GandistError always does.
        prefix: start of the line.
    """

    def decorate(main: Callable[P, int]) -> Callable[P, int]:
        @interruptible
        @functools.wraps(main)
        def run(*args: P.args, **kwargs: P.kwargs) -> int:
            show_messages()
            try:
                return main(*args, **kwargs)
            except GandistError as error:
                return _end(f"{prefix}: {error}", REFUSED)
            except OSError as error:
                if failure is None:
                    return _end(f"{prefix}: {error}", REFUSED)
                return _end(f"{prefix}: {failure}{error}", FAILED)
            except RunError as error:
                if failure is None:
                    raise
                return _end(f"{prefix}: {failure}{error}", FAILED)

        return run

    return decorate


def _end(line: str, status: int) -> int:
    print(line, file=sys.stderr)  # noqa: T201
    return status
