"""One rank's loop: the rhythm of a run."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from gandist.config.methods import new_game, new_players
from gandist.config.run import RunConfig
from gandist.config.sample import condition_of
from gandist.config.schedule import due, images_of, value_at
from gandist.data import dataset
from gandist.data.feed import Feed
from gandist.data.resident import place
from gandist.distributed import memory
from gandist.distributed.consensus import Consensus, Host, Outcome, wait
from gandist.distributed.ranks import Ranks, join, lost_contact
from gandist.distributed.threads import set_up
from gandist.errors import GandistError, OvertakenError, RunError
from gandist.evaluation.evaluator import Evaluator
from gandist.monitoring import signals
from gandist.monitoring.health import Action, State, Verdict, decide, judge
from gandist.monitoring.method import method_of
from gandist.monitoring.telemetry import announce, open_telemetry, target
from gandist.run import attempt, checkpoint
from gandist.run.checkpoint import Checkpoints
from gandist.run.trained import take_stage_1
from gandist.training.inputs import Inputs
from gandist.training.outputs import ROWS, Outputs
from gandist.training.stepper import stepper
from gandist.training.tick import Tick

log = logging.getLogger("gandist")

REMOTE_POLL_S = 5.0
"""How often, at most, an object store is asked whether the run is to end."""


def train(config: RunConfig, checkpoints: Checkpoints, host: Host) -> Outcome:
    """Train as one rank, from the newest sound checkpoint on, or from the start where there is none.

    What is wrong before the first step is an Outcome, on all ranks alike: trying again would not mend it.

    Raises:
        GandistError: data or storage failed in mid-run.
        RunError: another rank was lost.
    """
    timeout_s = config.launch.timeout_s
    ranks = join(config.device, lambda size: config.train.batch % (size * config.train.accumulate) == 0, timeout_s)
    host.joined()
    try:
        outcome = train_as(ranks, config, checkpoints, host)
        ranks.leave()
    except RuntimeError as error:
        if not lost_contact(error):
            raise
        raise RunError(
            f"rank {ranks.rank} of {ranks.world_size} lost contact with another rank, which failed, or was not heard "
            f"of for launch.timeout_s={timeout_s:g} s: {str(error).splitlines()[0]}; the same command goes on from "
            f"the last checkpoint in {checkpoints.storage.root}"
        ) from error
    return outcome


def train_as(ranks: Ranks, config: RunConfig, checkpoints: Checkpoints, host: Host) -> Outcome:
    """`train`, once this process has its place. Every step that all ranks take together follows an agreement."""
    with ExitStack() as closing:
        run, resume, refusal = None, "", ""
        closing.callback(checkpoints.release)
        try:
            resume = _newest(checkpoints) if ranks.is_main else ""
        except GandistError as error:
            refusal = str(error)
        resume, refusal = ranks.gather_all((resume, refusal))[0]
        if not refusal and not ranks.surplus:
            try:
                run = Run(config, checkpoints, ranks, resume, closing)
            except GandistError as error:
                refusal = str(error)
        if refusals := [message for message in ranks.gather_all(refusal) if message]:
            return Outcome("refused", 0, refusals[0])
        if run is None:
            return wait(Consensus(ranks, host))
        run.announce(closing, host.start)
        return run.play(Consensus(ranks, host))


def _newest(checkpoints: Checkpoints) -> str:
    """Name of the checkpoint to go on from; its content is kept until this rank has loaded it."""
    found = checkpoints.newest()
    return found.name if found else ""


class Run:
    """What one training rank holds, and its loop."""

    def __init__(
        self, config: RunConfig, checkpoints: Checkpoints, ranks: Ranks, resume: str, closing: ExitStack
    ) -> None:
        """Load everything that a run needs, with the players of checkpoint `resume`; write nothing yet.

        Raises:
            GandistError: the data, the network or the checkpoint cannot be used.
        """
        self.config, self.storage, self.ranks = config, checkpoints.storage, ranks
        self._message = ""
        self.players = new_players(config, ranks.device)
        set_up(ranks.device, config.launch.threads, config.tf32, self._take_up(checkpoints, resume).get("threads"))
        self.index = dataset.open_index(config)
        self.images = dataset.open_set(config, self.index)
        first = dataset.order_of(config, self.index).take(0, min(signals.CANDIDATES, self.index.n))
        labels = condition_of(config).labels(self.index.labels[first])
        self.probed = self.images.gather(first[signals.chosen(labels, len(first))])
        self.evaluator = Evaluator(config, ranks)
        self.feed = self._open_feed()
        closing.callback(lambda: self.feed.close())

    def _take_up(self, checkpoints: Checkpoints, resume: str) -> dict[str, Any]:
        """Put the players where the run goes on; what the checkpoint's manifest says, whose content is let go of."""
        if not resume:
            take_stage_1(self.config, self.players)
            return {}
        found = checkpoints.read(resume)
        found.restore(self.players)
        checkpoints.release()
        return found.manifest

    def _open_feed(self) -> Feed:
        """The images from here on."""
        self.images, where = place(self.images, self.config.data.resident, self.ranks.device)
        if self.ranks.is_main:
            log.info("%s", where)
        return Feed(
            self.images,
            dataset.order_of(self.config, self.index),
            batch=self.config.train.batch,
            images_seen=self.players.images_seen,
            rank=self.ranks.rank,
            world_size=self.ranks.world_size,
            prefetch=self.config.data.prefetch,
            device=self.ranks.device,
        )

    def announce(self, closing: ExitStack, start: str) -> None:
        """Take over the run, now that all ranks can: wrap the game, count the attempt, serve metrics, open files."""
        config, ranks, storage, players = self.config, self.ranks, self.storage, self.players
        if ranks.is_main:
            for warning in dataset.condition_warnings(config, self.index):
                log.warning("%s", warning)
        self.game, precision = new_game(config, players, ranks), ranks.precision(config.precision)
        self.play_step = stepper(config, self.game, players, ranks)
        closing.callback(self.play_step.reset)
        self.inputs = Inputs(config, ranks, condition_of(config).stored(self.index), self.game)
        self.probe = signals.Probe(*self.inputs.of_probe(*self.probed), self.inputs.medium.coarse)
        if ranks.is_main:
            log.info(
                "training run=%s images_seen=%d world_size=%d device=%s precision=%s step=%s threads=%d",
                config.run.name,
                players.images_seen,
                ranks.world_size,
                *(ranks.device, precision, self.play_step.mode, torch.get_num_threads()),
            )
        mine = None
        if ranks.is_main:
            with self._writing():
                mine = attempt.Attempt(storage, start)
        self.number = number = max(1, *ranks.gather(mine.number if mine else 0))
        carried = {"skipped/D": float(players.D.skipped), "skipped/G": float(players.G.skipped)}
        carried["rollbacks"] = players.rollbacks
        telemetry = open_telemetry(
            config.telemetry.enabled, config.run.name, ranks.rank, restarts=number - 1, carried=carried
        )
        self.telemetry = telemetry
        closing.callback(telemetry.close)
        known = {"images_seen": players.images_seen, "goal": images_of(config.train.total_kimg)}
        known |= {"world_size": ranks.world_size, "memory_limit_bytes": memory.limit_bytes(ranks.device)}
        telemetry.tick(known)
        host, first, folder = config.telemetry.host, config.telemetry.port, config.telemetry.dir
        port = telemetry.serve(host, first + ranks.rank if first and not folder else first, folder)
        addresses = ranks.gather(target(host, port) if port else "")
        if any(addresses) and ranks.is_main and storage.local is not None:
            announce(storage.local, [address for address in addresses if address])
        self.method = method_of(config)
        self.attempt, self.outputs = mine, None
        if mine is not None:
            with self._writing():
                self.outputs = Outputs(
                    config,
                    mine,
                    telemetry,
                    images_seen=players.images_seen,
                    world_size=ranks.world_size,
                    precision=precision,
                    data_fingerprint=self.index.fingerprint,
                    encoder=condition_of(config).encoder(self.index),
                    captions=self.inputs.sample_captions(self.index, ROWS),
                )
                closing.callback(self.outputs.close)

    def play(self, consensus: Consensus) -> Outcome:
        """Train until `total_kimg`, or until asked to stop, by a person or by the run's health."""
        plan, players, out = self.config.train, self.players, self.outputs
        if players.images_seen == 0 and out:
            with self._writing():
                out.samples(players, self.inputs)
        self._new_tick()
        self.telemetry.phase("training")
        self._asked, self._rolled_back = 0.0, ""
        self.state: State = "healthy"
        go_on: str = "go"
        while go_on != "stop" and players.images_seen < images_of(plan.total_kimg):
            before = players.images_seen
            self.step()
            seen, done = players.images_seen, players.images_seen >= images_of(plan.total_kimg)
            evaluating = self.evaluator.due(before, seen, done)
            row: dict[str, Any] = {}
            action, best = Action(), False
            if done or evaluating or due(before, seen, plan.tick_kimg):
                row = self.row()
                if evaluating:
                    best = self.evaluate(row)
                action = self.judge(row, done)
                self.publish(row)
            go_on = consensus.step(row, done, self._stop_asked if action.kind != "stop" else lambda: True)
            if out and (done or due(before, seen, plan.sample_kimg)):
                with self._writing():
                    out.samples(players, self.inputs)
            saving = done or best or go_on != "go" or due(before, seen, plan.checkpoint_kimg)
            if action.kind == "stop":
                self._message = action.reason
            elif action.kind == "roll_back":
                if go_on != "stop":
                    self.roll_back(action)
            elif saving:
                self.save()
        self.telemetry.phase("ended")
        if out:
            with self._writing():
                out.wait()
        return Outcome("stopped" if go_on == "stop" or self._message else "done", players.images_seen, self._message)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """What the main rank alone does: a later attempt's taking over ends it, and all ranks at the next poll."""
        try:
            yield
        except OvertakenError as error:
            self._message = str(error)

    def save(self) -> None:
        """Start writing a checkpoint, on the main rank."""
        if self.outputs and not self._message:
            with self._writing():
                self.tick.stall_s += self.outputs.save(self.players)

    def step(self) -> None:
        """One round of the game, with everything random drawn for it, and its share of the statistics."""
        config, players = self.config, self.players
        batch, n_critic = config.train.batch, config.game.n_critic
        start = time.perf_counter()
        raw = [self.feed.next() for _ in range(n_critic)]
        wait_s = time.perf_counter() - start
        reals, for_D, for_G, now = self.inputs.of(players, raw)
        statistics = self.play_step(players, reals, for_D, for_G, now)
        players.images_seen += batch * n_critic
        self.tick.add(statistics, wait_s)
        images = batch * n_critic // self.ranks.world_size
        self.telemetry.step(images, time.perf_counter() - start, wait_s)

    def _new_tick(self) -> None:
        self.tick = Tick(self.game.statistics, self.players.images_seen, self.ranks.device)

    def row(self) -> dict[str, Any]:
        """The tick's row, equal on all ranks."""
        config, players, ranks = self.config, self.players, self.ranks
        return {
            "images_seen": players.images_seen,
            **self.tick.row(players, ranks, self.probe, self.images.damaged),
            "augment/p": float(players.memory["augment"][0]) if "augment" in players.memory else 0.0,
            "lr/D": players.lr_scale * value_at(config.optim.lr_D, players.images_seen),
            "lr/G": players.lr_scale * value_at(config.optim.lr_G, players.images_seen),
            "world_size": ranks.world_size,
            "attempt": self.number,
            "rollbacks": players.rollbacks,
            "memory_bytes": memory.peak_bytes(ranks.device),
            "memory_used_bytes": memory.used_bytes(ranks.device),
            "time_s": time.time(),
        }

    def evaluate(self, row: dict[str, Any]) -> bool:
        """Measure G's average into the row; whether it is the best so far, which the main rank knows."""
        start = time.perf_counter()
        self.telemetry.phase("evaluating")
        result = self.evaluator.evaluate(self.players)
        self.telemetry.phase("training")
        row |= {f"quality/{name}": value for name, value in result.measures.items() if "/" not in name}
        row["eval_s"] = time.perf_counter() - start
        best = False
        if self.outputs:
            with self._writing():
                best = self.outputs.evaluation(result)
        return best

    def judge(self, row: dict[str, Any], done: bool) -> Action:
        """The verdict on the run, added to the row, and what is to be done: as the main rank decides."""
        verdict, action = Verdict(), Action()
        if self.outputs:
            before, rows = self.state, self.outputs.recent(row)
            verdict = judge(rows, self.method)
            rollback_target = None
            if verdict.state != "healthy":
                with self._writing():
                    rollback_target = self.outputs.rollback_target()
            action = decide(verdict, self.config.health, self.players.rollbacks, rollback_target, done)
            if verdict.state != before and (verdict.state == "healthy" or action.kind != "ignore"):
                log.warning("health=%s images_seen=%d %s", verdict.state, row["images_seen"], verdict.reason)
        verdict, action = self.ranks.gather((verdict, action))[0]
        self.state = verdict.state
        row |= {"verdict": verdict.state, **({"reason": verdict.reason} if verdict.reason else {})}
        return action

    def publish(self, row: dict[str, Any]) -> None:
        if self._rolled_back:
            row["rollback"], self._rolled_back = self._rolled_back, ""
        self.telemetry.tick(row)
        if self.outputs:
            with self._writing():
                self.outputs.row(row)
        self._new_tick()

    def roll_back(self, action: Action) -> None:
        """Go on from an earlier checkpoint with smaller learning rates, as if what came after had not been."""
        players, out = self.players, self.outputs
        seen, rollbacks, lr_scale = players.images_seen, players.rollbacks + 1, players.lr_scale
        if out:
            log.warning("roll back from images_seen=%d to %d: %s", seen, action.to, action.reason)
            with self._writing():
                out.roll_back_to(action.to, rollbacks)
        self.ranks.gather(None)  # the checkpoint may only now have been written whole
        checkpoint.read(self.storage, f"{action.to:08d}").restore(players)
        self.play_step.reset()
        players.rollbacks, players.lr_scale = rollbacks, lr_scale * self.config.health.lr_factor
        self._rolled_back = f"from {seen} images: {action.reason}"
        self.state = "healthy"
        self.feed.close()
        self.feed = self._open_feed()
        self._new_tick()
        self.save()  # with what says that the run was rolled back

    def _stop_asked(self) -> bool:
        """Whether the run's storage says to end: on request, or because another attempt has taken over."""
        if self._message:
            return True
        now = time.perf_counter()
        if self.attempt is None or now - self._asked < (0 if self.storage.local else REMOTE_POLL_S):
            return False
        self._asked = now
        with self._writing():
            self.attempt.check()
        return bool(self._message) or attempt.stop_asked(self.storage)
