"""`python -m gandist.export RUN --to FORMAT --out FILE`: write the averaged generator of a run as a file for others.

An ONNX, pt2 or TorchScript file runs without gandist. It is compared with the network before it is written: with
batches of 1 and 7, and where pictures or sounds may have any size, with two sizes. A safetensors file has the weights
alone. What to put in and what comes out stands in the file's metadata, as JSON.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from gandist.cli.arguments import which
from gandist.cli.command import command
from gandist.errors import ConfigError, GandistError
from gandist.export.formats import FORMATS, Format, safetensors_file
from gandist.export.metadata import metadata_of
from gandist.export.model import Model, model_of
from gandist.export.parts import OTHER, autoencoder_of, part_of
from gandist.run.published import TRUST
from gandist.run.trained import open_trained
from gandist.storage.atomic import write_atomically
from gandist.storage.remote import is_remote

WEIGHTS = "safetensors"
WHOLE = "whole"


def checked_out(out: str) -> Path:
    """The file to write.

    Raises:
        ConfigError: it is remote, or a folder.
    """
    if is_remote(out):
        raise ConfigError(f"--out {out}: the file is written to this machine; copy it there when it is done")
    if out.endswith("/") or Path(out).is_dir():
        raise ConfigError(f"--out {out}: is a folder; give the name of a file")
    return Path(out)


def runnable(model: Model, to: str, metadata: str) -> tuple[bytes, float]:
    """A file that runs, and the largest difference between its results and the network's.

    Raises:
        GandistError: the network cannot be exported, or the file's results differ from the network's.
    """
    name, kind = model.network, FORMATS[to]
    others = ", ".join(other for other in (*FORMATS, WEIGHTS) if other != to)
    try:
        data = kind.written(model, metadata)
    except GandistError:
        raise
    except Exception as error:  # torch's exporters raise any exception for what they do not know
        raise GandistError(
            f"--to {to}: {name} cannot be exported so: {_lines(error)[0]}; give --to {others}"
        ) from error
    return data, _compared(model, kind, data, f"--to {to}: {name}", f"give --to {others}")


@torch.no_grad()
def _compared(model: Model, kind: Format, data: bytes, said: str, fix: str) -> float:
    """The largest difference between a file's results and the network's."""
    run, worst = kind.opened(data), 0.0
    for given in model.examples():
        where = f"with inputs {', '.join(str(tuple(each.shape)) for each in given)}"
        expected = model.net(*given)
        try:
            found = run(given)
        except Exception as error:  # runtimes raise any exception for what a file does not take
            raise GandistError(f"{said}: the file does not run {where}: {_lines(error)[-1]}; {fix}") from error
        if found.shape != expected.shape or found.dtype != expected.dtype:
            raise GandistError(f"{said}: {where} the file gives {_form(found)}, not {_form(expected)}; {fix}")
        apart = model.apart(given, expected, found)
        if not apart <= model.tolerance:
            raise GandistError(
                f"{said}: {where} the file's results are off by {apart:.2g}, over {model.tolerance:g}; {fix}"
            )
        worst = max(worst, apart)
    return worst


def _lines(error: Exception) -> list[str]:
    return str(error).strip().splitlines() or [type(error).__name__]


def _form(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gandist export",
        description="Write the averaged generator of a run as a file for other programs, with what they have to know "
        "as JSON in its metadata. What runs is compared with the network first, with batches of 1 and 7.",
        epilog="Example: gandist export runs/demo --to onnx --out demo.onnx",
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="folder or address of a run, or of a published model (hf://OWNER/NAME[@REVISION])")
    add(
        "--to",
        required=True,
        choices=[*FORMATS, WEIGHTS],
        help="onnx (needs `pip install 'gandist[export]'`), pt2 (torch.export), torchscript (a trace; deprecated by "
        "torch), or safetensors: the weights alone, under their names in G",
    )
    add("--out", required=True, metavar="FILE", help="one that is there is replaced")
    add(
        "--integers",
        action="store_true",
        help="give samples as files hold them: pixels from 0 to 255 with their channels last, sounds of 16 bits, "
        "numbers of symbols (default: as networks see them, in [-1, 1], and of texts each symbol's share)",
    )
    add(
        "--part",
        choices=[WHOLE, *OTHER],
        default=WHOLE,
        help="of an autoencoder: only its encoder, from pictures to the codes of `gandist apply --encode`, or only its "
        "decoder, from codes to pictures (default: the whole generator)",
    )
    add("--images-seen", type=which, metavar="N", help="this checkpoint, or `best` (default: the newest)")
    add("--trust", action="store_true", help=TRUST)
    return parser


@command()
def main(argv: list[str] | None = None) -> int:
    """Run the command. Return 0, or 2 after one message if the run or the arguments cannot be used."""
    options = _parser().parse_args(argv)
    out = checked_out(options.out)
    if options.integers and options.to == WEIGHTS:
        raise ConfigError(f"--integers: is of files that run; {WEIGHTS} has the weights alone: leave it out")
    trained = open_trained(options.run, torch.device("cpu"), options.images_seen, options.trust)
    if options.part == WHOLE:
        G, model = trained.G, model_of(trained, options.integers)
    else:
        G = autoencoder_of(trained, options.run, options.part)
        model = part_of(trained, G, options.part, options.integers)
    metadata, compared = metadata_of(trained, model, options.part), ""
    if options.to == WEIGHTS:
        data = safetensors_file(G, metadata)
    else:
        data, apart = runnable(model, options.to, metadata)
        compared = f", off by {apart:.1g} at most"
    write_atomically(out, data)
    seen = f"{trained.images_seen} {trained.medium.nouns[1]} seen"
    of = options.run if options.part == WHOLE else f"the {options.part} of {options.run}"
    print(f"{options.to} of {of} at {seen}: {out}, {len(data) / 1e6:.1f} MB{compared}")  # noqa: T201
    return 0
