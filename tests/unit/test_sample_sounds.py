"""`python -m gandist.sample` of runs of sounds."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gandist.data import dataset
from gandist.data.index_files import read_index
from gandist.errors import GandistError
from gandist.launch.resumption import run_root
from gandist.media.audio import Audio
from gandist.media.sound import library
from gandist.run.trained import open_trained
from gandist.sample import main
from gandist.train import course
from tests.helpers.beeping import RATE, SAMPLES, beeping, sound_set
from tests.helpers.train_on_ranks import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("runs")
    config = beeping(folder, "beeps", sound_set(folder / "set"), precision="fp32")
    assert course.run(config, "auto") == 0
    return run_root(config)


def sounds_of(folder: Path) -> list[np.ndarray]:
    """Its sounds (T, C) int16."""
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"{number:06d}.wav" for number in range(len(files))]
    found = [library().read(file, dtype="int16", always_2d=True) for file in files]
    assert {(sound.shape, rate) for sound, rate in found} == {((SAMPLES, 1), RATE)}
    return [sound for sound, _ in found]


def test_a_folder_of_sounds(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the configured length and rate; the same bytes for the same seed, and others for another class or seed."""
    written = {}
    for name, label, seed, n in (
        ("a", 1, 0, 8),
        ("again", 1, 0, 8),
        ("fewer", 1, 0, 3),
        ("b", 0, 0, 8),
        ("c", 1, 5, 8),
    ):
        options = ["--n", str(n), "--class", str(label), "--seed", str(seed), "--out", str(tmp_path / name)]
        assert main([run, *options]) == 0
        sounds_of(tmp_path / name)
        written[name] = [file.read_bytes() for file in sorted((tmp_path / name).iterdir())]
    assert capsys.readouterr().out.startswith(f"8 sounds of {run} at 120 sounds seen: {tmp_path / 'a'}\n")
    assert written["a"] == written["again"]
    assert written["a"][:3] == written["fewer"]
    assert len({*written["a"], *written["b"], *written["c"]}) == 24


def test_sounds_in_a_row(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A quarter of a second apart: those of the folder."""
    assert main([run, "--n", "5", "--class", "1", "--out", str(tmp_path / "all.wav")]) == 0
    assert capsys.readouterr().out.startswith("5 sounds in a row of ")
    assert main([run, "--n", "5", "--class", "1", "--out", str(tmp_path / "each")]) == 0
    whole, rate = library().read(tmp_path / "all.wav", dtype="int16", always_2d=True)
    assert (rate, len(whole)) == (RATE, 5 * SAMPLES + 4 * RATE // 4)
    pause = np.zeros((RATE // 4, 1), np.int16)
    expected = np.concatenate([part for sound in sounds_of(tmp_path / "each") for part in (sound, pause)])
    np.testing.assert_array_equal(whole, expected[: len(whole)])


def test_their_spectrograms(run: str, tmp_path: Path) -> None:
    assert main([run, "--n", "4", "--out", str(tmp_path / "grid.png")]) == 0
    trained = open_trained(run, torch.device("cpu"))
    assert (tmp_path / "grid.png").read_bytes() == trained.medium.preview(trained.draw(4), 2).content
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.width > 600


def test_archives_hold_wav_files(run: str, tmp_path: Path) -> None:
    assert main([run, "--n", "5", "--out", str(tmp_path / "all.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert [name for name in archive.namelist() if name.endswith(".wav")] == [f"{n:06d}.wav" for n in range(5)]
        sound, rate = library().read(io.BytesIO(archive.read("000003.wav")))
        assert (len(sound), rate) == (SAMPLES, RATE)


def test_shards_are_trained_from(run: str, tmp_path: Path) -> None:
    """The sounds of a tar are those of the folder, and a run learns from them."""
    assert main([run, "--n", "24", "--out", str(tmp_path / "fakes/%06d.tar")]) == 0
    assert main([run, "--n", "24", "--out", str(tmp_path / "each")]) == 0
    with tarfile.open(tmp_path / "fakes/000000.tar") as shard:
        assert {Path(name).suffix for name in shard.getnames()} == {".wav", ".cls"}
    index = read_index(str(tmp_path / "fakes"))
    assert index.n == 24
    config = beeping(tmp_path, "again", str(tmp_path / "fakes"), precision="fp32")
    rows, labels = dataset.open_set(config, index).gather(np.arange(24))
    np.testing.assert_array_equal(rows, np.stack(sounds_of(tmp_path / "each")))
    assert set(labels.tolist()) == {0, 1}
    assert course.run(config, "auto") == 0


def test_films_are_of_images_and_rows_of_sounds(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny(tmp_path, "images", precision="fp32", train__total_kimg=0.012)
    assert course.run(config, "auto") == 0
    capsys.readouterr()
    for at, out, said in (
        (
            run,
            "a.webp",
            "the run makes sounds, which are not written as .webp; give a folder, or a file that ends in "
            ".png, .wav, .zip, .tar",
        ),
        (run, "a.mp4", "the run makes sounds, which are not written as .mp4"),
        (
            run_root(config),
            "a.wav",
            "the run makes images, which are not written as .wav; give a folder, or a file "
            "that ends in .png, .webp, .mp4, .zip, .tar",
        ),
    ):
        assert main([at, "--n", "4", "--out", str(tmp_path / out)]) == 2
        assert f"--out {tmp_path / out}: {said}" in capsys.readouterr().err
        assert not (tmp_path / out).exists()


def test_more_than_a_wav_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gandist.media.spectrogram.WAV_GIB", 0.01)
    medium = Audio(sample_rate=192_000, samples=1_000_000, channels=2)
    assert medium.heard(np.zeros((2, 1_000_000, 2), np.int16))
    with pytest.raises(GandistError, match=r"3 sounds in a row are 0.01 GiB, and a WAV file holds 0.01; write fewer"):
        medium.heard(np.zeros((3, 1_000_000, 2), np.int16))
