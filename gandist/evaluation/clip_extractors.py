"""What turns clips into features."""

from pathlib import Path

import torch
from torch import Tensor

from gandist.errors import ConfigError, DataError
from gandist.evaluation.extractor import Extractor, Opening, Recogniser, no_classes
from gandist.evaluation.scripted import open_scripted
from gandist.gan.networks.classifier import load_clips
from gandist.gan.networks.clip_classifier import RESOLUTION
from gandist.gan.perceptual import sha256_of
from gandist.media.medium import Medium
from gandist.media.video import Video

FRAMES = 4
"""Frames of each clip that the extractors of images look at, evenly spaced: neighbours tell little more, and cost as
much."""


def classifier(weights: Path | None, medium: Medium, device: torch.device) -> Extractor:
    """A classifier trained by `gandist.classifier`, on the run's own set or another one. One of colour clips takes grey
    ones, too.

    Raises:
        ConfigError: no file is given.
        DataError: the file cannot be read, or its clips have other frames or fewer channels.
    """
    assert isinstance(medium, Video)
    channels = medium.channels
    trained = f"--frames {medium.frames} --stride {medium.stride} --resolution {medium.resolution}"
    if weights is None:
        raise ConfigError(
            f"classifier: gandist ships none for clips; train one with python -m gandist.classifier DATA OUT {trained} "
            f"--channels {channels}, then give OUT as --weights or eval.weights"
        )
    sha256 = sha256_of(weights)
    net, facts = load_clips(weights)
    if (facts.frames, facts.stride, facts.fps) != (medium.frames, medium.stride, medium.fps):
        raise DataError(
            f"{weights}: was trained on clips of {_said(facts.frames, facts.stride, facts.fps)}, and the run's have "
            f"{_said(medium.frames, medium.stride, medium.fps)}; train one with {trained}"
        )
    if facts.channels not in (channels, 3):
        raise DataError(f"{weights}: was trained on grey clips, and the run's are RGB; train one with --channels 3")
    net = net.to(device).requires_grad_(False)

    def probabilities(x: Tensor, h: Tensor) -> Tensor:
        p: Tensor = net.head(h).softmax(1)
        return p

    return Extractor(
        name="classifier",
        dim=net.head.in_features,
        classes=facts.classes,
        resize=f"averaged to {RESOLUTION} px",
        sha256=sha256,
        features=lambda x: net.features(x.expand(-1, facts.channels, -1, -1, -1)),
        probabilities=probabilities,
        distance="fvd-classifier",
        net=net,
        recogniser=Recogniser(lambda h: net.head(h).argmax(1), facts.classes, facts.accuracy),
    )


def _said(frames: int, stride: int, fps: float) -> str:
    return f"{frames} frames, stride {stride}" + (f", {fps:g} frames a second" if fps else "")


def frames_by(open_images: Opening) -> Opening:
    """Opens an extractor of images as one of clips, whose frames it looks at, each by itself: neither their order nor
    how they move counts for the Fréchet distance between frames, while neighbours are clips whose frames are alike in
    their order."""

    def opened(weights: Path | None, medium: Medium, device: torch.device) -> Extractor:
        assert isinstance(medium, Video)
        of = open_images(weights, medium, device)
        count = min(FRAMES, medium.frames)
        at = [(2 * i + 1) * medium.frames // (2 * count) for i in range(count)]

        def features(x: Tensor) -> Tensor:
            return of.features(x[:, :, at].transpose(1, 2).flatten(0, 1)).reshape(len(x), -1)

        return Extractor(
            name=f"frames-{of.name}",
            dim=count * of.dim,
            classes=0,
            resize=f"frames {', '.join(map(str, at))} (from 0), {of.resize}",
            sha256=of.sha256,
            features=features,
            probabilities=no_classes,
            distance=f"fd-frames-{of.name}",
            parts=count,
        )

    return opened


def torchscript(weights: Path | None, medium: Medium, device: torch.device) -> Extractor:
    """A network of one's own, such as I3D, by which Unterthiner et al. 2018 (arXiv:1812.01717) define the Fréchet video
    distance, or VideoMAE.

    Args:
        weights: TorchScript that takes clips (N, 3, F, H, W) in [-1, 1], with the run's frames, height and width (grey
            ones have three equal channels), and returns features (N, features). Resizing is its own. The file is a
            program that runs here: load only one that you trust.

    Raises:
        ConfigError: no file is given.
        DataError: the file cannot be read, or has another signature.
    """
    shape = (2, 3, *medium.network_shape[1:])
    net, dim, sha256 = open_scripted(weights, shape, device, many="clips", form="(N, 3, F, H, W)")
    return Extractor(
        name="torchscript",
        dim=dim,
        classes=0,
        resize="the network's own",
        sha256=sha256,
        features=lambda x: net(x.expand(-1, 3, -1, -1, -1)).float(),
        probabilities=no_classes,
        distance="fvd-torchscript",
    )
