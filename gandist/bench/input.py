"""Input without a step: the speed of decoding alone, of the mapped cache, and of the whole pipeline.

Two sets: the configuration's own, and generated JPEGs packed into a temporary folder. Four figures for each:

    decode     decoding from bytes in memory, on as many threads as the pipeline has: its limit
    streamed   the pipeline (order, shards, decoding, batches ahead) without a decoded set; against `decode`
    gather     copying batches out of the decoded, memory-mapped set, on one thread
    mapped     the pipeline with the decoded set; against `gather`
"""

import argparse
import mmap
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gandist.bench.measure import Case, Measurement, TimedCalls, changed, in_turn
from gandist.config.run import DEMO, RunConfig, validate
from gandist.data import dataset
from gandist.data.feed import Feed
from gandist.data.index import Index, numbers
from gandist.data.packing import pack
from gandist.distributed.ranks import pick_device
from gandist.errors import DataError
from gandist.media.decode import decode
from gandist.storage.remote import is_remote

DEFAULT = (DEMO,)
COLUMNS = ("data", "what", "batch", "threads", "img_per_s", "ms_per_step", "ratio", "mib_per_s", "bytes_per_image")
CHUNK = 512
"""Samples that the threads share at once when only decoding is measured."""
FEWEST = 8
"""Minimum batches per block, because the number of ready batches differs between its start and end."""


def options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--jpegs",
        type=int,
        default=2000,
        metavar="N",
        help="JPEGs to generate and decode; 0 for none (default: %(default)s)",
    )
    size = "their height and width in pixels (default: %(default)s)"
    add("--size", type=int, choices=(32, 64, 128, 256), default=64, help=size)


def measure(case: Case, options: argparse.Namespace) -> Iterator[Measurement]:
    """Four records for the configuration's set, and four for JPEGs."""
    yield from _of_set(case, options, case.config.data.path)
    if options.jpegs:
        with tempfile.TemporaryDirectory(prefix="gandist-bench-") as folder:
            make_jpegs(Path(folder), options.jpegs, options.size)
            config = _jpeg_config(case.config, Path(folder), options)
            yield from _of_set(Case(case.name, config), options, f"jpeg-{options.size}")


def _jpeg_config(config: RunConfig, folder: Path, options: argparse.Namespace) -> RunConfig:
    """The given configuration, reading the generated set instead."""
    tree, size = config.resolved(), options.size
    data = {**tree["data"], "path": f"{folder}/shards", "cache_dir": f"{folder}/cache", "channels": 3}
    # The networks are not built: any that exist at each size will do.
    model = {"name": "r3gan", "resolution": size, "widths": [8] * (size.bit_length() - 2)}
    train = {**tree["train"], "batch": min(options.jpegs, config.train.batch), "accumulate": 1}
    return validate({"data": data, "model": model, "train": train, "launch": tree["launch"], "device": config.device})


def _of_set(case: Case, options: argparse.Namespace, name: str) -> Iterator[Measurement]:
    config = case.config
    index = dataset.open_index(config)
    if is_remote(index.base):
        raise DataError(f"{name}: bench input measures shards of this machine; copy them to a folder")
    size, channels, batch = config.model.resolution, config.data.channels, config.train.batch
    threads = config.data.decode_threads or os.cpu_count() or 1
    # Slightly too small for the decoded set, so that it is read from its shards each time.
    too_small = (2 * index.n * size * size * channels - 1) / 2**30
    streamed = dataset.open_set(changed(config, {"data.cache_gib": too_small}), index)
    mapped = dataset.open_set(changed(config, {"data.cache_gib": max(50.0, 3 * too_small)}), index)
    order, rng, encoded = dataset.order_of(config, index), np.random.default_rng(0), Encoded(index)
    with ThreadPoolExecutor(threads) as pool, closing(_feed(config, streamed, order)) as feed:
        decoded = _decoding(encoded, pool, threads, (size, size, channels), rng)
        slow = in_turn({"decode": decoded, "streamed": _pipeline(feed, config)}, options.seconds, FEWEST)
    with closing(_feed(config, mapped, order)) as feed:
        gathered = _gathering(mapped, order, batch, index.n, rng)
        fast = in_turn({"gather": gathered, "mapped": _pipeline(feed, config)}, options.seconds, FEWEST)
    rates = {name: batch / seconds for name, seconds in (slow | fast).items()}
    rates["decode"] = CHUNK / slow["decode"]
    against = {"streamed": "decode", "mapped": "gather"}
    for what, rate in rates.items():
        per_image = encoded.mean_bytes if what in slow else size * size * channels
        yield case.record(
            "input",
            batch=batch,
            device=pick_device(config.device).type,
            img_per_s=rate,
            ms_per_step=1e3 * batch / rate,
            ratio=rate / rates[against[what]] if what in against else None,
            data=name,
            what=what,
            threads=threads if what in slow else 1,
            bytes_per_image=per_image,
            mib_per_s=rate * per_image / 2**20,
        )


def _feed(config: Any, images: Any, order: Any) -> Feed:
    """Open the feed as a run does."""
    return Feed(
        images,
        order,
        batch=config.train.batch,
        images_seen=0,
        prefetch=config.data.prefetch,
        device=pick_device(config.device),
    )


class Encoded:
    """The bytes of each sample of local shards, memory-mapped and read once, so that they are in memory."""

    def __init__(self, index: Index) -> None:
        self.shard, self.offset, self.size = (numbers(index.samples[n]) for n in ("shard", "offset", "size"))
        self.shards = []
        for number in range(index.shards.num_rows):
            with Path(index.url(number)).open("rb") as file:
                self.shards.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            sum(self.shards[-1][:: mmap.PAGESIZE])
        self.mean_bytes = float(self.size.mean())

    def __len__(self) -> int:
        return len(self.size)

    def __getitem__(self, number: int) -> bytes:
        offset = int(self.offset[number])
        data: bytes = self.shards[self.shard[number]][offset : offset + int(self.size[number])]
        return data


def _decoding(
    encoded: Encoded, pool: ThreadPoolExecutor, threads: int, shape: tuple[int, int, int], rng: np.random.Generator
) -> TimedCalls:
    """The time to decode n times `CHUNK` random samples on `threads` threads."""

    def decode_some(numbers: np.ndarray) -> None:
        room = np.empty(shape, np.uint8)
        for number in numbers:
            decode(encoded[number], shape[0], shape[2], room)

    def seconds(n: int) -> float:
        start = time.perf_counter()
        for _ in range(n):
            list(pool.map(decode_some, np.array_split(rng.integers(0, len(encoded), CHUNK), threads)))
        return time.perf_counter() - start

    return seconds


def _gathering(mapped: Any, order: Any, batch: int, n_images: int, rng: np.random.Generator) -> TimedCalls:
    """The time to gather n batches of a mapped set, each from another place of its order."""

    def seconds(n: int) -> float:
        asked = [order.take(int(at), batch) for at in rng.integers(0, n_images, n)]
        start = time.perf_counter()
        for batch_numbers in asked:
            mapped.gather(batch_numbers)
        return time.perf_counter() - start

    return seconds


def _pipeline(feed: Feed, config: RunConfig) -> TimedCalls:
    """The time until n batches have passed through the whole pipeline."""

    def seconds(n: int) -> float:
        for _ in range(config.data.prefetch + 1):
            feed.next()  # batches that are ready would cost nothing
        start = time.perf_counter()
        for _ in range(n):
            feed.next()
        return time.perf_counter() - start

    return seconds


def make_jpegs(folder: Path, n: int, size: int) -> None:
    """Pack n coloured images of soft blobs, no two alike, as JPEGs of quality 95 into `folder`/shards."""
    (folder / "images").mkdir()
    for number in range(n):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        picture.save(folder / "images" / f"{number:06d}.bmp")
    pack(str(folder / "images"), str(folder / "shards"), format="jpeg")
