"""The interface between the data and the networks: a medium, which defines a kind of sample.

The loop, the data loader, the caches and the evaluation see only rows of a fixed shape and type. Only the medium
knows their meaning.
"""

import mimetypes
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from gandist.options import Options


class Row(NamedTuple):
    """Shape and type of a decoded sample in caches, batches and on the device."""

    shape: tuple[int, ...]
    dtype: type[np.generic]

    @property
    def values(self) -> int:
        """Number of values in a row."""
        return int(np.prod(self.shape))

    @property
    def tensor_dtype(self) -> torch.dtype:
        return torch.from_numpy(np.empty(0, self.dtype)).dtype

    @property
    def n_bytes(self) -> int:
        return self.values * np.dtype(self.dtype).itemsize


class Preview(NamedTuple):
    """Several samples in one file for a browser."""

    content: bytes
    suffix: str
    """File name suffix with its dot: ".png"."""
    sounds: tuple[bytes, ...] = ()
    """WAV files of samples that can be heard: the first of each line, or of one line all; at most `SOUNDS`."""
    still: bytes = b""
    """If the preview plays: a PNG file, a sample a line, its frames from left to right."""

    @property
    def plays(self) -> bool:
        """Whether it is an animation."""
        return self.suffix == PLAYS

    @property
    def lines(self) -> tuple[str, ...]:
        """The samples, if they are texts, a line each; else none."""
        return tuple(self.content.decode(errors="replace").split("\n")[:-1]) if self.suffix == ".txt" else ()

    @property
    def mime(self) -> str:
        """Its media type, such as "image/png"."""
        return mimetypes.types_map.get(self.suffix) or mimetypes.common_types[self.suffix]


SOUNDS = 10
"""Sounds of a preview."""
PLAYS, STILL = ".webp", "strip.png"
"""The suffix of previews that play, and of no others; the name of the file of their frames."""


class Medium(Options):
    """A kind of sample, with its options as fields. N below is any number of samples."""

    fields_of_config: ClassVar[Mapping[str, str]] = {}
    """Options that have fields of their own in the configuration, such as `model.resolution`, by name."""

    @property
    @abstractmethod
    def extensions(self) -> tuple[str, ...]:
        """Extensions, without the dot, of the files in a WebDataset sample that hold the sample."""

    @property
    @abstractmethod
    def extension(self) -> str:
        """Extension, without the dot, of the files that samples are written to; one of `extensions`."""

    @property
    @abstractmethod
    def row(self) -> Row:
        """Shape and type of a decoded sample."""

    @property
    def drawn(self) -> Self:
        """The medium of samples as G draws them: itself, or, if it cuts random parts of real samples, one without."""
        return self

    @property
    @abstractmethod
    def network_shape(self) -> tuple[int, ...]:
        """Shape of a sample without N, as G makes it and D sees it."""

    @property
    @abstractmethod
    def uniforms(self) -> tuple[str, ...]:
        """Names of the uniform numbers in [0, 1) drawn for each sample outside the step, one number each."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the decoded rows in a cache: rows of the same name and decoder are equal."""

    @property
    @abstractmethod
    def decoder(self) -> str:
        """Version of the decoder; changes whenever the same bytes give different rows."""

    @property
    @abstractmethod
    def prepared(self) -> str:
        """How real samples are prepared, in words, for the protocol of an evaluation."""

    @property
    def nouns(self) -> tuple[str, str]:
        """What a sample is called, and several."""
        return "sample", "samples"

    @property
    def packing(self) -> str:
        """Options of `gandist.pack` that bring others' files to this form; empty if it takes none."""
        return ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Suffixes of the single files, besides archives, that any number of samples can be drawn to: that of
        `preview`; ".wav" if they can be heard; ".jsonl" if they are texts; ".webp" and ".mp4" if they play, or can be
        the frames of a film."""
        return (".png",)

    @property
    def played_fps(self) -> float | None:
        """Frames per second at which samples play, whose rows are (frames, height, width, channels) uint8; None if they
        are still."""
        return None

    @property
    def files(self) -> tuple[str, ...]:
        """The files of a sample that make a row, in the order of `parts`: "target", and in a pair "input". (The only
        file of a sample that is no pair counts as its target.)"""
        return ("target",)

    def parts(self, row: np.ndarray) -> Sequence[np.ndarray]:
        """The part of a row that each of the `files` is decoded into."""
        return (row,)

    @abstractmethod
    def decode(self, data: bytes, out: np.ndarray) -> str | None:
        """Decode one file into `out`, its part of a row, which is contiguous. Accepts a fixed list of formats, never a
        pickle.

        Returns:
            How the file was made to fit, if the user should know: "longer than 1 s, and cut".

        Raises:
            DataError: the bytes are not a complete sample.
        """

    @abstractmethod
    def to_network(
        self, rows: Tensor, uniforms: Mapping[str, Tensor] = {}, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Rows (N, *row.shape) to D's input (N, *network_shape), of type `dtype`, on the rows' device.

        Args:
            uniforms: (N,) for each name in `uniforms`; without them the result is not random.
        """

    @abstractmethod
    def from_network(self, x: Tensor) -> Tensor:
        """G's output (N, *network_shape) to rows (N, *row.shape), on the same device."""

    @abstractmethod
    def coarse(self, x: Tensor) -> Tensor:
        """(N, *network_shape) to features (N, F), whose distances measure the diversity of samples."""

    def motion(self, x: Tensor) -> Tensor | None:
        """How much each sample (N, *network_shape) changes from frame to frame, (N,); None if it has no frames."""
        return None

    @abstractmethod
    def preview(self, rows: np.ndarray, columns: int) -> Preview:
        """Rows (N, *row.shape) side by side, `columns` per line."""

    def heard(self, rows: np.ndarray) -> bytes | None:
        """Rows (N, *row.shape) one after the other as one WAV file; None if they cannot be heard."""
        return None

    @abstractmethod
    def encode(self, row: np.ndarray) -> bytes:
        """Encode one row as a file of `extension`, lossless if possible."""
