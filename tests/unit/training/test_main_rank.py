"""What the main rank alone does: to be overtaken ends it quietly, and all ranks at the next poll."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gandist.config.methods import new_game, new_players
from gandist.distributed.consensus import Host
from gandist.distributed.ranks import Ranks
from gandist.errors import OvertakenError
from gandist.launch.resumption import run_root
from gandist.monitoring.health import Action, Verdict
from gandist.monitoring.telemetry import Silent
from gandist.run.attempt import Attempt
from gandist.run.checkpoint import Checkpoints
from gandist.storage.storage import Storage
from gandist.training.grid import COLUMNS, ROWS, Grid
from gandist.training.inputs import Inputs
from gandist.training.main_rank import MainRank, OtherRank, claim
from gandist.training.outputs import Outputs
from gandist.training.worker import train
from tests.helpers.train_on_ranks import tiny
from tests.unit.monitoring.test_trackers import row

ALONE = Ranks(0, 1, torch.device("cpu"))


def opened(tmp_path: Path, claimed: Attempt | OvertakenError) -> MainRank:
    config = tiny(tmp_path, "run")

    def files(attempt: Attempt) -> Outputs:
        facts = {"precision": "fp64", "data_fingerprint": ""}
        return Outputs(config, attempt, Silent(), images_seen=0, world_size=1, **facts)

    def grid() -> Grid:
        players = new_players(config, torch.device("cpu"))
        inputs = Inputs(config, ALONE, np.zeros(1, dtype=np.int64), new_game(config, players, ALONE))
        return Grid(*inputs.of_samples(ROWS, COLUMNS), COLUMNS)

    return MainRank(config, Storage(run_root(config)), claimed, files, grid)


def test_other_ranks_have_the_same_calls() -> None:
    calls = [{name for name in vars(each) if not name.startswith("_")} for each in (MainRank, OtherRank)]
    assert calls[0] | {"overtaken"} == calls[1]


def test_what_is_written_until_a_later_attempt_takes_over(tmp_path: Path) -> None:
    config = tiny(tmp_path, "run")
    storage, players = Storage(run_root(config)), new_players(config, torch.device("cpu"))
    main_rank = opened(tmp_path, claim(storage, ""))
    main_rank.row(row(6))
    assert not main_rank.stop_asked()
    before = storage.read_bytes("metrics.jsonl")
    Attempt(storage)
    assert main_rank.overtaken == ""
    main_rank.row(row(12))
    assert "attempt 2 has taken over" in main_rank.overtaken
    assert main_rank.save(players) == 0.0
    main_rank.roll_back_to(0, 1)
    assert main_rank.stop_asked()
    main_rank.wait()
    main_rank.close()
    assert storage.read_bytes("metrics.jsonl") == before
    assert storage.folders("checkpoints") == []


def test_one_that_is_overtaken_before_it_has_files(tmp_path: Path) -> None:
    storage = Storage(run_root(tiny(tmp_path, "run")))
    Attempt(storage, "mine")
    Attempt(storage, "another")
    claimed = claim(storage, "mine")
    assert isinstance(claimed, OvertakenError)
    main_rank = opened(tmp_path, claimed)
    main_rank.row(row(6))
    assert main_rank.judge(row(6), "healthy", 0, done=False) == (Verdict(), Action())
    assert main_rank.stop_asked()
    assert "of a later start, has taken over" in main_rank.overtaken
    main_rank.close()
    assert not storage.exists("metrics.jsonl")


@pytest.mark.parametrize("total_kimg", [0.12, 100])
def test_a_start_that_was_overtaken_ends_after_a_step(total_kimg: float, tmp_path: Path) -> None:
    """As when the workers of a driver that was cut off are started again."""

    class Late(Host):
        start = "mine"

    config = tiny(tmp_path, "run", train__total_kimg=total_kimg)
    storage = Storage(run_root(config))
    Attempt(storage, "mine")
    Attempt(storage, "another")
    outcome = train(config, Checkpoints(storage), Late())
    assert (outcome.status, outcome.images_seen) == ("stopped", 12)
    assert "of a later start, has taken over" in outcome.message
    assert not storage.exists("metrics.jsonl")
    assert not storage.exists("config.yaml")
