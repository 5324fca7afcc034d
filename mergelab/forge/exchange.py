"""Exchange: two folders trade their names at one stroke, where the system can do that.

Linux: ``renameat2`` with ``RENAME_EXCHANGE`` (renameat2(2)). macOS: ``renamex_np`` with ``RENAME_SWAP`` (rename(2)).
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

if sys.platform == "linux":

    def _trade(one: bytes, other: bytes) -> int:
        here, exchange = -100, 2  # AT_FDCWD: paths count from the current folder; RENAME_EXCHANGE
        return int(ctypes.CDLL(None).renameat2(here, one, here, other, ctypes.c_uint(exchange)))

elif sys.platform == "darwin":

    def _trade(one: bytes, other: bytes) -> int:
        swap = 2  # RENAME_SWAP
        return int(ctypes.CDLL(None).renamex_np(one, other, ctypes.c_uint(swap)))

else:

    def _trade(one: bytes, other: bytes) -> int:  # noqa: ARG001 - as on systems that can
        return -1


def exchanged(one: Path, other: Path) -> bool:
    """Let two folders of one filesystem trade places, so that at no moment either name is without a folder.

    Returns:
        Whether they have. Where not, for whatever reason (no such call on this system or filesystem, no right to),
        both are where they were.
    """
    try:
        return _trade(os.fsencode(one), os.fsencode(other)) == 0
    except (OSError, AttributeError):  # a C library without the call
        return False
