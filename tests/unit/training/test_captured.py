"""The captured step: recorded and replayed it trains the same weights, its schedules and draws alive."""

import logging
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from gandist.config.methods import new_game, new_players
from gandist.config.run import RunConfig
from gandist.data.dataset import open_index, open_set
from gandist.distributed.captured import WARM_UP, Captured, Eager, Play, Record, captured, leaves, rebuilt, wait
from gandist.distributed.ranks import Ranks
from gandist.gan.players import Players
from gandist.training import timetable
from gandist.training.inputs import Inputs
from gandist.training.loading import Batches
from gandist.training.rounds import Rounds
from gandist.training.stepper import stepper
from tests.helpers.clip_games import CLIPS
from tests.helpers.graph_on_cpu import Tape, draw_by_torch, taped
from tests.helpers.image_to_image import GAMES
from tests.helpers.small_datasets import make_set
from tests.helpers.sound_games import SOUNDS
from tests.helpers.text_games import TEXTS
from tests.helpers.train_on_ranks import tiny

pytestmark = pytest.mark.usefixtures("few_moving_garments")

CPU = Ranks(0, 1, torch.device("cpu"))
RAMP = {"start": 1e-3, "end": 5e-3, "over_kimg": 0.2, "shape": "linear"}
UP = {"start": 0.1, "end": 0.9, "over_kimg": 0.3, "shape": "linear"}
CASES: dict[str, dict[str, Any]] = {
    "everything": {
        "game__objective": "rp",
        "game__penalties": {"r1": {"weight": UP, "interval": 2}, "gp": UP, "dragan": 1, "lecam": 1, "bcr": 1},
        "game__differentiate": "double",
        "game__n_critic": 2,
        "game__clip": UP,
        "model__norm_D": "spectral",
        "augment__kind": "diffaugment",
        "augment__p": UP,
        "train__accumulate": 2,
        "optim__lr_G": RAMP,
        "optim__lr_D": RAMP,
        "optim__betas": [0.5, UP],
        "optim__ema_half_life_kimg": UP,
    },
    "adaptive": {"augment__kind": "ada", "augment__target": 0.6, "augment__p": 0.3, "optim__lr_D": RAMP},
    "batch": {"model__norm": "batch", "game__penalties": {"r1": 1.0}, "game__differentiate": "double"},
    "vae": {
        "model__name": "vae",
        "game__objective": "elbo",
        "model__norm": "group",
        "game__penalties": {"kl": UP},
    },
    "r3gan": {"model__name": "r3gan", "game__objective": "rp", "game__penalties": {"r1": UP, "r2": UP}},
    "jvp": {"game__penalties": {"r1": UP, "r2": UP}, "game__differentiate": "jvp"},
    **GAMES,
    **SOUNDS,
    **CLIPS,
    **TEXTS,
}


@pytest.fixture(autouse=True)
def on_tape(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_by_torch(monkeypatch)


def again(players: Players) -> Record:
    """Plays a step anew on the buffers of its recording: what is left of a graph where forward-mode derivatives wrap
    tensors in ways that a `Tape` cannot keep."""
    return lambda play: play


class Training:
    """A run's players, and what it takes to step them."""

    def __init__(self, config: RunConfig, device: torch.device, on_device: bool = True) -> None:
        self.config, self.ranks = config, Ranks(0, 1, device)
        self.players = new_players(config, device, on_device)
        self.game = new_game(config, self.players, self.ranks)
        index = open_index(config)
        self.batches = Batches(config, self.ranks, index, open_set(config, index), 0)
        inputs = Inputs(config, self.ranks, index.labels, self.game)
        self.rounds = Rounds(config, self.ranks, self.players, self.game, inputs, self.batches)
        self.eager = Eager(self.rounds.play_on_device)

    def step(self, play: Eager, rounds: int = 1) -> Tensor:
        """The tally after a step, or after several in one graph."""
        self.rounds.unroll = rounds
        assert self.rounds.play(rounds, play)[0] == rounds
        return torch.cat([self.rounds.tally.means(), self.rounds.tally.nonfinite(1)[None]])

    def changes(self) -> list[Tensor]:
        """What a step changes besides the players."""
        return [self.rounds.timetable.row, *self.rounds.tally.tensors()]

    def close(self) -> None:
        self.rounds.close()
        self.batches.close()


def weights(players: Players) -> dict[str, Tensor]:
    """A copy of everything a checkpoint has, by file and name."""
    return {f"{file}/{k}": v.clone() for file, group in players.tensors().items() for k, v in group.items()}


def equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert not different


BY_NIGHT = ("jvp", "gaussian", "sounding", "moving")
"""What the CPU's tape replays by night: the others have their networks, and all but a penalty of what they add."""
CASES_ON_A_GPU = [
    (case, precision)
    for case in CASES
    for precision in ("fp32", "bf16", "fp16")
    if precision != "fp16" or case not in ("batch", "vae", "quantised")  # which are refused
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.nightly] if case in BY_NIGHT else []) for case in CASES]
)
def test_a_replayed_step_is_the_step(case: str, tmp_path: Path) -> None:
    """Bit for bit, statistics too, while every number of the host stays what it was when the step was recorded."""
    config = tiny(tmp_path, case, **{**CASES[case], "train__batch": 4})
    eager, training = Training(config, CPU.device), Training(config, CPU.device)
    jvp = config.game.differentiate == "jvp" and "r1" in config.game.penalties
    play = Captured(
        training.rounds.play_on_device,
        lambda: again(training.players) if jvp else taped(training.players, *training.changes()),
        warm_up=1,
    )
    forms = 2 if "interval" in str(CASES[case]) else 1
    for _ in range(3 * forms):  # of each form one to warm up, and two replays
        expected, found = eager.step(eager.eager), training.step(play)
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    assert play.mode == "graph"
    equal(weights(training.players), weights(eager.players))
    eager.close()
    training.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "unrolled", [pytest.param([1], marks=pytest.mark.nightly), pytest.param([4], marks=pytest.mark.nightly), [1, 3]]
)
def test_resident_samples_are_gathered_within(
    unrolled: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From step to step by a counter on the device, across the borders of epochs and of the tables; several steps in
    one graph too, and graphs of one and of several in turn. A mapped set gives the same."""
    monkeypatch.setattr(timetable, "STEPS", 8)
    make_set(tmp_path / "few", 40)
    few = {"data__path": str(tmp_path / "few/shards"), "data__channels": 3, "model__classes": 2, "game__n_critic": 2}
    eager = Training(tiny(tmp_path, "mapped", **few), CPU.device)
    training = Training(tiny(tmp_path, "resident", data__resident="always", **few), CPU.device)
    assert training.batches.resident is not None
    play = Captured(training.rounds.play_on_device, lambda: taped(training.players, *training.changes()), warm_up=1)
    for rounds in unrolled * (12 // sum(unrolled)):
        for _ in range(rounds):
            expected = eager.step(eager.eager)
        torch.testing.assert_close(training.step(play, rounds), expected, rtol=0, atol=0, equal_nan=True)
    assert play.mode == "graph"
    equal(weights(training.players), weights(eager.players))
    eager.close()
    training.close()


def test_optimisers_with_numbers_of_the_host_would_be_noticed(tmp_path: Path) -> None:
    """A tape, as a graph, cannot read a scheduled number back to the host."""
    training = Training(tiny(tmp_path, "host", optim__lr_D=RAMP), CPU.device, False)
    play = Captured(training.rounds.play_on_device, lambda: taped(training.players, *training.changes()), warm_up=1)
    training.step(play)
    with pytest.raises(AssertionError, match="a graph cannot look at a value"):
        training.step(play)
    training.close()


def test_each_set_of_due_penalties_is_recorded_once(tmp_path: Path) -> None:
    config = tiny(tmp_path, "forms", game__penalties={"lecam": {"weight": 1, "interval": 3}})
    training, recorded = Training(config, CPU.device), 0
    record = taped(training.players, *training.changes())

    def counted(play: Play) -> Play:
        nonlocal recorded
        recorded += 1
        return record(play)

    play = Captured(training.rounds.play_on_device, lambda: counted, warm_up=1)
    for _ in range(9):
        training.step(play)
    assert recorded == 2
    play.reset()
    training.step(play)
    assert recorded == 3
    training.close()


def test_after_the_players_were_loaded_it_is_recorded_anew(tmp_path: Path) -> None:
    config = tiny(tmp_path, "loaded", optim__betas=[0.5, UP])
    eager, training = Training(config, CPU.device), Training(config, CPU.device)
    play = Captured(training.rounds.play_on_device, lambda: taped(training.players, *training.changes()), warm_up=1)
    for _ in range(3):
        eager.step(eager.eager)
        training.step(play)
    training.players.load(*_saved(eager.players))
    play.reset()
    for _ in range(3):
        eager.step(eager.eager)
        training.step(play)
    equal(weights(training.players), weights(eager.players))
    eager.close()
    training.close()


def _saved(players: Players) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    tensors = {file: {k: v.clone() for k, v in group.items()} for file, group in players.tensors().items()}
    return tensors, players.scalars()


def test_what_cannot_be_captured_is_played_eagerly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From the very step on at which the capture failed in the middle, and with the same weights."""
    config = tiny(tmp_path, "refused")
    eager, refused = Training(config, CPU.device), Training(config, CPU.device)

    def fails(play: Play) -> Play:
        with refused.players.D.frozen():
            raise RuntimeError("operation not permitted when stream is capturing\nand more")

    play = Captured(refused.rounds.play_on_device, lambda: fails, warm_up=1)
    for _ in range(4):
        eager.step(eager.eager)
        refused.step(play)
    assert play.mode == "eager"
    assert [r.message for r in caplog.records] == [
        "step=eager: the step cannot be captured as a CUDA graph: operation not permitted when stream is capturing"
    ]
    equal(weights(refused.players), weights(eager.players))
    eager.close()
    refused.close()


@pytest.mark.parametrize(("step", "warned"), [("auto", False), ("eager", False), ("graph", True)])
def test_without_a_gpu_the_step_is_eager(
    step: str, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny(tmp_path, "cpu", step=step)
    players = new_players(config, CPU.device)
    assert stepper(config, torch.abs, new_game(config, players, CPU), players, CPU).mode == "eager"
    assert [r.message for r in caplog.records if r.levelno == logging.WARNING] == (
        ["step=eager: there is no GPU"] if warned else []
    )


def test_trees_are_rebuilt_as_they_were() -> None:
    tree = ([{"a": torch.ones(2), "b": None}], (torch.zeros(()), 3, "due"))
    assert [name for name, leaf in leaves(tree) if not str(leaf).endswith(("items", "keys"))] == [
        "/0/0/a",
        "/1/0",
        "/1/2",
    ]
    again = rebuilt(tree, iter([torch.full((2,), 5.0), torch.full((), 6.0)]))
    assert float(again[0][0]["a"][0]) == 5
    assert again[0][0]["b"] is None
    assert [float(again[1][0]), *again[1][1:]] == [6, 3, "due"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("case", "precision"), CASES_ON_A_GPU)
def test_on_a_gpu_the_graph_trains_the_same_weights(
    case: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eager and replayed equal bit for bit but for ADA, whose gather adds up in any order."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    config = tiny(tmp_path, case, precision=precision, **CASES[case])
    device = torch.device("cuda")
    with ExitStack() as stack:
        eager, training = Training(config, device), Training(config, device)
        for each in (eager, training):
            stack.callback(each.close)
        stream = training.ranks.stream
        assert stream is not None
        play = captured(training.rounds.play_on_device, stream)
        for half in range(2):  # the second as after a roll-back
            for _ in range(3 * WARM_UP):
                eager.step(eager.eager)
                training.step(play)
            if not half:
                training.players.load(*_saved(eager.players))
                play.reset()
        assert play.mode == "graph"
        ours, theirs = weights(training.players), weights(eager.players)
        if case == "adaptive":
            for name, value in ours.items():
                torch.testing.assert_close(value, theirs[name], rtol=1e-2, atol=1e-3)
        else:
            equal(ours, theirs)
        play.reset()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(
    "changes",
    [
        {"model__norm": "none", "precision": "bf16"},
        {"model__norm": "batch", "precision": "bf16"},
        {"model__name": "mlp", "precision": "fp32"},
    ],
    ids=["plain", "batch", "mlp"],
)
@pytest.mark.parametrize("unrolled", [[1], [4], [1, 3]])
def test_on_a_gpu_resident_samples_are_gathered_within(
    unrolled: list[int], changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a tape above: graphs of one step and of several train what eager steps train, bit for bit."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(timetable, "STEPS", 8)
    config = tiny(tmp_path, "resident", data__resident="always", **changes)
    with ExitStack() as stack:
        eager, training = (Training(config, torch.device("cuda")) for _ in range(2))
        for each in (eager, training):
            stack.callback(each.close)
        stream = training.ranks.stream
        assert stream is not None
        play = captured(training.rounds.play_on_device, stream)
        for rounds in unrolled * 2 * WARM_UP:
            training.step(play, rounds)
            for _ in range(rounds):
                eager.step(eager.eager)
        assert play.mode == "graph"
        equal(weights(training.players), weights(eager.players))
        play.reset()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_a_function_that_looks_at_a_value_is_played_eagerly(caplog: pytest.LogCaptureFixture) -> None:
    """And leaves the GPU's memory as it was: what another stream has used is given out again."""
    gpu = torch.device("cuda", torch.cuda.current_device())
    play = captured(lambda x: x * float(x.sum()), torch.cuda.Stream(gpu))  # type: ignore[no-untyped-call]
    for value in range(6):
        x = torch.full((3,), float(value), device=gpu)
        assert torch.equal(play(x), x * 3 * value)
    assert play.mode == "eager"
    assert "step=eager: the step cannot be captured as a CUDA graph: " in caplog.text
    assert torch.cuda.current_stream(gpu) == torch.cuda.default_stream(gpu)
    other = torch.cuda.Stream(gpu)  # type: ignore[no-untyped-call]
    taken = []
    for _ in range(20):
        x = torch.empty(64 << 20, dtype=torch.uint8, device=gpu)
        x.record_stream(other)
        del x
        torch.cuda.synchronize()
        taken.append(torch.cuda.memory_reserved(gpu))
    assert taken[-1] == taken[1]


class After:
    """An event that comes after so many looks."""

    def __init__(self, looks: float) -> None:
        self.looks = looks

    def query(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def test_a_call_that_does_not_end_is_told() -> None:
    wait(After(5), timeout_s=60)  # type: ignore[arg-type]
    with pytest.raises(dist.DistBackendError, match=r"after 0\.01 s: another worker"):
        wait(After(math.inf), timeout_s=0.01)  # type: ignore[arg-type]


def test_a_generator_is_drawn_from_by_replay(tmp_path: Path) -> None:
    config = tiny(tmp_path, "drawn", model__norm="batch")
    G = new_players(config, CPU.device).G_ema.eval()
    draw = Captured(G, lambda: _tape, warm_up=1)
    with torch.no_grad():
        for seed in range(4):
            z, y = torch.randn(25, 8, generator=torch.Generator().manual_seed(seed)).double(), torch.arange(25) % 10
            assert torch.equal(draw(z, y), G(z, y))
        assert torch.equal(draw(z[:4], y[:4]), G(z[:4], y[:4]))  # another form


def _tape(play: Play) -> Play:
    with Tape() as tape:
        result = play()

    def replay() -> Tensor:
        tape.play()
        return result

    return replay
