"""SampleSet in the device's memory: when they are put there, and that they are the same."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gandist.config.run import RunConfig
from gandist.data import resident
from gandist.data.index import Index
from gandist.data.resident import ResidentSet, place
from gandist.data.sets import SampleSet, open_samples
from gandist.distributed.consensus import Host
from gandist.errors import ConfigError
from gandist.launch.resumption import prepare, run_root
from gandist.media.image import Image
from gandist.run import attempt
from gandist.storage.storage import Storage
from gandist.training.worker import train
from tests.helpers.small_datasets import damage, make_set
from tests.helpers.train_on_ranks import final_digests, tiny

N = 20
BYTES = N * 32 * 32 * 3
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
STREAMED_GIB = 2**-30


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_set(tmp_path_factory.mktemp("set"), N)


@pytest.fixture
def mapped(packed: Index, tmp_path: Path) -> SampleSet:
    return open_samples(packed, Image(), cache_dir=tmp_path)


def selected(images: ResidentSet, numbers: np.ndarray) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in images.whole.select(torch.from_numpy(numbers))]


@pytest.mark.parametrize("cache_gib", [50.0, STREAMED_GIB])
@pytest.mark.parametrize("step", [1, 7, 64])
def test_they_are_the_images_of_the_set(
    tmp_path: Path, cache_gib: float, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the next sound one in the place of what is damaged, and the condition of that."""
    monkeypatch.setattr(resident, "STEP_BYTES", step * BYTES // N)
    index = make_set(tmp_path / "set", N)
    damage(index, 3)
    damage(index, N - 1)
    vectors = np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)
    images = open_samples(index, Image(), cache_dir=tmp_path, cache_gib=cache_gib, on_damage="skip", conditions=vectors)
    there = ResidentSet(images, CPU)
    numbers = np.array([3, 0, N - 1, 3, 7])
    for found, expected, given in zip(
        selected(there, numbers), images.gather(numbers), there.gather(numbers), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(given, expected)
    np.testing.assert_array_equal(there.whole.rows.numpy(), images.gather(np.arange(N))[0])
    assert there.damaged == 2


def with_free(n_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gandist.distributed.memory.limit_bytes", lambda device: 10 * n_bytes)
    monkeypatch.setattr("gandist.distributed.memory.used_bytes", lambda device: 9 * n_bytes)


def test_on_a_cpu_the_map_serves_unless_they_are_asked_for(mapped: SampleSet) -> None:
    for choice in ("auto", "never"):
        images, said = place(mapped, choice, CPU)
        assert images is mapped
        assert said == f"data=mapped n={N} shape=32x32x3 bytes={BYTES}: they fit half of data.cache_gib"
    images, said = place(mapped, "always", CPU)
    assert isinstance(images, ResidentSet)
    assert said.startswith(f"data=resident n={N} shape=32x32x3 bytes={BYTES}: they take 0.0% of ")
    again, said = place(images, "always", CPU)
    assert again is images, "after a roll-back"
    assert said.startswith("data=resident")


def test_on_a_gpu_they_are_kept_where_they_take_a_quarter_of_what_is_free(
    mapped: SampleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice alone, which is made before a byte is taken there."""
    taken = []
    monkeypatch.setattr(resident, "ResidentSet", type("Taken", (), {"__init__": lambda *of: taken.append(of[1:])}))
    with_free(4 * BYTES - 1, monkeypatch)
    images, said = place(mapped, "auto", GPU)
    assert (images, taken) == (mapped, [])
    assert said.startswith("data=mapped")
    assert said.endswith("and take 25% of 0.000229 GiB free on cuda:0")
    assert place(mapped, "never", GPU)[1].startswith("data=mapped")
    with_free(4 * BYTES, monkeypatch)
    assert place(mapped, "auto", GPU)[1].startswith("data=resident")
    assert taken == [(mapped, GPU)]


def test_sets_too_large_for_the_cache_are_streamed_to_a_gpu_too(
    packed: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding all of it each time is left to who asks for it."""
    with_free(100 * BYTES, monkeypatch)
    streamed = open_samples(packed, Image(), cache_dir=tmp_path, cache_gib=STREAMED_GIB)
    images, said = place(streamed, "auto", GPU)
    assert images is streamed
    assert said == f"data=streamed n={N} shape=32x32x3 bytes={BYTES}: they do not fit half of data.cache_gib"


def test_what_is_asked_for_and_does_not_fit_is_refused(mapped: SampleSet, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(BYTES - 1, monkeypatch)
    with pytest.raises(ConfigError, match=r"data\.resident: always, but the samples take .* GiB free on cpu; set"):
        place(mapped, "always", CPU)
    with_free(BYTES, monkeypatch)
    assert isinstance(place(mapped, "always", CPU)[0], ResidentSet)


def play(config: RunConfig) -> str:
    return train(config, prepare(config, "auto"), Host()).status


def test_a_run_whose_images_do_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(BYTES, monkeypatch)
    config = tiny(tmp_path, "refused", data__resident="always")
    outcome = train(config, prepare(config, "auto"), Host())
    assert (outcome.status, outcome.images_seen) == ("refused", 0)
    assert outcome.message.startswith("data.resident: always, but")


@pytest.mark.slow
def test_where_the_images_are_changes_nothing_of_a_run(tmp_path: Path) -> None:
    """Nor of one that is stopped and goes on with them elsewhere."""
    small = {"train__batch": 12, "data__flip": True}
    whole = [
        tiny(tmp_path, "mapped", data__resident="never", **small),
        tiny(tmp_path, "resident", data__resident="always", **small),
        tiny(tmp_path, "streamed", data__cache_gib=1e-3, **small),
    ]
    assert [play(config) for config in whole] == ["done"] * 3
    parts = [
        tiny(tmp_path, "parts", data__resident=choice, train__total_kimg=kimg, **small)
        for choice, kimg in (("always", 0.06), ("never", 0.084), ("always", 0.12))
    ]
    for config in parts:
        assert play(config) == "done"
    assert attempt.Attempt(Storage(run_root(parts[-1]))).number == 4
    digests = [final_digests(config) for config in (*whole, parts[-1])]
    assert all(found == digests[0] for found in digests)
