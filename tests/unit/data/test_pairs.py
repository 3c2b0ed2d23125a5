"""Pairs of an input and a target: packed in all three ways, indexed, and read as rows of two."""

import shutil
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from gandist.data.cache import ShardCache
from gandist.data.feed import Feed
from gandist.data.index import INPUT, PAIRS_SCHEMA, SAMPLES_SCHEMA, TARGET, Index
from gandist.data.index_files import read_index
from gandist.data.indexing import index_shards
from gandist.data.making import write_shard
from gandist.data.order import Order
from gandist.data.packing import index_only, pack
from gandist.data.resident import ResidentSet
from gandist.data.sets import SampleSet, open_samples
from gandist.errors import DataError
from gandist.media.decode import decode
from gandist.media.image import Image
from gandist.media.paired import Paired
from tests.helpers.pictures_in_pairs import (
    content,
    damage_half,
    encoded,
    images,
    side_by_side,
    smooth,
    two_folders,
)
from tests.helpers.small_datasets import make_set

N = 12
MEDIUM = Paired(Image(resolution=32))
STREAMED_GIB = 2**-30
CLASS_BY_CLASS = [*range(0, N, 2), *range(1, N, 2)]
"""Source image of each key."""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Index:
    root = tmp_path_factory.mktemp("set")
    inputs, targets = two_folders(root)
    return pack(str(inputs), str(root / "shards"), targets=str(targets), shard_size=5)[0]


@pytest.fixture
def copy(packed: Index, tmp_path: Path) -> Index:
    """A copy of the set that may be damaged."""
    shutil.copytree(packed.base, tmp_path / "copy")
    return read_index(str(tmp_path / "copy"))


def opened(
    index: Index, cache: Path, *, streamed: bool = False, medium: Image | Paired = MEDIUM, skip: bool = False
) -> SampleSet:
    damage: Literal["stop", "skip"] = "skip" if skip else "stop"
    cache_gib = STREAMED_GIB if streamed else 1.0
    return open_samples(index, medium, cache_dir=cache, cache_gib=cache_gib, on_damage=damage)


def check_twelve(index: Index, tolerance: int) -> None:
    """The index holds the pairs of `two_folders`, with their labels."""
    assert index.paired
    assert index.classes == 2
    found = images(index)
    assert sorted(found) == [f"{i:08d}" for i in range(N)]
    for key, label in zip(index.samples["key"].to_pylist(), index.labels, strict=True):
        i = CLASS_BY_CLASS[int(key)]
        assert label == i % 2
        given, target = (each.astype(int) for each in found[key])
        assert np.abs(given - smooth(i)).max() <= tolerance
        assert np.abs(target - (255 - smooth(i))).max() <= tolerance


# Packing


def test_two_folders_of_mixed_formats(packed: Index) -> None:
    check_twelve(packed, 8)
    assert packed.samples.schema.names == PAIRS_SCHEMA.names
    assert packed.class_names == ("class0", "class1")
    again = read_index(packed.base)
    assert again.paired
    assert again.samples.equals(packed.samples)
    assert again.fingerprint == packed.fingerprint
    for member in (INPUT, TARGET):
        crcs = packed.places(member)[2]
        assert [zlib.crc32(data) for data in content(packed, member)] == crcs.tolist()


@pytest.mark.parametrize("side", ["left", "right"])
def test_halves_of_a_picture(tmp_path: Path, side: Literal["left", "right"]) -> None:
    src = side_by_side(tmp_path / "in", input_left=side == "left")
    check_twelve(pack(str(src), str(tmp_path / "out"), halves=side, shard_size=5)[0], 0)


def test_all_ways_give_the_same_shards(tmp_path: Path) -> None:
    """Two folders, a folder and a zip, halves, and the shards of pairs packed once more."""
    inputs, targets = two_folders(tmp_path, mixed=False)
    zipped = shutil.make_archive(str(tmp_path / "b"), "zip", targets)
    indexes = [
        pack(str(inputs), str(tmp_path / "0"), targets=str(targets))[0],
        pack(str(inputs), str(tmp_path / "1"), targets=zipped)[0],
        pack(str(side_by_side(tmp_path / "in")), str(tmp_path / "2"), halves="left")[0],
    ]
    assert len({index.fingerprint for index in indexes}) == 1
    again, _ = pack(str(tmp_path / "0"), str(tmp_path / "again"), channels=1)
    assert again.paired
    order = indexes[0].samples["key"].to_pylist()
    for key, (given, target) in images(again).items():
        assert given.shape == target.shape == (32, 32)
        i = CLASS_BY_CLASS[int(order[int(key)])]
        np.testing.assert_allclose(given, smooth(i) @ [0.299, 0.587, 0.114], atol=1)


def test_shards_of_others_are_indexed_as_they_are(tmp_path: Path) -> None:
    samples = [
        (f"{i}", {"input.jpg": encoded(smooth(i), "JPEG"), "target.png": encoded(255 - smooth(i)), "cls": b"1"})
        for i in range(4)
    ]
    samples[2][1]["mask.npy"] = b"x"
    write_shard(tmp_path / "0.tar", samples)
    index, left_out = index_only(str(tmp_path), None)
    assert index.paired
    assert set(index.samples["ext"].to_pylist()) == {"png"}
    assert set(index.samples["input_ext"].to_pylist()) == {"jpg"}
    assert index.labels.tolist() == [1] * 4
    assert left_out.skipped == {".npy": 1}
    assert content(index, INPUT) == [sample["input.jpg"] for _, sample in samples]
    assert content(index, TARGET) == [sample["target.png"] for _, sample in samples]
    rows, _ = opened(index, tmp_path).gather(np.arange(4))
    np.testing.assert_array_equal(rows[3, 0], 255 - smooth(3))
    assert index_only(str(tmp_path), None)[0].fingerprint == index.fingerprint, "an index of pairs may be replaced"


def test_groups_that_are_no_pairs_are_told(tmp_path: Path) -> None:
    both = {"input.png": encoded(smooth(0)), "target.png": encoded(smooth(1)), "cls": b"0"}
    alone = {"png": encoded(smooth(2)), "cls": b"3"}
    write_shard(tmp_path / "0.tar", [("a", both), ("b", {"input.png": both["input.png"]}), ("c", alone)])
    write_shard(tmp_path / "1.tar", [("d", alone)])
    write_shard(tmp_path / "2.tar", [("e", {**both, "cls": b"1"}), ("f", {**both, "input.jpg": b"x"})])
    index, left_out = index_only(str(tmp_path), None, max_broken=1)
    assert index.samples["key"].to_pylist() == ["a", "e"]
    assert index.shards["url"].to_pylist() == ["0.tar", "2.tar"]
    assert index.shards["class_counts"].to_pylist() == [[1], [0, 1]]
    assert index.samples["shard"].to_pylist() == [0, 1]
    assert read_index(str(tmp_path)).fingerprint == index.fingerprint
    reason = "samples are no pairs of input and target, as others are, and are not taken"
    assert left_out.lost == {reason: 3}
    assert [name.rpartition("/")[2] for name in left_out.examples[reason]] == ["0.tar: b", "0.tar: c", "1.tar: d"]
    assert [each.why for each in left_out.broken] == [
        "holds several inputs or targets (input.jpg, input.png, target.png), where one of each is expected; remove the "
        "others"
    ]
    with pytest.raises(DataError, match=r"0\.tar: b: is no pair of input and target, as others are; add what it lacks"):
        index_shards([str(tmp_path / "0.tar")], ShardCache(tmp_path, 0))


def test_halves_that_lie_apart_in_a_tar_are_told(tmp_path: Path) -> None:
    image = encoded(smooth(0))
    write_shard(tmp_path / "0.tar", [(key, {f"{half}.png": image}) for half in ("input", "target") for key in "ab"])
    with pytest.raises(DataError, match="'a': its members are not side by side in the tar"):
        index_only(str(tmp_path), None)


def test_sets_without_pairs_are_as_they_were(tmp_path: Path) -> None:
    """The fingerprint is that of the version before there were pairs."""
    index = make_set(tmp_path, 40, seed=1)
    assert not index.paired
    assert index.fingerprint == "91144b94208f87cea761ef50421fa2f9b31c9d70834c0e320afd49959bd3cfd1"
    assert index.samples.schema.equals(SAMPLES_SCHEMA)
    assert read_index(index.base).fingerprint == index.fingerprint
    write_shard(tmp_path / "0.tar", [("a", {"png": encoded(smooth(0)), "input.png": b"", "target.png": b""})])
    assert not index_shards([str(tmp_path / "0.tar")], ShardCache(tmp_path, 0)).paired, (
        "an image of its own comes first"
    )


def test_pairs_of_another_medium(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", [("a", {"input.i16": b"12", "target.i16": b"34", "png": b"5", "txt": b"six"})])
    index = index_shards([str(tmp_path / "0.tar")], ShardCache(tmp_path, 0), extensions=("i16",))
    assert (content(index, INPUT), content(index, TARGET)) == ([b"12"], [b"34"])
    assert index.captions == ["six"]


# What cannot be a pair


def test_what_has_no_partner_is_counted_and_told(tmp_path: Path) -> None:
    inputs, targets = two_folders(tmp_path)
    (inputs / "class0/alone.png").write_bytes(encoded(smooth(0)))
    next((inputs / "class1").glob("001.*")).unlink()
    index, left_out = pack(str(inputs), str(tmp_path / "out"), targets=str(targets))
    assert index.n == N - 1
    assert left_out.lost == {
        "images have no target of the same name and are not taken": 1,
        "images have no input of the same name and are not taken": 1,
    }
    (alone,), (lost,) = (left_out.examples[reason] for reason in left_out.lost)
    assert alone == f"{inputs}: class0/alone.png"
    assert lost.startswith(f"{targets}: class1/001.")


def test_equal_names_are_broken(tmp_path: Path) -> None:
    inputs, targets = two_folders(tmp_path, mixed=False)
    (targets / "class0/000.jpg").write_bytes(encoded(smooth(0), "JPEG"))
    index, left_out = pack(str(inputs), str(tmp_path / "out"), targets=str(targets), max_broken=1)
    assert index.n == N - 1
    ((where, why),) = left_out.broken
    assert where == f"{targets}: class0/000.jpg"
    assert why == f"has the name of {targets}: class0/000.png; rename all but one"


@pytest.mark.parametrize("half", ["input", "target"])
def test_a_broken_half_is_one_broken_sample(tmp_path: Path, half: str) -> None:
    inputs, targets = two_folders(tmp_path, mixed=False)
    ((inputs if half == "input" else targets) / "class1/003.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=f"its {half}: cannot be identified as an image"):
        pack(str(inputs), str(tmp_path / "out"), targets=str(targets))
    index, left_out = pack(str(inputs), str(tmp_path / "out"), targets=str(targets), max_broken=1)
    assert index.n == N - 1
    ((where, why),) = left_out.broken
    assert where == f"{inputs}: class1/003.png and {targets}: class1/003.png"
    assert why == f"its {half}: cannot be identified as an image"


@pytest.mark.parametrize(
    ("sizes", "fits"),
    [
        (((30, 40), (60, 80)), True),
        (((60, 80), (30, 40)), True),
        (((33, 50), (17, 25)), True),
        (((30, 40), (30, 40)), True),
        (((30, 40), (40, 30)), False),
        (((30, 40), (30, 44)), False),
        (((64, 64), (32, 30)), False),
    ],
)
def test_halves_may_differ_by_scale_alone(
    tmp_path: Path, sizes: tuple[tuple[int, int], tuple[int, int]], fits: bool
) -> None:
    for folder, size in zip("ab", sizes, strict=True):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.png").write_bytes(encoded(smooth(0, size)))
        (tmp_path / folder / "1.png").write_bytes(encoded(smooth(1)))
    index, left_out = pack(str(tmp_path / "a"), str(tmp_path / "out"), targets=str(tmp_path / "b"), max_broken=1)
    assert index.n == 1 + fits
    (height, width), (other_height, other_width) = sizes
    assert [each.why for each in left_out.broken] == [
        f"its input and target are {width} x {height} and {other_width} x {other_height} pixels, which differ by more "
        "than scale; cut them alike"
    ] * (not fits)


def test_both_halves_are_turned_cut_and_scaled_alike(tmp_path: Path) -> None:
    """A camera's orientation is each file's own; the rest is the same for both."""
    upright = smooth(0, (40, 60))
    exif = {0x0112: 6}
    turned = encoded(np.rot90(upright).copy(), "PNG", exif=_exif(exif))
    for folder, data in (("a", turned), ("b", encoded(smooth(0, (40, 60))))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.png").write_bytes(data)
    index, _ = pack(str(tmp_path / "a"), str(tmp_path / "out"), targets=str(tmp_path / "b"), size=20)
    given, target = images(index)["00000000"]
    assert given.shape == (20, 20, 3)
    np.testing.assert_array_equal(given, target)
    np.testing.assert_array_equal(given, decode(encoded(upright), 20, 3))


def _exif(tags: dict[int, int]) -> bytes:
    from PIL import Image as Pillow

    exif = Pillow.Exif()
    for tag, value in tags.items():
        exif[tag] = value
    return exif.tobytes()


def test_captions_and_labels_are_the_target_s_or_else_the_input_s(tmp_path: Path) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
        for name in "xyz":
            (tmp_path / folder / f"{name}.png").write_bytes(encoded(smooth(0)))
    (tmp_path / "a/x.txt").write_text("of the input")
    (tmp_path / "a/y.txt").write_text("of the input")
    (tmp_path / "b/y.txt").write_text("of the target")
    (tmp_path / "a/z.txt").write_bytes(b"\xff\xff\xff")
    (tmp_path / "a/dataset.json").write_text('{"labels": [["x.png", 2], ["y.png", 1], ["z.png", 0]]}')
    index, left_out = pack(str(tmp_path / "a"), str(tmp_path / "out"), targets=str(tmp_path / "b"))
    found = dict(
        zip(index.samples["key"].to_pylist(), zip(index.captions, index.labels.tolist(), strict=True), strict=True)
    )
    assert found == {"00000000": ("of the input", 2), "00000001": ("of the target", 1), "00000002": (None, 0)}
    assert left_out.lost == {"captions are not UTF-8 text": 1}


def test_sources_that_give_no_pairs(tmp_path: Path) -> None:
    inputs, targets = two_folders(tmp_path)
    shutil.copytree(targets / "class0", tmp_path / "flat")
    with pytest.raises(DataError, match=r"no image has a partner of its name in the other; .*\(class0/000, 000\)"):
        pack(str(inputs), str(tmp_path / "out"), targets=str(tmp_path / "flat"))
    idx = str(Path(__file__).parents[3] / "gandist/assets/fashion-10k")
    with pytest.raises(DataError, match="fashion-10k: its images have no names to find partners by; --pairs takes"):
        pack(idx, str(tmp_path / "out"), targets=str(targets))
    pack(str(inputs), str(tmp_path / "pairs"), targets=str(targets))
    with pytest.raises(DataError, match="holds pairs already; pack it without --pairs-halves"):
        pack(str(tmp_path / "pairs"), str(tmp_path / "out"), halves="left")
    with pytest.raises(DataError, match=r"holds pairs already; pack it without --pairs$"):
        pack(str(tmp_path / "pairs"), str(tmp_path / "out"), targets=str(targets))
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/0.png").write_bytes(encoded(smooth(0, (8, 9))))
    with pytest.raises(DataError, match=r"0\.png: is 9 pixels wide, which cannot be halved"):
        pack(str(tmp_path / "odd"), str(tmp_path / "out"), halves="left")


# Reading


def test_streamed_mapped_and_resident_are_the_same(packed: Index, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, N, 30)
    streamed = opened(packed, tmp_path, streamed=True)
    rows, labels = streamed.gather(numbers)
    assert rows.shape == (30, 2, 32, 32, 3)
    for part, member in enumerate((TARGET, INPUT)):
        files = content(packed, member)
        for row, number in zip(rows, numbers, strict=True):
            np.testing.assert_array_equal(row[part], decode(files[number], 32, 3))
    np.testing.assert_array_equal(labels, packed.labels[numbers])
    mapped = opened(packed, tmp_path)
    for found, conditions in (mapped.gather(numbers), ResidentSet(mapped, torch.device("cpu")).gather(numbers)):
        np.testing.assert_array_equal(found, rows)
        np.testing.assert_array_equal(conditions, labels)
    whole = ResidentSet(streamed, torch.device("cpu")).whole.rows.numpy()
    np.testing.assert_array_equal(whole, mapped.gather(np.arange(N))[0])


def test_a_feed_gives_pairs(packed: Index, tmp_path: Path) -> None:
    order = Order(packed.shards["n"].to_pylist(), seed=0)
    samples = opened(packed, tmp_path)
    feed = Feed(samples, order, batch=4, images_seen=8, rank=1, world_size=2)
    for step in range(2, 6):
        expected = samples.gather(order.take(4 * step, 4)[1::2])[0]
        np.testing.assert_array_equal(feed.next().rows.numpy(), expected)
    feed.close()


@pytest.mark.parametrize("streamed", [True, False])
def test_a_plain_medium_sees_the_targets(packed: Index, tmp_path: Path, streamed: bool) -> None:
    """In a cache in which the pairs are decoded too."""
    numbers = np.arange(N)
    pairs, _ = opened(packed, tmp_path).gather(numbers)
    targets, _ = opened(packed, tmp_path, streamed=streamed, medium=Image(resolution=32)).gather(numbers)
    np.testing.assert_array_equal(targets, pairs[:, 0])
    assert (pairs[:, 0] != pairs[:, 1]).any()
    np.testing.assert_array_equal(opened(packed, tmp_path).gather(numbers)[0], pairs)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("member", [INPUT, TARGET])
def test_damage_names_the_half(copy: Index, tmp_path: Path, member: str, streamed: bool) -> None:
    damage_half(copy, 7, member)
    key = copy.samples["key"][7].as_py()
    if not streamed:  # the whole shard is checked first
        with pytest.raises(DataError, match=r"000001\.tar: damaged: its sha256"):
            opened(copy, tmp_path)
    samples = opened(copy, tmp_path, streamed=True)
    message = rf"000001\.tar: damaged at sample '{key}' \({member}\): its bytes are not those that were indexed \(crc\)"
    with pytest.raises(DataError, match=message):
        samples.gather(np.array([7]))
    rows, labels = opened(copy, tmp_path / "skip", streamed=streamed, skip=True).gather(np.array([7, 8]))
    np.testing.assert_array_equal(rows[0], rows[1], "the next sound pair replaces it whole")
    assert labels[0] == labels[1] == copy.labels[8]


@pytest.mark.parametrize("member", [INPUT, TARGET])
def test_what_was_never_an_image_names_the_half(tmp_path: Path, member: str) -> None:
    files = {"input.png": encoded(smooth(0)), "target.png": encoded(smooth(1)), f"{member}.png": b"no image"}
    write_shard(tmp_path / "0.tar", [("a", files)])
    samples = opened(index_only(str(tmp_path), None)[0], tmp_path, streamed=True)
    with pytest.raises(DataError, match=rf"0\.tar: damaged at sample 'a' \({member}\): not a whole png, jpeg or webp"):
        samples.gather(np.array([0]))


def test_a_damaged_input_does_not_concern_a_plain_medium(copy: Index, tmp_path: Path) -> None:
    damage_half(copy, 7, INPUT)
    samples = opened(copy, tmp_path, streamed=True, medium=Image(resolution=32))
    assert samples.gather(np.arange(N))[0].shape == (N, 32, 32, 3)
    assert samples.damaged == 0


def test_a_set_without_pairs_is_refused_by_name(tmp_path: Path) -> None:
    index = make_set(tmp_path, 5)
    with pytest.raises(DataError) as caught:
        open_samples(index, MEDIUM, cache_dir=tmp_path)
    assert str(caught.value) == (
        f"data.path: {index.base}: holds no pairs, which condition.kind=paired needs; pack them: python -m "
        "gandist.pack --pairs INPUTS TARGETS FOLDER, and set data.path=FOLDER"
    )


def test_what_the_network_sees_is_mirrored_in_both_halves(packed: Index, tmp_path: Path) -> None:
    """From files to tensors: input and target of a sample are negatives of each other, mirrored or not."""
    medium = Paired(Image(resolution=32, flip=True))
    rows, _ = opened(packed, tmp_path, medium=medium).gather(np.arange(N))
    x = medium.to_network(torch.from_numpy(rows), {"flip": torch.linspace(0, 1, N)})
    torch.testing.assert_close(x[:, 0], -x[:, 1], atol=16 / 127.5, rtol=0)
    plain = medium.to_network(torch.from_numpy(rows))
    assert torch.equal(x[0], plain[0].flip(-1))
    assert torch.equal(x[-1], plain[-1])
