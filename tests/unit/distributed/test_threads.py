"""How many threads a rank computes with: asked for, kept, or measured; never more than its share of the CPUs."""

import os
from pathlib import Path

import pytest
import torch

from gandist.distributed import threads
from gandist.distributed.consensus import Host
from gandist.launch.resumption import run_root
from gandist.run.checkpoint import Checkpoints, newest
from gandist.storage.storage import Storage
from gandist.training.worker import train
from tests.helpers.train_on_ranks import tiny


@pytest.fixture(autouse=True)
def _free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "cpus", lambda: 8)


@pytest.mark.parametrize(
    ("taken_ms", "best"),
    [
        ({1: 8, 2: 4, 4: 2, 8: 1}, 8),
        ({1: 8, 2: 20, 4: 1, 8: 1}, 1),  # what is slower is not gone beyond
        ({1: 8, 2: 5, 4: 4.5, 8: 4}, 2),
    ],
)
def test_the_last_doubling_that_was_worth_it(
    taken_ms: dict[int, float], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "convolution_s", lambda n: taken_ms[n] / 1000)
    assert threads.choose(None, None) == best
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert threads.choose(None, None) <= 2


def test_the_measurement_leaves_the_number_as_it_was() -> None:
    before = torch.get_num_threads()
    assert threads.choose(None, None) in (1, 2, 4, 8)
    assert torch.get_num_threads() == before


def test_what_was_asked_for_comes_first_and_then_what_the_run_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "convolution_s", lambda n: 1 / n)
    assert threads.choose(3, 5) == 3
    assert threads.choose(None, 5) == 5
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert threads.choose(None, 5) == 4  # of another machine: there are not so many here
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert threads.choose(None, None) == torch.get_num_threads()


def test_cpus_are_those_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    quota = tmp_path / "cpu.max"
    for text, expected in (("max 100000\n", 16), ("250000 100000\n", 3), ("50000 100000\n", 1)):
        quota.write_text(text)
        assert threads.cpus(quota) == expected
    assert threads.cpus(tmp_path / "none") == 16


@pytest.mark.slow
def test_a_run_keeps_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = torch.get_num_threads()
    try:
        config = tiny(tmp_path, "kept", launch__threads=None)
        monkeypatch.setattr(threads, "convolution_s", lambda n: 1 / n if n <= 2 else 1)
        assert train(config, Checkpoints(Storage(run_root(config))), Host()).status == "done"
        found = newest(Storage(run_root(config)))
        assert found is not None
        assert found.manifest["threads"] == 2
        monkeypatch.setattr(threads, "convolution_s", lambda n: 1.0)
        longer = tiny(tmp_path, "kept", launch__threads=None, train__total_kimg=0.18)
        assert train(longer, Checkpoints(Storage(run_root(longer))), Host()).status == "done"
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(usual)
