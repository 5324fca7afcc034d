"""Looking: what is found out of the recipe at hand aside, because it takes longer than a hand waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from mergelab.recipes.recipe import Recipe
from mergelab.views.aside import Aside
from mergelab.views.exports import exports
from mergelab.views.faces import Faces
from mergelab.views.page_text import before_saving


class Looking:
    """Looks at a recipe before saving, and writes it for other programs.

    Attributes:
        rows: what was found before saving, rows of the ``_problems`` trait.
        of: the recipe that they are about; None before the first.
    """

    def __init__(
        self,
        aside: Aside,
        lock: threading.RLock,
        at_hand: Callable[[], Faces],
        found: Callable[[], None],
        write: Callable[[dict[str, Any]], None],
    ) -> None:
        """
        Args:
            lock: held while what was found is told.
            at_hand: the faces of the newest recipe: nothing is told of any other.
            found: called when ``rows`` have changed.
            write: gets the traits of what was written.
        """  # noqa: D212 - the class says what it is
        self._aside, self._lock, self._at_hand, self._found, self._write = aside, lock, at_hand, found, write
        self._looked: Recipe | None = None  # the last that was to be looked at
        self.rows: list[dict[str, Any]] = []
        self.of: Recipe | None = None

    def look(self, faces: Faces) -> None:
        """Look at a recipe, unless that is done."""
        if faces.recipe is not self._looked:
            self._looked = faces.recipe
            self._aside.do("look", partial(self._look, faces))

    def export(self, faces: Faces) -> None:
        """Write a recipe for other programs."""
        self._aside.do("export", partial(self._export, faces))

    def _look(self, faces: Faces) -> None:
        rows = before_saving(faces.recipe, faces.guests)
        with self._lock:
            if faces.recipe is self._at_hand().recipe:
                self.rows, self.of = rows, faces.recipe
                self._found()
            elif faces.recipe is self._looked:
                self._looked = None  # the hand has gone on, and may come back

    def _export(self, faces: Faces) -> None:
        texts = exports(faces.recipe, faces.guests)
        with self._lock:
            if faces.recipe is self._at_hand().recipe:
                self._write({"_exports": texts})
