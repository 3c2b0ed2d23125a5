"""Sounds beside their targets: equal ones measure best, and the more is wrong the worse."""

import math

import pytest
import torch
from torch import Tensor

from gandist.evaluation.sound_fidelity import has_stoi, mel_l1, stft, stoi
from gandist.gan.spectra import scale_for
from gandist.gan.spectral_losses import stft_distance

RATE, LENGTH = 8000, 8192
SCALE = scale_for(RATE, LENGTH)


def spoken(n: int = 3, channels: int = 1) -> Tensor:
    """Noise whose loudness rises and falls, as that of speech does."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(n, channels, LENGTH, generator=generator)
    return 0.2 * noise * (1 + torch.sin(2 * math.pi * 4 * torch.arange(LENGTH) / RATE)) / 2


def noised(x: Tensor, amount: float) -> Tensor:
    return x + amount * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))


def test_equal_sounds() -> None:
    x = spoken()
    assert mel_l1(x, x, SCALE).tolist() == [0, 0, 0]
    assert stft(x, x).tolist() == [0, 0, 0]
    assert stoi(x, x, RATE).tolist() == pytest.approx([1, 1, 1], abs=1e-6)


def test_noise_makes_each_worse() -> None:
    x = spoken()
    spoilt = [noised(x, amount) for amount in (0.01, 0.05, 0.2)]
    for found in ([mel_l1(each, x, SCALE) for each in spoilt], [stft(each, x) for each in spoilt]):
        assert found[0].dtype == torch.float64
        assert (found[0] < found[1]).all()
        assert (found[1] < found[2]).all()
    intelligible = [stoi(each, x, RATE) for each in spoilt]
    assert (intelligible[0] > intelligible[1]).all()
    assert (intelligible[1] > intelligible[2]).all()


def test_loudness_is_a_difference_of_logarithms() -> None:
    x = spoken()
    assert mel_l1(x / 2, x, SCALE).tolist() == pytest.approx([math.log(2)] * 3, rel=0.05)
    assert mel_l1(x / 2, x, SCALE).tolist() == pytest.approx(mel_l1(x, x / 2, SCALE).tolist())


def test_a_phase_that_cannot_be_heard_hardly_counts() -> None:
    x = spoken()
    assert mel_l1(-x, x, SCALE).max() < 1e-6
    assert stft(-x, x).max() < 1e-6


def test_each_sound_by_itself_and_the_mean_is_the_penalty() -> None:
    x = spoken(4, channels=2)
    out = noised(x, 0.05)
    torch.testing.assert_close(stft(out, x).mean(), stft_distance(out, x).double(), rtol=1e-5, atol=0)
    for measure in (lambda a, b: mel_l1(a, b, SCALE), stft, lambda a, b: stoi(a, b, RATE)):
        whole = measure(out, x)
        assert whole.shape == (4,)
        torch.testing.assert_close(measure(out[1:3], x[1:3]), whole[1:3])


def test_silence_is_finite() -> None:
    x, silence = spoken(2), torch.zeros(2, 1, LENGTH)
    for out, target in ((silence, x), (x, silence), (silence, silence)):
        assert mel_l1(out, target, SCALE).isfinite().all()
        assert stft(out, target).isfinite().all()
        assert stoi(out, target, RATE).isfinite().all()
    assert mel_l1(silence, silence, SCALE).tolist() == [0, 0]


def test_sounds_too_short_or_too_silent_have_no_intelligibility(monkeypatch: pytest.MonkeyPatch) -> None:
    x = spoken(3)
    x[1, :, 600:] = 0
    assert len(stoi(x, x, RATE)) == 2
    assert has_stoi(3200, RATE)
    assert not has_stoi(3199, RATE)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not has_stoi(LENGTH, RATE)
