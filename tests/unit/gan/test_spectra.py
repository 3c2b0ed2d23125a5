"""Spectrograms against scipy's and numpy's in float64, and against numbers that librosa gives."""

import math

import numpy as np
import pytest
import scipy
import torch
from torch import Tensor

from gandist.gan.spectra import FLOOR, Frames, MelScale, log_mel, magnitudes, mel_filters, window_of
from tests.helpers.no_host_sync import Blind

CPU = torch.device("cpu")
FRAMES = [Frames(64, 16, 64), Frames(64, 16, 40), Frames(64, 15, 63), Frames(32, 32, 32), Frames(50, 7, 20)]
"""Windows as long as a frame and shorter, hops that divide it and do not, an odd number of samples to mirror, none."""


def noise(n: int, length: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(n, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_scipy(x: np.ndarray, frames: Frames) -> np.ndarray:
    """Magnitudes (N, bins, T // hop) of scipy's transform of the mirrored sound."""
    n_fft, hop, length = frames
    before = (n_fft - hop) // 2
    mirrored = np.pad(x, ((0, 0), (before, n_fft - hop - before)), mode="reflect")
    window, first = np.zeros(n_fft), (n_fft - length) // 2
    window[first : first + length] = scipy.signal.get_window("hann", length)
    _, _, found = scipy.signal.stft(
        mirrored, window=window, nperseg=n_fft, noverlap=n_fft - hop, boundary=None, padded=False
    )
    return np.asarray(np.sqrt(np.abs(found * window.sum()) ** 2 + 1e-9))


def by_numpy(scale: MelScale) -> np.ndarray:
    """Slaney's filters, bin by bin."""

    def mel(hertz: float) -> float:
        return hertz / (200 / 3) if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)

    def hertz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    edges = [hertz(m) for m in np.linspace(mel(scale.low_hz), mel(scale.high_hz), scale.mels + 2)]
    filters = np.zeros((scale.mels, scale.frames.n_fft // 2 + 1))
    for row, (low, middle, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        for k in range(filters.shape[1]):
            f = k * scale.sample_rate / scale.frames.n_fft
            height = (f - low) / (middle - low) if f < middle else (high - f) / (high - middle)
            filters[row, k] = max(0.0, height) * 2 / (high - low)
    return filters


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("length", [160, 167])
def test_magnitudes_are_scipys(frames: Frames, length: int) -> None:
    x = noise(3, length)
    expected, found = by_scipy(x.numpy(), frames), magnitudes(x, frames)
    assert found.shape == (3, frames.bins, length // frames.hop)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(magnitudes(x.float(), frames).numpy(), expected, rtol=1e-3, atol=1e-5)


def test_a_frame_lies_around_the_middle_of_its_hop() -> None:
    frames = Frames(64, 16, 64)
    for hop in range(2, 8):  # where no mirrored impulse is near
        x = torch.zeros(1, 160)
        x[0, 16 * hop + 8] = 1.0
        found = magnitudes(x, frames)[0]
        assert found.amax(0).argmax() == hop
        torch.testing.assert_close(found[:, hop], torch.ones(33), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "scale",
    [
        MelScale(22_050),
        MelScale(16_000, Frames(512, 128, 512), 40, 55.0, 7600.0),
        MelScale(8000, Frames(256, 64, 256), 8, 0.0, 900.0),  # below where the scale turns logarithmic
    ],
)
def test_filters_are_slaneys(scale: MelScale) -> None:
    found = mel_filters(scale, torch.float64, CPU)
    np.testing.assert_allclose(found.numpy(), by_numpy(scale), rtol=1e-9, atol=1e-15)
    x = noise(2, 4096)
    expected = np.log(np.maximum(by_numpy(scale) @ by_scipy(x.numpy(), scale.frames), FLOOR))
    np.testing.assert_allclose(log_mel(x, scale).numpy(), expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(log_mel(x.float(), scale).numpy(), expected, rtol=0, atol=1e-5)


def test_filters_are_librosas() -> None:
    """`librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80, fmin=0, fmax=8000)` (0.11), some of its numbers."""
    found = mel_filters(MelScale(22_050), torch.float64, CPU)
    for row, first, values in (
        (0, 1, [0.015527720766997256, 0.0226513902105538, 0.007123669443556546]),
        (10, 18, [0.010964815083209024, 0.0264925358502063, 0.011686575127344778]),
        (27, 47, [0.004059030758811657, 0.017683397807558992, 0.018755576748198385]),
        (79, 345, [0.00023797767680755662, 0.0004890162502514993, 0.0007400548236954419]),
    ):
        assert found[row, first : first + 3].tolist() == pytest.approx(values, rel=1e-12)
        assert float(found[row, first - 1]) == 0
    assert float(found.sum()) == pytest.approx(3.7136882015278, rel=1e-12)


def test_silence_is_the_floor() -> None:
    found = log_mel(torch.zeros(1, 2048), MelScale(22_050))
    torch.testing.assert_close(found, torch.full_like(found, math.log(FLOOR)))


@pytest.mark.parametrize("fast", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_derivatives(fast: bool) -> None:
    """First and second, backward and forward, to sounds with and without silence: along one direction and, by night,
    each number."""
    scale = MelScale(1000, Frames(16, 4, 12), 3, 0.0, 500.0)
    x = noise(2, 24).requires_grad_()
    for f in (lambda x: magnitudes(x, scale.frames), lambda x: log_mel(x, scale)):
        assert torch.autograd.gradcheck(f, (x,), check_forward_ad=True, fast_mode=fast)
        assert torch.autograd.gradgradcheck(f, (x,), check_fwd_over_rev=True, fast_mode=fast)
    silent = torch.zeros(1, 24, requires_grad=True)
    (slope,) = torch.autograd.grad(magnitudes(silent, scale.frames).sum(), silent)
    assert torch.equal(slope, torch.zeros_like(slope))


def test_precision_and_repeats() -> None:
    scale, x = MelScale(22_050), noise(2, 2048).float()
    expected = log_mel(x, scale)
    assert expected.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(log_mel(x, scale), expected)
    with Blind():  # type: ignore[no-untyped-call]
        assert log_mel(x, scale).shape == expected.shape
    assert log_mel(x.bfloat16(), scale).dtype == torch.float32
    assert torch.equal(log_mel(x[1:], scale), expected[1:])


def test_what_was_made_for_a_measure_serves_training() -> None:
    """Constants made in inference mode, which autograd refuses, would stay so."""
    scale = MelScale(22_050, Frames(128, 32, 96), 5)
    with torch.inference_mode():
        log_mel(noise(1, 256), scale)
    assert not window_of(scale.frames, torch.float64, CPU).is_inference()
    x = noise(1, 256).requires_grad_()
    (slope,) = torch.autograd.grad(log_mel(x, scale).sum(), x)
    assert slope.isfinite().all()


def test_a_sound_that_is_too_short_to_be_mirrored_is_refused() -> None:
    magnitudes(noise(1, 25), Frames(64, 16, 64))
    with pytest.raises(ValueError, match="24 samples are too few for frames of 64: there must be over 24"):
        magnitudes(noise(1, 24), Frames(64, 16, 64))
