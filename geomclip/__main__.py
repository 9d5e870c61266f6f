"""`python -m geomclip` is the command `geomclip`."""

import sys

from geomclip.cli import main

if __name__ == "__main__":
    sys.exit(main())
