"""The classifier of sounds: it learns to tell semitones apart, the same each time, and is kept."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gandist.config.sections import DataSection
from gandist.errors import ConfigError, DataError
from gandist.evaluation import sound_classifier as module
from gandist.evaluation.classifier import main
from gandist.evaluation.learning import classify
from gandist.evaluation.sound_classifier import classifier_of, fit, shifted, sounds_of, train
from gandist.gan.networks.classifier import load_sounds
from tests.helpers.tones import RATE, SAMPLES, SOUNDS, make_tones, tone

CPU = torch.device("cpu")


def data_of(folder: Path, **options: object) -> DataSection:
    sounds = {"sample_rate": RATE, "samples": SAMPLES, **options}
    return DataSection(path=str(folder / "tones"), medium="audio", options=sounds, cache_dir=str(folder / "cache"))


def test_it_tells_semitones_apart(tmp_path: Path) -> None:
    make_tones(tmp_path, 90, classes=3)
    classifier, facts = fit(data_of(tmp_path), kimg=2)
    assert not classifier.training
    assert facts[1:6] == (9, 81, 1, 3, facts.data_fingerprint)
    assert (facts.medium, facts.sample_rate, facts.samples) == ("audio", RATE, SAMPLES)
    others, labels = np.stack([tone(1000 + i, i % 3) for i in range(60)]), np.arange(60) % 3
    right = classify(classifier, others, sounds_of(data_of(tmp_path)), CPU) == labels
    assert right.mean() > 0.9, "a third would be chance"


def test_equal_arguments_give_equal_weights() -> None:
    rows, labels = np.stack([tone(i, i % 2) for i in range(32)]), np.arange(32) % 2
    medium = sounds_of(DataSection.model_validate(SOUNDS))

    def weights(seed: int) -> dict[str, torch.Tensor]:
        torch.rand(1)  # the state of torch's own generator must not matter
        return train(rows, labels, medium, seed=seed, kimg=0.1).state_dict()

    first, again, other = weights(0), weights(0), weights(1)
    assert all(first[name].equal(again[name]) for name in first)
    assert not first["head.weight"].equal(other["head.weight"])


def test_shifted() -> None:
    x = torch.arange(1.0, 6)[None, None]
    assert shifted(x, 2).tolist() == [[[0, 0, 1, 2, 3]]]
    assert shifted(x, -2).tolist() == [[[3, 4, 5, 0, 0]]]
    assert shifted(x, 0).equal(x)


def test_trained_once_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tones(tmp_path)
    lengths: list[int] = []

    def counted(data: DataSection) -> tuple[object, object]:
        lengths.append(data.options["samples"])
        return fit(data, kimg=0.1)

    monkeypatch.setattr(module, "fit", counted)
    first, again = classifier_of(data_of(tmp_path)), classifier_of(data_of(tmp_path))
    assert first == again
    assert load_sounds(first)[1].n_train == 36
    random = {"samples": 1024, "crop": "random", "kept": SAMPLES}
    assert len({first, classifier_of(data_of(tmp_path, samples=1024)), classifier_of(data_of(tmp_path, **random))}) == 3
    assert lengths == [SAMPLES, 1024, 1024]


def test_what_has_no_labels_or_is_no_sound_is_refused(tmp_path: Path) -> None:
    make_tones(tmp_path, labels=False)
    with pytest.raises(DataError, match="labelled"):
        classifier_of(data_of(tmp_path))
    with pytest.raises(ConfigError, match=r"data\.medium: a classifier of sounds needs audio, not image"):
        classifier_of(DataSection(path=str(tmp_path / "tones")))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_tones(tmp_path)
    out, sounds = tmp_path / "c.safetensors", ["--sample-rate", str(RATE), "--samples", str(SAMPLES)]
    assert main([str(tmp_path / "tones"), str(out), *sounds, "--kimg", "0.1"]) == 0
    assert "2 classes, accuracy" in (said := capsys.readouterr().out)
    assert "on 4 held out sounds" in said
    assert load_sounds(out)[1].sample_rate == RATE
    assert main([str(tmp_path / "tones"), str(out), *sounds[:2]]) == 2
    assert "--sample-rate, --samples: sounds need both" in capsys.readouterr().err
