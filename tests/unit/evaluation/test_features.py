"""The pass over real images: what is seen, seen once, and damage to what was kept is noticed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gandist.config.run import RunConfig, validate
from gandist.data import dataset
from gandist.distributed.ranks import Ranks
from gandist.evaluation.extractor import Extractor
from gandist.evaluation.extractors import open_extractor
from gandist.evaluation.features import look, real_features
from gandist.media.image import Image as ImageMedium
from tests.helpers.small_datasets import make_set

CPU = torch.device("cpu")
GREY = ImageMedium(channels=1)
ALONE = Ranks(0, 1, CPU)


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    index = make_set(tmp_path, 40, classes=10, channels=1)
    data = {"path": index.base, "channels": 1, "cache_dir": str(tmp_path / "cache")}
    return validate({"data": data, "model": {"classes": 10}, "train": {"batch": 1}})


def counting(extractor: Extractor, seen: list[int]) -> Extractor:
    def features(x: Tensor) -> Tensor:
        seen.append(len(x))
        return extractor.features(x)

    return replace(extractor, features=features)


@pytest.fixture
def extractor() -> Extractor:
    return open_extractor("classifier", None, GREY, CPU)


def test_each_image_once_with_its_label(config: RunConfig, extractor: Extractor) -> None:
    reals = real_features(config, extractor, ALONE)
    index = dataset.open_index(config)
    pixels, labels = dataset.open_set(config, index).gather(np.arange(40))
    assert reals.fingerprint == index.fingerprint
    expected = extractor.features(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1)
    d = torch.cdist(reals.seen.h.double(), expected.double())
    numbers = d.argmin(1).numpy()
    assert sorted(numbers) == list(range(40))
    assert numbers.tolist() != list(range(40)), "in random order"
    assert d.min(1).values.max() < 1e-3
    assert reals.labels.tolist() == labels[numbers].tolist()
    assert int(reals.seen.predictions.sums[-1]) == 40
    np.testing.assert_array_equal(reals.conditions, index.labels)


def test_looked_at_once(config: RunConfig, extractor: Extractor, tmp_path: Path) -> None:
    seen: list[int] = []
    first = real_features(config, counting(extractor, seen), ALONE)
    again = real_features(config, counting(extractor, seen), ALONE)
    assert seen == [40]
    assert again.seen.h.equal(first.seen.h)
    assert again.seen.predictions.sums.equal(first.seen.predictions.sums)
    (file,) = (tmp_path / "cache" / "features").glob("*.safetensors")
    sound = file.read_bytes()
    for damaged in (sound[:-9], sound[:-1] + bytes([sound[-1] ^ 1])):
        file.write_bytes(damaged)
        assert real_features(config, counting(extractor, seen), ALONE).seen.h.equal(first.seen.h)
    assert seen == [40] * 3, "what is damaged is looked at anew"
    real_features(config, replace(counting(extractor, seen), sha256="0" * 64), ALONE)
    real_features(config, counting(extractor, seen), ALONE, n_max=30)
    assert seen == [40] * 4 + [30]


def test_parts_of_any_size(extractor: Extractor) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 1), np.uint8)
    whole = look(extractor, GREY, [pixels], 30, CPU)
    parts = look(extractor, GREY, np.array_split(pixels, 4), 30, CPU)
    torch.testing.assert_close(parts.h, whole.h)
    # Sums in float64 of float32 probabilities, whose last bits depend on how many images are looked at together.
    torch.testing.assert_close(parts.predictions.sums, whole.predictions.sums, rtol=1.3e-6, atol=1e-5)
    torch.testing.assert_close(parts.moments.mean, whole.h.double().mean(0))
