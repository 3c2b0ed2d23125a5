"""Pictures of sounds: log-mel spectrograms side by side, to be looked at, with the sounds beside them."""

import numpy as np
import torch

from gandist.gan.spectra import FLOOR, Frames, MelScale, log_mel
from gandist.media.gallery import grid, png_bytes
from gandist.media.medium import Preview
from gandist.media.sound import FULL_SCALE, wav_bytes

MELS, COLUMNS = 64, 96
SOUNDS = 8
"""Sounds that a preview plays."""


def preview_of(rows: np.ndarray, columns: int, sample_rate: int) -> Preview:
    """Sounds (N, T, C) int16 as a grid of spectrograms, and the first of them to be played."""
    sounds = torch.from_numpy(rows.astype(np.float32) / FULL_SCALE).mean(2)
    hop = max(32, sounds.shape[1] // COLUMNS)
    frames = Frames(4 * hop, hop, 4 * hop)
    found = log_mel(sounds, MelScale(sample_rate, frames, MELS, 0.0, sample_rate / 2)).numpy()
    low = np.log(FLOOR)
    grey = (255 * (found - low) / max(1e-6, float(found.max()) - low)).clip(0, 255).astype(np.uint8)
    return Preview(
        png_bytes(grid(np.ascontiguousarray(grey[:, ::-1, :, None]), columns)),
        ".png",
        tuple(wav_bytes(row, sample_rate) for row in rows[:SOUNDS]),
    )
