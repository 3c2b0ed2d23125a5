"""The old name of `python -m gandist.classifier`."""

import sys

from gandist.evaluation.classifier import main

if __name__ == "__main__":
    print("gandist.quality.classifier is now called gandist.classifier", file=sys.stderr)  # noqa: T201
    sys.exit(main())
