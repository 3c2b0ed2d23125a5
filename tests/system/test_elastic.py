"""The promise: stopped on 3 ranks and resumed on 2, a run sees the same global batches and the same noise."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from gandist.config.run import RunConfig
from gandist.data.dataset import open_index, open_set, order_of
from gandist.data.feed import Feed
from gandist.distributed.randomness import Draws, split
from gandist.launch.resumption import run_root
from tests.helpers.forked import ranks
from tests.helpers.train_on_ranks import final_tensors, tiny, train_all

BATCH, STEPS, STOP_AT = 12, 10, 4


def global_batches(config: RunConfig, worlds: list[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pixels and noise of each step, put together from the ranks' rows; `worlds` is the world size of each step."""
    index = open_index(config)
    images, order = open_set(config, index), order_of(config, index)
    pixels, noise = [], []
    for step, world in enumerate(worlds):
        seen = step * BATCH
        x = np.empty((BATCH, 32, 32, 1), dtype=np.uint8)
        z = np.empty((BATCH, 8), dtype=np.float32)
        for rank in range(world):
            feed = Feed(images, order, batch=BATCH, images_seen=seen, rank=rank, world_size=world, prefetch=1)
            x[rank::world] = feed.next().rows.numpy()
            feed.close()
            z[rank::world] = (
                Draws(0, torch.device("cpu"), rank, world)
                .normal("fakes/D/z", torch.tensor(seen), 0, (BATCH, 8))
                .numpy()
            )
        pixels.append(x)
        noise.append(z)
    return pixels, noise


def test_batches_and_noise_do_not_depend_on_the_world(tmp_path: Path) -> None:
    config = tiny(tmp_path, "any")
    alone = global_batches(config, [1] * STEPS)
    changing = global_batches(config, [3] * STOP_AT + [2] * (STEPS - STOP_AT))
    np.testing.assert_array_equal(alone[0], changing[0])
    np.testing.assert_array_equal(alone[1], changing[1])
    assert not np.array_equal(alone[1][0], alone[1][1])


def test_an_epoch_holds_every_sample_once_across_a_change_of_world(tmp_path: Path) -> None:
    config = tiny(tmp_path, "any")
    order = order_of(config, open_index(config))
    taken: list[int] = []
    for world, steps in ((3, 500), (2, 334)):
        for _ in range(steps):
            numbers = order.take(len(taken), BATCH)
            shown = np.full(BATCH, -1)
            for rank in range(world):
                shown[split(BATCH, rank, world)] = numbers[split(BATCH, rank, world)]
            taken += shown.tolist()
    assert sorted(taken[: order.n]) == list(range(order.n))


@pytest.mark.slow
def test_stopped_on_3_resumed_on_2(tmp_path: Path) -> None:
    """A real run of 3 processes, asked to stop by SIGTERM, goes on with 2; the weights are those of one process."""
    length = {"train__total_kimg": 0.9, "train__checkpoint_kimg": 60, "train__tick_kimg": 0.06}
    config, alone = tiny(tmp_path, "elastic", **length), tiny(tmp_path, "alone", **length)
    file = tmp_path / "elastic.yaml"
    file.write_text(config.model_dump_json())
    three = ranks(3, tmp_path, "gandist.train", str(file))
    try:
        deadline = time.monotonic() + 300
        while not (rows := Path(run_root(config)) / "metrics.jsonl").exists() or not rows.read_bytes():
            assert all(rank.exitcode is None for rank in three), "it ended"
            assert time.monotonic() < deadline, "no first row"
            time.sleep(0.02)
        for rank in three:
            rank.terminate()
        for rank in three:
            rank.join(120)
            assert rank.exitcode == 143
    finally:
        for rank in three:
            rank.kill()
    (stopped,) = (Path(run_root(config)) / "checkpoints").iterdir()
    assert 0 < int(stopped.name) < 900

    train_all(2, [config], tmp_path)
    train_all(1, [alone], tmp_path)
    for name, tensor in final_tensors(alone).items():
        torch.testing.assert_close(final_tensors(config)[name], tensor, rtol=0, atol=1e-6, msg=name)


@pytest.mark.slow
def test_more_processes_than_the_batch_divides_into(tmp_path: Path) -> None:
    """Of 4 processes 3 train a batch of 9; the fourth waits, and the run ends for all."""
    config, alone = tiny(tmp_path, "surplus", train__batch=9), tiny(tmp_path, "alone", train__batch=9)
    train_all(4, [config], tmp_path)
    train_all(1, [alone], tmp_path)
    for name, tensor in final_tensors(alone).items():
        torch.testing.assert_close(final_tensors(config)[name], tensor, rtol=0, atol=1e-6, msg=name)
