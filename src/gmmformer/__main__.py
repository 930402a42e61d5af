"""`python -m gmmformer` is `gmmformer`."""

import sys

from gmmformer.cli import main

if __name__ == "__main__":
    sys.exit(main())
