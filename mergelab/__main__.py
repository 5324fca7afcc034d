"""``python -m mergelab`` is the command ``mergelab``."""

from __future__ import annotations

import signal
import sys


def door() -> int:
    """Run the command line of this process, from the first import to the last word.

    Returns:
        The exit code, as ``cli.main``.
    """
    try:
        from mergelab.cli import main

        code = main()
    except KeyboardInterrupt:
        code = 130
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: an interrupt would only fall into libraries' farewells
    return code


if __name__ == "__main__":
    sys.exit(door())
