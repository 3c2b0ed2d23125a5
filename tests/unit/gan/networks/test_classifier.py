"""The classifier as a network, and its file: what was written is read, and a damaged one is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gandist.errors import DataError
from gandist.gan.networks.classifier import Classifier, Facts, load, save

FACTS = Facts(accuracy=0.5, n_test=10, n_train=90, channels=1, classes=10, data_fingerprint="abc")


@pytest.mark.parametrize(("channels", "resolution"), [(1, 32), (3, 32), (3, 64)])
def test_features_are_what_the_last_layer_sees(channels: int, resolution: int) -> None:
    classifier = Classifier(channels, 7).eval()
    x = torch.rand(5, channels, resolution, resolution) * 2 - 1
    h = classifier.features(x)
    assert h.shape == (5, 128)
    torch.testing.assert_close(classifier(x), classifier.head(h))
    if resolution > 32:
        pooled = torch.nn.functional.avg_pool2d(x, resolution // 32)
        torch.testing.assert_close(h, classifier.features(pooled))


def test_saved_and_loaded(tmp_path: Path) -> None:
    classifier = Classifier(1, 10).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save(tmp_path / "new" / "c.safetensors", classifier, FACTS)
    found, facts = load(tmp_path / "new" / "c.safetensors")
    assert facts == FACTS
    assert not found.training
    for name, tensor in found.state_dict().items():
        assert tensor.equal(classifier.state_dict()[name])


def flip_a_bit(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        lambda data: data[:-1],
        lambda data: data.replace(b'accuracy\\": 0.5', b'accuracy\\": 0.9'),
        lambda data: b"",
    ],
    ids=["bit", "torn", "fact", "empty"],
)
def test_damage_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "c.safetensors"
    save(path, Classifier(1, 10), FACTS)
    sound = path.read_bytes()
    assert damage(sound) != sound
    path.write_bytes(damage(sound))
    with pytest.raises(DataError, match=r"c\.safetensors: .*delete it"):
        load(path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"c\.safetensors: cannot be read"):
        load(tmp_path / "c.safetensors")
