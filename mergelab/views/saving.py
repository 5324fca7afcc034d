"""Where a workbench is saved: over files of its own unasked, over nobody else's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mergelab.errors import OutputError, Problem
from mergelab.recipes.recipe import Recipe


class Files:
    """The files of recipes that a workbench has opened, or saved itself."""

    def __init__(self, sources: Sequence[object], recipe: object) -> None:
        """What the workbench is opened with: among it may be a YAML file."""
        given = [one for one in (recipe, *sources[:1]) if isinstance(one, str | os.PathLike)]
        named = [str(one) for one in given if str(one).lower().endswith((".yml", ".yaml"))]
        self._own = [_whole(name) for name in named if "\n" not in name]  # else it is YAML that ends so

    def save(self, recipe: Recipe, path: str | os.PathLike[str], *, force: bool) -> Path:
        """Write a recipe as YAML, with its comments, and return where.

        Args:
            force: also over a file that is not the workbench's own.

        Raises:
            OutputError: there is such a file, or it cannot be written.
        """
        target = Path(path).expanduser()
        over = force or _whole(target) in self._own
        try:
            with target.open("w" if over or target.is_dir() else "x", encoding="utf-8") as file:
                file.write(recipe.to_yaml())
        except FileExistsError:
            what = "is there already, and this workbench neither opened nor saved it."
            hint = "Choose another name, or say force=True to write over it."
            raise OutputError(Problem(str(target), what, hint)) from None
        except OSError as error:
            what = f"cannot be written ({error.strerror or error})."
            raise OutputError(Problem(str(target), what, "Name a file in a folder of yours.")) from None
        self._own.append(_whole(target))
        return target


def _whole(path: str | os.PathLike[str]) -> Path:
    """The same for every name of one file, wherever the notebook moves to."""
    return Path(path).expanduser().resolve()
