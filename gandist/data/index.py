"""The index of a set of shards: place, label, caption and checksum of each sample; vectors of captions.

Order, even split, resume and integrity need nothing else: a rank reads its samples by their offsets.
"""

import contextlib
import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gandist.errors import DataError
from gandist.storage.remote import is_remote, join, printable

SHARDS_SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("n", pa.int32()),
        ("class_counts", pa.list_(pa.int64())),
    ]
)
SAMPLES_SCHEMA = pa.schema(
    [
        ("shard", pa.int32()),
        ("key", pa.string()),
        ("ext", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int32()),
        ("label", pa.int32()),
        ("caption", pa.string()),
        ("crc", pa.uint32()),
    ]
)
PAIRS_SCHEMA = pa.schema(
    [
        *SAMPLES_SCHEMA,
        ("input_ext", pa.string()),
        ("input_offset", pa.int64()),
        ("input_size", pa.int32()),
        ("input_crc", pa.uint32()),
    ]
)
"""Of a set of pairs: the columns of the target, as of any sample, and those of the input."""
TARGET, INPUT = "target", "input"
"""The files of a pair."""


@dataclass(frozen=True)
class Index:
    """The place of each sample in a set.

    Attributes:
        base: folder or URL to resolve relative shard urls against.
        shards: one row per shard: url, bytes, sha256, n (its samples), class_counts (a list, by label; null if labels
            are so large that the list would be much longer than the samples).
        samples: one row per sample, in the order of the shards: shard (row in `shards`), key, ext, offset and
            size of the sample's bytes in the tar, label (-1: none), caption (nullable), crc (by zlib). In a set of
            pairs these are the target's, and input_ext, input_offset, input_size and input_crc the input's.
        class_names: names of the classes in the order of their labels; empty if they have no names.
        embedded: one row per distinct caption: caption, vector (a list of float32 of fixed size). None if captions
            are not embedded (`gandist.data.text.embed`).
        encoder: name and sha256 of the text encoder that computed the vectors.
        symbols: the characters of a set of texts, each once; empty of other sets.
        tokenizer: the JSON of the tokenizer that a set of texts was packed with; empty of others.
    """

    base: str
    shards: pa.Table
    samples: pa.Table
    class_names: tuple[str, ...] = ()
    embedded: pa.Table | None = None
    encoder: str = ""
    symbols: str = ""
    tokenizer: str = ""

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.samples.num_rows)

    @property
    def paired(self) -> bool:
        """Whether the samples are pairs of an input and a target."""
        return "input_offset" in self.samples.schema.names

    def places(self, member: str = TARGET) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Offset, size and crc (n,) of a file of each sample: `TARGET`, the only one without pairs, or `INPUT`."""
        prefix = "input_" if member == INPUT else ""
        offset, size, crc = (numbers(self.samples[prefix + name]) for name in ("offset", "size", "crc"))
        return offset, size, crc

    @functools.cached_property
    def classes(self) -> int:
        """Largest label + 1; 0 for an unlabelled set."""
        return int(pc.max(self.samples["label"]).as_py()) + 1 if self.n else 0

    @functools.cached_property
    def extensions(self) -> frozenset[str]:
        """Extensions of the files that hold the samples."""
        return frozenset(pc.unique(self.samples["ext"]).to_pylist())

    @property
    def labels(self) -> np.ndarray:
        """Label of each sample (n,) int64, -1 for none."""
        return np.asarray(numbers(self.samples["label"]), dtype=np.int64)

    @property
    def captions(self) -> list[str | None]:
        """Caption of each sample."""
        return list(self.samples["caption"].to_pylist())

    @property
    def text_dim(self) -> int:
        """Dimension of the captions' vectors; 0 without vectors."""
        return 0 if self.embedded is None else int(self.embedded["vector"].type.list_size)

    @functools.cached_property
    def vectors(self) -> np.ndarray | None:
        """Vector of each sample's caption (n, text_dim) float32, 1.5 KB a sample; None without vectors."""
        if self.embedded is None:
            return None
        rows = pc.index_in(self.samples["caption"], self.embedded["caption"].combine_chunks())
        return np.asarray(matrix(self.embedded["vector"])[numbers(rows)])

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 of the shards' sha256s, the sample table and the vectors: equal for equal data at any place."""
        digest = hashlib.sha256(f"{self.n}\n".encode())
        digest.update("\n".join(self.shards["sha256"].to_pylist()).encode())
        for field in self.samples.schema:
            column = self.samples[field.name]
            if pa.types.is_string(field.type):
                # -1 where there is none; a Python number would be made an Arrow one by pandas, if installed.
                lengths = pc.coalesce(pc.binary_length(column), pc.negate(column.is_null().cast(pa.int32())))
                lengths = numbers(lengths).astype("<i4")
                digest.update(np.ascontiguousarray(lengths).data)
                for chunk in column.chunks:
                    digest.update("".join(text for text in chunk.to_pylist() if text is not None).encode())
            else:
                values = numbers(column)
                digest.update(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"))).data)
        if self.embedded is not None:
            digest.update(self.encoder.encode())
            digest.update(matrix(self.embedded["vector"]).astype("<f4", copy=False).data)
        return digest.hexdigest()

    def url(self, shard: int) -> str:
        """Path or URL of the shard in row `shard` of `shards`."""
        url = str(self.shards["url"][shard].as_py())
        return url if is_remote(url) else join(self.base, url)


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A column of numbers without nulls (n,). Arrow's own `to_numpy` imports pandas if installed, which takes half a
    second."""
    return np.from_dlpack(column.combine_chunks())


def matrix(vectors: pa.ChunkedArray) -> np.ndarray:
    """A column of lists of equal length as an array (n, size), without a copy if it has one chunk."""
    flat = np.from_dlpack(vectors.combine_chunks().flatten())
    return np.asarray(flat.reshape(len(vectors), -1))


def class_counts(labels: np.ndarray) -> list[int] | None:
    """The number of samples of each class, of labels (n,) with -1 for none; None if the list would be too long."""
    if labels.max(initial=-1) >= most_classes(len(labels)):
        return None
    counts: list[int] = np.bincount(labels[labels >= 0]).tolist()
    return counts


def most_classes(n: int) -> int:
    """The maximum number of classes for which a shard of n samples lists counts: labels may be any numbers, and the
    list must not be much longer than the samples."""
    return max(1024, 4 * n)


def relative_url(url: str, base: str) -> str:
    """The url of a shard in the index at `base`."""
    if is_remote(url):
        folder, _, _ = base.partition("?")
        inside = url.partition("?")[0].removeprefix(folder.rstrip("/") + "/")
        return inside if is_remote(base) and join(base, inside) == url else url
    path = os.path.abspath(url)  # noqa: PTH100 (resolve() would follow links)
    if url != printable(url):
        raise DataError(f"{printable(url)}: the shard's path is not UTF-8, and an index is; rename what is not")
    if is_remote(base):
        raise DataError(f"{url}: a shard on this machine cannot be used from an index at {base}; copy it there first")
    with contextlib.suppress(ValueError):
        return str(Path(path).relative_to(os.path.abspath(base)))  # noqa: PTH100
    return path
