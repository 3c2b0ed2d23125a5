"""Images, sounds, clips or texts -> indexed WebDataset shards: `python -m gandist.pack SRC DEST`."""

import argparse
import json
import sys
from typing import Any, TypeVar

from gandist.cli.arguments import natural, positive
from gandist.cli.command import command
from gandist.data.packed import report
from gandist.data.packing import index_only, pack
from gandist.data.sources import LABELS
from gandist.media import footage, picture, recording
from gandist.media.alphabets import PACKED
from gandist.media.footage import Windows
from gandist.media.formats import FORMATS
from gandist.media.passage import VOCABULARY
from gandist.media.recording import SILENCE_DB

Number = TypeVar("Number", int, float)


def hertz(text: str) -> int:
    return _within(int(text), 1000, 192_000)


def seconds(text: str) -> float:
    return _within(float(text), 0.001, 3600)


def decibels(text: str) -> float:
    return _within(float(text), 1, 120)


def per_second(text: str) -> float:
    return _within(float(text), 0.01, 240)


def level(text: str) -> float:
    return _within(float(text), -120, 0)


def _within(value: Number, least: float, most: float) -> Number:
    if not least <= value <= most:
        raise ValueError
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gandist.pack", description=__doc__)
    add = parser.add_argument
    add(
        "src",
        metavar="SRC",
        help="folder (class = subfolder, or as StyleGAN's dataset.json lists them; caption = .txt beside the file), "
        "zip of one, .tar(s) of WebDataset samples, Parquet table(s) with a column of images, sounds, clips or texts, "
        "IDX files, a .txt with a text a line, or a .csv or .jsonl with a column of texts; "
        "with --index-only: shards in a folder, at s3:// or gs://, or http://host/{000000..000009}.tar",
    )
    add(
        "dest",
        metavar="DEST",
        nargs="?",
        help="folder of the shards and their index (with --index-only: of the "
        "index alone; by default beside the shards)",
    )
    add("third", nargs="?", help=argparse.SUPPRESS)
    pairs = parser.add_mutually_exclusive_group()
    pairs.add_argument(
        "--pairs",
        action="store_true",
        help="--pairs SRC_A SRC_B DEST: pairs of an input (in SRC_A) and a target (in SRC_B) of the same name: the "
        "path below the folder without the extension. Shards with a.input.png and a.target.png are pairs as they are",
    )
    pairs.add_argument(
        "--pairs-halves",
        dest="halves",
        choices=("left", "right"),
        help="each image shows a pair side by side, as those of pix2pix: the half that is the input",
    )
    add(
        "--medium",
        choices=tuple(FORMATS),
        help="what to take of a source that holds several (default: what there is; GIF, WebP and PNG are taken for "
        "images, unless an option for clips is given). video: clips; a folder without folders of its own that holds "
        "two or more numbered pictures of one format, and no other samples, is one clip, in the order of the numbers",
    )
    _add_form(parser)
    add("--shard-size", type=positive, default=1000, metavar="SAMPLES", help="default: %(default)s")
    add("--n", type=positive, metavar="N", help="take N of the files, drawn at random by --seed (default: all)")
    add(
        "--skip",
        type=natural,
        default=0,
        metavar="N",
        help="leave the first N of that order to another set, packed with --n N: one to train on, one held out",
    )
    add("--seed", type=natural, default=0, help="seed of the order of the samples (default: %(default)s)")
    add(
        "--max-broken",
        type=natural,
        default=0,
        metavar="N",
        help="files that cannot be read are left out and "
        "listed; more than N of them fail the command, and nothing is packed (default: %(default)s)",
    )
    add("--workers", type=positive, metavar="N", help="threads (default: one per core)")
    add(
        "--overwrite",
        action="store_true",
        help="replace the set that DEST holds, once the new one is complete",
    )
    add(
        "--captions",
        action="store_true",
        help="embed each caption, for training on text (needs `pip install 'gandist[text]'`)",
    )
    add(
        "--labels",
        choices=tuple(LABELS),
        help="; ".join(f"{name}: {text}" for name, text in LABELS.items()) + " (default: whichever is there)",
    )
    add("--split", metavar="NAME", help="of a source that holds several (train, val, test): take this one, or all")
    add("--index-only", action="store_true", help="index existing WebDataset shards, written by anyone")
    add("--json", action="store_true", help="print the result as one JSON object")
    return parser


def _add_form(parser: argparse.ArgumentParser) -> None:
    """Options for what samples become. None stands for a default, so that those of other media can be refused."""
    formats = sorted({*picture.ENCODINGS, *recording.ENCODINGS, *footage.ENCODINGS})
    parser.add_argument(
        "--format",
        choices=formats,
        help="of images png, jpeg or webp, of sounds flac or wav, of clips apng, webp or mp4: the first. Clips lose "
        "nothing as apng and webp",
    )
    parser.add_argument(
        "--channels",
        type=int,
        choices=(1, 2, 3),
        help="1: grey, 3: RGB; of sounds 1: the mean of all channels, 2: stereo (default: leave them)",
    )
    images = parser.add_argument_group("images, and frames of clips")
    images.add_argument("--size", type=positive, metavar="N", help="bring them to N x N pixels (default: leave them)")
    images.add_argument(
        "--crop",
        choices=("center", "none"),
        help="with --size: cut the middle square, or squeeze the whole image into it (default: center)",
    )
    images.add_argument(
        "--quality", type=int, choices=range(1, 101), metavar="1..100", help="of images as jpeg and webp (default: 95)"
    )
    sounds = parser.add_argument_group("sounds")
    sounds.add_argument(
        "--sample-rate", type=hertz, metavar="HZ", help="resample to HZ samples a second (default: leave them)"
    )
    sounds.add_argument(
        "--seconds",
        type=seconds,
        metavar="S",
        help="bring sounds to a length: a longer one is cut after S, a shorter one is followed by silence; both are "
        "counted (default: leave them)",
    )
    sounds.add_argument(
        "--split-silence",
        type=decibels,
        nargs="?",
        const=SILENCE_DB,
        metavar="DB",
        help="cut each file into several sounds where it is silent for 0.3 s: DB below its loudest 10 ms (default: "
        "%(const)s). Before --seconds, which brings each to its length",
    )
    sounds.add_argument(
        "--loudness",
        type=level,
        metavar="DB",
        help="scale each sound to this level (root mean square, in dB of full scale, such as -20), or as near as its "
        "peak allows (default: leave them)",
    )
    _add_clips(parser.add_argument_group("clips"))
    _add_texts(parser.add_argument_group("texts"))


def _add_clips(clips: Any) -> None:
    """Any of these says that samples are clips."""
    clips.add_argument(
        "--frames",
        type=positive,
        metavar="N",
        help="bring clips to N frames: the first ones; what is longer is cut, and counted (default: leave them)",
    )
    clips.add_argument("--stride", type=positive, metavar="K", help="take every K-th frame (default: 1)")
    clips.add_argument(
        "--fps",
        type=per_second,
        metavar="R",
        help="take R frames a second by the times at which they are shown, then --stride (default: a file's frames one "
        "after the other; one that an animation shows n times as long as its shortest counts n times)",
    )
    clips.add_argument(
        "--windows",
        nargs="+",
        metavar=("all|random", "N"),
        help="all: each file becomes as many clips of --frames as follow one another in it; random N: N clips of "
        "--frames from places drawn by --seed and the file's content (default: the first frames alone)",
    )
    clips.add_argument(
        "--short",
        choices=("loop", "refuse"),
        help="a file of fewer frames begins again, and is counted, or is a broken sample (default: loop)",
    )


def _add_texts(texts: Any) -> None:
    texts.add_argument(
        "--length",
        type=positive,
        metavar="N",
        help="what is longer than N symbols is cut or left out, and counted (default: leave texts as they are)",
    )
    texts.add_argument("--long", choices=("cut", "drop"), help="with --length: cut it (the default), or leave it out")
    texts.add_argument(
        "--alphabet",
        choices=PACKED,
        help="what --length counts: characters (the default), the bytes of UTF-8, or tokens, which bpe (byte pair "
        "encoding) learns from the texts and leaves in the index (needs `pip install 'gandist[text]'`)",
    )
    texts.add_argument(
        "--vocabulary", type=positive, metavar="N", help=f"of --alphabet bpe: tokens (default: {VOCABULARY})"
    )
    texts.add_argument(
        "--symbols",
        metavar="CHARACTERS|N",
        help="keep these characters, or the N most frequent ones, and leave others out (digits alone are characters if "
        "they begin with 0; default: all)",
    )
    texts.add_argument("--lower", action="store_true", default=None, help="make letters small")
    texts.add_argument("--text-column", metavar="NAME", help="of a table: the column of texts (default: text)")
    texts.add_argument(
        "--lines",
        action="store_true",
        default=None,
        help="of a folder or zip of .txt files: each line is a text (default: each file; of a single .txt each line)",
    )
    texts.add_argument(
        "--chunks", type=positive, metavar="N", help="each file becomes consecutive pieces of N characters instead"
    )


def windows_of(given: list[str]) -> Windows:
    """What --windows says; raises ValueError if it is neither `all` nor `random` and a number."""
    if given == ["all"]:
        return "all"
    kind, number = given
    if kind != "random":
        raise ValueError
    return positive(number)


@command(prefix="error")
def main(argv: list[str] | None = None) -> int:
    """Run the command. Return 0, or 2 after one message if the samples or the arguments cannot be used."""
    parser = _parser()
    options: dict[str, Any] = vars(parser.parse_args(argv))
    src, dest, only, as_json = (options.pop(name) for name in ("src", "dest", "index_only", "json"))
    pairs, third = options.pop("pairs"), options.pop("third")
    if only and (pairs or options["halves"]):
        parser.error("--index-only takes shards as they are: with a.input.png and a.target.png in them they are pairs")
    if pairs:
        if third is None:
            parser.error("--pairs takes SRC_A (the inputs), SRC_B (the targets) and DEST")
        options["targets"], dest, third = dest, third, None
    if third is not None:
        parser.error(f"unrecognized arguments: {third}")
    if options["windows"] is not None:
        try:
            options["windows"] = windows_of(options["windows"])
        except (ValueError, argparse.ArgumentTypeError):
            parser.error("--windows takes all, or random and a number: --windows random 4")
    if dest is None and not only:
        parser.error("DEST is missing: the folder that the shards shall lie in")
    if only:
        taken = {name: options[name] for name in ("workers", "captions", "labels", "split", "max_broken", "medium")}
        index, left_out = index_only(src, dest, **taken, progress=True)
    else:
        index, left_out = pack(src, dest, **options, progress=True)
    for where, why in sorted(left_out.broken):
        print(f"left out: {where}: {why}", file=sys.stderr)  # noqa: T201
    made = report(index, left_out)
    print(json.dumps(made.as_json(), ensure_ascii=False) if as_json else made)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
