"""How near outputs are to their targets, by medium: the measures of pictures, and those of sounds."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gandist.conditions.sample import OfSample
from gandist.errors import ConfigError
from gandist.evaluation.fidelity import l1_within, psnr, ssim, ssim_within, variety
from gandist.evaluation.sound_fidelity import has_stoi, mel_l1, stft, stoi
from gandist.gan.perceptual import Features, open_features
from gandist.gan.spectra import scale_for
from gandist.media.audio import Audio
from gandist.media.medium import Medium
from gandist.media.video import Video

N_STOI = 500
"""Number of sounds whose intelligibility is measured: one takes some milliseconds of a core."""
PERFECT: dict[str, float | None] = {"psnr": None, "ssim": 1.0, "ssim_hole": 1.0, "stoi": 1.0}
"""Measures of an output that is its target; None: without bound. Those of all others are 0."""


class Likeness(Protocol):
    """Compares outputs (N, *network_shape) with targets of a medium."""

    protocol: Mapping[str, Any]
    """What has to be known of the measures beside their names."""
    seconds: float
    """Duration of a sample; 0 if it has none."""

    def measures(self, out: Tensor, x: Tensor, y: Tensor, at: np.ndarray) -> Mapping[str, Tensor]:
        """Measures by name, of each output against its target (N,), or of some of them; y are the conditions, `at` the
        positions (N,) among all that are measured."""

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        """How much two outputs for each condition differ (N,)."""


class OfPictures:
    """Pixels, structure, and the features of a network."""

    seconds = 0.0

    def __init__(self, perceptual: Features, masked: bool) -> None:
        self.perceptual, self.masked = perceptual, masked
        self.protocol: Mapping[str, Any] = {"perceptual": perceptual.name, "perceptual_sha256": perceptual.sha256}

    def measures(self, out: Tensor, x: Tensor, y: Tensor, at: np.ndarray) -> Mapping[str, Tensor]:
        found = {
            "psnr": psnr(out, x),
            "ssim": ssim(out, x),
            f"pd-{self.perceptual.name}": self.perceptual.distance(out, x),
            "l1": (out - x).abs().flatten(1).mean(1),
        }
        if self.masked:
            hole = y[:, -1:]
            found |= {"l1_hole": l1_within(out, x, hole), "ssim_hole": ssim_within(out, x, hole)}
        return found

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        return variety(self.perceptual, a, b)


class OfSounds:
    """Spectrograms, and intelligibility. Not waves: a phase that cannot be heard moves them far apart."""

    def __init__(self, medium: Audio) -> None:
        self.rate, self.scale = medium.sample_rate, scale_for(medium.sample_rate, medium.samples)
        self.seconds = medium.samples / medium.sample_rate
        self.has_stoi = has_stoi(medium.samples, medium.sample_rate)
        frames = self.scale.frames
        mel = {"mels": self.scale.mels, "n_fft": frames.n_fft, "hop": frames.hop, "high_hz": self.scale.high_hz}
        few = {"stoi": {"n_at_most": N_STOI}} if self.has_stoi else {}
        self.protocol: Mapping[str, Any] = {"mel_l1": mel, **few}

    def measures(self, out: Tensor, x: Tensor, y: Tensor, at: np.ndarray) -> Mapping[str, Tensor]:
        found = {"mel_l1": mel_l1(out, x, self.scale), "stft": stft(out, x)}
        few = torch.from_numpy(at < N_STOI).to(out.device)
        return found | ({"stoi": stoi(out[few], x[few], self.rate)} if self.has_stoi else {})

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        return mel_l1(a, b, self.scale)


def likeness_of(medium: Medium, condition: OfSample, extractor: str, device: torch.device) -> Likeness:
    """What outputs of a G that is given samples are compared with their targets by.

    Raises:
        GandistError: a network is not available, or outputs are clips.
    """
    _check(medium)
    if isinstance(medium, Audio):
        return OfSounds(medium)
    return OfPictures(open_features(perceptual_of(extractor), device), condition.masked)


def restored_by(extractor: str, condition: OfSample, medium: Medium) -> list[str]:
    """Names of the measures of outputs beside their targets, in a run with the extractor of this name.

    Raises:
        ConfigError: outputs are clips.
    """
    _check(medium)
    if isinstance(medium, Audio):
        return ["mel_l1", "stft", *(["stoi"] if has_stoi(medium.samples, medium.sample_rate) else ())]
    names = ["psnr", "ssim", f"pd-{perceptual_of(extractor)}", "l1"]
    return [*names, "l1_hole", "ssim_hole"] if condition.masked else names


def _check(medium: Medium) -> None:
    if isinstance(medium, Video):
        raise ConfigError(
            "condition.kind: G is given a sample, and no measure compares clips with their targets; set "
            "eval.every_kimg=null"
        )


def perceptual_of(extractor: str) -> str:
    """Name of the network whose layers compare an output with its target: the extractor, if it has such layers."""
    return "classifier" if extractor == "classifier" else "effnet-lite0"
