import sys

from gandist.tune import main

sys.exit(main())
