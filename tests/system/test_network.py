"""Two nodes with a network between them that can be slow, lossy, or gone: network namespaces, by root only.

`pytest tests/system/test_network.py --log-cli-level=INFO` shows the figures of docs/scaling.md.
"""

import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from gandist import train
from gandist.config.run import RunConfig
from gandist.data.dataset import open_index
from gandist.launch.resumption import run_root
from tests.helpers.slow_loss import slow_loss
from tests.helpers.train_on_ranks import final_digests, tiny, train_all
from tests.helpers.two_node_network import Nodes, two_nodes
from tests.system.test_resume_bitwise import checkpoints, file_of, start_alone, wait_for_progress

pytestmark = [pytest.mark.slow, pytest.mark.netns]
log = logging.getLogger("tests")


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with two_nodes() as nodes:
        yield nodes


@pytest.mark.nightly
def test_over_a_slow_and_lossy_network_the_weights_are_the_same(nodes: Nodes, tmp_path: Path) -> None:
    far, near = tiny(tmp_path, "far"), tiny(tmp_path, "near")
    nodes.delay_s, nodes.loss = 0.005, 0.01
    logs = [tmp_path / f"{rank}.log" for rank in (0, 1)]
    ranks = [nodes.forked(rank, log, train.main, [str(file_of(far))]) for rank, log in enumerate(logs)]
    try:
        for process, log in zip(ranks, logs, strict=True):
            process.join(120)
            assert process.exitcode == 0, log.read_text()
    finally:
        for process in ranks:
            process.kill()
    train_all(2, [near], tmp_path)
    assert final_digests(far) == final_digests(near)


def last_words(process: subprocess.Popen[str]) -> tuple[str, float]:
    """All that a run says until it ends, and when it said that it failed (by `time.monotonic`)."""
    assert process.stderr is not None
    said, told_at = [], float("inf")
    for line in process.stderr:
        said.append(line)
        if "the run failed" in line:
            told_at = time.monotonic()
    return "".join(said), told_at


def test_a_partition_ends_both_sides_and_the_run_goes_on(nodes: Nodes, tmp_path: Path) -> None:
    """Both say so within `launch.timeout_s`; whoever starts again meanwhile has the run to itself."""
    config = tiny(
        tmp_path, "cut", **slow_loss(tmp_path), launch__timeout_s=10,
        train__total_kimg=10_000, train__checkpoint_kimg=0.12, train__tick_kimg=0.12,
    )  # fmt: skip
    open_index(config)  # Not by one rank, for which the other would wait too long
    ranks = [
        nodes.torchrun(rank, "-m", "gandist.train", str(file_of(config)), stderr=subprocess.PIPE) for rank in (0, 1)
    ]
    wait_for_progress(config, ranks[0], 0)
    nodes.cut = True
    cut = time.monotonic()
    survivor = start_alone(config)
    try:
        with ThreadPoolExecutor(2) as readers:
            ends = list(readers.map(last_words, ranks))
        for rank, (process, (said, told_at)) in enumerate(zip(ranks, ends, strict=True)):
            log.info("rank %d said so %.1f s after the cut", rank, told_at - cut)
            assert process.wait(timeout=60) == 1
            assert f"gandist: the run failed: rank {rank} of 2 lost contact with another rank" in said
            assert "launch.timeout_s=10" in said
            assert told_at - cut < 10 + 15
        wait_for_progress(config, survivor, checkpoints(config))
        survivor.terminate()
        survivor.join(60)
        assert survivor.exitcode == 143
    finally:
        for process in ranks:
            process.kill()
            process.wait()
        survivor.kill()
        survivor.join()
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
        tmp_path, "woken", **slow_loss(tmp_path),
        train__total_kimg=10_000, train__checkpoint_kimg=0.12, train__tick_kimg=0.012, train__sample_kimg=0.12,
    )  # fmt: skip
    older = start_alone(config)
    newer = None
    try:
        seen = wait_for_progress(config, older, 0)
        tell(older, signal.SIGSTOP)
        own = {name for name in _files(config) if name.startswith("logs/")}
        assert len(own) == 1, "each attempt has a log of its own"
        newer = start_alone(config)
        seen = wait_for_progress(config, newer, max(seen, checkpoints(config)))
        tell(newer, signal.SIGSTOP)
        before = _files(config)
        tell(older, signal.SIGCONT)
        older.join(30)
        assert older.exitcode == 1
        after = _files(config)
        assert {name: what for name, what in after.items() if before.get(name) != what and name not in own} == {}
        assert before.keys() - after.keys() == set()
        tell(newer, signal.SIGCONT)
        wait_for_progress(config, newer, seen)
        newer.terminate()
        newer.join(60)
        assert newer.exitcode == 143
    finally:
        for process in filter(None, (older, newer)):
            process.kill()
            process.join()


def tell(process: BaseProcess, number: signal.Signals) -> None:
    assert process.pid is not None
    os.kill(process.pid, number)


def _files(config: RunConfig) -> dict[str, tuple[int, int, int]]:
    """Inode, size and time of each file of a run, but for the event files that each attempt has its own of."""
    root = Path(run_root(config))
    stats = {
        str(path.relative_to(root)): path.stat()
        for path in root.rglob("*")
        if path.is_file() and "tensorboard" not in path.parts
    }
    return {name: (each.st_ino, each.st_size, each.st_mtime_ns) for name, each in stats.items() if "/." not in name}
