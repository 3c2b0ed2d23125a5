"""The images a configuration names: found, checked against it, and opened."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gandist.config.run import RunConfig
from gandist.data.builtin import builtin
from gandist.data.images import Images, open_images
from gandist.data.index import Index, NoIndexError, index_command, read_index
from gandist.data.order import Order
from gandist.data.remote import default_cache_dir, is_remote, local_path, printable
from gandist.data.room import FULL
from gandist.data.unpacked import unpacked
from gandist.errors import DataError


def cache_dir(config: RunConfig) -> Path:
    """Where this node keeps fetched and decoded data.

    Raises:
        DataError: it cannot be a folder, or cannot be written to.
        ConfigError: it lies in a home that is not there.
    """
    chosen = config.data.cache_dir
    with cached():
        folder = local_path(chosen, "data.cache_dir") if chosen else default_cache_dir()
    with cached(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:  # a folder that is there may belong to somebody else
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(folder)) from error
    return folder


@contextmanager
def cached(folder: Path | None = None) -> Iterator[None]:
    """Within, what fails in the cache `folder` is told as a fault of it.

    Raises:
        DataError: naming `data.cache_dir`.
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
            "data.cache_dir to a folder that can be"
        ) from error


@contextmanager
def told_as(key: str) -> Iterator[None]:
    """Within, what is wrong with `data.path` is told of `key`, an argument that takes its place."""
    try:
        yield
    except DataError as error:
        raise type(error)(re.sub(r"^data\.path: ", f"{key} ", str(error))) from error


def with_images_at(config: RunConfig, path: str) -> RunConfig:
    """The configuration, but of the images at `path`, which need not fill a batch."""
    data, train = config.data.model_copy(update={"path": path}), config.train.model_copy(update={"batch": 1})
    return config.model_copy(update={"data": data, "train": train})


def open_index(config: RunConfig) -> Index:
    """The index of `data.path`, checked against the configuration. Cheap enough for a driver without a GPU.

    Raises:
        DataError: no such set; too few images for a global batch; classes or captions' vectors that disagree with
            the network; a local shard that is missing or cut short.
    """
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
    said = f"data.path: {config.data.path}"
    if index.n < config.train.batch:
        raise DataError(f"{said}: holds {index.n} images, fewer than one global batch; set train.batch <= {index.n}")
    classes = config.model.classes
    if classes and index.classes != classes:
        present = len(np.unique(index.labels[index.labels >= 0]))
        costly = (
            f", which gives a row of weights also to the {index.classes - present} classes without images; or pack the "
            f"images with labels from 0 to {present - 1}"
        )
        raise DataError(
            f"{said}: its labels make {index.classes} classes, the network has model.classes={classes}; "
            f"set model.classes={index.classes}{costly if index.classes > index.n else ''}"
        )
    if classes and min(index.samples.column("label").to_pylist()) < 0:
        raise DataError(f"{said}: some images have no label; label them, or set model.classes=0")
    text_dim = config.model.text_dim
    if text_dim and not index.text_dim:
        raise DataError(
            f"{said}: holds no vectors of captions, and the network has model.text_dim={text_dim}; make "
            f"them: {index_command(index.base)} --captions"
        )
    if text_dim and index.text_dim != text_dim:
        raise DataError(
            f"{said}: the vectors of its captions have {index.text_dim} dimensions, the network has "
            f"model.text_dim={text_dim}; set model.text_dim={index.text_dim}"
        )
    if config.data.on_damage == "stop":
        _check_sizes(index)
    return index


def class_warnings(config: RunConfig, index: Index) -> list[str]:
    """What is allowed, but is known to go wrong: classes of the network with no images, or with few."""
    classes = config.model.classes
    if not classes:
        return []
    counts = np.bincount(index.labels[index.labels >= 0], minlength=classes)
    rows = config.train.batch / classes
    said = f"data.path: {config.data.path}"
    found = []
    if empty := np.flatnonzero(counts == 0).tolist():
        found.append(
            f"{said}: {len(empty)} of {classes} classes {'have' if len(empty) > 1 else 'has'} no images "
            f"({_named(empty, index)}), and what G draws of them means nothing; pack images with labels from 0 to "
            f"{classes - len(empty) - 1}"
        )
    if few := np.flatnonzero((counts > 0) & (counts < rows)).tolist():
        found.append(
            f"{said}: {len(few)} of {classes} classes {'have' if len(few) > 1 else 'has'} fewer images than a batch "
            f"draws of a class, {rows:.0f} ({_named(few, index, counts)}); G may learn them by heart: pack more of them"
        )
    return found


def _named(classes: list[int], index: Index, counts: np.ndarray | None = None) -> str:
    """The first few of some classes, with their counts."""
    names = [printable(index.class_names[k]) if k < len(index.class_names) else f"class {k}" for k in classes[:3]]
    if counts is not None:
        names = [f"{name}: {counts[k]}" for name, k in zip(names, classes, strict=False)]
    return ", ".join(names) + (", ..." if len(classes) > 3 else "")


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


def conditions_of(config: RunConfig, index: Index) -> np.ndarray:
    """What goes with each image: the vector of its caption (n, text_dim) float32, or its label (n,) int64."""
    vectors = index.vectors if config.model.text_dim else None
    return index.labels if vectors is None else vectors


def open_set(config: RunConfig, index: Index) -> Images:
    """The decoded images of the set at the network's resolution, with their conditions."""
    folder = cache_dir(config)
    with cached(folder):
        return open_images(
            index,
            config.model.resolution,
            config.data.channels,
            cache_dir=folder,
            cache_gib=config.data.cache_gib,
            threads=config.data.decode_threads,
            on_damage=config.data.on_damage,
            conditions=conditions_of(config, index),
        )


def order_of(config: RunConfig, index: Index) -> Order:
    """The order in which the run shows the set."""
    return Order(index.shards.column("n").to_pylist(), config.run.seed)
