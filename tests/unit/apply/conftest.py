"""Runs of a few steps that are given pictures, and pictures to give them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gandist.launch.resumption import run_root
from gandist.train import course
from tests.helpers.train_on_ranks import tiny

COMMON: dict[str, Any] = {
    "model__classes": 0,
    "model__name": "resnet",
    "model__options": {"blocks": 1},
    "data__channels": 3,
    "precision": "fp32",
    "optim__lr_G": 0.01,
    "optim__ema_half_life_kimg": 0,
    "train__total_kimg": 0.036,
    "train__tick_kimg": 0.036,
    "train__checkpoint_kimg": 0.036,
}
RUNS: dict[str, dict[str, Any]] = {
    "enlarge": {"condition__kind": "degraded", "condition__options": {"scale": 4}, "model__z_dim": 0},
    "draw": {"condition__kind": "itself", "model__name": "unet", "model__options": {}},
    "grey": {"condition__kind": "itself", "model__z_dim": 0, "data__channels": 1},
    "colour": {"condition__kind": "degraded", "condition__options": {"operations": ["grey"]}, "model__z_dim": 0},
    "fill": {"condition__kind": "masked"},
    "everywhere": {"condition__kind": "masked", "model__name": "ffc", "model__z_dim": 0},
    "plain": {"model__name": "dcgan", "model__options": {}},
}


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A run of `RUNS`, trained when it is first asked for."""
    folder, found = tmp_path_factory.mktemp("runs"), dict[str, str]()

    def trained(name: str) -> str:
        if name not in found:
            config = tiny(folder, name, **{**COMMON, **RUNS[name]})
            assert course.run(config, "auto") == 0
            found[name] = run_root(config)
        return found[name]

    return trained


def smooth(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """A picture (H, W, C) uint8 without sharp edges, of all levels."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, channels), np.uint8)
    bands = [Image.fromarray(band) for band in np.moveaxis(noise, 2, 0)]
    return np.dstack([np.asarray(band.resize((width, height), Image.Resampling.BICUBIC)) for band in bands])


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)
