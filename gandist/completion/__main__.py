import sys

from gandist.completion import main

if __name__ == "__main__":
    sys.exit(main())
