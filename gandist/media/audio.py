"""Sounds of 16 bits, of one or two channels."""

from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from gandist.gan.spectra import Frames, MelScale, log_mel
from gandist.media.medium import Medium, Preview, Row
from gandist.media.sound import EXTENSIONS, FULL_SCALE, as_int16, decode, wav_bytes
from gandist.media.spectrogram import in_a_row, preview_of

PEAK = 0.95
"""Largest value of a normalised sound."""


class Audio(Medium):
    """Rows (T, C) int16; networks see (C, T) in [-1, 1)."""

    sample_rate: int = Field(16_000, ge=1000, le=192_000)
    """Samples per second; sounds are resampled to it."""
    samples: int = Field(16_384, ge=64)
    """Length of a sound in samples; a shorter one is followed by silence."""
    channels: Literal[1, 2] = 1
    """1: all channels of a sound are averaged; 2: stereo."""
    crop: Literal["start", "center", "random"] = "start"
    """What is taken of a longer sound. `random`: another part each time, drawn outside the step, of the first `kept`
    samples and never of the silence after the sound."""
    kept: int = Field(0, ge=0)
    """With `crop: random`, the samples of each sound that are kept to cut from; must exceed `samples`."""
    normalise: bool = False
    """Scale each sound to a peak of 0.95."""

    @model_validator(mode="after")
    def _check(self) -> "Audio":
        if self.crop == "random" and self.kept <= self.samples:
            raise ValueError(f"crop=random cuts {self.samples} samples from longer sounds; set kept above that")
        if self.crop != "random" and self.kept:
            raise ValueError("kept is for crop=random; leave it out")
        return self

    @property
    def extensions(self) -> tuple[str, ...]:
        return EXTENSIONS

    @property
    def extension(self) -> str:
        return "wav"

    @property
    def row(self) -> Row:
        return Row((self.kept or self.samples, self.channels), np.int16)

    @property
    def drawn(self) -> Self:
        return self.model_copy(update={"crop": "start", "kept": 0}) if self.kept else self

    @property
    def network_shape(self) -> tuple[int, ...]:
        return (self.channels, self.samples)

    @property
    def uniforms(self) -> tuple[str, ...]:
        return ("crop",) if self.crop == "random" else ()

    @property
    def name(self) -> str:
        made = f"{self.crop}{'-peak' if self.normalise else ''}"
        return f"{self.sample_rate}hz-{self.kept or self.samples}-{self.channels}ch-{made}"

    @property
    def decoder(self) -> str:
        return "sound-1"

    @property
    def prepared(self) -> str:
        return f"real sounds at {self.sample_rate} Hz, cut to {self.samples} samples"

    @property
    def nouns(self) -> tuple[str, str]:
        return "sound", "sounds"

    @property
    def packing(self) -> str:
        seconds = (self.kept or self.samples) / self.sample_rate
        return f"--sample-rate {self.sample_rate} --seconds {seconds:.4g} --channels {self.channels}"

    @property
    def kinds(self) -> tuple[str, ...]:
        return (".png", ".wav")

    def decode(self, data: bytes, out: np.ndarray) -> str | None:
        """A WAV, FLAC, Ogg or MP3: resampled, cut or followed by silence."""
        found = decode(
            data, self.sample_rate, self.channels, len(out) + 1, "center" if self.crop == "center" else "start"
        )
        sound = found[: len(out)]
        if self.normalise and (peak := float(np.abs(sound).max())):
            sound = sound * (PEAK / peak)
        out[: len(sound)] = as_int16(sound)
        out[len(sound) :] = 0
        if len(found) > len(out):
            return f"longer than {len(out) / self.sample_rate:.3g} s, and cut"
        if len(sound) < self.samples:
            return f"shorter than {self.samples / self.sample_rate:.3g} s, and followed by silence"
        return None

    def to_network(
        self, rows: Tensor, uniforms: Mapping[str, Tensor] = {}, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        x = rows.mT
        if self.kept:
            first = torch.zeros(len(x), dtype=torch.long, device=x.device)
            if "crop" in uniforms:
                places = torch.arange(1, self.kept + 1, device=x.device)
                length = ((x != 0).any(1) * places).amax(1)
                first = (uniforms["crop"].double() * ((length - self.samples).clamp(min=0) + 1)).long()
            where = first[:, None] + torch.arange(self.samples, device=x.device)
            x = x.gather(2, where[:, None].expand(-1, self.channels, -1))
        return x.to(dtype).contiguous() / FULL_SCALE

    def from_network(self, x: Tensor) -> Tensor:
        return (x.float() * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1).to(torch.int16).mT

    def coarse(self, x: Tensor) -> Tensor:
        """Log-mel magnitudes, averaged in 8 x 8 fields: (N, 64)."""
        hop = max(16, self.samples // 64)
        frames = Frames(4 * hop, hop, 4 * hop)
        found = log_mel(x.mean(1), MelScale(self.sample_rate, frames, 32, 0.0, self.sample_rate / 2))
        return F.adaptive_avg_pool2d(found[:, None], 8).flatten(1)

    def preview(self, rows: np.ndarray, columns: int) -> Preview:
        """A grid of spectrograms, and the first sounds."""
        return preview_of(rows, columns, self.sample_rate)

    def heard(self, rows: np.ndarray) -> bytes | None:
        return wav_bytes(in_a_row(rows, self.sample_rate), self.sample_rate)

    def encode(self, row: np.ndarray) -> bytes:
        return wav_bytes(row, self.sample_rate)
