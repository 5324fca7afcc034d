"""Entered: the verdict of a later proof, put where the merge's own would be: in its record and on its card."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mergelab.errors import OutputError, Problem, SourceError
from mergelab.forge import card
from mergelab.forge.provenance import FILE, Verdict, as_json, read_record, recipe_hash
from mergelab.recipes.recipe import Recipe


def record_of(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """The record of a merge of this recipe.

    Raises:
        SourceError: the folder has none, or one of another recipe.
    """
    found = read_record(folder / FILE)
    if found["recipe"]["sha256"] != recipe_hash(recipe):
        what = f"is of another recipe ({found['recipe']['fingerprint']}, not {recipe.fingerprint})."
        hint = "A verdict is written down where the merge was of the recipe that it is held against."
        raise SourceError(Problem(str(folder / FILE), what, hint))
    return found


def enter(folder: Path, record: dict[str, Any], proof: Verdict) -> None:
    """Write the verdict into the record and onto the card. A card that somebody wrote on stays as it is.

    Raises:
        OutputError: the folder cannot be written to.
    """
    new = record | {"proof": proof.as_record()}
    known = [card.model_card(one) for one in (record, record | {"proof": None})]
    try:
        _replace(folder / FILE, as_json(new))
        if (folder / card.FILE).is_file() and (folder / card.FILE).read_text(encoding="utf-8") in known:
            _replace(folder / card.FILE, card.model_card(new))
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})."
        raise OutputError(Problem(str(folder), what, "Make room, or get the right to.")) from error


def _replace(path: Path, text: str) -> None:
    """The file has the old text or the new one, at any moment."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
