"""Small sources of pairs: an input is smooth, so that lossy formats keep it, and its target is the negative of it."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from gandist.data.index import INPUT, TARGET, Index

FORMATS = ("PNG", "JPEG", "WEBP")
SUFFIXES = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}


def smooth(number: int, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """Input `number` (height, width, 3): colours that change from corner to corner."""
    corners = np.random.default_rng(number).integers(20, 236, (2, 2, 3), np.uint8)
    return np.asarray(Image.fromarray(corners).resize(size[::-1], Image.Resampling.BILINEAR))


def encoded(pixels: np.ndarray, format: str = "PNG", **options: object) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, format, **({"quality": 95} if format != "PNG" else {}), **options)
    return sink.getvalue()


def two_folders(root: Path, n: int = 12, *, mixed: bool = True) -> tuple[Path, Path]:
    """Inputs in `root`/a and targets in `root`/b, in two classes, in formats that differ between the two if `mixed`."""
    for i in range(n):
        pixels = smooth(i)
        for shift, (folder, image) in enumerate((("a", pixels), ("b", 255 - pixels))):
            format = FORMATS[(i + shift) % 3] if mixed else "PNG"
            path = root / folder / f"class{i % 2}" / f"{i:03d}.{SUFFIXES[format]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(image, format))
    return root / "a", root / "b"


def side_by_side(root: Path, n: int = 12, *, input_left: bool = True) -> Path:
    """The same pairs as one PNG each."""
    for i in range(n):
        pixels = smooth(i)
        halves = (pixels, 255 - pixels) if input_left else (255 - pixels, pixels)
        path = root / f"class{i % 2}" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(np.concatenate(halves, axis=1)))
    return root


def content(index: Index, member: str) -> list[bytes]:
    """The bytes of a file of each sample, read by offset as a rank does."""
    offsets, sizes, _ = index.places(member)
    shards = index.samples["shard"].to_pylist()
    return [
        Path(index.url(shard)).read_bytes()[offset:][:size]
        for shard, offset, size in zip(shards, offsets.tolist(), sizes.tolist(), strict=True)
    ]


def images(index: Index) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Key -> input and target."""
    inputs, targets = (
        [np.asarray(Image.open(io.BytesIO(data))) for data in content(index, member)] for member in (INPUT, TARGET)
    )
    return dict(zip(index.samples["key"].to_pylist(), zip(inputs, targets, strict=True), strict=True))


def damage_half(index: Index, number: int, member: str) -> None:
    """Flip a byte inside one file of sample `number`."""
    path = Path(index.url(index.samples["shard"][number].as_py()))
    offset, size, _ = (int(column[number]) for column in index.places(member))
    data = bytearray(path.read_bytes())
    data[offset + size // 2] ^= 0xFF
    path.write_bytes(bytes(data))
