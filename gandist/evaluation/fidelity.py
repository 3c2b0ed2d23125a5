"""How near outputs are to their targets, image by image; how much outputs differ; and means over a set.

Images a and b are (N, C, H, W) in [-1, 1], as networks have them. Measures give one number for each pair, (N,) float64.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.distributed.ranks import Ranks
from gandist.errors import DataError
from gandist.gan.perceptual import Features

PSNR_MAX = 100.0
"""PSNR in dB of equal images, which is infinite otherwise. (Images that differ by one level of 256 in a single value of
three million have 113 dB, and count as equal.)"""
WINDOW, SIGMA = 11, 1.5
"""Height, width and standard deviation of SSIM's Gaussian window, in pixels."""
K1, K2 = 0.01, 0.03
