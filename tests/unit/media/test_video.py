"""Rows of clips, as networks see them."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from gandist.errors import DataError
from gandist.media.clip import frames_of
from gandist.media.kinds import MEDIA
from gandist.media.video import Video
from tests.helpers.clips import animation, clip, film, levels

STILL = "of one frame, which stands still"


def row(medium: Video, data: bytes) -> tuple[np.ndarray, str | None]:
    out = np.zeros(medium.row.shape, medium.row.dtype)
    how = medium.decode(data, out)
    return out, how


def noise(medium: Video, n: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, *medium.row.shape), np.uint8))


def test_it_is_shipped() -> None:
    assert MEDIA["video"] is Video
    medium = Video(frames=8, resolution=16, channels=1)
    assert (medium.row.shape, medium.network_shape) == ((8, 16, 16, 1), (1, 8, 16, 16))
    assert medium.nouns == ("clip", "clips")
    assert medium.packing == "--frames 8 --size 16 --channels 1"


@pytest.mark.parametrize(
    ("options", "n", "frames", "how"),
    [
        ({"frames": 4}, 4, [0, 1, 2, 3], None),
        ({"frames": 4}, 3, [0, 1, 2, 0], "shorter than 4 frames, and begun again"),
        ({"frames": 8}, 3, [0, 1, 2, 0, 1, 2, 0, 1], "shorter than 8 frames, and begun again"),
        ({"frames": 4}, 5, [0, 1, 2, 3], "longer than 4 frames, and cut"),
        ({"frames": 4, "stride": 2}, 8, [0, 2, 4, 6], None),
        ({"frames": 4, "stride": 2}, 6, [0, 2, 4, 0], "shorter than 4 frames, and begun again"),
        ({"frames": 4, "fps": 4}, 8, [0, 2, 4, 6], None),
        ({"frames": 4, "fps": 16}, 2, [0, 0, 1, 1], None),
        ({"frames": 4, "fps": 8, "stride": 3}, 12, [0, 3, 6, 9], None),
        (
            {"frames": 2, "crop": "random", "kept": 4},
            3,
            [0, 1, 2, 0],
            "shorter than the 4 frames kept, and begun again",
        ),
        ({"frames": 2, "crop": "random", "kept": 4}, 9, [0, 1, 2, 3], "longer than 4 frames, and cut"),
        ({"frames": 3}, 1, [0, 0, 0], STILL),
    ],
)
def test_rows(options: dict[str, Any], n: int, frames: list[int], how: str | None) -> None:
    medium = Video(**options)
    for data in (animation(clip(n), "PNG"), film(clip(n))):
        found, said = row(medium, data)
        assert (levels(found), said) == (frames, how)


def test_a_still_picture_is_shown_throughout() -> None:
    for kind in ("PNG", "WEBP", "GIF"):
        sink = io.BytesIO()
        Image.fromarray(clip(1)[0]).save(sink, kind)
        found, said = row(Video(frames=5, fps=30), sink.getvalue())
        assert (levels(found), said) == ([0] * 5, STILL)


def test_short_clips_can_be_refused() -> None:
    medium = Video(frames=4, short="refuse")
    assert levels(row(medium, animation(clip(4), "GIF"))[0]) == [0, 1, 2, 3]
    for n in (1, 3):
        with pytest.raises(DataError, match=rf"holds {n} frames of 4, and data.options.short=refuse"):
            medium.decode(animation(clip(n), "GIF"), np.zeros(medium.row.shape, np.uint8))


def test_options_that_do_not_go_together() -> None:
    for options in ({"crop": "random"}, {"crop": "random", "kept": 16}, {"kept": 20}, {"frames": 1}, {"stride": 0}):
        with pytest.raises(ValidationError):
            Video(**options)


def test_rows_of_other_options_are_cached_apart() -> None:
    others: list[dict[str, Any]] = [
        {}, {"frames": 8}, {"stride": 2}, {"fps": 8}, {"resolution": 64}, {"channels": 1}, {"short": "refuse"},
        {"crop": "random", "kept": 20},
    ]  # fmt: skip
    assert len({Video(**options).name for options in others}) == len(others)


@pytest.mark.parametrize("channels", [1, 3])
def test_there_and_back(channels: Any) -> None:
    medium = Video(frames=5, resolution=8, channels=channels)
    rows = noise(medium, 3)
    x = medium.to_network(rows)
    assert x.shape == (3, *medium.network_shape)
    assert x.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(x[0, :, 2, 3, 4], rows[0, 2, 3, 4] / 127.5 - 1)
    assert torch.equal(medium.from_network(x), rows)
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16, 1).expand(1, 5, 16, 16, channels)
    levels = Video(frames=5, resolution=16, channels=channels)
    assert torch.equal(levels.from_network(levels.to_network(every)), every)


def test_a_flip_is_one_for_all_frames() -> None:
    medium = Video(frames=4, resolution=8, flip=True)
    assert medium.uniforms == ("flip",)
    rows = noise(medium, 6)
    flips = torch.tensor([0.1, 0.6, 0.49, 0.5, 0.0, 0.99])
    x = medium.to_network(rows, {"flip": flips})
    for one, straight, flip in zip(x, medium.to_network(rows), flips.tolist(), strict=True):
        assert torch.equal(one, straight.flip(-1) if flip < 0.5 else straight)


def test_random_crops_are_uniform() -> None:
    """Any place of the frames kept, each as often; without numbers the first."""
    medium = Video(frames=3, resolution=4, channels=1, crop="random", kept=8, flip=True)
    assert medium.uniforms == ("flip", "crop")
    assert medium.row.shape == (8, 4, 4, 1)
    rows = torch.arange(8, dtype=torch.uint8).view(1, 8, 1, 1, 1).expand(600, 8, 4, 4, 1)
    u = (torch.arange(600) + 0.5) / 600
    x = medium.from_network(medium.to_network(rows, {"crop": u, "flip": u}))
    first = x[:, 0, 0, 0, 0]
    assert torch.equal(torch.bincount(first.long(), minlength=6), torch.full((6,), 100))
    assert torch.equal(x[:, :, 2, 2, 0], first[:, None] + torch.arange(3, dtype=torch.uint8))
    assert (medium.from_network(medium.to_network(rows))[:, 0] == 0).all()
    last = torch.full((600,), 1 - 2**-24)
    assert (medium.from_network(medium.to_network(rows, {"crop": last, "flip": u}))[:, 0] == 5).all()


def test_motion_is_what_changes() -> None:
    medium = Video(frames=4, resolution=8, channels=1)
    rows = torch.zeros(2, 4, 8, 8, 1, dtype=torch.uint8)
    rows[1, 1::2] = 255
    torch.testing.assert_close(medium.motion(medium.to_network(rows)), torch.tensor([0.0, 2.0]))


def test_a_clip_is_written_as_a_film() -> None:
    medium = Video(frames=6)
    shown = list(frames_of(medium.encode(clip(6))))
    assert levels(np.stack([np.asarray(each.picture) for each in shown])) == list(range(6))
    assert shown[-1].ends == pytest.approx(6 / 8)
    grey = Video(frames=3, resolution=9, channels=1, fps=12, stride=2)
    assert len(list(frames_of(grey.encode(np.zeros((3, 9, 9, 1), np.uint8))))) == 3
