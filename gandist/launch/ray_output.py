"""Filter for Ray's output on a driver's terminal: shows the workers' messages plainly, and hides false alarms.

All output goes to the logger `gandist`, and so to the run's log file. Lines that are known to be harmless have level
DEBUG, which a terminal shows only with `-v`.
"""

import io
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

log = logging.getLogger("gandist")

WORKER = "gandist %(levelname)s %(message)s"
"""Format of a worker's own messages, by which the driver recognises them."""

HARMLESS = re.compile(
    "|".join(
        (
            r"authentication_token_setup\.py",  # advice at each start of a local cluster
            r"Actor with class name: 'PreemptionWatcher'",  # Ray Train's own actor; it has no consequence
            r"Ray deduplicates logs by default",
            r"An instrument with name .* has been created already",  # Ray registers its metrics twice
        )
    )
)
"""Misleading alarms of Ray 2.60, by a part that identifies each."""
HARMLESS_TRACEBACK = re.compile(
    "|".join(
        (
            r"Failed to send resource request for",  # a busy controller; Ray retries
            r"Exception in thread PlacementGroupCleanerMonitor",  # confused by another Ray cluster on the machine
            r"Graceful shutdown of backend failed",  # of workers one of which was lost; they are started anew
        )
    )
)
"""Misleading alarms that a traceback follows."""

SOURCE = re.compile(r"^\((?P<source>[^()]*(?:pid=\d+|ip=)[^()]*|raylet|autoscaler)\) ?(?P<text>.*)$")
OURS = re.compile(r"^gandist (?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) (?P<text>.*?)(?: \[repeated \d+x .*)?$")
TRACEBACK = re.compile(
    r"^(\s|Traceback |During handling |The above exception |The actor |$|[\w.]+(Error|Exception|Interrupt)\b)"
)
"""Lines of a message with a traceback, after its first."""


class RayOutput(io.TextIOBase):
    """Replaces a standard stream, and passes its lines to the logger `gandist`."""

    def __init__(self) -> None:
        self._begun = ""
        self._harmless: set[str] = set()  # sources inside a harmless traceback

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._take(line.rpartition("\r")[2])
        return len(text)

    def finish(self) -> None:
        """Pass on a last line without an end. Ray's threads may still write after it."""
        if self._begun:
            self.write("\n")

    def _take(self, line: str) -> None:
        found = SOURCE.match(line)
        source, text = (found["source"], found["text"]) if found else ("", line)
        if ours := OURS.match(text):
            self._harmless.discard(source)
            log.log(logging.getLevelNamesMapping()[ours["level"]], "%s", ours["text"])
            return
        if HARMLESS_TRACEBACK.search(text):
            self._harmless.add(source)
        elif not TRACEBACK.match(text):
            self._harmless.discard(source)
        harmless = source in self._harmless or HARMLESS.search(text)
        if text.strip():
            log.log(logging.DEBUG if harmless else logging.INFO, "%s", line)


@contextmanager
def ray_output() -> Iterator[None]:
    """Within, output to this process's standard streams goes through `RayOutput`.

    The logger's own handler writes to the original stream.
    """
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    out, err = RayOutput(), RayOutput()
    sys.stdout.flush()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            yield
        finally:
            out.finish()
            err.finish()
