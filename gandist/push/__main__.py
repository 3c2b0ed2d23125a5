"""Lets `python -m gandist.push` run the command."""

import sys

from gandist.push import main

sys.exit(main())
