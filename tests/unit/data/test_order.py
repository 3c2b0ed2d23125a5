"""The order of the images: endless, seamless, and the same for every world."""

from itertools import pairwise

import numpy as np
import pytest

from gandist.data.order import Order
from gandist.distributed.randomness import split

SIZES = [5, 3, 7, 1, 4]
N = sum(SIZES)


@pytest.mark.parametrize("group", [1, 6, 1 << 16])
def test_each_epoch_is_a_permutation(group: int) -> None:
    order = Order(SIZES, seed=0, group=group)
    epochs = [order.take(epoch * N, N) for epoch in range(4)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(N))
    assert all(not np.array_equal(a, b) for a, b in pairwise(epochs))
    assert not any(np.array_equal(epoch, np.arange(N)) for epoch in epochs)


@pytest.mark.parametrize("batch", [1, 6, N, N + 3, 3 * N + 1])
def test_batches_straddle_epochs_without_a_seam(batch: int) -> None:
    order = Order(SIZES, seed=0)
    whole = order.take(0, 12 * N)
    taken = np.concatenate([order.take(start, batch) for start in range(0, 12 * N - batch, batch)])
    np.testing.assert_array_equal(taken, whole[: len(taken)])


def test_any_position_is_reached_directly() -> None:
    whole = Order(SIZES, seed=0).take(0, 6 * N)
    for start in (0, 1, N - 1, N, 3 * N + 2):
        np.testing.assert_array_equal(Order(SIZES, seed=0).take(start, 9), whole[start : start + 9])


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6])
def test_slices_of_the_ranks_partition_the_batch(world_size: int) -> None:
    batch = Order(SIZES, seed=0).take(15, 12)
    slices = [batch[split(12, rank, world_size)] for rank in range(world_size)]
    assert {len(part) for part in slices} == {12 // world_size}
    put_together = np.empty_like(batch)
    for rank, part in enumerate(slices):
        put_together[rank::world_size] = part
    np.testing.assert_array_equal(put_together, batch)


def test_the_seed_decides() -> None:
    a, again, other = (Order(SIZES, seed).take(0, 5 * N) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, again)
    assert not np.array_equal(a, other)


def test_groups_keep_the_samples_of_their_shards_together() -> None:
    """With two shards a group, ten samples in a row come from two shards, so that few need be at hand."""
    order = Order([5] * 8, seed=3, group=10)
    seen = []
    for epoch in range(3):
        groups = (order.take(epoch * 40, 40) // 5).reshape(4, 10)
        assert all(len(set(group.tolist())) == 2 for group in groups)
        assert sorted(shard for group in groups for shard in set(group.tolist())) == list(range(8))
        assert any((np.diff(group) != 0).sum() > 1 for group in groups), "shuffled, not one after the other"
        seen.append(frozenset(frozenset(group.tolist()) for group in groups))
    assert len(set(seen)) > 1, "shards meet others in each epoch"


def test_one_group_mixes_everything() -> None:
    first = Order([5] * 8, seed=3).take(0, 10) // 5
    assert len(set(first.tolist())) > 3


def test_odd_sets() -> None:
    assert Order([1], seed=0).take(0, 3).tolist() == [0, 0, 0]
    assert Order([0, 2, 0], seed=0).take(0, 2).max() == 1
    nothing = Order(SIZES, seed=0).take(4, 0)
    assert nothing.shape == (0,)
    assert nothing.dtype == np.int64


def test_a_million_samples_take_a_moment() -> None:
    order = Order([1000] * 1000, seed=0)
    epoch = order.take(0, 1_000_000)
    assert np.bincount(epoch).tolist() == [1] * 1_000_000
