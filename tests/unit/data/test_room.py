"""Room in the cache: a full disk is one message, and what killed processes left goes with the next."""

import os
import resource
import shutil
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from gandist.data.builtin import builtin
from gandist.data.index import Index
from gandist.data.index_files import read_index
from gandist.data.room import FullError, allocate, room_for
from gandist.data.sets import MappedSet, open_samples
from gandist.data.streamed import StreamedSet
from gandist.errors import DataError
from gandist.media.image import Image
from tests.helpers.forked import first_line, forked
from tests.helpers.scripts import python
from tests.helpers.small_datasets import make_set

N, ROOM = 40, 60 << 10
"""SampleSet of 32 x 32 x 3 bytes, twice as many as there is room for."""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_set(tmp_path_factory.mktemp("set"), N, seed=1)


def may_mount() -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(command, check=False, capture_output=True).returncode == 0


LIMITED = """
import resource, sys
from gandist.train import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    "how",
    [
        "a limit on a file's size",
        pytest.param("a full disk", marks=[pytest.mark.mounts, pytest.mark.nightly]),
    ],
)
def test_a_disk_without_room_for_the_decoded_set(packed: Index, tmp_path: Path, how: str) -> None:
    """One message names the field, the need and the room: no SIGBUS with an empty log."""
    cache = tmp_path / "cache"
    cache.mkdir()
    words = ["configs/demo.yaml", f"data.path={packed.base}", f"data.cache_dir={cache}", f"run.dir={tmp_path}/runs"]
    words += ["launch.kind=local", "data.channels=3", "model.classes=2", "train.batch=8", "launch.threads=1"]
    if how == "a full disk":
        if not may_mount():
            pytest.skip("mounting is not permitted here")
        mounted = f'mount -t tmpfs -o size={ROOM} none {cache} && exec "$@"'
        command = ["unshare", "-rm", "sh", "-c", mounted, "sh", sys.executable, "-m", "gandist.train", *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    else:
        done = python("-c", LIMITED, str(ROOM), *words)
    assert done.returncode == 2, done
    (line,) = [line for line in done.stderr.splitlines() if "data.cache_dir" in line]
    assert str(cache) in line
    assert f"takes {N * 32 * 32 * 3:,} bytes" in line
    assert "are free" in line
    assert "Traceback" not in done.stderr
    if how == "a full disk":
        assert f" {ROOM:,} are free" in line, "what was allocated is given back"
    assert not list(cache.glob("decoded/.*"))


def test_it_fits_with_room(packed: Index, tmp_path: Path) -> None:
    images = open_samples(packed, Image(), cache_dir=tmp_path)
    assert isinstance(images, MappedSet)
    status = (images.path / "rows").stat()
    assert status.st_blocks * 512 >= status.st_size == N * 32 * 32 * 3


def test_any_full_disk_below_names_the_field(tmp_path: Path) -> None:
    """Whether it was met at first hand or as another error's cause, and by its own name alone."""
    full = OSError(28, os.strerror(28))
    for error in (full, DataError("cannot be written")):
        if error is not full:
            error.__cause__ = full
        told = pytest.raises(FullError, match=r"data\.cache_dir: .* room for the set .*: it takes 5,000 bytes, and ")
        with told, room_for("the outer", 7, tmp_path), room_for("the set", 5000, tmp_path):
            raise error
    with pytest.raises(PermissionError), room_for("the set", 5000, tmp_path):
        raise PermissionError(13, "no")


def test_room_is_taken_before_it_is_used(tmp_path: Path) -> None:
    allocate(tmp_path / "file", 1 << 20)
    assert (tmp_path / "file").stat().st_blocks * 512 >= 1 << 20


def stalled(self: StreamedSet, number: int, out: object) -> None:
    print(number, flush=True)
    time.sleep(600)


def decode(base: str, cache: Path) -> None:
    """Stop at the first sample."""
    StreamedSet.one = stalled  # type: ignore[method-assign]
    open_samples(read_index(base), Image(), cache_dir=cache)


def decoding(index: Index, cache: Path) -> BaseProcess:
    """A process in the middle of decoding."""
    log = cache.parent / f"{len([*cache.parent.glob('*.log')])}.log"
    process = forked(log, decode, index.base, cache)
    first_line(log, process)
    return process


def end(process: BaseProcess) -> None:
    process.kill()
    process.join()


def scratch(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("decoded/.*"))


@pytest.mark.slow
def test_killed_decodes_leave_nothing_after_the_next(packed: Index, tmp_path: Path) -> None:
    """Of the same set and of others; what a living process works on stays, whatever its number."""
    copies = []
    for name in ("a", "b"):
        shutil.copytree(packed.base, tmp_path / name)
        copies.append(read_index(str(tmp_path / name)))
    cache = tmp_path / "cache"
    for index in (packed, packed, *copies):
        end(decoding(index, cache))
    (cache / "decoded/.gone-32px-3ch.4711").mkdir()  # as it was named before
    (cache / "decoded/.gone-32px-3ch.4711/pixels").write_bytes(bytes(1000))
    living = decoding(copies[0], cache)
    try:
        open_samples(packed, Image(), cache_dir=cache)
        assert len(scratch(cache)) == 1
        assert living.exitcode is None
        size = sum(file.stat().st_size for path in cache.glob("decoded/.*") for file in path.iterdir())
        assert size == N * 32 * 32 * 3
    finally:
        end(living)
    for index in copies:
        images = open_samples(index, Image(), cache_dir=cache)
        assert images.gather(np.arange(3))[0].any()
    assert scratch(cache) == []
    assert len([path for path in (cache / "decoded").iterdir() if path.is_dir()]) == 3


def test_a_set_cut_short_is_decoded_anew(packed: Index, tmp_path: Path) -> None:
    first = open_samples(packed, Image(), cache_dir=tmp_path)
    assert isinstance(first, MappedSet)
    expected = first.gather(np.arange(N))[0]
    os.truncate(first.path / "rows", 0)
    found = open_samples(packed, Image(), cache_dir=tmp_path).gather(np.arange(N))[0]
    np.testing.assert_array_equal(found, expected)


def test_an_embedded_set_without_room(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
        with pytest.raises(FullError, match=r"data\.cache_dir: .*/builtin has no room for builtin:fashion-10k"):
            builtin("builtin:fashion-10k", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
