"""`python -m gandist.pack SRC DEST`: pack images, sounds, clips or texts into indexed WebDataset shards."""

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
    parser = argparse.ArgumentParser(
        prog="gandist pack",
        description="Pack images, sounds, clips or texts into WebDataset shards with an index, or index shards as they "
        "are. Nothing is left out in silence: what is cut, padded or skipped is counted.",
        epilog="Examples: gandist pack photos data/photos --size 64; gandist pack speech data/speech --sample-rate "
        "16000 --seconds 1; gandist pack s3://bucket/shards data/index --index-only",
    )
    add = parser.add_argument
    add(
        "src",
        metavar="SRC",
        help="a folder (a subfolder is a class, or StyleGAN's dataset.json lists the classes; a caption is a .txt "
        "beside its file), a zip of one, WebDataset tars, Parquet tables with a column of images, sounds, clips or "
        "texts, IDX files, a .txt with a text per line, or a .csv or .jsonl with a column of texts; with --index-only: "
        "shards in a folder, at s3:// or gs://, or http://host/{000000..000009}.tar",
    )
    add(
        "dest",
        metavar="DEST",
        nargs="?",
        help="folder to write the shards and their index to (with --index-only: the index alone; default: beside the "
        "shards)",
    )
    add("third", nargs="?", help=argparse.SUPPRESS)
    pairs = parser.add_mutually_exclusive_group()
    pairs.add_argument(
        "--pairs",
        action="store_true",
        help="pack pairs: --pairs SRC_A SRC_B DEST joins each input in SRC_A with the target in SRC_B of the same name "
        "(its path below the folder, without the extension). Shards with a.input.png and a.target.png are pairs "
        "already",
    )
    pairs.add_argument(
        "--pairs-halves",
        dest="halves",
        choices=("left", "right"),
        help="cut each image, which shows a pair side by side (as pix2pix's do), in two: this half is the input",
    )
    add(
        "--medium",
        choices=tuple(FORMATS),
        help="take samples of this medium from a source that holds several (default: the one that it holds; GIF, WebP "
        "and PNG count as images, unless an option for clips is given). video: a folder of two or "
        "more numbered pictures of one format, without other samples or folders, is one clip",
    )
    _add_form(parser)
    add("--shard-size", type=positive, default=1000, metavar="N", help="samples in a shard (default: %(default)s)")
    add("--n", type=positive, metavar="N", help="pack N of the samples, drawn at random by --seed (default: all)")
    add(
        "--skip",
        type=natural,
        default=0,
        metavar="N",
        help="skip the first N samples of the random order, which --n N packs into another set, such as a held-out one "
        "(default: %(default)s)",
    )
    add("--seed", type=natural, default=0, metavar="S", help="seed of the samples' order (default: %(default)s)")
    add(
        "--max-broken",
        type=natural,
        default=0,
        metavar="N",
        help="leave out and list up to N files that cannot be read; if there are more, pack nothing (default: "
        "%(default)s)",
    )
    add("--workers", type=positive, metavar="N", help="threads that read and encode (default: one per core)")
    add(
        "--overwrite",
        action="store_true",
        help="replace the set that DEST holds, once the new one is complete",
    )
    add(
        "--captions",
        action="store_true",
        help="embed each caption as a vector, to condition on captions (needs `pip install 'gandist[text]'`)",
    )
    add(
        "--labels",
        choices=tuple(LABELS),
        help="; ".join(f"{name}: {text}" for name, text in LABELS.items()) + " (default: whichever is there)",
    )
    add(
        "--split",
        metavar="NAME",
        help="pack this split of a source that holds several, such as train, val, test; or all",
    )
    add("--index-only", action="store_true", help="write only an index of existing WebDataset shards, of any origin")
    add("--json", action="store_true", help="print the result as one JSON object")
    return parser


def _add_form(parser: argparse.ArgumentParser) -> None:
    """Options for what samples become. None stands for a default, so that those of other media can be refused."""
    formats = sorted({*picture.ENCODINGS, *recording.ENCODINGS, *footage.ENCODINGS})
    parser.add_argument(
        "--format",
        choices=formats,
        help="file format in the shards: images as png, jpeg or webp, sounds as flac or wav, clips as apng, webp (both "
        "without loss) or mp4 (default: the first of each)",
    )
    parser.add_argument(
        "--channels",
        type=int,
        choices=(1, 2, 3),
        help="channels to convert to: images and clips 1 (grey) or 3 (RGB), sounds 1 (the mean of all) or 2 (default: "
        "unchanged)",
    )
    images = parser.add_argument_group("images, and frames of clips")
    images.add_argument("--size", type=positive, metavar="N", help="resize to N x N pixels (default: unchanged)")
    images.add_argument(
        "--crop",
        choices=("center", "none"),
        help="with --size: center crops the middle square, none squeezes the whole image (default: center)",
    )
    images.add_argument(
        "--quality",
        type=int,
        choices=range(1, 101),
        metavar="1..100",
        help="quality of jpeg and webp images (default: 95)",
    )
    sounds = parser.add_argument_group("sounds")
    sounds.add_argument(
        "--sample-rate", type=hertz, metavar="HZ", help="resample to HZ samples per second (default: unchanged)"
    )
    sounds.add_argument(
        "--seconds",
        type=seconds,
        metavar="S",
        help="cut longer sounds after S seconds, and follow shorter ones by silence; both are counted (default: "
        "unchanged)",
    )
    sounds.add_argument(
        "--split-silence",
        type=decibels,
        nargs="?",
        const=SILENCE_DB,
        metavar="DB",
        help="cut each file into several sounds where it is silent for 0.3 s, that is DB below its loudest 10 ms "
        "(without DB: %(const)g); --seconds then applies to each",
    )
    sounds.add_argument(
        "--loudness",
        type=level,
        metavar="DB",
        help="scale each sound to this level (root mean square, in dB of full scale, such as -20), or as near to it as "
        "its peak allows (default: unchanged)",
    )
    _add_clips(parser.add_argument_group("clips"))
    _add_texts(parser.add_argument_group("texts"))


def _add_clips(clips: Any) -> None:
    """Any of these says that samples are clips."""
    clips.add_argument(
        "--frames",
        type=positive,
        metavar="N",
        help="keep the first N frames of each clip; clips that are cut are counted (default: all frames)",
    )
    clips.add_argument("--stride", type=positive, metavar="K", help="take every K-th frame (default: 1)")
    clips.add_argument(
        "--fps",
        type=per_second,
        metavar="R",
        help="take R frames per second, by the times at which they are shown, then apply --stride (default: all "
        "frames; one that an animation shows n times as long as its shortest counts n times)",
    )
    clips.add_argument(
        "--windows",
        nargs="+",
        metavar=("all|random", "N"),
        help="all: cut each file into consecutive clips of --frames; random N: cut N clips of --frames at places drawn "
        "by --seed and the file's content (default: one clip, of the first frames)",
    )
    clips.add_argument(
        "--short",
        choices=("loop", "refuse"),
        help="what to do with a file of fewer frames than --frames: loop repeats it and counts it, refuse treats it as "
        "broken (default: loop)",
    )


def _add_texts(texts: Any) -> None:
    texts.add_argument(
        "--length",
        type=positive,
        metavar="N",
        help="cut texts longer than N symbols, or leave them out (--long); both are counted (default: unchanged)",
    )
    texts.add_argument(
        "--long", choices=("cut", "drop"), help="with --length: cut long texts, or drop them (default: cut)"
    )
    texts.add_argument(
        "--alphabet",
        choices=PACKED,
        help="what --length counts: characters, bytes of UTF-8, or the tokens of a byte pair encoding, which is learnt "
        "from the texts and kept in the index (needs `pip install 'gandist[text]'`; default: characters)",
    )
    texts.add_argument(
        "--vocabulary", type=positive, metavar="N", help=f"tokens of --alphabet bpe (default: {VOCABULARY})"
    )
    texts.add_argument(
        "--symbols",
        metavar="CHARACTERS|N",
        help="keep only these characters, or the N most frequent ones (digits that begin with 0 are characters; "
        "default: all)",
    )
    texts.add_argument("--lower", action="store_true", default=None, help="convert to lower case")
    texts.add_argument("--text-column", metavar="NAME", help="column of a table that holds the texts (default: text)")
    texts.add_argument(
        "--lines",
        action="store_true",
        default=None,
        help="take each line of the .txt files in a folder or zip as a text (default: each file; of a single .txt each "
        "line)",
    )
    texts.add_argument(
        "--chunks", type=positive, metavar="N", help="cut each file into consecutive texts of N characters"
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
        parser.error("--index-only: leave out --pairs: shards with a.input.png and a.target.png are pairs already")
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
        parser.error("DEST is missing: give a folder for the shards")
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
