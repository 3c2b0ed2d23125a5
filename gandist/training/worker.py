"""A rank around its training loop: it joins the others, loads, agrees with them, and runs or waits."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from gandist.config.run import RunConfig
from gandist.distributed import flight_recorder
from gandist.distributed.consensus import Consensus, Host, Outcome, wait
from gandist.distributed.ranks import Ranks, join, lost_contact
from gandist.errors import GandistError, RunError
from gandist.run.checkpoint import Checkpoints
from gandist.training.loading import load
from gandist.training.loop import Loop, build
from gandist.training.profile import profiled


def train(config: RunConfig, checkpoints: Checkpoints, host: Host) -> Outcome:
    """Train as one rank, from the newest sound checkpoint, or from the start if there is none.

    An error before the first step is returned as an Outcome, the same on all ranks: a retry would not fix it.

    Raises:
        GandistError: data or storage failed in mid-run.
        RunError: another rank was lost.
    """
    plan = config.train
    ranks = join(config.device, lambda size: plan.batch % (size * plan.accumulate) == 0, config.launch.timeout_s)
    host.joined()
    with _explain_lost_contact(ranks, config, checkpoints):
        with ExitStack() as closing:
            loop, refusal = prepare_loop(config, checkpoints, ranks, host.start, closing)
            if refusal:
                outcome = Outcome("refused", 0, refusal)
            elif loop is None:
                outcome = wait(Consensus(ranks, host))
            else:
                with profiled(loop.rounds, ranks, checkpoints.storage, host.profile):
                    outcome = loop.run(Consensus(ranks, host))
        ranks.leave()
    return outcome


def prepare_loop(
    config: RunConfig, checkpoints: Checkpoints, ranks: Ranks, start: str, closing: ExitStack
) -> tuple[Loop | None, str]:
    """This rank's loop, None for a surplus rank; or the reason to refuse the run, the same on all ranks.

    `gather_all` and `build` make collective calls; each follows an agreement of the ranks.
    """
    closing.callback(checkpoints.release)
    # The main rank finds the checkpoint to resume from; all ranks agree on it, or on why it is unavailable
    resume, refusal = _newest(checkpoints) if ranks.is_main else ("", "")
    resume, refusal = ranks.gather_all((resume, refusal))[0]

    # Each training rank loads on its own, and all agree on whether every one succeeded
    loaded = None
    if not refusal and not ranks.surplus:
        try:
            loaded = load(config, ranks, checkpoints, resume, closing)
        except GandistError as error:
            refusal = str(error)
    refusals = [message for message in ranks.gather_all(refusal) if message]
    if refusals:
        return None, refusals[0]

    # The training ranks build the rest of the loop together
    if loaded is None:
        return None, ""
    return build(config, checkpoints.storage, ranks, loaded, start, closing), ""


def _newest(checkpoints: Checkpoints) -> tuple[str, str]:
    """Name of the checkpoint to resume from, "" if there is none; or the reason why it is unavailable."""
    try:
        found = checkpoints.newest()
    except GandistError as error:
        return "", str(error)
    return found.name if found else "", ""


@contextmanager
def _explain_lost_contact(ranks: Ranks, config: RunConfig, checkpoints: Checkpoints) -> Iterator[None]:
    """Turn an error that means a lost rank into a RunError, which says how to go on."""
    try:
        yield
    except RuntimeError as error:
        if not lost_contact(error):
            raise
        records = flight_recorder.written(checkpoints.storage.local)
        raise RunError(
            f"rank {ranks.rank} of {ranks.world_size} lost contact with another rank, which failed, or did not answer "
            f"for launch.timeout_s={config.launch.timeout_s:g} s: {str(error).splitlines()[0]}; the same command "
            f"resumes the run from its last checkpoint in {checkpoints.storage.root}"
            + (f"; NCCL's latest calls are in {records[0].parent}" if records else "")
        ) from error
