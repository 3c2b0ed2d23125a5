"""`python -m gandist.explore RUN... --port P`: a page on this machine to play with the generators of runs.

Sliders move the latent along the principal directions of G's features, several generators draw the same latent side by
side, favourites are interpolated, and a file of one's own is projected to a latent. The page is served on 127.0.0.1
alone and asks nothing of any other machine.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import PurePosixPath

from gandist.cli.arguments import natural, which
from gandist.cli.command import command
from gandist.conditions.sample import OfSample
from gandist.config.methods import latents_of
from gandist.errors import ConfigError
from gandist.explore.drawing import Explorer, Model
from gandist.explore.server import ADDRESS, Server
from gandist.run.drawing import devices_of
from gandist.run.published import TRUST
from gandist.run.trained import Trained, open_trained

log = logging.getLogger("gandist")

MOST = 8
"""Generators side by side."""
PORTS = 65535


def _port(text: str) -> int:
    if natural(text) > PORTS:
        raise ValueError
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gandist explore",
        description="Serve a page to play with the generator of a run, or with several side by side: sliders along the "
        "principal directions of its features, seeds, classes or captions, interpolation, and the projection of a file "
        "of your own to a latent.",
        epilog=f"The page is served on {ADDRESS} alone, at an address that holds a random token, until Ctrl-C. On "
        f"another machine: ssh -L 8000:{ADDRESS}:8000 MACHINE, and there --port 8000.",
    )
    add = parser.add_argument
    add(
        "runs",
        nargs="+",
        metavar="RUN",
        help="folder or address of a run, or of a published model (hf://OWNER/NAME[@REVISION]); sliders and "
        "projection are the first one's",
    )
    add("--port", type=_port, default=0, metavar="P", help="default: one that is free")
    add(
        "--images-seen",
        type=which,
        nargs="+",
        default=[None],
        metavar="N",
        help="these checkpoints of each run, or `best` (default: the newest)",
    )
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto, cuda: the first GPU")
    add("--trust", action="store_true", help=TRUST)
    return parser


def _open_models(options: argparse.Namespace) -> list[Model]:
    """The generators, run by run.

    Raises:
        GandistError: one cannot be opened or explored, or they are too many or too different to stand side by side.
    """
    wanted = [(run, images_seen) for run in options.runs for images_seen in options.images_seen]
    if len(wanted) > MOST:
        raise ConfigError(f"RUN: {len(wanted)} generators, and {MOST} fit side by side; give fewer runs or checkpoints")
    device = devices_of(options.device)[0]
    models = []
    for run, images_seen in wanted:
        trained = open_trained(run, device, images_seen, options.trust)
        check_explorable(run, trained)
        name = PurePosixPath(run.rstrip("/")).name or run
        models.append(Model(f"{name}, {trained.images_seen:,} {trained.medium.nouns[1]} seen", trained))
    check_alike(options.runs, models, per_run=len(options.images_seen))
    return models


def check_explorable(run: str, trained: Trained) -> None:
    """Refuse a generator that is given samples.

    Raises:
        ConfigError: the message names the command for it.
    """
    if isinstance(trained.condition, OfSample):
        given = trained.medium.nouns[1]
        compare = " --compare" if given == "images" else ""
        raise ConfigError(
            f"{run}: condition.kind={trained.config.condition.kind}: its generator is given {given}, and this page has "
            f"none for it; use python -m gandist.apply {run} INPUT --out DIR{compare}"
        )


def check_alike(runs: Sequence[str], models: Sequence[Model], per_run: int) -> None:
    """Refuse generators that cannot draw the same latent and condition.

    Raises:
        ConfigError: the message names the run and what differs.
    """
    first = _facts(models[0].trained)
    for number, model in enumerate(models):
        for what, value in _facts(model.trained).items():
            if value != first[what]:
                raise ConfigError(
                    f"{runs[number // per_run]}: {what}: {value}, where {runs[0]} has {first[what]}; generators side "
                    "by side draw the same latent, so explore this one by itself"
                )


def _facts(trained: Trained) -> dict[str, object]:
    """What generators side by side must share, by the name of its field."""
    model = trained.config.model
    return {
        "data.medium": trained.config.data.medium,
        "numbers of a latent (model.z_dim)": latents_of(trained.config),
        "model.classes": model.classes,
        "model.text_dim": model.text_dim,
    }


@command()
def main(argv: list[str] | None = None) -> int:
    """Run the command until Ctrl-C. Return 2 after one message if the runs or the arguments cannot be used."""
    options = _parser().parse_args(argv)
    models = _open_models(options)
    with Explorer(models) as explorer, Server(options.port, explorer) as server:
        print(f"{server.url}  (Ctrl-C ends it)", flush=True)  # noqa: T201
        server.serve_forever()
    return 0
