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
from tests.helpers.small_datasets import make_set
from tests.helpers.sound_games import SOUNDS
from tests.helpers.text_games import TEXTS
from tests.helpers.train_on_ranks import final_manifest, final_tensors, tiny, train_all

pytestmark = pytest.mark.usefixtures("few_moving_garments")


def steps(n: int) -> dict[str, Any]:
    """The length of a run of n steps, of a batch of 12, whose halves two and three ranks can share too."""
    return {f"train__{what}_kimg": 0.012 * n for what in ("total", "checkpoint", "tick")}


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
        **steps(3),
    },
    "lazy": {"game__penalties": {"r1": {"weight": 1e3, "interval": 3}, "r2": 500}, "train__accumulate": 2},
    "clipped": {"game__objective": "wasserstein", "game__clip": 0.02},
    "smoothed": {"game__label_smoothing": 0.1},
    "spectral": {"game__objective": "minimax", "model__norm_D": "spectral", "game__penalties": {"gp": 10.0}},
    "sync": {"model__norm": "sync"},
    "grouped": {"model__norm": "group"},
    "diffaugment": {"augment__kind": "diffaugment", "game__objective": "rp"},
    "ada": {"augment__kind": "ada", "augment__p": 0.2, "augment__target": 0.6, "augment__speed_kimg": 0.1},
    "elbo": {"model__name": "vae", "game__objective": "elbo"},
    "elbo-sync": {"model__name": "vae", "game__objective": "elbo", "model__norm": "sync", "train__accumulate": 2},
    "kl": {"model__name": "stackgan-1", "game__penalties": {"kl": 1.0, "mismatch": 1.0}},
    **{name: {**game, **steps(3)} for name, game in {**GAMES, **SOUNDS, **CLIPS, **TEXTS}.items()},
    "quantised": {
        **GAMES["quantised"],
        **steps(3),
        "game__weight_G": {"start": 0, "end": 0.8, "over_kimg": 0.02, "shape": "step"},  # before the last step
    },
    "decay": {"optim__weight_decay": 0.1, "optim__betas": [0.0, {"start": 0.9, "end": 0.99, "over_kimg": 0.1}]},
}
OF_THREE = ("ns", "accumulated", "sync", "ada", "lazy")
"""Three ranks train these in every run of the tests, since each has another kind of sum over ranks; two by night."""
BY_NIGHT = {
    *("minimax", "ls", "hinge", "wasserstein", "n_critic", "smoothed", "decay", "grouped", "elbo"),
    *("r1", "r2", "gp", "mismatch", "double"),
    *("gaussian", "spectra", "moving"),
}
"""Each is part of another case, or differs from `ns` in nothing that ranks share: no sum, no random number of a row."""
LIKE_NS = ("ns", "minimax", "rp", "accumulated", "spectral", "kl", "linear", *GAMES, *SOUNDS, *CLIPS, *TEXTS)
"""Whose D begins alike, since the losses are, or are where scores are near 0; or whose weights have other names."""
FIRST = "D/features.0.weight"


def parameters(case: str, *world: int, by_night: bool = False) -> Any:
    return pytest.param(case, *world, marks=pytest.mark.nightly if by_night or case in BY_NIGHT else ())


ROWS = [parameters(case, world, by_night=(world == 3) != (case in OF_THREE)) for world in (2, 3) for case in CASES]


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], RunConfig]:
    """The runs that the selected tests compare, by ranks and case."""
    folder: Path = tmp_path_factory.mktemp("worlds")
    # A preview of a game of pictures to pictures shows at most as many as the set has
    few = {"data__path": make_set(folder, 15, classes=0, channels=1).base}
    mine = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    chosen = [item.callspec.params for item in mine]
    worlds = {world: {each["case"] for each in chosen if each.get("world") == world} for world in (2, 3)}
    worlds[1] = {"ns", *(each["case"] for each in chosen)}
    configs = {
        (world, case): tiny(
            folder,
            f"{case}-{world}",
            **{"track__tensorboard": False, **steps(6), **CASES[case], **(few if case in GAMES else {})},
        )
        for world, cases in worlds.items()
        for case in CASES
        if case in cases
    }
    for world in worlds:
        train_all(world, [config for (size, _), config in configs.items() if size == world], folder)
    return configs


@pytest.mark.slow
@pytest.mark.parametrize(("case", "world"), ROWS)
def test_ddp_equals_single(runs: dict[tuple[int, str], RunConfig], case: str, world: int) -> None:
    assert final_manifest(runs[world, case])["world_size"] == world
    expected, found = final_tensors(runs[1, case]), final_tensors(runs[world, case])
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("case", [parameters(case) for case in CASES if case not in LIKE_NS])
def test_cases_differ(runs: dict[tuple[int, str], RunConfig], case: str) -> None:
    """The comparison above can fail: what is compared does change D's weights."""
    weights, plain = final_tensors(runs[1, case]), final_tensors(runs[1, "ns"])
    assert not torch.allclose(weights[FIRST], plain[FIRST], atol=1e-5)
