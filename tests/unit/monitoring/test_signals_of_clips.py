"""The health of a G of clips: what stands still is a collapse, however varied the pictures."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gandist.config.run import validate
from gandist.gan.players import Players, build_players
from gandist.media.video import Video
from gandist.monitoring.health import MOTION, Verdict, judge
from gandist.monitoring.method import method_of
from gandist.monitoring.signals import Probe
from tests.helpers.no_host_sync import Blind
from tests.helpers.squares import CLIPS, FRAMES, SIZE, square

SQUARES = Video(frames=FRAMES, resolution=SIZE, channels=1)
N = 80


def real(first: int) -> Tensor:
    return SQUARES.to_network(torch.from_numpy(np.stack([square(first + i, i % 2) for i in range(N)])))


class Film(nn.Module):
    """Shows the clip that z numbers; its frames are `moving` times as far from the first one as they were."""

    def __init__(self, clips: Tensor, moving: float) -> None:
        super().__init__()
        self.clips, self.moving = clips, moving
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        clips = self.clips[z[:, 0].long()]
        first = clips[:, :, :1]
        return self.weight * (first + self.moving * (clips - first))


def probed(moving: float, x: Tensor | None = None) -> tuple[Probe, Players]:
    shown = real(500)

    def build() -> Film:
        return Film(shown, moving)

    z = torch.arange(float(N))[:, None]
    probe = Probe(real(0) if x is None else x, z, None, SQUARES.coarse, None, SQUARES.motion)
    return probe, build_players(build, build, seed=0, device=torch.device("cpu"))


def looked(moving: float) -> dict[str, float]:
    probe, players = probed(moving)
    return probe.named(probe.look(players, torch.tensor(0.0)).tolist())


def judged(*signals: dict[str, Any], steps: int = 25) -> Verdict:
    rows = [
        {"images_seen": 1000 * tick, "steps": steps, "loss/D": 1.0, "loss/G": 1.0, "grad_norm/G": 1.0, **found}
        for tick, found in enumerate(signals, 1)
    ]
    return judge(rows, method_of(validate({"data": CLIPS, "model": {"name": "vgan", "resolution": SIZE}})))


@pytest.mark.parametrize("moving", [1.0, 0.5, 0.0])
def test_motion_is_that_of_real_clips(moving: float) -> None:
    ours, theirs = (np.abs(np.diff(each.double().numpy(), axis=2)).mean() for each in (real(500), real(0)))
    assert looked(moving)[MOTION] == pytest.approx(moving * ours / theirs, rel=1e-5)


def test_still_pictures_are_a_collapse_though_they_differ() -> None:
    still = looked(0.02)
    assert still["signal/diversity"] > 0.6
    assert judged(*[still] * 24).state == "healthy", "all stand still at the start"
    verdict = judged(*[still] * 25)
    assert verdict.state == "collapsing"
    assert verdict.reason == "G's clips stand still: they move 0.02 times as much as real ones"
    assert judged(*[still] * 25, steps=5).state == "healthy", "patience is in steps, too"
    assert judged(*[still] * 24, looked(0.5)).state == "healthy"


def test_a_standstill_after_patience() -> None:
    """G's first clips flicker, and come to rest before they begin to move as real ones do."""
    still, moving = looked(0.0), looked(1.0)
    assert judged(moving, *[still] * 20).state == "healthy"
    assert judged(*[moving] * 30, still, still).state == "healthy"
    verdict = judged(*[moving] * 30, still, still, still)
    assert verdict.state == "collapsing"
    assert "G's clips stand still: they move 0.00 times as much as real ones" in verdict.reason
    assert judged(*[{**still, MOTION: None}] * 30).state == "healthy", "what is not finite is for other rules"


def test_where_there_is_nothing_to_compare() -> None:
    """Real clips that stand still, and samples without frames."""
    x = real(0)[:, :, :1].expand(-1, -1, FRAMES, -1, -1)
    probe, players = probed(1.0, x)
    assert MOTION not in probe.named(probe.look(players, torch.tensor(0.0)).tolist())
    pictures = Probe(torch.randn(8, 1, 8, 8), torch.zeros(8, 2), None, lambda h: h.flatten(1))
    assert MOTION not in pictures.named([0.0, 0.0, 1.0])


def test_a_look_waits_for_nothing() -> None:
    probe, players = probed(1.0)
    nonfinite = torch.tensor(0.0)
    with Blind():  # type: ignore[no-untyped-call]
        values = probe.look(players, nonfinite)
    assert probe.named(values.tolist())[MOTION] > 0.5
