"""The promise: each player descends its own loss, with the gradients of the papers' formulas.

The players are linear, so that every gradient has a closed form: D(x) = <w, x>, G(z) = A z. The optimiser is plain
gradient descent with step 1, so that a parameter's change is its gradient.
"""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from gandist.distributed.ranks import Ranks
from gandist.gan.adversarial import Game, Latents, Reals, Rules, Scheduled
from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.objectives import OBJECTIVES
from gandist.gan.players import Player, Players, build_players

N, Z, X = 6, 3, 5


class LinearG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.randn(X, Z, dtype=torch.float64))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return z @ self.A.T


class LinearD(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(X, dtype=torch.float64))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return x @ self.w


def linear_players() -> Players:
    def player(net: nn.Module) -> Player:
        optimizer = torch.optim.SGD(net.parameters(), lr=1.0, fused=True)
        return Player(net, optimizer, GradScaler("cpu", enabled=False), torch.zeros((), dtype=torch.float64))

    G = LinearG()
    return Players(player(G), player(LinearD()), copy.deepcopy(G))


def sigmoid(t: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-t)))


# dL/dscore for D on reals r, for D on fakes f, and for G on fakes; each derived by hand from the paper's formula.
Derivative = Callable[[np.ndarray, np.ndarray], np.ndarray]
DERIVATIVES: dict[str, tuple[Derivative, Derivative, Derivative]] = {
    # -log s(r) - log(1 - s(f)); G: log(1 - s(f))
    "minimax": (lambda r, f: -sigmoid(-r), lambda r, f: sigmoid(f), lambda r, f: -sigmoid(f)),
    # the same for D; G: -log s(f)
    "ns": (lambda r, f: -sigmoid(-r), lambda r, f: sigmoid(f), lambda r, f: -sigmoid(-f)),
    # (r - 1)^2 / 2 + f^2 / 2; G: (f - 1)^2 / 2
    "ls": (lambda r, f: r - 1, lambda r, f: f, lambda r, f: f - 1),
    # f - r; G: -f
    "wasserstein": (lambda r, f: -np.ones_like(r), lambda r, f: np.ones_like(f), lambda r, f: -np.ones_like(f)),
    # max(0, 1 - r) + max(0, 1 + f); G: -f
    "hinge": (lambda r, f: -1.0 * (r < 1), lambda r, f: 1.0 * (f > -1), lambda r, f: -np.ones_like(f)),
    # -log s(r - f), pair by pair; G: -log s(f - r)
    "rp": (lambda r, f: -sigmoid(f - r), lambda r, f: sigmoid(f - r), lambda r, f: -sigmoid(r - f)),
}


def test_every_objective_is_covered() -> None:
    assert DERIVATIVES.keys() == OBJECTIVES.keys()


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_game_is_right(objective: str, accumulate: int) -> None:
    torch.manual_seed(0)
    players = linear_players()
    game = Game(players, Rules(OBJECTIVES[objective]), Ranks(0, 1, torch.device("cpu")), "fp64", accumulate)
    A, w = (p.detach().numpy().copy() for p in (players.G.net.get_parameter("A"), players.D.net.get_parameter("w")))
    x, z_D, z_G = (torch.randn(N, size, dtype=torch.float64) for size in (X, Z, Z))

    statistics = game.step(players, [Reals(x, None)], [Latents(z_D, None)], Latents(z_G, None), Scheduled(beta=0.25))

    on_real, on_fake, for_G = DERIVATIVES[objective]
    fake = z_D.numpy() @ A.T
    r, f = x.numpy() @ w, fake @ w
    grad_w = (on_real(r, f)[:, None] * x.numpy() + on_fake(r, f)[:, None] * fake).mean(0)
    new_w = w - grad_w
    np.testing.assert_allclose(players.D.net.get_parameter("w").detach().numpy(), new_w, atol=1e-12)

    # G plays against the D that has just been updated, and through no other latents than its own.
    slopes = for_G(x.numpy() @ new_w, z_G.numpy() @ A.T @ new_w)
    grad_A = np.einsum("n,i,nj->ij", slopes, new_w, z_G.numpy()) / N
    np.testing.assert_allclose(players.G.net.get_parameter("A").detach().numpy(), A - grad_A, atol=1e-12)
    assert np.abs(grad_A).max() > 1e-3

    np.testing.assert_allclose(
        players.G_ema.get_parameter("A").detach().numpy(), 0.25 * A + 0.75 * (A - grad_A), atol=1e-12
    )
    named = dict(zip(game.statistics, statistics.tolist(), strict=True))
    assert named["score/real"] == pytest.approx(r.mean(), rel=1e-5)
    assert named["score/fake"] == pytest.approx(f.mean(), rel=1e-5)
    assert named["sign/real"] == pytest.approx(np.sign(r).mean(), rel=1e-5)
    assert named["grad_norm/D"] == pytest.approx(np.linalg.norm(grad_w), rel=1e-5)
    assert named["grad_norm/G"] == pytest.approx(np.linalg.norm(grad_A), rel=1e-5)


@pytest.mark.parametrize("objective", [name for name, row in OBJECTIVES.items() if row.smoothing])
def test_label_smoothing_is_one_sided(objective: str) -> None:
    """D's loss and gradient are those of the formula with real images labelled 1 - s; G's loss is as it was."""
    torch.manual_seed(0)
    s, players = 0.3, linear_players()
    game = Game(players, Rules(OBJECTIVES[objective], smoothing=s), Ranks(0, 1, torch.device("cpu")), "fp64")
    w, A = (p.detach().numpy().copy() for p in (players.D.net.get_parameter("w"), players.G.net.get_parameter("A")))
    x, z = torch.randn(N, X, dtype=torch.float64), torch.randn(N, Z, dtype=torch.float64)
    statistics = game.step(players, [Reals(x, None)], [Latents(z, None)], Latents(z, None), Scheduled(beta=0.0))
    r, f = x.numpy() @ w, z.numpy() @ A.T @ w
    if objective == "ls":
        loss = 0.5 * ((r - (1 - s)) ** 2).mean() + 0.5 * (f**2).mean()
        on_real, on_fake = r - (1 - s), f
    else:
        loss = -((1 - s) * np.log(sigmoid(r)) + s * np.log(sigmoid(-r))).mean() - np.log(sigmoid(-f)).mean()
        on_real, on_fake = sigmoid(r) - (1 - s), sigmoid(f)
    grad_w = (on_real[:, None] * x.numpy() + on_fake[:, None] * (z.numpy() @ A.T)).mean(0)
    assert statistics[game.statistics.index("loss/D")] == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(players.D.net.get_parameter("w").detach().numpy(), w - grad_w, atol=1e-12)


def test_weights_are_clipped_after_the_update() -> None:
    torch.manual_seed(0)
    players = linear_players()
    game = Game(players, Rules(OBJECTIVES["wasserstein"]), Ranks(0, 1, torch.device("cpu")), "fp64")
    x, z = torch.randn(N, X, dtype=torch.float64), torch.randn(N, Z, dtype=torch.float64)
    w = players.D.net.get_parameter("w").detach() + (x - z @ players.G.net.get_parameter("A").detach().T).mean(0)
    game.step(players, [Reals(x, None)], [Latents(z, None)], Latents(z, None), Scheduled(beta=0.0, clip=0.5))
    clipped = players.D.net.get_parameter("w").detach()
    torch.testing.assert_close(clipped, w.clamp(-0.5, 0.5), atol=1e-12, rtol=0)
    assert (clipped.abs() == 0.5).any()
    assert players.G.net.get_parameter("A").detach().abs().max() > 0.5, "G's are not"


def test_fakes_count_for_D() -> None:
    """With other latents D's update is another: a loop that scores reals twice would not notice."""
    updates = []
    for seed in (1, 2):
        torch.manual_seed(0)
        players = linear_players()
        game = Game(players, Rules(OBJECTIVES["ns"]), Ranks(0, 1, torch.device("cpu")), "fp64")
        x = torch.randn(N, X, dtype=torch.float64)
        torch.manual_seed(seed)
        z = Latents(torch.randn(N, Z, dtype=torch.float64), None)
        game.step(players, [Reals(x, None)], [z], z, Scheduled(beta=0.0))
        updates.append(players.D.net.get_parameter("w").detach().clone())
    assert (updates[0] - updates[1]).abs().max() > 1e-3


def test_each_critic_update_takes_its_own_batch() -> None:
    """n_critic updates equal as many updates of D by hand, one after the other."""
    torch.manual_seed(0)
    players = linear_players()
    game = Game(players, Rules(OBJECTIVES["ls"]), Ranks(0, 1, torch.device("cpu")), "fp64")
    w, A = players.D.net.get_parameter("w").detach().clone(), players.G.net.get_parameter("A").detach().clone()
    reals = [Reals(torch.randn(N, X, dtype=torch.float64), None) for _ in range(3)]
    latents = [Latents(torch.randn(N, Z, dtype=torch.float64), None) for _ in range(3)]
    for (x, *_), (z, *_) in zip(reals, latents, strict=True):
        fake = z @ A.T
        w = w - (((x @ w) - 1)[:, None] * x + (fake @ w)[:, None] * fake).mean(0)
    game.step(players, reals, latents, latents[0], Scheduled(beta=0.0, weights_D=[{}] * 3))
    torch.testing.assert_close(players.D.net.get_parameter("w").detach(), w, atol=1e-12, rtol=0)


def test_a_step_that_is_not_finite_is_skipped_and_counted() -> None:
    shape = Shape(resolution=32, channels=1, z_dim=4, width=2, norm="none")
    pair = NETWORKS["dcgan"]
    players = build_players(
        lambda: pair.generator(shape), lambda: pair.discriminator(shape), seed=0, device=torch.device("cpu")
    )
    players.D.set_lr(1e-3)
    players.G.set_lr(1e-3)
    game = Game(players, Rules(OBJECTIVES["ns"]), Ranks(0, 1, torch.device("cpu")), "fp32")
    before = {name: tensor.clone() for name, tensor in players.D.net.state_dict().items()}
    z = Latents(torch.randn(4, 4), None)
    x = torch.full((4, 1, 32, 32), float("nan"))
    game.step(players, [Reals(x, None)], [z], z, Scheduled(beta=0.5))
    assert players.D.skipped == 1
    assert players.G.skipped == 0
    for name, tensor in players.D.net.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    game.step(players, [Reals(torch.rand(4, 1, 32, 32), None)], [z], z, Scheduled(beta=0.5))
    assert players.D.skipped == 1
    assert all(float(state["step"]) == 1 for state in players.D.optimizer.state.values()), (
        "a skipped step does not count for Adam's bias correction"
    )


def test_a_forward_pass_that_is_not_finite_leaves_no_mark() -> None:
    """The step is skipped, but BatchNorm has averaged the bad batch into its statistics: they are taken back."""
    shape = Shape(resolution=32, channels=1, z_dim=4, width=2)
    pair = NETWORKS["dcgan"]
    players = build_players(
        lambda: pair.generator(shape), lambda: pair.discriminator(shape), seed=0, device=torch.device("cpu")
    )
    game = Game(players, Rules(OBJECTIVES["ns"]), Ranks(0, 1, torch.device("cpu")), "fp32")
    x, z = Reals(torch.rand(4, 1, 32, 32), None), Latents(torch.randn(4, 4), None)
    game.step(players, [x], [z], z, Scheduled(beta=0.5))
    game.step(players, [x], [z], Latents(torch.full((4, 4), float("inf")), None), Scheduled(beta=0.5))
    assert players.G.skipped == 1
    for net in (players.G.net, players.G_ema):
        assert all(tensor.isfinite().all() for tensor in net.state_dict().values())
    before = players.G_ema.get_buffer("layers.1.running_mean").clone()
    game.step(players, [x], [z], z, Scheduled(beta=0.5))
    assert not torch.equal(before, players.G_ema.get_buffer("layers.1.running_mean"))
