"""Clips are decoded frame by frame, no further than needed; what is no whole clip is refused with its reason."""

import io
import struct
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from gandist.errors import DataError
from gandist.media import clip as clips
from gandist.media.clip import Filled, decode, frames_of, rate_of
from tests.helpers.clips import animation, clip, film, levels

N = 12
FILMS: dict[str, dict[str, Any]] = {
    "mp4": {},
    "fragments": {"options": {"movflags": "frag_keyframe+empty_moov"}},
    "mov": {"container": "mov"},
    "webm": {"container": "webm", "codec": "libvpx-vp9"},
    "vp8": {"container": "webm", "codec": "libvpx"},
    "mkv": {"container": "matroska", "codec": "ffv1", "pixels": "yuv444p"},
    "pipe": {"container": "matroska", "codec": "ffv1", "pixels": "yuv444p", "options": {"live": "1"}},
    "avi": {"container": "avi", "codec": "mpeg4"},
    "jpegs": {"container": "avi", "codec": "mjpeg", "pixels": "yuvj420p"},
    "10 bits": {"container": "matroska", "codec": "ffv1", "pixels": "yuv420p10le"},
    "grey": {"container": "matroska", "codec": "ffv1", "pixels": "gray"},
    "with sound": {"sound": True},
}
ODD = ("mkv", "avi", "jpegs", "10 bits", "grey")
"""Films whose codecs take odd sizes."""


def made(kind: str, frames: np.ndarray) -> bytes:
    return film(frames, **FILMS[kind]) if kind in FILMS else animation(frames, kind)


def decoded(data: bytes, n: int = N, size: int = 32, channels: int = 3, **options: Any) -> tuple[np.ndarray, Filled]:
    out = np.zeros((n, size, size, channels), np.uint8)
    filled = decode(data, out, **options)
    return out[: filled.frames], filled


def turned(data: bytes, a: int, b: int, c: int, d: int) -> bytes:
    """An MP4 with another display matrix: x' = a x + c y, y' = b x + d y (ISO/IEC 14496-12)."""
    at = data.index(b"tkhd") + 44
    return data[:at] + struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30) + data[at + 36 :]


@pytest.mark.parametrize("kind", [*FILMS, "PNG", "GIF", "WEBP"])
def test_every_kind(kind: str) -> None:
    for height, width in ((32, 32), (48, 32), *([(33, 47)] if kind in (*ODD, "PNG", "GIF", "WEBP") else [])):
        data = made(kind, clip(N, height, width))
        found, filled = decoded(data)
        assert filled == Filled(N, False, False)
        assert levels(found) == list(range(N))
        red = found[:, 8, 4].astype(int)
        assert np.abs(red - (76 if kind == "grey" else [255, 0, 0])).max() < 20
        assert rate_of(data) == pytest.approx(1000 / 120 if kind == "GIF" else 8, rel=0.01)
        assert decoded(data, 5)[1] == Filled(5, True, False)
        assert levels(decoded(data, 3, stride=4)[0]) == [0, 4, 8]
        grey, _ = decoded(data, channels=1)
        mean = found[:, 2:12, 2:8] @ [0.299, 0.587, 0.114]
        np.testing.assert_allclose(grey[:, 2:12, 2:8, 0], mean, atol=2)


@pytest.mark.parametrize("kind", [*FILMS, "PNG", "GIF", "WEBP"])
def test_what_is_cut_off_is_refused(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Wherever it is cut; but one from a pipe does not say its length, and cut between its parts seems whole."""
    data = made(kind, clip(N))
    for cut in [*range(0, len(data), len(data) // 29), len(data) - 1]:
        said = ""
        try:
            found, filled = decoded(data[:cut])
        except DataError as error:
            said = str(error)
        if said:
            assert cut == 0 or "not a whole" in said or "damaged at its beginning" in said
        else:
            assert kind in ("pipe", "fragments")
            assert levels(found) == list(range(filled.frames))
    assert capfd.readouterr() == ("", "")


def test_what_is_damaged_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    for kind in ("mkv", "webm", "PNG", "vp8"):
        data = bytearray(made(kind, clip(N)))
        middle = len(data) * 6 // 10
        data[middle : middle + 40] = bytes(40)
        with pytest.raises(DataError):
            decoded(bytes(data))
    assert capfd.readouterr() == ("", "")


def test_frames_are_taken_by_their_times() -> None:
    times = [0, 0.1, 0.2, 1.0, 1.1]
    shown = [0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 4]
    for begin, container in ((0, "mp4"), (0.5, "mp4"), (0.5, "matroska")):
        data = film(clip(5), container, times=[begin + time for time in times])
        assert levels(decoded(data, fps=10)[0]) == shown
        assert levels(decoded(data, fps=10, stride=3)[0])[:4] == shown[::3]
        assert levels(decoded(data, fps=2.5)[0])[:3] == [0, 2, 2]
        assert levels(decoded(data)[0]) == [0, 1, 2, 3, 4]
    for kind in ("PNG", "GIF", "WEBP"):
        data = animation(clip(4), kind, [100, 100, 800, 100])
        assert levels(decoded(data)[0]) == [0, 1, *[2] * 8, 3], "one shown longer counts as often"
        assert levels(decoded(data, fps=5)[0]) == [0, 2, 2, 2, 2, 3]
        assert levels(decoded(data, fps=20)[0]) == [0, 0, 1, 1, *[2] * 8]
        assert rate_of(data) == 10


def test_equal_frames_that_were_merged_count_again() -> None:
    frames = clip(4)[[0, 1, 1, 1, 2, 3, 3, 0]]
    for kind in ("PNG", "GIF", "WEBP"):
        data = animation(frames, kind, 120)
        assert Image.open(io.BytesIO(data)).n_frames == 5  # type: ignore[attr-defined]
        assert levels(decoded(data)[0]) == [0, 1, 1, 1, 2, 3, 3, 0]


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "mp4"])
def test_a_still_picture_is_a_clip_of_one_frame(kind: str) -> None:
    _, filled = decoded(made(kind, clip(1)), fps=0)
    assert filled == Filled(1, False, True)
    assert decoded(made(kind, clip(1)), 5, fps=30)[1].still


def test_a_frame_of_an_hour_fills_the_row_and_no_more() -> None:
    data = animation(clip(2), "PNG", [10, 3_600_000])
    assert levels(decoded(data, 6)[0]) == [0, 1, 1, 1, 1, 1]
    assert levels(decoded(data, 6, fps=0.01)[0]) == [0, 1, 1, 1, 1, 1]


def test_no_more_is_decoded_than_wanted() -> None:
    """What is damaged further on is not seen."""
    data = bytearray(film(clip(200), "matroska", "ffv1", "yuv444p"))
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    assert levels(decoded(bytes(data), 8)[0]) == list(range(8))
    with pytest.raises(DataError):
        decoded(bytes(data), 200)


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((1, 0, 0, 1), lambda x: x),
        ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),  # a phone held upright
        ((0, -1, 1, 0), lambda x: np.rot90(x, 1)),
        ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda x: x.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda x: np.rot90(x, 2).swapaxes(0, 1)),
    ],
)
def test_clips_are_shown_upright(matrix: tuple[int, int, int, int], turn: Any) -> None:
    frames = clip(2, 32, 48)
    frames[:, 24:, :4] = (0, 255, 0)
    data = film(frames)
    straight, upright = (next(frames_of(each)).picture for each in (data, turned(data, *matrix)))
    np.testing.assert_array_equal(np.asarray(upright), turn(np.asarray(straight)))


def test_a_film_that_is_trimmed_is_whole() -> None:
    """By its edit list, as phones trim films: the frames that are not shown lie in the file."""
    data = film(clip(N))
    at = data.index(b"elst") + 12
    start = struct.unpack(">i", data[at + 4 : at + 8])[0]
    shown = data[:at] + struct.pack(">Ii", 600, start + 4 * 2048) + data[at + 8 :]
    assert levels(decoded(shown)[0]) == [4, 5, 6, 7, 8]


def test_pixels_that_are_no_squares() -> None:
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as file:
        stream: Any = file.add_stream("libx264", rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 16, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        for frame in clip(2, 32, 16):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format="yuv420p")))
        file.mux(stream.encode(None))
    assert [each.picture.size for each in frames_of(sink.getvalue())] == [(32, 32)] * 2


def test_what_is_transparent_becomes_white() -> None:
    frames = np.concatenate([clip(3), np.full((3, 32, 32, 1), 255, np.uint8)], 3)
    frames[:, 20:, :12, 3] = 0
    pictures = [Image.fromarray(frame) for frame in frames]
    for data in (
        film(frames, "webm", "libvpx-vp9", "yuva420p"),
        film(frames, "mov", "qtrle", "argb"),
        film(frames, "mov", "png", "rgba"),
        animation(pictures, "PNG"),
        animation(pictures, "WEBP"),
        animation(pictures, "GIF", disposal=2),
    ):
        found, _ = decoded(data)
        assert levels(found) == [0, 1, 2]
        assert (found[:, 24:, :8] == 255).all()


@pytest.mark.parametrize(("disposal", "left"), [(1, [True, True]), (2, [False, False]), (3, [False, False])])
def test_a_gif_takes_away_what_it_says(disposal: int, left: list[bool]) -> None:
    """A square that moves over nothing: earlier ones stay, or not."""
    pictures = []
    for number in range(3):
        pixels = np.zeros((32, 32, 4), np.uint8)
        pixels[12:20, 10 * number : 10 * number + 8] = (0, 0, 255, 255)
        pictures.append(Image.fromarray(pixels))
    found, _ = decoded(animation(pictures, "GIF", 100, disposal=disposal))
    seen = [(found[frame, 16, 10 * (frame - 1) + 4] == (0, 0, 255)).all() for frame in (1, 2)]
    assert seen == left
    assert all((found[frame, 16, 10 * frame + 4] == (0, 0, 255)).all() for frame in range(3))


def test_a_picture_for_viewers_without_animations_is_no_frame() -> None:
    data = animation(clip(4)[[3, 0, 1, 2]], "PNG", default_image=True)
    assert levels(decoded(data)[0]) == [0, 1, 2]


def test_colours_of_hdtv() -> None:
    """By what a film says; large ones that say nothing are taken for HDTV's."""
    blue = np.zeros((1, 720, 16, 3), np.uint8)
    blue[:] = (30, 60, 220)
    for tagged in (True, False):
        sink = io.BytesIO()
        with av.open(sink, "w", format="mp4") as file:
            stream: Any = file.add_stream("libx264", rate=8, options={"crf": "1"})
            stream.height, stream.width, stream.pix_fmt = 720, 16, "yuv444p"
            if tagged:
                stream.codec_context.colorspace = 1
            picture = av.VideoFrame.from_ndarray(blue[0], "rgb24").reformat(format="yuv444p", dst_colorspace=1)
            file.mux(stream.encode(picture))
            file.mux(stream.encode(None))
        found = np.asarray(next(frames_of(sink.getvalue())).picture)[300, 8]
        np.testing.assert_allclose(found, (30, 60, 220), atol=4)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "an empty file"),
        (b"#EXTM3U\nhttp://example.org/a.ts\n", "is a playlist, and no clip"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "is a playlist, and no clip"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "is a JPEG picture, and no clip"),
        (b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "is a sound, and no clip"),
        (b"G@" + bytes(186), "is an MPEG transport stream, and no clip"),
        (b"\0\0\0\x1cftypavif" + bytes(40), "is an AVIF or HEIC picture, and no clip"),
        (b"no clip at all", "is no clip that can be read .*, or damaged at its beginning"),
        (b"\0\0\0\x18ftypmp42" + bytes(12), "not a whole mp4 film"),
        (b"GIF89a\x10\0\x10\0\0\0\0;", "holds no frame"),
    ],
)
def test_what_is_no_clip(data: bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        decoded(data)


def test_a_film_without_pictures() -> None:
    for cover in (False, True):
        sink = io.BytesIO()
        with av.open(sink, "w", format="mp4") as file:
            tone: Any = file.add_stream("aac", rate=8000, layout="mono")
            art: Any = file.add_stream("mjpeg", rate=1) if cover else None
            if art is not None:
                art.height, art.width, art.pix_fmt = 32, 32, "yuvj420p"
                art.disposition = av.stream.Disposition.attached_pic
                file.mux(art.encode(av.VideoFrame.from_ndarray(clip(1)[0], "rgb24").reformat(format="yuvj420p")))
                file.mux(art.encode(None))
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.sample_rate = 8000
            file.mux(tone.encode(silence))
            file.mux(tone.encode(None))
        with pytest.raises(DataError, match="holds no pictures, only sound"):
            decoded(sink.getvalue())


def test_bombs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames too large, before any is decoded; and too many large ones."""
    whole = animation(clip(2), "GIF")
    with pytest.raises(DataError, match=r"has frames of 65535 x 65535 pixels|decompression bomb"):
        decoded(whole[:6] + b"\xff\xff\xff\xff" + whole[10:])
    with pytest.raises(DataError, match=r"has frames of 16384 x 8192 pixels, more than 67,108,864; make them smaller"):
        decoded(whole[:6] + struct.pack("<HH", 16384, 8192) + whole[10:])
    monkeypatch.setattr(clips, "CLIP_PIXELS", 32 * 32 * 5)
    for kind in ("GIF", "mp4"):
        assert decoded(made(kind, clip(N)), 4)[1].more
        with pytest.raises(DataError, match=r"decodes to more than 5,120 pixels; make it smaller"):
            decoded(made(kind, clip(N)))
        with pytest.raises(DataError, match="decodes to more than"):
            decoded(made(kind, clip(N)), 3, stride=5)


def test_threads_decode_beside_one_another() -> None:
    files = [made(kind, clip(N)) for kind in ("mp4", "webm", "GIF", "WEBP", "PNG", "avi")] * 4
    alone = [decoded(file)[0] for file in files]
    with ThreadPoolExecutor(6) as pool:
        for one, other in zip(alone, pool.map(lambda file: decoded(file)[0], files), strict=True):
            np.testing.assert_array_equal(one, other)
