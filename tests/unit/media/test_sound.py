"""Sounds are decoded as they are, no further than needed; what is no whole sound is refused with its reason."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from gandist.errors import DataError
from gandist.media.audio import Audio
from gandist.media.sound import FULL_SCALE, as_int16, decode, wav_bytes
from tests.helpers.sounds import encoded, sine

RATE = 44_100
KINDS = [
    ("WAV", "PCM_U8", 0.01), ("WAV", "PCM_16", 1e-4), ("WAV", "PCM_24", 1e-4), ("WAV", "PCM_32", 1e-4),
    ("WAV", "FLOAT", 1e-6), ("WAV", "DOUBLE", 1e-6), ("WAV", "ULAW", 0.03), ("WAV", "ALAW", 0.03),
    ("WAV", "IMA_ADPCM", 0.05), ("WAV", "GSM610", 0.2),
    ("WAVEX", "PCM_16", 1e-4), ("RF64", "PCM_16", 1e-4), ("FLAC", "PCM_16", 1e-4),
    ("FLAC", "PCM_24", 1e-4), ("OGG", "VORBIS", 0.05), ("OGG", "OPUS", 0.05), ("MP3", "MPEG_LAYER_III", 0.05),
    ("AIFF", "PCM_16", 1e-4), ("CAF", "PCM_16", 1e-4), ("AU", "PCM_16", 1e-4),
]  # fmt: skip


@pytest.mark.parametrize(("format", "subtype", "close"), KINDS)
def test_every_kind(format: str, subtype: str, close: float) -> None:
    rate = 48_000 if subtype == "OPUS" else RATE
    sound = sine(440, rate, rate // 2)
    found = decode(encoded(sound, rate, format, subtype), rate, 1)
    assert found.dtype == np.float32
    assert len(sound) <= len(found) <= len(sound) + 4096, "ADPCM fills its last block"
    assert np.abs(found[100 : len(sound) - 2400, 0] - sound[100:-2400]).max() < close
    assert np.isfinite(found).all()


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000, 11_127])
@pytest.mark.parametrize("wanted", [8000, 16_000])
def test_resampling_keeps_a_tone(rate: int, wanted: int) -> None:
    found = decode(encoded(sine(440, rate, 2 * rate), rate), wanted, 1)
    assert len(found) == 2 * wanted
    middle = slice(wanted // 2, wanted)
    np.testing.assert_allclose(found[middle, 0], sine(440, wanted, 2 * wanted)[middle], atol=2e-4)


def test_what_half_the_rate_cannot_hold_is_gone() -> None:
    found = decode(encoded(sine(7000, RATE, RATE), RATE), 8000, 1)
    assert np.abs(found[1000:-1000]).max() < 1e-3


def test_channels() -> None:
    left, right = sine(440, RATE, 4410), sine(1000, RATE, 4410)
    stereo, mono = encoded(np.stack([left, right], 1), RATE), encoded(left, RATE)
    np.testing.assert_allclose(decode(stereo, RATE, 1)[:, 0], (left + right) / 2, atol=1e-4)
    np.testing.assert_allclose(decode(stereo, RATE, 2), np.stack([left, right], 1), atol=1e-4)
    np.testing.assert_allclose(decode(mono, RATE, 2), np.stack([left, left], 1), atol=1e-4)
    around = encoded(np.stack([left] * 7 + [right], 1), RATE, "WAVEX")
    np.testing.assert_allclose(decode(around, RATE, 1)[:, 0], (7 * left + right) / 8, atol=1e-4)
    with pytest.raises(DataError, match="has 8 channels, which cannot become 2; set channels to 1"):
        decode(around, RATE, 2)


@pytest.mark.parametrize("rate", [16_000, 44_100, 8000])
def test_a_part_is_what_the_whole_has_there(rate: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, 7 * RATE).astype(np.float32)
    file = encoded(noise, RATE, "FLAC")
    whole = decode(file, rate, 1)
    np.testing.assert_array_equal(decode(file, rate, 1, 4096), whole[:4096])
    first = (len(whole) - 4096) // 2
    np.testing.assert_allclose(decode(file, rate, 1, 4096, "center"), whole[first : first + 4096], atol=1e-6)
    np.testing.assert_allclose(decode(file, rate, 1, len(whole) + 9, "center"), whole, atol=1e-6)


def test_hours_are_not_decoded_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three hours, of which less than a minute is read at either place; whole they are refused."""
    sink = io.BytesIO()
    with soundfile.SoundFile(sink, "w", 8_000, 1, format="FLAC") as file:
        for _ in range(180):
            file.write(np.zeros(60 * 8_000, np.int16))
    read, plain = [], soundfile.SoundFile.read

    def counted(self: soundfile.SoundFile, frames: int, **options: object) -> np.ndarray:
        read.append(frames)
        return np.asarray(plain(self, frames, **options))

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    for crop in ("start", "center"):
        read.clear()
        assert len(decode(sink.getvalue(), 16_000, 1, 16_384, crop)) == 16_384
        assert sum(read) < 60 * 8_000
    with pytest.raises(DataError, match=r"lasts 3\.0 hours"):
        decode(sink.getvalue(), 48_000, 1)


def test_files_without_places_to_go_to() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 9000)
    file = encoded(noise, 8000, "WAV", "GSM610")
    whole = decode(file, 8000, 1)
    first = (len(whole) - 1000) // 2
    np.testing.assert_array_equal(decode(file, 8000, 1, 1000, "center"), whole[first : first + 1000])


def halved(data: bytes) -> bytes:
    return data[: len(data) // 2]


def holed(data: bytes) -> bytes:
    return data[:3000] + bytes(400) + data[3400:]


@pytest.mark.parametrize(
    ("format", "subtype", "damage"),
    [
        *((format, subtype, halved) for format, subtype, _ in KINDS),
        ("FLAC", "PCM_16", holed),
        ("OGG", "VORBIS", holed),
        ("OGG", "OPUS", holed),
        ("OGG", "VORBIS", lambda data: data[:-10]),
        ("OGG", "OPUS", lambda data: data[: data.rindex(b"OggS")]),
    ],
)
def test_damaged_files_are_refused(format: str, subtype: str, damage: Callable[[bytes], bytes]) -> None:
    rate = 48_000 if subtype == "OPUS" else RATE
    noise = np.random.default_rng(0).normal(0, 0.2, 2 * rate)
    with pytest.raises(DataError, match=r"cut off|damaged"):
        decode(damage(encoded(noise, rate, format, subtype)), rate, 1)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "an empty file"),
        (b"something else entirely" * 99, "is no sound that can be read"),
        (b"\x89PNG\r\n\x1a\n" + bytes(999), "is no sound that can be read"),
        (b"RIFF" + bytes(40), "damaged"),
        (encoded(np.zeros(0), RATE), "holds no sound: 0 samples"),
        (encoded(np.zeros(1), RATE), "holds 1 samples at 44100 Hz, which are none at 8000 Hz"),
        (encoded(np.array([0.1, np.nan, 0.2] * 99), 8000, "WAV", "FLOAT"), r"no numbers \(at 0.000 s\)"),
        (encoded(np.array([0.0] * 800 + [-np.inf]), 8000, "WAV", "DOUBLE"), r"no numbers \(at 0.100 s\)"),
        (encoded(30_000 * sine(440, 8000, 999), 8000, "WAV", "FLOAT"), "up to 15000, where full scale is 1"),
        (encoded(sine(1, 100, 999), 100), "says that its rate is 100 Hz"),
        (encoded(sine(440, 8000, 999), 8000, "VOC"), "is a VOC file; convert it to WAV or FLAC"),
    ],
)
def test_what_is_no_sound_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        decode(data, 8000, 1)


def test_lengths_that_a_pipe_cannot_know() -> None:
    """A WAV's may be the largest number; a FLAC's is missing, so that it is refused."""
    wav = encoded(sine(440, RATE, 4410), RATE)
    at = wav.index(b"data") + 4
    assert len(decode(wav[:at] + struct.pack("<I", 0xFFFFFFFF) + wav[at + 4 :], RATE, 1)) == 4410
    flac = bytearray(encoded(sine(440, RATE, 4410), RATE, "FLAC"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    with pytest.raises(DataError, match="does not say its length"):
        decode(bytes(flac), RATE, 1)


def test_an_mp3_without_its_length() -> None:
    """The estimate from the first bitrate is too large, and what there is is read."""
    noise = np.random.default_rng(0).normal(0, 0.2, RATE)
    mp3 = encoded(np.concatenate([np.zeros(RATE), noise, np.zeros(RATE)]), RATE, "MP3", "MPEG_LAYER_III")
    bare = mp3[mp3.index(b"\xff\xfb", 10) :]
    assert b"Xing" in mp3
    assert b"Xing" not in bare
    assert 3 * RATE <= len(decode(bare, RATE, 1)) < 3.1 * RATE


def test_sixteen_bits_are_kept_as_they_are() -> None:
    values = np.random.default_rng(0).integers(-FULL_SCALE, FULL_SCALE, (5000, 2), dtype=np.int16)
    values[:2] = [[-FULL_SCALE] * 2, [FULL_SCALE - 1] * 2]
    file = wav_bytes(values, 8000)
    np.testing.assert_array_equal(as_int16(decode(file, 8000, 2)), values)
    assert file == wav_bytes(values, 8000)
    assert as_int16(np.array([1.5, -1.5])).tolist() == [FULL_SCALE - 1, -FULL_SCALE]


@pytest.mark.parametrize(
    ("options", "n", "how", "expected"),
    [
        ({}, 1000, None, lambda x: x),
        ({}, 600, "shorter than 0.125 s, and followed by silence", lambda x: np.pad(x, (0, 400))),
        ({}, 1500, "longer than 0.125 s, and cut", lambda x: x[:1000]),
        ({"crop": "center"}, 1500, "longer than 0.125 s, and cut", lambda x: x[249:1249]),
        ({"crop": "random", "kept": 1400}, 1200, None, lambda x: np.pad(x, (0, 200))),
        ({"crop": "random", "kept": 1400}, 1500, "longer than 0.175 s, and cut", lambda x: x[:1400]),
    ],
)
def test_a_row_is_filled_and_says_how(
    options: dict[str, object], n: int, how: str | None, expected: Callable[[np.ndarray], np.ndarray]
) -> None:
    medium = Audio(sample_rate=8000, samples=1000, **options)
    values = as_int16(sine(440, 8000, n) * np.linspace(0.5, 1, n))
    out = np.full(medium.row.shape, 99, np.int16)
    assert medium.decode(wav_bytes(values, 8000), out) == how
    np.testing.assert_array_equal(out[:, 0], expected(values))


def test_a_normalised_row() -> None:
    medium = Audio(sample_rate=8000, samples=1000, normalise=True)
    out = np.zeros(medium.row.shape, np.int16)
    medium.decode(encoded(0.1 * sine(440, 8000, 1000), 8000, "WAV", "FLOAT"), out)
    assert np.abs(out).max() == round(0.95 * FULL_SCALE)
    medium.decode(encoded(np.zeros(1000), 8000), out)
    assert not out.any()
