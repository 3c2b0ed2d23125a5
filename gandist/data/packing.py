"""Images, sounds, clips or texts -> indexed WebDataset shards; or existing shards, indexed."""

import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np

from gandist.cli.terminal import Counter
from gandist.conditions.encoder import encoder
from gandist.data.cache import ShardCache, default_cache_dir
from gandist.data.forms import form_of, medium_meant
from gandist.data.index import Index
from gandist.data.index_files import check_no_foreign_tables, write_index
from gandist.data.indexing import index_shards
from gandist.data.listing import list_shards
from gandist.data.making import alone, making
from gandist.data.pairs import Half, halved, joined
from gandist.data.samples import LeftOut, Source
from gandist.data.sources import open_source
from gandist.data.text import embed
from gandist.data.texts import in_pieces
from gandist.data.writing import check_broken, permutation, write_shards
from gandist.errors import DataError
from gandist.media.footage import Windows
from gandist.media.formats import FORMATS, noun_of
from gandist.media.passage import Passage
from gandist.storage.remote import is_remote

log = logging.getLogger("gandist")

CACHE_BYTES = 50 << 30


def pack(
    src: str,
    dest: str,
    *,
    medium: str | None = None,
    size: int | None = None,
    crop: str | None = None,
    format: str | None = None,
    quality: int | None = None,
    channels: int | None = None,
    sample_rate: int | None = None,
    seconds: float | None = None,
    split_silence: float | None = None,
    loudness: float | None = None,
    frames: int | None = None,
    stride: int | None = None,
    fps: float | None = None,
    windows: Windows | None = None,
    short: str | None = None,
    length: int | None = None,
    lower: bool | None = None,
    alphabet: str | None = None,
    symbols: str | None = None,
    vocabulary: int | None = None,
    long: str | None = None,
    text_column: str | None = None,
    lines: bool | None = None,
    chunks: int | None = None,
    shard_size: int = 1000,
    n: int | None = None,
    skip: int = 0,
    seed: int = 0,
    max_broken: int = 0,
    workers: int | None = None,
    overwrite: bool = False,
    captions: bool = False,
    class_names: Sequence[str] = (),
    labels: str | None = None,
    split: str | None = None,
    targets: str | None = None,
    halves: Half | None = None,
    progress: bool = False,
) -> tuple[Index, LeftOut]:
    """Pack the images, sounds, clips or texts of `src` into shards and an index in the folder `dest`.

    Equal input gives equal bytes. Keys are the samples' numbers in the source; `seed` draws the permutation that
    orders them. Shards are
    written to a hidden folder inside `dest`, moved when all are complete, and indexed last.

    Returns:
        The index, and the report of what was left out.

    Args:
        medium: "image", "audio" or "video": what to take of a source that holds several; None takes what there is, or
            clips if options for them are given.
        size: height and width in pixels of the packed images or clips; None keeps them.
        crop: "center" (the default) cuts the middle square, "none" squeezes the whole image into it.
        format: "png" (the default), "jpeg" or "webp"; of sounds "flac" (the default) or "wav"; of
            clips "apng" (the default), "webp" or "mp4".
        quality: of "jpeg" and "webp", by default 95.
        channels: 1 (grey) or 3 (RGB), of sounds 1 or 2; None keeps them.
        sample_rate, seconds, split_silence, loudness: of sounds, see `media.recording.Recording`.
        frames, stride, fps, windows, short: of clips, see `media.footage.Footage`.
        length, lower, alphabet, symbols, vocabulary, long: of texts, see `media.passage.Passage`.
        text_column, lines, chunks: of texts, see `data.texts`.
        shard_size: samples per shard.
        n: number of files to take, the first of the permutation; None takes all.
        skip: number of files at the start of the permutation to leave to another set, before `n` are taken.
        max_broken: number of broken images to tolerate.
        workers: number of threads (default: one per core).
        captions: whether to embed captions; a sample without one then counts as broken.
        class_names: names of the classes, if the source has none.
        labels: source of the labels: "folders", "listing", "column" or "none"; None takes whichever exists.
        split: the split to take, if the source holds several; "all" takes every one.
        targets: a second source, whose images make pairs with those of `src` of the same names; `src` has the inputs.
        halves: "left" or "right" if each image shows a pair side by side: the half that is the input.

    Raises:
        DataError: the source cannot be read, an option is not for its medium, `dest` holds a set already, or too many
            samples are broken.
        GandistError: captions are to be embedded, and the text encoder is not installed.
    """
    if captions:
        encoder()  # fails now, not after the work, if it is not installed
    fix = "pass --overwrite, or --index-only to index them"
    sources = (src,) if targets is None else (src, targets)
    options = {
        "size": size, "crop": crop, "format": format, "quality": quality, "channels": channels,
        "sample_rate": sample_rate, "seconds": seconds, "split_silence": split_silence, "loudness": loudness,
        "frames": frames, "stride": stride, "fps": fps, "windows": windows, "short": short,
        "length": length, "lower": lower, "alphabet": alphabet, "symbols": symbols, "vocabulary": vocabulary,
        "long": long, "text_column": text_column, "lines": lines, "chunks": chunks,
        "pairs": targets, "pairs_halves": halves,
    }  # fmt: skip
    medium = medium or medium_meant(options)
    with making(dest, overwrite=overwrite, sources=sources, fix=fix) as made:
        taken = {"labels": labels, "split": split, "medium": medium, "text_column": text_column}
        source = _opened(sources, halves, made.work, taken)
        drawn = {"seed": seed} if source.medium == "video" else {}
        form, formats = form_of(source.medium, src, options | drawn), FORMATS[source.medium]
        source.left_out.medium = source.medium
        if source.medium == "text":
            _no_captions(src, captions)
            source = _pieces(src, source, lines, chunks)
        told = _tell(src, source.left_out)
        order = _part(src, permutation(source.n, seed), skip, n, formats.plural)
        if isinstance(form, Passage):
            form = form.learnt(lambda: _read(source, order))
        written = write_shards(
            source,
            made.work,
            form,
            shard_size=shard_size,
            order=order,
            max_broken=max_broken,
            captions=captions,
            workers=workers or os.cpu_count() or 1,
            progress=progress,
        )
        index = made.finish(
            written,
            class_names=source.class_names or class_names,
            workers=workers,
            extensions=formats.in_shards,
            embed=(lambda index: embed(index, src, progress)) if captions else lambda index: index,
            **({"symbols": form.symbols, "tokenizer": form.tokenizer} if isinstance(form, Passage) else {}),
        )
        _tell(src, source.left_out, told)
    return index, source.left_out


def _opened(sources: Sequence[str], halves: Half | None, scratch: Path, taken: Mapping[str, str | None]) -> Source:
    left_out = LeftOut()
    opened = [open_source(src, scratch, left_out=left_out, **taken) for src in sources]
    if len(opened) == 2:
        return joined(opened[0], opened[1], sources)
    return opened[0] if halves is None else halved(opened[0], halves, sources[0])


def _pieces(src: str, source: Source, lines: bool | None, chunks: int | None) -> Source:
    """The source, or its lines or chunks as samples; a `.txt` file is taken by lines."""
    if lines and chunks is not None:
        raise DataError(f"{src}: --lines and --chunks exclude each other; leave one out")
    if lines or chunks is not None or (Path(src).suffix.lower() == ".txt" and Path(src).is_file()):
        return in_pieces(source, chunks)
    return source


def _read(source: Source, order: np.ndarray) -> Iterator[bytes]:
    """The texts of a source, without those that cannot be read: `pack` reports these as it writes."""
    for i in order.tolist():
        text: object = None
        with suppress(Exception):
            text = source.read(i).image
        if isinstance(text, bytes):
            yield text


def _no_captions(src: str, captions: bool) -> None:
    if captions:
        raise DataError(f"{src}: holds texts, and --captions is for what texts describe; leave it out")


def _part(src: str, order: np.ndarray, skip: int, n: int | None, what: str) -> np.ndarray:
    """The n samples of an order that follow the first `skip`; all of them if n is None."""
    if skip >= len(order) > 0:
        raise DataError(f"{src}: holds {len(order)} {what}; --skip {skip} leaves none")
    if n is not None and n > len(order) - skip:
        skipped = f", {len(order) - skip} without the --skip {skip} first" if skip else ""
        raise DataError(f"{src}: holds {len(order)} {what}{skipped}, fewer than --n {n}; lower it")
    return order[skip:][:n]


def _tell(src: str, left_out: LeftOut, told: Collection[str] = ()) -> Collection[str]:
    """Warn of lost labels, captions and names, for reasons not yet reported; return all reported reasons."""
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
    medium: str | None = None,
    progress: bool = False,
) -> tuple[Index, LeftOut]:
    """Index the WebDataset shards at `src` (folder, URL, tar, or brace notation), in `dest` or beside them.

    Args:
        medium: "image", "audio" or "video": what to take of shards that hold several; None takes what there is, and a
            WebP or PNG for a picture.

    Returns:
        The index, and the report of what was left out.

    Raises:
        DataError: shards cannot be listed, read or used; `dest` cannot be written; more than `max_broken` samples are
            broken; captions are to be embedded, and a sample has none.
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
                extensions=None if medium is None else FORMATS[medium].in_shards,
            )
        left_out.medium = medium
        check_broken(left_out.broken, max_broken, f"{noun_of(index.extensions)}s")
        _tell(src, left_out)
        if noun_of(index.extensions) == FORMATS["text"].noun:
            _no_captions(src, captions)
        if captions:
            index = embed(index, src, progress)
        write_index(index, dest)
    return index, left_out


def _folder(url: str) -> str:
    path, question, options = url.partition("?")
    return f"{path.rpartition('/')[0] or '.'}{question}{options}"
