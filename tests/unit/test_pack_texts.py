"""Packing texts: lines, pieces, tables, folders; characters, bytes and tokens; and what was done is told."""

import json
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from gandist.config.run import validate
from gandist.data import dataset
from gandist.data.index_files import read_index
from gandist.data.packing import index_only, pack
from gandist.data.sets import open_samples
from gandist.errors import DataError
from gandist.media.gallery import png_of
from gandist.media.text import Text
from gandist.pack import main
from tests.helpers.texts import SCRIPTS, contents

LINES = "\n".join(SCRIPTS)
PICTURE = png_of(np.zeros((4, 4, 1), np.uint8))


def files(root: Path, held: dict[str, str | bytes]) -> str:
    for name, content in held.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return str(root)


def packed(tmp_path: Path, name: str, content: str | bytes, *options: str) -> list[str]:
    files(tmp_path, {name: content})
    assert main([str(tmp_path / name), str(tmp_path / "out"), "--overwrite", *options]) == 0
    return contents(read_index(str(tmp_path / "out")))


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"], ids=repr)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_text_a_line(ends: str, encoding: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of any script; empty lines are left out and counted, and the characters lie in the index."""
    text = ends.join([*SCRIPTS[:4], "", "", *SCRIPTS[4:]])
    assert packed(tmp_path, "lines.txt", text.encode(encoding), "--length", "32") == list(SCRIPTS)
    said = capsys.readouterr().out
    n = len(set("".join(SCRIPTS)))
    assert f"out: {len(SCRIPTS)} texts, 0 classes, 1 shards, 0.0 MB\nalphabet: {n} characters\n" in said
    assert said.endswith("skipped: 2 empty lines\n")
    assert read_index(str(tmp_path / "out")).symbols == "".join(sorted(set("".join(SCRIPTS))))


def test_equal_input_gives_equal_bytes_and_webdataset_reads_them(tmp_path: Path) -> None:
    src = files(tmp_path, {"lines.txt": LINES}) + "/lines.txt"
    shards = []
    for workers in (1, 3):
        options = {"alphabet": "bpe", "vocabulary": 60, "workers": workers, "shard_size": 4}
        index, _ = pack(src, str(tmp_path / f"by {workers}"), **options)  # type: ignore[arg-type]
        shards.append([path.read_bytes() for path in sorted((tmp_path / f"by {workers}").iterdir())])
    assert shards[0] == shards[1]
    samples = list(webdataset.WebDataset(index.url(0), shardshuffle=False))
    assert [set(sample) & {"txt", "cls"} for sample in samples] == [{"txt"}] * 4


@pytest.mark.parametrize(
    ("options", "texts", "told"),
    [
        ([], ["Abc", "abcdefgh", "d-e"], {}),
        (["--length", "4"], ["Abc", "abcd", "d-e"], {"longer than 4 characters and cut": 1}),
        (["--length", "4", "--long", "drop"], ["Abc", "d-e"], {"longer than 4 characters and left out": 1}),
        (["--lower"], ["abc", "abcdefgh", "d-e"], {}),
        (
            ["--symbols", "abc"],
            ["bc", "abc"],
            {"with characters outside --symbols, which are left out": 2, "empty and left out": 1},
        ),
        # b, c, d and e are twice there, each other once
        (
            ["--symbols", "4"],
            ["bc", "bcde", "de"],
            {"with characters outside --symbols, which are left out": 3},
        ),
        (
            ["--symbols", "0-"],
            ["-"],
            {"with characters outside --symbols, which are left out": 1, "empty and left out": 2},
        ),
    ],
)
def test_options(
    options: list[str], texts: list[str], told: dict[str, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert packed(tmp_path, "lines.txt", "Abc\nabcdefgh\nd-e\n", *options, "--json") == texts
    assert json.loads(capsys.readouterr().out)["fitted"] == told


def test_bytes_and_tokens(tmp_path: Path) -> None:
    assert packed(tmp_path, "a.txt", "aé€\n", "--alphabet", "bytes", "--length", "4") == ["aé"]
    assert packed(tmp_path, "a.txt", "ab ab ab ab", "--alphabet", "bpe", "--vocabulary", "6", "--length", "3") == [
        "ab ab ab"
    ]
    index = read_index(str(tmp_path / "out"))
    assert (index.symbols, json.loads(index.tokenizer)["model"]["vocab"]) == (
        " ab",
        {" ": 0, "a": 1, "b": 2, "ab": 3, " ab": 4},
    )
    config = validate(
        {
            "data": {"path": str(tmp_path / "out"), "medium": "text", "options": {"length": 4, "alphabet": "bpe"}},
            "model": {"name": "textgan", "classes": 0},
            "launch": {"workers": 1},
            "train": {"batch": 1},
        }
    )
    filled = dataset.with_symbols(config)
    assert filled.data.options["tokenizer"] == index.tokenizer
    assert validate(filled.resolved()) == filled
    packed(tmp_path, "a.txt", "ab")
    with pytest.raises(DataError, match=r"has no tokenizer; pack the set with --alphabet bpe, or set data\.options"):
        dataset.with_symbols(config)


def test_pieces_of_a_text(tmp_path: Path) -> None:
    """Consecutive ones, in which the ends of lines are characters, and which come back as they were."""
    text = "Für 12 € — \r\nso.\n\nEnde.\n"
    pieces = packed(tmp_path, "book.txt", text, "--chunks", "4")
    plain = text.replace("\r\n", "\n")
    index, medium = read_index(str(tmp_path / "out")), Text(length=4, symbols="".join(sorted(set(plain))))
    assert index.symbols == medium.symbols
    rows, _ = open_samples(index, medium, cache_dir=tmp_path / "cache").gather(np.arange(index.n))
    found = dict(zip(index.samples["key"].to_pylist(), medium.texts(rows), strict=True))
    assert "".join(found[key] for key in sorted(found)) == plain
    assert len(pieces) == -(-len(plain) // 4)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_folders(kind: str, tmp_path: Path) -> None:
    """A class a subfolder; a file a text, or a line."""
    held: dict[str, str | bytes] = {"odes/1.txt": "o sea\no wind\n", "odes/2.txt": "o sky\n", "songs/1.txt": "\nla\n"}
    src = files(tmp_path / "in", held)
    if kind == "zip":
        src = f"{src}.zip"
        with zipfile.ZipFile(src, "w") as archive:
            for name, content in held.items():
                archive.writestr(name, content)
    index, _ = pack(src, str(tmp_path / "files"))
    assert contents(index) == ["o sea\no wind", "o sky", "\nla"]
    index, left_out = pack(src, str(tmp_path / "lines"), lines=True)
    assert contents(index) == ["o sea", "o wind", "o sky", "la"]
    assert index.class_names == ("odes", "songs")
    assert dict(zip(index.samples["key"].to_pylist(), index.labels, strict=True))["00000003"] == 1
    assert left_out.skipped == {"empty lines": 1}


TABLE = {"text": ["eins", "zwei\ndrei", "vier, fünf"], "label": ["a", "b", "a"], "id": [1, 2, 3]}


def table(path: Path, column: str = "text") -> str:
    rows = pa.table({column if name == "text" else name: values for name, values in TABLE.items()}).to_pylist()
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        quoted = ['"' + '","'.join(map(str, row.values())) + '"' for row in rows]
        path.write_text("\n".join([f"{column},label,id", *quoted]))
    return str(path)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_tables(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index, left_out = pack(table(tmp_path / f"in{suffix}"), str(tmp_path / "out"))
    assert contents(index) == TABLE["text"]
    assert (index.class_names, sorted(index.labels)) == (("a", "b"), [0, 0, 1])
    assert left_out.lost == {"columns were not taken": 1}
    src = table(tmp_path / f"other{suffix}", "line")
    assert main([src, str(tmp_path / "other"), *(["--medium", "text"] if suffix == ".parquet" else [])]) == 2
    assert f"{src}: no column 'text' among line, label, id; name it: --text-column" in capsys.readouterr().err
    index, _ = pack(src, str(tmp_path / "other"), text_column="line", labels="none")
    assert (contents(index), index.classes) == (TABLE["text"], 0)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"ok\nfine\nb\xc3d", "a.txt: line 3: is not UTF-8 text: byte 1 is 0xc3"),
        ("a.jsonl", '{"text": "ok"}\n\n{"text": \n', "a.jsonl: line 3: is no JSON: "),
        ("a.jsonl", '{"text": "ok"}\n{"label": 1}\n', "a.jsonl: line 2: column 'text' holds nothing there"),
        ("a.jsonl", '{"text": "ok"}\n["ok"]\n', "a.jsonl: line 2: is no JSON object"),
        ("a.jsonl", '{"text": "ok"}\n{"text": "\\ud800"}\n', "a.jsonl: line 2: 'utf-8' codec can't encode character"),
        ("a.csv", "text,label\nok,1\nbroken\n", "a.csv: line 3: has fewer columns than the heading, which has 2"),
    ],
)
def test_broken_texts_are_named(
    name: str, content: str | bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    src = files(tmp_path, {name: content}) + f"/{name}"
    assert main([src, str(tmp_path / "out")]) == 2
    complaint = capsys.readouterr().err
    assert said in complaint
    assert "1 broken texts, and --max-broken is 0" in complaint
    assert "ok" in packed(tmp_path, name, content, "--max-broken", "1")


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("a.txt", "\n\n", [], "a.txt: holds no text"),
        ("a.txt", "", [], "a.txt: holds no text"),
        ("a.csv", "text,label\n", [], "a.csv: holds no rows"),
        ("a.csv", b"text\nok\n\xff\n", [], "a.csv: line 3: is not UTF-8 text: a byte is 0xff"),
        ("a.csv", 'text\n"ok\n', [], "a.csv: line 2: is no CSV: "),
        ("a.txt", "a", ["--size", "8"], "holds texts, and --size is for images; leave it out"),
        ("a.txt", "a", ["--seconds", "1"], "holds texts, and --seconds is for sounds; leave it out"),
        ("a.txt", "a", ["--frames", "8"], "holds texts, and no clips"),
        ("a.txt", "a", ["--labels", "column"], "--labels column is not for a text file"),
        ("a.txt", "a", ["--lines", "--chunks", "3"], "--lines and --chunks exclude each other"),
        ("a.txt", "a", ["--vocabulary", "9"], "--vocabulary is for --alphabet bpe; leave it out"),
        ("a.txt", "a", ["--symbols", "a", "--alphabet", "bytes"], "--symbols is for --alphabet characters or bpe"),
        ("a.txt", "abc", ["--alphabet", "bpe", "--vocabulary", "2"], "--vocabulary 2: the texts have 3 characters"),
        ("a.png", PICTURE, ["--length", "8"], "holds images, and --length is for texts; leave it out"),
        ("a.png", PICTURE, ["--lines"], "holds images, and --lines is for texts; leave it out"),
    ],
)
def test_what_makes_no_set(
    name: str, content: str | bytes, options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    src = files(tmp_path / "in", {name: content}) + ("" if name.endswith(".png") else f"/{name}")
    assert main([src, str(tmp_path / "out"), *options]) == 2
    assert said in capsys.readouterr().err


def test_texts_have_no_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gandist.data.packing.encoder", lambda: None)  # takes seconds
    src = files(tmp_path, {"a.txt": "a"}) + "/a.txt"
    pack(src, str(tmp_path / "out"))
    said = "holds texts, and --captions is for what texts describe; leave it out"
    with pytest.raises(DataError, match=said):
        pack(src, str(tmp_path / "b"), captions=True)
    with pytest.raises(DataError, match=said):
        index_only(str(tmp_path / "out"), None, captions=True)


def test_a_text_beside_a_picture_is_its_caption(tmp_path: Path) -> None:
    src = files(tmp_path / "in", {"a.png": PICTURE, "a.txt": "a black square", "README.txt": "read"})
    index, _ = pack(src, str(tmp_path / "images"))
    assert (set(index.extensions), index.captions) == ({"png"}, ["a black square"])
    assert not index.symbols
    index, _ = pack(src, str(tmp_path / "texts"), medium="text")
    assert sorted(contents(index)) == ["a black square", "read"]
    assert index.captions == [None, None]


def test_others_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Indexed as they are, with the characters that they hold; one that is no UTF-8 is told."""
    with tarfile.open(tmp_path / "000000.tar", "w") as shard:
        for key, content in {"a": b"Ab\r\n", "b": b"\xef\xbb\xbfbc\x00", "c": b"x\xff"}.items():
            for ending, data in (("txt", content), ("cls", b"1")):
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(data)
                shard.addfile(member, BytesIO(data))
    assert main([str(tmp_path), "--index-only"]) == 0
    said = capsys.readouterr()
    assert "3 texts, 2 classes, 1 shards" in said.out
    assert "1 texts are not UTF-8" in said.out
    assert read_index(str(tmp_path)).symbols == "Abc"
    tree = {
        "data": {"path": str(tmp_path), "medium": "text", "options": {"length": 4, "lower": True}},
        "model": {"name": "textgan", "classes": 2},
        "launch": {"workers": 1},
        "train": {"batch": 1},
    }
    assert dataset.with_symbols(validate(tree)).data.options["symbols"] == "abc"
    again, _ = pack(str(tmp_path / "000000.tar"), str(tmp_path / "out"), max_broken=1)
    assert (contents(again), again.symbols) == (["Ab", "bc"], "Abc")


def test_a_set_of_another_medium_is_named(tmp_path: Path) -> None:
    packed(tmp_path, "lines.txt", LINES)
    with pytest.raises(DataError, match=r"holds texts \(\.txt\), and data\.medium is image; set data\.medium=text"):
        dataset.open_index(validate({"data": {"path": str(tmp_path / "out")}, "train": {"batch": 4}}))
