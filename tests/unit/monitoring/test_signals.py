"""What is read off G once a tick, where arithmetic gives it."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gandist.conditions.condition import Nothing
from gandist.conditions.degraded import Degradation
from gandist.conditions.kinds import Itself, OtherPicture
from gandist.conditions.sample import Maker, OfSample
from gandist.gan.players import Players, build_players
from gandist.media.image import COARSE_PX, Image
from gandist.monitoring.health import CHANGE, FAITHFUL, SIGNALS, WORST, WORST_CLASS
from gandist.monitoring.signals import CLASSES, EACH, Probe, Targets, chosen, targets_of
from tests.helpers.no_host_sync import Blind


class Flat(nn.Module):
    """Draws z's two numbers as a flat grey, each on one half of the image; the class, if any, as its brightness."""

    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        z = z if y is None else z + y[:, None]
        halves = (self.scale * z + self.offset).repeat_interleave(8, dim=1)
        return halves[:, None, None, :].expand(-1, 1, 16, -1)


def players() -> Players:
    return build_players(Flat, Flat, seed=0, device=torch.device("cpu"))


def look(probe: Probe, of: Players) -> dict[str, float]:
    return probe.named(probe.look(of, torch.tensor(0.25)).tolist())


def test_diversity_is_relative_to_real_images() -> None:
    x = Flat()(torch.randn(16, 2))
    one = players()
    z = 0.5 * x[:, 0, 0, ::8]
    found = look(Probe(x, z, None, Image().coarse), one)
    assert found == {
        "signal/diversity": pytest.approx(0.5),
        "signal/drift": 0.0,
        "signal/nonfinite": 0.25,
    }
    assert look(Probe(x, torch.ones(16, 2), None, Image().coarse), one)["signal/diversity"] == 0.0, "one image"
    assert x.shape[-1] // COARSE_PX == 2


def test_within_a_class_what_tells_classes_apart_does_not_count() -> None:
    """G draws each class once: classes differ as they should, and images of a class not at all."""
    y = torch.arange(4).repeat(8)
    x = Flat()(0.1 * torch.randn(32, 2), y)
    probe = Probe(x, torch.zeros(32, 2), y, Image().coarse)
    found = look(probe, players())
    assert found["signal/diversity"] > 0.9
    assert found["signal/diversity_within"] == 0.0
    same = look(Probe(x, x[:, 0, 0, ::8] - y[:, None], y, Image().coarse), players())
    assert same["signal/diversity_within"] == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("y", [None, torch.arange(32), torch.randn(32, 5)])
def test_without_pairs_of_a_class_there_is_no_such_number(y: Tensor | None) -> None:
    """No classes, more classes than images, captions."""

    class Blank(Flat):
        def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
            return super().forward(z)

    of = build_players(Blank, Blank, seed=0, device=torch.device("cpu"))
    assert tuple(look(Probe(torch.randn(32, 1, 16, 16), torch.zeros(32, 2), y, Image().coarse), of)) == SIGNALS[:-2]


def test_the_class_of_the_least_variety_is_told() -> None:
    """G draws class 2 once, and the others as they are: the mean over classes hardly shows it."""
    y = torch.arange(4).repeat(9)
    x = Flat()(torch.randn(36, 2))
    z = x[:, 0, 0, ::8] - y[:, None]
    z[y == 2] = 0
    found = look(Probe(x, z, y, Image().coarse), players())
    assert found.keys() == {*SIGNALS, WORST_CLASS}
    assert found["signal/diversity_within"] > 0.6
    assert (found[WORST], found[WORST_CLASS]) == (0.0, 2)


def test_a_class_of_one_picture_is_not_compared() -> None:
    """Nothing varies in class 1, nor are there enough of class 2."""
    y = torch.cat([torch.zeros(9), torch.ones(9), torch.full((3,), 2)]).long()
    x = Flat()(torch.randn(21, 2)).clone()
    x[y == 1] = 0.5
    found = look(Probe(x, x[:, 0, 0, ::8] - y[:, None], y, Image().coarse), players())
    assert found[WORST] == pytest.approx(1.0, rel=1e-5)
    assert found[WORST_CLASS] == 0


@pytest.mark.parametrize(("n", "classes", "each"), [(4096, 10, EACH), (4096, 2, 32), (4096, 100, EACH), (40, 10, 4)])
def test_classes_are_looked_at_alike(n: int, classes: int, each: int) -> None:
    labels = np.random.default_rng(0).permutation(np.arange(n) % classes)
    at = chosen(labels, n)
    found, counts = np.unique(labels[at], return_counts=True)
    assert len(found) == min(classes, CLASSES)
    assert set(counts) == {each}
    assert (np.diff(at) > 0).all()
    for label in found:
        assert (np.flatnonzero(labels == label)[:each] == at[labels[at] == label]).all(), "the first of each"


def test_a_rare_class_is_looked_at_too() -> None:
    labels = (np.arange(4096) % 100 == 99).astype(np.int64)
    assert np.bincount(labels[chosen(labels, len(labels))]).tolist() == [32, 32]
    assert chosen(None, 4096).tolist() == list(range(64))
    assert chosen(None, 5).tolist() == list(range(5))


def test_g_itself_is_looked_at_and_left_as_it_is() -> None:
    one = players()
    with torch.no_grad():
        one.G.net.get_parameter("scale").fill_(3.0)
    one.G.net.get_buffer("offset").fill_(7.0)
    before = copy.deepcopy((one.G.net.state_dict(), one.G_ema.state_dict(), one.G.net.training))
    x = Flat()(torch.randn(16, 2))
    found = look(Probe(x, x[:, 0, 0, ::8], None, Image().coarse), one)
    assert found["signal/diversity"] == pytest.approx(3.0)
    assert found["signal/drift"] == pytest.approx(2.0), "|3 - 1| / |1|"
    after = (one.G.net.state_dict(), one.G_ema.state_dict(), one.G.net.training)
    assert str(after) == str(before)


def test_a_look_waits_for_nothing() -> None:
    """All numbers stay on the device until the row takes them together."""
    y = torch.arange(4).repeat(32)
    x = Flat()(torch.randn(128, 2))
    probe, of, nonfinite = Probe(x, x[:, 0, 0, ::8] - y[:, None], y, Image().coarse), players(), torch.tensor(0.25)
    with Blind():  # type: ignore[no-untyped-call]
        values = probe.look(of, nonfinite)
    assert probe.named(values.tolist())[WORST] == pytest.approx(1.0, rel=1e-5), "in two batches, as in one"


class Restorer(nn.Module):
    """Draws what `found` makes of its condition, an image."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.found(z, y) * self.scale

    def found(self, z: Tensor, y: Tensor) -> Tensor:
        return y


class Guess(Restorer):
    def found(self, z: Tensor, y: Tensor) -> Tensor:
        return z[:, :, None, None].repeat_interleave(8, 2).repeat_interleave(16, 3).view(-1, 1, 16, 16)


class Constant(Restorer):
    def found(self, z: Tensor, y: Tensor) -> Tensor:
        return torch.zeros_like(y)


def of_samples(G: type[nn.Module], x: Tensor, y: Tensor, floor: Tensor | None) -> dict[str, float]:
    targets = Targets(x, floor, Image().coarse)
    of = build_players(G, G, seed=0, device=torch.device("cpu"))
    return look(Probe(x, torch.randn(len(x), 2), y, Image().coarse, targets), of)


def test_outputs_are_compared_with_their_targets() -> None:
    """1: they are their targets; 0: they could be anybody's."""
    x = torch.randn(32, 1, 16, 16).clamp(-1, 1)
    floor = torch.zeros_like(x)
    assert of_samples(Restorer, x, x, floor)[FAITHFUL] == pytest.approx(1.0)
    assert of_samples(Restorer, x, x.roll(1, 0), floor)[FAITHFUL] == pytest.approx(0.0, abs=0.05)
    assert of_samples(Constant, x, x, floor)[FAITHFUL] == pytest.approx(0.0, abs=1e-6)
    assert abs(of_samples(Guess, x, x, floor)[FAITHFUL]) < 0.1
    assert 0.2 < of_samples(Restorer, x, 0.5 * x, floor)[FAITHFUL] < 0.8


def test_change_is_from_what_needs_no_learning() -> None:
    x = torch.randn(32, 1, 16, 16).clamp(-1, 1)
    floor = 0.5 * x
    assert of_samples(Restorer, x, x, floor)[CHANGE] == pytest.approx(1.0)
    assert of_samples(Restorer, x, floor, floor)[CHANGE] == 0.0
    assert of_samples(Restorer, x, 0.75 * x, floor)[CHANGE] == pytest.approx(0.5)
    for none in (None, x):
        found = of_samples(Restorer, x, x, none)
        assert CHANGE not in found
        assert FAITHFUL in found


@pytest.mark.parametrize(
    ("maker", "change"),
    [(Degradation(scale=2), True), (Degradation(), False), (Itself(), False), (OtherPicture(), True)],
)
def test_what_needs_no_learning_is_the_conditions(maker: Maker, change: bool) -> None:
    x = torch.rand(8, 1, 32, 32).mul(255).round() / 127.5 - 1
    y = maker.make(x.flip(0) if isinstance(maker, OtherPicture) else x, {})
    targets = targets_of(OfSample(maker), Image(channels=1), x, y)
    assert targets is not None
    assert targets.names == [FAITHFUL, CHANGE][: 1 + change]
    assert targets_of(OfSample(maker), Image(channels=1), x[:1], y[:1]) is None
    assert targets_of(Nothing(), Image(channels=1), x, None) is None


def test_a_look_at_targets_waits_for_nothing() -> None:
    x = torch.randn(80, 1, 16, 16)
    probe = Probe(x, torch.randn(80, 2), x, Image().coarse, Targets(x, 0.5 * x, Image().coarse))
    of, nonfinite = build_players(Restorer, Restorer, seed=0, device=torch.device("cpu")), torch.tensor(0.25)
    with Blind():  # type: ignore[no-untyped-call]
        values = probe.look(of, nonfinite)
    found = probe.named(values.tolist())
    assert [found[FAITHFUL], found[CHANGE]] == pytest.approx([1.0, 1.0])
