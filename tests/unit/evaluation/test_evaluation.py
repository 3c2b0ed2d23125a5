"""The measures say what they are for: noise, blur, lost classes and copies are seen for what they are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn

from gandist.config.run import RunConfig, validate
from gandist.data import dataset
from gandist.distributed.ranks import Ranks
from gandist.evaluation import evaluation
from gandist.evaluation.evaluation import Yardstick, yardstick
from gandist.evaluation.extractors import open_extractor
from gandist.evaluation.features import look
from gandist.evaluation.statistics import distance_of
from gandist.media.image import Image as ImageMedium
from gandist.run.trained import Trained
from tests.helpers.small_datasets import make_set
from tests.unit.evaluation.test_extractors import scripted

CPU = torch.device("cpu")
GREY = ImageMedium(channels=1)
ALONE = Ranks(0, 1, CPU)
N = 1000


@pytest.fixture(scope="module")
def garments() -> tuple[np.ndarray, np.ndarray]:
    config = validate({"data": {"path": "builtin:fashion-10k", "channels": 1}, "train": {"batch": 1}})
    return dataset.open_set(config, dataset.open_index(config)).gather(np.random.default_rng(0).permutation(10_000))


def noised(images: np.ndarray, amount: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, 25 * amount, images.shape)
    return (images + noise).round().clip(0, 255).astype(np.uint8)


def blurred(images: np.ndarray, amount: float) -> np.ndarray:
    pictures = [Image.fromarray(image[:, :, 0]).filter(ImageFilter.GaussianBlur(amount / 2)) for image in images]
    return np.stack([np.asarray(picture) for picture in pictures])[..., None]


@pytest.mark.parametrize(
    ("name", "n"),
    [("classifier", 500), pytest.param("effnet-lite0", 150, marks=[pytest.mark.slow, pytest.mark.nightly])],
)
def test_the_distance_grows_with_what_is_wrong(garments: tuple[np.ndarray, np.ndarray], name: str, n: int) -> None:
    images, labels = garments
    extractor = open_extractor(name, None, GREY, CPU)
    real = look(extractor, GREY, [images[:N]], N, CPU).moments

    def distance(fakes: np.ndarray) -> float:
        return distance_of(real, look(extractor, GREY, [fakes], len(fakes), CPU).moments)

    others, their_labels = images[N:], labels[N:]
    floor = distance(others[:n])
    for spoil in (noised, blurred):
        grown = [distance(spoil(others[:n], amount)) for amount in (1, 2, 4)]
        assert floor < grown[0] < grown[1] < grown[2], spoil.__name__
    kept = [distance(others[their_labels < classes][:n]) for classes in (10, 7, 4, 1)]
    assert kept == sorted(kept)
    assert kept[-1] > 2 * floor


class Replayed(nn.Module):
    """A generator that draws the images it was given, one after the other."""

    def __init__(self, images: np.ndarray) -> None:
        super().__init__()
        self.x = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
        self.at = 0

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        rows = torch.arange(self.at, self.at + len(z)) % len(self.x)
        self.at += len(z)
        return self.x[rows]


def generator(config: RunConfig, images: np.ndarray) -> Trained:
    return Trained(config, Replayed(images), 1234, CPU)


def unconditional(path: str, folder: Path, channels: int = 1) -> RunConfig:
    data = {"path": path, "channels": channels, "cache_dir": str(folder)}
    return validate({"data": data, "model": {"z_dim": 4}, "train": {"batch": 1}})


@pytest.fixture(scope="module")
def fashion(own_cache: Path) -> Yardstick:
    return yardstick(
        unconditional("builtin:fashion-10k", own_cache), open_extractor("classifier", None, GREY, CPU), ALONE
    )


@pytest.mark.slow
def test_reals_against_reals_and_copies(
    fashion: Yardstick, own_cache: Path, garments: tuple[np.ndarray, np.ndarray]
) -> None:
    """Training images again: nothing is wrong with them but that they are copies."""
    config = unconditional("builtin:fashion-10k", own_cache)
    found = fashion.evaluate(generator(config, garments[0]), 2000)
    measures = found.measures
    assert list(measures) == [
        "fd-classifier",
        "kid",
        "kid_se",
        "is",
        "precision",
        "recall",
        "density",
        "coverage",
        "memorisation",
        "ppl",
    ]
    assert 0 < measures["fd-classifier"] < 3 * fashion.floor
    assert abs(measures["kid"]) < 5 * measures["kid_se"]
    assert measures["is"] == pytest.approx(fashion.real.seen.predictions.inception_score, rel=0.05)
    assert measures["memorisation"] < 1e-3
    assert min(measures["precision"], measures["recall"], measures["density"], measures["coverage"]) > 0.7
    assert found.images_seen == 1234


def test_one_image_for_all(fashion: Yardstick, own_cache: Path, garments: tuple[np.ndarray, np.ndarray]) -> None:
    measures = fashion.evaluate(
        generator(unconditional("builtin:fashion-10k", own_cache), garments[0][:1]), 300
    ).measures
    assert measures["fd-classifier"] > 100 * fashion.floor
    assert measures["is"] == pytest.approx(1)
    assert measures["recall"] == 0
    assert measures["coverage"] < 0.1
    assert measures["precision"] == 1


def test_the_protocol(fashion: Yardstick, own_cache: Path, garments: tuple[np.ndarray, np.ndarray]) -> None:
    trained = generator(unconditional("builtin:fashion-10k", own_cache), noised(garments[0], 1))
    protocol = fashion.evaluate(trained, 60, seed=5).protocol
    assert (protocol["extractor"], protocol["n_real"], protocol["n_fake"]) == ("classifier", 10_000, 60)
    assert protocol["extractor_sha256"] == fashion.extractor.sha256
    assert "32 px" in protocol["resize"]
    assert protocol["floor"] == fashion.floor > 0
    assert protocol["seed"] == 5
    assert 0 < protocol["seconds_looking"] < protocol["seconds"]
    assert "training images to one another" in protocol["memorisation_is"]


@pytest.mark.slow
def test_images_held_out(tmp_path: Path, garments: tuple[np.ndarray, np.ndarray]) -> None:
    """Against another set, memorisation is told by the nearest images of the training set all the same."""
    (tmp_path / "held-out").mkdir()
    training, other = make_set(tmp_path, 40), make_set(tmp_path / "held-out", 30, size=64)
    config = unconditional(training.base, tmp_path / "cache", channels=3)
    against = yardstick(config, open_extractor("classifier", None, ImageMedium(channels=3), CPU), ALONE, other.base)
    assert against.training is not None
    images, _ = dataset.open_set(config, dataset.open_index(config)).gather(np.arange(40))
    found = against.evaluate(generator(config, images), 30)
    assert found.measures["memorisation"] < 1e-3
    assert found.protocol["n_real"] == 30
    assert "held out images" in found.protocol["memorisation_is"]
    gone = config.model_copy(update={"data": config.data.model_copy(update={"path": str(tmp_path / "gone")})})
    without = yardstick(gone, against.extractor, ALONE, other.base).evaluate(generator(config, images), 30)
    assert "memorisation" not in without.measures
    assert without.measures["fd-classifier"] == found.measures["fd-classifier"]


def test_class_by_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "CLASS_MIN", 10)
    index = make_set(tmp_path, 60, classes=2, channels=1)
    data = {"path": index.base, "channels": 1, "cache_dir": str(tmp_path / "cache")}
    config = validate({"data": data, "model": {"z_dim": 4, "classes": 2}, "train": {"batch": 1}})
    images, labels = dataset.open_set(config, dataset.open_index(config)).gather(np.arange(60))
    scripted(tmp_path / "inception.pt")
    against = yardstick(config, open_extractor("inception", tmp_path / "inception.pt", GREY, CPU), ALONE)

    class OfItsClass(Replayed):
        """Images of the class that is asked for; the second class's are black."""

        def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
            assert y is not None
            x = super().forward(z, y)
            return torch.where(y[:, None, None, None] == 0, x, -1.0)

    measures = against.evaluate(Trained(config, OfItsClass(images[labels == 0]), 7, CPU), 80).measures
    assert measures["fid/class-1"] > 10 * measures["fid/class-0"]
    assert measures["fid"] > measures["fid/class-0"]
