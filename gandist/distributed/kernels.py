"""Whether Triton kernels can be used. Triton comes with torch for CUDA; every kernel has a twin in plain torch."""

import importlib.util
import logging
from collections.abc import Callable


def works(probe: Callable[[], None], otherwise: str) -> bool:
    """Whether Triton is installed and `probe` launches a kernel, which requires a C compiler.

    Args:
        otherwise: what a warning says if Triton is installed and does not work.
    """
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        probe()
    except Exception as error:  # any missing tool of its chain: the twins run instead
        logging.getLogger(__name__).warning("Triton is installed but does not work, so %s: %s", otherwise, error)
        return False
    return True
