"""English words, packed into shards: a small set of texts whose samples can be looked up."""

import lzma
from pathlib import Path

from gandist.data.making import making, members, write_shard
from gandist.data.order import permutation
from gandist.distributed.randomness import philox

FILE = "words.txt.xz"
SHORTEST, LONGEST = 3, 12
NAMES = tuple(f"{length} letters" for length in range(SHORTEST, LONGEST + 1))
"""The classes: a word's length."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SHARD = 10_000
HELD_OUT = 6_000
"""Words of `words-6k`, the last in the shuffled order; the others are `words-54k`."""


def words(source: Path) -> list[str]:
    """All words in the folder `source`, sorted."""
    return lzma.decompress((source / FILE).read_bytes()).decode().split()


def make_words(source: Path, dest: Path, *, held_out: bool | None = None) -> None:
    """Write the words as shards of text files, shuffled, to the new folder `dest`: all, or one part of them."""
    found = words(source)
    order = permutation(philox(0, "words-order").bit_generator, len(found)).tolist()
    part = {None: order, False: order[:-HELD_OUT], True: order[-HELD_OUT:]}[held_out]
    with making(str(dest)) as made:
        written = []
        for first in range(0, len(part), SHARD):
            path = made.work / f"{first // SHARD:06d}.tar"
            some = part[first : first + SHARD]
            write_shard(
                path, ((f"{i:08d}", members(found[i].encode(), "txt", len(found[i]) - SHORTEST, None)) for i in some)
            )
            written.append(path)
        made.finish(written, class_names=NAMES, extensions=("txt",), symbols=LETTERS)
