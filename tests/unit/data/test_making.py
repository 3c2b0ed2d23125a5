"""One command at a time writes a set to a folder, and what it deletes there is its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gandist.data.files import write_shards
from gandist.data.index_files import read_index
from gandist.data.making import LOCK, WORK, alone
from gandist.data.packing import index_only, pack
from gandist.errors import DataError
from tests.helpers.forked import command
from tests.helpers.scripts import python
from tests.unit.test_pack import hashes, make_folder

PACK = "import sys; from gandist.pack import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def src(tmp_path: Path) -> str:
    return str(make_folder(tmp_path / "in"))


def test_the_second_of_two_commands_is_refused_with_the_first_ones_name(src: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    hold = f"from gandist.data.making import alone\nimport time\nwith alone({out!r}):\n print('held', flush=True)\n"
    first = subprocess.Popen([sys.executable, "-c", f"{hold} time.sleep(600)"], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    refusal = f"out: is being written by process {first.pid} on "
    with pytest.raises(DataError, match=refusal):
        pack(src, out)
    with pytest.raises(DataError, match=refusal):
        write_shards(f"{out}/%06d.tar", 1, [b"png"])
    with pytest.raises(DataError, match=refusal):
        pack(src, out, overwrite=True)
    assert [path.name for path in Path(out).iterdir()] == [LOCK]
    first.kill()
    first.wait()
    index, _ = pack(src, out)  # the lock of a dead process holds nobody
    assert index.n == 12
    assert not (Path(out) / LOCK).exists()


def test_an_index_is_not_written_while_a_set_is(src: str, tmp_path: Path) -> None:
    pack(src, str(tmp_path / "out"))
    with alone(str(tmp_path / "out")), pytest.raises(DataError, match=f"written by process {os.getpid()}"):
        index_only(str(tmp_path / "out"), None)


def test_many_commands_at_a_time_leave_one_whole_set(src: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    logs = [tmp_path / f"{name}.log" for name in "abc"]
    processes = [command(log, "gandist.pack", src, str(out), "--overwrite") for log in logs]
    for each in processes:
        each.join()
    ended = [(log.read_text(), each.exitcode) for log, each in zip(logs, processes, strict=True)]
    assert any(status == 0 for _, status in ended)
    assert all("is being written by process" in said for said, status in ended if status), ended
    alone_out = tmp_path / "alone"
    pack(src, str(alone_out))
    assert hashes(out) == hashes(alone_out)


def test_overwriting_leaves_shards_of_others(src: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(src, str(out), shard_size=3)
    (out / "my_backup.tar").write_bytes(b"mine")
    index, _ = pack(src, str(out), overwrite=True)
    assert (out / "my_backup.tar").read_bytes() == b"mine"
    assert sorted(path.name for path in out.glob("*.tar")) == ["000000.tar", "my_backup.tar"]
    assert read_index(str(out)).fingerprint == index.fingerprint


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_shard_that_no_index_names_is_not_replaced(overwrite: bool, src: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / WORK).mkdir(parents=True)  # as a command leaves it that was killed while it wrote
    (out / "000000.tar").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"holds shards already|holds 000000\.tar, which no index here lists"):
        pack(src, str(out), overwrite=overwrite)
    assert (out / "000000.tar").read_bytes() == b"mine"


@pytest.mark.parametrize("at", ["remove_index", "write_index"])
def test_killed_while_shards_are_moved(at: str, src: str, tmp_path: Path) -> None:
    """Whether before the first is moved or after the last, the same command begins anew, and clears up what is its."""
    out = tmp_path / "out"
    pack(src, str(out), shard_size=3)
    (out / "my_backup.tar").write_bytes(b"mine")
    die = f"import os, signal; from gandist.data import making; making.{at} = lambda *_: os.kill(os.getpid(), 9)\n"
    done = python("-c", die + PACK, src, str(out), "--shard-size", "6", "--overwrite")
    assert done.returncode == -signal.SIGKILL
    pack(src, str(out), shard_size=5, overwrite=True)
    (out / "my_backup.tar").unlink()
    again = tmp_path / "again"
    pack(src, str(again), shard_size=5)
    assert hashes(out) == hashes(again)


def test_killed_while_it_writes(src: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    slow = "import time; from gandist.data import writing; writing.members = lambda *_: time.sleep(600)\n"
    first = subprocess.Popen([sys.executable, "-c", slow + PACK, src, str(out)])
    deadline = time.monotonic() + 60
    while not (out / WORK).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    first.kill()
    first.wait()
    index, _ = pack(src, str(out))
    assert index.n == 12
