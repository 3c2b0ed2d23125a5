"""`bench input`: each way of getting at images has its record, and the generated set is one."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gandist.bench import input
from gandist.bench.input import Encoded, make_jpegs
from gandist.data.index_files import read_index
from gandist.media.decode import decode
from tests.helpers.small_datasets import make_set
from tests.unit.bench.test_step import records, tiny_file

FIGURES = ["decode", "streamed", "gather", "mapped"]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input, "CHUNK", 16)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    make_set(folder, channels=1)
    return folder / "shards"


def test_each_figure_of_each_set(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tiny_file(tmp_path, data__path=str(shards), data__cache_dir=str(tmp_path / "cache"))
    options = ("--batch", "8", "--seconds", "0.05", "--jpegs", "20", "--size", "64", "data.decode_threads=1")
    found = records(capsys, "input", "--config", file, *options)
    assert [(each["data"], each["what"]) for each in found] == [
        (data, what) for data in (str(shards), "jpeg-64") for what in FIGURES
    ]
    by: dict[Any, Any] = {(each["data"], each["what"]): each for each in found}
    for data in (str(shards), "jpeg-64"):
        for what, against in (("streamed", "decode"), ("mapped", "gather")):
            ratio = by[data, what]["img_per_s"] / by[data, against]["img_per_s"]
            assert by[data, what]["ratio"] == pytest.approx(ratio)
            assert by[data, against]["ratio"] is None
        for what in FIGURES:
            assert by[data, what]["ms_per_step"] == pytest.approx(8e3 / by[data, what]["img_per_s"])
    assert by[str(shards), "mapped"]["bytes_per_image"] == 32 * 32
    assert by["jpeg-64", "gather"]["bytes_per_image"] == 64 * 64 * 3


def test_none_are_generated_where_none_are_asked_for(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tiny_file(tmp_path, data__path=str(shards), data__cache_dir=str(tmp_path / "cache"))
    found = records(capsys, "input", "--config", file, "--seconds", "0.02", "--jpegs", "0")
    assert [each["what"] for each in found] == FIGURES


def test_generated_jpegs(tmp_path: Path) -> None:
    make_jpegs(tmp_path, 5, 64)
    index = read_index(str(tmp_path / "shards"))
    encoded = Encoded(index)
    images = [Image.open(io.BytesIO(encoded[number])) for number in range(5)]
    assert index.n == 5
    assert {(image.format, image.size, image.mode) for image in images} == {("JPEG", (64, 64), "RGB")}
    pixels = [decode(encoded[number], 64, 3) for number in range(5)]
    assert len({each.tobytes() for each in pixels}) == 5
    assert min(float(np.std(each)) for each in pixels) > 20
    assert encoded.mean_bytes == pytest.approx(np.mean([len(encoded[number]) for number in range(5)]))
