"""What Ray prints into a driver's terminal: our workers' messages as they were meant, and no alarms that mean nothing.

All of it goes to the logger `gandist`, and so to the run's log file; lines that are known to be harmless at level
DEBUG, which a terminal shows with `-v` only.
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
"""Format of a worker's own messages, which the driver recognises by it."""

HARMLESS = re.compile(
    "|".join(
        (
            r"authentication_token_setup\.py",  # advice at each start of a local cluster
            r"Actor with class name: 'PreemptionWatcher'",  # Ray Train's own actor; nothing follows from it
            r"Ray deduplicates logs by default",
            r"An instrument with name .* has been created already",  # Ray's metrics, registered twice
        )
    )
)
"""Messages of Ray 2.60 that alarm and mean nothing, by a part that names each."""
HARMLESS_TRACEBACK = re.compile(
    "|".join(
        (
            r"Failed to send resource request for",  # a busy controller; asked again
            r"Exception in thread PlacementGroupCleanerMonitor",  # another Ray cluster on the machine confuses it
        )
    )
)
"""The same, of messages that a traceback follows."""

SOURCE = re.compile(r"^\((?P<source>[^()]*(?:pid=\d+|ip=)[^()]*|raylet|autoscaler)\) ?(?P<text>.*)$")
OURS = re.compile(r"^gandist (?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) (?P<text>.*?)(?: \[repeated \d+x .*)?$")
TRACEBACK = re.compile(r"^(\s|Traceback |During handling |The above exception |$|[\w.]+(Error|Exception|Interrupt)\b)")
"""Lines that a message with a traceback consists of after its first."""


class RayOutput(io.TextIOBase):
    """Stands for a standard stream, and hands its lines to the logger `gandist`."""

    def __init__(self) -> None:
        self._begun = ""
        self._harmless: set[str] = set()  # sources in the midst of a harmless traceback

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._take(line.rpartition("\r")[2])
        return len(text)

    def finish(self) -> None:
        """Hand over a last line without an end. Ray's threads may still write after it."""
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
    """Within, what is printed to this process's standard streams goes through `RayOutput`.

    The logger's own handler writes to the stream that there was before.
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
