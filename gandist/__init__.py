"""Distributed training of generative adversarial networks."""

import sys

__version__ = "0.1.0"

if sys.argv[:1] == ["-m"]:  # `python -m gandist.train` imports this package first
    from gandist.cli.interrupts import while_importing

    while_importing()
