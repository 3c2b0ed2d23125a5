"""Images -> indexed WebDataset shards: `python -m gandist.pack SRC DEST`."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from typing import Any

from gandist.cli.arguments import natural, positive
from gandist.cli.command import command
from gandist.cli.terminal import Counter
from gandist.data.index import Index, check_no_foreign_tables, index_shards, write_index
from gandist.data.making import alone, making
from gandist.data.packed import report
from gandist.data.picture import ENCODINGS, Picture
from gandist.data.remote import ShardCache, default_cache_dir, is_remote
from gandist.data.samples import LeftOut
from gandist.data.sources import LABELS, open_source
from gandist.data.tars import list_shards
from gandist.data.text import embed, encoder
from gandist.data.writing import check_broken, permutation, write_shards
from gandist.errors import DataError

log = logging.getLogger("gandist")

CACHE_BYTES = 50 << 30


def pack(
    src: str,
    dest: str,
    *,
    size: int | None = None,
    crop: str = "center",
    format: str = "png",
    quality: int = 95,
    channels: int | None = None,
    shard_size: int = 1000,
    n: int | None = None,
    seed: int = 0,
    max_broken: int = 0,
    workers: int | None = None,
    overwrite: bool = False,
    captions: bool = False,
    class_names: Sequence[str] = (),
    labels: str | None = None,
    split: str | None = None,
    progress: bool = False,
) -> tuple[Index, LeftOut]:
    """Pack the images of `src` into shards and an index in the folder `dest`: equal input, equal bytes.

    Keys are the samples' numbers in the source; their order is a permutation drawn by `seed`. Shards are
    written in a hidden folder inside `dest`, moved when all are there, and indexed last.

    Returns:
        The index, and what of the source is not in it.

    Args:
        size: height and width in pixels to which images are brought; None leaves them.
        crop: "center" cuts the middle square, "none" squeezes the whole image into it.
        format: "png", "jpeg" or "webp"; `quality` is for the latter two.
        channels: 1 (grey) or 3 (RGB); None leaves them.
        shard_size: samples a shard.
        n: images that are taken, the first of the permutation; None takes all.
        max_broken: broken images that are tolerated.
        workers: threads (default: one a core).
        captions: whether captions are embedded; an image without one then counts as broken.
        class_names: names of the classes, where the source has none.
        labels: where labels come from: "folders", "listing", "column" or "none"; None takes those that are there.
        split: the split that is taken, of a source that holds several; "all" takes every one.

    Raises:
        DataError: the source cannot be read, `dest` holds a set already, or too many images are broken.
        GandistError: captions are to be embedded, and the text encoder is not installed.
    """
    if captions:
        encoder()  # before the work is done, say that it is not installed
    fix = "pass --overwrite, or --index-only to index them"
    with making(dest, overwrite=overwrite, sources=(src,), fix=fix) as made:
        source = open_source(src, made.work, labels=labels, split=split)
        told = _tell(src, source.left_out)
        order = permutation(source.n, seed)
        if n is not None and n > source.n:
            raise DataError(f"{src}: holds {source.n} images; --n {n} are more")
        written = write_shards(
            source,
            made.work,
            Picture(size, crop, format, quality, channels),
            shard_size=shard_size,
            order=order[:n],
            max_broken=max_broken,
            captions=captions,
            workers=workers or os.cpu_count() or 1,
            progress=progress,
        )
        index = made.finish(
            written,
            class_names=source.class_names or class_names,
            workers=workers,
            embed=(lambda index: embed(index, src, progress)) if captions else lambda index: index,
        )
        _tell(src, source.left_out, told)
    return index, source.left_out


def _tell(src: str, left_out: LeftOut, told: Collection[str] = ()) -> Collection[str]:
    """Warn of labels, captions and names that are lost, for reasons that were not told yet; the reasons."""
    lines = left_out.lines()
    for reason, line in lines.items():
        if reason not in told:
            log.warning("%s: %s", src, line)
    return lines


def index_only(
    src: str,
    dest: str | None,
    *,
    workers: int | None = None,
    captions: bool = False,
    labels: str | None = None,
    split: str | None = None,
    max_broken: int = 0,
    progress: bool = False,
) -> tuple[Index, LeftOut]:
    """Index the WebDataset shards at `src` (folder, URL, tar, or brace notation), into `dest` or beside them.

    Returns:
        The index, and what of the shards is not in it.

    Raises:
        DataError: shards that cannot be listed, read or used, or a `dest` that cannot be written; more than
            `max_broken` samples are broken; captions are to be embedded, and a sample has none.
        GandistError: captions are to be embedded, and the text encoder is not installed.
    """
    if labels not in (None, "none"):
        raise DataError(f"{src}: --labels {labels} is not for tars; pass --labels none, or nothing")
    urls = list_shards(src, split)
    if dest is None:
        dest = src if "{" not in src and not src.partition("?")[0].endswith(".tar") else _folder(urls[0])
    if dest.startswith(("http://", "https://")):
        raise DataError(f"{dest}: a web server cannot be written to; give a local folder as DEST")
    if captions:
        encoder()
    check_no_foreign_tables(dest)
    cache = ShardCache(default_cache_dir() / "shards", CACHE_BYTES)
    with nullcontext() if is_remote(dest) else alone(dest):
        left_out = LeftOut()
        with Counter("indexing", None, shown=progress) as bar:
            index = index_shards(
                urls,
                cache,
                base=dest,
                workers=workers,
                progress=bar.add,
                labelled=labels != "none",
                left_out=left_out,
            )
        check_broken(left_out.broken, max_broken)
        _tell(src, left_out)
        if captions:
            index = embed(index, src, progress)
        write_index(index, dest)
    return index, left_out


def _folder(url: str) -> str:
    path, question, options = url.partition("?")
    return f"{path.rpartition('/')[0] or '.'}{question}{options}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gandist.pack", description=__doc__)
    add = parser.add_argument
    add(
        "src",
        metavar="SRC",
        help="folder (class = subfolder, or as StyleGAN's dataset.json lists them; caption = .txt beside the image), "
        "zip of one, .tar(s) of WebDataset samples, Parquet table(s) with an image column, or IDX files; "
        "with --index-only: shards in a folder, at s3:// or gs://, or http://host/{000000..000009}.tar",
    )
    add(
        "dest",
        metavar="DEST",
        nargs="?",
        help="folder of the shards and their index (with --index-only: of the "
        "index alone; by default beside the shards)",
    )
    add("--size", type=positive, metavar="N", help="bring images to N x N pixels (default: leave them)")
    add(
        "--crop",
        choices=("center", "none"),
        default="center",
        help="with --size: cut the middle square, or squeeze the whole image into it (default: %(default)s)",
    )
    add("--format", choices=sorted(ENCODINGS), default="png", help="default: %(default)s")
    add(
        "--quality",
        type=int,
        choices=range(1, 101),
        metavar="1..100",
        default=95,
        help="of jpeg and webp (default: %(default)s)",
    )
    add("--channels", type=int, choices=(1, 3), help="1: grey, 3: RGB (default: leave them)")
    add("--shard-size", type=positive, default=1000, metavar="SAMPLES", help="default: %(default)s")
    add("--n", type=positive, metavar="N", help="take N of the images, drawn at random by --seed (default: all)")
    add("--seed", type=natural, default=0, help="of the order of the samples (default: %(default)s)")
    add(
        "--max-broken",
        type=natural,
        default=0,
        metavar="N",
        help="images that cannot be read are left out and "
        "listed; more than N of them fail the command, and nothing is packed (default: %(default)s)",
    )
    add("--workers", type=positive, metavar="N", help="threads (default: one a core)")
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
    add("--json", action="store_true", help="print what came of it as one JSON object")
    return parser


@command(prefix="error")
def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 2 with one message where the images or the arguments cannot be used."""
    parser = _parser()
    options: dict[str, Any] = vars(parser.parse_args(argv))
    src, dest, only, as_json = (options.pop(name) for name in ("src", "dest", "index_only", "json"))
    if dest is None and not only:
        parser.error("DEST is missing: the folder that the shards shall lie in")
    if only:
        taken = {name: options[name] for name in ("workers", "captions", "labels", "split", "max_broken")}
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
