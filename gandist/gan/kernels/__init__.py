"""Triton kernels for operations that take torch several passes over memory, and the check that they can be used.

Each kernel has a plain-torch twin beside the function that calls it; `usable` chooses. Triton comes with torch for
CUDA. The first kernel call imports it; a run without a GPU never does.
"""

import importlib.util
import logging
from functools import cache

import torch
from torch import Tensor

EVERYWHERE = False
"""Use kernels for CPU tensors too: for tests under Triton's interpreter (TRITON_INTERPRET=1)."""
DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
ROWS_MAX = 2**30
"""Kernels index pixels, or rows of pixels in NCHW, with 32 bits; memory offsets have 64."""


def usable(x: Tensor) -> bool:
    """Whether kernels accept x (N, C, H, W) and tensors of its size.

    False while torch compiles: it fuses the plain operations itself.
    """
    if not (x.is_cuda or EVERYWHERE) or x.dtype not in DTYPES or torch.compiler.is_compiling():
        return False
    N, C, H, W = x.shape
    return N * H * max(C, W) < ROWS_MAX and works()


@cache
def works() -> bool:
    """Whether Triton is installed and launches a kernel, which requires a C compiler."""
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        from gandist.gan.kernels import device

        device.probe("cpu" if EVERYWHERE else "cuda")
    except Exception as error:  # any missing tool of its chain: the twins run instead
        logging.getLogger(__name__).warning("Triton is installed and does not work, so layers are slower: %s", error)
        return False
    return True
