"""IDX files, the format of MNIST: http://yann.lecun.com/exdb/mnist."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gandist.data.samples import Sample, Source
from gandist.errors import DataError

IDX_IMAGES = ("-images-idx3-ubyte", "-images-idx3-ubyte.gz", "-images.idx3-ubyte", "-images.idx3-ubyte.gz")
"""Suffixes of the names of image files."""


def idx(path: Path, labelled: bool = True) -> Source:
    """IDX files in MNIST's format: images at `path`, labels beside them under the matching name."""
    images = _idx_array(path)
    if images.ndim not in (3, 4):
        raise DataError(f"{path}: holds {images.ndim}-dimensional data, where images have 3 dimensions (n, H, W)")
    stem = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    found = [path.with_name(name) for name in (stem, f"{stem}.gz") if path.with_name(name).is_file()]
    numbers = _idx_array(found[0]) if found and labelled else None
    if numbers is not None and numbers.shape != images.shape[:1]:
        raise DataError(f"{found[0]}: {len(numbers)} labels for the {len(images)} images of {path.name}")

    def read(i: int) -> Sample:
        return Sample(images[i], -1 if numbers is None else int(numbers[i]), None)

    return Source(len(images), read, lambda i: f"{path}: image {i}")


def _idx_array(path: Path) -> Any:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zeros, kind, rank = struct.unpack(">HBB", data[:4])
        shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"{path}: cannot be read as an IDX file: {error}") from error
    if zeros != 0 or kind != 8:
        raise DataError(f"{path}: not an IDX file of unsigned bytes")
    if len(data) != 4 + 4 * rank + math.prod(shape):
        raise DataError(f"{path}: {len(data)} bytes, but its header announces {shape} values; fetch it again")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
