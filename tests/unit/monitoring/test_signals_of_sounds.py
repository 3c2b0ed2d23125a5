"""The health of a G of sounds: silence is a collapse, and so is one sound for all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gandist.config.run import validate
from gandist.gan.players import build_players
from gandist.media.audio import Audio
from gandist.monitoring.health import Method, judge
from gandist.monitoring.method import method_of
from gandist.monitoring.signals import Probe
from tests.helpers.tones import RATE, SAMPLES, SOUNDS, tone

TONES = Audio(sample_rate=RATE, samples=SAMPLES)
N = 32


def real(first: int) -> Tensor:
    """Sounds of an octave (N, 1, SAMPLES)."""
    return TONES.to_network(torch.from_numpy(np.stack([tone(first + i, i % 12) for i in range(N)])))


class Stuck(nn.Module):
    """Plays what it is told to, whatever z."""

    def __init__(self, plays: Tensor) -> None:
        super().__init__()
        self.plays = plays
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.weight * self.plays[: len(z)]


def looked(plays: Tensor) -> dict[str, float]:
    def build() -> Stuck:
        return Stuck(plays)

    probe = Probe(real(0), torch.zeros(N, 2), None, TONES.coarse)
    found = probe.look(build_players(build, build, seed=0, device=torch.device("cpu")), torch.tensor(0.0))
    return probe.named(found.tolist())


def judged(signals: dict[str, float], method: Method) -> Any:
    rows = [
        {"images_seen": 1000 * tick, "steps": 25, "loss/D": 1.0, "loss/G": 1.0, "grad_norm/G": 1.0, **signals}
        for tick in range(1, 7)
    ]
    return judge(rows, method)


@pytest.fixture
def method() -> Method:
    return method_of(validate({"data": SOUNDS, "model": {"name": "wavegan"}}))


def test_other_real_sounds_are_as_varied(method: Method) -> None:
    found = looked(real(500))
    assert found["signal/diversity"] == pytest.approx(1, abs=0.15)
    assert judged(found, method).state == "healthy"


@pytest.mark.parametrize("hiss", [0.0, 1e-7, 1e-6])
def test_silence_is_a_collapse(hiss: float, method: Method) -> None:
    found = looked(hiss * torch.randn(N, 1, SAMPLES))
    assert found["signal/diversity"] < 0.02
    verdict = judged(found, method)
    assert verdict.state == "collapsing"
    assert "two sounds of G differ 0.00 times as much as real ones: they are one" in verdict.reason


def test_one_sound_for_all_is_a_collapse(method: Method) -> None:
    assert judged(looked(real(0)[:1].expand(N, -1, -1)), method).state == "collapsing"


def test_hiss_varies_little(tmp_path: Path) -> None:
    """The same noise to the ear, though no two samples are equal."""
    assert looked(0.1 * torch.randn(N, 1, SAMPLES))["signal/diversity"] < 0.2


def test_what_samples_are_called(method: Method) -> None:
    assert method.samples == "sounds"
    assert method_of(validate({})).samples == "images"
    rows = [{"images_seen": 1, "loss/D": 1.0, "loss/G": 1.0, "quality/memorisation": 0.1}]
    assert judge(rows, method).reason == (
        "G's sounds lie 0.10 times as far from training sounds as other real sounds do"
    )


def test_a_distance_of_sounds_that_grows_is_seen(method: Method) -> None:
    rows = [
        {"images_seen": 1000 * (i + 1), "loss/D": 1.0, "loss/G": 1.0, "sign/real": 0.5, "quality/fad-bands": value}
        for i, value in enumerate((5.0, 4.0, 13.0, 14.0))
    ]
    assert judge(rows, method).reason == "quality/fad-bands is 14, and was 4 at 2,000 sounds"
    assert judge(rows, method).state == "diverged"
