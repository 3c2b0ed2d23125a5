"""Garments that move: each class as its name says, which is measured in the pixels."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from gandist.data import moving
from gandist.data.builtin import DATA
from gandist.data.index_files import read_index
from gandist.data.moving import FRAMES, NAMES, REACH, clip, make_moving
from gandist.data.sets import open_samples
from gandist.data.sources import open_source
from gandist.media.video import Video

N = 12
MOTIONS = np.random.default_rng(0).random((N, 2))
"""What is drawn for each clip."""


@pytest.fixture(scope="module")
def garments(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    source = open_source(str(DATA / "fashion-10k"), tmp_path_factory.mktemp("source"))
    return [np.asarray(source.read(number).image) for number in range(N)]


def clips(garments: list[np.ndarray], name: str, size: int) -> np.ndarray:
    """(N, FRAMES, size, size) in [0, 1]."""
    made = [clip(garment, NAMES.index(name), drawn, size) for garment, drawn in zip(garments, MOTIONS, strict=True)]
    return np.stack(made) / 255


def measured(found: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each frame: the centre of its light, right and down, as shares of the size (N, F, 2), its light (N, F), and
    the angle of the axis along which the light lies, in half turns (N, F)."""
    size = found.shape[-1]
    down, right = (np.mgrid[:size, :size] + 0.5) / size
    light = found.sum((2, 3))
    centre = np.stack([(found * right).sum((2, 3)), (found * down).sum((2, 3))], axis=-1) / light[..., None]
    x, y = right - centre[..., 0, None, None], down - centre[..., 1, None, None]
    angle = np.arctan2(2 * (found * x * y).sum((2, 3)), (found * (x**2 - y**2)).sum((2, 3)))
    return centre, light, angle / (2 * np.pi)


@pytest.mark.parametrize("size", [32, 64])
def test_each_class_moves_as_it_is_called(garments: list[np.ndarray], size: int) -> None:
    """Of clips of 64 pixels the same is true as of those of 32."""
    pixel = 1 / size
    for name in NAMES:
        centre, light, _ = measured(clips(garments, name, size))
        wide, high = np.ptp(centre, axis=1).T
        grows = light.max(1) / light.min(1)
        far = np.hypot(*np.moveaxis(centre - centre.mean(1, keepdims=True), -1, 0))
        if name in ("left-right", "up-down"):
            along, across = (wide, high) if name == "left-right" else (high, wide)
            assert (along > 1.3 * REACH).all()
            assert (along < 2 * REACH + pixel).all()
            assert (across < pixel).all()
        if name == "circle":
            assert (far > 0.65 * REACH).all()
            assert (far < REACH + pixel).all()
            assert (np.ptp(far, axis=1) < 2 * pixel).all()
        if name in ("spin", "zoom"):
            assert (far < 0.1).all()
        assert (grows > 2).all() if name == "zoom" else (grows < 1.2).all()


def test_spinning_garments_turn_round_once(garments: list[np.ndarray]) -> None:
    """By the same angle from frame to frame, one way or the other."""
    _, _, angles = measured(clips(garments, "spin", 64))
    turns = np.diff(np.unwrap(angles, period=1), axis=1)
    np.testing.assert_allclose(np.abs(turns), 2 / FRAMES, atol=0.01)
    assert {*np.sign(turns.mean(1))} == {-1, 1}


def test_no_other_class_turns_or_grows(garments: list[np.ndarray]) -> None:
    """Brought back to the first frame's place, garments that only move look as they did."""
    for name in ("left-right", "up-down", "circle"):
        found = clips(garments, name, 64)
        centre, _, _ = measured(found)
        for frames, at in zip(found, centre, strict=True):
            for frame, (right, down) in zip(frames, at, strict=True):
                steps = np.round(64 * (at[0] - (right, down))).astype(int)
                back = np.roll(frame, steps, axis=(1, 0))
                assert np.corrcoef(back.ravel(), frames[0].ravel())[0, 1] > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_is_one_period(garments: list[np.ndarray], name: str) -> None:
    """It goes on from the last frame to the first as from any to the next."""
    found = clips(garments, name, 32)
    steps = np.abs(found - np.roll(found, -1, axis=1)).mean((2, 3))
    assert (steps[:, -1] < 1.2 * steps[:, :-1].max(1)).all()
    assert (steps.max(1) > 0.005).all()


def test_the_same_clips_in_each_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, garments: list[np.ndarray]
) -> None:
    """Their pixels, whatever compresses them; a change of these needs another `VERSION`."""
    monkeypatch.setattr(moving, "PER_CLASS", 4)
    make_moving(DATA / "fashion-10k", tmp_path / "set", 32)
    index = read_index(str(tmp_path / "set"))
    assert index.class_names == NAMES
    medium = Video(resolution=32, channels=1, frames=FRAMES)
    rows, labels = open_samples(index, medium, cache_dir=tmp_path / "cache").gather(np.arange(20))
    assert sorted(labels.tolist()) == [number // 4 for number in range(20)]
    assert (moving.VERSION, hashlib.sha256(rows.tobytes()).hexdigest()[:16]) == (1, "42f36b40e341784c")
