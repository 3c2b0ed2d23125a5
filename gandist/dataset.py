"""The images a configuration names: found, checked against it, and opened."""

import os
from pathlib import Path

import numpy as np

from gandist.config import RunConfig
from gandist.errors import DataError
from gandist.shards.builtin import builtin
from gandist.shards.images import Images, open_images
from gandist.shards.index import Index, read_index
from gandist.shards.order import Order
from gandist.shards.remote import default_cache_dir, is_remote


def cache_dir(config: RunConfig) -> Path:
    """Where this node keeps fetched and decoded data.

    Raises:
        DataError: it cannot be a folder.
    """
    folder = Path(config.data.cache_dir).expanduser() if config.data.cache_dir else default_cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"data.cache_dir: {folder} cannot be made a folder: {error.strerror}") from error
    return folder


def open_index(config: RunConfig) -> Index:
    """The index of `data.path`, checked against the configuration. Cheap enough for a driver without a GPU.

    Raises:
        DataError: no such set; too few images for a global batch; classes or captions' vectors that disagree with
            the network; a local shard that is missing or cut short.
    """
    path = config.data.path
    if path.startswith("builtin:"):
        path = builtin(path.removeprefix("builtin:"), cache_dir(config))
    elif not is_remote(path):
        path = str(Path(path).expanduser())
    index = read_index(path)
    if index.n < config.train.batch:
        raise DataError(
            f"{config.data.path}: holds {index.n} images, fewer than one global batch; set train.batch <= {index.n}"
        )
    classes = config.model.classes
    if classes and index.classes != classes:
        present = len(np.unique(index.labels[index.labels >= 0]))
        costly = (
            f", which gives a row of weights also to the {index.classes - present} classes without images; or pack the "
            f"images with labels from 0 to {present - 1}"
        )
        raise DataError(
            f"{config.data.path}: its labels make {index.classes} classes, the network has model.classes={classes}; "
            f"set model.classes={index.classes}{costly if index.classes > index.n else ''}"
        )
    if classes and min(index.samples.column("label").to_pylist()) < 0:
        raise DataError(f"{config.data.path}: some images have no label; label them, or set model.classes=0")
    text_dim = config.model.text_dim
    if text_dim and not index.text_dim:
        raise DataError(
            f"{config.data.path}: holds no vectors of captions, and the network has model.text_dim={text_dim}; make "
            f"them: python -m gandist.pack {index.base} --index-only --captions"
        )
    if text_dim and index.text_dim != text_dim:
        raise DataError(
            f"{config.data.path}: the vectors of its captions have {index.text_dim} dimensions, the network has "
            f"model.text_dim={text_dim}; set model.text_dim={index.text_dim}"
        )
    if config.data.on_damage == "stop":
        _check_sizes(index)
    return index


def _check_sizes(index: Index) -> None:
    for shard in range(index.shards.num_rows):
        url, expected = index.url(shard), index.shards.column("bytes")[shard].as_py()
        if is_remote(url):
            continue
        try:
            size = os.stat(url).st_size  # noqa: PTH116  (a url, not a Path)
        except OSError as error:
            raise DataError(f"{url}: the index names this shard, but it cannot be read: {error.strerror}") from error
        if size != expected:
            raise DataError(f"{url}: damaged: {size} bytes, the index has {expected}; restore the shard")


def conditions_of(config: RunConfig, index: Index) -> np.ndarray:
    """What goes with each image: the vector of its caption (n, text_dim) float32, or its label (n,) int64."""
    vectors = index.vectors if config.model.text_dim else None
    return index.labels if vectors is None else vectors


def open_set(config: RunConfig, index: Index) -> Images:
    """The decoded images of the set at the network's resolution, with their conditions."""
    return open_images(
        index,
        config.model.resolution,
        config.data.channels,
        cache_dir=cache_dir(config),
        cache_gib=config.data.cache_gib,
        threads=config.data.decode_threads,
        on_damage=config.data.on_damage,
        conditions=conditions_of(config, index),
    )


def order_of(config: RunConfig, index: Index) -> Order:
    """The order in which the run shows the set."""
    return Order(index.shards.column("n").to_pylist(), config.run.seed)
