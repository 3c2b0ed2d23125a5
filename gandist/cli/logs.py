"""Messages as plain lines on standard error. Other libraries' loggers are left alone."""

import logging
import sys
from contextlib import redirect_stderr
from typing import TextIO

from tqdm import tqdm


class Terminal(logging.Handler):
    """Prints to the standard error that `show_messages` found, above a progress bar if there is one."""

    stream: TextIO

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=self.stream)
            self.stream.flush()
        except Exception:  # as in logging's own handlers: a message that cannot be shown is no failure
            # sys.stderr may lead back here (`ray_output`).
            with redirect_stderr(sys.__stderr__):
                self.handleError(record)


def show_messages(verbose: bool = False, format: str = "%(message)s") -> None:
    """Show the logger `gandist` on standard error from level INFO on, or from DEBUG if `verbose`."""
    log = logging.getLogger("gandist")
    log.setLevel(logging.DEBUG)
    if not log.handlers:
        log.addHandler(Terminal())
        log.propagate = False
    if (shown := terminal()) is not None:
        shown.stream = sys.stderr
        shown.setLevel(logging.DEBUG if verbose else logging.INFO)
        shown.setFormatter(logging.Formatter(format))


def terminal() -> Terminal | None:
    """The handler of `show_messages`; None in a program that shows messages its own way."""
    return next((each for each in logging.getLogger("gandist").handlers if isinstance(each, Terminal)), None)
