"""`python -m gandist.sample`: what it writes, and what it says where it cannot."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from gandist.conditions.condition import Wish
from gandist.conditions.encoder import encoder
from gandist.config.run import RunConfig
from gandist.data.index import Index
from gandist.data.index_files import read_index
from gandist.data.packing import pack
from gandist.launch.resumption import run_root
from gandist.media.decode import decode
from gandist.run.examples import ExampleConditions
from gandist.run.trained import BATCH, Trained, open_trained
from gandist.sample import main
from gandist.sample.writing import condition_of
from gandist.train import course
from tests.helpers.scripts import python
from tests.helpers.small_datasets import CAPTIONS, make_set
from tests.helpers.train_on_ranks import tiny

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
        assert course.run(config, "auto") == 0
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


@pytest.fixture(scope="module")
def restoring(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run whose G makes images larger."""
    folder = tmp_path_factory.mktemp("restoring")
    config = tiny(
        folder,
        "large",
        model__name="resnet",
        model__classes=0,
        model__z_dim=0,
        model__options={"blocks": 1},
        data__path=make_set(folder / "set", 20, classes=0, channels=1).base,
        condition={"kind": "degraded", "options": {"scale": 4}},
        precision="fp32",
    )
    assert course.run(config, "auto") == 0
    return run_root(config)


def test_a_grid_of_outputs_beside_their_inputs(
    restoring: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pairs.png"
    assert main([restoring, "--n", "6", "--out", str(out)]) == 0
    assert "6 pairs of input and output of" in capsys.readouterr().out
    trained = opened(restoring)
    y = trained.random_conditions(6)
    assert isinstance(y, ExampleConditions)
    outputs = trained.samples(trained.latents(6), y)
    inputs = trained.medium.from_network(y[:].repeat_interleave(4, 2).repeat_interleave(4, 3)).numpy()
    picture = np.asarray(Image.open(out))
    scale, columns, gap = 96 // 32, 4, 2
    for i, image in enumerate(np.stack([inputs, outputs], 1).reshape(12, 32, 32)):
        top, left = (each * (96 + gap) for each in divmod(i, columns))
        np.testing.assert_array_equal(picture[top : top + 96 : scale, left : left + 96 : scale], image)

    assert main([restoring, "--n", "6", "--out", str(tmp_path / "alone")]) == 0
    np.testing.assert_array_equal(np.stack(pictures(tmp_path / "alone"))[..., None], outputs)
    assert main([restoring, "--n", "6", "--out", str(tmp_path / "walk.webp")]) == 2
    assert "pictures; draw a .png, or use gandist.apply" in capsys.readouterr().err


def test_one_class(runs: dict[str, str], tmp_path: Path) -> None:
    for label in (0, 9):
        assert main([runs["class"], "--n", "5", "--class", str(label), "--out", str(tmp_path / str(label))]) == 0
        trained = opened(runs["class"])
        expected = trained.samples(trained.latents(5), torch.full((5,), label))
        np.testing.assert_array_equal(np.stack(pictures(tmp_path / str(label)))[..., None], expected)
    assert not np.array_equal(pictures(tmp_path / "0"), pictures(tmp_path / "9"))


def test_a_caption(runs: dict[str, str], tmp_path: Path) -> None:
    trained = opened(runs["text"])
    y = condition_of(trained, Wish(caption=CAPTIONS[0]), 3, 0)
    assert isinstance(y, torch.Tensor)
    np.testing.assert_allclose(y, np.repeat(encoder().encode([CAPTIONS[0]]), 3, axis=0), atol=1e-6)
    drawn = []
    for caption in (CAPTIONS[0], "a green pear"):
        out = tmp_path / caption.replace(" ", "-")
        assert main([runs["text"], "--n", "3", "--caption", caption, "--out", str(out)]) == 0
        drawn.append(np.stack(pictures(out)))
    np.testing.assert_array_equal(drawn[0], trained.samples(trained.latents(3), y))
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
        ("plain", ["--class", "0"], ["--class 0", "the run was trained without classes"]),
        ("text", ["--class", "0"], ["--class 0", "the run was trained without classes"]),
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
    (tmp_path / "file").touch()
    for out in ("file/x", "file/x.png", "file", "file/x.zip", "file/x.tar", "file/x.webp", "file/x.mp4"):
        assert str(tmp_path / "file") in refusal(capsys, runs["class"], "--n", "2", "--out", str(tmp_path / out))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out.jpg"], "--out out.jpg: give a folder (with a / at its end where its name has a dot), or a file that "),
        (["out.tar.gz"], "--out out.tar.gz: give a folder"),
        (["out.AVI"], "ends in .png, .zip, .webp, .mp4, .tar"),
        (["s3://bucket/out.png"], "--out s3://bucket/out.png: samples are written to this machine; copy them there"),
        (["a.webp", "--n", "1"], "--n 1: an interpolation goes from one image to another; give 2 or more"),
        (["a.mp4", "--n", "1"], "--n 1: an interpolation"),
        (["a.zip", "--fps", "3"], "--frames, --fps: only interpolations have frames; leave these options out, or"),
        (["a", "--frames", "3"], "--frames, --fps: only interpolations have frames"),
        (["{0..9}.tar", "--n", "9"], "10 shards for 9 images"),
        (["full"], "--out full: holds 000000.png already; empty it, or give another folder"),
        (["v.zip"], "--out v.zip: is a folder; give another name, or v.zip/ to write into it"),
    ],
)
def test_what_cannot_be_written_is_told_before_the_run_is_opened(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/000000.png").touch()
    (tmp_path / "v.zip").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert message in refusal(capsys, "no-run", "--out", *arguments)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_slash_makes_it_a_folder(runs: dict[str, str], tmp_path: Path) -> None:
    for out in ("v.zip/", "epoch.v2/", "epoch.2"):
        assert main([runs["class"], "--n", "2", "--out", f"{tmp_path}/{out}"]) == 0
        assert len(pictures(tmp_path / out)) == 2


def test_the_first_images_are_the_same_however_many(runs: dict[str, str], tmp_path: Path) -> None:
    for kind in KINDS:
        for n in (3, BATCH + 3):
            assert main([runs[kind], "--n", str(n), "--out", str(tmp_path / kind / str(n))]) == 0
        few, many = (pictures(tmp_path / kind / str(n)) for n in (3, BATCH + 3))
        np.testing.assert_array_equal(few, many[:3])


@pytest.mark.parametrize("kind", KINDS)
def test_a_zip_is_packed_again(runs: dict[str, str], tmp_path: Path, kind: str) -> None:
    assert main([runs[kind], "--n", "30", "--seed", "5", "--out", str(tmp_path / "a.zip")]) == 0
    index, _ = pack(str(tmp_path / "a.zip"), str(tmp_path / "set"))
    check_set(opened(runs[kind]), index, 30, seed=5)


def check_set(trained: Trained, index: Index, n: int, seed: int = 0) -> None:
    """The index holds n images of the run with their labels or captions."""
    rows = sorted(index.samples.to_pylist(), key=lambda row: row["key"])
    channels = trained.config.data.channels
    read = [Path(index.url(row["shard"])).read_bytes()[row["offset"] :][: row["size"]] for row in rows]
    np.testing.assert_array_equal([decode(data, 32, channels) for data in read], trained.draw(n, seed))
    y = trained.conditions(n, seed)
    classes, text = trained.config.model.classes, trained.config.model.text_dim
    assert [row["label"] for row in rows] == (y.tolist() if y is not None and classes else [-1] * n)
    assert [row["caption"] for row in rows] == (trained.captions(n, seed) if text else [None] * n)
    assert not text or set(trained.captions(n, seed)) == set(CAPTIONS)


@pytest.mark.parametrize("kind", ["class", pytest.param("plain", marks=pytest.mark.nightly), "text"])
def test_shards_are_trained_from(runs: dict[str, str], tmp_path: Path, kind: str) -> None:
    """As they are, with no other step between: two steps on them."""
    out = tmp_path / "fakes"
    assert main([runs[kind], "--n", "60", "--out", f"{out}/f-{{0..3}}.tar"]) == 0
    trained, index = opened(runs[kind]), read_index(str(out))
    check_set(trained, index, 60)
    assert index.shards["n"].to_pylist() == [15] * 4
    y = trained.conditions(60)
    if kind == "text":
        assert index.encoder == trained.encoder
        np.testing.assert_array_equal(index.vectors, y)
    config = tiny(tmp_path, "again", **KINDS[kind], data__path=str(out), train__total_kimg=0.024)
    assert course.run(config, "auto") == 0
    assert open_trained(run_root(config), torch.device("cpu")).images_seen == 24


def test_shards_of_one_caption(runs: dict[str, str], tmp_path: Path) -> None:
    assert main([runs["text"], "--n", "3", "--caption", "a green pear", "--out", f"{tmp_path}/%06d.tar"]) == 0
    index = read_index(str(tmp_path))
    assert index.shards["url"].to_pylist() == ["000000.tar"]
    assert index.captions == ["a green pear"] * 3
    assert index.vectors is not None
    np.testing.assert_allclose(index.vectors, encoder().encode(["a green pear"] * 3), atol=1e-6)


def test_an_interpolation_goes_through_the_images(
    runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every sixteenth frame is an image; one class all along, as nothing lies between two."""
    arguments = ["--n", "5", "--frames", "16", "--fps", "10", "--seed", "2", "--out"]
    for kind in KINDS:
        assert main([runs[kind], *arguments, str(tmp_path / f"{kind}.webp")]) == 0
        trained = opened(runs[kind])
        z, y = trained.latents(5, 2), trained.conditions(5, 2)
        of_class = ""
        if kind == "class" and y is not None:
            of_class, y = f" of class {y[0]}", y[:1].expand(5)
        images = trained.samples(z, y).astype(int)
        assert capsys.readouterr().out.startswith(f"80 frames through 5 images{of_class} of {runs[kind]} at ")
        with Image.open(tmp_path / f"{kind}.webp") as film:
            frames = [np.asarray(f.convert("RGB"))[::8, ::8].astype(int) for f in ImageSequence.Iterator(film)]
        assert len(frames) == 80
        assert np.abs(np.stack(frames[::16]) - images).max() <= 1
        steps = np.abs(np.stack(frames) - np.roll(frames, -1, 0)).mean((1, 2, 3))
        assert steps.min() > 0
        assert steps[-1] < 1.5 * steps[:-1].max()


def test_an_mp4(runs: dict[str, str], tmp_path: Path) -> None:
    """By default a second from each of eight images to the next."""
    assert main([runs["class"], "--class", "3", "--out", str(tmp_path / "a.mp4")]) == 0
    with av.open(str(tmp_path / "a.mp4")) as file:
        frames = [frame.to_ndarray(format="gray") for frame in file.decode(video=0)]
        assert file.streams.video[0].average_rate == 30
    assert len(frames) == 240
    assert frames[0].shape == (256, 256)


def test_what_was_there_is_replaced_whole(runs: dict[str, str], tmp_path: Path) -> None:
    for name in ("a.png", "a.zip", "a.webp"):
        (tmp_path / name).write_bytes(b"older")
        assert main([runs["class"], "--n", "2", "--out", str(tmp_path / name)]) == 0
        assert (tmp_path / name).stat().st_size > 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.webp", "a.zip"]


def test_what_is_no_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(capsys, str(tmp_path / "none"), "--out", str(tmp_path / "out"))
    assert message == f"gandist: {tmp_path / 'none'}: is no run: there is no such folder\n"
    assert not list(tmp_path.iterdir())


def test_captions_of_another_encoder_are_refused(runs: dict[str, str]) -> None:
    other = replace(opened(runs["text"]), encoder="another sha256:0")
    with pytest.raises(Exception, match=r"--caption: .*embedded by another sha256:0, not all-MiniLM"):
        condition_of(other, Wish(caption="a"), 1, 0)


@pytest.mark.slow
def test_the_command(runs: dict[str, str], tmp_path: Path) -> None:
    """As it is typed, from elsewhere, and without what it does not need: captions drawn from data that is gone."""
    copy = tmp_path / "copy"
    shutil.copytree(runs["text"], copy)
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("/set/shards", "/gone"))

    def typed(*more: str) -> subprocess.CompletedProcess[str]:
        command = ("-m", "gandist", "sample", "copy", "--n", "2", "--out", "out.png")
        return python(*command, *more, cwd=tmp_path)

    done = typed("--caption", "a red apple")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out.png").is_file()
    refused = typed()
    assert refused.returncode == 2
    assert "/gone: no such folder" in refused.stderr
    assert "Traceback" not in refused.stderr
