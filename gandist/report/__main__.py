"""Lets `python -m gandist.report` run the command."""

import sys

from gandist.report import main

sys.exit(main())
