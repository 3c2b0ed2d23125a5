"""The cache, and the folder of runs: their places, room, and clock."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from gandist.config.sections import Tree
from gandist.data.cache import default_cache_dir
from gandist.doctor.finding import Finding, gib
from gandist.storage.remote import is_remote

LITTLE_BYTES, TOO_LITTLE_BYTES = 5 << 30, 256 << 20
"""Free room from which a folder is worth a note, and below which a run's checkpoints soon find none."""
SKEW_S = 5.0


def cache(config: Tree) -> Iterator[Finding]:
    chosen = config.data.cache_dir
    try:
        folder = Path(chosen) if chosen else default_cache_dir()
    except OSError as error:
        yield Finding("wrong", "cache", f"no place for it: {error}", "set XDG_CACHE_HOME to a folder with room")
        return
    fix = "set data.cache_dir (or XDG_CACHE_HOME) to a folder that can be written to, with room"
    found, _ = _room("cache", folder, fix)
    yield found


def runs(config: Tree) -> Iterator[Finding]:
    """The folder of runs, and how far its clock is from this machine's."""
    if is_remote(config.run.dir):
        yield Finding("note", "run.dir", f"{config.run.dir} is in an object store, which is not asked here")
        return
    found, skew_s = _room("run.dir", Path(config.run.dir).absolute(), "set run.dir to a folder with room")
    yield found
    if skew_s is None:
        return
    if abs(skew_s) > SKEW_S:
        fix = "keep time on both machines (chrony, systemd-timesyncd)"
        yield Finding("note", "clock", f"the file system of run.dir is {skew_s:+.0f} s from this machine's", fix)
    else:
        yield Finding("ok", "clock", f"{time.strftime('%Y-%m-%d %H:%M:%S %Z')}, as in the file system of run.dir")


def _room(what: str, folder: Path, fix: str) -> tuple[Finding, float | None]:
    """Whether a folder can be made and written to; and seconds that its file system's clock is ahead of this one's."""
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110 (Path raises)
    place = f"{folder}" if there == folder else f"{folder} (to be made)"
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".gandist-") as file:
            before = time.time()
            file.write(b"-")
            file.flush()
            os.fsync(file.fileno())
            skew_s = Path(file.name).stat().st_mtime - before
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding("wrong", what, f"{place} cannot be written to: {error.strerror or error}", fix), None
    if free < TOO_LITTLE_BYTES:
        return Finding("wrong", what, f"{place}: {gib(free)} are free", fix), skew_s
    is_low = free < LITTLE_BYTES
    return Finding("note" if is_low else "ok", what, f"{place}: {gib(free)} are free", fix if is_low else ""), skew_s
