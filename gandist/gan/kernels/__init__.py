"""Triton kernels for what torch does in several passes over memory, and whether they may be used.

Each has a twin of plain torch operations beside the function that calls it; `usable` chooses. Triton comes with torch
for CUDA. It is imported with the first kernel that is wanted, never on a run without a GPU.
"""

import importlib.util
import logging
from functools import cache

import torch
from torch import Tensor

EVERYWHERE = False
"""Kernels for CPU tensors too: for tests, under Triton's interpreter (TRITON_INTERPRET=1)."""
DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
ROWS_MAX = 2**30
"""Kernels number pixels, or rows of them in NCHW, in 32 bits; offsets in memory have 64."""


def usable(x: Tensor) -> bool:
    """Whether kernels take x (N, C, H, W) and what has its size.

    Not while torch compiles: what it sees through it fuses itself.
    """
    if not (x.is_cuda or EVERYWHERE) or x.dtype not in DTYPES or torch.compiler.is_compiling():
        return False
    N, C, H, W = x.shape
    return N * H * max(C, W) < ROWS_MAX and works()


@cache
def works() -> bool:
    """Whether Triton is there and starts a kernel, for which it needs a C compiler."""
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        from gandist.gan.kernels import device

        device.probe("cpu" if EVERYWHERE else "cuda")
    except Exception as error:  # whatever its tool chain lacks: the twins do without
        logging.getLogger(__name__).warning("Triton is installed and does not work, so layers are slower: %s", error)
        return False
    return True
