"""`python -m gandist.sample` of runs of texts."""

import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from gandist.data import dataset
from gandist.data.index_files import read_index
from gandist.launch.resumption import run_root
from gandist.media import alphabets
from gandist.pack import main as pack_main
from gandist.sample import main
from gandist.train import course
from tests.helpers.texts import contents, text_set, writing


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return text_set(tmp_path_factory.mktemp("data") / "texts")


@pytest.fixture(scope="module")
def run(data: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    config = writing(tmp_path_factory.mktemp("runs"), "texts", data)
    assert course.run(config, "auto") == 0
    return run_root(config)


def drawn(run: str, out: Path, *options: str) -> list[str]:
    assert main([run, "--out", str(out), *options]) == 0
    return out.read_text().splitlines()


def test_a_text_a_line(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for the same seed, however many; others of another class."""
    lines = drawn(run, tmp_path / "a.txt", "--n", "20", "--class", "1", "--seed", "3")
    assert capsys.readouterr().out == f"20 texts of {run} at 120 texts seen: {tmp_path / 'a.txt'}\n"
    assert len(lines) == 20
    assert {character for line in lines for character in line} <= set("abcdex")
    assert drawn(run, tmp_path / "b.txt", "--n", "5", "--class", "1", "--seed", "3") == lines[:5]
    assert drawn(run, tmp_path / "c.txt", "--n", "20", "--class", "0", "--seed", "3") != lines


def test_objects_with_classes_are_packed_again(run: str, tmp_path: Path) -> None:
    lines = drawn(run, tmp_path / "a.txt", "--n", "20")
    objects = [json.loads(line) for line in drawn(run, tmp_path / "a.jsonl", "--n", "20")]
    assert [each["text"] for each in objects] == lines
    assert {each["class"] for each in objects} == {0, 1}
    assert pack_main([str(tmp_path / "a.jsonl"), str(tmp_path / "again")]) == 0
    index = read_index(str(tmp_path / "again"))
    assert contents(index) == [line for line in lines if line]


def test_files_archives_and_shards(run: str, tmp_path: Path) -> None:
    lines = drawn(run, tmp_path / "a.txt", "--n", "20")
    assert main([run, "--n", "20", "--out", str(tmp_path / "each")]) == 0
    assert [file.read_text() for file in sorted((tmp_path / "each").iterdir())] == lines
    assert main([run, "--n", "20", "--out", str(tmp_path / "all.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.read("000003.txt").decode() == lines[3]
        labels = [label for _, label in json.loads(archive.read("dataset.json"))["labels"]]
    assert main([run, "--n", "20", "--out", str(tmp_path / "fakes/%06d.tar")]) == 0
    with tarfile.open(tmp_path / "fakes/000000.tar") as shard:
        assert {Path(name).suffix for name in shard.getnames()} == {".txt", ".cls"}
    index = read_index(str(tmp_path / "fakes"))
    assert (contents(index), index.labels.tolist()) == (lines, labels)
    assert set(index.symbols) == set("".join(lines))
    rows, _ = dataset.open_set(config := writing(tmp_path, "again", str(tmp_path / "fakes")), index).gather(
        index.labels
    )
    assert rows.shape == (20, 6)
    assert course.run(config, "auto") == 0


def test_a_text_becomes_a_text(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line a step; each latent's own text stands among them."""
    lines = drawn(run, tmp_path / "walk.txt", "--n", "3", "--frames", "4", "--class", "1")
    assert capsys.readouterr().out.startswith("12 lines through 3 texts of class 1 of ")
    assert lines[::4] == drawn(run, tmp_path / "a.txt", "--n", "3", "--class", "1")


def test_a_runs_folder_alone_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens, too: neither the set nor the library of tokenizers is needed."""
    folder = tmp_path / "texts"
    text_set(folder)
    source, packed = str(folder / "lines.csv"), str(folder / "tokens")
    assert pack_main([source, packed, "--alphabet", "bpe", "--vocabulary", "12"]) == 0
    config = writing(tmp_path, "tokens", packed, alphabet="bpe")
    assert course.run(config, "auto") == 0
    shutil.rmtree(packed)
    monkeypatch.setattr(alphabets, "library", None)
    alphabets.alphabet_of.cache_clear()
    assert set("".join(drawn(run_root(config), tmp_path / "a.txt", "--n", "20"))) <= set("abcdex")


@pytest.mark.parametrize(
    ("out", "options", "said"),
    [
        (
            "a.png",
            [],
            "the run makes texts, which are not written as .png; give a folder, or a file that ends in .txt, ",
        ),
        ("a.webp", [], "the run makes texts, which are not written as .webp"),
        ("a.wav", [], "the run makes texts, which are not written as .wav"),
        (
            "a.jsonl",
            ["--frames", "3"],
            "--frames, --fps: only interpolations have frames; leave these options out, or let --out end",
        ),
        ("a.txt", ["--frames", "3", "--fps", "3"], "--frames, --fps: only interpolations have frames"),
        ("a.txt", ["--frames", "3", "--n", "1"], "an interpolation goes from one text to another; give 2 or more"),
        ("a.txt", ["--temperature", "0.5"], "--temperature: G of textgan draws no symbols; leave it out"),
    ],
)
def test_what_texts_are_not_written_to(
    out: str, options: list[str], said: str, run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([run, "--out", str(tmp_path / out), *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / out).exists()


def test_at_a_low_temperature_the_likely_texts_are_drawn(data: str, tmp_path: Path) -> None:
    model = {"name": "relgan", "classes": 2, "width": 8, "options": {"embedding": 4, "representations": 2}}
    config = writing(tmp_path, "recurrent", data, model=model, game={"objective": "likelihood"})
    assert course.run(config, "auto") == 0
    likely = drawn(run_root(config), tmp_path / "a.txt", "--n", "20", "--class", "0", "--temperature", "0.001")
    assert len(set(likely)) == 1
    assert len(set(drawn(run_root(config), tmp_path / "b.txt", "--n", "20", "--class", "0"))) > 5
