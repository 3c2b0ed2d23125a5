"""Clips as animations: what is seen, when, and how large the files are."""

import io

import numpy as np
import pytest
from PIL import Image

from gandist.media.animated import (
    PLAYED_BYTES,
    PLAYED_FRAMES,
    apng_bytes,
    durations,
    gif_bytes,
    preview_of,
    webp_bytes,
)
from gandist.media.gallery import grid
from tests.helpers.animated import decoded, moving


@pytest.mark.parametrize("fps", [7, 8, 24, 29.97, 60])
def test_times_do_not_drift(fps: float) -> None:
    for unit_ms in (1, 10):
        lengths = durations(1000, fps, unit_ms)
        assert abs(sum(lengths) - 1_000_000 / fps) <= unit_ms / 2
        assert max(lengths) - min(lengths) <= unit_ms
        assert all(length % unit_ms == 0 for length in lengths)


def test_animations_keep_every_value_and_time() -> None:
    clip = moving(1, 6, 16, 3)[0]
    webp, lengths_ms, image = decoded(webp_bytes([Image.fromarray(frame) for frame in clip], 24))
    assert np.array_equal(np.stack(webp), clip)
    assert lengths_ms == [42, 41, 42, 42, 41, 42]
    assert image.info["loop"] == 0, "for ever"
    apng, _, image = decoded(apng_bytes(clip, 24))
    assert np.array_equal(np.stack(apng), clip)
    assert image.info["duration"] == pytest.approx(1000 / 24), "as a fraction"
    assert image.info["loop"] == 0, "for ever"


def test_a_preview_plays_and_lies_still() -> None:
    """Ten lines of ten clips: the grids of their frames, and a strip of the first clip of each line."""
    rows = moving(100, 6, 32)
    preview = preview_of(rows, 10, 8)
    assert (preview.suffix, preview.mime, preview.plays) == (".webp", "image/webp", True)
    frames, lengths_ms, _ = decoded(preview.content)
    assert lengths_ms == [125] * 6
    for at, frame in enumerate(frames):
        assert np.array_equal(frame[..., 0], np.asarray(grid(rows[:, at], 10)))
    strip = grid(rows[::10].reshape(-1, 32, 32, 1), 6)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(preview.still))), np.asarray(strip))


def test_one_line_and_many_frames_fit_a_strip() -> None:
    rows = moving(4, 40, 16)
    preview = preview_of(rows, 10, 8)
    assert sum(decoded(preview.content)[1]) == PLAYED_FRAMES * 125
    strip = Image.open(io.BytesIO(preview.still))
    of_16 = grid(np.zeros((4 * 16, 16, 16, 1), np.uint8), 16)
    assert strip.size == of_16.size
    last = np.asarray(strip)[:96, -96:]
    assert np.array_equal(last, np.asarray(grid(rows[:1, -1], 1))), "the last frame is there"


def test_previews_stay_small() -> None:
    """Without loss where that fits, coarser where it does not, and smaller where that is not enough."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 16, 64, 64, 3), np.uint8)
    for rows, columns in ((noise, 8), (noise.repeat(2, 2).repeat(2, 3)[:36, :4], 6)):
        preview = preview_of(rows, columns, 8)
        _, lengths_ms, image = decoded(preview.content)
        assert len(preview.content) <= PLAYED_BYTES
        assert lengths_ms == [125] * rows.shape[1]
    assert image.size == grid(rows[:, 0], columns).size
    large = preview_of(np.zeros((1, 2, 300, 300, 1), np.uint8), 1, 8)
    assert Image.open(io.BytesIO(large.content)).size == (100, 100)
    assert Image.open(io.BytesIO(large.still)).size == (2 * 75 + 2, 75)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_preview_as_a_gif(channels: int) -> None:
    preview = preview_of(moving(4, 5, 32, channels), 2, 8)
    frames, lengths_ms, image = decoded(gif_bytes(preview))
    assert (image.format, image.info["loop"]) == ("GIF", 0)
    assert lengths_ms == [120, 130, 130, 120, 120]
    assert np.array_equal(np.stack(frames), np.stack(decoded(preview.content)[0]))
