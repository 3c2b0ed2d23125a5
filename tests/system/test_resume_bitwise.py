"""The promise: killed at any moment and started again, a run ends with the same weights, bit for bit."""

import json
import os
import random
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from gandist.config.methods import new_players
from gandist.config.run import RunConfig
from gandist.distributed.consensus import Host
from gandist.errors import ConfigError
from gandist.launch.resumption import prepare, run_root
from gandist.run import checkpoint
from gandist.run.checkpoint import Checkpoints
from gandist.storage.storage import Storage
from gandist.training.worker import train
from tests.helpers.clip_games import CLIPS
from tests.helpers.forked import command
from tests.helpers.image_to_image import GAMES
from tests.helpers.sound_games import SOUNDS
from tests.helpers.text_games import TEXTS
from tests.helpers.train_on_ranks import final_digests, tiny

pytestmark = pytest.mark.usefixtures("few_moving_garments")


def rhythm(batch: int, steps: int, parts: int) -> dict[str, Any]:
    """A run of `steps` steps in `parts` parts, each of which ends with a row and a checkpoint."""
    every = {f"train__{what}_kimg": batch * steps / parts / 1000 for what in ("tick", "checkpoint")}
    return {"train__batch": batch, "train__total_kimg": batch * steps / 1000, "track__tensorboard": False, **every}


def file_of(config: RunConfig) -> Path:
    file = Path(config.run.dir) / f"{config.run.name}.yaml"
    file.write_text(config.model_dump_json())
    return file


def start_alone(config: RunConfig) -> BaseProcess:
    """`gandist.train` on the configuration, in a process whose imports are made."""
    return command(Path(config.run.dir) / f"{config.run.name}.log", "gandist.train", str(file_of(config)))


def to_its_end(config: RunConfig) -> None:
    process = start_alone(config)
    process.join(600)
    assert process.exitcode == 0, (Path(config.run.dir) / f"{config.run.name}.log").read_text()


def start(config: RunConfig) -> subprocess.Popen[str]:
    """`python -m gandist.train` on the configuration, as a user would start it."""
    environment = {**os.environ, "RAY_ADDRESS": "local", "RAY_AUTH_MODE": "disabled"}
    return subprocess.Popen([sys.executable, "-m", "gandist.train", str(file_of(config))], env=environment, text=True)


def checkpoints(config: RunConfig) -> int:
    """How many images the newest checkpoint has seen; 0 before the first."""
    folder = Path(run_root(config)) / "checkpoints"
    names = [path.name for path in folder.iterdir() if path.name.isdigit()] if folder.exists() else []
    return max(map(int, names), default=0)


def wait_for_progress(
    config: RunConfig, process: subprocess.Popen[str] | BaseProcess, past: int, timeout_s: float = 300
) -> int:
    """Wait until there is a checkpoint past `past` images; its images."""
    end = time.monotonic() + timeout_s
    while (seen := checkpoints(config)) <= past:
        status = process.exitcode if isinstance(process, BaseProcess) else process.poll()
        assert status is None, "the run ended before it could be killed"
        assert time.monotonic() < end, f"no checkpoint past {past} images within {timeout_s} s"
        time.sleep(0.02)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "game"),
    [
        ("fp16", {"model__norm": "batch", **rhythm(16, 60, 4)}),
        ("bf16", {**TEXTS["writing"], **rhythm(4, 16, 4)}),
        *[
            pytest.param("fp32", {**game, **rhythm(4, 16, 4)}, marks=pytest.mark.nightly)
            for game in (GAMES["filling"], SOUNDS["sounding"], SOUNDS["vocoding"], CLIPS["motion"])
        ],
        pytest.param("bf16", {"model__norm": "batch", **rhythm(16, 60, 4)}, marks=pytest.mark.nightly),
    ],
    ids=["fp16", "writing", "filling", "sounding", "vocoding", "motion", "bf16"],
)
def test_resume_bitwise_alone(tmp_path: Path, precision: str, game: dict[str, Any]) -> None:
    """One process, killed twice at random moments; in fp16 the gradient scalers' state is part of it.

    Holes in pictures, cuts from sounds and shuffles of D are drawn anew for each sample seen. Every run of the tests
    stops those of holes and all games of sounds and clips in the middle, below; they are killed by night, as is a game
    of pictures in bf16, which keeps nothing that fp16 does not.
    """
    changes: dict[str, Any] = {"precision": precision, **game}
    whole, killed = (tiny(tmp_path, name, **changes) for name in ("whole", "killed"))
    to_its_end(whole)
    seen = 0
    for _ in range(2):
        process = start_alone(killed)
        seen = wait_for_progress(killed, process, seen)
        time.sleep(random.uniform(0, 0.15))
        process.kill()
        process.join()
    to_its_end(killed)
    assert final_digests(killed) == final_digests(whole)


MEMORY: dict[str, dict[str, Any]] = {
    "lecam-and-ada": {
        "game__penalties": {"lecam": 0.3, "r1": {"weight": 1.0, "interval": 3}},
        "augment__kind": "ada",
        "augment__p": 0.3,
        "augment__target": 0.6,
        "augment__speed_kimg": 0.5,
    },
    "fp16": {"precision": "fp16", "game__n_critic": 2, "game__penalties": {"gp": 10.0}, "augment__kind": "diffaugment"},
    "ramps": {
        "optim__betas": [0.0, {"start": 0.9, "end": 0.99, "over_kimg": 0.1}],
        "optim__ema_rampup": 0.05,
        "game__clip": {"start": 0.1, "end": 0.02, "over_kimg": 0.1},
        "augment__kind": "color",
        "augment__p": {"start": 0, "end": 1, "over_kimg": 0.1},
    },
    "spectral": {"model__norm_D": "spectral", "game__objective": "hinge", "game__penalties": {"dragan": 1.0}},
    "vae": {"model__name": "vae", "game__objective": "elbo"},
    **{
        name: {**game, **rhythm(4, 6, 2), "precision": "fp32"}
        for name, game in {"filling": GAMES["filling"], **SOUNDS, **CLIPS, **TEXTS}.items()
    },
}
"""What a method keeps between steps, and numbers that change during a run."""


def whole_and_halves(folder: Path, case: str) -> tuple[RunConfig, RunConfig, RunConfig]:
    """A run with checkpoints in the middle and at the end, the same by another name, and the first half of that."""
    changes = {**rhythm(12, 10, 2), **MEMORY[case]}
    whole, halves = (tiny(folder, name, **changes) for name in ("whole", "halves"))
    return whole, halves, tiny(folder, "halves", **{**changes, "train__total_kimg": whole.train.checkpoint_kimg})


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.nightly if case == "moving" else ()) for case in MEMORY]
)
def test_resume_bitwise_with_what_methods_remember(tmp_path: Path, case: str) -> None:
    """Stopped in the middle, between two moves of ADA's p, and gone on with; `moving`, like `twofold`, by night."""
    whole, halves, half = whole_and_halves(tmp_path, case)
    for config in (whole, half, halves):
        assert train(config, Checkpoints(Storage(run_root(config))), Host()).status == "done"
    assert final_digests(halves) == final_digests(whole)

    def state(config: RunConfig, images_seen: int) -> dict[str, Any]:
        file = Path(run_root(config)) / f"checkpoints/{images_seen:08d}/state.json"
        return dict(json.loads(file.read_text()))

    last = int(final_digests(whole)[0])
    assert state(halves, last) == state(whole, last)
    if case == "lecam-and-ada":
        middle, end = (state(whole, seen)["memory"] for seen in (60, 120))
        assert middle.keys() == end.keys() == {"lecam", "augment"}
        assert middle["augment"][2] == 1, "p moves with every fourth update: the middle is between two moves"
        assert middle["augment"][0] != end["augment"][0]
        assert all(a != b for a, b in zip(middle["lecam"], end["lecam"], strict=True))


def test_what_methods_remember_counts(tmp_path: Path) -> None:
    """The comparison above can fail: a run that goes on without its memory ends with other weights."""
    whole, halves, half = whole_and_halves(tmp_path, "lecam-and-ada")
    for config in (whole, half):
        assert train(config, Checkpoints(Storage(run_root(config))), Host()).status == "done"
    storage, players = Storage(run_root(halves)), new_players(halves, torch.device("cpu"))
    checkpoint.read(storage, "00000060").restore(players)
    for tensor in players.memory.values():
        tensor.zero_()
    writer = checkpoint.Writer(storage, facts={}, keep=4)
    writer.save(players)
    writer.close()
    assert train(halves, Checkpoints(storage), Host()).status == "done"
    assert final_digests(halves) != final_digests(whole)


def test_files_of_ones_own_may_move_and_nothing_else(tmp_path: Path) -> None:
    """A file that a run imports may have replaced what a name stands for: to leave it out is another run."""
    file, moved, other = tmp_path / "mine.py", tmp_path / "moved" / "mine.py", tmp_path / "other.py"
    moved.parent.mkdir()
    for path in (file, moved, other):
        path.write_text("ANSWER = 42\n")

    def config(*imports: Path) -> RunConfig:
        return tiny(tmp_path, "mine", imports=[str(path) for path in imports], train__total_kimg=0.012)

    assert train(config(file), Checkpoints(Storage(run_root(config(file)))), Host()).status == "done"
    prepare(config(file), "must")
    prepare(config(moved), "must")
    for refused, name in (
        (config(), "mine.py"),
        (config(other), "mine.py, other.py"),
        (config(file, other), "other.py"),
    ):
        with pytest.raises(ConfigError, match=f"imports: {name}: changed since .*--resume never"):
            prepare(refused, "must")
    with pytest.raises(ConfigError, match=r"imports: .* two are called mine\.py; rename one"):
        config(file, moved)
