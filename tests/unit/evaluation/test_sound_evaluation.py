"""Measures of generated sounds: real ones measure well, and another pitch, one sound for all or silence does not."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gandist.config.run import RunConfig, validate
from gandist.distributed.ranks import Ranks
from gandist.evaluation import sound_classifier
from gandist.evaluation.evaluation import Yardstick, names_of_measures, yardstick
from gandist.evaluation.evaluator import extractor_of
from gandist.monitoring.metrics import MEASURES
from gandist.run.evaluations import Result, is_higher_better
from gandist.run.trained import Trained
from gandist.tune.reported import reported_by
from tests.helpers.tones import SAMPLES, SOUNDS, make_tones, tone

ALONE = Ranks(0, 1, torch.device("cpu"))
N = 40


class Played(nn.Module):
    """A generator that plays sounds it was given: by class, or if it knows none, in turn."""

    def __init__(self, semitones: float, by_class: bool, rows: np.ndarray | None = None) -> None:
        super().__init__()
        self.semitones, self.by_class, self.rows, self.at = semitones, by_class, rows, 1000

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        numbers = range(self.at, self.at + len(z))
        self.at += len(z)
        labels = [i % 2 for i in numbers] if y is None or not self.by_class else y.tolist()
        rows = [tone(i, self.semitones + k) for i, k in zip(numbers, labels, strict=True)]
        played = np.stack(rows) if self.rows is None else self.rows[[0] * len(z)]
        return torch.from_numpy(played.astype(np.float32)).mT / 32768


def config_of(folder: Path, classes: int, **evaluation: object) -> RunConfig:
    data = {**SOUNDS, "path": str(folder / "tones"), "cache_dir": str(folder / "cache")}
    model = {"name": "wavegan", "width": 4, "z_dim": 4, "classes": classes}
    return validate({"data": data, "model": model, "train": {"batch": 8}, "eval": evaluation})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    make_tones(folder, 60)
    return folder


@pytest.fixture(scope="module")
def by_class(folder: Path) -> Yardstick:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sound_classifier, "fit", partial(sound_classifier.fit, kimg=1.5))
        config = config_of(folder, 2)
        return yardstick(config, extractor_of(config, ALONE.device), ALONE)


@pytest.fixture(scope="module")
def of_any(folder: Path) -> Yardstick:
    config = config_of(folder, 0)
    return yardstick(config, extractor_of(config, ALONE.device), ALONE)


def played(config: RunConfig, against: Yardstick, G: Played) -> Result:
    return against.evaluate(Trained(config, G, 7, ALONE.device), N)


def test_classes_are_heard(by_class: Yardstick, folder: Path) -> None:
    config = config_of(folder, 2)
    right, guessed = (played(config, by_class, Played(0, by)) for by in (True, False))
    assert list(right.measures) == [
        *("fad-classifier", "kid", "kid_se", "is", "precision", "recall", "density", "coverage"),
        *("memorisation", "ppl", "recognised"),
    ]
    assert right.measures["recognised"] > 0.9
    assert 0.2 < guessed.measures["recognised"] < 0.8
    assert right.baselines == {"real sounds, held out": {"recognised": 1.0}, "chance": {"recognised": 0.5}}
    assert is_higher_better("recognised")
    assert {*right.measures} - {"kid_se"} == {*names_of_measures(config, "classifier")}
    assert {f"quality/{name}" for name in right.measures} <= {*reported_by(config)}
    assert {*right.measures} <= {*MEASURES}


def test_held_out_sounds_are_heard_too(by_class: Yardstick, folder: Path, tmp_path: Path) -> None:
    """Their classes, a fifth above, are none that the classifier knows."""
    config = config_of(folder, 2)
    other = make_tones(tmp_path, 30, first=7)
    against = yardstick(config, by_class.extractor, ALONE, other.base)
    found = played(config, against, Played(0, True))
    assert found.baselines["real sounds, held out"]["recognised"] < 1
    assert "held out sounds" in found.protocol["memorisation_is"]


def test_all_ranks_take_the_classifier_of_the_main_rank(
    by_class: Yardstick, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each node trains its own, which may be rounded otherwise."""
    sent: list[nn.Module] = []
    monkeypatch.setattr(Ranks, "broadcast", lambda ranks, module: sent.append(module))
    yardstick(config_of(folder, 2), by_class.extractor, ALONE)
    assert sent == [by_class.extractor.net]


def test_without_classes(of_any: Yardstick, folder: Path) -> None:
    config = config_of(folder, 0)
    real, higher = (played(config, of_any, Played(semitones, False)) for semitones in (0, 7))
    one = played(config, of_any, Played(0, False, tone(5, 0)[None]))
    silent = played(config, of_any, Played(0, False, np.zeros((1, SAMPLES, 1), np.int16)))
    assert list(real.measures) == [
        *("fad-bands", "kid", "kid_se", "precision", "recall", "density", "coverage", "memorisation", "ppl"),
    ]
    assert {*real.measures} - {"kid_se"} == {*names_of_measures(config, "bands")}
    assert not {"quality/is", "quality/recognised"} & {*reported_by(config)}
    assert not real.baselines
    distances = [each.measures["fad-bands"] for each in (real, higher, one, silent)]
    assert of_any.floor < 3 * distances[0]
    assert 2 * distances[0] < min(distances[1:])
    assert max(distances) == distances[3]
    assert (one.measures["recall"], silent.measures["coverage"]) == (0, 0)
    assert (real.protocol["extractor"], real.protocol["extractor_sha256"]) == ("bands", "")
    assert "real sounds at 8000 Hz, cut to 2048 samples, then loudness in" in real.protocol["resize"]
    assert "image" not in str(real.protocol)
