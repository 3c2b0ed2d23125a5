"""Each rank's share of the global batches, ahead of the step and in order."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gandist.data.feed import Feed
from gandist.data.index import Index
from gandist.data.order import Order
from gandist.data.resident import ResidentSet
from gandist.data.sets import SampleSet, open_samples
from gandist.errors import DataError
from gandist.media.image import Image
from tests.helpers.small_datasets import damage, make_set

N, BATCH = 20, 6


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_set(tmp_path_factory.mktemp("set"), N, size=16)


KINDS: dict[str, Callable[[Index, Path], SampleSet]] = {
    "mapped": lambda index, cache: open_samples(index, Image(), cache_dir=cache),
    "streamed": lambda index, cache: open_samples(index, Image(), cache_dir=cache, cache_gib=2**-30),
    "resident": lambda index, cache: ResidentSet(open_samples(index, Image(), cache_dir=cache), torch.device("cpu")),
}


@pytest.fixture(params=KINDS)
def images(packed: Index, tmp_path: Path, request: pytest.FixtureRequest) -> SampleSet:
    return KINDS[request.param](packed, tmp_path)


@pytest.fixture
def order(packed: Index) -> Order:
    return Order(packed.shards["n"].to_pylist(), seed=0)


def batches(feed: Feed, count: int) -> list[np.ndarray]:
    taken = [feed.next() for _ in range(count)]
    feed.close()
    for batch in taken:
        assert batch.rows.dtype == torch.uint8
        assert batch.conditions.dtype == torch.int64
        assert len(batch.conditions) == len(batch.rows)
    return [batch.rows.numpy() for batch in taken]


def test_batches_come_in_order(images: SampleSet, order: Order) -> None:
    taken = batches(Feed(images, order, batch=BATCH, images_seen=0), 10)
    for step, batch in enumerate(taken):
        np.testing.assert_array_equal(batch, images.gather(order.take(step * BATCH, BATCH))[0])


@pytest.mark.parametrize("prefetch", [1, 5])
def test_a_feed_goes_on_from_any_position(images: SampleSet, order: Order, prefetch: int) -> None:
    whole = batches(Feed(images, order, batch=BATCH, images_seen=0), 10)
    rest = batches(Feed(images, order, batch=BATCH, images_seen=4 * BATCH, prefetch=prefetch), 6)
    for a, b in zip(whole[4:], rest, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_out_the_batch_of_one(images: SampleSet, order: Order, world_size: int) -> None:
    whole = batches(Feed(images, order, batch=BATCH, images_seen=12), 5)
    for rank in range(world_size):
        mine = batches(Feed(images, order, batch=BATCH, images_seen=12, rank=rank, world_size=world_size), 5)
        for a, b in zip(whole, mine, strict=True):
            np.testing.assert_array_equal(a[rank::world_size], b)


def test_all_kinds_give_the_same_batches(packed: Index, order: Order, tmp_path: Path) -> None:
    """Pixels and labels, that of a rank which goes on in the middle too."""
    feeds = {
        kind: Feed(opened(packed, tmp_path / kind), order, batch=BATCH, images_seen=4, rank=1, world_size=2)
        for kind, opened in KINDS.items()
    }
    for _ in range(10):
        first, *others = (feed.next() for feed in feeds.values())
        for other in others:
            assert all(map(torch.equal, first, other))
    for feed in feeds.values():
        feed.close()


def test_a_batch_is_not_written_to_once_it_is_given_out(images: SampleSet, order: Order) -> None:
    feed = Feed(images, order, batch=BATCH, images_seen=0, prefetch=1)
    kept = [feed.next().rows for _ in range(6)]
    before = [pixels.clone() for pixels in kept]
    for _ in range(6):
        feed.next()
    feed.close()
    assert all(map(torch.equal, kept, before))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu_the_batches_are_the_same(packed: Index, order: Order, tmp_path: Path, kind: str) -> None:
    """Each is read late, on a stream that is busy, while later ones come in."""
    gpu = torch.device("cuda", torch.cuda.current_device())
    images = KINDS[kind](packed, tmp_path)
    host = Feed(images, order, batch=BATCH, images_seen=0)
    there: SampleSet = ResidentSet(images, gpu) if kind == "resident" else images
    feed = Feed(there, order, batch=BATCH, images_seen=0, device=gpu)
    taken = []
    for _ in range(50):
        batch = feed.next()
        assert batch.rows.device == batch.conditions.device == gpu
        torch.cuda._sleep(1_000_000)  # type: ignore[no-untyped-call]
        taken.append([tensor.clone() for tensor in batch])
        del batch
    for copies in taken:
        assert all(torch.equal(copy.cpu(), expected) for copy, expected in zip(copies, host.next(), strict=True))
    host.close()
    feed.close()


def test_an_epoch_shows_each_image_once(images: SampleSet, order: Order) -> None:
    taken = np.concatenate(batches(Feed(images, order, batch=4, images_seen=N), N // 4))
    everything, _ = images.gather(np.arange(N))
    assert sorted(image.tobytes() for image in taken) == sorted(image.tobytes() for image in everything)


def test_damage_comes_out_of_next_in_its_turn(tmp_path: Path) -> None:
    index = make_set(tmp_path / "set", N, size=16)
    order = Order(index.shards["n"].to_pylist(), seed=0)
    shard = damage(index, int(order.take(2 * BATCH, 1)[0]))
    streamed = open_samples(index, Image(), cache_dir=tmp_path, cache_gib=2**-30)
    feed = Feed(streamed, order, batch=BATCH, images_seen=0, prefetch=4)
    feed.next()
    feed.next()
    with pytest.raises(DataError, match=shard):
        feed.next()
    feed.close()


def test_closing_waits_for_nothing_but_the_batch_at_hand(images: SampleSet, order: Order) -> None:
    feed = Feed(images, order, batch=BATCH, images_seen=0, prefetch=50)
    feed.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        feed._ask()
