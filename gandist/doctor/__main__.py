import sys

from gandist.doctor import main

if __name__ == "__main__":
    sys.exit(main())
