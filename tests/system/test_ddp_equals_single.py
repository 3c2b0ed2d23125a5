"""The promise: N workers train the same weights as one, to rounding."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gandist.config.run import RunConfig
from gandist.gan.objectives import OBJECTIVES
from gandist.gan.penalties import PENALTIES
from tests.helpers.clip_games import CLIPS
from tests.helpers.image_to_image import GAMES
from tests.helpers.sound_games import SOUNDS
from tests.helpers.text_games import TEXTS
from tests.helpers.train_on_ranks import final_tensors, tiny, train_all

pytestmark = pytest.mark.usefixtures("few_moving_garments")

SIX_STEPS: dict[str, Any] = {f"train__{what}_kimg": 0.072 for what in ("total", "checkpoint", "tick")}
IN_SIXES: dict[str, Any] = {"train__batch": 6, **{key: kimg / 2 for key, kimg in SIX_STEPS.items()}}
"""As many steps of larger games."""
CASES: dict[str, dict[str, Any]] = {
    **{objective: {"game__objective": objective} for objective in OBJECTIVES},
    "accumulated": {"train__accumulate": 2},
    "n_critic": {"game__n_critic": 2},
    "flipped": {"data__flip": True, "model__classes": 0},
    # Heavy, for fresh networks hardly have a slope.
    **{name: {"game__penalties": {name: 1e3}} for name, row in PENALTIES.items() if row.of == "D"},
    "double": {"game__penalties": {"r1": 1e3, "gp": 10.0}, "game__differentiate": "double"},
    "linear": {
        "model__name": "r3gan",
        "model__widths": [4, 4, 4, 4],
        "game__objective": "rp",
        "game__penalties": {"r1": 10.0, "r2": 10.0},
        "game__differentiate": "linear",
        "train__accumulate": 2,
    },
    "lazy": {"game__penalties": {"r1": {"weight": 1e3, "interval": 3}, "r2": 500}, "train__accumulate": 2},
    "clipped": {"game__objective": "wasserstein", "game__clip": 0.02},
    "smoothed": {"game__label_smoothing": 0.1},
    "spectral": {"model__norm_D": "spectral", "game__penalties": {"gp": 10.0}},
    "sync": {"model__norm": "sync"},
    "grouped": {"model__norm": "group"},
    "diffaugment": {"augment__kind": "diffaugment", "game__objective": "rp"},
    "ada": {"augment__kind": "ada", "augment__p": 0.2, "augment__target": 0.6, "augment__speed_kimg": 0.1},
    "elbo": {"model__name": "vae", "game__objective": "elbo"},
    "elbo-sync": {"model__name": "vae", "game__objective": "elbo", "model__norm": "sync", "train__accumulate": 2},
    "kl": {"model__name": "stackgan-1", "game__penalties": {"kl": 1.0, "mismatch": 1.0}},
    **{name: {**game, **IN_SIXES} for name, game in {**GAMES, **SOUNDS, **CLIPS, **TEXTS}.items()},
    "decay": {"optim__weight_decay": 0.1, "optim__betas": [0.0, {"start": 0.9, "end": 0.99, "over_kimg": 0.1}]},
}
OF_THREE = ("ns", "accumulated", "sync", "ada", "lazy")
"""What three ranks train as well as two: in each, sums over ranks are of another kind."""
LIKE_NS = ("ns", "minimax", "rp", "accumulated", "spectral", "kl", "linear", *GAMES, *SOUNDS, *CLIPS, *TEXTS)
"""Whose D begins alike, since the losses are, or are where scores are near 0; or whose weights have other names."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], RunConfig]:
    folder: Path = tmp_path_factory.mktemp("worlds")
    worlds = {1: tuple(CASES), 2: tuple(CASES), 3: OF_THREE}
    configs = {
        (world, case): tiny(folder, f"{case}-{world}", **{**SIX_STEPS, **CASES[case]})
        for world, cases in worlds.items()
        for case in cases
    }
    for world in worlds:
        train_all(world, [config for (size, _), config in configs.items() if size == world], folder)
    return configs


def assert_alike(alone: RunConfig, together: RunConfig) -> None:
    expected, found = final_tensors(alone), final_tensors(together)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "world"), [*((case, 2) for case in CASES), *((case, 3) for case in OF_THREE)])
def test_ddp_equals_single(runs: dict[tuple[int, str], RunConfig], case: str, world: int) -> None:
    assert_alike(runs[1, case], runs[world, case])


@pytest.fixture(scope="module")
def others_of_three(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunConfig]:
    folder: Path = tmp_path_factory.mktemp("three")
    configs = {
        case: tiny(folder, case, **{**SIX_STEPS, **changes}) for case, changes in CASES.items() if case not in OF_THREE
    }
    train_all(3, [*configs.values()], folder)
    return configs


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("case", [case for case in CASES if case not in OF_THREE])
def test_three_ranks_equal_one_too(
    runs: dict[tuple[int, str], RunConfig], others_of_three: dict[str, RunConfig], case: str
) -> None:
    """By night, since two ranks train each case in every run of the tests, and three ranks one of each kind."""
    assert_alike(runs[1, case], others_of_three[case])


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case not in LIKE_NS])
def test_cases_differ(runs: dict[tuple[int, str], RunConfig], case: str) -> None:
    """The comparison above can fail: what is compared does change D's weights."""
    weights, plain = final_tensors(runs[1, case]), final_tensors(runs[1, "ns"])
    first = "D/features.0.weight"
    assert not torch.allclose(weights[first], plain[first], atol=1e-5)
