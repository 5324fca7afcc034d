"""What every widget shares: its bundle, one lock round everything written, and a picture that needs no script."""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from importlib import resources
from typing import Any

import anywidget
from traitlets import TraitError, Unicode

log = logging.getLogger("mergelab.views")


def bundle(name: str) -> str:
    """The text of a committed browser bundle. As text, not as a path: anywidget keeps widgets with a watched path alive
    after they are closed.
    """
    return resources.files("mergelab").joinpath("static", name).read_text(encoding="utf-8")


class LabWidget(anywidget.AnyWidget):
    """Base of the widgets. What the browser sends is checked on arrival; what Python says goes out in one message.

    Messages come in on the main thread or on a subshell's, answers come from a worker. One lock round both keeps a
    message whole. Nothing may wait for a worker while it holds the lock.
    """

    error = Unicode("", help="What is wrong, in words; empty when nothing is. Written by Python.").tag(sync=True)

    _closed = True  # until it is open: a constructor that refuses its arguments leaves nothing to close

    def __init__(self) -> None:
        self._lock = threading.RLock()
        super().__init__()
        self._closed = False

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take in a message of the browser. What cannot be meant is said in ``error`` and put back in the browser."""
        with self._lock:
            try:
                super().set_state(sync_data)
            except TraitError as error:
                log.info("refused a message of the browser: %s", error)
                self.refuse(str(error), sync_data)
                self.send_state([key for key in sync_data if key in self.keys])

    def refuse(self, error: str, _sync_data: dict[str, Any]) -> None:
        """Say what was wrong with a message of the browser. Its traits are as they were before."""
        self.error = error

    def write(self, **values: object) -> None:
        """Set traits Python owns, in one message. Nothing is written to a closed widget."""
        with self._lock:
            if self._closed:
                return
            with self.hold_sync():
                for name, value in values.items():
                    setattr(self, name, value)

    @abstractmethod
    def still(self) -> str:
        """The widget as HTML without scripts: what a saved notebook shows."""

    def close(self) -> None:
        """Close the widget and its layout. Twice is as good as once."""
        if self._closed:
            return
        with self._lock:
            self._closed = True
        layout = self.layout
        super().close()
        if layout is not None:
            layout.close()

    def _repr_mimebundle_(self, **_options: object) -> tuple[dict[str, Any], dict[str, Any]] | None:
        shown = super()._repr_mimebundle_()
        if shown is None:
            return None
        data, metadata = shown
        return {**data, "text/plain": repr(self), "text/html": self.still()}, metadata
