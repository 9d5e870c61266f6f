"""The command `geomclip`, also `python -m geomclip`: light, so that Ctrl-C is answered while all else is imported."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run the command that is typed; the exit code."""
    try:
        from geomclip.cli.app import main as run

        code = run()
    except KeyboardInterrupt:
        sys.stderr.write("geomclip: error: interrupted; nothing was begun\n")
        code = 128 + signal.SIGINT
    # what is decided stays: libraries that are taken down would show tracebacks
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


if __name__ == "__main__":
    sys.exit(main())
