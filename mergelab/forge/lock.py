"""Lock: one process at a time in a folder. The system lets go of it with the process, however that ends."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

from mergelab.errors import OutputError, Problem

if sys.platform == "win32":
    import msvcrt

    def _claim(number: int) -> None:
        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _claim(number: int) -> None:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)


FILE = "lock"
_PATIENCE = 1000  # how often a folder may be removed by others before its lock is taken
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_UNKNOWN = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


class Lock:
    """Holds a folder, which is made if need be, until ``release``.

    Attributes:
        holds: False where the filesystem of the folder knows no locks: then nobody is kept out.
    """

    def __init__(self, folder: Path, what: str) -> None:
        """Take the lock, at once or not at all.

        Args:
            folder: it gets a file ``lock`` in it.
            what: that for which the folder is kept, to be named in the error.

        Raises:
            OutputError: another process, or another merge of this one, holds it.
            OSError: the folder cannot be made or written to.
        """
        self._path = folder / FILE
        self.holds = True
        for late in reversed(range(_PATIENCE)):
            try:
                with contextlib.suppress(FileExistsError):
                    folder.mkdir(parents=True)
                self._number = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:  # who held it before has just removed the folder
                if not late:
                    raise
                continue
            try:
                self._claim(what)
                # The file that was locked may be gone by now, and another in its place: only that one counts.
                if self._stands():
                    return
            except BaseException:
                os.close(self._number)
                raise
            os.close(self._number)
        raise _taken(what)

    def release(self) -> None:
        """Let go, and remove the file. What else is in the folder stays, and so does the folder."""
        if sys.platform == "win32":  # which removes no file that is open, whoever has it open
            os.close(self._number)
        try:
            if self._stands():
                self._path.unlink()
        except OSError:  # an empty file that nobody holds is in nobody's way
            pass
        if sys.platform != "win32":
            os.close(self._number)

    def _claim(self, what: str) -> None:
        try:
            _claim(self._number)
        except OSError as error:
            if error.errno in _TAKEN:
                raise _taken(what) from None
            if error.errno not in _UNKNOWN:
                raise
            self.holds = False

    def _stands(self) -> bool:
        """Whether the file that is open is the one that lies at the path."""
        try:
            return sys.platform == "win32" or os.path.samestat(os.fstat(self._number), os.stat(self._path))
        except FileNotFoundError:
            return False


def _taken(what: str) -> OutputError:
    said = "another merge is writing there now."
    return OutputError(Problem(what, said, "Wait until it has ended, or choose another folder."))
