"""`python -m gandist.classifier DATA OUT`: train a classifier on a labelled set; its features measure quality."""

import sys

from gandist.evaluation.classifier import main

if __name__ == "__main__":
    sys.exit(main())
