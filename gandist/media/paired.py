"""Pairs of an input and a target, of any medium, for networks that make one from the other."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from gandist.media.medium import Medium, Preview, Row


class Paired(Medium):
    """Pairs of the samples of `inner`. A row has the target at [0] and the input at [1]: (2, *inner.row.shape).

    Both are prepared with the same uniform numbers, so that a mirrored target has a mirrored input. Networks see both,
    and G makes targets: whatever takes samples in this class takes targets alone as well.
    """

    inner: Medium
    """The medium of inputs and targets."""

    def __init__(self, inner: Medium) -> None:
        BaseModel.__init__(self, inner=inner)  # by its place, so that it reads Paired(image)

    @property
    def extensions(self) -> tuple[str, ...]:
        return self.inner.extensions

    @property
    def extension(self) -> str:
        return self.inner.extension

    @property
    def row(self) -> Row:
        return Row((2, *self.inner.row.shape), self.inner.row.dtype)

    @property
    def network_shape(self) -> tuple[int, ...]:
        """Shape of the target, which is that of the input."""
        return self.inner.network_shape

    @property
    def uniforms(self) -> tuple[str, ...]:
        return self.inner.uniforms

    @property
    def name(self) -> str:
        return f"{self.inner.name}-pairs"

    @property
    def decoder(self) -> str:
        return f"pairs-1 {self.inner.decoder}"

    @property
    def prepared(self) -> str:
        return self.inner.prepared

    @property
    def files(self) -> tuple[str, ...]:
        return ("target", "input")

    def parts(self, row: np.ndarray) -> Sequence[np.ndarray]:
        return (row[0], row[1])

    def decode(self, data: bytes, out: np.ndarray) -> str | None:
        """One file, the target or the input, into its part of a row."""
        return self.inner.decode(data, out)

    def to_network(
        self, rows: Tensor, uniforms: Mapping[str, Tensor] = {}, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Rows (N, 2, *inner.row.shape) to (N, 2, *network_shape), targets at [:, 0]; each half lies in memory as
        `inner` gives it."""
        halves = rows.transpose(0, 1).flatten(0, 1)
        x = self.inner.to_network(halves, {name: drawn.repeat(2) for name, drawn in uniforms.items()}, dtype)
        return x.view(2, len(rows), *x.shape[1:]).transpose(0, 1)

    def from_network(self, x: Tensor) -> Tensor:
        """Pairs (N, 2, *network_shape) to rows; targets alone (N, *network_shape) to rows of `inner`."""
        if not self._has_both(x.ndim, self.network_shape):
            return self.inner.from_network(x)
        return self.inner.from_network(x.flatten(0, 1)).reshape(len(x), *self.row.shape)

    def coarse(self, x: Tensor) -> Tensor:
        """Features of the targets, of pairs as well."""
        return self.inner.coarse(x[:, 0] if self._has_both(x.ndim, self.network_shape) else x)

    def preview(self, rows: np.ndarray, columns: int) -> Preview:
        """Pairs, `columns` per line, the input to the left of its target; rows of `inner` as that shows them."""
        if not self._has_both(rows.ndim, self.inner.row.shape):
            return self.inner.preview(rows, columns)
        return self.inner.preview(rows[:, ::-1].reshape(-1, *self.inner.row.shape), 2 * columns)

    def encode(self, row: np.ndarray) -> bytes:
        """The target alone, as a file of `inner`."""
        return self.inner.encode(row[0] if row.ndim > len(self.inner.row.shape) else row)

    @staticmethod
    def _has_both(dimensions: int, shape: tuple[int, ...]) -> bool:
        return dimensions == len(shape) + 2
