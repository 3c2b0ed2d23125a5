"""Labels, captions and splits: none is lost in silence, whatever the files are called. Each table takes new rows."""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gandist.data.index_files import read_index
from gandist.data.samples import Source
from gandist.data.sources import open_source
from gandist.errors import DataError
from gandist.pack import main

Files = dict[str, Any]
"""File name -> content; None: an image of its own."""


def enc(seed: int = 0) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def contents(files: Files) -> dict[str, bytes]:
    listing = {n: json.dumps({"labels": c}).encode() for n, c in files.items() if n.endswith("dataset.json")}
    plain = {n: c if isinstance(c, bytes) else str(c).encode() for n, c in files.items() if c is not None}
    return {n: enc(i) for i, n in enumerate(files)} | plain | listing


def make(root: Path, kind: str, files: Files) -> Path:
    """The files as a folder, zip, tar or folder of tars and tables."""
    path = root / {"folder": "in", "zip": "in.zip", "tar": "in.tar"}[kind]
    if kind == "folder":
        for name, content in contents(files).items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in contents(files).items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w") as tar:
            for name, content in contents(files).items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def labels_of(source: Source) -> list[int]:
    return [source.read(i).label for i in range(source.n)]


AB: Files = {"a.png": None, "b.png": None}
TREE: Files = {"cat/1.png": None, "dog/2.png": None}
SPLITS: Files = {f"{split}/{n}": None for split in ("train", "val") for n in ("cat/1.png", "dog/2.png", "dog/3.png")}

TAKEN: dict[str, Any] = {
    # name: (kind, files, options, labels, captions, reasons and counts of what was not taken)
    "listing": ("folder", {**AB, "dataset.json": [["a.png", 1], ["b.png", 0]]}, {}, [1, 0], None, {}),
    "listing that is an object": ("folder", {**AB, "dataset.json": {"a.png": 1, "b.png": 0}}, {}, [1, 0], None, {}),
    "listing with backslashes": ("folder", {"x/a.png": None, "dataset.json": [["x\\a.png", 5]]}, {}, [5], None, {}),
    "listing with dot slash": ("zip", {"x/a.png": None, "dataset.json": [["./x/a.png", 5]]}, {}, [5], None, {}),
    "listing of half": (
        "folder", {**AB, "dataset.json": [["a.png", 3], ["c.png", 1], ["d.png", 1]]}, {}, [3, -1], None,
        {"labels in dataset.json match no image": 2, "images have no label in dataset.json": 1},
    ),
    "listing left alone": ("folder", {**AB, "dataset.json": [["a.png", -7]]}, {"labels": "none"}, [-1, -1], None, {}),
    "folders over listing": ("folder", {**TREE, "dataset.json": [["x", 7]]}, {"labels": "folders"}, [0, 1], None, {}),
    "zip with backslashes": (
        "zip", {"cat\\1.png": None, "cat\\1.txt": "a", "dog\\2.png": None}, {}, [0, 1], ["a", None], {},
    ),
    "zip with backslashes and folders": (
        "zip", {"p\\": "", "p\\cat\\1.png": None, "p\\dog\\2.png": None}, {}, [0, 1], None, {},
    ),
    "zip from the root": ("zip", {"/cat/1.png": None, "/dog/2.png": None}, {}, [0, 1], None, {}),
    "folder with backslashes": ("folder", {"cat\\1.png": None, "dog\\2.png": None}, {}, [0, 1], None, {}),
    "texts beside": (
        "folder", {"a.b.png": None, "a.b.txt": "1", "c.png": None, "c.png.txt": "2", "d.x.png": None, "d.txt": "3",
                   "README.txt": "!", "e.png": None, "e.TXT": "4"}, {}, [-1] * 4, ["1", "2", "3", "4"],
        {"captions (.txt) lie beside no image": 1},
    ),
    "class numbers beside": (
        "folder", {**AB, "a.cls": "1"}, {}, [-1, -1], None,
        {"class numbers (.cls) beside images are not read; pack the tars that they come from": 1},
    ),
    "one image outside": (
        "folder", {**TREE, "logo.png": None}, {"labels": "folders"}, [0, 1, -1], None,
        {"images lie outside the class folders and have no label": 1},
    ),
    "one image outside, no classes": ("zip", {**TREE, "logo.png": None}, {"labels": "none"}, [-1] * 3, None, {}),
    "split": ("folder", SPLITS, {"split": "train"}, [0, 1, 1], None, {}),
    "split by another name": ("zip", SPLITS, {"split": "validation"}, [0, 1, 1], None, {}),
    "all splits": ("folder", SPLITS, {"split": "all"}, [0, 1, 1] * 2, None, {}),
    "split below": ("folder", {f"data/{n}": None for n in SPLITS}, {"split": "val"}, [0, 1, 1], None, {}),
    "split of each class": ("folder", {f"{c}/{s}/1.png": None for c in "ab" for s in ("train", "test")},
                            {"split": "test"}, [0, 1], None, {}),
    "split without classes": (
        "folder", {"train2017/1.png": None, "val2017/2.png": None}, {"split": "train"}, [-1], None, {},
    ),
    "split with a listing": ("folder", {**SPLITS, "train/dataset.json": [["cat/1.png", 8]]}, {"split": "train"},
                             [8, -1, -1], None, {"images have no label in dataset.json": 2}),
    "split and a listing above": ("folder", {**SPLITS, "dataset.json": [[n, 4] for n in SPLITS]}, {"split": "val"},
                                  [4] * 3, None, {}),
    "splits that are classes": ("folder", SPLITS, {"labels": "folders"}, [0] * 3 + [1] * 3, None, {}),
    "a class called train": ("folder", {"train/1.png": None, "car/1.png": None}, {}, [0, 1], None, {}),
    "a class with a split in its name": (
        "folder", {"train_station/1.png": None, "test_tube/1.png": None}, {}, [0, 1], None, {},
    ),
    "one class": ("folder", {"photos/1.png": None}, {}, [0], None, {}),
    "tar, two dots": ("tar", {"a_0.5x.png": None, "a_0.5x.cls": "3", "a_0.5x.txt": "t"}, {}, [3], ["t"], {}),
    "tar, two dots and json": ("tar", {"a.5x.png": None, "a.5x.json": '{"label": 2}'}, {}, [2], None, {}),
    "tar, image with a name": ("tar", {"0.image.jpg": enc(), "0.cls": "4"}, {}, [4], None, {}),
    "tar, label with a name": ("tar", {"0.jpg": enc(), "0.label.cls": "4", "0.caption.txt": "t"}, {}, [4], ["t"], {}),
    "tar, two labels": (
        "tar", {"0.jpg": enc(), "0.fine.cls": "4", "0.coarse.cls": "1"}, {}, [-1], None,
        {"samples have several .cls, of which none was taken": 1},
    ),
    "tar, other json": ("tar", {"0.jpg": enc(), "0.boxes.json": "{"}, {}, [-1], None, {"members are no JSON": 1}),
    "tar, labels left alone": ("tar", {"0.jpg": enc(), "0.cls": "cat"}, {"labels": "none"}, [-1], None, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_taken(tmp_path: Path, name: str) -> None:
    kind, files, options, labels, captions, left_out = TAKEN[name]
    source = open_source(str(make(tmp_path, kind, files)), tmp_path, **options)
    assert labels_of(source) == labels
    assert [source.read(i).caption for i in range(source.n)] == (captions or [None] * source.n)
    assert dict(source.left_out.lost) == left_out
    assert all(source.left_out.examples[reason] for reason in left_out)


REFUSED: dict[str, Any] = {
    # name: (kind, files, options, pattern of the message)
    "listing of others": (
        "folder", {**AB, "dataset.json": [["x/a.png", 0]]}, {}, r"none of the 1 names .*x/a\.png.*a\.png",
    ),
    "negative": (
        "folder", {**AB, "dataset.json": [["a.png", 0], ["b.png", -7]]}, {}, r"in: dataset\.json, row 1 \(b\.png\).*-7",
    ),
    "huge": ("zip", {**AB, "dataset.json": [["a.png", 1 << 40]]}, {}, r"in\.zip: dataset\.json, row 0 .*--labels none"),
    "fraction": ("folder", {**AB, "dataset.json": [["a.png", 1.5]]}, {}, r"a\.png has 1\.5"),
    "twice": (
        "folder", {**AB, "dataset.json": [["a.png", 1], ["a.png", 2]]}, {},
        r"row 1: a\.png is class 2, and 1 further up",
    ),
    "no listing": ("folder", TREE, {"labels": "listing"}, "holds no dataset.json"),
    "no folders": ("folder", AB, {"labels": "folders"}, "holds no class folders"),
    "no column": ("zip", TREE, {"labels": "column"}, "--labels folders or listing or none"),
    "one outside": ("folder", {**TREE, "logo.png": None}, {}, "logo.png lies outside.*--labels none.*--labels folders"),
    "splits": ("folder", SPLITS, {}, "train, val are splits and no classes; take one .--split train."),
    "splits in a zip": ("zip", SPLITS, {}, "--split train"),
    "splits without classes": ("folder", {"train2017/1.png": None, "val2017/2.png": None}, {}, "--split train2017"),
    "a split alone": ("folder", {"train/cat/1.png": None, "train/dog/1.png": None}, {}, "--split train"),
    "splits of each class": (
        "folder", {f"{c}/{s}/1.png": None for c in "ab" for s in ("train", "test")}, {}, "--split",
    ),
    "another split": ("folder", SPLITS, {"split": "test"}, "no split 'test'; it holds train, val"),
    "no splits": ("folder", TREE, {"split": "test"}, "no split 'test'; leave out --split"),
    "too high": ("folder", {f"photos/{n}": None for n in TREE}, {}, "'photos', which holds cat, dog.*pack .*in/photos"),
    "tables below": ("folder", {"data/a.parquet": "", "README.md": ""}, {}, r"the folder data in it holds \*\.parquet"),
    "tar, a name": ("tar", {"0.jpg": enc(), "0.x.cls": "cat"}, {}, r"in\.tar: sample '0'.*'cat'.*--labels none"),
    "tar, two images": ("tar", {"a_0.5x.png": None, "a_0.7x.png": None}, {}, "up to their first dot"),
    "tar, folders": ("tar", {"0.jpg": enc()}, {"labels": "folders"}, "--labels none"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    kind, files, options, message = REFUSED[name]
    with pytest.raises(DataError, match=message):
        open_source(str(make(tmp_path, kind, files)), tmp_path, **options)


def named(table: pa.Table, *names: str) -> pa.Table:
    notes = {"info": {"features": {"label": {"names": names}}}}
    return table.replace_schema_metadata({"huggingface": json.dumps(notes)})


def table(**columns: Any) -> pa.Table:
    n = len(next(iter(columns.values()))) if columns else 2
    return pa.table({"image": [enc(i) for i in range(n)], **columns})


NUMBERS = table(label=[0, 1])
TABLES: dict[str, Any] = {
    # name: (parts, options, labels, captions, reasons) or (parts, options, pattern of the message)
    "images alone": ([table()], {}, [-1, -1], None, {}),
    "images alone, in parts": ([table(), table()], {}, [-1] * 4, None, {}),
    "unsigned": ([table(label=pa.array([3, None], pa.uint8()))], {}, [3, -1], None, {"rows have no label": 1}),
    "unsigned, wide": ([table(label=pa.array([3, 4], pa.uint64()))], {}, [3, 4], None, {}),
    "other widths": ([NUMBERS, table(label=pa.array([2, 3], pa.uint16()))], {}, [0, 1, 2, 3], None, {}),
    "whole floats": ([table(label=[2.0, float("nan"), None])], {}, [2, -1, -1], None, {"rows have no label": 2}),
    "nothing but null": ([table(label=pa.nulls(2))], {}, [-1, -1], None, {}),
    "null in one part": ([NUMBERS, table(label=pa.nulls(2))], {}, [0, 1, -1, -1], None, {"rows have no label": 2}),
    "capitals": ([table(Label=[4, 5], Text=["a", "b"])], {}, [4, 5], ["a", "b"], {}),
    "categories": ([table(label=pa.array(["b", "a"]).dictionary_encode())], {}, [1, 0], None, {}),
    "names in parts": ([table(label=["b", "b"]), table(label=pa.array(["a", "c"], pa.large_string()))], {},
                       [1, 1, 0, 2], None, {}),
    "lists of captions": ([table(text=[["a", "b"], []])], {}, [-1, -1], ["a", None], {}),
    "other order of columns": ([table(label=[0, 1], text=["a", "b"]), table(text=["c", "d"], label=[2, 3])], {},
                               [0, 1, 2, 3], ["a", "b", "c", "d"], {}),
    "columns left alone": ([table(style=[1, 2], artist=[1, 2])], {}, [-1, -1], None, {"columns were not taken": 2}),
    "labels left alone": ([table(label=[-7, 1])], {"labels": "none"}, [-1, -1], None, {"columns were not taken": 1}),
    "same names": ([named(NUMBERS, "a", "b"), named(NUMBERS, "a", "b")], {}, [0, 1, 0, 1], None, {}),
    "negative": ([NUMBERS, table(label=[1, -7])], {}, r"1\.parquet: column 'label', row 1: its label is -7"),
    "too large": ([table(label=pa.array([1, 1 << 63], pa.uint64()))], {}, "row 1: its label is 9223372036854775808"),
    "fraction": ([table(label=[1.0, 0.5])], {}, r"row 1: its label is 0\.5"),
    "lists": ([table(label=[[1], [2]])], {}, r"column 'label' is list.*--labels none"),
    "names and numbers": ([NUMBERS, table(label=["a", "b"])], {}, r"1\.parquet: column 'label' is string"),
    "no label in a part": ([NUMBERS, table()], {}, r"1\.parquet: has no column 'label', as 0\.parquet has"),
    "no image in a part": ([table(), pa.table({"img": [enc()]})], {}, r"1\.parquet: has no column 'image'"),
    "text for an image": ([table(), pa.table({"image": [1.5]})], {}, r"1\.parquet: column 'image' cannot be read as"),
    "other names": ([named(NUMBERS, "a", "b"), named(NUMBERS, "b", "a")], {}, r"1\.parquet: names the classes"),
    "no column": ([table()], {"labels": "column"}, "no column of labels among image"),
    "folders": ([table()], {"labels": "folders"}, "--labels column or none"),
    "no rows": ([table().slice(0, 0)], {}, "holds no rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables(tmp_path: Path, name: str) -> None:
    parts, options, *expected = TABLES[name]
    (tmp_path / "in").mkdir()
    for i, part in enumerate(parts):
        pq.write_table(part, tmp_path / f"in/{i}.parquet")
    if len(expected) == 1:
        with pytest.raises(DataError, match=expected[0]):
            open_source(str(tmp_path / "in"), tmp_path, **options)
        return
    labels, captions, left_out = expected
    source = open_source(str(tmp_path / "in"), tmp_path, **options)
    assert labels_of(source) == labels
    assert [source.read(i).caption for i in range(source.n)] == (captions or [None] * source.n)
    assert dict(source.left_out.lost) == left_out
    assert source.name(source.n - 1).endswith(f"{len(parts) - 1}.parquet: row {len(parts[-1]) - 1}")


@pytest.mark.parametrize(
    ("names", "split", "taken"),
    [
        (["train-00000-of-00001", "test-00000-of-00001"], None, "splits test, train"),
        (["train-00000-of-00001", "test-00000-of-00001"], "train", [1]),
        (["train-00000-of-00001", "test-00000-of-00001"], "all", [0, 1]),
        (["train-00000-of-00001", "test-00000-of-00001"], "val", "no split 'val'; it holds test, train"),
        (["train-00000-of-00001", "unlabeled-00000-of-00001"], "unlabeled", [1]),
        (["cifar-train-000", "cifar-valid-000"], "dev", [1]),
        (["part-00000-of-00002", "part-00001-of-00002"], None, [0, 1]),
        (["latest", "trained"], None, [0, 1]),
        (["train-0", "train-1"], None, [0, 1]),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_splits_by_the_names_of_files(
    tmp_path: Path, kind: str, names: list[str], split: str | None, taken: Any
) -> None:
    root = tmp_path / "in"
    root.mkdir()
    for i, name in enumerate(sorted(names)):
        if kind == "tar":
            make(tmp_path, "tar", {"0.png": None, "0.cls": i}).rename(root / f"{name}.tar")
        else:
            pq.write_table(table(label=[i]), root / f"{name}.parquet")
    if isinstance(taken, str):
        with pytest.raises(DataError, match=taken):
            open_source(str(root), tmp_path, split=split)
    else:
        assert labels_of(open_source(str(root), tmp_path, split=split)) == taken


def test_split_of_sets_in_folders(tmp_path: Path) -> None:
    for i, name in enumerate(("train", "validation")):
        (tmp_path / "in" / name).mkdir(parents=True)
        pq.write_table(table(label=[i]), tmp_path / "in" / name / "0000.parquet")
    assert labels_of(open_source(str(tmp_path / "in"), tmp_path, split="val")) == [1]


def test_split_of_one_idx_file(tmp_path: Path) -> None:
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 7, 8]))
    assert open_source(str(path), tmp_path, split="test").n == 2
    with pytest.raises(DataError, match="no split 'train'; it holds test"):
        open_source(str(path), tmp_path, split="train")


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src, out = str(make(tmp_path, "folder", {**SPLITS, "logo.png": None})), str(tmp_path / "out")
    assert main([src, out]) == 2
    assert "--split train" in capsys.readouterr().err
    assert main([src, out, "--split", "val"]) == 0
    assert read_index(out).class_names == ("cat", "dog")
    assert main([src, out, "--labels", "none", "--overwrite"]) == 0
    assert read_index(out).classes == 0
    shards = tmp_path / "shards"
    shards.mkdir()
    for name in ("train", "val"):
        make(tmp_path, "tar", {"0.png": None, "0.cls": 1}).rename(shards / f"{name}-0.tar")
    assert main([str(shards), "--index-only"]) == 2
    assert "--split train" in capsys.readouterr().err
    assert main([str(shards), "--index-only", "--split", "val", "--labels", "none"]) == 0
    index = read_index(str(shards))
    assert (index.shards["url"].to_pylist(), index.classes) == (["val-0.tar"], 0)
