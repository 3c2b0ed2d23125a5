"""IDX files, the format of MNIST: http://yann.lecun.com/exdb/mnist."""

import gzip
import lzma
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gandist.data.samples import Sample, Source
from gandist.errors import DataError

UNPACKED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.decompress, ".xz": lzma.decompress}
"""What unpacks a file, by the last suffix of its name."""
IDX_IMAGES = tuple(f"-images{sep}idx3-ubyte{suffix}" for sep in "-." for suffix in UNPACKED)
"""Suffixes of the names of image files."""


def idx(path: Path, labelled: bool = True) -> Source:
    """IDX files in MNIST's format: images at `path`, labels beside them under the matching name."""
    images = _idx_array(path)
    if images.ndim not in (3, 4):
        raise DataError(f"{path}: holds {images.ndim}-dimensional data, where images have 3 dimensions (n, H, W)")
    stem = path.name.removesuffix(_compression(path)).replace("images", "labels").replace("idx3", "idx1")
    found = [beside for suffix in UNPACKED if (beside := path.with_name(stem + suffix)).is_file()]
    numbers = _idx_array(found[0]) if found and labelled else None
    if numbers is not None and numbers.shape != images.shape[:1]:
        raise DataError(f"{found[0]}: {len(numbers)} labels for the {len(images)} images of {path.name}")

    def read(i: int) -> Sample:
        return Sample(images[i], -1 if numbers is None else int(numbers[i]), None)

    return Source(len(images), read, lambda i: f"{path}: image {i}")


def _compression(path: Path) -> str:
    return path.suffix if path.suffix in UNPACKED else ""


def _idx_array(path: Path) -> Any:
    try:
        data = UNPACKED[_compression(path)](path.read_bytes())
        zeros, kind, rank = struct.unpack(">HBB", data[:4])
        shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    except (OSError, EOFError, zlib.error, lzma.LZMAError, struct.error) as error:
        raise DataError(f"{path}: cannot be read as an IDX file: {error}") from error
    if zeros != 0 or kind != 8:
        raise DataError(f"{path}: not an IDX file of unsigned bytes")
    if len(data) != 4 + 4 * rank + math.prod(shape):
        raise DataError(f"{path}: {len(data)} bytes, but its header announces {shape} values; fetch it again")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
