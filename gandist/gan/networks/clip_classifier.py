"""A small classifier of clips: convolutions over time, height and width."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RESOLUTION = 32
"""Height and width in pixels to which all frames are averaged."""
PARTS = (2, 2, 2)
"""Frames, height and width in which the last layers see a clip."""


class ClipClassifier(nn.Module):
    """Three convolutions with BatchNorm, and one layer of features. Takes clips of any number of frames."""

    def __init__(self, channels: int, classes: int, width: int = 16, features: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, out, kernel, stride in (
            (channels, width, (3, 5, 5), (1, 2, 2)),
            (width, 2 * width, (3, 3, 3), (1, 2, 2)),
            (2 * width, 4 * width, (3, 3, 3), (2, 2, 2)),
        ):
            padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
            layers += [nn.Conv3d(inside, out, kernel, stride, padding, bias=False), nn.BatchNorm3d(out), nn.ReLU()]
        flat = 4 * width * PARTS[0] * PARTS[1] * PARTS[2]
        layers += [nn.AdaptiveAvgPool3d(PARTS), nn.Flatten()]
        layers += [nn.Linear(flat, features, bias=False), nn.BatchNorm1d(features), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(features, classes)
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # a third faster on a CPU

    def features(self, x: Tensor) -> Tensor:
        """Clips (N, C, F, H, W) in [-1, 1] -> features of the penultimate layer (N, features)."""
        h: Tensor = self.body(self.averaged(x))
        return h

    def averaged(self, x: Tensor) -> Tensor:
        """Clips (N, C, F, H, W) with frames of `RESOLUTION`."""
        size = (RESOLUTION, RESOLUTION)
        return x if x.shape[3:] == size else F.adaptive_avg_pool3d(x, (None, *size))

    def forward(self, x: Tensor) -> Tensor:
        """Clips (N, C, F, H, W) in [-1, 1] -> logits (N, classes)."""
        logits: Tensor = self.head(self.features(x))
        return logits
