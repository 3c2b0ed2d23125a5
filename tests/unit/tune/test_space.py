"""The space of a sweep: what is drawn, listed and suggested from it, and what counts only under conditions."""

import math
from collections import Counter

import numpy as np
import optuna
import pytest
from pydantic import TypeAdapter, ValidationError

from gandist.tune.space import Domain, Space, draw, grid, outskirts, suggested

SPACE: Space = TypeAdapter(Space).validate_python(
    {
        "game.objective": {"choice": ["ns", "wasserstein"]},
        "game.penalties.gp.weight": {"loguniform": [1, 100], "when": {"game.objective": "wasserstein"}},
        "game.n_critic": {"integer": [1, 3], "when": {"game.objective": ["wasserstein"]}},
        "optim.lr_G": {"loguniform": [1e-5, 1e-1]},
        "optim.betas": {"choice": [[0, 0.9], [0.5, 0.999]]},
        "game.label_smoothing": {"uniform": [0, 0.5]},
    }
)


def points(n: int, seed: int = 0) -> list[dict[str, object]]:
    rng = np.random.default_rng(seed)
    return [draw(SPACE, rng) for _ in range(n)]


def test_points_lie_in_the_space_and_what_does_not_count_is_absent() -> None:
    for point in points(300):
        wasserstein = point["game.objective"] == "wasserstein"
        assert ("game.penalties.gp.weight" in point) == ("game.n_critic" in point) == wasserstein
        assert 1e-5 <= point["optim.lr_G"] <= 1e-1  # type: ignore[operator]
        assert 0 <= point["game.label_smoothing"] <= 0.5  # type: ignore[operator]
        if wasserstein:
            assert point["game.n_critic"] in (1, 2, 3)
            assert isinstance(point["game.n_critic"], int)


def test_loguniform_is_uniform_in_the_logarithm() -> None:
    logs = [math.log10(point["optim.lr_G"]) for point in points(4000)]  # type: ignore[arg-type]
    counts = Counter(math.floor(value) for value in logs)
    assert all(abs(counts[decade] / 4000 - 0.25) < 0.03 for decade in (-5, -4, -3, -2)), counts


def test_a_seed_gives_its_points_again_and_more_trials_the_same_first_ones() -> None:
    assert points(5) == points(8)[:5]
    assert points(5) != points(5, seed=1)


def test_a_grid_has_every_point_once() -> None:
    small = {path: SPACE[path] for path in ("game.objective", "game.n_critic", "optim.betas")}
    listed = grid(small)
    assert len(listed) == 2 + 3 * 2  # ns has no n_critic
    assert len({str(point) for point in listed}) == len(listed)
    assert {"game.objective": "ns", "optim.betas": [0, 0.9]} in listed


def test_outskirts_have_every_end() -> None:
    seen = list(outskirts(SPACE, np.random.default_rng(0)))
    for path, domain in SPACE.items():
        values = [point[path] for point in seen if path in point]
        assert all(end in values for end in domain.ends()), path


def test_optuna_suggests_from_the_same_space() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = [suggested(SPACE, study.ask()) for _ in range(60)]
    for point in seen:
        assert ("game.n_critic" in point) == (point["game.objective"] == "wasserstein")
        assert point["optim.betas"] in ([0, 0.9], [0.5, 0.999])
        assert 1e-5 <= point["optim.lr_G"] <= 1e-1
    assert {point["game.objective"] for point in seen} == {"ns", "wasserstein"}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "exactly one of choice, uniform, loguniform, integer, has none"),
        ({"choice": [1], "uniform": [0, 1]}, "has choice and uniform"),
        ({"uniform": [1, 0]}, "the lower bound comes first"),
        ({"loguniform": [0, 1]}, "must be positive"),
        ({"loguniform": [1]}, "[Ff]ield required|at least 2"),
        ({"integer": [0.5, 2]}, "valid integer"),
        ({"choice": []}, "at least 1 item"),
        ({"choice": [1], "wenn": {}}, "Extra inputs"),
    ],
)
def test_a_domain_that_is_none(written: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Domain.model_validate(written)


def test_values_are_brought_back_into_their_bounds() -> None:
    assert SPACE["optim.lr_G"].clipped(3.0) == 0.1
    assert SPACE["game.n_critic"].clipped(0.2) == 1
    assert SPACE["game.objective"].clipped("ns") == "ns"
