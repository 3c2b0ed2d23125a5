"""Short clips of square frames, 8 bits a channel, grey or RGB."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from gandist.errors import DataError
from gandist.media.animated import apng_bytes, preview_of
from gandist.media.clip import EXTENSIONS, FPS, decode
from gandist.media.gallery import as_uint8
from gandist.media.medium import Medium, Preview, Row

COARSE = (4, 8, 8)
"""Frames, height and width at which clips are compared."""


class Video(Medium):
    """Rows (F, R, R, C) uint8; networks see (C, F, R, R) in [-1, 1], black at -1 and white at 1."""

    fields_of_config: ClassVar[Mapping[str, str]] = {
        "resolution": "model.resolution",
        "channels": "data.channels",
        "flip": "data.flip",
    }

    resolution: int = Field(32, ge=1)
    """Height and width in pixels."""
    channels: Literal[1, 3] = 3
    """Colour channels; frames are converted to it."""
    flip: bool = False
    """Mirror each clip left to right with probability one half, all frames alike, on the device."""
    frames: int = Field(16, ge=2, le=1024)
    """Frames of a clip."""
    stride: int = Field(1, ge=1)
    """Take every stride-th frame of a file."""
    fps: float = Field(0, ge=0, le=240)
    """Frames a second to take of each file, before `stride`, by the times at which they are shown; 0: a file's own
    frames, whatever their times."""
    crop: Literal["start", "random"] = "start"
    """What is taken of a longer clip. `random`: another part each time, drawn outside the step, of the first `kept`
    frames."""
    kept: int = Field(0, ge=0)
    """With `crop: random`, the frames of each clip that are kept to cut from; must exceed `frames`."""
    short: Literal["loop", "refuse"] = "loop"
    """What becomes of a shorter clip: it begins again, or it is refused."""

    @model_validator(mode="after")
    def _check(self) -> "Video":
        if self.crop == "random" and self.kept <= self.frames:
            raise ValueError(f"crop=random cuts {self.frames} frames from longer clips; set kept above that")
        if self.crop != "random" and self.kept:
            raise ValueError("kept is for crop=random; leave it out")
        return self

    @property
    def extensions(self) -> tuple[str, ...]:
        return EXTENSIONS

    @property
    def extension(self) -> str:
        return "apng"

    @property
    def row(self) -> Row:
        return Row((self.kept or self.frames, self.resolution, self.resolution, self.channels), np.uint8)

    @property
    def drawn(self) -> Self:
        return self.model_copy(update={"crop": "start", "kept": 0}) if self.kept else self

    @property
    def network_shape(self) -> tuple[int, ...]:
        return (self.channels, self.frames, self.resolution, self.resolution)

    @property
    def uniforms(self) -> tuple[str, ...]:
        return (*(("flip",) if self.flip else ()), *(("crop",) if self.crop == "random" else ()))

    @property
    def name(self) -> str:
        taken = f"{self.kept or self.frames}x{self.stride}"
        rate = f"-{self.fps:g}fps" if self.fps else ""
        return f"clips-{taken}{rate}-{self.resolution}px-{self.channels}ch-{self.short}"

    @property
    def decoder(self) -> str:
        return "clip-2"

    @property
    def prepared(self) -> str:
        return f"real clips of {self.frames} frames, cropped to {self.resolution} px as in training"

    @property
    def nouns(self) -> tuple[str, str]:
        return "clip", "clips"

    @property
    def packing(self) -> str:
        rate = f" --fps {self.fps:g}" if self.fps else ""
        n = (self.kept or self.frames) * self.stride
        return f"--frames {n} --size {self.resolution} --channels {self.channels}{rate}"

    @property
    def kinds(self) -> tuple[str, ...]:
        return (".webp", ".mp4", ".png")

    @property
    def played_fps(self) -> float:
        return self.fps / self.stride if self.fps else FPS

    def decode(self, data: bytes, out: np.ndarray) -> str | None:
        """An animated PNG, GIF or WebP, an MP4, MOV, WebM, MKV or AVI: upright, its central square, resized."""
        filled, more, still = decode(data, out, stride=self.stride, fps=self.fps)
        if self.short == "refuse" and filled < self.frames:
            raise DataError(f"holds {filled} frames of {self.frames}, and data.options.short=refuse")
        out[filled:] = out[np.arange(len(out) - filled) % filled]
        if still:
            return "of one frame, which stands still"
        if filled < self.frames:
            return f"shorter than {self.frames} frames, and begun again"
        if filled < len(out):
            return f"shorter than the {len(out)} frames kept, and begun again"
        return f"longer than {len(out)} frames, and cut" if more else None

    def to_network(
        self, rows: Tensor, uniforms: Mapping[str, Tensor] = {}, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        x = rows
        if self.kept:
            first = torch.zeros(len(x), dtype=torch.long, device=x.device)
            if "crop" in uniforms:
                first = (uniforms["crop"].double() * (self.kept - self.frames + 1)).long()
            where = first[:, None] + torch.arange(self.frames, device=x.device)
            x = x.gather(1, where.view(*where.shape, 1, 1, 1).expand(-1, -1, *x.shape[2:]))
        if "flip" in uniforms:
            mirrored = uniforms["flip"] < 0.5
            x = torch.where(mirrored.view(-1, 1, 1, 1, 1), x.flip(3), x)
        # The rows' own order in memory
        return x.permute(0, 4, 1, 2, 3).to(dtype, memory_format=torch.channels_last_3d).div_(127.5).sub_(1)

    def from_network(self, x: Tensor) -> Tensor:
        return as_uint8(x).permute(0, 2, 3, 4, 1)

    def coarse(self, x: Tensor) -> Tensor:
        """The mean of each of 4 x 8 x 8 fields in time, height and width: (N, 256 C)."""
        return F.adaptive_avg_pool3d(x, COARSE).flatten(1)

    def motion(self, x: Tensor) -> Tensor:
        """Mean absolute difference between frames that follow one another: (N,)."""
        return x.float().diff(dim=2).abs().mean((1, 2, 3, 4))

    def preview(self, rows: np.ndarray, columns: int) -> Preview:
        """A grid that plays, and the frames of the first clips side by side."""
        return preview_of(rows, columns, self.played_fps)

    def encode(self, row: np.ndarray) -> bytes:
        """An animated PNG that decodes to this row: every frame `stride` times, if every `stride`-th is taken."""
        times = 1 if self.fps else self.stride
        return apng_bytes(row.repeat(times, axis=0), self.played_fps * times, merge=False)
