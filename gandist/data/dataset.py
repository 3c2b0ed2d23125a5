"""The data set of a configuration: found, checked against the configuration, and opened."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gandist.config.run import RunConfig
from gandist.config.sample import condition_of, medium_of, rows_of
from gandist.data.builtin import builtin
from gandist.data.cache import default_cache_dir
from gandist.data.index import Index
from gandist.data.index_files import NoIndexError, index_command, read_index
from gandist.data.order import Order
from gandist.data.sets import SampleSet, open_samples
from gandist.data.unpacked import unpacked
from gandist.errors import DataError
from gandist.media.formats import media_of, noun_of
from gandist.media.medium import Medium
from gandist.storage.remote import FULL, is_remote, local_path


def cache_dir(config: RunConfig) -> Path:
    """The folder for fetched and decoded data on this node.

    Raises:
        DataError: the folder cannot be made or written to.
        ConfigError: the folder is in a home that does not exist.
    """
    chosen = config.data.cache_dir
    with cached():
        folder = local_path(chosen, "data.cache_dir") if chosen else default_cache_dir()
    with cached(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:  # an existing folder may belong to another user
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(folder)) from error
    return folder


@contextmanager
def cached(folder: Path | None = None) -> Iterator[None]:
    """Report failures in the cache `folder`, inside the context, as faults of the cache.

    Raises:
        DataError: a write failed; names `data.cache_dir`.
    """
    try:
        yield
    except OSError as error:
        at = Path(error.filename) if isinstance(error.filename, str) else None
        if folder is not None:
            is_its = error.errno in FULL if at is None else at.is_relative_to(folder) or folder.is_relative_to(at)
            if not is_its:
                raise
        raise DataError(
            f"data.cache_dir: {at or folder or 'the default'} cannot be written to: {error.strerror or error}; set "
            "data.cache_dir to a writable folder"
        ) from error


@contextmanager
def told_as(key: str) -> Iterator[None]:
    """Report errors of `data.path`, inside the context, under `key`, the argument that replaces it."""
    try:
        yield
    except DataError as error:
        raise type(error)(re.sub(r"^data\.path: ", f"{key} ", str(error))) from error


def with_images_at(config: RunConfig, path: str) -> RunConfig:
    """The configuration with the samples at `path`, which need not fill a batch."""
    data, train = config.data.model_copy(update={"path": path}), config.train.model_copy(update={"batch": 1})
    return config.model_copy(update={"data": data, "train": train})


def open_index(config: RunConfig) -> Index:
    """The index of `data.path`, checked against the configuration. Fast enough for a driver without a GPU.

    Raises:
        DataError: the set does not exist; it has too few samples for a global batch; its classes or caption vectors
            do not fit the network; a local shard is missing or truncated.
    """
    index = _read_index(config)
    said = f"data.path: {config.data.path}"
    medium = _check_medium(index, config, said)
    if index.n < config.train.batch:
        what = medium.nouns[1]
        raise DataError(f"{said}: holds {index.n} {what}, fewer than one global batch; set train.batch <= {index.n}")
    condition_of(config).check(index, said, index_command(index.base))
    if config.data.on_damage == "stop":
        _check_sizes(index)
    return index


def with_symbols(config: RunConfig) -> RunConfig:
    """The configuration of a run of texts with the characters or the tokenizer of its set, if it names none.

    Raises:
        DataError: the set cannot be read, or lists no characters, or has no tokenizer.
        ConfigError: its characters are too many.
    """
    options = config.data.options
    kind = config.data.medium == "text" and options["alphabet"]
    field = {"characters": "symbols", "bpe": "tokenizer"}.get(kind or "")
    if field is None or options[field]:
        return config
    found: str = getattr(_read_index(config), field)
    if not found:
        raise DataError(
            f"data.path: {config.data.path}: its index "
            + (
                "lists no characters; set data.options.symbols to those of the texts, or data.options.alphabet=bytes"
                if field == "symbols"
                else "has no tokenizer; pack the set with --alphabet bpe, or set data.options.alphabet=characters"
            )
        )
    if options["lower"] and field == "symbols":
        found = "".join(sorted(set(found.lower())))
    data = config.data.model_copy(update={"options": {**options, field: found}})
    filled = config.model_copy(update={"data": data})
    medium_of(filled)
    return filled


def _read_index(config: RunConfig) -> Index:
    path = config.data.path
    if path.startswith("builtin:"):
        folder = cache_dir(config)
        with cached(folder):
            path = builtin(path.removeprefix("builtin:"), folder)
    elif not is_remote(path):
        path = str(local_path(path, "data.path"))
    try:
        index = read_index(path)
    except NoIndexError as error:
        raise DataError(f"data.path: {config.data.path}{unpacked(path)}") from error
    except DataError as error:
        raise type(error)(f"data.path: {error}") from error
    except OSError as error:
        raise DataError(f"data.path: {config.data.path}: cannot be read: {error.strerror}") from error
    return index


def _check_medium(index: Index, config: RunConfig, said: str) -> Medium:
    """The configuration's medium; refuses a set of another one."""
    medium = rows_of(config)
    if index.extensions <= set(medium.extensions):
        return medium
    name = config.data.medium
    held = ", ".join(f".{extension}" for extension in sorted(index.extensions))
    others = [other for other in media_of(index.extensions) if other != name]
    fix = f"set data.medium={others[0]}" if others else f"data.medium={name} reads {', '.join(medium.extensions)}"
    raise DataError(f"{said}: holds {noun_of(index.extensions)}s ({held}), and data.medium is {name}; {fix}")


def condition_warnings(config: RunConfig, index: Index) -> list[str]:
    """Warnings for conditions of a set that are allowed but known to cause trouble."""
    return condition_of(config).warnings(index, f"data.path: {config.data.path}", config.train.batch)


def _check_sizes(index: Index) -> None:
    for shard in range(index.shards.num_rows):
        url, expected = index.url(shard), index.shards.column("bytes")[shard].as_py()
        if is_remote(url):
            continue
        try:
            size = os.stat(url).st_size  # noqa: PTH116  (a url, not a Path)
        except OSError as error:
            raise DataError(
                f"data.path: {url}: the index names this shard, but it cannot be read: {error.strerror}; restore the "
                f"shard, or index the others: {index_command(index.base)}"
            ) from error
        if size != expected:
            raise DataError(f"data.path: {url}: damaged: {size} bytes, the index has {expected}; restore the shard")


def open_set(config: RunConfig, index: Index, medium: Medium | None = None) -> SampleSet:
    """The decoded samples of the set as rows of a medium, with their conditions.

    Args:
        medium: default that of the run's stored rows, which may hold more than a sample: the other picture of a pair.
    """
    folder = cache_dir(config)
    with cached(folder):
        return open_samples(
            index,
            medium or rows_of(config),
            cache_dir=folder,
            cache_gib=config.data.cache_gib,
            threads=config.data.decode_threads,
            on_damage=config.data.on_damage,
            conditions=condition_of(config).stored(index),
        )


def order_of(config: RunConfig, index: Index) -> Order:
    """The order in which the run sees the set."""
    return Order(index.shards.column("n").to_pylist(), config.run.seed)
