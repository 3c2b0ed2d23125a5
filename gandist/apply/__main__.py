"""Lets `python -m gandist.apply` run the command."""

import sys

from gandist.apply import main

sys.exit(main())
