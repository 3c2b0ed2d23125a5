"""The sliders' directions: of a generator whose principal directions are known, and of others."""

from pathlib import Path

import torch
from torch import Tensor, nn

from gandist.explore.directions import features_at, find_directions, layer_of
from gandist.run.trained import Trained
from tests.helpers.text_games import TEXTS
from tests.unit.explore.conftest import untrained

LATENTS = 8


def stretched(folder: Path) -> tuple[Trained, Tensor]:
    """A generator whose first layer stretches one direction of z by 8, the next by 4, then 2, then 1; and these
    directions (LATENTS, LATENTS), as rows."""
    trained = untrained(folder, model__name="mlp", model__z_dim=LATENTS)
    first = trained.G.get_submodule("layers.0")
    assert isinstance(first, nn.Linear)
    axes = torch.linalg.qr(torch.randn(LATENTS, LATENTS))[0].T
    into = torch.linalg.qr(torch.randn(first.out_features, LATENTS))[0]
    gains = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5, 0.5, 0.5, 0.5])
    first.weight.copy_(into * gains @ axes)
    return trained, axes


def test_directions_are_those_that_the_features_vary_along(tmp_path: Path) -> None:
    trained, axes = stretched(tmp_path)
    found = find_directions(trained)
    assert found.layer == "layers.1"
    torch.testing.assert_close(found.vectors @ found.vectors.T, torch.eye(len(found.vectors)), atol=1e-5, rtol=0)
    assert found.shares == sorted(found.shares, reverse=True)
    assert 0.3 < sum(found.shares) <= 1
    assert ((found.vectors[:3] * axes[:3]).sum(1).abs() > 0.95).all()
    assert torch.equal(found.vectors, find_directions(trained).vectors)


def test_the_first_one_changes_features_more_than_any_random_one(tmp_path: Path) -> None:
    trained, _ = stretched(tmp_path)
    found, z = find_directions(trained), trained.latents(100)

    def change(direction: Tensor) -> float:
        both = [features_at(trained, found.layer, z + moved, None) for moved in (direction, -direction)]
        return float((both[0] - both[1]).norm(dim=1).mean())

    random = torch.randn(20, LATENTS)
    assert change(found.vectors[0]) > max(change(each / each.norm()) for each in random)


def test_what_conditions_do_is_taken_out(tmp_path: Path) -> None:
    """A class that shifts all features has no part in the directions."""
    trained = untrained(tmp_path, model__classes=10, model__z_dim=LATENTS)
    first, embed = trained.G.get_submodule("layers.0"), trained.G.get_submodule("embed")
    assert isinstance(first.weight, Tensor)
    assert isinstance(embed.weight, Tensor)
    first.weight[0] *= 20
    embed.weight *= 10
    assert find_directions(trained).vectors[0, 0].abs() > 0.9


class Turning(nn.Module):
    """Affine layers, one that is called twice, then a tangent."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.bent = nn.Linear(4, 4), nn.ReLU(), nn.Tanh()

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        bent: Tensor = self.bent(self.first(z))
        turned: Tensor = self.twice(bent) + self.twice(-bent)
        return turned


def test_the_layer_is_the_first_that_is_not_affine() -> None:
    z = torch.randn(3, 4)
    assert layer_of(Turning(), z) == "bent"
    assert layer_of(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), z) == ""


def test_a_generator_that_calls_its_layers_again_and_again_is_seen_by_its_samples(tmp_path: Path) -> None:
    trained = untrained(tmp_path, **TEXTS["likely"])
    z = trained.latents(3)
    assert layer_of(trained.G, z) == ""
    assert len(features_at(trained, "", z, None)) == 3
