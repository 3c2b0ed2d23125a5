"""A vocoder is measured beside its targets and beside Griffin-Lim."""

import pytest
import torch
from torch import Tensor, nn

from gandist.conditions.griffin_lim import sound_of
from gandist.conditions.mel import Mel
from gandist.conditions.sample import OfSample
from gandist.config.run import RunConfig, validate
from gandist.config.sample import condition_of
from gandist.config.sections import ConditionSection
from gandist.distributed.ranks import Ranks
from gandist.evaluation.evaluation import Yardstick, names_of_measures, yardstick
from gandist.evaluation.evaluator import extractor_of
from gandist.monitoring.metrics import MEASURES
from gandist.run.trained import Trained
from gandist.tune.reported import reported_by
from tests.helpers.tones import RATE, SOUNDS, make_tones

ALONE = Ranks(0, 1, torch.device("cpu"))
SAMPLES, N = 4096, 16


class Vocoder(nn.Module):
    """Griffin-Lim in G's place, or silence."""

    def __init__(self, mel: Mel, loudness: float) -> None:
        super().__init__()
        self.mel, self.loudness = mel, loudness

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.loudness * sound_of(y, self.mel.scale)[:, None]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    folder = tmp_path_factory.mktemp("vocoder")
    make_tones(folder, 24, samples=SAMPLES)
    sounds = {**SOUNDS, "options": {"sample_rate": RATE, "samples": SAMPLES}}
    data = {**sounds, "path": str(folder / "tones"), "cache_dir": str(folder / "cache")}
    found = validate({"data": data, "model": {"name": "wavegan", "width": 4, "z_dim": 4}, "train": {"batch": 8}})
    # As for a pair that is given samples, which the wavegan that stands for it is not
    condition = ConditionSection(kind="mel", options={"n_fft": 512, "hop": 128, "mels": 40})
    return found.model_copy(update={"condition": condition, "model": found.model.model_copy(update={"z_dim": 0})})


@pytest.fixture(scope="module")
def against(config: RunConfig) -> Yardstick:
    return yardstick(config, extractor_of(config, ALONE.device), ALONE)


@pytest.mark.slow
def test_griffin_lim_is_the_floor(config: RunConfig, against: Yardstick) -> None:
    condition = condition_of(config)
    assert isinstance(condition, OfSample)
    assert isinstance(condition.maker, Mel)
    same, silent = (
        against.evaluate(Trained(config, Vocoder(condition.maker, loudness), 7, ALONE.device), N)
        for loudness in (1.0, 0.0)
    )
    assert list(same.measures) == [
        *("fad-bands", "mel_l1", "stft", "stoi", "kid", "kid_se", "precision", "recall", "density", "coverage"),
    ]
    (name, floor), *others = same.baselines.items()
    assert (name, others) == ("griffin-lim", [])
    assert floor == {key: pytest.approx(same.measures[key], rel=1e-5) for key in floor}
    assert {"fad-bands", "mel_l1", "stft", "stoi"} == {*floor}
    for key in ("mel_l1", "stft"):
        assert 0 < same.measures[key] < silent.measures[key]
    assert silent.measures["stoi"] < same.measures["stoi"]
    assert {*same.measures} - {"kid_se"} == {*names_of_measures(config, "bands")}
    assert {*same.measures} <= {*MEASURES}
    assert {f"quality/{name}" for name in same.measures} <= {*reported_by(config)}
    assert same.protocol["times_real_time"] > 0
    assert same.protocol["mel_l1"]["mels"] == 80
    assert "image" not in str(same.protocol)
    assert "perceptual" not in same.protocol
