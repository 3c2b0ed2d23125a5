"""The promise: a step looks at no value, so that nothing in it waits for the device."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from gandist.config.methods import new_game
from gandist.distributed.ranks import Ranks
from gandist.launch.resumption import prepare
from gandist.training.inputs import Inputs
from gandist.training.loading import load
from tests.helpers.no_host_sync import Blind
from tests.helpers.train_on_ranks import tiny

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
}


@pytest.mark.parametrize("case", CASES)
def test_no_round_trips(case: str, tmp_path: Path) -> None:
    config = tiny(tmp_path, case, precision="bf16", **CASES[case])
    alone = Ranks(0, 1, torch.device("cpu"))
    with ExitStack() as closing:
        loaded = load(config, alone, prepare(config, "auto"), "", closing)
        game = new_game(config, loaded.players, alone)
        inputs = Inputs(config, alone, loaded.index.labels, game)
        for look in (False, True):  # the first step makes the optimisers' state
            raw = [loaded.batches.next() for _ in range(config.game.n_critic)]
            reals, for_D, for_G, now = inputs.of(loaded.players, raw)
            with ExitStack() as watched:
                if look:
                    watched.enter_context(Blind())  # type: ignore[no-untyped-call]
                statistics = game.step(loaded.players, reals, for_D, for_G, now)
    assert statistics.isfinite().all()


def test_a_look_is_noticed() -> None:
    with Blind(), pytest.raises(AssertionError, match="_local_scalar_dense"):  # type: ignore[no-untyped-call]
        torch.ones(1).item()
