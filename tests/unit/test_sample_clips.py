"""`python -m gandist.sample` of runs of clips."""

import io
import tarfile
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from gandist import apply
from gandist.config.run import RunConfig
from gandist.data import dataset
from gandist.data.files import write_shards
from gandist.data.index_files import read_index
from gandist.data.moving import clip as moving_garment
from gandist.launch.resumption import run_root
from gandist.media.animated import apng_bytes, mp4_bytes
from gandist.media.gallery import grid
from gandist.run.trained import Trained, open_trained
from gandist.sample import main
from gandist.train import course
from tests.helpers.animated import moving
from tests.helpers.scripts import python
from tests.helpers.train_on_ranks import tiny

FRAMES, STRIDE, CHANNELS = 6, 2, 1


def game(folder: Path, name: str, pair: str, data: str, **changes: Any) -> RunConfig:
    """A run of one step, whose clips differ."""
    options = {"frames": FRAMES, "stride": STRIDE}
    medium = {"path": data, "medium": "video", "channels": CHANNELS, "options": options}
    model = {"name": pair, "classes": 2, "z_dim": 8, "width": 4, "norm_D": "none"}
    settings = {"optim__lr_G": 0.05, "optim__ema_half_life_kimg": 0, "train__total_kimg": 0.012, "precision": "fp32"}
    return tiny(folder, name, data=medium, model=model, **settings, **changes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("runs")
    clips = [apng_bytes(clip, 8) for clip in moving(12, FRAMES * STRIDE, 32, CHANNELS)]
    write_shards(f"{folder}/set/000000.tar", 12, clips, [number % 2 for number in range(12)], extension="apng")
    found = {}
    for pair in ("vgan", "mocogan"):
        config = game(folder, pair, pair, str(folder / "set"))
        assert course.run(config, "auto") == 0
        found[pair] = run_root(config)
    return found


@pytest.fixture(scope="module")
def run(runs: dict[str, str]) -> str:
    return runs["vgan"]


def opened(run: str) -> Trained:
    return open_trained(run, torch.device("cpu"))


def draws(run: str, n: int, label: int, seed: int = 0) -> np.ndarray:
    """Clips (n, F, H, W, C) uint8 of a class."""
    trained = opened(run)
    return trained.samples(trained.latents(n, seed), torch.full((n,), label))


def film_of(content: bytes) -> tuple[np.ndarray, Any]:
    """Frames (F, H, W, 3) uint8 of an MP4, and their rate."""
    with av.open(io.BytesIO(content), "r") as file:
        assert file.streams.video[0].codec.name == "h264"
        rate = file.streams.video[0].average_rate
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]), rate


def animation_of(content: bytes) -> tuple[np.ndarray, list[float], int]:
    """Frames (F, H, W, 3) uint8 of an animation, their milliseconds, and how often it plays, 0 for always."""
    with Image.open(io.BytesIO(content)) as image:
        frames = [(np.asarray(each.convert("RGB")), each.info["duration"]) for each in ImageSequence.Iterator(image)]
        return np.stack([pixels for pixels, _ in frames]), [length for _, length in frames], image.info["loop"]


def grids(clips: np.ndarray, columns: int) -> np.ndarray:
    """The frames of a grid of clips, in RGB."""
    return np.stack([np.asarray(grid(frames, columns).convert("RGB")) for frames in clips.swapaxes(0, 1)])


def test_a_folder_of_clips(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """MP4 files of the configured frames; the same bytes for the same seed, and others for another class or seed."""
    written = {}
    cases = (("a", 1, 0, 5), ("again", 1, 0, 5), ("fewer", 1, 0, 2), ("b", 0, 0, 5), ("c", 1, 5, 5))
    for name, label, seed, n in cases:
        options = ["--n", str(n), "--class", str(label), "--seed", str(seed), "--out", str(tmp_path / name)]
        assert main([run, *options]) == 0
        files = sorted((tmp_path / name).iterdir())
        assert [file.name for file in files] == [f"{number:06d}.mp4" for number in range(n)]
        written[name] = [file.read_bytes() for file in files]
    assert capsys.readouterr().out.startswith(f"5 clips of {run} at 12 clips seen: {tmp_path / 'a'}\n")
    assert written["a"] == written["again"]
    assert written["a"][:2] == written["fewer"]
    assert len({*written["a"], *written["b"], *written["c"]}) == 15
    for content, clip in zip(written["a"], draws(run, 5, 1), strict=True):
        frames, rate = film_of(content)
        assert (frames.shape, rate) == ((FRAMES, 32, 32, 3), 8)
        np.testing.assert_allclose(frames, clip.repeat(3, axis=3), atol=12)
        assert np.abs(frames.astype(int) - clip).mean() < 2
    assert main([run, "--n", "1", "--fps", "5", "--out", str(tmp_path / "slow")]) == 0
    assert film_of((tmp_path / "slow/000000.mp4").read_bytes())[1] == 5


@pytest.mark.parametrize("size", [30, 32, 48])
def test_films_are_the_same_bytes_again(size: int) -> None:
    """Which they are not, at these sizes, as the encoder is set by default."""
    garment = np.random.default_rng(0).integers(0, 256, (7, 7), np.uint8).repeat(4, 0).repeat(4, 1)
    moved = [moving_garment(garment, label, np.full(2, 0.3), size) for label in range(3)]
    assert len({mp4_bytes(np.stack(moved, axis=3), 8) for _ in range(12)}) == 1


def test_a_grid_that_plays(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For ever as WebP, without loss; as MP4 repeated for eight seconds."""
    for name in ("all.webp", "again.webp", "all.mp4", "again.mp4"):
        assert main([run, "--n", "5", "--class", "1", "--out", str(tmp_path / name)]) == 0
    assert capsys.readouterr().out.startswith(f"5 clips in a grid of {run} at ")
    for suffix in ("webp", "mp4"):
        assert (tmp_path / f"all.{suffix}").read_bytes() == (tmp_path / f"again.{suffix}").read_bytes()
    expected = grids(draws(run, 5, 1), 3)
    frames, lengths_ms, loop = animation_of((tmp_path / "all.webp").read_bytes())
    np.testing.assert_array_equal(frames, expected)
    assert (lengths_ms, loop) == ([125] * FRAMES, 0)
    frames, rate = film_of((tmp_path / "all.mp4").read_bytes())
    assert (len(frames), rate) == (11 * FRAMES, 8)
    for number in (0, 4, FRAMES + 4):
        assert np.abs(frames[number].astype(int) - expected[number % FRAMES]).mean() < 3
    assert main([run, "--n", "1", "--fps", "20", "--out", str(tmp_path / "one.webp")]) == 0
    frames, lengths_ms, _ = animation_of((tmp_path / "one.webp").read_bytes())
    assert lengths_ms == [50] * FRAMES


def test_strips(run: str, tmp_path: Path) -> None:
    """A line a clip, and in it all of its frames."""
    assert main([run, "--n", "12", "--class", "0", "--out", str(tmp_path / "strips.png")]) == 0
    expected = grid(draws(run, 12, 0).reshape(-1, 32, 32, CHANNELS), FRAMES)
    with Image.open(tmp_path / "strips.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected))


def test_a_zip_holds_clips_without_loss(run: str, tmp_path: Path) -> None:
    assert main([run, "--n", "3", "--class", "1", "--out", str(tmp_path / "all.zip")]) == 0
    medium = opened(run).medium
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.namelist() == [*(f"{number:06d}.apng" for number in range(3)), "dataset.json"]
        for number, clip in enumerate(draws(run, 3, 1)):
            row = np.empty_like(clip)
            assert medium.decode(archive.read(f"{number:06d}.apng"), row) is None
            np.testing.assert_array_equal(row, clip)


def test_clips_that_stand_still_keep_their_frames(run: str) -> None:
    medium = opened(run).medium
    for levels in ([7] * FRAMES, [7, 7, 9, 9, 3, 3]):
        clip = np.ones((FRAMES, 32, 32, CHANNELS), np.uint8) * np.array(levels, np.uint8)[:, None, None, None]
        row = np.empty_like(clip)
        medium.decode(medium.encode(clip), row)
        np.testing.assert_array_equal(row, clip)
        assert len(animation_of(medium.encode(clip))[0]) == FRAMES * STRIDE


def test_shards_are_trained_from(run: str, tmp_path: Path) -> None:
    """Their rows are what was drawn, under the configuration of the run, which takes every other frame."""
    assert main([run, "--n", "12", "--out", str(tmp_path / "fakes/%06d.tar")]) == 0
    with tarfile.open(tmp_path / "fakes/000000.tar") as shard:
        assert {Path(name).suffix for name in shard.getnames()} == {".apng", ".cls"}
    config = game(tmp_path, "again", "vgan", str(tmp_path / "fakes"))
    rows, labels = dataset.open_set(config, read_index(str(tmp_path / "fakes"))).gather(np.arange(12))
    np.testing.assert_array_equal(rows, opened(run).draw(12))
    assert set(labels.tolist()) == {0, 1}
    assert course.run(config, "auto") == 0


@pytest.mark.parametrize("part", ["content", "motion"])
def test_one_part_varies(runs: dict[str, str], tmp_path: Path, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The clips are those of the first sample's latents and class, but for this part."""
    assert main([runs["mocogan"], "--n", "3", "--vary", part, "--out", str(tmp_path / "a.webp")]) == 0
    assert capsys.readouterr().out.startswith(f"3 clips that differ in {part} alone in a grid of ")
    trained = opened(runs["mocogan"])
    z, content = trained.latents(3), trained.config.model.z_dim
    only = z[:1].repeat(3, 1)
    where = slice(0, content) if part == "content" else slice(content, None)
    only[:, where] = z[:, where]
    y = trained.conditions(3)
    assert y is not None
    expected = trained.samples(only, y[:1].expand(3))
    assert (expected[0] != expected[1]).any()
    np.testing.assert_array_equal(animation_of((tmp_path / "a.webp").read_bytes())[0], grids(expected, 2))
    assert main([runs["mocogan"], "--n", "2", "--vary", part, "--out", str(tmp_path / "a.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.read("dataset.json").decode().count(f", {y[0]}]") == 2


def test_what_cannot_be_is_told(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out, options, said in (
        (
            "a.png",
            ["--vary", "content"],
            "--vary content: the latents of vgan have no parts; those of these pairs do",
        ),
        ("a.webp", ["--frames", "9"], "--frames: clips have the frames of the run (data.options.frames); leave it out"),
        (
            "a.png",
            ["--fps", "9"],
            "--fps: a .png does not play; leave it out, or let --out be a folder, or end in .webp or .mp4",
        ),
        (
            "a.wav",
            [],
            "the run makes clips, which are not written as .wav; give a folder, or a file that ends in ",
        ),
    ):
        assert main([run, "--n", "2", *options, "--out", str(tmp_path / out)]) == 2
        assert said in capsys.readouterr().err
    for given in ([], ["--encode"]):
        assert apply.main([run, str(tmp_path), "--out", str(tmp_path / "made"), *given]) == 2
        assert f"{run}: its generator makes clips from its latents alone and takes no input" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_the_library(run: str, tmp_path: Path) -> None:
    """A folder is refused before anything is drawn; what the message names can be written."""
    code = (
        "import sys; sys.modules['av'] = None; from gandist.sample import main; "
        f"sys.exit([main(['{run}', '--n', '2', '--out', out]) for out in ('a', 'a.mp4', *sys.argv[1:])]"
        " != [2, 2, 0, 0, 0, 0])"
    )
    done = python("-c", code, "a.webp", "a.png", "a.zip", "t/a.tar", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("gandist: --out a: needs PyAV: ")
    assert "pip install 'gandist[video]', or write .webp, .png, .zip or .tar\n" in done.stderr
    assert "gandist: --out a.mp4: needs PyAV: " in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.webp", "a.zip", "t"]


def test_the_rate_is_that_of_the_set(run: str, tmp_path: Path) -> None:
    """With data.options.fps clips play at it, over the stride."""
    medium = opened(run).medium.model_copy(update={"fps": 25.0})
    clip = draws(run, 1, 0)[0]
    _, lengths_ms, _ = animation_of(medium.encode(clip))
    assert lengths_ms == pytest.approx([80] * FRAMES)
    assert medium.played_fps == Fraction(25, 2)
    row = np.empty_like(clip)
    assert medium.decode(medium.encode(clip), row) is None
    np.testing.assert_array_equal(row, clip)
