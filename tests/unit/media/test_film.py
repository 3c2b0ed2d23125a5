"""Films as players see them: frames, size, speed, colour, and an end that joins the beginning."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace
from PIL import Image, ImageSequence

from gandist.errors import ConfigError
from gandist.media import film
from gandist.media.film import write_mp4, write_webp
from tests.helpers.scripts import python


def sweep(n: int, channels: int, height: int = 32, width: int = 32) -> np.ndarray:
    """Images of a soft disc that goes round once: (n, H, W, C), the last a step before the first."""
    y, x = np.mgrid[0:height, 0:width]
    angle = 2 * np.pi * np.arange(n)[:, None, None] / n
    far = np.hypot(y - height * (0.5 + 0.3 * np.sin(angle)), x - width * (0.5 + 0.3 * np.cos(angle)))
    light = np.exp(-((far / (0.25 * height)) ** 2))
    coloured: np.ndarray = light[..., None] * np.array([230, 120, 40])[:channels]
    return coloured.astype(np.uint8)


def parts(images: np.ndarray, size: int = 7) -> list[np.ndarray]:
    return [images[at : at + size] for at in range(0, len(images), size)]


def webp_frames(path: Path) -> tuple[list[np.ndarray], list[int], Image.Image]:
    image = Image.open(path)
    frames, lengths_ms = [], []
    for frame in ImageSequence.Iterator(image):
        frames.append(np.asarray(frame.convert("RGB")))
        lengths_ms.append(frame.info["duration"])
    return frames, lengths_ms, image


def mp4_frames(path: Path) -> tuple[list[np.ndarray], av.VideoStream]:
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frames = [
            f.reformat(format="rgb24", src_colorspace=Colorspace.ITU709).to_ndarray() for f in file.decode(stream)
        ]
        return frames, stream


@pytest.mark.parametrize("channels", [1, 3])
def test_webp(tmp_path: Path, channels: int) -> None:
    images = sweep(30, channels)
    write_webp(tmp_path / "new/a.webp", parts(images), fps=30)
    frames, lengths_ms, image = webp_frames(tmp_path / "new/a.webp")
    assert len(frames) == 30
    assert image.info["loop"] == 0, "for ever"
    assert sum(lengths_ms) == 1000
    assert set(lengths_ms) == {33, 34}
    for frame, pixels in zip(frames, images, strict=True):
        assert frame.shape == (256, 256, 3)
        np.testing.assert_array_equal(frame[3::8, 5::8], np.broadcast_to(pixels, (32, 32, 3)))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.webp"]


def test_large_images_as_webp_may_lose_a_little(tmp_path: Path) -> None:
    images = sweep(4, 3, 150, 150)
    write_webp(tmp_path / "a.webp", [images], fps=5)
    frames, lengths_ms, _ = webp_frames(tmp_path / "a.webp")
    assert lengths_ms == [200] * 4
    error = np.abs(np.stack(frames).astype(int) - images)
    assert 0 < error.mean() < 3


def test_more_than_memory_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "WEBP_BYTES", 5 * 256 * 256 * 3)
    write_webp(tmp_path / "5.webp", [sweep(5, 1)], fps=5)
    with pytest.raises(ConfigError, match=r"more than 5 frames for a \.webp; write an \.mp4"):
        write_webp(tmp_path / "6.webp", [sweep(6, 1)], fps=5)
    assert [path.name for path in tmp_path.iterdir()] == ["5.webp"]


@pytest.mark.parametrize(
    ("channels", "height", "width", "shown"),
    [(1, 32, 32, (256, 256)), (3, 32, 32, (256, 256)), (3, 33, 31, (232, 218)), (1, 301, 150, (302, 150))],
)
def test_mp4(tmp_path: Path, channels: int, height: int, width: int, shown: tuple[int, int]) -> None:
    images = sweep(24, channels, height, width)
    write_mp4(tmp_path / "new/a.mp4", parts(images), fps=12)
    frames, stream = mp4_frames(tmp_path / "new/a.mp4")
    assert (stream.codec.name, stream.pix_fmt) == ("h264", "yuv420p")
    assert stream.average_rate == Fraction(12)
    assert (stream.duration or 0) * (stream.time_base or 0) == 2
    assert [frame.shape for frame in frames] == [(*shown, 3)] * 24
    scale = max(1, 256 // max(height, width))
    wanted = images.repeat(scale, 1).repeat(scale, 2).astype(int)
    found = np.stack(frames)[:, : height * scale, : width * scale]
    assert np.abs(found - wanted).mean() < 4
    assert np.abs(found[..., 0].mean() - wanted[..., 0].mean()) < 2, "the colours are told to players"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.mp4"]
    data = (tmp_path / "new/a.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat"), "plays before it is all there"


@pytest.mark.parametrize("kind", ["webp", "mp4"])
def test_the_end_joins_the_beginning(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    (write_webp if kind == "webp" else write_mp4)(path, [sweep(20, 3)], 10)
    frames = np.stack(webp_frames(path)[0] if kind == "webp" else mp4_frames(path)[0]).astype(int)
    steps = np.abs(frames - np.roll(frames, -1, 0)).mean((1, 2, 3))
    assert steps[-1] < 1.3 * steps[:-1].max()
    assert np.abs(frames[0] - frames[10]).mean() > 4 * steps[-1], "as another place in it would not"


def test_a_film_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> object:
        yield sweep(2, 3)
        raise ZeroDivisionError

    for write in (write_mp4, write_webp):
        with pytest.raises(ZeroDivisionError):
            write(tmp_path / "a", broken(), 10)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_without_the_library(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['av'] = None; from gandist.sample import main; "
        "sys.exit(main(['none', '--out', 'a.mp4']))"
    )
    done = python("-c", code, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("gandist: --out a.mp4: needs PyAV: ")
    assert done.stderr.endswith("pip install 'gandist[video]', or write .webp\n")
    assert not list(tmp_path.iterdir())
