"""Square images of 8 bits a channel, grey or RGB."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from gandist.media.decode import DECODER, EXTENSIONS, decode
from gandist.media.gallery import as_uint8, grid, png_bytes, png_of
from gandist.media.medium import Medium, Preview, Row

COARSE_PX = 8
"""Height and width at which images are compared: any two differ in fine detail, which depends on position."""


class Image(Medium):
    """Rows (R, R, C) uint8; networks see (C, R, R) in [-1, 1], black at -1 and white at 1."""

    fields_of_config: ClassVar[Mapping[str, str]] = {
        "resolution": "model.resolution",
        "channels": "data.channels",
        "flip": "data.flip",
    }

    resolution: int = Field(32, ge=1)
    """Height and width in pixels."""
    channels: Literal[1, 3] = 3
    """Colour channels; images are converted to it."""
    flip: bool = False
    """Mirror each image left to right with probability one half, on the device."""

    @property
    def extensions(self) -> tuple[str, ...]:
        return EXTENSIONS

    @property
    def extension(self) -> str:
        return "png"

    @property
    def row(self) -> Row:
        return Row((self.resolution, self.resolution, self.channels), np.uint8)

    @property
    def network_shape(self) -> tuple[int, ...]:
        return (self.channels, self.resolution, self.resolution)

    @property
    def uniforms(self) -> tuple[str, ...]:
        return ("flip",) if self.flip else ()

    @property
    def name(self) -> str:
        return f"{self.resolution}px-{self.channels}ch"

    @property
    def decoder(self) -> str:
        return DECODER

    @property
    def prepared(self) -> str:
        return f"real images cropped to {self.resolution} px as in training"

    @property
    def nouns(self) -> tuple[str, str]:
        return "image", "images"

    @property
    def packing(self) -> str:
        return f"--size {self.resolution} --channels {self.channels}"

    @property
    def kinds(self) -> tuple[str, ...]:
        return (".png", ".webp", ".mp4")

    def decode(self, data: bytes, out: np.ndarray) -> None:
        """A PNG, JPEG or WebP: turned upright, cropped to the central square, resized; transparency becomes white."""
        decode(data, self.resolution, self.channels, out)

    def to_network(
        self, rows: Tensor, uniforms: Mapping[str, Tensor] = {}, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        x = rows.permute(0, 3, 1, 2)
        if "flip" in uniforms:
            mirrored = uniforms["flip"] < 0.5
            x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
        return x.to(dtype, memory_format=torch.channels_last).div_(127.5).sub_(1)

    def from_network(self, x: Tensor) -> Tensor:
        return as_uint8(x).permute(0, 2, 3, 1)

    def coarse(self, x: Tensor) -> Tensor:
        """The mean of each of 8 x 8 fields: (N, 64 C)."""
        return F.adaptive_avg_pool2d(x, COARSE_PX).flatten(1)

    def preview(self, rows: np.ndarray, columns: int) -> Preview:
        """A grid, as a PNG file."""
        return Preview(png_bytes(grid(rows, columns)), ".png")

    def encode(self, row: np.ndarray) -> bytes:
        return png_of(row)
