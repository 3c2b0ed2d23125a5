import sys

from gandist.bench import main

sys.exit(main())
