"""Odd pictures: packed, or decoded from somebody else's shards, they look the same, or both ways refuse them by name.

A row of ODD is a file and what becomes of it; add one for whatever a user comes with.
"""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gandist.errors import DataError
from gandist.media import pixels
from gandist.media.decode import decode
from gandist.media.picture import Picture
from gandist.pack import main
from tests.helpers.scripts import python

GREY = np.linspace(0, 1, 256).reshape(16, 16)
"""From black to white, row by row."""


def encoded(image: np.ndarray | Image.Image, format: str = "TIFF", **options: Any) -> bytes:
    sink = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(sink, format, **options)
    return sink.getvalue()


def whole(white: float, kind: str) -> np.ndarray:
    return (GREY * white).round().astype(kind)


def png(colour: int, depth: int, rows: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """Of kinds that Pillow doesn't write: colour type 0 is grey, 2 RGB, 4 grey with alpha, 6 RGBA."""
    height, width = rows.shape[:2]

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    heading = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    inside = [(b"IHDR", heading), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in inside)


def tiff(values: np.ndarray, bits: int, photometric: int = 1) -> bytes:
    """Big-endian rows of bytes under a heading of its own: kinds that Pillow doesn't write."""
    height, width = GREY.shape
    data = values.tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def twelve(values: np.ndarray) -> np.ndarray:
    """Two values in three bytes."""
    first, second = values.reshape(-1, 2).T.astype(np.uint16)
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8)


def colours(values: np.ndarray, n: int = 3) -> np.ndarray:
    return np.repeat(values[:, :, None], n, axis=2)


def jpeg(**options: Any) -> bytes:
    smooth = Image.fromarray(colours(whole(255, "u1")))
    return encoded(smooth, "JPEG", quality=100, subsampling=0, **options)


LONG_TEXT = (b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 3_000_000))
NAN = np.where(GREY > 0.9, np.nan, GREY).astype("f4")
GARBAGE = b"Exif\0\0II*\0\xff\xff\xff\x7f"

SAME = GREY * 255
ODD: dict[str, tuple[bytes, np.ndarray | str]] = {
    # Values of more than 8 bits, and what is white among them.
    "float TIFF, 0 to 1": (encoded(GREY.astype("f4")), SAME),
    "float TIFF, 0 to 1 and resampled": (encoded((GREY * 1.06 - 0.03).astype("f4")), (SAME * 1.06 - 7.65).clip(0, 255)),
    "float TIFF, 0 to 255": (encoded(whole(255, "f4")), SAME),
    "float TIFF, all black": (encoded(0 * GREY.astype("f4")), 0 * SAME),
    "float TIFF, 0 to 65535": (encoded(whole(65535, "f4")), "floating-point values from 0 to 65535"),
    "float TIFF, negative": (encoded((GREY - 0.5).astype("f4")), "floating-point values from -0.5 to 0.5"),
    "float TIFF, not a number": (encoded(NAN), "floating-point values from nan"),
    "32-bit TIFF of 8-bit values": (encoded(whole(255, "i4")), SAME),
    "32-bit TIFF of 12-bit values": (encoded(whole(4095, "i4")), SAME),
    "32-bit TIFF of 16-bit values": (encoded(whole(65535, "i4")), SAME),
    "32-bit TIFF of 31-bit values": (encoded(whole(2**31 - 1, "i4")), "whole numbers from 0 to 2147483647"),
    "16-bit TIFF with sign": (encoded(whole(2000, "i2") - np.int16(1000)), "whole numbers from -1000 to 1000"),
    "16-bit TIFF": (encoded(whole(65535, "u2")), SAME),
    "16-bit TIFF whose white is zero": (tiff(whole(65535, "<u2"), 16, photometric=0), 255 - SAME),
    "12-bit TIFF": (tiff(twelve(whole(4095, "u2")), 12), SAME),
    "12-bit TIFF, dark": (tiff(twelve(whole(200, "u2")), 12), SAME * 200 / 4095),
    "float TIFF in colour": (tiff(whole(1, "f4"), 64), "of a kind that is not read"),
    "16-bit PNG": (encoded(whole(65535, "u2"), "PNG"), SAME),
    "16-bit PNG, all black": (encoded(whole(0, "u2"), "PNG"), 0 * SAME),
    "16-bit PNG of 12-bit values": (encoded(whole(4095, "u2"), "PNG"), SAME),
    "16-bit PNG of 8-bit values": (encoded(whole(255, "u2"), "PNG"), "no value above 255"),
    "16-bit PNG with transparent grey": (
        png(0, 16, whole(65535, ">u2"), (b"tRNS", b"\0\0")),
        np.where(GREY == 0, 255, SAME),
    ),
    "16-bit PNG in colour": (png(2, 16, colours(whole(65535, ">u2"))), SAME),
    "16-bit PNG in colour of 12-bit values": (png(2, 16, colours(whole(4095, ">u2"))), "no value above 4095"),
    "16-bit PNG with alpha": (png(6, 16, colours(whole(65535, ">u2"), 4)), SAME * GREY + 255 * (1 - GREY)),
    "PGM of 12 bits": (b"P5 16 16 4095\n" + whole(4095, ">u2").tobytes(), SAME),
    "PGM of 16 bits, dark": (b"P5 16 16 65535\n" + whole(300, ">u2").tobytes(), 0 * SAME),
    # Sound pictures with odd company.
    "PNG with 3 MB of text": (png(0, 8, whole(255, "u1"), LONG_TEXT), SAME),
    "PNG with a damaged EXIF block": (encoded(whole(255, "u1"), "PNG", exif=GARBAGE), SAME),
    "WebP with a damaged EXIF block": (encoded(colours(whole(255, "u1")), "WEBP", lossless=True, exif=GARBAGE), SAME),
    "JPEG with a damaged EXIF block": (jpeg(exif=GARBAGE), SAME),
    "JPEG with bytes between its markers": (jpeg()[:-2] + bytes(8) + jpeg()[-2:], SAME),
    "JPEG with bytes behind it": (jpeg() + b"odd", SAME),
    "JPEG in CMYK": (encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 127)), "JPEG", quality=100), 0 * SAME + 128),
    "JPEG cut short": (jpeg()[:-40], "truncated|Premature end"),
    "PNG cut short": (encoded(whole(255, "u1"), "PNG")[:-30], "truncated"),
}
FOREIGN = (b"\x89PNG", b"RIFF", b"\xff\xd8")
"""What shards of somebody else's may hold, by its first bytes."""


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.filterwarnings("ignore:::PIL")
def test_odd_pictures(name: str, channels: int) -> None:
    data, expected = ODD[name]
    ways: list[Callable[[], np.ndarray]] = [lambda: decode(Picture().encode(data), 16, channels)]
    if data.startswith(FOREIGN):
        ways.append(lambda: decode(data, 16, channels))
    for way in ways:
        if isinstance(expected, str):
            with pytest.raises((DataError, OSError, ValueError), match=expected):
                way()
            continue
        found = way().astype(float)
        assert np.abs(found - expected[:, :, None]).max() <= (1.01 if not data.startswith(b"\xff\xd8") else 3)


def test_what_is_taken_for_12_bits_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    pixels._tell_of_12_bits.cache_clear()
    for name in ("16-bit PNG", "12-bit TIFF", "PGM of 12 bits", "float TIFF, 0 to 1"):
        Picture().encode(ODD[name][0])
    assert caplog.text == ""
    for _ in range(3):
        Picture().encode(ODD["16-bit PNG of 12-bit values"][0])
    assert caplog.text.count("taken for 12 bits") == 1


def test_a_refused_picture_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/depth.tif").write_bytes(ODD["32-bit TIFF of 31-bit values"][0])
    assert main([str(tmp_path / "in"), str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "depth.tif: holds whole numbers from 0 to 2147483647" in message
    assert "convert it to 8 or 16 bits" in message


@pytest.mark.slow
def test_a_large_drawing_and_a_quiet_terminal(tmp_path: Path) -> None:
    """14,000 x 14,000 pixels are no bomb; Pillow's own warnings (of size, EXIF and tags) don't reach the terminal."""
    (tmp_path / "in").mkdir()
    Image.new("1", (14_000, 14_000), 1).save(tmp_path / "in/large.png")
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03"
    Image.new("RGB", (16, 16)).save(tmp_path / "in/exif.jpg", exif=exif)
    done = python("-m", "gandist.pack", str(tmp_path / "in"), str(tmp_path / "out"), "--size", "16")
    assert done.returncode == 0, done.stderr
    assert "2 images" in done.stdout
    assert "Warning" not in done.stderr
    assert "PIL/" not in done.stderr


def test_a_bomb_is_refused_both_ways() -> None:
    bomb = png(0, 8, np.zeros((1, 16), "u1")).replace(struct.pack(">II", 16, 1), struct.pack(">II", 30_000, 30_000))
    heading = bomb[12:29]
    bomb = bomb[:29] + struct.pack(">I", zlib.crc32(heading)) + bomb[33:]
    with pytest.raises(Image.DecompressionBombError):
        Picture().encode(bomb)
    with pytest.raises(DataError, match="bomb"):
        decode(bomb, 16, 1)


def pink(height: int, width: int) -> np.ndarray:
    """1/f noise in each colour, as much detail at each scale as photographs have: (H, W, 3) uint8."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    noise = [np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) / frequency, (height, width)) for _ in "rgb"]
    return np.stack([(128 + 50 * each / each.std()).clip(0, 255) for each in noise], axis=2).astype(np.uint8)


SIZES = [(257, 257), (511, 511), (512, 512), (513, 700), (1000, 1000), (640, 481), (97, 96), (130, 1001), (1600, 1537)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("subsampling", "channels"),
    [(0, 1), (2, 3), *(pytest.param(*each, marks=pytest.mark.nightly) for each in ((0, 3), (2, 1)))],
)
def test_a_jpeg_looks_the_same_indexed_and_packed(size: tuple[int, int], subsampling: int, channels: int) -> None:
    """Though one way decodes it at a reduced scale: within 1 of 255 grey levels on the mean."""
    data = encoded(pink(*size), "JPEG", quality=95, subsampling=subsampling)
    for resolution in (32, 64):
        packed = decode(Picture(size=resolution, channels=channels).encode(data), resolution, channels)
        off = np.abs(decode(data, resolution, channels).astype(int) - packed)
        assert off.mean() < 1


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
@pytest.mark.parametrize("size", [(33, 32), (64, 101), (200, 133)])
def test_an_odd_margin_is_cut_the_same_way(format: str, size: tuple[int, int]) -> None:
    data = encoded(pink(*size), format, **({"lossless": True} if format == "WEBP" else {}))
    np.testing.assert_array_equal(decode(data, 32, 3), decode(Picture(size=32).encode(data), 32, 3))
