"""Images -> indexed WebDataset shards: `python -m gandist.pack SRC DEST`."""

import argparse
import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from gandist.errors import DataError, GandistError
from gandist.interrupts import interruptible
from gandist.logs import show_messages
from gandist.shards.index import Index, index_shards, write_index
from gandist.shards.making import alone, making, members, write_shard
from gandist.shards.picture import ENCODINGS, Picture
from gandist.shards.remote import ShardCache, default_cache_dir, is_remote, printable
from gandist.shards.samples import Source, Unmatched
from gandist.shards.sources import LABELS, open_source
from gandist.shards.tars import list_shards
from gandist.terminal import Counter
from gandist.text import embed, encoder

log = logging.getLogger("gandist")

LISTED_MAX = 100
"""Broken images past the bound before the rest of the set is given up."""
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
) -> tuple[Index, list[str]]:
    """Pack the images of `src` into shards and an index in the folder `dest`: equal input, equal bytes.

    Keys are the samples' numbers in the source; their order is a permutation drawn by `seed`. Shards are
    written in a hidden folder inside `dest`, moved when all are there, and indexed last.

    Returns:
        The index, and a line for each broken image that was left out: where it is, and what is wrong with it.

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
        _tell(src, source.unmatched)
        order = _permutation(source.n, seed)
        if n is not None and n > source.n:
            raise DataError(f"{src}: holds {source.n} images; --n {n} are more")
        written, broken = _write_shards(
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
    return index, broken


def _tell(src: str, unmatched: Unmatched) -> None:
    """Log what of a source is left out beside broken images: labels without an image, files of no use."""
    for line in unmatched.lines():
        log.warning("%s: %s", src, line)


def _permutation(n: int, seed: int) -> np.ndarray:
    # From the generator's raw words, which numpy keeps for good (unlike what it makes of them).
    return np.argsort(np.random.Philox(key=seed).random_raw(n), kind="stable")


def _write_shards(
    source: Source,
    folder: Path,
    picture: Picture,
    *,
    shard_size: int,
    order: np.ndarray,
    max_broken: int,
    captions: bool,
    workers: int,
    progress: bool,
) -> tuple[list[Path], list[str]]:
    stop = threading.Event()
    bar = Counter("packing", len(order), shown=progress)

    def samples(numbers: list[int], broken: list[str]) -> Iterator[tuple[str, dict[str, bytes]]]:
        for i in numbers:
            if stop.is_set():
                break
            try:
                sample = source.read(i)
                if captions and not (sample.caption or "").strip():
                    raise ValueError("has no caption; put one beside it, or leave out --captions")
                image = picture.encode(sample.image)
            except Exception as error:  # decoders raise whatever they like
                broken.append(f"{source.name(i)}: {error}")
                continue
            yield f"{i:08d}", members(image, picture.format, sample.label, sample.caption)

    def write(job: tuple[int, np.ndarray]) -> tuple[Path, list[str]]:
        number, numbers = job
        path = folder / f"{number:06d}.tar"
        broken: list[str] = []
        if not write_shard(path, samples(numbers.tolist(), broken)):
            path.unlink()
        return path, broken

    jobs = list(enumerate(np.split(order, range(shard_size, len(order), shard_size))))
    paths: list[Path] = []
    broken: list[str] = []
    # Threads, for Pillow releases the interpreter lock: 1024x768 JPEG to 256x256 runs at 136 img/s on one thread,
    # 260 on two. Processes would begin a second later, and need every image or reader sent to them.
    pool = ThreadPoolExecutor(workers)
    try:
        for (path, lines), (_, numbers) in zip(pool.map(write, jobs), jobs, strict=True):
            bar.add(len(numbers))
            paths += [path] if path.exists() else []
            broken += lines
            if len(broken) > max_broken + LISTED_MAX:
                break
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        bar.close()
    if len(broken) > max_broken:
        allowed = max_broken + LISTED_MAX
        complete = len(broken) <= allowed
        raise DataError(
            "\n".join(sorted(broken)[:allowed])
            + f"\n{'' if complete else 'more than '}{min(len(broken), allowed)} broken images, and --max-broken is "
            f"{max_broken}: nothing was packed; mend or remove them"
            + (f", or pass --max-broken {len(broken)} to leave them out" if complete else "")
        )
    if not paths:
        raise DataError("no image could be read")
    return paths, sorted(broken)


def index_only(
    src: str,
    dest: str | None,
    workers: int | None = None,
    captions: bool = False,
    progress: bool = False,
    labels: str | None = None,
    split: str | None = None,
) -> Index:
    """Index the WebDataset shards at `src` (folder, URL, tar, or brace notation), into `dest` or beside them.

    Raises:
        DataError: shards that cannot be listed, read or used, or a `dest` that cannot be written; captions are to be
            embedded, and a sample has none.
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
    cache = ShardCache(default_cache_dir() / "shards", CACHE_BYTES)
    with nullcontext() if is_remote(dest) else alone(dest):
        unmatched = Unmatched()
        with Counter("indexing", None, shown=progress) as bar:
            index = index_shards(
                urls,
                cache,
                base=dest,
                workers=workers,
                progress=bar.add,
                labelled=labels != "none",
                unmatched=unmatched,
            )
        _tell(src, unmatched)
        if captions:
            index = embed(index, src, progress)
        write_index(index, dest)
    return index


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
    return parser


def positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def natural(text: str) -> int:
    if int(text) < 0:
        raise ValueError
    return int(text)


@interruptible
def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 2 with one message where the images or the arguments cannot be used."""
    parser = _parser()
    options: dict[str, Any] = vars(parser.parse_args(argv))
    src, dest, only = options.pop("src"), options.pop("dest"), options.pop("index_only")
    if dest is None and not only:
        parser.error("DEST is missing: the folder that the shards shall lie in")
    broken: list[str] = []
    show_messages()
    try:
        if only:
            taken = {name: options[name] for name in ("workers", "captions", "labels", "split")}
            index = index_only(src, dest, **taken, progress=True)
        else:
            index, broken = pack(src, dest, **options, progress=True)
    except (GandistError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    for line in broken:
        print(f"left out: {line}", file=sys.stderr)  # noqa: T201
    left_out = f", {len(broken)} broken images left out" if broken else ""
    size_mb = sum(index.shards["bytes"].to_pylist()) / 1e6
    print(  # noqa: T201
        f"{index.base}: {index.n} images, {index.classes} classes, "
        f"{index.shards.num_rows} shards, {size_mb:.1f} MB{left_out}"
    )
    if index.classes:
        print(balance(index))  # noqa: T201
    return 0


def balance(index: Index) -> str:
    """How many images the classes of a set have: the least, the most, and which have none."""
    numbers, counts = np.unique(index.labels[index.labels >= 0], return_counts=True)

    def named(number: int) -> str:
        return printable(index.class_names[number]) if number < len(index.class_names) else f"class {number}"

    least, most = (f"{counts[i]:,} ({named(int(numbers[i]))})" for i in (counts.argmin(), counts.argmax()))
    text = f"images a class: least {least}, most {most}"
    if empty := index.classes - len(numbers):
        first = [named(n) for n in range(min(index.classes, len(numbers) + 3)) if n not in set(numbers.tolist())][:3]
        text += f"; {empty:,} without any ({', '.join(first)}{', ...' if empty > len(first) else ''})"
    return text


if __name__ == "__main__":
    sys.exit(main())
