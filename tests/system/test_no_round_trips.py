"""The promise: a step looks at no value, so that nothing in it waits for the device."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from gandist.config.methods import new_game, new_players
from gandist.distributed.ranks import Ranks
from gandist.launch.resumption import prepare
from gandist.training import loading
from gandist.training.inputs import Inputs
from gandist.training.loading import load
from gandist.training.rounds import Rounds
from tests.helpers.clip_games import CLIPS
from tests.helpers.graph_on_cpu import draw_by_torch
from tests.helpers.image_to_image import GAMES
from tests.helpers.no_host_sync import Blind
from tests.helpers.sound_games import SOUNDS
from tests.helpers.text_games import TEXTS
from tests.helpers.train_on_ranks import tiny

pytestmark = pytest.mark.usefixtures("few_moving_garments")

CASES: dict[str, dict[str, Any]] = {
    "everything": {
        "game__objective": "rp",
        "game__penalties": dict.fromkeys(("r1", "r2", "gp", "dragan", "lecam", "bcr", "mismatch"), 1.0),
        "game__n_critic": 2,
        "game__clip": 0.1,
        "model__norm_D": "spectral",
        "augment__kind": "ada",
        "augment__target": 0.6,
        "train__accumulate": 2,
    },
    "double": {"game__penalties": {"r1": 1.0}, "game__differentiate": "double", "model__norm": "batch"},
    "stackgan": {"model__name": "stackgan-1", "game__penalties": {"kl": 1.0}},
    "sngan": {"model__name": "sngan", "model__norm": "batch", "model__norm_D": "spectral", "game__objective": "hinge"},
    "r3gan": {"model__name": "r3gan", "augment__kind": "diffaugment", "game__penalties": {"r1": 1.0}},
    "vae": {"model__name": "vae", "game__objective": "elbo", "model__norm": "group"},
    **GAMES,
    **SOUNDS,
    **CLIPS,
    **TEXTS,
}

BY_NIGHT = {*GAMES, *SOUNDS, *CLIPS, *TEXTS} - {"gaussian", "sounding", "moving"}
"""Their steps are replayed in every run of the tests, on a tape that cannot look at a value either (test_captured)."""


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.nightly if case in BY_NIGHT else ()) for case in CASES]
)
def test_no_round_trips(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does anything around it: noise, schedules, real samples that are resident, statistics."""
    draw_by_torch(monkeypatch)
    monkeypatch.setattr(loading, "new_players", partial(new_players, on_device=True))
    config = tiny(tmp_path, case, precision="bf16", data__resident="always", **CASES[case])
    alone = Ranks(0, 1, torch.device("cpu"))
    with ExitStack() as closing:
        loaded = load(config, alone, prepare(config, "auto"), "", closing)
        game = new_game(config, loaded.players, alone)
        inputs = Inputs(config, alone, loaded.index.labels, game)
        rounds = Rounds(config, alone, loaded.players, game, inputs, loaded.batches)
        closing.callback(rounds.close)
        for look in (False, True):  # the first step makes the optimisers' state
            with ExitStack() as watched:
                if look:
                    watched.enter_context(Blind())  # type: ignore[no-untyped-call]
                rounds.play(1)
    assert rounds.tally.means().isfinite().all()


def test_a_look_is_noticed() -> None:
    with Blind(), pytest.raises(AssertionError, match="_local_scalar_dense"):  # type: ignore[no-untyped-call]
        torch.ones(1).item()
