"""Lets `python -m gandist.explore` run the command."""

import sys

from gandist.explore import main

sys.exit(main())
