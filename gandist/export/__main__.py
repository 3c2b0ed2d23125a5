"""Lets `python -m gandist.export` run the command."""

import sys

from gandist.export import main

sys.exit(main())
