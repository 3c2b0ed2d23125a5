"""The condition is a caption, as the vector that a text encoder made from it."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gandist.conditions.condition import Described, Kind, Nothing, Wish, Written
from gandist.conditions.encoder import encoder
from gandist.distributed.randomness import Draws, philox
from gandist.errors import ConfigError, DataError


class Captions(Nothing):
    """y is (N, dim), in the float type of the networks."""

    kind: ClassVar[Kind] = "text"
    key: ClassVar[str] = "model.text_dim"

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def check(self, index: Described, data: str, index_command: str) -> None:
        if not index.text_dim:
            raise DataError(
                f"{data}: holds no vectors of captions, and the network has model.text_dim={self.dim}; make "
                f"them: {index_command} --captions"
            )
        if index.text_dim != self.dim:
            raise DataError(
                f"{data}: the vectors of its captions have {index.text_dim} dimensions, the network has "
                f"model.text_dim={self.dim}; set model.text_dim={index.text_dim}"
            )

    def stored(self, index: Described) -> np.ndarray:
        assert index.vectors is not None, "`check` refuses such a set"
        return index.vectors

    def to_network(self, stored: Tensor, dtype: torch.dtype = torch.float32) -> Tensor | None:
        return stored.to(dtype)

    def of_fakes(
        self, draws: Draws, purpose: str, images_seen: Tensor, sub: int, batch: int, stored: Tensor
    ) -> Tensor | None:
        """The captions of random samples."""
        return stored.index_select(0, draws.numbers(purpose, images_seen, sub, batch, len(stored)))

    def of_samples(self, seed: int, rows: int, columns: int, stored: np.ndarray) -> Tensor | None:
        return torch.from_numpy(stored[np.repeat(_of_rows(seed, rows, len(stored)), columns)])

    def captions_of_samples(self, seed: int, rows: int, index: Described) -> list[str]:
        captions = index.captions
        return [captions[number] or "" for number in _of_rows(seed, rows, len(captions))]

    def encoder(self, index: Described) -> str:
        return index.encoder

    def any(self, n: int, generator: np.random.Generator, index: Callable[[], Described]) -> np.ndarray | None:
        vectors = self.stored(index())
        return np.asarray(vectors[generator.integers(len(vectors), size=n)])

    def asked(self, wish: Wish, n: int, trained_encoder: str) -> np.ndarray | None:
        if wish.caption is None:
            return super().asked(wish, n, trained_encoder)
        if trained_encoder and trained_encoder != encoder().id:
            raise ConfigError(f"--caption: the run's captions were embedded by {trained_encoder}, not {encoder().id}")
        return np.broadcast_to(encoder().encode([wish.caption]), (n, self.dim))

    def written(self, y: Tensor, captions: Callable[[], list[str]]) -> Written:
        return Written(captions=captions())

    def made_up(self, n: int, generator: np.random.Generator) -> np.ndarray:
        return generator.normal(size=(n, self.dim)).astype(np.float32)


def _of_rows(seed: int, rows: int, n: int) -> np.ndarray:
    """Random samples (rows,) of a set of n, whose captions condition the rows of a run's samples."""
    return philox(seed, "samples/captions").integers(n, size=rows)
