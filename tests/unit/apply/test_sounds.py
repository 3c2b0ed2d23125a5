"""`python -m gandist.apply` of a vocoder's run: sounds and spectrograms of any length."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gandist.apply import main
from gandist.apply.vocoder import Vocoder, vocoder_of
from gandist.launch.resumption import run_root
from gandist.media.sound import library
from gandist.run.trained import open_trained
from gandist.train import course
from tests.helpers.beeping import RATE, beeping, humming, sound_set
from tests.helpers.scripts import python

HOP = 64
Run = Callable[[str], str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The runs `hum`, `hum-all`, which sees all of a sound, `hifigan`, and `beeps`, which is given none."""
    folder = tmp_path_factory.mktemp("runs")
    data, found = sound_set(folder / "set"), dict[str, str]()

    def trained(name: str) -> str:
        if name not in found:
            model: dict[str, Any] = {"name": name, "classes": 0, "z_dim": 2}
            if name == "hifigan":
                small_D = {"width_D": 4, "discriminators": ["mpd"], "periods": [2]}
                model |= {"z_dim": 0, "width": 4, "options": {"strides": [8, 8], **small_D}}
            config = beeping(folder, name, data) if name == "beeps" else humming(folder, name, data, model=model)
            assert course.run(config, "auto") == 0
            found[name] = run_root(config)
        return found[name]

    return trained


def saved(path: Path, x: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    library().write(path, x, rate)
    return path


def read(path: Path) -> np.ndarray:
    """(T, C) int16 at the run's rate."""
    found, rate = library().read(path, dtype="int16", always_2d=True)
    assert rate == RATE
    return np.asarray(found)


def opened(run: str) -> Vocoder:
    return vocoder_of(open_trained(run, torch.device("cpu")), run, 0)


def noise(n: int, seed: int = 0) -> np.ndarray:
    """(n,) float32, louder and softer."""
    rng = np.random.default_rng(seed)
    loudness = np.interp(np.arange(n), np.linspace(0, n, 9), rng.uniform(0.01, 0.5, 9))
    return (loudness * rng.standard_normal(n)).clip(-1, 1).astype(np.float32)


def test_each_sound_gets_a_wav_of_its_name_and_length(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever its rate, channels, kind and length: from one sample to more than those that were trained on."""
    saved(tmp_path / "in/a.wav", noise(5000))
    saved(tmp_path / "in/deeper/b.flac", noise(1))
    saved(tmp_path / "in/deeper/c.ogg", np.stack([noise(44_100), noise(44_100)], 1), 44_100)
    (tmp_path / "in/notes.txt").write_text("no sound")
    saved(tmp_path / "more/d.wav", noise(1025))
    out = tmp_path / "out"
    assert main([run("hum"), str(tmp_path / "in"), f"{tmp_path}/more/*", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"4 sounds by {run('hum')} at 120 sounds seen: {out} (1.")
    assert "s of sound in" in printed
    assert "a real-time factor of" in printed
    lengths = {str(path.relative_to(out)): len(read(path)) for path in out.rglob("*.wav")}
    assert lengths == {"a.wav": 5000, "deeper/b.wav": 1, "deeper/c.wav": RATE, "d.wav": 1025}


@pytest.mark.parametrize(
    ("n", "tile"),
    [
        pytest.param(n, tile, marks=[pytest.mark.nightly] if (i + j) % 3 else [])
        for i, n in enumerate([100, 4096, 9000, 64 * 200 + 1])
        for j, tile in enumerate([40, 7, 1])
    ],
)
def test_stretches_are_the_whole_to_a_step_of_16_bits(run: Run, tmp_path: Path, n: int, tile: int) -> None:
    saved(tmp_path / "in/a.wav", noise(n))
    found = []
    for frames in (0, tile):
        assert (
            main([run("hum"), f"{tmp_path}/in/a.wav", "--out", str(tmp_path / f"{frames}"), "--tile", str(frames)]) == 0
        )
        found.append(read(tmp_path / f"{frames}/a.wav").astype(int))
    assert len(found[0]) == len(found[1]) == n
    assert np.abs(found[0] - found[1]).max() <= 1
    assert found[0].std() > 20


def test_a_sound_is_that_of_its_spectrogram(run: Run, tmp_path: Path) -> None:
    """Copy synthesis is the spectrogram, then what G makes of it; the same from a stored one, whole or in stretches."""
    vocoder = opened(run("hum"))
    x = saved(tmp_path / "x.wav", noise(HOP * 50))
    given = torch.from_numpy(library().read(x, dtype="float32")[0])[None, None]
    mel = vocoder.maker.make(given, {})
    np.save(tmp_path / "mel.npy", mel[0].numpy())
    np.save(tmp_path / "half.npy", mel[0].numpy().astype(np.float16))
    inputs = [str(tmp_path / name) for name in ("x.wav", "mel.npy", "half.npy")]
    assert main([run("hum"), *inputs, "--out", str(tmp_path / "out"), "--tile", "9"]) == 0
    with torch.no_grad():
        expected = vocoder.medium.from_network(vocoder.G(vocoder.z, mel))[0].numpy().astype(int)
    for name, most in (("x", 1), ("mel", 1), ("half", 400)):
        made = read(tmp_path / f"out/{name}.wav").astype(int)
        assert made.shape == expected.shape == (HOP * 50, 1)
        assert np.abs(made - expected).max() <= most, name


def test_the_reach_of_the_network_is_measured(run: Run) -> None:
    """Two frames of the first convolution, one of the transposed one."""
    assert opened(run("hum")).radius == 3
    assert opened(run("hum-all")).radius is None


def test_hifigan_in_stretches(run: Run, tmp_path: Path) -> None:
    """It sees 24 frames to either side with these strides at most; whole and in stretches are the same."""
    radius = opened(run("hifigan")).radius
    assert radius is not None
    assert 8 < radius <= 24
    saved(tmp_path / "a.wav", noise(RATE // 2))
    for tile in ("0", "32"):
        assert main([run("hifigan"), f"{tmp_path}/a.wav", "--out", str(tmp_path / tile), "--tile", tile]) == 0
    whole, stretches = (read(tmp_path / tile / "a.wav").astype(int) for tile in ("0", "32"))
    assert np.abs(whole - stretches).max() <= 1
    assert len(whole) == RATE // 2
    assert whole.std() > 1


def test_a_network_that_sees_everything_is_given_the_whole(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path / "a.wav", noise(9000))
    for tile in ("0", "7"):
        assert main([run("hum-all"), f"{tmp_path}/a.wav", "--out", str(tmp_path / tile), "--tile", tile]) == 0
    assert (tmp_path / "0/a.wav").read_bytes() == (tmp_path / "7/a.wav").read_bytes()


def test_the_seed_is_that_of_the_latents(run: Run, tmp_path: Path) -> None:
    saved(tmp_path / "a.wav", noise(900))
    written = []
    for number, seed in enumerate((0, 0, 1)):
        out = tmp_path / str(number)
        assert main([run("hum"), f"{tmp_path}/a.wav", "--out", str(out), "--seed", str(seed)]) == 0
        written.append((out / "a.wav").read_bytes())
    assert written[0] == written[1] != written[2]


def test_what_is_no_sound_is_told_by_name(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are done."""
    folder = tmp_path / "in"
    whole = saved(folder / "a.wav", noise(900)).read_bytes()
    (folder / "b.wav").write_bytes(b"")
    (folder / "c.flac").write_text("no sound at all")
    (folder / "d.wav").write_bytes(whole[:-500])
    arrays = {
        "turned": np.zeros((20, 16)),
        "bands": np.zeros((20, 30)),
        "whole": np.zeros((16, 20), int),
        "one": np.zeros(16),
        "nan": np.full((16, 20), np.nan),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    (folder / "torn.npy").write_bytes(b"\x93NUMPY")
    assert main([run("hum"), str(folder), "--out", str(tmp_path / "out")]) == 1
    said = caplog.text + capsys.readouterr().err
    for name, reason in (
        ("b.wav", "an empty file"),
        ("c.flac", "is no sound that can be read"),
        ("d.wav", "is cut off"),
        ("turned.npy", "has 20 bands, and the run takes 16; turn it: (mels, frames)"),
        ("bands.npy", "has 20 bands, and the run takes 16; make it with the run's condition.options"),
        ("whole.npy", "is int64 (16, 20), and the run takes log-mel spectrograms (mels, frames) in floating point"),
        ("one.npy", "is float64 (16,), and the run takes log-mel"),
        ("nan.npy", "holds values that are no numbers, from frame 0 on"),
        ("torn.npy", "cannot be read as a .npy file"),
    ):
        assert f"{folder / name}: {reason}" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.wav"]


def test_what_does_not_go_together_is_refused(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(saved(tmp_path / "a.wav", noise(900)))
    (tmp_path / "empty").mkdir()
    for arguments, said in (
        (
            [run("beeps"), file],
            "its generator takes no spectrograms (condition.kind=mel); use python -m gandist.sample",
        ),
        ([run("hum"), file, "--mask", "white"], "--mask: for pictures only, and"),
        ([run("hum"), file, "--watch", "--encode"], "--watch, --encode: for pictures only, and"),
        (
            [run("hum"), str(tmp_path / "empty")],
            "empty: no sound there; give files, folders or patterns of .wav, .flac",
        ),
        ([run("hum"), str(tmp_path / "b.wav")], "b.wav: no sound there"),
    ):
        assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
    assert main([run("hum"), file, "--out", str(tmp_path)]) == 2
    assert f"--out {tmp_path}: the result would replace {file}" in capsys.readouterr().err


def test_a_page_of_before_and_after(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was given, Griffin-Lim, and the result; of a spectrogram the last two."""
    monkeypatch.setattr("gandist.apply.heard.EXCERPT_S", 1)
    monkeypatch.setattr("gandist.apply.heard.MAX_SHOWN", 2)
    saved(tmp_path / "in/a.wav", noise(2 * RATE))
    np.save(tmp_path / "in/b.npy", np.random.default_rng(0).standard_normal((16, 20)) - 5)
    saved(tmp_path / "in/c.wav", noise(500))
    assert main([run("hum"), str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--compare"]) == 0
    html = (tmp_path / "out/compare.html").read_text()
    assert "of longer sounds the first 1 s. The first 2 of 3, to keep the page small." in html
    found = re.findall(r'base64,([^"]*)" aria-label="([^"]*)"></audio>', html)
    assert [name for _, name in found] == ["given, a", "Griffin-Lim, a", "made, a", "Griffin-Lim, b", "made, b"]
    sounds = [library().read(io.BytesIO(base64.b64decode(source)), dtype="int16")[0] for source, _ in found]
    assert [len(each) for each in sounds] == [RATE, RATE, RATE, 20 * HOP, 20 * HOP]
    np.testing.assert_array_equal(sounds[2], read(tmp_path / "out/a.wav")[:RATE, 0])
    np.testing.assert_array_equal(sounds[4], read(tmp_path / "out/b.wav")[:, 0])
    assert len({each.tobytes() for each in sounds}) == 5


@pytest.mark.slow
def test_a_long_sound_takes_little_memory(run: Run, tmp_path: Path) -> None:
    """Ten minutes take at most a little more than one: 9 of them would be 17 MB of float32, and 34 MB for each
    feature of the network."""
    peaks = []
    for minutes in (1, 10):
        path = saved(tmp_path / f"{minutes}.wav", np.tile(noise(RATE * 6), 10 * minutes))
        code = (
            "import resource, sys; from gandist.apply import main; status = main(sys.argv[1:]);"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(status)"
        )
        ended = python("-c", code, run("hum"), str(path), "--out", str(tmp_path / "out"))
        assert ended.returncode == 0, ended.stderr
        assert len(read(tmp_path / f"out/{minutes}.wav")) == RATE * 60 * minutes
        peaks.append(int(ended.stdout.splitlines()[-1]) / 1024)
    assert peaks[1] - peaks[0] < 60, f"MiB: {peaks}"
