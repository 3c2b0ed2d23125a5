"""Decode and encode sounds: WAV, FLAC, Ogg and MP3, by libsndfile; resampled by soxr.

A file is decoded block by block, no further than needed, so that hours of sound take little memory. What is no whole
sound is refused with its reason, never replaced by silence.
"""

import io
import mmap
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import gcd
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from gandist.errors import DataError, GandistError

EXTENSIONS = ("wav", "flac", "ogg", "oga", "opus", "mp3")
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF")
"""Names that libsndfile gives to what is read."""
FULL_SCALE = 32768
"""Steps of 16 bits from 0 to 1."""
RATES = (1000, 1_000_000)
"""Lowest and highest rate in Hz."""
LOUDEST = 16.0
"""Largest floating-point value; above it full scale is not 1. (Mixes exceed 1 by a few decibels.)"""
MAX_VALUES = 1 << 28
"""Longer sounds are not decoded whole: 4.6 hours of one channel at 16 kHz, 1 GiB."""
BLOCK = 1 << 19
"""Values decoded at once."""
SETTLED = 2048
"""Samples that the resampler's filter is shorter than."""
UNKNOWN = 1 << 60
"""libsndfile gives a larger number of samples to a FLAC file that does not say it."""
SHORTAGE = 64
"""Bytes that a header may announce too many: some programs count the header itself."""
LAST_FRAMES = 2304
"""Samples that an MP3 may lack at its end: two frames, of which decoders need whole ones."""
MP3_TAGS = (b"Xing", b"Info", b"VBRI")
"""One of them marks the frame that has an MP3's length. Without it libsndfile derives that from the first bitrate."""
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
OF_DATA = re.compile(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
OF_RF64 = re.compile(r"Calculated frame count (\d+) does not match value from 'ds64' chunk of (\d+)")
"""What libsndfile notes of a file that ends before its header says."""


def library() -> Any:
    """The library `soundfile`.

    Raises:
        GandistError: it is not installed.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise GandistError("data.medium: audio needs soundfile and soxr; pip install 'gandist[audio]'") from error
    return soundfile


def decode(
    data: bytes,
    sample_rate: int,
    channels: int,
    at_most: int | None = None,
    crop: Literal["start", "center"] = "start",
) -> np.ndarray:
    """A file's sound (T, channels) float32 at this rate, T > 0. Full scale is 1; values may exceed it.

    One channel is the mean of all; two are those of a stereo file, or twice the one of a mono file.

    Args:
        at_most: the largest T; no more of the file is decoded than that takes. None: all of it.
        crop: which part is taken of a longer sound.

    Raises:
        DataError: it is no whole sound of a known kind, or has other numbers of channels.
        GandistError: the library is not installed.
    """
    with _opened(data) as file:
        rate = file.samplerate
        if channels == 2 and file.channels > 2:
            raise DataError(f"has {file.channels} channels, which cannot become 2; set channels to 1 to average them")
        if at_most is None and file.frames / rate * sample_rate * channels > MAX_VALUES:
            raise DataError(f"lasts {file.frames / rate / 3600:.1f} hours, which is too long for one sample; cut it")
        first = 0
        if crop == "center" and at_most is not None:
            first = max(0, round(file.frames * sample_rate / rate) - at_most) // 2
        # Begin at a place that is a whole sample at either rate, far enough ahead for the filter to settle.
        step = sample_rate // gcd(rate, sample_rate)
        ahead = first - (SETTLED if rate != sample_rate else 0)
        at = max(0, ahead) // step * step if file.seekable() else 0
        begin = at * rate // sample_rate
        if begin:
            file.seek(begin)
        skip = first - at
        found, n = [], 0
        counted = any(tag in data for tag in MP3_TAGS)
        # Small enough before resampling and after.
        size = max(1024, int(BLOCK / max(file.channels, channels * sample_rate / rate)))
        for block in _resampled(_blocks(file, begin, size, channels, counted), rate, sample_rate, channels):
            found.append(block)
            n += len(block)
            if at_most is not None and n >= skip + at_most:
                break
    sound = np.concatenate(found)[skip:][:at_most]
    if not len(sound):
        raise DataError(f"holds {file.frames} samples at {rate} Hz, which are none at {sample_rate} Hz")
    return sound


def streamed(path: Path, sample_rate: int, channels: int) -> Iterator[np.ndarray]:
    """A file's sound at this rate, block by block (n, channels) float32, as `decode` gives it: hours take little
    memory.

    Raises:
        DataError, GandistError: as of `decode`, without the file's name; some faults are found on the way.
        OSError: the file cannot be read.
    """
    with path.open("rb") as stored:
        if not path.stat().st_size:
            raise DataError("an empty file")
        with mmap.mmap(stored.fileno(), 0, access=mmap.ACCESS_READ) as data, _opened(data) as file:
            if channels == 2 and file.channels > 2:
                raise DataError(f"has {file.channels} channels, which cannot become 2; mix them first")
            counted = file.format == "MP3" and any(data.find(tag) >= 0 for tag in MP3_TAGS)
            size = max(1024, int(BLOCK / max(file.channels, channels * sample_rate / file.samplerate)))
            yield from _resampled(_blocks(file, 0, size, channels, counted), file.samplerate, sample_rate, channels)


class Header(NamedTuple):
    """What a file says of its sound."""

    sample_rate: int
    channels: int
    samples: int


def probe(data: bytes) -> Header:
    """What a file says of its sound, which is not decoded. Raises as `decode` does."""
    with _opened(data) as file:
        return Header(file.samplerate, file.channels, file.frames)


class _Bytes(io.BytesIO):
    """A file in memory. libsndfile seeks beyond the beginning of some damaged ones, for which Python would print a
    traceback."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


@contextmanager
def _opened(data: bytes | mmap.mmap) -> Iterator[Any]:
    """The file, checked, with its faults as DataErrors."""
    soundfile = library()
    if not len(data):
        raise DataError("an empty file")
    try:
        with soundfile.SoundFile(_Bytes(data) if isinstance(data, bytes) else data) as file:
            if file.format not in FORMATS:
                raise DataError(f"is a {file.format} file; convert it to WAV or FLAC")
            if reason := _cut_off(data, file):
                raise DataError(reason)
            if file.frames > UNKNOWN:
                raise DataError("does not say its length, as a FLAC file from a pipe; encode it again from a file")
            if not file.frames:
                raise DataError("holds no sound: 0 samples")
            if not RATES[0] <= file.samplerate <= RATES[1]:
                raise DataError(f"says that its rate is {file.samplerate} Hz, where {RATES[0]} to {RATES[1]} are read")
            yield file
    except soundfile.LibsndfileError as error:
        reason = error.error_string.removeprefix("Error : ").rstrip(".")
        if "not recognised" in reason:
            raise DataError(
                "is no sound that can be read (WAV, FLAC, Ogg, MP3), or damaged at its beginning"
            ) from error
        raise DataError(f"is damaged or of a kind that is not read: {reason}") from error


def _cut_off(data: bytes | mmap.mmap, file: Any) -> str:
    """Why the file is not whole; libsndfile would read what there is."""
    if file.format == "OGG":
        return _damage_of_ogg(data)
    if of_data := OF_DATA.search(file.extra_info):
        said, there = map(int, of_data.groups())
        # A program that writes to a pipe does not know the size and announces the largest one.
        if said - there > SHORTAGE and said < 0x7FFFFFFF - SHORTAGE:
            return f"is cut off: {there} bytes of sound, of {said} that its header announces; fetch it again"
    elif of_frames := OF_RF64.search(file.extra_info):
        there, said = map(int, of_frames.groups())
        if there < said:
            return f"is cut off: {there} samples, of {said} that its header announces; fetch it again"
    return ""


def _damage_of_ogg(data: bytes | mmap.mmap) -> str:
    """What is wrong with the pages of an Ogg file (RFC 3533), of which decoders skip damaged ones."""
    at, ended = 0, False
    while data[at : at + 4] == b"OggS":
        size = 27 + data[at + 26] + sum(data[at + 27 : at + 27 + data[at + 26]]) if len(data) >= at + 27 else len(data)
        page = data[at : at + size]
        if len(page) < size:
            break
        if _ogg_crc(page[:22] + bytes(4) + page[26:]) != int.from_bytes(page[22:26], "little"):
            return f"is damaged: the page at byte {at} has another checksum"
        at, ended = at + size, bool(page[5] & 4)
    return "" if ended else f"is cut off or damaged at byte {at} of {len(data)}, before the end of its stream"


def _ogg_crc(page: bytes) -> int:
    """Ogg's CRC takes the bits of each byte from the other end than zlib's, and is not inverted."""
    mirrored = zlib.crc32(page.translate(MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _blocks(file: Any, begin: int, size: int, channels: int, counted: bool) -> Iterator[np.ndarray]:
    """A file from sample `begin` on, where it is, as blocks (n <= size, channels) float32.

    Args:
        counted: whether an MP3's length is no estimate.
    """
    floating = file.subtype in ("FLOAT", "DOUBLE")
    done, total = begin, file.frames
    while done < total:
        block = file.read(min(size, total - done), dtype="float32", always_2d=True)
        done += len(block)
        if len(block) == 0:
            if file.format == "MP3" and (total - done <= LAST_FRAMES or not counted):
                return
            raise DataError(f"is cut off or damaged: {done} samples, of {total} that it announces; fetch it again")
        if floating:
            _check_values(block, file.samplerate, done - len(block))
        yield block if block.shape[1] == channels else block.mean(1, keepdims=True).repeat(channels, 1)


def _check_values(block: np.ndarray, rate: int, first: int) -> None:
    """Refuse floating-point values that are no sound."""
    odd = ~np.isfinite(block).all(1)
    if odd.any():
        raise DataError(f"holds values that are no numbers (at {(first + int(odd.argmax())) / rate:.3f} s); mend it")
    if (peak := float(np.abs(block).max())) > LOUDEST:
        raise DataError(f"holds floating-point values up to {peak:g}, where full scale is 1; scale them")


def _resampled(blocks: Iterator[np.ndarray], rate: int, sample_rate: int, channels: int) -> Iterator[np.ndarray]:
    if rate == sample_rate:
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(rate, sample_rate, channels, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty((0, channels), np.float32), last=True)


def as_int16(sound: np.ndarray) -> np.ndarray:
    """Sound in [-1, 1] as int16; what is louder is clipped."""
    return (sound * FULL_SCALE).round().clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def wav_bytes(sound: np.ndarray, sample_rate: int) -> bytes:
    """Sound (T, C) int16 as a WAV file of 16 bits; equal sounds give equal bytes."""
    sink = io.BytesIO()
    library().write(sink, sound, sample_rate, format="WAV", subtype="PCM_16")
    return sink.getvalue()
