import sys

from gandist.sample import main

if __name__ == "__main__":
    sys.exit(main())
