"""`python -m gandist.sample`: what it writes, and what it says where it cannot."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gandist import train
from gandist.config import RunConfig
from gandist.resumption import run_root
from gandist.sample import condition_of, main
from gandist.text import encoder
from gandist.trained import Trained, open_trained
from tests.sets import CAPTIONS, make_set
from tests.worlds import tiny

KINDS: dict[str, dict[str, Any]] = {
    "class": {},
    "plain": {"model__classes": 0, "data__channels": 3},
    "text": {"model__classes": 0, "model__text_dim": 384, "data__channels": 3},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A run of a few steps of each kind, whose images differ."""
    folder = tmp_path_factory.mktemp("runs")
    captioned = {"data__path": make_set(folder / "set", 20, captions=True).base}
    found = {}
    for kind, changes in KINDS.items():
        data = captioned if kind == "text" else {}
        config: RunConfig = tiny(
            folder, kind, **changes, **data, optim__lr_G=0.05, optim__ema_half_life_kimg=0, precision="fp32"
        )
        assert train.run(config, "auto") == 0
        found[kind] = run_root(config)
    return found


def opened(run: str) -> Trained:
    return open_trained(run, torch.device("cpu"))


def pictures(folder: Path) -> list[np.ndarray]:
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"{i:06d}.png" for i in range(len(files))]
    return [np.asarray(Image.open(file)) for file in files]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The message of a command that exits with 2."""
    try:
        status = main(list(arguments))
    except SystemExit as ended:  # as argparse does
        status = int(str(ended.code))
    written = capsys.readouterr()
    assert status == 2
    assert written.out == ""
    assert "Traceback" not in written.err
    return written.err


@pytest.mark.parametrize(("kind", "shape"), [("class", (32, 32)), ("plain", (32, 32, 3)), ("text", (32, 32, 3))])
def test_a_folder_of_files(
    runs: dict[str, str], tmp_path: Path, kind: str, shape: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "folder"
    assert main([runs[kind], "--n", "6", "--out", str(out), "--seed", "3"]) == 0
    assert capsys.readouterr().out == f"6 images of {runs[kind]} at 120 images seen: {out}\n"
    images = pictures(out)
    assert [image.shape for image in images] == [shape] * 6
    drawn = opened(runs[kind]).draw(6, seed=3)
    for image, expected in zip(images, drawn, strict=True):
        np.testing.assert_array_equal(image.reshape(expected.shape), expected)
    assert len({image.tobytes() for image in images}) == 6


def test_a_grid(runs: dict[str, str], tmp_path: Path) -> None:
    """As square as it goes; 32 pixels are shown threefold, with gaps of two."""
    for n, size in ((1, (96, 96)), (4, (194, 194)), (5, (292, 194)), (9, (292, 292))):
        out = tmp_path / f"{n}.png"
        assert main([runs["class"], "--n", str(n), "--out", str(out)]) == 0
        with Image.open(out) as grid:
            assert grid.size == size


def test_the_same_seed_gives_the_same_files_and_another_others(runs: dict[str, str], tmp_path: Path) -> None:
    written = []
    for number, seed in enumerate((0, 0, 1)):
        out = tmp_path / f"{number}.png"
        assert main([runs["class"], "--n", "4", "--out", str(out), "--seed", str(seed)]) == 0
        written.append(out.read_bytes())
    assert written[0] == written[1] != written[2]


def test_one_class(runs: dict[str, str], tmp_path: Path) -> None:
    for label in (0, 9):
        assert main([runs["class"], "--n", "5", "--class", str(label), "--out", str(tmp_path / str(label))]) == 0
        trained = opened(runs["class"])
        expected = trained.images(trained.latents(5), torch.full((5,), label)).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(np.stack(pictures(tmp_path / str(label)))[..., None], expected)
    assert not np.array_equal(pictures(tmp_path / "0"), pictures(tmp_path / "9"))


def test_a_caption(runs: dict[str, str], tmp_path: Path) -> None:
    trained = opened(runs["text"])
    y = condition_of(trained, None, CAPTIONS[0], 3, 0)
    assert y is not None
    np.testing.assert_allclose(y, np.repeat(encoder().encode([CAPTIONS[0]]), 3, axis=0), atol=1e-6)
    drawn = []
    for caption in (CAPTIONS[0], "a green pear"):
        out = tmp_path / caption.replace(" ", "-")
        assert main([runs["text"], "--n", "3", "--caption", caption, "--out", str(out)]) == 0
        drawn.append(np.stack(pictures(out)))
    np.testing.assert_array_equal(drawn[0], trained.images(trained.latents(3), y).transpose(0, 2, 3, 1))
    assert not np.array_equal(drawn[0], drawn[1])


def test_truncation_takes_variety(runs: dict[str, str], tmp_path: Path) -> None:
    spread = []
    for truncation in ("1", "0.5", "0"):
        out = tmp_path / truncation
        assert main([runs["class"], "--class", "1", "--truncation", truncation, "--n", "8", "--out", str(out)]) == 0
        spread.append(float(np.stack(pictures(out)).astype(float).std(0).mean()))
    assert spread[0] > spread[1] > spread[2] == 0


def test_an_older_checkpoint(runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([runs["class"], "--n", "2", "--images-seen", "60", "--out", str(tmp_path / "old")]) == 0
    assert "at 60 images seen" in capsys.readouterr().out
    drawn = open_trained(runs["class"], torch.device("cpu"), 60).draw(2)
    np.testing.assert_array_equal(np.stack(pictures(tmp_path / "old"))[..., None], drawn)


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        ("class", ["--class", "10"], ["--class 10", "classes 0 to 9"]),
        ("class", ["--class", "-1"], ["--class"]),
        ("class", ["--class", "1", "--caption", "a"], ["--caption", "not allowed with argument --class"]),
        ("plain", ["--class", "0"], ["--class 0", "the run has none"]),
        ("text", ["--class", "0"], ["--class 0", "the run has none"]),
        ("class", ["--caption", "a red apple"], ["--caption", "without captions (model.text_dim)"]),
        ("class", ["--images-seen", "70"], ["checkpoints", "none of 70 images; there are 60, 120"]),
        ("class", ["--n", "0"], ["--n"]),
        ("class", ["--seed", "-1"], ["--seed"]),
    ],
)
def test_what_cannot_be_drawn_is_told(
    runs: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    arguments: list[str],
    words: list[str],
) -> None:
    message = refusal(capsys, runs[kind], "--out", str(tmp_path / "out"), *arguments)
    for word in words:
        assert word in message
    assert not (tmp_path / "out").exists()


def test_where_it_cannot_be_written_is_told(
    runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--out" in refusal(capsys, runs["class"])
    message = refusal(capsys, str(tmp_path / "none"), "--out", "out.jpg")
    assert message == "gandist: --out out.jpg: give a folder, or a file that ends in .png\n"
    (tmp_path / "file").touch()
    for out in ("file/x", "file/x.png", "file"):
        assert str(tmp_path / "file") in refusal(capsys, runs["class"], "--out", str(tmp_path / out))


def test_what_is_no_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(capsys, str(tmp_path / "none"), "--out", str(tmp_path / "out"))
    assert message == f"gandist: {tmp_path / 'none'}: is no run: there is no such folder\n"
    assert not list(tmp_path.iterdir())


def test_captions_of_another_encoder_are_refused(runs: dict[str, str]) -> None:
    other = replace(opened(runs["text"]), encoder="another sha256:0")
    with pytest.raises(Exception, match=r"--caption: .*embedded by another sha256:0, not all-MiniLM"):
        condition_of(other, None, "a", 1, 0)


@pytest.mark.slow
def test_the_command(runs: dict[str, str], tmp_path: Path) -> None:
    """As it is typed, from elsewhere, and without what it does not need: captions drawn from data that is gone."""
    copy = tmp_path / "copy"
    shutil.copytree(runs["text"], copy)
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("/set/shards", "/gone"))

    def typed(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gandist", "sample", "copy", "--n", "2", "--out", "out.png", *more]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    done = typed("--caption", "a red apple")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out.png").is_file()
    refused = typed()
    assert refused.returncode == 2
    assert "/gone: no such folder" in refused.stderr
    assert "Traceback" not in refused.stderr
