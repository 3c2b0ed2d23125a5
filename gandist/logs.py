"""Where gandist's own messages go: plain lines on standard error, without touching other libraries' loggers."""

import logging
import sys


def show_messages() -> None:
    """Show the logger `gandist` from level INFO on; calling it again changes nothing."""
    log = logging.getLogger("gandist")
    log.setLevel(logging.INFO)
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.propagate = False
