"""The training loop of one rank.

`build` returns a `Loop` that can run, or raises. `Loop.run` is the sequence of a run, to read from top to bottom.

All ranks run the same loop in step and make the same collective calls in the same order. When one rank alone knows
something (a signal, a full disk, the run's health), all ranks agree on a decision before any of them acts on it.
"""

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from gandist.config.methods import new_game
from gandist.config.run import RunConfig
from gandist.config.sample import condition_of
from gandist.config.schedule import due, images_of, steps_until, value_at
from gandist.data import dataset
from gandist.distributed import memory
from gandist.distributed.consensus import Consensus, Outcome
from gandist.distributed.ranks import Ranks
from gandist.evaluation.evaluator import Evaluator
from gandist.gan.players import Players
from gandist.monitoring import signals
from gandist.monitoring.health import Action, State
from gandist.monitoring.telemetry import Silent
from gandist.run import checkpoint
from gandist.run.attempt import Attempt
from gandist.storage.storage import Storage
from gandist.training.grid import ROWS, grid_of
from gandist.training.inputs import Inputs
from gandist.training.loading import Batches, Loaded
from gandist.training.main_rank import MainRank, OtherRank, claim
from gandist.training.outputs import Outputs
from gandist.training.rounds import Rounds
from gandist.training.rows import News, Unread
from gandist.training.serving import serve_metrics
from gandist.training.tick import Tick

log = logging.getLogger("gandist")

ROW_STEPS = 8
"""Steps after which a row is read, and its verdict acts. It is counted in images, as rows are, so that no clock decides
what a run becomes."""


class Due(NamedTuple):
    """Tasks that follow a step, by the configured schedules alone: the same on all ranks."""

    end: bool
    row: bool
    evaluation: bool
    samples: bool
    checkpoint: bool

    @property
    def decision(self) -> bool:
        """Whether something happens here that depends on the run's health until now."""
        return self.end or self.evaluation or self.checkpoint


@dataclass
class Loop:
    """The state of a rank's run, and the run itself."""

    config: RunConfig
    storage: Storage
    ranks: Ranks
    players: Players
    batches: Batches
    inputs: Inputs
    rounds: Rounds
    """Rounds of the game, as CUDA graphs or called by Python."""
    probe: signals.Probe
    evaluator: Evaluator
    telemetry: Silent
    main_rank: OtherRank
    """Writes the run and judges its health on the main rank; does nothing on the others."""
    attempt: int
    tick: Tick
    """Statistics since the last row."""
    unread: Unread | None = None
    state: State = "healthy"
    """The newest verdict on the run's health."""
    rolled_back: str = ""
    """Note on a roll-back, for the next row."""

    def run(self, consensus: Consensus) -> Outcome:
        """Train until `total_kimg`, or until a person or the run's health stops it.

        Raises:
            GandistError: data or storage failed.
            OSError: a background write failed.
            RuntimeError: another rank was lost.
        """
        players, goal = self.players, images_of(self.config.train.total_kimg)
        # Samples of the untrained G; the first row's time begins after them
        if players.images_seen == 0:
            self.main_rank.samples(players)
        self.begin_tick()
        self.telemetry.phase("training")
        go_on, ill = "go", ""
        while go_on != "stop" and players.images_seen < goal:
            # A round of the game, or several if nothing is due between them; and the tasks due after it
            before = players.images_seen
            self.step(self.steps_until_due(goal))
            is_due = self.due(before, goal)

            # Rows of metrics: evaluate, judge the run's health, publish
            news = self.rows(is_due)

            # All ranks agree: go on, save and go on, or end
            stop_asked = (lambda: True) if news.action.kind == "stop" else self.main_rank.stop_asked
            end = is_due.end and news.action.kind != "roll_back"
            go_on = consensus.step(news.rows, end, stop_asked)
            if go_on != "go" and self.unread is not None:
                news = news.then(self.read_row(is_due))

            # Samples of the averaged G
            if is_due.samples:
                self.main_rank.samples(players)

            # A checkpoint, unless the run is unhealthy: then roll back, or end without one
            if news.action.kind == "stop":
                ill = news.action.reason
            elif news.action.kind == "roll_back":
                if go_on != "stop":
                    self.roll_back(news.action)
            elif is_due.checkpoint or news.best or go_on != "go":
                self.save()
        self.telemetry.phase("ended")
        self.main_rank.wait()
        message = self.main_rank.overtaken or ill
        return Outcome("stopped" if go_on == "stop" or message else "done", players.images_seen, message)

    def step(self, most: int) -> None:
        """Play one round of the game, or up to `most` in one graph."""
        start = time.perf_counter()
        # `Rounds.play_on_device`: real samples, noise, the updates of D, one of G, and G's average
        rounds, wait_s = self.rounds.play(most)
        self.tick.add(rounds, wait_s)
        images = self.rounds.images // self.ranks.world_size
        self.telemetry.steps(rounds, images, time.perf_counter() - start, wait_s)

    def steps_until_due(self, goal: int) -> int:
        """The number of steps until the next with a task after it."""
        plan, seen, images = self.config.train, self.players.images_seen, self.rounds.images
        intervals = [plan.tick_kimg, plan.sample_kimg, plan.checkpoint_kimg, *self.evaluator.intervals]
        ends = [goal, *([] if self.unread is None else [self.unread.due])]
        steps = [-(-(end - seen) // images) for end in ends]
        return min(*steps, *(steps_until(seen, every, images) for every in intervals))

    def due(self, before: int, goal: int) -> Due:
        """Tasks due after the step that began at `before` images seen."""
        plan, seen = self.config.train, self.players.images_seen
        end = seen >= goal
        evaluation = self.evaluator.due(before, seen, end)
        return Due(
            end,
            row=end or evaluation or due(before, seen, plan.tick_kimg),
            evaluation=evaluation,
            samples=end or due(before, seen, plan.sample_kimg),
            checkpoint=end or due(before, seen, plan.checkpoint_kimg),
        )

    def rows(self, is_due: Due) -> News:
        """Begin a row if one is due; read those that have arrived, or that a decision waits for."""
        news = News()
        arrived = self.unread is not None and self.players.images_seen >= self.unread.due
        if self.unread is not None and (arrived or is_due.row or is_due.decision):
            news = self.read_row(is_due._replace(evaluation=False, end=False))
        if is_due.row:
            self.begin_row()
            if is_due.decision:
                news = news.then(self.read_row(is_due))
                self.begin_tick()  # an evaluation belongs to no tick
        return news

    def begin_tick(self) -> None:
        """Start gathering for the next row."""
        self.tick = Tick(self.players.images_seen, self.ranks.device)
        self.rounds.tally.begin()

    def begin_row(self) -> None:
        """End the tick, and start the next."""
        config, players, ranks = self.config, self.players, self.ranks
        read = self.tick.end(players, ranks, self.rounds.tally, self.probe, self.batches.damaged)
        facts = {
            "lr/D": players.lr_scale * value_at(config.optim.lr_D, players.images_seen),
            "lr/G": players.lr_scale * value_at(config.optim.lr_G, players.images_seen),
            "world_size": ranks.world_size,
            "attempt": self.attempt,
            "rollbacks": players.rollbacks,
            "memory_bytes": memory.peak_bytes(ranks.device),
            "memory_used_bytes": memory.used_bytes(ranks.device),
            "time_s": time.time(),
        }
        self.unread = Unread(players.images_seen, facts, read, players.images_seen + ROW_STEPS * self.rounds.images)
        self.begin_tick()

    def read_row(self, is_due: Due) -> News:
        """Complete the row that is on its way, equal on all ranks."""
        assert self.unread is not None
        images_seen, facts, read, _ = self.unread
        self.unread, row = None, {"images_seen": images_seen, **read(), **facts}
        best = self.evaluate(row) if is_due.evaluation else False
        action = self.judge(row, is_due.end)
        self.publish(row)
        # Times are averaged over the ranks, so that all choose alike
        self.rounds.choose_unroll(self.config.unroll, row["tick_s"] / row["steps"])
        return News((row,), action, best)

    def evaluate(self, row: dict[str, Any]) -> bool:
        """Add measures of G's average to the row; returns whether it is the best so far, as the main rank knows."""
        start = time.perf_counter()
        self.telemetry.phase("evaluating")
        result = self.evaluator.evaluate(self.players)
        self.telemetry.phase("training")
        row |= {f"quality/{name}": value for name, value in result.measures.items() if "/" not in name}
        row["eval_s"] = time.perf_counter() - start
        return self.main_rank.evaluation(result)

    def judge(self, row: dict[str, Any], end: bool) -> Action:
        """Decide on the main rank what to do about the run's health, and add the verdict to the row."""
        decided = self.main_rank.judge(row, self.state, row["rollbacks"], end)
        verdict, action = self.ranks.gather(decided)[0]
        self.state = verdict.state
        row |= {"verdict": verdict.state, **({"reason": verdict.reason} if verdict.reason else {})}
        return action

    def publish(self, row: dict[str, Any]) -> None:
        """Serve and record the row."""
        if self.rolled_back:
            row["rollback"], self.rolled_back = self.rolled_back, ""
        self.telemetry.tick(row)
        self.main_rank.row(row)

    def save(self) -> None:
        """Start writing a checkpoint."""
        self.tick.stall_s += self.main_rank.save(self.players)

    def roll_back(self, action: Action) -> None:
        """Resume from an earlier checkpoint with smaller learning rates, as if the later steps had not happened."""
        players = self.players
        seen, rollbacks, lr_scale = players.images_seen, players.rollbacks + 1, players.lr_scale
        if self.ranks.is_main:
            log.warning("roll back from images_seen=%d to %d: %s", seen, action.to, action.reason)
        # Files first: the checkpoint may still be being written, so the other ranks wait for the main rank
        self.main_rank.roll_back_to(action.to, rollbacks)
        self.ranks.gather(None)
        # The players, except for state that must survive a roll-back
        checkpoint.read(self.storage, f"{action.to:08d}").restore(players)
        players.rollbacks, players.lr_scale = rollbacks, lr_scale * self.config.health.lr_factor
        # Capture the step anew, load images from that position, and note the roll-back for the next row
        self.rounds.reset()
        self.batches.restart(players.images_seen)
        self.unread = None
        self.state, self.rolled_back = "healthy", f"from {seen} images: {action.reason}"
        self.begin_tick()
        # A checkpoint that records the roll-back
        self.save()


def build(config: RunConfig, storage: Storage, ranks: Ranks, loaded: Loaded, start: str, closing: ExitStack) -> Loop:
    """A loop that can run, from this rank's loaded data. All training ranks call it after every one has loaded.

    Args:
        start: identifier shared by all attempts of one start of the run; "" if there is only one attempt.
        closing: ends the resources that are opened here.

    Raises:
        GandistError: metrics cannot be served as configured.
        OSError: the run's files cannot be written.
    """
    players, index = loaded.players, loaded.index
    if ranks.is_main:
        for warning in dataset.condition_warnings(config, index):
            log.warning(warning)

    # The game, its networks wrapped for the ranks; its inputs; its rounds; the probe of health
    game, precision = new_game(config, players, ranks), ranks.precision(config.precision)
    condition = condition_of(config)
    inputs = Inputs(config, ranks, condition.stored(index), game)
    rounds = Rounds(config, ranks, players, game, inputs, loaded.batches)
    closing.callback(rounds.close)
    x, y = loaded.examples.of(loaded.probed)
    targets = signals.targets_of(condition, inputs.medium, x, y)
    medium = inputs.medium
    probe = signals.Probe(x, inputs.fixed_latents("probe", len(x)), y, medium.coarse, targets, medium.motion)
    if ranks.is_main:
        log.info(
            "training run=%s images_seen=%d world_size=%d device=%s precision=%s step=%s threads=%d",
            config.run.name,
            players.images_seen,
            ranks.world_size,
            *(ranks.device, precision, rounds.run.mode, torch.get_num_threads()),
        )

    # The attempt, numbered by the main rank; from here on it owns the run
    claimed = claim(storage, start) if ranks.is_main else None
    number = max(1, *ranks.gather(claimed.number if isinstance(claimed, Attempt) else 0))
    telemetry = serve_metrics(config, storage, ranks, players, number, closing)

    # The files of the run
    main_rank = OtherRank()
    if claimed is not None:
        main_rank = MainRank(
            config,
            storage,
            claimed,
            lambda mine: Outputs(
                config,
                mine,
                telemetry,
                images_seen=players.images_seen,
                world_size=ranks.world_size,
                precision=precision,
                data_fingerprint=index.fingerprint,
                encoder=condition.encoder(index),
                captions=inputs.sample_captions(index, ROWS),
            ),
            lambda: grid_of(inputs, loaded.shown),
        )
        closing.callback(main_rank.close)

    return Loop(
        config=config,
        storage=storage,
        ranks=ranks,
        players=players,
        batches=loaded.batches,
        inputs=inputs,
        rounds=rounds,
        probe=probe,
        evaluator=loaded.evaluator,
        telemetry=telemetry,
        main_rank=main_rank,
        attempt=number,
        tick=Tick(players.images_seen, ranks.device),
    )
