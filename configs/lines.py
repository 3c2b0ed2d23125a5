"""Lines of text: the phrases of the King James Bible up to 32 characters, from Debian's bible-kjv.

    apt-get install bible-kjv
    python configs/lines.py data/lines

Makes DEST/train and DEST/test, packed: 46,154 and 5,000 lines of 8 to 32 characters, each from one sign of punctuation
to the next, no line twice. The same command gives the same bytes. It takes ten seconds of CPU time and 52 MB. The
copyright of the text has expired (/usr/share/doc/bible-kjv-text/copyright).
"""

import argparse
import os
import re
import shutil
import subprocess
from pathlib import Path

from gandist.data.order import permutation
from gandist.data.packing import pack
from gandist.distributed.randomness import philox

ALL = "gen1:1-rev22:21"
PHRASE = re.compile(r"[^,.;:?!]+[,.;:?!]")
SHORTEST, LONGEST = 8, 32
HELD_OUT = 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dest", type=Path, metavar="DEST", help="new folder")
    parser.add_argument("--n", type=int, metavar="N", help="lines for training (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()
    if shutil.which("bible") is None:
        parser.error("the text is not installed: apt-get install bible-kjv")
    found = phrases()
    order = permutation(philox(options.seed, "lines").bit_generator, len(found)).tolist()
    parts = {"train": order[HELD_OUT:][: options.n], "test": order[:HELD_OUT]}
    options.dest.mkdir(parents=True, exist_ok=True)
    for part, numbers in parts.items():
        source, folder = options.dest / f".{part}.txt", options.dest / part
        source.write_text("".join(f"{found[i]}\n" for i in numbers))
        index, _ = pack(str(source), str(folder), length=LONGEST, seed=options.seed, progress=True)
        source.unlink()
        print(f"{folder}: {index.n:,} lines of {len(index.symbols)} characters")  # noqa: T201


def phrases() -> list[str]:
    """All phrases of the lengths wanted, each once, sorted."""
    command, plain = ["bible", "-f", ALL], {**os.environ, "COLUMNS": "0"}
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, env=plain)
    verses = (line.partition(" ")[2] for line in said.stdout.splitlines())
    found = {phrase.strip() for verse in verses for phrase in PHRASE.findall(verse)}
    return sorted(phrase for phrase in found if SHORTEST <= len(phrase) <= LONGEST)


if __name__ == "__main__":
    main()
