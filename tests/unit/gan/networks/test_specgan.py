"""The pair that sees spectrograms: published sizes, lengths, the inverse transform, the scale of loudness."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gandist.gan.networks import Shape
from gandist.gan.networks.sketch import sketched
from gandist.gan.networks.specgan import Discriminator, Generator, SpecOptions, levels, picture_of, sound_of
from gandist.gan.spectra import Frames
from tests.helpers.no_host_sync import Blind

PAPER = Shape(32, 3, z_dim=100, width=64, norm="none", sample=(1, 16_384))
SMALL = PAPER._replace(z_dim=6, width=4, sample=(1, 1024))


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_layers_and_counts_are_the_published_ones() -> None:
    """But for a picture more that G makes, and the bias of D's score."""
    with sketched():
        G, D = Generator(PAPER), Discriminator(PAPER)
    assert levels(PAPER) == ((4, 4), [1024, 512, 256, 128, 64])
    channels = [1024, 512, 256, 128, 64]
    inner = 25 * sum(a * b for a, b in pairwise(channels))
    assert parameters(G) == 101 * 16 * 1024 + inner + sum(channels[1:]) + 25 * 64 * 2 + 2
    assert parameters(D) == 25 * 64 + inner + sum(channels) + 16 * 1024
    with torch.device("meta"):
        assert G(torch.empty(2, 100)).shape == (2, 1, 16_384)
        assert D(torch.empty(2, 1, 16_384)).shape == (2,)


@pytest.mark.parametrize(
    ("samples", "options", "first", "count"),
    [
        (16_384, {"hop": 64}, (4, 8), 5),
        (4_096, {}, (16, 4), 3),
        (4_096, {"n_fft": 128, "hop": 64}, (4, 4), 4),
        (6_144, {"n_fft": 64, "hop": 32}, (4, 24), 3),
    ],
)
def test_other_sizes(samples: int, options: dict[str, Any], first: tuple[int, int], count: int) -> None:
    shape = SMALL._replace(sample=(2, samples), options=SpecOptions(**options))
    assert levels(shape) == (first, [4 * 2**k for k in reversed(range(count))])
    made = Generator(shape)(torch.randn(3, 6))
    assert made.shape == (3, 2, samples)
    assert Discriminator(shape)(made).shape == (3,)


@pytest.mark.parametrize(
    ("samples", "nearest"), [(16_000, 16_384), (300, 1_024), (4_100, 4_096), (64 * 128 + 128, 64 * 128)]
)
def test_other_lengths_are_refused(samples: int, nearest: int) -> None:
    with pytest.raises(ValueError, match=rf"frames; set data.options.samples={nearest}, or another model.options"):
        Generator(SMALL._replace(sample=(1, samples)))
    levels(SMALL._replace(sample=(1, nearest)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_fft": 200}, "n_fft: must be a power of two, which 200"),
        ({"hop": 256}, "hop: must be a half, a quarter, ... of n_fft=256, which 256"),
        ({"hop": 96}, "which 96 is not"),
    ],
)
def test_frames_that_do_not_add_up_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SpecOptions(**options)


def sines(*hertz: float, length: int = 2048, rate: int = 8000) -> Tensor:
    """Of amplitude 1: (len(hertz), 1, length) float64."""
    return (2 * torch.pi * torch.tensor(hertz, dtype=torch.float64)[:, None] * torch.arange(length) / rate).sin()[
        :, None
    ]


@pytest.mark.parametrize(("n_fft", "hop"), [(256, 128), (256, 64), (128, 16)])
def test_the_inverse_is_that_of_the_spectrum(n_fft: int, hop: int) -> None:
    """A sound's magnitudes, and the frequencies that its phases tell, frame by frame, make the sound again."""
    torch.manual_seed(0)
    frames = Frames(n_fft, hop, n_fft)
    x = sines(220, 777.7, 1500.5).mean(0, keepdim=True).expand(2, 2, -1) * torch.rand(2, 2, 1, dtype=torch.float64)
    x = x * torch.hann_window(x.shape[2], dtype=torch.float64)  # mirrored ends would have the highest frequency
    pad = (n_fft - hop) // 2
    window = torch.hann_window(n_fft, dtype=torch.float64)
    mirrored = nn.functional.pad(x, (pad, pad), mode="reflect")
    spectrum = torch.fft.rfft(mirrored.unfold(2, n_fft, hop) * window).mT[:, :, :-1]
    own = 2 * torch.pi * torch.arange(n_fft // 2) * hop / n_fft
    moved, last = [], torch.zeros_like(spectrum[..., 0].real)
    for k in range(spectrum.shape[3]):
        phase = spectrum[..., k].angle()
        more = (phase - last - (own if k else 0)) / torch.pi
        moved.append((more + 1) % 2 - 1)
        last = phase
    made = sound_of(picture_of(x, frames), torch.stack(moved, dim=3), frames)
    torch.testing.assert_close(made, x, atol=2e-5, rtol=0)


def test_loudness_is_from_silence_to_a_full_scale_sine() -> None:
    frames = Frames(256, 128, 256)
    bin_12 = 12 * 8000 / 256
    x = torch.cat([0 * sines(bin_12), sines(bin_12), sines(bin_12) / 10])
    found = picture_of(x, frames)[:, 0, :, 4]
    assert found.shape == (3, 128)
    assert found[0].tolist() == pytest.approx([-1.0] * 128, abs=1e-3)
    assert found[1:, 12].tolist() == pytest.approx([1.0, 1 - 2 / 3], abs=5e-3), "20 of 60 dB less"
    assert float(found[1].max()) == float(found[1, 12])


def test_one_loud_frequency_is_a_sine() -> None:
    frames = Frames(256, 128, 256)
    loud = torch.full((2, 1, 128, 16), -1.0, dtype=torch.float64)
    loud[0, :, 12] = 1.0
    made = sound_of(loud, torch.zeros_like(loud), frames)
    inside = slice(256, -256)
    swing = (made[0, 0, inside] ** 2).mean().sqrt()
    spectrum = torch.fft.rfft(made[0, 0, inside]).abs()
    assert int(spectrum.argmax()) == 12 * (2048 - 512) / 256
    assert float(spectrum.square().max() / spectrum.square().sum()) > 0.9
    assert 0.4 < float(swing) < 0.8, "about that of a sine of amplitude 1"
    assert float(made[1].abs().max()) < 1e-6, "silence"


def test_an_untrained_generator_is_soft() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        made = Generator(PAPER._replace(width=4))(torch.randn(16, 100))
    assert 0.01 < float(made.square().mean().sqrt()) < 0.1
    loud = picture_of(made, Frames(256, 128, 256))
    assert float(loud.median()) == pytest.approx(-0.5, abs=0.15)


def test_the_same_under_autocast() -> None:
    torch.manual_seed(0)
    loud, moved = torch.rand(2, 2, 1, 128, 8) * 2 - 1
    frames = Frames(256, 128, 256)
    with torch.autocast("cpu", torch.bfloat16):
        found = sound_of(loud, moved, frames)
    assert torch.equal(found, sound_of(loud, moved, frames))


def test_nothing_is_brought_to_the_host() -> None:
    torch.manual_seed(0)
    G, D, z = Generator(SMALL), Discriminator(SMALL), torch.randn(2, 6)
    D(G(z))  # windows are made once
    with Blind():  # type: ignore[no-untyped-call]
        torch.autograd.backward(D(G(z)).sum())
