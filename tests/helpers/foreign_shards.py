"""Small shards as other programs write them, and their index."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from gandist.data.cache import ShardCache
from gandist.data.index import Index
from gandist.data.indexing import index_shards


def png(seed: int) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def two_shards(folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return [
        write_tar(
            folder / f"{s}.tar",
            [(f"{i}.{e}", c) for i in range(3) for e, c in (("png", png(i + s)), ("cls", b"1"))],
        )
        for s in range(2)
    ]


def index_of(*paths: Path, base: str = "") -> Index:
    return index_shards([str(path) for path in paths], ShardCache(Path(), 0), base=base)


def with_vectors(index: Index, vectors: np.ndarray, encoder: str = "ours") -> Index:
    captions = sorted({caption for caption in index.captions if caption is not None})
    column = pa.FixedSizeListArray.from_arrays(vectors.astype(np.float32).reshape(-1), vectors.shape[1])
    return replace(index, embedded=pa.table({"caption": captions, "vector": column}), encoder=encoder)
