"""The vectors of a set's captions."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from gandist.conditions.encoder import encoder
from gandist.data.index import Index
from gandist.errors import DataError
from gandist.media.formats import noun_of


def embed(index: Index, where: str, progress: bool = False) -> Index:
    """The index with a vector for every distinct caption.

    Args:
        where: the user's name for the set, for the message.

    Raises:
        DataError: some samples have no caption.
        GandistError: the package with the weights is not installed.
    """
    captions = index.captions
    missing = [number for number, caption in enumerate(captions) if not (caption or "").strip()]
    if missing:
        first = index.samples["key"][missing[0]].as_py()
        what = f"{noun_of(index.extensions)}s"
        raise DataError(
            f"{where}: {len(missing)} of {index.n} {what} have no caption (the first: {first!r}); give every sample "
            "a .txt, or leave out --captions"
        )
    # Sorted, so that the result does not depend on the order of samples or on repeated captions.
    different = sorted({str(caption) for caption in captions})
    return with_vectors(index, different, encoder().encode(different, progress), encoder().id)


def with_vectors(index: Index, captions: Sequence[str], vectors: np.ndarray, made_by: str) -> Index:
    """The index with the vectors (n, D) of distinct captions, computed by the encoder with this id."""
    column = pa.FixedSizeListArray.from_arrays(vectors.astype(np.float32).reshape(-1), vectors.shape[1])
    return replace(index, embedded=pa.table({"caption": list(captions), "vector": column}), encoder=made_by)
