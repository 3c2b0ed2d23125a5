"""Packing: every kind of source, equal bytes for equal input, nothing half-written that looks whole."""

import gzip
import hashlib
import io
import json
import lzma
import re
import shutil
import signal
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from gandist.conditions.encoder import encoder
from gandist.data.cache import ShardCache
from gandist.data.index import Index
from gandist.data.index_files import read_index
from gandist.data.indexing import index_shards
from gandist.data.making import MOVING, WORK
from gandist.data.packing import pack
from gandist.errors import DataError
from gandist.pack import main
from tests.helpers.forked import command
from tests.helpers.pictures_in_pairs import side_by_side, two_folders


def pixels(seed: int, shape: tuple[int, ...] = (6, 8, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(array: np.ndarray, format: str = "PNG") -> bytes:
    sink = io.BytesIO()
    Image.fromarray(array).save(sink, format)
    return sink.getvalue()


def make_folder(root: Path, n: int = 12) -> Path:
    """n images in the classes "cat" and "dog", the even ones with a caption."""
    for i in range(n):
        path = root / ("cat", "dog")[i % 2] / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(pixels(i)))
        if i % 2 == 0:
            path.with_suffix(".txt").write_text(f"cät {i}\n")
    (root / ".DS_Store").write_bytes(b"litter")
    return root


def images(index: Index) -> dict[str, np.ndarray]:
    """Key -> pixels, read by offset as a rank does."""
    found = {}
    for row in index.samples.to_pylist():
        with Path(index.url(row["shard"])).open("rb") as file:
            file.seek(row["offset"])
            found[row["key"]] = np.asarray(Image.open(io.BytesIO(file.read(row["size"]))))
    return found


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def check_twelve(index: Index) -> None:
    """The index holds `make_folder`'s images, labels and captions; keys are numbers in the order of the source."""
    cats_first = [*range(0, 12, 2), *range(1, 12, 2)]
    found = images(index)
    assert sorted(found) == [f"{i:08d}" for i in range(12)]
    for row in index.samples.to_pylist():
        i = cats_first[int(row["key"])]
        np.testing.assert_array_equal(found[row["key"]], pixels(i))
        assert row["label"] == i % 2
        assert row["caption"] == (f"cät {i}" if i % 2 == 0 else None)
    assert index.classes == 2


def test_folder(tmp_path: Path) -> None:
    index, left_out = pack(str(make_folder(tmp_path / "in")), str(tmp_path / "out"), shard_size=5)
    check_twelve(index)
    assert (left_out.broken, left_out.lost, left_out.skipped) == ([], {}, {"hidden": 1})
    assert index.class_names == ("cat", "dog")
    assert index.shards["n"].to_pylist() == [5, 5, 2]
    assert index.shards["url"].to_pylist() == ["000000.tar", "000001.tar", "000002.tar"]
    assert sorted(hashes(tmp_path / "out")) == [
        "000000.tar", "000001.tar", "000002.tar", "samples.parquet", "shards.parquet",
    ]  # fmt: skip
    assert index.samples["key"].to_pylist() != sorted(index.samples["key"].to_pylist())
    again = read_index(str(tmp_path / "out"))
    assert again.fingerprint == index.fingerprint
    assert again.samples.equals(index.samples)
    counts = np.sum([row + [0] * (2 - len(row)) for row in index.shards["class_counts"].to_pylist()], axis=0)
    assert counts.tolist() == [6, 6]


def test_what_we_write_webdataset_reads(tmp_path: Path) -> None:
    index, _ = pack(str(make_folder(tmp_path / "in")), str(tmp_path / "out"), shard_size=12)
    samples = list(webdataset.WebDataset(str(tmp_path / "out/000000.tar"), shardshuffle=False).decode("pil"))
    assert [sample["__key__"] for sample in samples] == index.samples["key"].to_pylist()
    assert [sample["cls"] for sample in samples] == index.samples["label"].to_pylist()


@pytest.mark.parametrize("wrapper", ["", "pictures/"])
def test_zip(tmp_path: Path, wrapper: str) -> None:
    root = make_folder(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in root.rglob("*.*"):
            archive.write(path, wrapper + path.relative_to(root).as_posix())
        archive.writestr("__MACOSX/cat/._000.png", b"litter")
    check_twelve(pack(str(tmp_path / "in.zip"), str(tmp_path / "out"))[0])


@pytest.mark.parametrize("zipped", [False, True])
def test_labels_as_stylegan_lists_them(tmp_path: Path, zipped: bool) -> None:
    """Subfolders are then no classes; what is not listed has no label."""
    root, labels = tmp_path / "in", [["00000/a.png", 6], ["00001/b.png", 2]]
    for number, name in enumerate(("00000/a.png", "00001/b.png", "00001/c.png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(pixels(number)))

    def packed(listing: str) -> Index:
        (root / "dataset.json").write_text(listing)
        src = shutil.make_archive(str(tmp_path / "in"), "zip", root) if zipped else str(root)
        return pack(src, str(tmp_path / "out"), overwrite=True)[0]

    index = packed(json.dumps({"labels": labels}))
    rows = sorted(index.samples.to_pylist(), key=lambda row: row["key"])
    assert [row["label"] for row in rows] == [6, 2, -1]
    assert index.class_names == ()
    assert set(packed('{"labels": null}').samples["label"].to_pylist()) == {-1}
    for listing in ('{"labels": [["00000/a.png", [0, 1]]]}', '{"labels": [["00000/a.png"]]}', "[]", "{", "{}"):
        with pytest.raises(DataError, match=r"in(\.zip)?: dataset\.json does not give class numbers as"):
            packed(listing)


def test_tar_of_samples(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with webdataset.TarWriter(str(tmp_path / "in/x.tar")) as tar:
        for i in [*range(0, 12, 2), *range(1, 12, 2)]:
            text = {"txt": f"cät {i}"} if i % 2 == 0 else {}
            tar.write({"__key__": f"a/{i}", "png": encoded(pixels(i)), "cls": i % 2, **text})
    check_twelve(pack(str(tmp_path / "in/x.tar"), str(tmp_path / "out1"))[0])
    check_twelve(pack(str(tmp_path / "in"), str(tmp_path / "out2"))[0])


@pytest.mark.parametrize("kind", ["bytes", "hugging_face", "strings", "two_files"])
def test_parquet(tmp_path: Path, kind: str) -> None:
    order = [*range(0, 12, 2), *range(1, 12, 2)]
    content = [encoded(pixels(i)) for i in order]
    columns: dict[str, Any] = {
        "image": content if kind != "hugging_face" else [{"bytes": b, "path": None} for b in content],
        "label": [("cat", "dog")[i % 2] if kind == "strings" else i % 2 for i in order],
        "text": [f"cät {i}" if i % 2 == 0 else None for i in order],
    }
    table = pa.table(columns)
    src = tmp_path / "in.parquet"
    if kind == "hugging_face":
        names = {"info": {"features": {"label": {"names": ["cat", "dog"]}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(names)})
    if kind == "two_files":
        src = tmp_path / "in"
        src.mkdir()
        pq.write_table(table.slice(0, 5), src / "a.parquet")
        pq.write_table(table.slice(5), src / "b.parquet")
    else:
        pq.write_table(table, src, row_group_size=5)
    index, _ = pack(str(src), str(tmp_path / "out"))
    check_twelve(index)
    assert index.class_names == (("cat", "dog") if kind in ("hugging_face", "strings") else ())


def write_idx(path: Path, array: np.ndarray) -> None:
    data = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    packed: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".xz": lzma.compress}
    path.write_bytes(packed.get(path.suffix, bytes)(data))


@pytest.mark.parametrize(("suffix", "whole_folder"), [("", True), (".gz", False), (".xz", True)])
def test_idx(tmp_path: Path, suffix: str, whole_folder: bool) -> None:
    grey, labels = pixels(0, (5, 7, 7)), np.array([3, 1, 0, 2, 3], np.uint8)
    write_idx(tmp_path / f"t-images-idx3-ubyte{suffix}", grey)
    write_idx(tmp_path / f"t-labels-idx1-ubyte{suffix}", labels)
    src = tmp_path if whole_folder else tmp_path / f"t-images-idx3-ubyte{suffix}"
    index, _ = pack(str(src), str(tmp_path / "out"))
    for key, image in images(index).items():
        np.testing.assert_array_equal(image, grey[int(key)])
    assert {int(row["key"]): row["label"] for row in index.samples.to_pylist()} == dict(enumerate(labels.tolist()))


def test_idx_that_disagrees_is_refused(tmp_path: Path) -> None:
    write_idx(tmp_path / "t-images-idx3-ubyte", pixels(0, (5, 7, 7)))
    write_idx(tmp_path / "t-labels-idx1-ubyte", np.zeros(4, np.uint8))
    with pytest.raises(DataError, match="4 labels for the 5 images"):
        pack(str(tmp_path), str(tmp_path / "out"))
    (tmp_path / "t-images-idx3-ubyte").write_bytes((tmp_path / "t-images-idx3-ubyte").read_bytes()[:-1])
    with pytest.raises(DataError, match="fetch it again"):
        pack(str(tmp_path), str(tmp_path / "out"))


def test_same_input_same_bytes(tmp_path: Path) -> None:
    src = str(make_folder(tmp_path / "in", 40))
    for out, workers, seed in (("a", 1, 0), ("b", 2, 0), ("c", 2, 1)):
        options = ["--workers", str(workers), "--seed", str(seed), "--shard-size", "7"]
        assert main([src, str(tmp_path / out), *options]) == 0
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert hashes(tmp_path / "a") != hashes(tmp_path / "c")
    a, b = (read_index(str(tmp_path / out)) for out in "ab")
    assert a.fingerprint == b.fingerprint


def captioned(root: Path) -> Path:
    """`make_folder`, with a caption beside each image."""
    for path in make_folder(root).rglob("*.png"):
        path.with_suffix(".txt").write_text(f"a {path.parent.name}")
    return root


def test_captions_are_embedded(tmp_path: Path) -> None:
    src = str(captioned(tmp_path / "in"))
    for out, workers in (("a", "1"), ("b", "2")):
        options = ["--captions", "--shard-size", "5", "--workers", workers]
        assert main([src, str(tmp_path / out), *options]) == 0
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    index = read_index(str(tmp_path / "a"))
    assert index.vectors is not None
    cat, dog = encoder().encode(["a cat", "a dog"])
    for label, vector in zip(index.labels, index.vectors, strict=True):
        np.testing.assert_allclose(vector, dog if label else cat, rtol=0, atol=1e-6)
    assert index.encoder == encoder().id
    assert index.embedded is not None
    assert index.embedded["caption"].to_pylist() == ["a cat", "a dog"]


def test_captions_of_shards_are_embedded(tmp_path: Path) -> None:
    src, out = str(captioned(tmp_path / "in")), tmp_path / "out"
    packed, _ = pack(src, str(out), captions=True)
    (out / "captions.parquet").unlink()
    assert main([str(out), "--index-only", "--captions"]) == 0
    assert read_index(str(out)).fingerprint == packed.fingerprint
    assert main([str(out), "--index-only"]) == 0
    plain = read_index(str(out))
    assert plain.vectors is None
    assert plain.fingerprint != packed.fingerprint
    assert plain.samples.equals(packed.samples)


def test_images_without_a_caption(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src, out = make_folder(tmp_path / "in"), tmp_path / "out"
    (src / "cat/000.txt").write_text(" \n")
    pack(str(src), str(out))
    before = hashes(out)
    assert main([str(src), str(out), "--captions", "--overwrite"]) == 2
    message = capsys.readouterr().err
    assert "dog/001.png: has no caption" in message
    assert "cat/000.png: has no caption" in message
    assert "7 broken images" in message
    assert main([str(out), "--index-only", "--captions"]) == 2
    assert f"{out}: 7 of 12 images have no caption" in capsys.readouterr().err
    assert hashes(out) == before
    assert main([str(src), str(out), "--captions", "--overwrite", "--max-broken", "7"]) == 0
    assert sorted(filter(None, read_index(str(out)).captions)) == ["cät 10", "cät 2", "cät 4", "cät 6", "cät 8"]
    assert main([str(src), str(out), "--overwrite"]) == 0
    assert hashes(out) == before


def test_packed_index_is_what_index_only_finds(tmp_path: Path) -> None:
    src, out = str(make_folder(tmp_path / "in")), tmp_path / "out"
    packed, _ = pack(src, str(out), shard_size=5)
    (out / "shards.parquet").unlink()
    assert main([str(out), "--index-only"]) == 0
    assert read_index(str(out)).fingerprint == packed.fingerprint


@pytest.mark.parametrize(("format", "signature"), [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8"), ("webp", b"RIFF")])
def test_size_format_and_channels(tmp_path: Path, format: str, signature: bytes) -> None:
    (tmp_path / "in").mkdir()
    Image.linear_gradient("L").resize((90, 60)).convert("RGB").save(tmp_path / "in/a.png")
    options = ["--size", "16", "--channels", "1", "--format", format, "--quality", "90"]
    assert main([str(tmp_path / "in"), str(tmp_path / "out"), *options]) == 0
    index = read_index(str(tmp_path / "out"))
    row = index.samples.to_pylist()[0]
    assert row["ext"] == format
    assert row["label"] == -1
    assert index.classes == 0
    content = Path(index.url(0)).read_bytes()[row["offset"] :][: row["size"]]
    assert content.startswith(signature)
    image = Image.open(io.BytesIO(content))
    assert image.size == (16, 16)
    assert np.ptp(np.asarray(image.convert("RGB")), axis=2).max() == 0
    assert (np.diff(np.asarray(image.convert("L"), np.int64)[:, 8]) > 0).all()


def test_crop_or_squeeze(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    (tmp_path / "in/wide.png").write_bytes(encoded(wide))
    cut, _ = pack(str(tmp_path / "in"), str(tmp_path / "cut"), size=10)
    whole, _ = pack(str(tmp_path / "in"), str(tmp_path / "whole"), size=10, crop="none")
    assert images(cut)["00000000"].min() == 255
    assert images(whole)["00000000"][:, 0].max() < 20


def test_odd_modes_become_grey_or_rgb(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    clear = np.zeros((4, 4, 4), np.uint8)
    Image.fromarray(clear).save(tmp_path / "in/0.png")  # transparent: white
    Image.fromarray(np.full((4, 4), 0x8000, np.uint16)).save(tmp_path / "in/1.png")  # 16 bits: not clipped
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "in/2.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "in/3.jpg", exif=turned)
    found = images(pack(str(tmp_path / "in"), str(tmp_path / "out"))[0])
    assert [found[f"{i:08d}"].shape for i in range(4)] == [(4, 4, 3), (4, 4), (4, 4, 3), (8, 4, 3)]
    assert found["00000000"].min() == 255
    assert found["00000001"].max() == found["00000001"].min() == 0x80
    assert found["00000002"][0, 0, 0] > 200 > 60 > found["00000002"][0, 0, 1]


def test_broken_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src = make_folder(tmp_path / "in")
    (src / "cat/000.png").write_bytes(b"not an image")
    torn = src / "dog/005.png"
    torn.write_bytes(torn.read_bytes()[:-60])
    out = tmp_path / "out"
    assert main([str(src), str(out)]) == 2
    message = capsys.readouterr().err
    assert "cat/000.png" in message
    assert "dog/005.png" in message
    assert "--max-broken 2" in message
    assert list(out.iterdir()) == []
    assert main([str(src), str(out), "--max-broken", "1"]) == 2
    capsys.readouterr()
    assert main([str(src), str(out), "--max-broken", "2", "--shard-size", "4"]) == 0
    printed = capsys.readouterr()
    assert "dog/005.png" in printed.err
    assert "2 broken images left out" in printed.out
    assert read_index(str(out)).n == 10


def test_nothing_but_broken_images(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(b"")
    with pytest.raises(DataError, match="no image could be read"):
        pack(str(tmp_path / "in"), str(tmp_path / "out"), max_broken=5)


def test_given_up_early_where_everything_is_broken(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(400):
        (tmp_path / f"in/{i:03d}.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="more than 101 broken images") as caught:
        pack(str(tmp_path / "in"), str(tmp_path / "out"), max_broken=1, shard_size=50, workers=1)
    assert str(caught.value).count("\n") == 101


def test_existing_set_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src, other, out = make_folder(tmp_path / "in"), make_folder(tmp_path / "more", 14), tmp_path / "out"
    assert main([str(src), str(out), "--shard-size", "3"]) == 0
    before = hashes(out)
    assert main([str(other), str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    (other / "cat/000.png").write_bytes(b"broken")
    assert main([str(other), str(out), "--overwrite"]) == 2
    assert hashes(out) == before
    assert main([str(other), str(out), "--overwrite", "--max-broken", "1"]) == 0
    assert read_index(str(out)).n == 13
    assert sorted(hashes(out)) == ["000000.tar", "samples.parquet", "shards.parquet"]
    assert main([str(out), str(out), "--overwrite"]) == 2


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda p: None, "no such file or folder"),
        (lambda p: p.mkdir(), "holds no images"),
        (lambda p: p.write_text("hello"), "not a folder"),
        (lambda p: (make_folder(p), (p / "stray.png").write_bytes(b"x")), "stray.png lies outside"),
    ],
)
def test_sources_that_are_none(tmp_path: Path, make: Any, complaint: str) -> None:
    make(tmp_path / "in")
    with pytest.raises(DataError, match=complaint):
        pack(str(tmp_path / "in"), str(tmp_path / "out"))


@pytest.mark.parametrize("name", ["a.zip", "a.parquet", "a.tar", "a-images-idx3-ubyte.gz"])
def test_damaged_sources(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_bytes(b"something else entirely")
    assert main([str(tmp_path / name), str(tmp_path / "out")]) == 2
    assert name in capsys.readouterr().err


def test_destinations_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src = str(make_folder(tmp_path / "in"))
    (tmp_path / "file").write_text("")
    assert main([src, str(tmp_path / "file")]) == 2
    assert main([src, "s3://bucket/x"]) == 2
    assert capsys.readouterr().err.count("error: ") == 2
    with pytest.raises(SystemExit, match="2"):
        main([src])
    with pytest.raises(SystemExit, match="2"):
        main([src, "out", "--size", "0"])


def test_foreign_shards_are_never_taken_for_ours(tmp_path: Path) -> None:
    src, out = make_folder(tmp_path / "in"), tmp_path / "out"
    out.mkdir()
    (out / "000000.tar").write_bytes(b"theirs")
    (src / "cat/000.png").write_bytes(b"broken")
    assert main([str(src), str(out)]) == 2
    assert main([str(src), str(out), "--overwrite"]) == 2
    assert main([str(src), str(out)]) == 2
    assert [path.name for path in out.iterdir()] == ["000000.tar"]


def test_kill_9_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    src, out = make_folder(tmp_path / "in", 40), tmp_path / "out"
    big = encoded(pixels(7, (300, 300, 3)))
    for path in src.rglob("*.png"):
        path.write_bytes(big)
    words = [str(src), str(out), "--shard-size", "3", "--workers", "1"]
    process = command(tmp_path / "log", "gandist.pack", *words)
    try:
        deadline = time.monotonic() + 60
        while len(list((out / WORK).glob("*.tar"))) < 3:
            assert process.exitcode is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert list(out.glob("*.tar")) == []
    with pytest.raises(DataError, match="holds no index"):
        read_index(str(out))
    assert main(words) == 0
    pack(str(src), str(tmp_path / "whole"), shard_size=3)
    assert hashes(out) == hashes(tmp_path / "whole")


def test_killed_between_shards_and_index(tmp_path: Path) -> None:
    src, out = str(make_folder(tmp_path / "in")), tmp_path / "out"
    pack(src, str(out), shard_size=3)
    whole = hashes(out)
    (out / "shards.parquet").unlink()  # as `kill -9` leaves it just before the end
    (out / "000003.tar").rename(out / "stale.tar")
    (out / WORK).mkdir()
    (out / WORK / MOVING).write_text(json.dumps([path.name for path in out.glob("*.tar")]))
    with pytest.raises(DataError, match="holds no index"):
        read_index(str(out))
    assert main([src, str(out), "--shard-size", "3"]) == 0
    assert hashes(out) == whole


def test_members_are_anonymous(tmp_path: Path) -> None:
    pack(str(make_folder(tmp_path / "in")), str(tmp_path / "out"))
    with tarfile.open(tmp_path / "out/000000.tar") as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in tar} == {(0, 0, 0, "", "")}


def test_seed_decides_the_order(tmp_path: Path) -> None:
    src = str(make_folder(tmp_path / "in"))
    orders = [pack(src, str(tmp_path / str(s)), seed=s)[0].samples["key"].to_pylist() for s in range(2)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
    # Fixed for good: sets packed by another version must have the same order.
    assert orders[0][:4] == ["00000000", "00000002", "00000011", "00000009"]
    shards = [str(tmp_path / "0/000000.tar")]
    assert index_shards(shards, ShardCache(tmp_path, 0)).samples["key"].to_pylist() == orders[0]


def test_some_of_the_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first of the order that all of them have, so that a larger number holds a smaller one."""
    src = str(make_folder(tmp_path / "in"))
    orders = {}
    for n in (12, 7, 3):
        assert main([src, str(tmp_path / str(n)), "--n", str(n), "--shard-size", "5"]) == 0
        orders[n] = read_index(str(tmp_path / str(n))).samples["key"].to_pylist()
    assert orders[12] == pack(src, str(tmp_path / "all"))[0].samples["key"].to_pylist()
    assert (orders[7], orders[3]) == (orders[12][:7], orders[12][:3])
    capsys.readouterr()
    assert main([src, str(tmp_path / "more"), "--n", "13"]) == 2
    assert capsys.readouterr().err == f"error: {src}: holds 12 images, fewer than --n 13; lower it\n"


def test_the_images_that_another_set_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src = str(make_folder(tmp_path / "in"))
    whole = pack(src, str(tmp_path / "all"))[0].samples["key"].to_pylist()
    for options, expected in ((["--skip", "7"], whole[7:]), (["--skip", "7", "--n", "3"], whole[7:10])):
        assert main([src, str(tmp_path / "out"), *options, "--overwrite"]) == 0
        assert read_index(str(tmp_path / "out")).samples["key"].to_pylist() == expected
    capsys.readouterr()
    assert main([src, str(tmp_path / "more"), "--skip", "7", "--n", "6"]) == 2
    assert (
        capsys.readouterr().err
        == f"error: {src}: holds 12 images, 5 without the --skip 7 first, fewer than --n 6; lower it\n"
    )
    assert main([src, str(tmp_path / "more"), "--skip", "12"]) == 2
    assert capsys.readouterr().err == f"error: {src}: holds 12 images; --skip 12 leaves none\n"


def test_the_command_says_how_the_classes_are_filled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src = make_folder(tmp_path / "in", 5)
    assert main([str(src), str(tmp_path / "out")]) == 0
    assert "images a class: least 2 (dog), most 3 (cat)\n" in capsys.readouterr().out
    labels = [["cat/000.png", 3], ["cat/002.png", 0], ["gone.png", 1]]
    (src / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert main([str(src), str(tmp_path / "other")]) == 0
    said = capsys.readouterr()
    assert "images a class: least 1 (class 0), most 1 (class 0); 2 without any (class 1, class 2)\n" in said.out
    assert "gone.png" in said.err, "a label that matches no image"


def test_the_command_packs_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the flag at either end."""
    inputs, targets = map(str, two_folders(tmp_path))
    (Path(inputs) / "class0/alone.png").write_bytes(encoded(pixels(0)))
    assert main(["--pairs", inputs, targets, str(tmp_path / "1"), "--shard-size", "5"]) == 0
    said = capsys.readouterr()
    assert f"{tmp_path / '1'}: 12 pairs, 2 classes, 3 shards" in said.out
    assert "not taken: 1 images have no target of the same name and are not taken" in said.out
    assert "class0/alone.png" in said.err
    assert main([inputs, targets, str(tmp_path / "2"), "--pairs", "--shard-size", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["paired"] is True
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2")
    assert main([str(tmp_path / "1"), "--index-only"]) == 0
    assert read_index(str(tmp_path / "1")).fingerprint == read_index(str(tmp_path / "2")).fingerprint
    halves = str(side_by_side(tmp_path / "halves"))
    assert main([halves, str(tmp_path / "3"), "--pairs-halves", "left"]) == 0
    assert read_index(str(tmp_path / "3")).paired
    first = {path.name for path in (tmp_path / "1").iterdir()}
    assert main(["--pairs", inputs, targets, str(tmp_path / "1")]) == 2
    assert {path.name for path in (tmp_path / "1").iterdir()} == first


def test_webdataset_reads_our_pairs(tmp_path: Path) -> None:
    inputs, targets = map(str, two_folders(tmp_path))
    index, _ = pack(inputs, str(tmp_path / "out"), targets=targets)
    samples = list(webdataset.WebDataset(str(tmp_path / "out/000000.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == index.samples["key"].to_pylist()
    assert {"input.png", "target.png", "cls"} <= set(samples[0])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--pairs", "a", "b"], r"--pairs takes SRC_A \(the inputs\), SRC_B \(the targets\) and DEST"),
        (["a", "b", "c"], "unrecognized arguments: c"),
        (["--pairs", "a", "b", "c", "--pairs-halves", "left"], "not allowed with argument"),
        (["a", "--index-only", "--pairs"], "--index-only: leave out --pairs: shards with"),
        (["a", "--index-only", "--pairs-halves", "left"], "--index-only: leave out --pairs: shards with"),
        (["a", "b", "--pairs-halves", "top"], "invalid choice: 'top'"),
    ],
)
def test_arguments_that_name_no_pairs(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert re.search(complaint, capsys.readouterr().err)
