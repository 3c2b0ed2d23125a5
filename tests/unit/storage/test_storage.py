"""A run's files, in a folder and on S3 by the same calls; a write appears whole or not at all."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gandist.errors import ConfigError
from gandist.storage.atomic import written_atomically
from gandist.storage.remote import join
from gandist.storage.storage import Storage
from tests.helpers.s3_server import serve_bucket


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with serve_bucket("runs") as url:
        yield url


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty place for a run's files."""
    if request.param == "folder":
        return Storage(str(tmp_path / "run"))
    name = re.sub("[^a-z0-9]+", "-", request.node.name)
    return Storage(join(request.getfixturevalue("bucket"), name))


def test_files(storage: Storage) -> None:
    assert storage.read_bytes("a/b.txt") is None
    assert not storage.exists("a/b.txt")
    storage.write_bytes("a/b.txt", b"old")
    storage.write_bytes("a/b.txt", b"new")
    assert storage.read_bytes("a/b.txt") == b"new"
    assert storage.exists("a/b.txt")
    assert storage.read_bytes("a/b.txt/c") is None, "below a file there is nothing"
    storage.write_bytes("empty", b"")
    assert storage.read_bytes("empty") == b""
    storage.delete("a/b.txt")
    storage.delete("a/b.txt")
    assert storage.read_bytes("a/b.txt") is None


def test_a_new_place_holds_nothing(storage: Storage) -> None:
    assert storage.folders("") == []
    assert storage.folders("checkpoints") == []


def test_folders(storage: Storage) -> None:
    storage.write_bytes("config.yaml", b"")
    for name in ("00000200", "00000100", ".00000300.77"):
        storage.write_folder(f"checkpoints/{name}", {"b": b"2", "manifest": b"m", "a": b"1"}, last="manifest")
    assert storage.folders("checkpoints") == ["00000100", "00000200"], "an unfinished one is hidden"
    assert storage.folders("") == ["checkpoints"]
    assert storage.read_bytes("checkpoints/00000100/a") == b"1"
    storage.delete_folder("checkpoints/00000100", last="manifest")
    assert storage.folders("checkpoints") == ["00000200"]
    assert storage.read_bytes("checkpoints/00000100/a") is None


def test_a_folder_is_replaced_as_a_whole(storage: Storage) -> None:
    storage.write_folder("c/1", {"a": b"old", "stale": b"x", "manifest": b"m"}, last="manifest")
    storage.write_folder("c/1", {"a": b"new", "manifest": b"n"}, last="manifest")
    assert storage.read_bytes("c/1/a") == b"new"
    assert storage.read_bytes("c/1/manifest") == b"n"
    assert storage.folders("c") == ["1"]


def test_the_last_file_is_written_last(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an object store nothing counts without it: it is gone before the others change, and back after them.

    (A folder of this machine is renamed as a whole instead, and none of this is called.)
    """
    storage.write_folder("c/1", {"z": b"old", "manifest": b"m"}, last="manifest")
    write, written = storage.write_bytes, []

    def watch(name: str, data: bytes) -> None:
        assert not storage.exists("c/1/manifest"), "the old one is gone"
        written.append(name)
        write(name, data)

    monkeypatch.setattr(storage, "write_bytes", watch)
    storage.write_folder("c/1", {"manifest": b"n", "z": b"new", "a": b"new"}, last="manifest")
    if storage.local is None:
        assert written == ["c/1/a", "c/1/z", "c/1/manifest"]
    assert storage.read_bytes("c/1/manifest") == b"n"


def test_addresses_are_readable(bucket: str, tmp_path: Path) -> None:
    assert Storage(f"{tmp_path}/run/").uri("samples") == f"{tmp_path}/run/samples"
    assert Storage(join(bucket, "run")).uri("samples") == join(bucket, "run/samples")


def test_a_place_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"run\.dir: .*/file/run cannot be made: Not a directory"):
        Storage(str(tmp_path / "file" / "run"))


WRITER = """
import sys
from gandist.storage.storage import Storage
storage = Storage(sys.argv[1])
print("ready", flush=True)
for number in range(10**6):
    content = str(number % 10).encode() * 300_000
    storage.write_bytes("file", content)
    storage.write_folder("folder", {"a": content, "b": content, "manifest": content[:10]}, last="manifest")
"""


def whole(data: bytes | None, length: int) -> bool:
    return data is not None and len(data) == length and len(set(data)) == 1


@pytest.mark.slow
def test_kill_9_never_leaves_a_torn_file(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    for attempt in range(4):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            deadline = time.monotonic() + 30
            while not storage.exists("folder"):
                assert time.monotonic() < deadline
            # Readers beside the writer see whole files too.
            for _ in range(20 + 7 * attempt):
                data = storage.read_bytes("file")
                assert whole(data, 300_000)
        finally:
            process.kill()
            process.communicate()
        assert whole(storage.read_bytes("file"), 300_000)
        if storage.folders(""):  # else killed between the old folder's leaving and the new one's arrival
            parts = [storage.read_bytes(f"folder/{name}") for name in ("a", "b", "manifest")]
            assert all(whole(part, length) for part, length in zip(parts, (300_000, 300_000, 10), strict=True))
            assert len({part[:1] for part in parts if part}) == 1


def test_sweep_removes_what_killed_writers_left(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write_folder("checkpoints/00000064", {"manifest.json": b"{}"}, last="manifest.json")
    (tmp_path / "checkpoints" / ".00000128.0123").mkdir()
    (tmp_path / "checkpoints" / ".00000128.0123" / "G").write_bytes(b"half")
    (tmp_path / "checkpoints" / ".file.0123").write_bytes(b"half")
    storage.sweep("checkpoints")
    storage.sweep("a folder that is not there")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["00000064"]


def test_a_file_that_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new/a"
    for content in ("old", "new"):
        with written_atomically(path) as scratch:
            scratch.write_text(content)
            assert not path.exists() or path.read_text() == "old"
        assert path.read_text() == content
    with pytest.raises(FileNotFoundError), written_atomically(path) as scratch:
        scratch.with_name("none").rename(scratch)
    with pytest.raises(UnicodeEncodeError), written_atomically(path) as scratch:
        scratch.write_text("torn \ud800", encoding="utf-8")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]
