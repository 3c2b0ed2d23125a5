"""Networks of users' own, as TorchScript, which give features of samples."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gandist.errors import ConfigError, DataError
from gandist.gan.perceptual import sha256_of


def open_scripted(
    weights: Path | None, shape: tuple[int, ...], device: torch.device, *, many: str, form: str
) -> tuple[Any, int, str]:
    """A network as TorchScript, the number of its features, and the sha256 of its file.

    The file is a program that runs here: load only one that you trust.

    Args:
        shape: of two samples, which it has to take.
        many: what samples are called.
        form: their shape, in letters.

    Raises:
        ConfigError: no file is given.
        DataError: the file cannot be read, or has another signature.
    """
    if weights is None:
        raise ConfigError("torchscript: give the file of a network as --weights or eval.weights")
    sha256 = sha256_of(weights)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit.load`", DeprecationWarning)
            net: Any = torch.jit.load(weights, map_location=device).eval()  # type: ignore[no-untyped-call]
        for parameter in net.parameters():
            parameter.requires_grad_(False)
        with torch.no_grad():
            found = net(torch.zeros(shape, device=device))
    except (RuntimeError, ValueError, TypeError) as error:
        said = (str(error).splitlines() or [""])[0]
        raise DataError(f"{weights}: does not take {many} {shape} as TorchScript: {said}") from error
    if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != shape[0]:
        raise DataError(f"{weights}: must return features (N, F) for {many} {form}")
    return net, found.shape[1], sha256
