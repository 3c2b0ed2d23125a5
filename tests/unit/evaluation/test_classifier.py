"""The classifier: it learns, the same each time, and is kept."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gandist.config.run import validate
from gandist.config.sections import DataSection
from gandist.data import dataset
from gandist.data.index_files import read_index
from gandist.errors import DataError
from gandist.evaluation import classifier as module
from gandist.evaluation.classifier import IMAGES, classifier_of, fit, main, train_classifier
from gandist.evaluation.learning import classify
from gandist.gan.networks.classifier import Classifier, Facts
from tests.helpers.small_datasets import far_labels, make_set

CPU = torch.device("cpu")
FASHION = DataSection(path="builtin:fashion-10k", channels=1)


@pytest.fixture(scope="module")
def garments() -> tuple[np.ndarray, np.ndarray]:
    config = validate({"data": FASHION.model_dump()})
    return dataset.open_set(config, dataset.open_index(config)).gather(np.arange(1500))


@pytest.mark.slow
def test_it_learns_from_a_thousand_images(garments: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = garments
    classifier = train_classifier(images[:1000], labels[:1000], kimg=5)
    assert not classifier.training
    accuracy = float((classify(classifier, images[1000:], IMAGES, CPU) == labels[1000:]).mean())
    assert accuracy > 0.7, "a tenth would be chance"


def test_equal_arguments_give_equal_weights(garments: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = (part[:256] for part in garments)

    def weights(seed: int) -> dict[str, torch.Tensor]:
        torch.rand(1)  # the state of torch's own generator must not matter
        return train_classifier(images, labels, seed=seed, kimg=0.5).state_dict()

    first, again, other = weights(0), weights(0), weights(1)
    assert all(first[name].equal(again[name]) for name in first)
    assert not first["head.weight"].equal(other["head.weight"])


def test_classify_in_parts(garments: tuple[np.ndarray, np.ndarray]) -> None:
    images, _ = garments
    classifier = train_classifier(images[:200], garments[1][:200], kimg=0.6)
    with torch.no_grad():
        x = torch.from_numpy(images[:700]).permute(0, 3, 1, 2).float() / 127.5 - 1
        expected = classifier(x).argmax(1)
    assert classify(classifier, images[:700], IMAGES, CPU).tolist() == expected.tolist()


def test_trained_once_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_set(tmp_path, 40)
    data = DataSection(path=str(tmp_path / "shards"), cache_dir=str(tmp_path / "cache"))
    monkeypatch.setattr(module, "KIMG", 0.1)
    calls: list[int] = []

    def counted(data: DataSection, resolution: int) -> tuple[Classifier, Facts]:
        calls.append(resolution)
        return fit(data, resolution, kimg=0.1)

    monkeypatch.setattr(module, "fit", counted)
    first, facts = classifier_of(data)
    second, _ = classifier_of(data)
    assert calls == [32]
    assert (facts.n_train, facts.n_test, facts.classes, facts.channels) == (36, 4, 2, 3)
    assert second.head.weight.equal(first.head.weight)
    classifier_of(data, 64)
    classifier_of(data.model_copy(update={"channels": 1}))
    assert calls == [32, 64, 32]


def test_labels_may_be_any_numbers(tmp_path: Path) -> None:
    """An output for each class that is there, not for each number up to the largest label."""
    near = fit(DataSection(path=make_set(tmp_path, 40).base), kimg=0.1)
    far = fit(DataSection(path=far_labels(read_index(str(tmp_path / "shards"))).base), kimg=0.1)
    assert far[1].classes == near[1].classes == 2
    assert far[1].accuracy == near[1].accuracy
    assert far[0].head.weight.equal(near[0].head.weight)


def test_unlabelled_images_are_refused(tmp_path: Path) -> None:
    make_set(tmp_path, 40, classes=0)
    with pytest.raises(DataError, match="labelled"):
        classifier_of(DataSection(path=str(tmp_path / "shards"), cache_dir=str(tmp_path / "cache")))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_set(tmp_path, 40)
    out = tmp_path / "c.safetensors"
    assert main([str(tmp_path / "shards"), str(out), "--channels", "1", "--kimg", "0.1"]) == 0
    assert "2 classes, accuracy" in capsys.readouterr().out
    assert load_file(out)["head.weight"].shape == (2, 128)
    assert main([str(tmp_path / "nowhere"), str(out)]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.nightly
def test_nine_garments_of_ten() -> None:
    _, facts = fit(FASHION)
    assert (facts.n_train, facts.n_test) == (9000, 1000)
    assert facts.accuracy >= 0.9
