"""What files of frames say of themselves: their kind, whether they are whole, how long an animation shows each frame.

Decoders read up to where a file is cut off. So its boxes, chunks and blocks are followed to its end first.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gandist.errors import DataError

PNG = b"\x89PNG\r\n\x1a\n"
EBML = b"\x1a\x45\xdf\xa3"
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
"""How MP4 and QuickTime files begin."""
PICTURES = (b"avif", b"heic", b"heix", b"mif1")
"""Brands of MP4's boxes in which pictures are stored."""
SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
"""The elements of Matroska that may be of unknown size."""
OTHERS = {
    b"#EXTM3U": "a playlist", b"ffconcat": "a playlist", b"[playlist]": "a playlist", b"<?xml": "a text",
    b"\xff\xd8\xff": "a JPEG picture", b"BM": "a BMP picture", b"II*\0": "a TIFF picture", b"MM\0*": "a TIFF picture",
    b"FLV\x01": "a Flash film", b"\x30\x26\xb2\x75": "a Windows Media film", b"OggS": "an Ogg file",
    b"\0\0\x01\xba": "an MPEG programme stream", b"G@": "an MPEG transport stream", b"YUV4MPEG2": "a raw film",
    b"ID3": "a sound", b"fLaC": "a sound", b"%PDF": "a PDF", b"PK\x03\x04": "a zip", b"\x1f\x8b": "a compressed file",
}  # fmt: skip
"""What is not read, by how it begins."""


class Timing(NamedTuple):
    """What an animation says of its frames."""

    shown_ms: tuple[float, ...]
    """For how long each is shown; 0 where the file does not say."""
    hidden: bool = False
    """Whether a picture that belongs to no frame comes first, for viewers that show no animations."""


def kind_of(data: bytes) -> str:
    """The kind of a file by its first bytes: "mp4", "matroska", "avi", "png", "gif" or "webp".

    Raises:
        DataError: it is none of these; the message says what it is, if that is known.
    """
    if not data:
        raise DataError("an empty file")
    if data[4:8] in BOXES and data[8:12] not in PICTURES:
        return "mp4"
    beginnings = {EBML: "matroska", PNG: "png", b"GIF87a": "gif", b"GIF89a": "gif"}
    for beginning, kind in beginnings.items():
        if data.startswith(beginning):
            return kind
    if data[:4] == b"RIFF" and data[8:12] in (b"AVI ", b"WEBP"):
        return "avi" if data[8:12] == b"AVI " else "webp"
    other = next((name for beginning, name in OTHERS.items() if data.startswith(beginning)), "")
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        other = "a sound"
    if data[4:8] == b"ftyp":
        other = "an AVIF or HEIC picture"
    is_no_clip = "no clip that can be read (APNG, GIF, WebP, MP4, MOV, WebM, MKV, AVI)"
    raise DataError(f"is {other}, and {is_no_clip}" if other else f"is {is_no_clip}, or damaged at its beginning")


def check_whole(data: bytes, kind: str) -> None:
    """Refuse a film that is cut off.

    Raises:
        DataError: it is; or it is damaged where its parts begin.
    """
    at = {"mp4": _end_of_boxes, "matroska": _end_of_elements, "avi": _end_of_chunks}[kind](data)
    if at is not None:
        raise DataError(f"not a whole {kind} film: is cut off or damaged in the part at byte {at} of {len(data)}")


def timing(data: bytes, kind: str) -> Timing:
    """For how long an animation shows its frames.

    Raises:
        DataError: it is cut off or damaged.
    """
    read: dict[str, Callable[[bytes], Timing]] = {"png": _of_png, "gif": _of_gif, "webp": _of_webp}
    try:
        found = read[kind](data)
    except IndexError as error:
        raise DataError(f"not a whole {kind}: is cut off at byte {len(data)}") from error
    if not found.shown_ms:
        raise DataError("holds no frame")
    return found


def _end_of_boxes(data: bytes) -> int | None:
    """Where the box begins that an MP4 lacks a part of (ISO/IEC 14496-12); None if it is whole."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4])
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16])
        elif size == 0:  # up to the end
            return None
        if size < 8 or at + size > len(data):
            return at
        at += size
    return None


def _end_of_elements(data: bytes) -> int | None:
    """The same for Matroska and WebM (RFC 8794)."""
    at = 0
    while at < len(data):
        width = 9 - data[at].bit_length()
        id, body = int.from_bytes(data[at : at + width]), at + width
        if width > 4 or body >= len(data):
            return at
        width = 9 - data[body].bit_length()
        size, unknown = int.from_bytes(data[body : body + width]) & ((1 << 7 * width) - 1), (1 << 7 * width) - 1
        if width > 8:
            return at
        if size == unknown:
            if id not in (SEGMENT, CLUSTER):
                return at
            size = 0
        if body + width + size > len(data):
            return at
        at = body + width + size
    return None


def _end_of_chunks(data: bytes) -> int | None:
    """The same for the chunks of an AVI, of which one may be followed by others. One that was written to a pipe does
    not say its size."""
    at = 0
    while data[at : at + 4] == b"RIFF":
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if size in (0, 0xFFFFFFFF):
            return None
        if at + 8 + size > len(data):
            return at
        at += 8 + size + size % 2
    return None


def _of_png(data: bytes) -> Timing:
    """By the chunks of a PNG (W3C PNG, third edition)."""
    shown: list[float] = []
    announced, hidden, end = None, False, 8
    for kind, body, end in _png_chunks(data):  # noqa: B007 (told where the next one is not sound)
        if kind == b"acTL":
            announced = int.from_bytes(body[:4])
        elif kind == b"fcTL":
            over, below = int.from_bytes(body[20:22]), int.from_bytes(body[22:24])
            shown.append(1000 * over / (below or 100))
        elif kind == b"IDAT":
            hidden = hidden or (announced is not None and not shown)
        elif kind == b"IEND":
            if announced not in (None, len(shown)):
                raise DataError(f"not a whole png: holds {len(shown)} frames, of {announced} that it announces")
            return Timing((0.0,)) if announced is None else Timing(tuple(shown), hidden)
    raise DataError(f"not a whole png: is cut off or damaged in the part at byte {end} of {len(data)}")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Kind, content and end of each sound chunk; the last is followed by nothing, or by what is no whole chunk."""
    at = 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if end > len(data) or zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            return
        yield data[at + 4 : at + 8], data[at + 8 : end - 4], end
        at = end


def _of_gif(data: bytes) -> Timing:
    """By the blocks of a GIF (GIF89a). Raises IndexError where it ends early."""

    def after_table(at: int) -> int:
        """The place behind a field of flags and, `at` being that of the flags, the colours that may follow."""
        return (3 << (data[at] % 8 + 1)) if data[at] & 0x80 else 0

    shown: list[float] = []
    delay = 0
    at = 13 + after_table(10)
    while data[at] != 0x3B:
        if data[at] == 0:  # some programs fill up with zeros
            at += 1
            continue
        if data[at] == 0x21:
            if data[at + 1] == 0xF9:
                delay = int.from_bytes(data[at + 4 : at + 6], "little") * 10
            at += 2
        elif data[at] == 0x2C:
            shown.append(delay)
            delay = 0
            at += 11 + after_table(at + 9)
        else:
            raise DataError(f"not a whole gif: is cut off or damaged in the part at byte {at} of {len(data)}")
        while size := data[at]:
            at += size + 1
        at += 1
    return Timing(tuple(shown))


def _of_webp(data: bytes) -> Timing:
    """By the chunks of a WebP (RFC 9649)."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise DataError(f"not a whole webp: is cut off: {len(data)} bytes, of {end} that it announces")
    shown: list[float] = []
    at = 12
    while at + 8 <= end:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > end:
            raise DataError(f"not a whole webp: is cut off or damaged in the part at byte {at} of {len(data)}")
        if data[at : at + 4] == b"ANMF":
            shown.append(int.from_bytes(data[at + 20 : at + 23], "little"))
        at += 8 + size + size % 2
    return Timing(tuple(shown) or (0.0,))
