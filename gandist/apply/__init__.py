"""`python -m gandist.apply RUN INPUT... --out DIR`: apply a run whose generator is given samples to those of any size.

Of an image-to-image run each picture's result is a PNG of its name in DIR; of a vocoder's run a sound's or
spectrogram's is a WAV. The same input, run and seed give the same bytes, whatever other inputs there are, on any number
of devices of one kind.
"""

import argparse
import logging
import math
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from gandist.apply.codes import MAX_PIXELS, code
from gandist.apply.holes import AUTO, WHITE, Holes
from gandist.apply.inputs import Input, find_inputs
from gandist.apply.network import Network, network_of
from gandist.apply.page import FILE, comparison
from gandist.apply.sounds import apply_to_sounds
from gandist.apply.tiles import tiling
from gandist.apply.watch import arrivals
from gandist.apply.work import Outcome, Task, outcomes
from gandist.cli.arguments import natural, positive, which
from gandist.cli.command import FAILED, command
from gandist.cli.text import number
from gandist.errors import ConfigError
from gandist.run.drawing import devices_of
from gandist.run.published import TRUST
from gandist.run.trained import open_trained, samples_of
from gandist.storage.atomic import write_atomically
from gandist.storage.remote import is_remote

log = logging.getLogger("gandist")


class Work:
    """The command's pictures so far."""

    def __init__(self, options: argparse.Namespace, networks: Sequence[Network], task: Task) -> None:
        self.options, self.networks, self.task = options, networks, task
        self.done: dict[Path, Outcome] = {}
        """By the picture's path."""
        self.pixels, self.seconds = 0, 0.0

    @property
    def broken(self) -> list[Outcome]:
        return [outcome for outcome in self.done.values() if outcome.error]

    def do(self, sources: Sequence[Input], bar: "tqdm[NoReturn]") -> None:
        """Apply the run to these pictures, and write the page of all so far."""

        def tick(source: Input, done: int, tiles: int) -> None:
            if tiles > 1:
                bar.set_postfix_str(f"{source.name}: tile {done} of {tiles}")

        start = time.perf_counter()
        for outcome in outcomes(self.networks, self.task, sources, tick):
            self.done[outcome.source.path] = outcome
            self.pixels += outcome.pixels
            bar.update()
            if outcome.error and self.options.watch:
                log.warning("%s", outcome.error)
        self.seconds += time.perf_counter() - start
        sound = sorted((each.source for each in self.done.values() if not each.error), key=lambda source: source.name)
        if self.options.compare and sources and sound:
            page = comparison(self.options.run, self.task.out, sound, self.task.holes)
            write_atomically(self.task.out / FILE, page.encode())

    def tell(self) -> None:
        """Log how long the pictures took, and what a user should know of the results."""
        if megapixels := self.pixels / 1e6:
            pace = number(self.seconds / megapixels)
            log.info("%s megapixels in %s s: %s s per megapixel", number(megapixels), number(self.seconds), pace)
        if grey := sum(outcome.lost_colours for outcome in self.done.values()):
            log.info(
                "%d of %d pictures were turned grey: the run was trained with data.channels=1", grey, len(self.done)
            )
        if not (self.task.cut is None or self.task.cut.exact) and any(each.tiles > 1 for each in self.done.values()):
            log.info(
                "the network sees further than tiles overlap, so results differ from those of whole pictures; if "
                "memory allows, give a larger --tile, or --tile 0"
            )
        if self.broken:
            listing = "\n".join(f"  {outcome.error}" for outcome in self.broken)
            log.error("%d of %d pictures could not be used:\n%s", len(self.broken), len(self.done), listing)


def _scale(text: str) -> float:
    if not (math.isfinite(float(text)) and 0 < float(text) <= 64):
        raise ValueError
    return float(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gandist apply",
        description="Apply the generator of an image-to-image run to pictures of any size, or that of a vocoder's run "
        "to sounds of any length. The same input, run and seed give the same result, whatever other inputs there are.",
        epilog="A vocoder (condition.kind mel) takes sounds (WAV, FLAC, Ogg, MP3), resampled to its rate and averaged "
        "over their channels, or .npy files of their log-mel spectrograms (mels, frames); its results are WAV files. "
        "Of pictures PNG, JPEG, WebP, BMP, GIF (the first frame), TIFF and PPM are read, and turned upright. "
        "Transparency is kept, and resized by bicubic interpolation. Pictures of 16 bits or in floating point become 8 "
        "bits, or are refused where their white value is unknown, as by gandist.pack. Grey pictures become RGB for a "
        "run in colour; colours are removed for a run in grey (data.channels=1), and for one that learned to colour.",
    )
    add = parser.add_argument
    add(
        "run",
        metavar="RUN",
        help="folder or address of a run, or of a published model (hf://OWNER/NAME[@REVISION]), whose condition.kind "
        "is degraded, masked, paired, itself or mel",
    )
    add(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="a picture or sound, a folder (DIR gets the same folders inside), or a quoted pattern ('in/*.png')",
    )
    add(
        "--out",
        required=True,
        metavar="DIR",
        help="folder to write the results to, as NAME.png or NAME.wav; files of the same name are replaced",
    )
    add(
        "--mask",
        metavar="FILE|DIR|white|auto",
        help="the pixels that a masked run fills: those that are white in this picture of the input's size, or in the "
        "one of its name in this folder; white: its purely white pixels; auto: its pixels that are not opaque, which "
        "become so. Other pixels stay unchanged",
    )
    add("--scale", type=_scale, metavar="S", help="resize results to S times their input (default: the run's factor)")
    add(
        "--seed",
        type=natural,
        default=0,
        metavar="S",
        help="seed of the latents, the same for all inputs (default: %(default)s)",
    )
    add(
        "--tile",
        type=natural,
        metavar="PX",
        help="side in pixels of the input's tiles, without their overlap; smaller ones take less memory, 0 is the "
        "whole picture (default: one that takes about 2 GiB at 3000x2000). With networks that see the whole picture "
        "(ffc), tiles change the result. Of sounds: frames of the spectrogram in a stretch (default: 1024)",
    )
    add("--compare", action="store_true", help=f"write DIR/{FILE}: inputs and results side by side")
    add("--watch", action="store_true", help="also apply the run to new pictures in the folder INPUT, until Ctrl-C")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--encode",
        action="store_true",
        help="write an autoencoder's codes to DIR, as shards: NAME.npy and NAME.json of each picture; transparency and "
        "colour profiles are lost",
    )
    ways.add_argument(
        "--decode",
        action="store_true",
        help="write the pictures of codes: INPUT is a shard or .npy file of --encode, or a folder of them",
    )
    add("--half", action="store_true", help="with --encode: write Gaussian codes as float16 (default: float32)")
    add(
        "--max-pixels",
        type=positive,
        default=MAX_PIXELS,
        metavar="N",
        help="with --encode and --decode, which take pictures whole: refuse larger ones (default: %(default)s)",
    )
    add("--images-seen", type=which, metavar="N", help="apply this checkpoint, or `best` (default: the newest)")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto and cuda use every GPU (default: auto)")
    add("--trust", action="store_true", help=TRUST)
    return parser


def check_mask(mask: str | None, masked: bool) -> Holes | None:
    """The holes of a masked run; None for another.

    Raises:
        ConfigError: only one of run and command knows of holes, or there is no such mask.
    """
    if mask is None and masked:
        raise ConfigError(f"--mask: the run fills holes; give a file or folder of masks, {WHITE}, or {AUTO}")
    if mask is not None and not masked:
        raise ConfigError(f"--mask {mask}: the run fills no holes (condition.kind=masked); leave it out")
    return None if mask is None else Holes(mask)


def check_out(out: str) -> Path:
    """The folder of the results.

    Raises:
        ConfigError: it is remote, or a file.
    """
    if is_remote(out):
        raise ConfigError(f"--out {out}: results are written to this machine; copy them there when they are done")
    if Path(out).exists() and not Path(out).is_dir():
        raise ConfigError(f"--out {out}: is a file; give a folder")
    return Path(out)


def rounds(options: argparse.Namespace, out: Path) -> Iterable[list[Input]]:
    """The pictures, all at once, or as they come.

    Raises:
        ConfigError: they cannot be used.
    """
    if not options.watch:
        return [find_inputs(options.inputs, out)]
    if len(options.inputs) > 1 or not Path(options.inputs[0]).is_dir():
        raise ConfigError(f"--watch: takes one folder, not {' '.join(options.inputs)}; give a folder that exists")
    return arrivals(Path(options.inputs[0]), out)


@command()
def main(argv: list[str] | None = None) -> int:
    """Run the command. Return 0; 1 if pictures could not be used; 2 if the run or the arguments cannot, after one
    message."""
    options = _parser().parse_args(argv)
    out = check_out(options.out)
    medium = samples_of(options.run)
    if medium == "audio":
        return apply_to_sounds(options, out)
    if medium == "video":
        raise ConfigError(
            f"{options.run}: its generator makes clips from its latents alone and takes no input; use python -m "
            "gandist.sample"
        )
    if options.encode or options.decode:
        return code(options, out)
    there = rounds(options, out)
    devices = devices_of(options.device)
    trained = open_trained(options.run, devices[0], options.images_seen, options.trust)
    network = network_of(trained, options.run, options.seed)
    holes = check_mask(options.mask, network.masked)
    cut = None if options.tile == 0 else tiling(network, options.tile)
    task = Task(out, cut, options.scale or network.factor, holes)
    out.mkdir(parents=True, exist_ok=True)
    work = Work(options, [network, *map(network.on, devices[1:])], task)
    total = None if options.watch else sum(map(len, there))
    with ExitStack() as stack:
        stack.callback(work.tell)
        bar = stack.enter_context(tqdm(total=total, unit="img", desc="apply", disable=None))
        for sources in there:
            work.do(sources, bar)
    made = len(work.done) - len(work.broken)
    print(f"{made} pictures by {options.run} at {trained.images_seen} images seen: {out}")  # noqa: T201
    return FAILED if work.broken else 0
