"""Encode the samples of a source on threads and write them as shards; broken ones are left out."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from gandist.cli.terminal import Counter
from gandist.data.forms import Form
from gandist.data.making import members, write_shard
from gandist.data.samples import LISTED_MAX, Broken, Source
from gandist.errors import DataError
from gandist.media.formats import FORMATS


def permutation(n: int, seed: int) -> np.ndarray:
    """The numbers below `n` in an order drawn by `seed`, from the generator's raw words: numpy keeps them stable
    (unlike the generator's methods)."""
    return np.argsort(np.random.Philox(key=seed).random_raw(n), kind="stable")


def write_shards(
    source: Source,
    folder: Path,
    form: Form,
    *,
    shard_size: int,
    order: np.ndarray,
    max_broken: int,
    captions: bool,
    workers: int,
    progress: bool,
) -> list[Path]:
    """Write the samples `order`, in this order, to `folder`; return the paths of the shards. Broken samples are noted
    in `source.left_out`.

    Args:
        order: numbers of samples (n,).
        max_broken: tolerated number of broken samples, including those the source already knows.
        captions: whether a sample without a caption counts as broken.

    Raises:
        DataError: more samples are broken, or all; the message lists them.
    """
    known, what = source.left_out.broken, FORMATS[source.medium]
    check_broken(known, max_broken, what.plural)
    stop = threading.Event()
    bar = Counter("packing", len(order), what.plural, shown=progress)

    def write(job: tuple[int, np.ndarray]) -> tuple[Path, list[Broken]]:
        number, numbers = job
        path = folder / f"{number:06d}.tar"
        broken: list[Broken] = []
        if not write_shard(path, _encoded(source, numbers.tolist(), form, captions, broken, stop)):
            path.unlink()
        return path, broken

    jobs = list(enumerate(np.split(order, range(shard_size, len(order), shard_size))))
    paths: list[Path] = []
    # Threads, because Pillow releases the GIL: 1024x768 JPEG to 256x256 runs at 136 img/s on one thread, 260 on two.
    # Processes would start a second later, and would need every sample or reader sent to them.
    pool = ThreadPoolExecutor(workers)
    try:
        for (path, broken), (_, numbers) in zip(pool.map(write, jobs), jobs, strict=True):
            bar.add(len(numbers))
            paths += [path] if path.exists() else []
            known += broken
            if len(known) > max_broken + LISTED_MAX:
                break
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        bar.close()
    check_broken(known, max_broken, what.plural)
    if not paths:
        raise DataError(f"no {what.noun} could be read")
    return paths


def _encoded(
    source: Source, numbers: list[int], form: Form, captions: bool, broken: list[Broken], stop: threading.Event
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples `numbers` in the form that `write_shard` takes; faults of broken samples go to `broken`."""
    for i in numbers:
        if stop.is_set():
            break
        try:
            sample = source.read(i)
            if captions and not (sample.caption or "").strip():
                raise ValueError("has no caption; put one beside it, or leave out --captions")
            files: list[tuple[bytes | None, bytes]]
            done: list[str] = []
            if sample.input is None:
                files = [(None, file) for file in form.encoded(sample.image, done.append)]
            else:
                files = [form.encode_pair(sample.input, sample.image)]
        except Exception as error:  # decoders raise any exception
            broken.append(Broken(source.name(i), str(error)))
            continue
        source.left_out.fit(done)
        for part, (given, file) in enumerate(files):
            key = f"{i:08d}" if len(files) == 1 else f"{i:08d}-{part:04d}"
            yield key, members(file, form.format, sample.label, sample.caption, given)


def check_broken(broken: Sequence[Broken], max_broken: int, what: str = "images") -> None:
    """Refuse a set with more than `max_broken` broken samples, which messages call `what`.

    Raises:
        DataError: there are more; the message lists them.
    """
    if len(broken) <= max_broken:
        return
    allowed = max_broken + LISTED_MAX
    complete = len(broken) <= allowed
    raise DataError(
        "\n".join(sorted(f"{where}: {why}" for where, why in broken)[:allowed])
        + f"\n{'' if complete else 'more than '}{min(len(broken), allowed)} broken {what}, and --max-broken is "
        f"{max_broken}: nothing was packed; mend or remove them"
        + (f", or pass --max-broken {len(broken)} to leave them out" if complete else "")
    )
