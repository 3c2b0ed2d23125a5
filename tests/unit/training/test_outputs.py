"""What the main rank writes: grids of samples beside training, one at a time and in their order."""

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gandist.config.methods import new_game, new_players
from gandist.distributed.ranks import Ranks
from gandist.errors import OvertakenError
from gandist.gan.players import Players
from gandist.media.gallery import grid
from gandist.monitoring.telemetry import Silent
from gandist.run.attempt import Attempt
from gandist.storage.storage import Storage
from gandist.training.grid import COLUMNS, ROWS, Grid
from gandist.training.inputs import Inputs
from gandist.training.outputs import Outputs
from tests.helpers.train_on_ranks import tiny
from tests.unit.monitoring.test_trackers import row, shown

CPU = torch.device("cpu")


class Held:
    """A storage whose grids of samples are not written before `go` is set, or not at all; or one each time it is."""

    def __init__(self, outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.full, self.written = threading.Event(), False, list[str]()
        self.one_by_one = False
        write = outputs.storage.write_bytes

        def slow(name: str, data: bytes) -> None:
            if name.startswith("samples/"):
                assert self.go.wait(30)
                if self.full:
                    raise OSError(28, "No space left on device")
                self.written.append(name)
                if self.one_by_one:
                    self.go.clear()
            write(name, data)

        monkeypatch.setattr(outputs.storage, "write_bytes", slow)


def grid_of_latents(inputs: Inputs) -> Grid:
    return Grid(*inputs.of_samples(ROWS, COLUMNS), COLUMNS)


@pytest.fixture
def run(tmp_path: Path) -> tuple[Outputs, Players, Inputs]:
    config = tiny(tmp_path, "run")
    players, ranks = new_players(config, CPU), Ranks(0, 1, CPU)
    inputs = Inputs(config, ranks, np.zeros(1, dtype=np.int64), new_game(config, players, ranks))
    outputs = Outputs(
        config,
        Attempt(Storage(str(tmp_path / "run"))),
        Silent(),
        images_seen=0,
        world_size=1,
        precision="fp64",
        data_fingerprint="",
    )
    return outputs, players, inputs


def test_training_goes_on_while_a_grid_is_written(
    run: tuple[Outputs, Players, Inputs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What G_ema becomes after `samples` is not in the grid; the next grid waits for it; trackers get both in turn."""
    outputs, players, inputs = run
    held = Held(outputs, monkeypatch)
    held.one_by_one = True
    z, y, *_ = drawn = grid_of_latents(inputs)
    expected: list[np.ndarray] = []
    for seen in (0, 12):
        players.images_seen = seen
        with torch.no_grad():
            expected.append(np.asarray(grid(inputs.medium.from_network(players.G_ema.eval()(z, y)).numpy(), COLUMNS)))
            if seen:
                threading.Timer(0.05, held.go.set).start()
            outputs.samples(players, drawn, inputs.medium)
            for weight in players.G_ema.parameters():
                weight.mul_(2)
        assert held.written == ["samples/00000000.png"][: len(expected) - 1]
        outputs.row(row(seen + 6))
    held.go.set()
    outputs.close()
    for seen, pixels in zip((0, 12), expected, strict=True):
        found = Image.open(tmp_path / f"run/samples/{seen:08d}.png")
        np.testing.assert_array_equal(np.asarray(found), pixels)
    assert not np.array_equal(expected[0], expected[1])
    told = shown(tmp_path / "run/tensorboard")
    assert [step for step, _ in told["samples"]] == [0, 12]
    assert Image.open(io.BytesIO(told["samples"][0][1])).size == expected[0].shape[1::-1]


CALLS: dict[str, Callable[[Outputs, Players, Inputs], object]] = {
    "row": lambda outputs, players, inputs: outputs.row(row(6)),
    "samples": lambda outputs, players, inputs: outputs.samples(players, grid_of_latents(inputs), inputs.medium),
    "roll_back_to": lambda outputs, players, inputs: outputs.roll_back_to(0, 1),
    "wait": lambda outputs, players, inputs: outputs.wait(),
    "close": lambda outputs, players, inputs: outputs.close(),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_became_of_a_grid_is_told_by_the_next_call(
    run: tuple[Outputs, Players, Inputs], call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs, players, inputs = run
    held = Held(outputs, monkeypatch)
    held.full = True
    outputs.samples(players, grid_of_latents(inputs), inputs.medium)
    assert not outputs.storage.exists("samples/00000000.png")
    held.go.set()
    if call == "row":  # it waits for nothing
        assert isinstance(outputs._drawing._pending.exception(), OSError)  # type: ignore[union-attr]
    with pytest.raises(OSError, match="No space left"):
        CALLS[call](outputs, players, inputs)
    outputs.close() if call != "close" else None


@pytest.mark.parametrize("call", ["roll_back_to", "wait", "close"])
def test_these_wait_for_the_grid(
    run: tuple[Outputs, Players, Inputs], call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs, players, inputs = run
    held = Held(outputs, monkeypatch)
    outputs.samples(players, grid_of_latents(inputs), inputs.medium)
    threading.Timer(0.05, held.go.set).start()
    CALLS[call](outputs, players, inputs)
    assert held.written == ["samples/00000000.png"]
    outputs.close() if call != "close" else None


def test_a_superseded_attempt_draws_nothing(run: tuple[Outputs, Players, Inputs], tmp_path: Path) -> None:
    outputs, players, inputs = run
    Attempt(Storage(str(tmp_path / "run")))
    outputs.samples(players, grid_of_latents(inputs), inputs.medium)
    with pytest.raises(OvertakenError, match="attempt 2 has taken over"):
        outputs.close()
    assert not (tmp_path / "run/samples/00000000.png").exists()


def test_every_part_is_closed_whatever_the_one_before_raised(
    run: tuple[Outputs, Players, Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs, players, inputs = run
    held = Held(outputs, monkeypatch)
    held.full = True
    held.go.set()
    outputs.samples(players, grid_of_latents(inputs), inputs.medium)
    outputs.save(players)
    threads: list[Any] = [*outputs._drawing._thread._threads, *outputs.writer._writing._thread._threads]
    threads += [each._thread for each in outputs.trackers._all]
    with pytest.raises(OSError, match="No space left"):
        outputs.close()
    assert len(threads) == 3
    assert not any(thread.is_alive() for thread in threads)
    assert outputs.storage.exists("checkpoints/00000000/manifest.json")
