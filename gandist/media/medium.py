"""What a sample is: the interface between the data and the networks.

The loop, the loader, the caches and the evaluation see rows of a fixed shape and type and nothing else of a sample;
what the rows mean is known to the medium alone.
"""

import mimetypes
from abc import abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gandist.options import Options


class Row(NamedTuple):
    """A decoded sample as it is cached, loaded and sent to the device."""

    shape: tuple[int, ...]
    dtype: type[np.generic]

    @property
    def values(self) -> int:
        """How many numbers it holds."""
        return int(np.prod(self.shape))

    @property
    def tensor_dtype(self) -> torch.dtype:
        return torch.from_numpy(np.empty(0, self.dtype)).dtype

    @property
    def n_bytes(self) -> int:
        return self.values * np.dtype(self.dtype).itemsize


class Preview(NamedTuple):
    """Several samples in one file that a browser shows."""

    content: bytes
    suffix: str
    """With its dot: ".png"."""

    @property
    def mime(self) -> str:
        """Its media type, such as "image/png"."""
        return mimetypes.types_map[self.suffix]


class Medium(Options):
    """A kind of sample, and its options as fields. N below is any number of samples."""

    @property
    @abstractmethod
    def extensions(self) -> tuple[str, ...]:
        """Of the files in a WebDataset sample, those that hold one, without the dot."""

    @property
    @abstractmethod
    def extension(self) -> str:
        """Of the files that samples are written to, without the dot; one of `extensions`."""

    @property
    @abstractmethod
    def row(self) -> Row:
        """A decoded sample."""

    @property
    @abstractmethod
    def network_shape(self) -> tuple[int, ...]:
        """What G makes and D sees of a sample, without N."""

    @property
    @abstractmethod
    def uniforms(self) -> tuple[str, ...]:
        """Names of the uniform numbers in [0, 1) that are drawn for each sample outside the step, one each."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Of the decoded rows in a cache: rows of the same name and decoder are the same."""

    @property
    @abstractmethod
    def decoder(self) -> str:
        """Another one wherever the same bytes give other rows."""

    @property
    @abstractmethod
    def prepared(self) -> str:
        """What is done to a real sample, in words, for the protocol of an evaluation."""

    @abstractmethod
    def decode(self, data: bytes, out: np.ndarray) -> None:
        """One encoded sample into `out`, a contiguous row. By a fixed list of formats, never a pickle.

        Raises:
            DataError: the bytes are no whole sample.
        """

    @abstractmethod
    def to_network(
        self, rows: Tensor, uniforms: Mapping[str, Tensor] = {}, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Rows (N, *row.shape) to what D sees (N, *network_shape), of type `dtype`, on the rows' device.

        Args:
            uniforms: (N,) for each name in `uniforms`; without them nothing random is done.
        """

    @abstractmethod
    def from_network(self, x: Tensor) -> Tensor:
        """What G makes (N, *network_shape) to rows (N, *row.shape), on the same device."""

    @abstractmethod
    def coarse(self, x: Tensor) -> Tensor:
        """(N, *network_shape) to (N, F): features between which the diversity of samples is measured."""

    @abstractmethod
    def preview(self, rows: np.ndarray, columns: int) -> Preview:
        """Rows (N, *row.shape) side by side, `columns` of them in a line."""

    @abstractmethod
    def encode(self, row: np.ndarray) -> bytes:
        """One row as a file of `extension`, without loss where there is a way."""
