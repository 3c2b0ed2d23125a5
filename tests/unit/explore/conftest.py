"""A run of a few steps to explore, and generators that need none."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gandist.config.sample import shapes
from gandist.gan.networks import NETWORKS
from gandist.launch.resumption import run_root
from gandist.run.trained import Trained
from gandist.train import course
from tests.helpers.train_on_ranks import tiny


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of images of ten classes, which differ."""
    config = tiny(
        tmp_path_factory.mktemp("explored"), "a", optim__lr_G=0.05, optim__ema_half_life_kimg=0, precision="fp32"
    )
    assert course.run(config, "auto") == 0
    return run_root(config)


def untrained(folder: Path, **changes: Any) -> Trained:
    """A generator as it begins."""
    config = tiny(folder, "untrained", **{"model__classes": 0, **changes})
    torch.manual_seed(0)
    G = NETWORKS[config.model.name].generator(shapes(config)[0])
    return Trained(config, G.eval().requires_grad_(False), 0, torch.device("cpu"))
