"""The shipped run of tones is in tune, as a pitch tracker of its own hears it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gandist import train
from gandist.data.tones import tones
from gandist.run.trained import open_trained
from tests.helpers.checkout_copy import ROOT
from tests.helpers.pitch import EACH, in_tune

CLASSES = 12
SILENT = 100
"""Root mean square of 16 bits below which a note is silence."""


def loudness(sounds: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(np.square(sounds.astype(np.float64)).mean((1, 2))))


def test_the_set_is_in_tune() -> None:
    real = np.concatenate([tones(label)[:EACH, :, None] for label in range(CLASSES)])
    assert in_tune(real).all()
    assert loudness(real).min() > SILENT
    assert not in_tune(np.roll(real, EACH, axis=0)).any()


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_the_shipped_run_is_in_tune(tmp_path: Path) -> None:
    assert train.main([str(ROOT / "configs/wavegan-tones.yaml"), "launch.kind=local", f"run.dir={tmp_path}"]) == 0
    trained = open_trained(str(tmp_path / "wavegan-tones"), torch.device("cpu"))
    sounds = trained.samples(trained.latents(CLASSES * EACH, 0), torch.arange(CLASSES).repeat_interleave(EACH))
    assert in_tune(sounds).mean() >= 0.95
    assert loudness(sounds).min() > SILENT
