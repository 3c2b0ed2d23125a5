"""A folder that is followed for new pictures."""

import time
from collections.abc import Iterator
from pathlib import Path

from gandist.apply.inputs import Input, inputs_below, result_of

PERIOD_S = 0.5
"""Between two looks at the folder."""


def arrivals(folder: Path, out: Path) -> Iterator[list[Input]]:
    """The pictures of a folder, and then, without an end, those that come or change: once they have stayed the same
    from one look to the next, for they may still be being written. Empty lists in between.

    A picture whose result would take the name of another's is left out.

    Raises:
        ConfigError: `out` is the folder.
        DataError: the folder cannot be read.
    """
    done: dict[Path, tuple[int, int]] = {}
    seen: dict[Path, tuple[int, int]] = {}
    owners: dict[Path, Path] = {}
    while True:
        before, seen, ready = seen, {}, []
        for source in inputs_below(folder, out):
            try:
                stat = source.path.stat()
            except FileNotFoundError:
                continue  # gone since
            state = seen[source.path] = (stat.st_size, stat.st_mtime_ns)
            owner = owners.setdefault(result_of(source, out), source.path)
            if owner == source.path and before.get(source.path) == state != done.get(source.path):
                done[source.path] = state
                ready.append(source)
        yield ready
        time.sleep(PERIOD_S)
