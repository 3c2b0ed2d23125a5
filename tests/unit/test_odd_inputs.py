"""Odd inputs, a row each, through the command: what is packed, what is said of the rest. Add a row for what you met."""

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gandist.data.files import write_folder
from gandist.data.index_files import read_index
from gandist.data.making import alone
from gandist.errors import DataError
from gandist.pack import main
from tests.unit.data.test_labels import enc, make

IMAGE = enc()
TREE: dict[str, Any] = {"cat/1.png": None, "dog/2.png": None, "dog/3.png": None}
LATIN = "caf\u00e9".encode("latin-1")
BROKEN = b"\x89PNG broken"
APART = "its members are not side by side in the tar"


def tar(**members: bytes) -> bytes:
    """A tar of images and others, by their names with _ for the dot."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as out:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def table(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


ODD: dict[str, Any] = {
    # name: (kind, files, options, what --json says, or a pattern of the message that refuses it)
    "a plain tree": (
        "folder", TREE, (),
        {"images": 3, "classes": 2, "least": {"name": "cat", "images": 1}, "most": {"name": "dog", "images": 2},
         "empty_classes": 0, "unlabelled": 0, "captions": 0, "shards": 1, "lost": {}, "skipped": {}, "broken": {}},
    ),
    "classes without images": (
        "folder", {"a.png": None, "b.png": None, "dataset.json": [["a.png", 4], ["b.png", 1]]}, (),
        {"classes": 5, "empty_classes": 3, "empty_examples": ["class 0", "class 2", "class 3"], "unlabelled": 0},
    ),
    "images without a label": (
        "folder", {"a.png": None, "b.png": None, "dataset.json": [["a.png", 0]]}, (), {"classes": 1, "unlabelled": 1},
    ),
    # Files of other kinds
    "other files": (
        "folder", {**TREE, "cat/a.db": "", "notes.MD": "", "LICENSE": "", ".DS_Store": "", "cat/b.db": ""}, (),
        {"images": 3, "skipped": {".db": 2, ".md": 1, "without extension": 1, "hidden": 1}},
    ),
    "other files in a zip": (
        "zip", {**TREE, "__MACOSX/cat/._1.png": "", "a.psd": ""}, (), {"skipped": {"hidden": 1, ".psd": 1}},
    ),
    "other members of a tar": (
        "tar", {"0.png": None, "0.cls": "1", "0.json": '{"url": "x"}', "0.seg.npy": "", "README": "", "1.png": None,
                "1.json": '{"label": 0}'}, (),
        {"images": 2, "classes": 2, "skipped": {".json": 1, ".npy": 1, "without extension": 1}},
    ),
    "a split": (
        "folder", {"train/1.png": None, "train/a.db": "", "val/2.png": None, "val/3.png": None}, ("--split", "train"),
        {"images": 1, "skipped": {".db": 1, "of other splits": 2}},
    ),
    "no image at all": ("folder", {"a.heic": "", "b.heic": "", "c.cr2": ""}, (), r"holds 2 \.heic, 1 \.cr2"),
    # Tars and tables beside images
    "a stray tar": (
        "folder", {**TREE, "backup.tar": tar(a_png=IMAGE)}, (),
        {"images": 3, "classes": 2, "lost": {"tars or tables lie beside the images and are not taken": 1}},
    ),
    "a stray tar with a number, beside classes": (
        "folder", {**TREE, "backup-2024.tar": tar(a_png=IMAGE)}, (), {"images": 3, "classes": 2},
    ),
    "a stray tar beside one class": (
        "folder", {"cat/1.png": None, "cat/2.png": None, "old.tar": tar(a_png=IMAGE)}, (), {"images": 2, "classes": 1},
    ),
    "a table that names the images": (
        "folder", {**TREE, "metadata.parquet": table(file_name=["cat/1.png"])}, (),
        {"images": 3, "classes": 2, "lost": {"tars or tables lie beside the images and are not taken": 1}},
    ),
    "a table of images beside classes": (
        "folder", {**TREE, "backup.parquet": table(image=[IMAGE])}, (), {"images": 3, "classes": 2},
    ),
    "previews beside shards": (
        "folder", {"0.tar": tar(a_png=IMAGE), "1.tar": tar(b_png=IMAGE), "look/1.png": None, "top.png": None,
                   "stats.json": ""}, (),
        {"images": 2, "lost": {"images lie beside 0.tar and are not taken": 2}, "skipped": {".json": 1}},
    ),
    "files beside tables": (
        "folder", {"0.parquet": table(image=[IMAGE]), "README.md": "", "info.json": ""}, (),
        {"images": 1, "skipped": {".md": 1, ".json": 1}},
    ),
    # Captions
    "a caption in another encoding": (
        "folder", {"a.png": None, "a.txt": LATIN, "b.png": None, "b.txt": "ok"}, (),
        {"images": 2, "captions": 1, "lost": {"captions are not UTF-8 text": 1}, "broken": {}},
    ),
    "a caption in another encoding, wanted": (
        "folder", {"a.png": None, "a.txt": LATIN}, ("--captions",), "a.png: has no caption",
    ),
    "a caption in UTF-16": ("folder", {"a.png": None, "a.txt": "caf\u00e9".encode("utf-16")}, (), {"captions": 1}),
    "a caption of a tar in another encoding": (
        "tar", {"0.png": None, "0.txt": LATIN}, (),
        {"images": 1, "captions": 0, "lost": {"captions are not UTF-8 text": 1}},
    ),
    # Broken samples
    "broken images": (
        "folder", {"a.png": None, "b.png": BROKEN, "c.png": BROKEN}, ("--max-broken", "2"),
        {"images": 1, "broken": {"cannot be identified as an image": 2}},
    ),
    "one too many": ("folder", {"a.png": None, "b.png": BROKEN, "c.png": BROKEN}, ("--max-broken", "1"),
                     "2 broken images, and --max-broken is 1"),
    "a sample without an image": (
        "tar", {"0.png": None, "1.cls": "1"}, (), "sample '1': holds no image.*\n1 broken images.*--max-broken 1",
    ),
    "a sample without an image, tolerated": (
        "tar", {"0.png": None, "1.cls": "1"}, ("--max-broken", "1"),
        {"images": 1, "broken": {"holds no image (png, jpg, jpeg, webp), only cls; remove it from the shard": 1}},
    ),
    "a label that is none, tolerated": (
        "tar", {"0.png": None, "0.cls": "1", "1.png": None, "1.cls": "cat"}, ("--max-broken", "1"),
        {"images": 1, "classes": 2},
    ),
    "two images in a sample, tolerated": (
        "tar", {"0.png": None, "1.a.png": None, "1.b.png": None}, ("--max-broken", "1"), {"images": 1},
    ),
    "broken in the tar and in the image": (
        "tar", {"0.png": None, "1.cls": "1", "2.png": BROKEN}, ("--max-broken", "1"), "2 broken images",
    ),
    "members apart": ("tar", {"0.png": None, "1.png": None, "0.cls": "1", "1.cls": "2"}, (), f"'0': {APART}"),
    "members apart, the label first": ("tar", {"0.cls": "1", "1.png": None, "0.png": None}, (), f"'0': {APART}"),
    "members apart, tolerated": (
        "tar", {"0.png": None, "1.png": None, "0.cls": "1", "2.png": None}, ("--max-broken", "1"), {"images": 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_packed(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    kind, files, options, expected = ODD[name]
    src, out = str(make(tmp_path, kind, files)), str(tmp_path / "out")
    status = main([src, out, *options, "--json"])
    said = capsys.readouterr()
    check(status, said.out, said.err, expected)
    if status == 0:
        assert json.loads(said.out)["images"] == read_index(out).n


@pytest.mark.parametrize("name", [name for name, (kind, *_) in ODD.items() if kind == "tar"])
def test_indexed(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody else's shards, as they are: the same is said of them, but for images that nobody decodes."""
    kind, files, options, expected = ODD[name]
    src = str(make(tmp_path, kind, files))
    status = main([src, str(tmp_path / "out"), "--index-only", *options, "--json"])
    said = capsys.readouterr()
    if BROKEN in files.values():
        expected = {"images": 2}
    check(status, said.out, said.err, expected)


def check(status: int, out: str, err: str, expected: dict[str, Any] | str) -> None:
    if isinstance(expected, str):
        assert status == 2
        assert re.search(expected, err), err
        assert out == ""
        return
    assert status == 0, err
    found = json.loads(out)
    assert {key: found[key] for key in expected} == expected
    for reason, n in found["lost"].items():
        assert f"{n} {reason}" in err, "told with examples"


def test_said_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {**TREE, "cat/1.txt": "a cat", "dog/2.txt": LATIN, "cat/4.png": BROKEN, "a.db": "", "b.db": "", "c.md": ""}
    src, out = str(make(tmp_path, "folder", files)), str(tmp_path / "out")
    assert main([src, out, "--max-broken", "1"]) == 0
    said = capsys.readouterr()
    assert said.out.replace(out, "OUT").splitlines() == [
        "OUT: 3 images, 2 classes, 1 shards, 0.0 MB, 1 broken images left out",
        "images a class: least 1 (cat), most 2 (dog)",
        "captions: 1 of 3 images have one",
        "not taken: 1 captions are not UTF-8 text",
        "skipped: 2 .db, 1 .md",
        "broken: 1 cannot be identified as an image",
    ]
    assert f"left out: {src}: cat/4.png: cannot be identified as an image\n" in said.err
    assert "(dog/2.txt)" in said.err


@pytest.mark.parametrize("name", ["shards.parquet", "samples.parquet", "captions.parquet"])
def test_tables_of_others_are_not_replaced(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_bytes(table(image=[IMAGE]))
    shards = make(tmp_path, "tar", {"0.png": None})
    before = (out / name).read_bytes()
    for options in ((), ("--overwrite",), ("--index-only",)):
        assert main([str(shards), str(out), *options]) == 2
        said = capsys.readouterr().err
        assert f"{out}/{name}: is a table of something else (image)" in said or "holds shards already" in said
        assert [(path.name, path.read_bytes()) for path in out.iterdir()] == [(name, before)]


def test_a_table_called_as_ours_is_a_source(tmp_path: Path) -> None:
    src = tmp_path / "in"
    src.mkdir()
    (src / "samples.parquet").write_bytes(table(image=[IMAGE], label=[0]))
    assert main([str(src), str(tmp_path / "out")]) == 0
    assert read_index(str(tmp_path / "out")).n == 1


def test_two_that_draw_into_one_folder(tmp_path: Path) -> None:
    with alone(str(tmp_path / "out")), pytest.raises(DataError, match="is being written by process"):
        write_folder(tmp_path / "out", [IMAGE])
    write_folder(tmp_path / "out", [IMAGE])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["000000.png"]
