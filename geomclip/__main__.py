"""`python -m geomclip` is the command `geomclip`."""

import sys

from geomclip.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
