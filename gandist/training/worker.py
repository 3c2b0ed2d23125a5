"""What a rank does around its training loop: it joins the others, loads, agrees with them, and runs or waits."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from gandist.config.run import RunConfig
from gandist.distributed.consensus import Consensus, Host, Outcome, wait
from gandist.distributed.ranks import Ranks, join, lost_contact
from gandist.errors import GandistError, RunError
from gandist.run.checkpoint import Checkpoints
from gandist.training.loading import load
from gandist.training.loop import Loop, build


def train(config: RunConfig, checkpoints: Checkpoints, host: Host) -> Outcome:
    """Train as one rank, from the newest sound checkpoint on, or from the start where there is none.

    What is wrong before the first step is an Outcome, on all ranks alike: trying again would not mend it.

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
                outcome = loop.run(Consensus(ranks, host))
        ranks.leave()
    return outcome


def prepare_loop(
    config: RunConfig, checkpoints: Checkpoints, ranks: Ranks, start: str, closing: ExitStack
) -> tuple[Loop | None, str]:
    """The loop of this rank, which is None for a surplus one; or why the run is refused, on all ranks alike.

    `gather_all` and what `build` does are calls of all ranks together; each comes after an agreement.
    """
    closing.callback(checkpoints.release)
    # The main rank finds the checkpoint to go on from: all agree on it, or on why there is none to be had
    resume, refusal = _newest(checkpoints) if ranks.is_main else ("", "")
    resume, refusal = ranks.gather_all((resume, refusal))[0]

    # Each rank that trains loads on its own, and all agree on whether every one could
    loaded = None
    if not refusal and not ranks.surplus:
        try:
            loaded = load(config, ranks, checkpoints, resume, closing)
        except GandistError as error:
            refusal = str(error)
    refusals = [message for message in ranks.gather_all(refusal) if message]
    if refusals:
        return None, refusals[0]

    # Those that train build the rest of it together
    if loaded is None:
        return None, ""
    return build(config, checkpoints.storage, ranks, loaded, start, closing), ""


def _newest(checkpoints: Checkpoints) -> tuple[str, str]:
    """Name of the checkpoint to go on from, "" where there is none; or why it cannot be had."""
    try:
        found = checkpoints.newest()
    except GandistError as error:
        return "", str(error)
    return found.name if found else "", ""


@contextmanager
def _explain_lost_contact(ranks: Ranks, config: RunConfig, checkpoints: Checkpoints) -> Iterator[None]:
    """Raise a RunError, which says how to go on, for an error which says that another rank is gone."""
    try:
        yield
    except RuntimeError as error:
        if not lost_contact(error):
            raise
        raise RunError(
            f"rank {ranks.rank} of {ranks.world_size} lost contact with another rank, which failed, or was not heard "
            f"of for launch.timeout_s={config.launch.timeout_s:g} s: {str(error).splitlines()[0]}; the same command "
            f"goes on from the last checkpoint in {checkpoints.storage.root}"
        ) from error
