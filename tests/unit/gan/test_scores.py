"""A D with several scores of a sample: losses are means over them, and its slope is that of their mean."""

import pytest
import torch
from torch import Tensor, nn

from gandist.gan.adversarial import CriticLoss, GeneratorLoss, Rules
from gandist.gan.objectives import OBJECTIVES
from gandist.gan.penalties import PENALTIES, Penalty, Update, judge
from gandist.gan.scores import as_scores, of_sample, over

N = 4


class Team(nn.Module):
    """Two critics: one scores 3 x 3 patches, the other the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Sequential(nn.Conv2d(2, 4, 4, 2), nn.Tanh(), nn.Conv2d(4, 1, 1))
        self.whole = nn.Sequential(nn.Flatten(), nn.Linear(2 * 8 * 8, 5), nn.Tanh(), nn.Linear(5, 1))

    def forward(self, x: Tensor, y: Tensor | None = None) -> list[Tensor]:
        return [self.patches(x), self.whole(x).flatten()]


class Drawing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2 * 8 * 8)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return torch.tanh(self.layer(z)).view(-1, 2, 8, 8)


@pytest.fixture
def team() -> Team:
    torch.manual_seed(0)
    return Team().double()


@pytest.fixture
def samples() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(N, 2, 8, 8, dtype=torch.float64), torch.randn(N, 2, 8, 8, dtype=torch.float64)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_each_objective_is_the_mean_over_the_critics(name: str, team: Team, samples: tuple[Tensor, Tensor]) -> None:
    x, x_fake = samples
    objective = OBJECTIVES[name]
    smoothing = 0.1 if objective.smoothing else 0.0
    loss, statistics = CriticLoss(team, Rules(objective, smoothing), {})(x, None, x_fake, None, {}, {})
    expected = 0.0
    for real, fake in zip(team(x), team(x_fake), strict=True):
        own = objective.critic(real, fake)
        if objective.smoothing:
            own = own + objective.smoothing(real, smoothing)
        expected += float(own.detach()) / 2
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-12)
    means = [sum(float(scores.detach().mean()) / 2 for scores in team(batch)) for batch in (x, x_fake)]
    assert statistics[1:3].tolist() == pytest.approx(means, rel=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_so_is_the_loss_of_g(name: str, team: Team, samples: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(2)
    G, z = Drawing().double(), torch.randn(N, 3, dtype=torch.float64)
    x, objective = samples[0], OBJECTIVES[name]
    loss, _ = GeneratorLoss(G, team, Rules(objective), {})(z, None, x, None, {}, {})
    pairs = zip(team(x), team(G(z)), strict=True)
    expected = sum(float(objective.generator(real, fake).detach()) / 2 for real, fake in pairs)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-12)


def test_slopes_are_those_of_the_mean_score(team: Team, samples: tuple[Tensor, Tensor]) -> None:
    x, _ = samples
    leaf = x.clone().requires_grad_()
    patches, whole = team(leaf)
    (g,) = torch.autograd.grad(((patches.flatten(1).mean(1) + whole) / 2).sum(), leaf)
    found = {}
    for way in ("jvp", "double"):
        scores, slopes = judge(team, x, None, way)
        torch.testing.assert_close(slopes, g.square().flatten(1).sum(1), rtol=1e-12, atol=0)
        assert [tuple(each.shape) for each in scores] == [(N, 1, 3, 3), (N,)]
        value = (slopes.sqrt() - 1).square().mean() + over(torch.mean, scores)
        grads = torch.autograd.grad(value, list(team.parameters()))
        found[way] = torch.cat([each.flatten() for each in grads])
    assert float((found["jvp"] - found["double"]).norm() / found["double"].norm()) < 1e-12


@pytest.mark.parametrize("name", sorted(name for name, penalty in PENALTIES.items() if penalty.of == "D"))
def test_every_penalty_of_d_takes_them(name: str, team: Team, samples: tuple[Tensor, Tensor]) -> None:
    x, x_fake = samples
    noise = {
        key: torch.rand(N, *each.shape((2, 8, 8)), dtype=torch.float64) for key, each in PENALTIES[name].noise.items()
    }
    memory = {key: torch.tensor(start, dtype=torch.float64) for key, start in PENALTIES[name].memory.items()}
    critic = CriticLoss(team, Rules(penalties=(name,)), memory)
    loss, statistics = critic(x, None, x_fake, None, noise, {name: 1.0})
    plain, _ = critic(x, None, x_fake, None, {}, {})
    assert float(statistics[-1]) != 0
    assert float((loss - plain).detach()) == pytest.approx(float(statistics[-1]), rel=1e-9)


def test_a_penalty_of_g_sees_its_samples_and_the_real_ones(
    monkeypatch: pytest.MonkeyPatch, team: Team, samples: tuple[Tensor, Tensor]
) -> None:
    """As L1 to a target: G learns from it through its own samples."""

    def distance(update: Update) -> Tensor:
        return (update.samples["fake"].x - update.samples["real"].x).abs().mean()

    monkeypatch.setitem(PENALTIES, "l1", Penalty("G", distance))
    torch.manual_seed(2)
    G, z, (x, _) = Drawing().double(), torch.randn(N, 3, dtype=torch.float64), samples
    rules = Rules(penalties=("l1",))
    loss, statistics = GeneratorLoss(G, team, rules, {})(z, None, x, None, {}, {"l1": 10.0})
    plain, _ = GeneratorLoss(G, team, rules, {})(z, None, x, None, {}, {})
    expected = (G(z) - x).abs().mean()
    assert float(statistics[-1]) == pytest.approx(float(expected.detach()), rel=1e-12)
    ours = torch.autograd.grad(loss - plain, list(G.parameters()))
    theirs = torch.autograd.grad(10 * expected, list(G.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_one_tensor_is_taken_as_it_is() -> None:
    scores = torch.randn(N)
    (found,) = as_scores(scores)
    assert found is scores
    assert of_sample((scores,)) is scores
    assert torch.equal(over(torch.mean, (scores,)), scores.mean())
