"""A profile of some steps of a run: a trace for Perfetto or chrome://tracing, and the most expensive operators.

The ranges in it are the stages of the algorithm. They are put around the run's own functions when the profile begins
and taken away when it ends: a run that is not profiled has none. A replayed CUDA graph shows no stages, so the profiled
steps are played by Python, as the first steps of each graph are.
"""

import functools
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from gandist.distributed.captured import WARM_UP, WARM_UP_DDP, Eager
from gandist.distributed.ranks import Ranks
from gandist.storage.storage import Storage
from gandist.training.rounds import Rounds

log = logging.getLogger("gandist")

FOLDER = "profile"
ROWS = 12
"""Operators in the table."""


@contextmanager
def profiled(rounds: Rounds, ranks: Ranks, storage: Storage, steps: int) -> Iterator[None]:
    """Within, profile `steps` calls of `Rounds.play` after the warm-up, and write the trace of this rank to `profile/`
    of the run. With 0 steps nothing changes."""
    if not steps:
        yield
        return
    profiling = Profile(rounds, ranks, storage, steps)
    try:
        yield
    finally:
        profiling.end()


class Profile:
    """Counts the calls of `Rounds.play`, and profiles some."""

    def __init__(self, rounds: Rounds, ranks: Ranks, storage: Storage, steps: int) -> None:
        self.rounds, self.ranks, self.storage, self.steps = rounds, ranks, storage, steps
        self.first = WARM_UP_DDP if ranks.gradients is not None else WARM_UP
        self.played = 0
        self.profiler: profile | None = None
        self._changed: list[tuple[Any, str, Any]] = []
        self._play = rounds.play
        self._replace(rounds, "play", self.play)

    def play(self, most: int, run: Callable[..., object] | None = None) -> tuple[int, float]:
        """`Rounds.play`, with a profiler around those calls that are profiled."""
        self.played += 1
        if self.played <= self.first:
            return self._play(most, run)
        if self.profiler is None:
            self._begin()
        assert self.profiler is not None
        with record_function("round"):
            result = self._play(most, run or self._by_python)
        self.profiler.step()
        if self.played > self.first + self.steps:  # the profiler's own warm-up is one more
            self.end()
        return result

    def end(self) -> None:
        """Write what has been profiled, and leave the run as it was."""
        if self.profiler is not None:
            self.profiler.stop()
        elif self._changed:
            log.warning("no profile: the run ended within its first %d steps, which warm up", self.first)
        self.profiler = None
        for thing, name, value in reversed(self._changed):
            setattr(thing, name, value)
        self._changed.clear()

    def _begin(self) -> None:
        rounds, ranks = self.rounds, self.ranks
        is_graph = rounds.run.mode == "graph"
        self._by_python = Eager(rounds.play_on_device, ranks.stream if ranks.gradients else None) if is_graph else None
        self._name_stages()
        on_gpu = [ProfilerActivity.CUDA] if ranks.device.type == "cuda" else []
        self.profiler = profile(
            activities=[ProfilerActivity.CPU, *on_gpu],
            schedule=schedule(wait=0, warmup=1, active=self.steps, repeat=1),
            on_trace_ready=self._write,
        )
        self.profiler.start()

    def _name_stages(self) -> None:
        """Put ranges around the stages of a round."""
        rounds, game = self.rounds, self.rounds.game
        self._range(rounds.reals, "next", "data wait")
        self._range(rounds.inputs, "of", "inputs")
        self._range(rounds.players, "average", "average of G")
        descend, G = game.descend, rounds.players.G

        def update(player: Any, *arguments: Any) -> Any:
            with record_function(f"update of {'G' if player is G else 'D'}"):
                return descend(player, *arguments)

        self._replace(game, "descend", update)
        losses = {name: each for name, each in vars(game).items() if isinstance(each, nn.Module)}
        for said, wrapped in losses.items():
            loss: Any = getattr(wrapped, "module", wrapped)  # DDP's
            self._range(loss, "forward", said.replace("_", " "))
            terms = getattr(loss, "penalties", None) or {}
            penalties = {
                name: term._replace(value=ranged(f"penalty {name}", term.value)) for name, term in terms.items()
            }
            if penalties:
                self._replace(loss, "penalties", penalties)
            if (augmentation := getattr(getattr(loss, "rules", None), "augmentation", None)) is not None:
                named = augmentation._replace(apply=ranged("augmentation", augmentation.apply))
                self._replace(loss, "rules", loss.rules._replace(augmentation=named))

    def _range(self, thing: Any, name: str, said: str) -> None:
        self._replace(thing, name, ranged(said, getattr(thing, name)))

    def _replace(self, thing: Any, name: str, value: Any) -> None:
        self._changed.append((thing, name, getattr(thing, name)))
        setattr(thing, name, value)

    def _write(self, profiler: profile) -> None:
        name = f"{FOLDER}/{self.rounds.players.images_seen:08d}-rank{self.ranks.rank}"
        on_gpu = self.ranks.device.type == "cuda"
        costs = profiler.key_averages()
        table = costs.table(
            sort_by="self_device_time_total" if on_gpu else "self_cpu_time_total",
            row_limit=ROWS,
            max_name_column_width=40,
        )
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder) / "trace.json.gz"
            profiler.export_chrome_trace(str(trace))
            self.storage.write_bytes(f"{name}.json.gz", trace.read_bytes())
        self.storage.write_bytes(f"{name}.txt", table.encode())
        if self.ranks.is_main:
            log.info("%s\nprofile of %d steps: %s", table, self.steps, self.storage.uri(f"{name}.json.gz"))


def ranged(said: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function within a range of this name, on the GPU's time line too."""

    @functools.wraps(function)
    def within(*arguments: Any, **named: Any) -> Any:
        with record_function(said):
            return function(*arguments, **named)

    return within
