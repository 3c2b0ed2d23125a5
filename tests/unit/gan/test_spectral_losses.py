"""Distances of spectrograms against scipy's transform in float64, and as penalties of G."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy
import torch
from torch import Tensor, nn

from gandist.distributed.ranks import Ranks
from gandist.gan.adversarial import Latents, Reals, Rules, Scheduled
from gandist.gan.objectives import OBJECTIVES
from gandist.gan.penalties import PENALTIES, Samples, Update
from gandist.gan.players import build_players
from gandist.gan.spectra import FLOOR, Frames, MelScale, log_mel, mel_filters, scale_for
from gandist.gan.spectral_losses import RESOLUTIONS, SILENCE, mel_distance, resolutions, stft_distance
from gandist.gan.supervised import Supervised
from tests.helpers.no_host_sync import Blind

RATE, T = 8000, 2048
SCALE = MelScale(RATE, Frames(256, 64, 200), 20, 0.0, RATE / 2)
DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mel": lambda fake, real: mel_distance(fake, real, SCALE),
    "stft": stft_distance,
}


def sounds(n: int = 3, channels: int = 1, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(n, channels, T, generator=g, dtype=torch.float64)


def spectrum(x: np.ndarray, frames: Frames) -> np.ndarray:
    """Magnitudes (bins, T // hop) of one channel (T,)."""
    n_fft, hop, length = frames
    before = (n_fft - hop) // 2
    window, first = np.zeros(n_fft), (n_fft - length) // 2
    window[first : first + length] = scipy.signal.get_window("hann", length)
    mirrored = np.pad(x, (before, n_fft - hop - before), mode="reflect")
    how = {"window": window, "nperseg": n_fft, "noverlap": n_fft - hop, "boundary": None, "padded": False}
    _, _, found = scipy.signal.stft(mirrored, **how)
    return np.asarray(np.sqrt(np.abs(found * window.sum()) ** 2 + 1e-9))


def test_the_mel_distance_is_the_formula() -> None:
    fake, real = sounds(channels=2), sounds(channels=2, seed=1)
    filters = mel_filters(SCALE, torch.float64, torch.device("cpu")).numpy()

    def mels(x: Tensor) -> list[np.ndarray]:
        return [np.log(np.maximum(filters @ spectrum(each, SCALE.frames), FLOOR)) for each in x.flatten(0, 1).numpy()]

    expected = np.mean([np.abs(ours - theirs).mean() for ours, theirs in zip(mels(fake), mels(real), strict=True)])
    assert float(mel_distance(fake, real, SCALE)) == pytest.approx(expected, rel=1e-9)


def test_the_stft_distance_is_the_formula() -> None:
    """Of each channel by itself: a sound's error is a share of that sound's own magnitudes."""
    fake, real = sounds(channels=2), sounds(channels=2, seed=1) * torch.tensor([1.0, 0.3, 0.1])[:, None, None]
    terms = []
    for frames in resolutions(T):
        for ours, theirs in zip(fake.flatten(0, 1).numpy(), real.flatten(0, 1).numpy(), strict=True):
            a, b = spectrum(ours, frames), spectrum(theirs, frames)
            terms.append(np.linalg.norm(a - b) / np.linalg.norm(b) + np.abs(np.log(a) - np.log(b)).mean())
    assert float(stft_distance(fake, real)) == pytest.approx(np.mean(terms), rel=1e-9)


def test_silence_is_no_divisor() -> None:
    """An error beside silence is a share of faint noise, not of nothing."""
    silent, faint = torch.zeros(1, 1, T, dtype=torch.float64), SILENCE * 10 * sounds(1)
    assert float(stft_distance(faint, silent)) < 8
    assert float(stft_distance(faint, faint)) == 0


@pytest.mark.parametrize(("samples", "longest"), [(65_536, 2048), (2048, 2048), (2047, 1024), (64, 64), (1, 1)])
def test_short_sounds_have_short_frames(samples: int, longest: int) -> None:
    found = resolutions(samples)
    assert [frames.n_fft for frames in found[-1:]] == [longest]
    assert len(found) == len(RESOLUTIONS)
    assert found == RESOLUTIONS if longest == 2048 else found != RESOLUTIONS


@pytest.mark.parametrize("samples", [64, 100, 512, 4096])
def test_every_length_can_be_compared(samples: int) -> None:
    fake, real = (sounds(2, 1, seed)[..., :samples] for seed in (0, 1))
    assert 0 < float(stft_distance(fake, real)) < 10
    scale = scale_for(RATE, samples)
    assert scale.frames.n_fft <= samples
    assert scale.high_hz == RATE / 2
    assert 0 < float(mel_distance(fake, real, scale)) < 10
    assert scale_for(22_050, 8192) == MelScale(22_050, high_hz=11_025.0)


@pytest.mark.parametrize("name", DISTANCES)
def test_gradients(name: str) -> None:
    """Right in float64; and finite where fake is real, and where both are silent."""
    fake, real = (sounds(1, 1, seed)[..., :64] for seed in (0, 1))
    small: dict[str, Callable[[Tensor], Tensor]] = {
        "mel": lambda x: mel_distance(x, real, MelScale(RATE, Frames(32, 8, 32), 6, 0.0, RATE / 2)),
        "stft": lambda x: stft_distance(x, real),
    }
    assert torch.autograd.gradcheck(small[name], (fake.clone().requires_grad_(),))
    for start in (real, torch.zeros_like(real)):
        x = start.clone().requires_grad_()
        (slope,) = torch.autograd.grad(small[name](x), x)
        assert slope.isfinite().all()
        (slope,) = torch.autograd.grad(DISTANCES[name](pad := torch.zeros(1, 1, T).requires_grad_(), pad.detach()), pad)
        assert torch.equal(slope, torch.zeros_like(slope))


@pytest.mark.parametrize("name", DISTANCES)
def test_parts_of_a_batch_have_its_mean_and_precision_stays(name: str) -> None:
    fake, real = sounds(4).float(), sounds(4, seed=1).float()
    distance = DISTANCES[name]
    whole = distance(fake, real)
    parts = torch.stack([distance(fake[i::2], real[i::2]) for i in range(2)])
    torch.testing.assert_close(parts.mean(), whole, rtol=1e-6, atol=0)
    assert whole.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16), Blind():  # type: ignore[no-untyped-call]
        again = distance(fake, real)
    assert torch.equal(again, whole)
    assert distance(fake.bfloat16(), real).dtype == torch.float32


class Line(nn.Module):
    """G(z) = z A, as sounds of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.A = nn.Parameter(0.01 * torch.randn(2, T, dtype=torch.float64))

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        return (z @ self.A)[:, None]


@pytest.mark.parametrize("name", DISTANCES)
def test_g_descends_them(name: str) -> None:
    """As a penalty of G, whose mel spectrogram is that of the rules."""
    players = build_players(
        Line, lambda: nn.Linear(1, 1), seed=0, device=torch.device("cpu"), precision="fp64", betas=(0.0, 0.9)
    )
    game = Supervised(players, Rules(penalties=(name,), mel=SCALE), Ranks(0, 1, torch.device("cpu")), "fp64")
    players.G.set_lr(1e-3)
    x, z = sounds(4), torch.randn(4, 2, dtype=torch.float64)
    now = Scheduled(0.5, weights_G={name: 45.0})
    found = [game.step(players, [Reals(x, None)], [Latents(z, None)], Latents(z, None), now) for _ in range(30)]
    values = [float(statistics[1]) for statistics in found]
    assert values[0] == pytest.approx(float(found[0][0]) / 45, rel=1e-6)
    assert values[-1] < 0.9 * values[0]


def test_the_penalty_takes_the_scale_of_the_rules() -> None:
    fake, real = Samples(sounds(), None), Samples(sounds(seed=1), None)
    update = Update(nn.Identity(), {"fake": fake, "real": real}, {}, {}, {}, OBJECTIVES["ns"], mel=SCALE)
    expected = (log_mel(fake.x[:, 0], SCALE) - log_mel(real.x[:, 0], SCALE)).abs().mean()
    assert float(PENALTIES["mel"].value(update)) == pytest.approx(float(expected))
    assert math.isfinite(float(PENALTIES["stft"].value(update)))
