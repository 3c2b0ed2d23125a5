"""The classifier of sounds as a network, and its file."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gandist.errors import DataError
from gandist.gan.networks.classifier import Classifier, Facts, load, load_sounds, save
from gandist.gan.networks.sound_classifier import QUIET, SoundClassifier, bands_of, frames_of, loudness

FACTS = Facts(0.5, 10, 90, 1, 7, "abc", "audio", 8000, 2048)


def sine(hertz: float, amplitude: float = 1.0) -> Tensor:
    return amplitude * torch.sin(2 * math.pi * hertz * torch.arange(4096) / 8000)[None]


@pytest.mark.parametrize("hertz", [220.0, 233.08, 246.94, 1000.0, 3520.0])
def test_each_semitone_has_its_band(hertz: float) -> None:
    found = loudness(sine(hertz), 8000, frames_of(8000, 4096))[0, :, 16]
    middle = float(bands_of(8000)[found.argmax()])
    assert abs(12 * math.log2(middle / hertz)) <= 0.5
    assert found.max() == pytest.approx(0, abs=0.35)
    quieter = loudness(sine(hertz, 0.1), 8000, frames_of(8000, 4096))[0, :, 16]
    assert quieter.max() == pytest.approx(float(found.max()) - 1, abs=1e-3), "in units of 20 dB"


def test_silence_is_a_floor() -> None:
    found = loudness(torch.zeros(1, 4096), 8000, frames_of(8000, 4096))
    assert found.allclose(torch.tensor(QUIET).log10())


@pytest.mark.parametrize(("rate", "samples"), [(1000, 64), (8000, 100), (16_000, 16_384), (48_000, 65_536)])
def test_of_any_rate_and_length(rate: int, samples: int) -> None:
    net = SoundClassifier(rate, samples, 3).eval()
    x = torch.rand(2, 2, samples) * 2 - 1
    h = net.features(x)
    assert h.shape == (2, 128)
    torch.testing.assert_close(net(x), net.head(h))
    torch.testing.assert_close(net(x.mean(1, keepdim=True)), net(x), msg="channels are averaged")
    assert net.spectrogram(x).shape[1] == len(bands_of(rate))
    assert bands_of(rate).max() < rate / 2


def test_saved_and_loaded(tmp_path: Path) -> None:
    net = SoundClassifier(8000, 2048, 7)
    net.normalise_by(torch.rand(5, len(bands_of(8000)), 9) - 2)
    save(tmp_path / "c.safetensors", net, FACTS)
    found, facts = load_sounds(tmp_path / "c.safetensors")
    assert facts == FACTS
    assert not found.training
    assert found.mean.equal(net.mean)
    x = torch.rand(2, 1, 2048)
    assert found(x).equal(net.eval()(x))


def test_a_classifier_of_another_medium_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save(path, SoundClassifier(8000, 2048, 7), FACTS)
    with pytest.raises(DataError, match=r"c\.safetensors: is a classifier of data\.medium=audio, not of image"):
        load(path)
    save(path, Classifier(1, 7), FACTS._replace(medium="image"))
    with pytest.raises(DataError, match=r"c\.safetensors: is a classifier of data\.medium=image, not of audio"):
        load_sounds(path)
    save(path, SoundClassifier(8000, 2048, 8), FACTS)
    with pytest.raises(DataError, match=r"c\.safetensors: cannot be read as a classifier: .*delete it"):
        load_sounds(path)
