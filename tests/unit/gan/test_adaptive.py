"""The objective's weight in G's loss: by a schedule, and by the gradients of G's last layer."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gandist.distributed.ranks import Ranks
from gandist.gan.adaptive import MOST, adaptive_weight
from gandist.gan.adversarial import Game, Latents, Reals, Rules, Scheduled
from gandist.gan.objectives import OBJECTIVES
from gandist.gan.players import Players
from tests.unit.gan.test_game_is_right import LinearG, N, X, Z, linear_players, sigmoid

CPU = Ranks(0, 1, torch.device("cpu"))


class WithLastLayer(LinearG):
    def last_layer(self) -> Tensor:
        return self.A


def stepped(rules: Rules, **scheduled: Any) -> tuple[np.ndarray, np.ndarray, dict[str, float], Players]:
    """G's weights before a step, their change, the statistics, and the players after it."""
    torch.manual_seed(0)
    players = linear_players()
    players.G.net.__class__ = WithLastLayer
    A = players.G.net.get_parameter("A").detach().numpy().copy()
    x, z = draws()
    game = Game(players, rules, CPU, "fp64")
    statistics = game.step(
        players, [Reals(x, None)], [Latents(z, None)], Latents(z, None), Scheduled(0.25, **scheduled)
    )
    moved = A - players.G.net.get_parameter("A").detach().numpy()
    return A, moved, dict(zip(game.statistics, statistics.tolist(), strict=True)), players


def draws() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(N, size, dtype=torch.float64, generator=generator) for size in (X, Z))  # type: ignore[return-value]


def by_hand(A: np.ndarray, players: Players) -> tuple[np.ndarray, np.ndarray]:
    """The gradients in A of 3 l1 and of the objective -log s(<w, A z>), whose w D's update has just made."""
    x, z = (each.numpy() for each in draws())
    w = players.D.net.get_parameter("w").detach().numpy()
    fake = z @ A.T
    return 3 * np.sign(fake - x).T @ z / x.size, np.einsum("n,i,nj->ij", -sigmoid(-fake @ w), w, z) / N


@pytest.mark.parametrize("factor", [None, 0.5])
def test_the_adaptive_weight_is_the_ratio_of_gradients_by_hand(factor: float | None) -> None:
    rules = Rules(OBJECTIVES["ns"], penalties=("l1",), adaptive=True)
    A, moved, named, players = stepped(rules, weights_G={"l1": 3.0}, weight_G=factor)
    of_compared, of_judged = by_hand(A, players)
    expected = np.linalg.norm(of_compared) / (np.linalg.norm(of_judged) + 1e-4)
    assert named["adaptive/G"] == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(moved, of_compared + (factor or 1) * expected * of_judged, atol=1e-12)


def test_a_scheduled_factor_multiplies_the_objective_alone() -> None:
    rules = Rules(OBJECTIVES["ns"], penalties=("l1",))
    for factor in (0.0, 0.25):
        A, moved, _, players = stepped(rules, weights_G={"l1": 3.0}, weight_G=torch.tensor(factor).double())
        of_compared, of_judged = by_hand(A, players)
        np.testing.assert_allclose(moved, of_compared + factor * of_judged, atol=1e-12)


def test_a_factor_of_1_changes_no_bit() -> None:
    rules = Rules(OBJECTIVES["ns"], penalties=("l1",))
    without, with_1 = (stepped(rules, weights_G={"l1": 3.0}, weight_G=factor)[1] for factor in (None, 1.0))
    assert np.array_equal(without, with_1)


def test_gradients_are_averaged_over_ranks_before_their_norms() -> None:
    G = WithLastLayer()
    seen: list[Tensor] = []

    def average(values: Tensor) -> Tensor:
        seen.append(values.clone())
        values[1] += 4.0
        return values

    found = adaptive_weight(2 * G.A.sum(), 0 * G.A.sum(), G, average)
    assert torch.equal(seen[0], torch.stack([torch.full_like(G.A, 2.0), torch.zeros_like(G.A)]))
    assert float(found) == pytest.approx(0.5, rel=1e-4)
    assert not found.requires_grad


def test_a_critic_without_a_gradient_weighs_at_most_ten_thousand() -> None:
    G = WithLastLayer()
    assert float(adaptive_weight(100 * G.A.sum(), 0 * G.A.sum(), G, lambda values: values)) == MOST
    assert float(adaptive_weight(0 * G.A.sum(), G.A.sum(), G, lambda values: values)) == 0
