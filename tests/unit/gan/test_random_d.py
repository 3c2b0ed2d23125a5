"""A D that takes random numbers: it is given its own for each batch, the same in every way of judging it."""

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from gandist.distributed.ranks import Ranks
from gandist.gan.adversarial import Game, Latents, Reals, Rules, Scheduled
from gandist.gan.networks import Shape
from gandist.gan.networks.wavegan import Discriminator
from gandist.gan.objectives import OBJECTIVES
from gandist.gan.penalties import PENALTIES, Penalty, Samples, Way, judge
from gandist.gan.players import Player, Players

# The first forward-mode derivative of a process imports parts of torch that use its own deprecated jit.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")

N, Z, X = 6, 3, 5


class LinearG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.randn(X, Z, dtype=torch.float64))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return z @ self.A.T


class Weighing(nn.Module):
    """D(x, u) = (1 + <c, u>) <w, x>, which notes what it is given."""

    uniforms = 2

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(X, dtype=torch.float64))
        self.given: list[Tensor] = []

    def forward(self, x: Tensor, y: Tensor | None = None, u: Tensor | None = None) -> Tensor:
        assert u is not None
        assert u.shape == (len(x), self.uniforms)
        self.given.append(u)
        return (1 + u @ u.new_tensor([1.0, 10.0])) * (x @ self.w)

    def scores_and_features(
        self, x: Tensor, y: Tensor | None = None, u: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        return self(x, y, u), [x]


def players() -> Players:
    torch.manual_seed(0)

    def player(net: nn.Module) -> Player:
        optimizer = torch.optim.SGD(net.parameters(), lr=1.0, fused=True)
        return Player(net, optimizer, GradScaler("cpu", enabled=False), torch.zeros((), dtype=torch.float64))

    G = LinearG()
    return Players(player(G), player(Weighing()), copy.deepcopy(G))


def game_of(of: Players, objective: str = "ls", penalties: Sequence[str] = (), accumulate: int = 1) -> Game:
    rules = Rules(OBJECTIVES[objective], penalties=tuple(penalties))
    return Game(of, rules, Ranks(0, 1, torch.device("cpu")), "fp64", accumulate)


def numbers(*names: str) -> dict[str, Tensor]:
    return {name: torch.rand(N, 2, dtype=torch.float64) for name in names}


def given_to(of: Players) -> list[Tensor]:
    D = of.D.net
    assert isinstance(D, Weighing)
    return D.given


@pytest.mark.parametrize(
    ("objective", "due", "for_D", "for_G"),
    [
        ("ls", (), ["D_fake", "D_real"], ["D_fake"]),
        ("rp", (), ["D_fake", "D_real"], ["D_fake", "D_real"]),
        ("ls", ("features",), ["D_fake", "D_real"], ["D_fake", "D_real"]),
    ],
)
def test_what_is_drawn(objective: str, due: tuple[str, ...], for_D: list[str], for_G: list[str]) -> None:
    game = game_of(players(), objective, due)
    for player, names in (("D", for_D), ("G", for_G)):
        drawn = game.noise_for(player, due if player == "G" else ())
        assert sorted(drawn) == names
        for noise in drawn.values():
            assert (noise.kind, noise.shape((1, 99))) == ("uniform", (2,))


def test_nothing_is_drawn_for_another_D() -> None:
    of = players()
    of.D.net = nn.Linear(X, 1)
    assert game_of(of, "rp").noise_for("D") == {}


@pytest.mark.parametrize("accumulate", [1, 3])
def test_each_batch_has_its_own_numbers(accumulate: int) -> None:
    """The update is that of the formula with these numbers, in micro-batches too."""
    of = players()
    game = game_of(of, accumulate=accumulate)
    w, A = of.D.net.get_parameter("w").detach().clone(), of.G.net.get_parameter("A").detach().clone()
    x, z = torch.randn(N, X, dtype=torch.float64), torch.randn(N, Z, dtype=torch.float64)
    for_D, for_G = numbers("D_real", "D_fake"), numbers("D_fake")
    game.step(of, [Reals(x, None, for_D)], [Latents(z, None)], Latents(z, None, for_G), Scheduled(beta=0.0))

    def weighed(x: Tensor, u: Tensor) -> Tensor:
        return (1 + u[:, :1] + 10 * u[:, 1:]) * x

    real, fake = weighed(x, for_D["D_real"]), weighed(z @ A.T, for_D["D_fake"])
    w = w - (((real @ w) - 1)[:, None] * real + (fake @ w)[:, None] * fake).mean(0)
    torch.testing.assert_close(of.D.net.get_parameter("w").detach(), w, atol=1e-11, rtol=1e-9)
    judged = weighed(w.expand(N, -1), for_G["D_fake"])
    slopes = weighed(z @ A.T, for_G["D_fake"]) @ w - 1
    moved = (slopes[:, None, None] * judged[:, :, None] * z[:, None]).mean(0)
    torch.testing.assert_close(of.G.net.get_parameter("A").detach(), A - moved, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "of_penalty"), [("gp", {"mix": (N, 1)}), ("dragan", {"delta": (N, X)})])
def test_samples_of_penalties_have_the_numbers_of_real_ones(name: str, of_penalty: dict[str, tuple[int, ...]]) -> None:
    of = players()
    game = game_of(of, penalties=[name])
    x, z = torch.randn(N, X, dtype=torch.float64), torch.randn(N, Z, dtype=torch.float64)
    u = numbers("D_real", "D_fake")
    noise = u | {key: torch.rand(shape, dtype=torch.float64) for key, shape in of_penalty.items()}
    given_to(of).clear()
    game.step(
        of,
        [Reals(x, None, noise)],
        [Latents(z, None)],
        Latents(z, None, numbers("D_fake")),
        Scheduled(beta=0.0, weights_D=[{name: 1.0}]),
    )
    first, again, both, *_ = given_to(of)
    assert torch.equal(first, u["D_real"])
    assert torch.equal(again, u["D_real"]), "in forward mode too"
    assert torch.equal(both, torch.cat([u["D_real"], u["D_fake"]]))


def test_paired_objectives_and_features_give_both_batches_theirs() -> None:
    of = players()
    game = game_of(of, "rp", ["features"])
    x, z = torch.randn(N, X, dtype=torch.float64), torch.randn(N, Z, dtype=torch.float64)
    for_G = numbers("D_real", "D_fake")
    game.step(
        of,
        [Reals(x, None, numbers("D_real", "D_fake"))],
        [Latents(z, None)],
        Latents(z, None, for_G),
        Scheduled(beta=0.0, weights_G={"features": 1.0}),
    )
    fake, real = given_to(of)[-2:]
    assert torch.equal(fake, for_G["D_fake"])
    assert torch.equal(real, for_G["D_real"])


def test_a_penalty_that_forgets_them_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    forgetful = Penalty(
        "D", lambda update: update.scores["more"][0].mean(), samples=lambda samples, noise: {"more": Samples(x, None)}
    )
    monkeypatch.setitem(PENALTIES, "forgetful", forgetful)
    of = players()
    game = game_of(of, penalties=["forgetful"])
    x, z = torch.randn(N, X, dtype=torch.float64), Latents(torch.randn(N, Z, dtype=torch.float64), None)
    with pytest.raises(TypeError, match=r"samples lack .* the numbers u of D"):
        game.step(
            of,
            [Reals(x, None, numbers("D_real", "D_fake"))],
            [z],
            z,
            Scheduled(beta=0.0, weights_D=[{"forgetful": 1.0}]),
        )


@pytest.mark.parametrize("way", ["jvp", "linear", "auto"])
def test_slopes_are_those_of_what_D_sees(way: Way) -> None:
    """Shuffled as the numbers say: not as D is without them, and not as other numbers say."""
    torch.manual_seed(0)
    shape = Shape(32, 3, z_dim=4, width=4, norm="none", sample=(1, 1024))
    D = Discriminator(shape).double()
    x, u = torch.randn(4, 1, 1024, dtype=torch.float64), torch.rand(4, D.uniforms, dtype=torch.float64)
    scores, slopes = judge(D, x, None, "double", u)
    found, found_slopes = judge(D, x, None, way, u)
    torch.testing.assert_close(found[0], D(x, None, u))
    torch.testing.assert_close(found[0], scores[0])
    torch.testing.assert_close(found_slopes, slopes)
    for other in (None, (u + 0.5) % 1):
        assert (judge(D, x, None, way, other)[1] - slopes).abs().min() > 1e-6
