"""`python -m flows` is `pithead`."""

import sys

from flows.cli import main

if __name__ == "__main__":
    sys.exit(main())
