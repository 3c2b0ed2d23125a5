"""The mel spectrogram as a condition: what it is, what it refuses, and what can be heard of it without learning."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from gandist.conditions.griffin_lim import sound_of
from gandist.conditions.kinds import MAKERS
from gandist.conditions.mel import Mel
from gandist.conditions.sample import OfSample
from gandist.config.run import RunConfig
from gandist.config.sample import check_axes, condition_of
from gandist.config.sections import Tree
from gandist.errors import ConfigError
from gandist.gan.spectra import Frames, MelScale, log_mel, magnitudes
from gandist.media.audio import Audio
from gandist.media.image import Image
from tests.helpers.no_host_sync import Blind

RATE = 8000
AUDIO = Audio(sample_rate=RATE, samples=4096)
SMALL = Mel(n_fft=256, hop=64, mels=32).fitted(AUDIO)


def tones(n: int, length: int = 4096) -> Tensor:
    """Decaying notes with harmonics (n, 1, length), a major third apart."""
    t = torch.arange(length, dtype=torch.float64) / RATE
    pitch = 220 * 2 ** (torch.arange(n, dtype=torch.float64) / 3)
    harmonic = torch.arange(1, 5, dtype=torch.float64)[:, None]
    notes = ((2 * math.pi * pitch[:, None, None] * harmonic * t).sin() / harmonic).sum(1, keepdim=True)
    return 0.2 * notes * (-4 * t).exp() * (1 - (-80 * t).exp())


def tree(**sections: Any) -> Tree:
    audio = {"medium": "audio", "options": {"sample_rate": RATE, "samples": 4096}}
    return Tree.model_validate({"data": audio} | sections)


def test_it_is_the_log_mel_of_the_mean_of_the_channels() -> None:
    x = tones(2).expand(-1, 2, -1) * torch.tensor([[1.5], [0.5]])
    scale = MelScale(RATE, Frames(256, 64, 256), 32, 0.0, 4000.0)
    assert SMALL.scale == scale
    y = SMALL.make(x, {})
    assert tuple(y.shape[1:]) == SMALL.shape((2, 4096)) == (32, 64)
    torch.testing.assert_close(y, log_mel(tones(2)[:, 0], scale))
    assert SMALL.make(x.bfloat16(), {}).dtype == torch.float32
    other = Mel(n_fft=512, hop=64, window=200, mels=20, low_hz=50, high_hz=3000).fitted(AUDIO)
    assert other.scale == MelScale(RATE, Frames(512, 64, 200), 20, 50.0, 3000.0)


def test_a_configuration_gives_it_the_mediums_rate() -> None:
    config = tree(condition={"kind": "mel", "options": {"n_fft": 256, "hop": 64, "mels": 32}})
    condition = condition_of(config)
    assert isinstance(condition, OfSample)
    assert condition.maker == SMALL
    assert condition.shape((1, 4096)) == (32, 64)
    assert "sample_rate" not in SMALL.model_dump()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"hop": 96}, r"hop: 96 does not divide sounds of 4096 samples; set data.options.samples to 4032 or 4128"),
    ({"hop": 512, "n_fft": 256}, r"hop: 512 leaves gaps between frames of n_fft=256; set at most 256"),
    ({"window": 2048}, r"window: 2048 exceeds n_fft=1024; set at most 1024"),
    ({"high_hz": 8000}, r"high_hz: 8000 Hz is above half the sample rate \(data.options.sample_rate=8000\); set"),
    ({"low_hz": 4000}, r"low_hz: 4000 Hz is not below high_hz, 4000 Hz; lower it"),
    ({"n_fft": 128, "hop": 32, "mels": 80}, r"mels: 3 of 80 bands contain no frequency of n_fft=128: the first is"),
    ({"n_fft": 16384}, r"n_fft: sounds of 4096 samples are too short .* set n_fft to 4096, or data.options.samples to"),
    ({"hops": 96}, r"hops: unknown key; there are: n_fft, hop, window, mels, low_hz, high_hz"),
    ({"mels": 0}, r"mels: input should be greater than or equal to 1"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "told"), REFUSED)
def test_options_that_do_not_fit_are_refused_by_name(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=rf"^condition\.options\.{told}"):
        condition_of(tree(condition={"kind": "mel", "options": options})).shape((1, 4096))


def test_the_number_of_bands_that_is_said_goes() -> None:
    options = {"n_fft": 128, "hop": 32, "mels": 80}
    with pytest.raises(ConfigError, match="mels to at most") as caught:
        condition_of(tree(condition={"kind": "mel", "options": options}))
    most = int(str(caught.value).split("set mels to at most ")[1].split(",")[0])
    condition_of(tree(condition={"kind": "mel", "options": options | {"mels": most}}))
    with pytest.raises(ConfigError, match="mels"):
        condition_of(tree(condition={"kind": "mel", "options": options | {"mels": most + 1}}))


def test_a_condition_of_another_medium_is_refused() -> None:
    for kind in ("degraded", "masked"):
        with pytest.raises(ConfigError, match=rf"condition.kind: {kind} takes pictures .* data.medium=audio are not"):
            condition_of(tree(condition={"kind": kind}))
    with pytest.raises(ConfigError, match=r"these fit: paired, itself, mel$"):
        condition_of(tree(condition={"kind": "masked"}))
    with pytest.raises(ConfigError, match=r"condition.kind: mel takes sounds .* data.medium=image are not"):
        condition_of(RunConfig.model_construct(**Tree.model_validate({"condition": {"kind": "mel"}}).__dict__))
    with pytest.raises(ConfigError, match=r"condition\.kind: mel needs a sample rate; set data.medium=audio"):
        Mel().fitted(Image())
    for kind in ("paired", "itself"):
        check_axes(kind, MAKERS[kind].axes, tree(), MAKERS)


def test_griffin_lim_finds_a_sound_with_this_spectrogram() -> None:
    """Of the channels' shape, alike at each call and for each sound by itself, and nearer than what it begins with."""
    x = tones(3)
    y = SMALL.make(x, {})
    floors = SMALL.floors(y, (2, 4096))
    assert list(floors) == ["griffin-lim"]
    sound = floors["griffin-lim"]
    assert sound.shape == (3, 2, 4096)
    assert torch.equal(sound, SMALL.picture(y, (2, 4096)))
    assert torch.equal(sound[:, 0], sound[:, 1])
    torch.testing.assert_close(sound[1:2], SMALL.picture(y[1:2], (2, 4096)), rtol=0, atol=1e-6)
    assert float(sound.abs().max()) <= 1

    def apart(sound: Tensor) -> float:
        return float((SMALL.make(sound, {}) - y).abs().mean())

    assert apart(sound) < 0.5 * apart(torch.zeros_like(x))
    assert apart(sound) < 0.5 * apart(sound.roll(1, 0))
    ours, theirs = (magnitudes(each[:, 0], SMALL.scale.frames) for each in (sound, x))
    assert float((ours - theirs).norm() / theirs.norm()) < 0.35
    with pytest.raises(AssertionError, match="knows no sample rate"):
        Mel().make(x, {})


def test_griffin_lim_in_other_types_and_on_a_device() -> None:
    y = SMALL.make(tones(1), {})
    expected = sound_of(y, SMALL.scale)
    assert expected.dtype == torch.float64
    found = sound_of(y.float(), SMALL.scale)
    assert found.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16), Blind():  # type: ignore[no-untyped-call]
        again = sound_of(y.float(), SMALL.scale)
    assert torch.equal(again, found)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-2)
    silence = sound_of(SMALL.make(torch.zeros(1, 1, 4096), {}), SMALL.scale)
    assert float(silence.abs().max()) < 1e-3
