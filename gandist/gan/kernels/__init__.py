"""Triton kernels for operations that take torch several passes over memory, and the check that they can be used.

Each kernel has a plain-torch twin beside the function that calls it; `usable` chooses. Triton comes with torch for
CUDA. The first kernel call imports it; a run without a GPU never does.
"""

import math
from functools import cache

import torch
from torch import Tensor

from gandist.distributed import kernels

EVERYWHERE = False
"""Use kernels for CPU tensors too: for tests under Triton's interpreter (TRITON_INTERPRET=1)."""
DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
ROWS_MAX = 2**30
"""Kernels index pixels, or rows of pixels in NCHW, with 32 bits; memory offsets have 64."""


def usable(x: Tensor) -> bool:
    """Whether kernels accept x (N, C, H, W) and tensors of its size, or clips (N, C, F, H, W), which they take for
    pictures of height F H.

    False while torch compiles: it fuses the plain operations itself.
    """
    if not (x.is_cuda or EVERYWHERE) or x.dtype not in DTYPES or torch.compiler.is_compiling():
        return False
    N, C, *rows, W = x.shape
    H = math.prod(rows)
    return N * H * max(C, W) < ROWS_MAX and works()


@cache
def works() -> bool:
    """Whether Triton is installed and launches a kernel."""

    def probe() -> None:
        from gandist.gan.kernels import device

        device.probe("cpu" if EVERYWHERE else "cuda")

    return kernels.works(probe, "layers are slower")
