"""``python -m mergelab`` is the command ``mergelab``."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def door() -> int:
    """Run the command line of this process, from the first import to the last word.

    An interrupt ends it with a word, wherever it comes: also in the midst of a library in C, which may make another
    error of it.

    Returns:
        The exit code, as ``cli.main``.
    """
    heard: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else interrupts are not meant for us
            signal.signal(signal.SIGINT, interrupt)
        from mergelab.cli import main

        code = main()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: it would only fall into libraries' farewells
    except (KeyboardInterrupt, Exception) as error:
        if not heard and not isinstance(error, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stderr.write(" ".join(["mergelab: stopped.", *getattr(error, "__notes__", ())]) + "\n")
        code = 130
    return code


if __name__ == "__main__":
    sys.exit(door())
