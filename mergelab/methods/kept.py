"""What numba compiled, kept on disk from one process to the next. Only ``machine`` and ``trial`` import this.

numba can do that by itself, but does not look at other files than that of the loop, raises where what it kept is
damaged or cannot be written, and may write to the working directory. Here a kept loop is called after all the source
that it came from; whatever goes wrong with the files, the loop is compiled, and they are written anew.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from numba.core import caching

_compiling = ContextVar("_compiling", default=True)


class NotKeptError(Exception):
    """A loop would have to be compiled."""


@contextmanager
def alone() -> Iterator[None]:
    """Inside, kept loops alone can be called: others raise ``NotKeptError``, unless there is no place to keep them."""
    before = _compiling.set(False)
    try:
        yield
    finally:
        _compiling.reset(before)


def keep(compiled: Any) -> None:
    """Have a function of ``numba.njit`` kept: where ``NUMBA_CACHE_DIR`` says, beside its file, or among the user's
    caches; nowhere if none of these can be written to.
    """
    with suppress(Exception):  # no such place, or another numba than this was written for: each process compiles
        compiled._cache = _Kept(compiled.py_func)


def sources(module: str) -> list[str]:
    """A module and those of its package that it imports, they import, and so on, sorted; all are loaded."""
    package, found, waiting = module.partition(".")[0], set[str](), [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for node in ast.walk(ast.parse(_text(name))):
            if isinstance(node, ast.ImportFrom):
                inner = (f"{node.module}.{alias.name}" for alias in node.names)
                imported = [one if one in sys.modules else str(node.module) for one in inner]
            else:
                imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            waiting += (one for one in imported if one.partition(".")[0] == package)
    return sorted(found)


def _text(module: str) -> bytes:
    return Path(str(sys.modules[module].__file__)).read_bytes()


@cache
def _digest(module: str) -> str:
    own = __name__, "mergelab.methods.machine"  # a loop of another package is made of these too
    texts = [_text(name) for name in dict.fromkeys((*sources(module), *own))]
    return hashlib.sha256(b"".join(hashlib.sha256(text).digest() for text in texts)).hexdigest()[:16]


class _AtHome(caching.UserWideCacheLocator):  # type: ignore[misc, unused-ignore]
    """The user's caches, but not a folder "numba" of the working directory, where none is named."""

    def ensure_cache_path(self) -> None:
        if not os.path.isabs(self.get_cache_path()):
            raise OSError
        super().ensure_cache_path()


class _Files(caching.CompileResultCacheImpl):  # type: ignore[misc, unused-ignore]
    _locator_classes = [caching.UserProvidedCacheLocator, caching.InTreeCacheLocator, _AtHome]  # noqa: RUF012 - as numba has it

    def __init__(self, function: Any) -> None:
        self._source = _digest(function.__module__)
        super().__init__(function)

    def get_filename_base(self, name: str, flags: str) -> str:
        """In names, not in keys alone: where writing breaks off, no index can name code of another source."""
        return str(super().get_filename_base(f"{name}-{self._source}", flags))


class _Kept(caching.FunctionCache):  # type: ignore[misc, unused-ignore]
    _impl_class = _Files

    def load_overload(self, signature: Any, context: Any) -> Any:
        found = None
        with suppress(Exception):  # a damaged file says so in many ways
            found = super().load_overload(signature, context)
        if found is None and not _compiling.get():
            raise NotKeptError
        return found

    def save_overload(self, signature: Any, data: Any) -> None:
        try:
            super().save_overload(signature, data)
        except Exception:  # noqa: BLE001
            with suppress(Exception):  # if it was not a damaged index, but no room or no right to write
                self.flush()
                super().save_overload(signature, data)
