"""G beside its targets: the penalties that compare, with the critic and without, descend their formulas."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gandist.distributed.ranks import Ranks
from gandist.gan.adversarial import Game, Latents, Reals, Rules, Scheduled
from gandist.gan.objectives import OBJECTIVES
from gandist.gan.penalties import CHARBONNIER_EPSILON
from gandist.gan.scores import Scores
from gandist.gan.supervised import Supervised
from tests.unit.gan.test_game_is_right import LinearD, N, X, linear_players

CPU = Ranks(0, 1, torch.device("cpu"))
Z = 3
DERIVATIVES = {
    "l1": lambda d: np.sign(d) / d.size,
    "charbonnier": lambda d: d / np.sqrt(d**2 + CHARBONNIER_EPSILON**2) / d.size,
}
"""dL/d(fake) of each penalty, by hand."""


def draws() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return tuple(torch.randn(N, size, dtype=torch.float64) for size in (X, Z, Z))  # type: ignore[return-value]


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("name", DERIVATIVES)
def test_without_a_critic_g_descends_its_penalties(name: str, accumulate: int) -> None:
    x, z_D, z = draws()
    players = linear_players()
    game = Supervised(players, Rules(penalties=(name,)), CPU, "fp64", accumulate)
    A, w = (p.detach().clone() for p in (players.G.net.get_parameter("A"), players.D.net.get_parameter("w")))

    now = Scheduled(beta=0.25, weights_G={name: 3.0})
    statistics = game.step(players, [Reals(x, None)], [Latents(z_D, None)], Latents(z, None), now)

    d = (z @ A.T - x).numpy()
    expected = A.numpy() - 3.0 * DERIVATIVES[name](d).T @ z.numpy()
    np.testing.assert_allclose(players.G.net.get_parameter("A").detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(
        players.G_ema.get_parameter("A").detach().numpy(), 0.25 * A.numpy() + 0.75 * expected, atol=1e-12
    )
    assert torch.equal(players.D.net.get_parameter("w"), w)
    named = dict(zip(game.statistics, statistics.tolist(), strict=True))
    assert list(named) == ["loss/G", f"penalty/{name}", "grad_norm/G"]
    assert named["loss/G"] == pytest.approx(3 * named[f"penalty/{name}"])


@pytest.mark.parametrize("name", DERIVATIVES)
def test_with_a_critic_they_are_added_to_its_loss(name: str) -> None:
    """The change with the penalty, less the change without it, is the penalty's gradient."""
    x, z_D, z = draws()
    after = []
    for weights in ({}, {name: 3.0}):
        players = linear_players()
        torch.manual_seed(1)
        for net in (players.G.net, players.D.net):
            for parameter in net.parameters():
                nn.init.normal_(parameter)
        A = players.G.net.get_parameter("A").detach().clone()
        game = Game(players, Rules(OBJECTIVES["ns"], penalties=(name,)), CPU, "fp64")
        game.step(players, [Reals(x, None)], [Latents(z_D, None)], Latents(z, None), Scheduled(0.25, weights_G=weights))
        after.append(players.G.net.get_parameter("A").detach())
    gradient = 3.0 * DERIVATIVES[name]((z @ A.T - x).numpy()).T @ z.numpy()
    np.testing.assert_allclose((after[0] - after[1]).numpy(), gradient, atol=1e-12)


def test_mode_seeking_moves_samples_of_other_latents_apart() -> None:
    """The change with the penalty, less the change without it, is minus the ratio's gradient, by hand."""
    x, z_D, z = draws()
    again = torch.randn(N, Z, dtype=torch.float64)
    found = []
    for weights in ({}, {"modes": 3.0}):
        torch.manual_seed(1)
        players = linear_players()
        rules = Rules(OBJECTIVES["ns"], penalties=("modes",), latents=Z)
        game = Game(players, rules, CPU, "fp64", accumulate=2)
        assert game.noise_for("G", ("modes",))["again"].shape((X,)) == (Z,)
        A = players.G.net.get_parameter("A").detach().clone()
        latents = Latents(z, None, {"again": again} if weights else {})
        statistics = game.step(
            players, [Reals(x, None)], [Latents(z_D, None)], latents, Scheduled(0.25, weights_G=weights)
        )
        found.append(players.G.net.get_parameter("A").detach())
    dz = (z - again).numpy()
    dx = dz @ A.numpy().T
    ratios = np.abs(dx).mean(1) / np.abs(dz).mean(1)
    gradient = -(np.sign(dx) / np.abs(dz).mean(1, keepdims=True) / dx.size).T @ dz
    np.testing.assert_allclose((found[1] - found[0]).numpy(), -3.0 * gradient, atol=1e-12)
    assert dict(zip(game.statistics, statistics.tolist(), strict=True))["penalty/modes"] == pytest.approx(
        -ratios.mean()
    )


class LayeredD(LinearD):
    """Its one layer is w * x, and its score the sum."""

    def scores_and_features(self, x: Tensor, y: Tensor | None) -> tuple[Scores, list[Tensor]]:
        return (self(x, y),), [self.w * x, 2 * x]


def test_feature_matching_goes_through_the_layers_of_fakes_alone() -> None:
    x, z_D, z = draws()
    players = linear_players()
    players.D.net.__class__ = LayeredD
    A, w = (p.detach().clone() for p in (players.G.net.get_parameter("A"), players.D.net.get_parameter("w")))
    game = Game(players, Rules(OBJECTIVES["ns"], penalties=("features",)), CPU, "fp64")
    statistics = game.step(
        players, [Reals(x, None)], [Latents(z_D, None)], Latents(z, None), Scheduled(0.25, weights_G={"features": 1.0})
    )
    named = dict(zip(game.statistics, statistics.tolist(), strict=True))
    new_w = players.D.net.get_parameter("w").detach()  # D was updated first, and by its own loss alone
    assert not torch.equal(new_w, w)
    d = z @ A.T - x
    expected = torch.stack([(new_w * d).abs().mean(), (2 * d).abs().mean()]).mean()
    assert named["penalty/features"] == pytest.approx(float(expected), rel=1e-6)


def test_perceptual_distance_is_to_the_target_beside() -> None:
    x, z_D, z = draws()
    players = linear_players()
    A = players.G.net.get_parameter("A").detach().clone()
    rules = Rules(penalties=("perceptual",), seen_alike=lambda a, b: (a - 2 * b).square().mean())
    game = Supervised(players, rules, CPU, "fp64")
    statistics = game.step(
        players, [Reals(x, None)], [Latents(z_D, None)], Latents(z, None), Scheduled(0.0, weights_G={"perceptual": 1.0})
    )
    assert float(statistics[1]) == pytest.approx(float((z @ A.T - 2 * x).square().mean()), rel=1e-6)
