"""Tiles of photographs, to learn enhancement from: each photograph is halved until its shorter side has at most
--side pixels, which makes it sharp, and cut into tiles without overlap.

    python configs/photos.py photographs data/photos-tiles --tile 64
    python -m gandist.pack data/photos-tiles/train data/photos-train --size 64 --channels 3
    python -m gandist.pack data/photos-tiles/test data/photos-test --size 64 --channels 3

Every tenth photograph goes to test/, the others to train/. Debian's packages plasma-workspace-wallpapers,
gnome-backgrounds and mate-backgrounds have photographs under free licences (in /usr/share/wallpapers and backgrounds).
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
FLAT = 6.0
"""Standard deviation of the grey levels, of 255, below which a tile shows nothing."""
HELD_OUT = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, metavar="PHOTOGRAPHS", help="folder, with all below it")
    parser.add_argument("dest", type=Path, metavar="DEST", help="new folder")
    parser.add_argument("--tile", type=int, default=64, help="height and width of a tile (default: %(default)s)")
    parser.add_argument("--side", type=int, default=800, help="longest shorter side (default: %(default)s)")
    options = parser.parse_args()
    files = sorted(path for path in options.photographs.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        parser.error(f"{options.photographs}: holds no {', '.join(SUFFIXES)}")
    kept, flat, broken = 0, 0, 0
    for number, path in enumerate(files):
        folder = options.dest / ("test" if number % HELD_OUT == 0 else "train")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            tiles = cut(path, options.tile, options.side)
        except (OSError, UnidentifiedImageError) as error:
            print(f"{path}: left out: {error}")  # noqa: T201
            broken += 1
            continue
        for i, tile in enumerate(tiles):
            if tile.mean(2).std() < FLAT:
                flat += 1
                continue
            Image.fromarray(tile).save(folder / f"{number:04d}-{i:04d}.png")
            kept += 1
    print(f"{kept:,} tiles of {len(files) - broken:,} photographs; {flat:,} flat tiles left out")  # noqa: T201


def cut(path: Path, tile: int, side: int) -> np.ndarray:
    """Tiles (N, tile, tile, 3) uint8 of a photograph; pixels at its right and lower edge that fill no tile are lost."""
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    while min(picture.size) > side:
        picture = picture.reduce(2)
    rows, columns = picture.height // tile, picture.width // tile
    pixels = np.asarray(picture)[: rows * tile, : columns * tile]
    return pixels.reshape(rows, tile, columns, tile, 3).swapaxes(1, 2).reshape(-1, tile, tile, 3)


if __name__ == "__main__":
    main()
