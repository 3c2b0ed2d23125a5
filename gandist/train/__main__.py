import sys

from gandist.train import main

if __name__ == "__main__":
    sys.exit(main())
