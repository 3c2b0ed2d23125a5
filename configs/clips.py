"""Emoji that move: 477 animations of Microsoft's Fluent Emoji, from an npm package, as short clips in four classes.

    npm install --prefix data/emoji @lobehub/fluent-emoji-anim-1@1.0.0
    python configs/clips.py data/emoji/node_modules data/emoji/clips

Makes DEST/train and DEST/test, packed, in RGB on white: 3,261 and 337 clips, 50 MB. The package (MIT) has 999 WebP
files of 256 pixels; 522 hold a single picture and are left out. The others have 28 to 97 frames, most of them 72, at 24
a second, and go on from the last to the first. Every fourth frame is taken, since little moves from one to the next,
and of each animation several windows. About a tenth of the emoji is in test/ alone, with all their skin tones. The same
command gives the same bytes. Takes 80 seconds of CPU time.
"""

import argparse
import json
import re
import shutil
import zlib
from pathlib import Path

from PIL import Image

from gandist.data.packing import pack

PACKAGE = "@lobehub/fluent-emoji-anim-1"
PARTS = ("train", "test")
TESTED = 10
"""One emoji in this many is held out."""
TONE = re.compile(r"-1f3f[b-f]")
CLASSES = {
    "animal": ((0x1F400, 0x1F43F),),
    "body": ((0x1F440, 0x1F450), (0x1F463, 0x1F463)),
    "person": ((0x1F385, 0x1F385), (0x1F3C2, 0x1F3CC), (0x1F464, 0x1F487)),
}
"""Ranges of the first code point; any other is a thing."""
NAMES = (*CLASSES, "thing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("node_modules", type=Path, metavar="NODE_MODULES")
    parser.add_argument("dest", type=Path, metavar="DEST", help="new folder")
    parser.add_argument("--frames", type=int, default=8, help="of a clip (default: %(default)s)")
    parser.add_argument(
        "--stride", type=int, default=4, help="take every Nth frame (default: %(default)s)", metavar="N"
    )
    parser.add_argument("--size", type=int, default=32, metavar="PX", help="default: %(default)s")
    parser.add_argument("--windows", type=int, default=8, metavar="N", help="clips of an animation (default: 8)")
    parser.add_argument("--n", type=int, help="animations of each part at most (default: all)")
    options = parser.parse_args()
    if not (options.node_modules / PACKAGE).is_dir():
        parser.error(f"{options.node_modules}: lacks {PACKAGE}; npm install it, as --help says")
    files = sorted((options.node_modules / PACKAGE / "assets").glob("*.webp"))
    moving = [path for path in files if moves(path)]
    print(f"{len(files)} emoji, {len(moving)} of which move")  # noqa: T201
    for part in PARTS:
        there = [path for path in moving if held_out(path) == (part == "test")]
        n = min(options.n or len(there), len(there))
        chosen = [there[i * len(there) // n] for i in range(n)]
        scratch, folder = options.dest / f".{part}", options.dest / part
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        for path in chosen:
            shutil.copyfile(path, scratch / path.name)
        labels = [[path.name, NAMES.index(class_of(path))] for path in chosen]
        (scratch / "dataset.json").write_text(json.dumps({"labels": labels}))
        index, _ = pack(
            str(scratch),
            str(folder),
            medium="video",
            frames=options.frames,
            stride=options.stride,
            windows=options.windows,
            size=options.size,
            channels=3,
            class_names=NAMES,
            progress=True,
        )
        shutil.rmtree(scratch)
        print(f"{folder}: {index.n:,} clips of {len(chosen)} animations")  # noqa: T201


def moves(path: Path) -> bool:
    with Image.open(path) as image:
        return getattr(image, "n_frames", 1) > 1


def held_out(path: Path) -> bool:
    """By the emoji without its skin tones: one of a training emoji would be no test."""
    return zlib.crc32(TONE.sub("", path.stem).encode()) % TESTED == 0


def class_of(path: Path) -> str:
    code = int(path.stem.split("-")[0], 16)
    return next((name for name, ranges in CLASSES.items() if any(a <= code <= b for a, b in ranges)), NAMES[-1])


if __name__ == "__main__":
    main()
