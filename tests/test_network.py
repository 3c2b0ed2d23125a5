"""Two nodes with a network between them that can be slow, lossy, or gone: namespaces of the kernel's, by root only."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gandist.config import RunConfig
from gandist.resumption import run_root
from tests.test_resume_bitwise import checkpoints, start, wait_for_progress
from tests.worlds import final_digests, tiny, train_all

pytestmark = pytest.mark.slow
PORT = 29511


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Link:
    """Two network namespaces, with a cable between them whose ends are `eth0`, 10.77.0.1 and 10.77.0.2."""

    def __init__(self) -> None:
        self.names = [f"gandist-{os.getpid()}-{side}" for side in "ab"]
        for name in self.names:
            ip("netns", "add", name)
        a, b = self.names
        ip("link", "add", "eth0", "netns", a, "type", "veth", "peer", "name", "eth0", "netns", b)
        for number, name in enumerate(self.names, 1):
            ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")

    def netem(self, *how: str) -> None:
        """What `tc netem` does to all that is sent, on both ends."""
        for name in self.names:
            tc = ["tc", "-n", name, "qdisc", "replace", "dev", "eth0", "root", "netem", *how]
            subprocess.run(tc, check=True, capture_output=True)

    def cut(self) -> None:
        ip("-n", self.names[0], "link", "set", "eth0", "down")

    def torchrun(self, rank: int, config: RunConfig) -> subprocess.Popen[str]:
        """One rank of two, on its node."""
        file = Path(config.run.dir) / f"{config.run.name}.yaml"
        file.write_text(config.model_dump_json())
        node = ["--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1", "--master-addr=10.77.0.1"]
        ranks = [sys.executable, "-m", "torch.distributed.run", *node, f"--master-port={PORT}", "-m", "gandist.train"]
        return subprocess.Popen(
            ["ip", "netns", "exec", self.names[rank], *ranks, str(file)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "eth0"},
            stderr=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.fixture
def link() -> Iterator[Link]:
    if os.geteuid() or not (shutil.which("ip") and shutil.which("tc")):
        pytest.skip("network namespaces need root, and Debian's iproute2")
    found = None
    try:
        found = Link()
        yield found
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not to be had: {error.stderr!r}")
    finally:
        for name in (f"gandist-{os.getpid()}-{side}" for side in "ab"):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def test_over_a_slow_and_lossy_network_the_weights_are_the_same(link: Link, tmp_path: Path) -> None:
    far, near = tiny(tmp_path, "far"), tiny(tmp_path, "near")
    link.netem("delay", "5ms", "loss", "1%")
    both = [link.torchrun(rank, far) for rank in (0, 1)]
    for process in both:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    train_all(2, [near], tmp_path)
    assert final_digests(far) == final_digests(near)


def test_a_partition_ends_both_sides_and_the_run_goes_on(link: Link, tmp_path: Path) -> None:
    """Both say so within `launch.timeout_s`; whoever starts again meanwhile has the run to itself."""
    config = tiny(
        tmp_path, "cut", train__total_kimg=10_000, train__checkpoint_kimg=0.6, train__tick_kimg=0.6,
        launch__timeout_s=15,
    )  # fmt: skip
    both = [link.torchrun(rank, config) for rank in (0, 1)]
    wait_for_progress(config, both[0], 0)
    link.cut()
    cut = time.monotonic()
    survivor = start(config)
    try:
        for rank, process in enumerate(both):
            _, said = process.communicate(timeout=60)
            print(f"rank {rank}: {time.monotonic() - cut:.1f} s after the cut")
            assert process.returncode == 1
            assert f"gandist: the run failed: rank {rank} of 2 lost contact with another rank" in said
            assert "launch.timeout_s=15" in said
            assert time.monotonic() - cut < 15 + 15
        wait_for_progress(config, survivor, checkpoints(config))
        survivor.send_signal(signal.SIGTERM)
        assert survivor.wait(timeout=60) == 143
    finally:
        for process in (*both, survivor):
            process.kill()
            process.wait()
    attempts = {seen: _manifest(config, seen)["attempt"] for seen in sorted(_names(config))}
    assert list(attempts.values()) == sorted(attempts.values())
    assert attempts[checkpoints(config)] == 2


def _names(config: RunConfig) -> list[int]:
    return [int(path.name) for path in (Path(run_root(config)) / "checkpoints").iterdir() if path.name.isdigit()]


def _manifest(config: RunConfig, seen: int) -> dict[str, Any]:
    file = Path(run_root(config)) / f"checkpoints/{seen:08d}/manifest.json"
    found: dict[str, Any] = json.loads(file.read_bytes())
    return found


def test_one_that_was_cut_off_changes_nothing_when_it_comes_back(tmp_path: Path) -> None:
    """As after a partition: an attempt stands still, another goes on with the run, the first wakes."""
    config = tiny(
        tmp_path, "woken", train__total_kimg=10_000, train__checkpoint_kimg=0.6, train__tick_kimg=0.06,
        train__sample_kimg=0.6,
    )  # fmt: skip
    older = start(config)
    newer = None
    try:
        seen = wait_for_progress(config, older, 0)
        older.send_signal(signal.SIGSTOP)
        newer = start(config)
        seen = wait_for_progress(config, newer, max(seen, checkpoints(config)))
        newer.send_signal(signal.SIGSTOP)
        before = _files(config)
        older.send_signal(signal.SIGCONT)
        assert older.wait(timeout=30) == 1
        after = _files(config)
        assert {name: what for name, what in after.items() if before.get(name) != what} == {}
        assert before.keys() - after.keys() == set()
        newer.send_signal(signal.SIGCONT)
        wait_for_progress(config, newer, seen)
        newer.send_signal(signal.SIGTERM)
        assert newer.wait(timeout=60) == 143
    finally:
        for process in filter(None, (older, newer)):
            process.kill()
            process.wait()


def _files(config: RunConfig) -> dict[str, tuple[int, int, int]]:
    """Inode, size and time of each file of a run, but for the event files that each attempt has its own of."""
    root = Path(run_root(config))
    stats = {
        str(path.relative_to(root)): path.stat()
        for path in root.rglob("*")
        if path.is_file() and "tensorboard" not in path.parts
    }
    return {name: (each.st_ino, each.st_size, each.st_mtime_ns) for name, each in stats.items() if "/." not in name}
