"""Pictures of sounds show when, at which frequency and how loud a sound is; equal sounds give equal bytes."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from gandist.media.audio import Audio
from gandist.media.medium import SOUNDS
from gandist.media.paired import Paired
from gandist.media.sound import library
from gandist.media.spectrogram import COLOURS, in_a_row, mel_of, spectrograms

RATE, T = 16_000, 8192


def sines(*hertz: float, level: float = 1.0, samples: int = T, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """Sounds (n, samples, channels) int16."""
    t = np.arange(samples) / rate
    found = level * 32767 * np.sin(2 * np.pi * np.array(hertz)[:, None] * t)
    return found.round().astype(np.int16)[:, :, None].repeat(channels, 2)


def opened(png: bytes) -> tuple[Image.Image, np.ndarray]:
    """The picture, and its palette's numbers."""
    picture = Image.open(io.BytesIO(png))
    return picture, np.asarray(picture)


def stretches(there: np.ndarray) -> list[slice]:
    """Where a mask (n,) is true without a break, for eight places at least."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], there.astype(int), [0]])))
    return [slice(first, last) for first, last in edges.reshape(-1, 2) if last - first >= 8]


def cells(numbers: np.ndarray) -> list[list[np.ndarray]]:
    """The colours of the cells, line by line, without the scale at their right."""
    coloured = numbers < COLOURS
    columns = stretches(np.asarray(coloured.any(0)))[:-1]
    lines = stretches(np.asarray(coloured[:, columns[0]].all(1)))
    return [[numbers[line, column] for column in columns if coloured[line, column].all()] for line in lines]


def cell(png: bytes) -> np.ndarray:
    """The colours of the only cell."""
    ((found,),) = cells(opened(png)[1])
    return found


@pytest.mark.parametrize("hertz", [220.0, 1000.0, 6000.0])
def test_a_tone_lies_at_its_frequency(hertz: float) -> None:
    shown = cell(spectrograms(sines(hertz), 1, RATE))
    brightest = np.median(shown.argmax(0))
    place = 1 - (brightest + 0.5) / len(shown)
    assert place == pytest.approx(float(mel_of(hertz) / mel_of(RATE / 2)), abs=1.5 / len(shown))


def test_time_goes_from_left_to_right() -> None:
    sound = sines(1000.0)
    sound[:, T // 2 :] = 0
    loud = cell(spectrograms(sound, 1, RATE)).max(0) > COLOURS / 2
    assert loud[: int(0.48 * len(loud))].all()
    assert not loud[int(0.53 * len(loud)) :].any()


def test_colours_are_decibels_below_a_full_sine() -> None:
    """20 dB are a quarter of the scale; silence is its lower end."""
    for level, share in ((1.0, 1.0), (0.1, 0.75), (0.01, 0.5), (0.0, 0.0)):
        shown = cell(spectrograms(sines(1000.0, level=level), 1, RATE))
        middle = shown[:, len(shown[0]) // 4 : -len(shown[0]) // 4].max(0)
        assert np.median(middle) / (COLOURS - 1) == pytest.approx(share, abs=0.08), level


def test_the_palette_grows_lighter() -> None:
    picture, _ = opened(spectrograms(sines(1000.0), 1, RATE))
    palette = np.array(picture.getpalette(), float).reshape(-1, 3)[:COLOURS]
    linear = np.where(palette <= 10, palette / 255 / 12.92, ((palette / 255 + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -1e-3).all()
    assert luminance[0] < 0.01
    assert luminance[-1] > 0.8


def test_channels_count_by_their_power() -> None:
    """Opposite channels do not cancel."""
    one = sines(1000.0)
    opposite = np.concatenate([one, -one], axis=2)
    assert spectrograms(opposite, 1, RATE) == spectrograms(one.repeat(2, 2), 1, RATE) == spectrograms(one, 1, RATE)


def test_a_grid_lays_sounds_out_line_by_line() -> None:
    sounds = np.concatenate([sines(300.0), sines(0.0), sines(0.0), sines(300.0), sines(300.0)])
    png = spectrograms(sounds, 3, RATE)
    assert png == spectrograms(sounds, 3, RATE)
    found = [[bool((each > COLOURS / 2).any()) for each in line] for line in cells(opened(png)[1])]
    assert found == [[True, False, False], [True, True]]


@pytest.mark.parametrize(
    ("n", "samples", "rate", "columns", "channels"),
    [
        (1, 64, 1000, 1, 1),
        (1, 64, 192_000, 1, 2),
        (3, 441_000, 44_100, 1, 2),
        (2, 100, 8000, 12, 1),
        (7, 4096, 8000, 7, 1),
    ],
)
def test_any_sounds_can_be_seen(n: int, samples: int, rate: int, columns: int, channels: int) -> None:
    rng = np.random.default_rng(0)
    sounds = rng.integers(-32768, 32767, (n, samples, channels), np.int16)
    picture, numbers = opened(spectrograms(sounds, columns, rate))
    assert 100 < picture.width <= 1100
    assert (numbers < COLOURS).mean() > 0.25


def test_it_is_fast() -> None:
    sounds = np.random.default_rng(0).integers(-32768, 32767, (64, 16_384, 1), np.int16)
    spectrograms(sounds[:1], 8, RATE)
    spent = []
    for _ in range(3):
        start = time.process_time()
        spectrograms(sounds, 8, RATE)
        spent.append(time.process_time() - start)
    assert min(spent) < 1.0


def test_the_first_sound_of_each_line_can_be_heard() -> None:
    soundfile = library()
    medium = Audio(sample_rate=RATE, samples=512, channels=2)
    rows = np.arange(35, dtype=np.int16)[:, None, None].repeat(512, 1).repeat(2, 2)
    for given, columns, expected in (
        (rows, 10, [0, 10, 20, 30]),
        (rows, 2, [*range(0, 2 * SOUNDS, 2)]),
        (rows[:4], 10, [0, 1, 2, 3]),
        (rows[:1], 1, [0]),
    ):
        found = [soundfile.read(io.BytesIO(sound), dtype="int16") for sound in medium.preview(given, columns).sounds]
        assert [int(sound[0, 0]) for sound, _ in found] == expected
        assert {(sound.shape, rate) for sound, rate in found} == {((512, 2), RATE)}


def test_sounds_follow_each_other_after_pauses() -> None:
    rows = np.random.default_rng(0).integers(1, 99, (3, 100, 2), np.int16)
    joined = in_a_row(rows, 1000)
    assert joined.shape == (3 * 100 + 2 * 250, 2)
    for number, row in enumerate(rows):
        np.testing.assert_array_equal(joined[number * 350 : number * 350 + 100], row)
    assert not joined[100:350].any()
    medium = Audio(sample_rate=1000, samples=100, channels=2)
    assert medium.heard(rows) == Paired(inner=medium).heard(np.stack([rows, 0 * rows], axis=1))
