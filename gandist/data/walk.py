"""All files below a folder."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from gandist.errors import DataError

log = logging.getLogger("gandist")


def files_below(root: Path) -> Iterator[Path]:
    """Paths of the files below `root`. Links to folders are followed, except a link to one of its own parent folders,
    which is left out with a warning.

    Raises:
        DataError: a folder cannot be read. (Skipping it would silently lose a class.)
    """

    def fail(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}; make it readable, or move it away")

    above = {str(root): frozenset({_identity(root)})}
    for here, folders, files in os.walk(root, onerror=fail, followlinks=True):
        around = above.pop(here)
        for name in list(folders):
            path = Path(here) / name
            if (identity := _identity(path)) in around:
                log.warning("%s: is a link to a folder that it lies in; left out", path)
                folders.remove(name)
            else:
                above[str(path)] = around | {identity}
        yield from (Path(here) / name for name in files)


def _identity(folder: Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino
