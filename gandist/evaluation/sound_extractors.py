"""What turns sounds into features. A stereo sound's channels are averaged."""

from pathlib import Path

import torch
from torch import Tensor

from gandist.errors import ConfigError, DataError
from gandist.evaluation.extractor import Extractor, Recogniser, no_classes
from gandist.evaluation.scripted import open_scripted
from gandist.gan.networks.classifier import load_sounds
from gandist.gan.networks.sound_classifier import bands_of, frames_of, loudness
from gandist.gan.perceptual import sha256_of
from gandist.media.audio import Audio
from gandist.media.medium import Medium


def classifier(weights: Path | None, medium: Medium, device: torch.device) -> Extractor:
    """A classifier trained by `gandist.classifier`, on the run's own set or another one.

    Raises:
        ConfigError: no file is given.
        DataError: the file cannot be read, or its sounds have another rate.
    """
    assert isinstance(medium, Audio)
    if weights is None:
        raise ConfigError(
            "classifier: gandist ships none for sounds; train one with python -m gandist.classifier DATA OUT "
            f"--sample-rate {medium.sample_rate} --samples {medium.samples}, then give OUT as --weights or eval.weights"
        )
    sha256 = sha256_of(weights)
    net, facts = load_sounds(weights)
    if facts.sample_rate != medium.sample_rate:
        raise DataError(
            f"{weights}: was trained on sounds at {facts.sample_rate} Hz, and the run's are at {medium.sample_rate} "
            f"Hz; train one with --sample-rate {medium.sample_rate}"
        )
    net = net.to(device).requires_grad_(False)

    def probabilities(x: Tensor, h: Tensor) -> Tensor:
        p: Tensor = net.head(h).softmax(1)
        return p

    return Extractor(
        name="classifier",
        dim=net.head.in_features,
        classes=facts.classes,
        resize=f"{len(net.mean)} bands a semitone apart, in frames of {net.frames.n_fft} samples",
        sha256=sha256,
        features=net.features,
        probabilities=probabilities,
        distance="fad-classifier",
        net=net,
        recogniser=Recogniser(lambda h: net.head(h).argmax(1), facts.classes, facts.accuracy),
    )


def bands(weights: Path | None, medium: Medium, device: torch.device) -> Extractor:
    """Without any training: for each band, a semitone wide, the mean loudness of a sound, its standard deviation over
    time, its mean absolute change from frame to frame, and how much louder the second half is than the first.

    Raises:
        ConfigError: a file is given.
    """
    assert isinstance(medium, Audio)
    if weights is not None:
        raise ConfigError(f"bands: has no weights; leave out {weights}, or take another extractor")
    rate = medium.sample_rate
    frames = frames_of(rate, medium.samples)
    count = len(bands_of(rate))

    def features(x: Tensor) -> Tensor:
        found = loudness(x.mean(1), rate, frames)
        first, second = (half.mean(2) for half in found.tensor_split(2, dim=2))
        changes = found.diff(dim=2).abs().mean(2)
        return torch.cat([found.mean(2), found.std(2, correction=0), changes, second - first], dim=1)

    return Extractor(
        name="bands",
        dim=4 * count,
        classes=0,
        resize=f"loudness in {count} bands a semitone apart, in frames of {frames.n_fft} samples",
        sha256="",
        features=features,
        probabilities=no_classes,
        distance="fad-bands",
    )


def torchscript(weights: Path | None, medium: Medium, device: torch.device) -> Extractor:
    """A network of one's own, such as CLAP or VGGish (Kilgour et al. 2019, arXiv:1812.08466, defines the Fréchet audio
    distance by the latter).

    Args:
        weights: TorchScript that takes sounds (N, T) in [-1, 1], at the run's rate, and returns features (N, F). The
            file is a program that runs here: load only one that you trust.

    Raises:
        ConfigError: no file is given.
        DataError: the file cannot be read, or has another signature.
    """
    shape = (2, medium.network_shape[-1])
    net, dim, sha256 = open_scripted(weights, shape, device, many="sounds", form="(N, T)")
    return Extractor(
        name="torchscript",
        dim=dim,
        classes=0,
        resize="the network's own",
        sha256=sha256,
        features=lambda x: net(x.mean(1)).float(),
        probabilities=no_classes,
        distance="fad-torchscript",
    )
