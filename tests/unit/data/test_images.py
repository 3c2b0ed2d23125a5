"""Decoded images: mapped or streamed the same bytes; damage is told by its shard's name, or skipped and counted."""

import os
import shutil
import socket
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from gandist.data.cache import ShardCache
from gandist.data.index import Index
from gandist.data.index_files import read_index
from gandist.data.sets import MappedSet, SampleSet, open_samples
from gandist.data.streamed import StreamedSet
from gandist.errors import DataError, UnreachableError
from gandist.media.decode import decode
from gandist.media.image import Image
from tests.helpers.forked import first_line, forked
from tests.helpers.small_datasets import damage, make_set, pixels

N = 40
GIB_OF = 2.0**-30
STREAMED, MAPPED = 0.0, 1.0
"""cache_gib in units of ten decoded sets: what decides between the two ways."""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_set(tmp_path_factory.mktemp("set"), N, seed=1)


@pytest.fixture
def copy(packed: Index, tmp_path: Path) -> Index:
    """A copy of the set that may be damaged."""
    shutil.copytree(packed.base, tmp_path / "copy")
    return read_index(str(tmp_path / "copy"))


def opened(
    index: Index,
    cache: Path,
    way: float,
    *,
    resolution: int = 32,
    channels: int = 3,
    damage: Literal["stop", "skip"] = "stop",
    conditions: np.ndarray | None = None,
) -> SampleSet:
    cache_gib = (way * 10 * N * 32 * 32 * 3 + 10_000) * GIB_OF
    images = open_samples(
        index,
        Image(resolution=resolution, channels=channels),
        cache_dir=cache,
        cache_gib=cache_gib,
        on_damage=damage,
        conditions=conditions,
    )
    assert isinstance(images, MappedSet if way else StreamedSet)
    return images


@pytest.mark.parametrize(("resolution", "channels"), [(32, 3), (32, 1), (16, 3)])
def test_mapped_and_streamed_are_the_same(packed: Index, tmp_path: Path, resolution: int, channels: int) -> None:
    numbers = np.random.default_rng(0).integers(0, N, 100)
    results = [
        opened(packed, tmp_path, way, resolution=resolution, channels=channels).gather(numbers)
        for way in (STREAMED, MAPPED, MAPPED)  # the last from the file that the one before wrote
    ]
    for found, labels in results:
        assert found.shape == (100, resolution, resolution, channels)
        assert found.dtype == np.uint8
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(found, results[0][0])
        np.testing.assert_array_equal(labels, packed.samples["label"].to_numpy()[numbers])


def test_they_are_the_images_that_were_packed(packed: Index, tmp_path: Path) -> None:
    """Sources are numbered class by class: 0, 2, 4, ..., 1, 3, 5, ..."""
    source = [*range(0, N, 2), *range(1, N, 2)]
    found, labels = opened(packed, tmp_path, MAPPED).gather(np.arange(N))
    for number, key in enumerate(packed.samples["key"].to_pylist()):
        np.testing.assert_array_equal(found[number], pixels(source[int(key)]))
        assert labels[number] == source[int(key)] % 2


@pytest.mark.parametrize("way", [STREAMED, MAPPED])
def test_what_comes_with_an_image_may_be_any_array(packed: Index, tmp_path: Path, way: float) -> None:
    conditions = np.random.default_rng(0).normal(size=(N, 7)).astype(np.float32)
    images = opened(packed, tmp_path, way, conditions=conditions)
    numbers = np.array([3, 0, 39, 3])
    found, vectors = images.gather(numbers)
    np.testing.assert_array_equal(vectors, conditions[numbers])
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(found[0], found[3])


@pytest.mark.parametrize("way", [STREAMED, MAPPED])
def test_a_skipped_image_s_condition_goes_with_it(copy: Index, tmp_path: Path, way: float) -> None:
    damage(copy, 13)
    conditions = np.arange(2 * N, dtype=np.float32).reshape(N, 2)
    images = opened(copy, tmp_path / "cache", way, damage="skip", conditions=conditions)
    np.testing.assert_array_equal(images.gather(np.array([12, 13]))[1], conditions[[12, 14]])


@pytest.mark.parametrize("way", [STREAMED, MAPPED])
def test_pixels_go_where_they_are_asked_to(packed: Index, tmp_path: Path, way: float) -> None:
    images, numbers = opened(packed, tmp_path, way), np.random.default_rng(0).integers(0, N, 33)
    expected, labels = images.gather(numbers)
    out = np.zeros((33, *images.medium.row.shape), dtype=np.uint8)
    given, found = images.gather(numbers, out)
    assert given is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(found, labels)
    assert (images.n, images.medium.row.shape) == (N, (32, 32, 3))
    assert images.gather(numbers[:0])[0].shape == (0, 32, 32, 3)


def test_a_number_outside_the_set_is_an_error(packed: Index, tmp_path: Path) -> None:
    with pytest.raises(IndexError):
        opened(packed, tmp_path, MAPPED).gather(np.array([0, N]))


def show_map(base: str, cache: Path) -> None:
    """Print where the set lies in memory, and keep it there."""
    images = open_samples(read_index(base), Image(), cache_dir=cache)
    images.gather(np.arange(N))
    with Path("/proc/self/maps").open() as maps:
        print(next(line for line in maps if line.strip().endswith("/rows")), flush=True)
    time.sleep(600)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no Linux")
def test_processes_of_a_node_share_one_map(packed: Index, tmp_path: Path) -> None:
    """Started together, one decodes; both then map the same file, shared, so that its pages are in memory once."""
    logs = [tmp_path / f"{rank}.log" for rank in range(2)]
    both = [forked(log, show_map, packed.base, tmp_path) for log in logs]
    try:
        maps = []
        for log, process in zip(logs, both, strict=True):
            maps.append(first_line(log, process).split())
    finally:
        for process in both:
            process.kill()
            process.join()
    (_, rights, *where), other = maps
    assert rights == "r--s"
    assert other[1:] == [rights, *where], "offset, device, inode and path"
    (file,) = tmp_path.glob("decoded/*/rows")
    assert file.stat().st_ino == int(where[2])


def test_unlabelled_sets_have_label_minus_one(tmp_path: Path) -> None:
    index = make_set(tmp_path / "set", 5, classes=0)
    for way in (STREAMED, MAPPED):
        assert opened(index, tmp_path / "cache", way).gather(np.arange(5))[1].tolist() == [-1] * 5


@pytest.mark.parametrize("way", [STREAMED, MAPPED])
def test_damage_stops_with_the_shard_and_the_fix(copy: Index, tmp_path: Path, way: float) -> None:
    shard = damage(copy, 13)
    with pytest.raises(DataError) as caught:
        opened(copy, tmp_path / "cache", way).gather(np.arange(N))
    assert shard in str(caught.value)
    assert "damaged" in str(caught.value)
    assert "data.on_damage=skip" in str(caught.value)


def test_damage_that_decodes_all_the_same_is_found(tmp_path: Path) -> None:
    """A bit of a JPEG's coefficients may turn without the decoder's notice; the checksum tells."""
    index = make_set(tmp_path / "set", N, format="jpeg")
    shard = damage(index, 13)
    row = index.samples.slice(13, 1).to_pylist()[0]
    decode(Path(shard).read_bytes()[row["offset"] :][: row["size"]], 32, 3)
    with pytest.raises(DataError, match=r"damaged at sample .*crc"):
        opened(index, tmp_path / "cache", STREAMED).gather(np.arange(N))


@pytest.mark.parametrize("way", [STREAMED, MAPPED])
def test_damage_is_skipped_and_counted(
    copy: Index, tmp_path: Path, way: float, caplog: pytest.LogCaptureFixture
) -> None:
    sound, _ = opened(copy, tmp_path / "sound", MAPPED).gather(np.arange(N))
    shards = {damage(copy, number) for number in (13, 14, N - 1)}
    images = opened(copy, tmp_path / "cache", way, damage="skip")
    found, labels = images.gather(np.arange(N))
    instead = [0 if number == N - 1 else 15 if number in (13, 14) else number for number in range(N)]
    np.testing.assert_array_equal(found, sound[instead])
    np.testing.assert_array_equal(labels, copy.samples["label"].to_numpy()[instead])
    assert images.damaged == 3
    assert all(shard in caplog.text for shard in shards)


@pytest.mark.parametrize(("way", "how"), list(product((STREAMED, MAPPED), ("missing", "cut short"))))
def test_a_whole_shard_may_go(copy: Index, tmp_path: Path, way: float, how: str) -> None:
    sound, _ = opened(copy, tmp_path / "sound", MAPPED).gather(np.arange(N))
    path = Path(copy.url(2))
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match=path.name):
        opened(copy, tmp_path / "stop", way).gather(np.arange(N))
    images = opened(copy, tmp_path / "cache", way, damage="skip")
    found, _ = images.gather(np.arange(N))
    inside = range(2 * N // 5, 3 * N // 5)
    np.testing.assert_array_equal(found, sound[[24 if number in inside else number for number in range(N)]])
    assert images.damaged == len(inside)


@pytest.mark.parametrize("way", [STREAMED, MAPPED])
def test_nothing_sound_is_an_error_even_where_damage_is_skipped(copy: Index, tmp_path: Path, way: float) -> None:
    for number in range(N):
        damage(copy, number)
    with pytest.raises(DataError, match=f"none of its {N} samples"):
        opened(copy, tmp_path / "cache", way, damage="skip").gather(np.arange(3))


def test_damage_between_samples_stops_the_mapped_way(copy: Index, tmp_path: Path) -> None:
    """Every sample is sound, but the shard is not what was indexed: its sha256 says so before training."""
    path = Path(copy.url(0))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"000000\.tar: damaged: its sha256"):
        opened(copy, tmp_path / "cache", MAPPED)
    assert opened(copy, tmp_path / "cache", MAPPED, damage="skip").damaged == 0


def test_damage_after_decoding_is_found(copy: Index, tmp_path: Path) -> None:
    """What was decoded from the sound shard is not used for the one that replaced it."""
    opened(copy, tmp_path / "cache", MAPPED)
    damage(copy, 3)
    with pytest.raises(DataError, match="damaged"):
        opened(copy, tmp_path / "cache", MAPPED)


def test_a_set_decoded_with_damage_stops_who_will_not_have_it(copy: Index, tmp_path: Path) -> None:
    shard = damage(copy, 3)
    assert opened(copy, tmp_path / "cache", MAPPED, damage="skip").damaged == 1
    for _ in range(2):
        with pytest.raises(DataError, match=shard):
            opened(copy, tmp_path / "cache", MAPPED)
    assert opened(copy, tmp_path / "cache", MAPPED, damage="skip").damaged == 1


def test_interrupted_decoding_leaves_nothing_that_looks_whole(copy: Index, tmp_path: Path) -> None:
    broken = damage(copy, N - 1)
    with pytest.raises(DataError, match=broken):
        opened(copy, tmp_path / "cache", MAPPED)
    assert [path for path in (tmp_path / "cache/decoded").iterdir() if path.is_dir()] == []


def test_decoded_sets_are_bounded_and_the_oldest_goes(tmp_path: Path) -> None:
    sets = [make_set(tmp_path / str(i), 10, seed=i) for i in range(4)]
    bytes_each = 10 * 32 * 32 * 3
    decoded = tmp_path / "cache/decoded"

    def open_one(index: Index) -> SampleSet:
        time.sleep(0.02)  # file systems note times in steps of some milliseconds
        bound = 2 * (2.5 * bytes_each) * GIB_OF
        return open_samples(index, Image(), cache_dir=tmp_path / "cache", cache_gib=bound)

    def held() -> set[str]:
        return {path.name for path in decoded.iterdir() if path.is_dir()}

    first = open_one(sets[0])
    assert isinstance(first, MappedSet)
    before, _ = first.gather(np.arange(10))
    open_one(sets[1])
    assert len(held()) == 2
    open_one(sets[0])  # used again: now the other is the oldest
    open_one(sets[2])
    assert len(held()) == 2
    assert first.path.name in held()
    open_one(sets[3])
    open_one(sets[1])
    assert len(held()) == 2
    assert first.path.name not in held()
    np.testing.assert_array_equal(first.gather(np.arange(10))[0], before)  # who has it open keeps it


def test_what_was_skipped_comes_back_once_it_is_mended(copy: Index, tmp_path: Path) -> None:
    """With times as they were, so that the decoded set's identity is the same."""
    shard = Path(damage(copy, 3))
    sound = shard.read_bytes()
    times = (shard.stat().st_atime_ns, shard.stat().st_mtime_ns)
    assert opened(copy, tmp_path, MAPPED, damage="skip").damaged == 1
    row = copy.samples.slice(3, 1).to_pylist()[0]
    mended = bytearray(sound)
    mended[row["offset"] + row["size"] // 2] ^= 0xFF
    shard.write_bytes(bytes(mended))
    os.utime(shard, ns=times)
    images = opened(copy, tmp_path, MAPPED)
    assert images.damaged == 0
    expected = decode(bytes(mended[row["offset"] : row["offset"] + row["size"]]), 32, 3)
    np.testing.assert_array_equal(images.gather(np.array([3]))[0][0], expected)


def test_storage_that_does_not_answer_is_no_damage(
    packed: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where damage is skipped: nothing is known of the samples, and nothing is written down."""
    monkeypatch.setattr("gandist.storage.remote.WAITS_S", ())
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        far = replace(packed, base=f"http://127.0.0.1:{nobody.getsockname()[1]}")
        streamed = StreamedSet(
            far, Image(), ShardCache(tmp_path / "shards", 1 << 30), threads=1, on_damage="skip", conditions=far.labels
        )
        with pytest.raises(UnreachableError, match="cannot be read"):
            streamed.gather(np.arange(4))
        with pytest.raises(UnreachableError, match="cannot be read"):
            MappedSet(streamed, tmp_path / "decoded", 1 << 30)
    assert not list(tmp_path.glob("decoded/*/damaged.json"))
