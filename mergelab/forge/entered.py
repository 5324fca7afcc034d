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


def enter(folder: Path, record: dict[str, Any], proof: Verdict) -> str:
    """Write the verdict into the record and onto the card. A card that somebody wrote on stays as it is.

    Returns:
        Where it stands now, in a sentence.

    Raises:
        OutputError: the folder cannot be written to.
    """
    new = record | {"proof": proof.as_record()}
    known = [card.model_card(one).encode() for one in (record, record | {"proof": None})]
    laid = folder / card.FILE
    try:
        before = laid.read_bytes() if laid.is_file() else None
        _replace(folder / FILE, as_json(new))
        if before in known:
            _replace(laid, card.model_card(new))
            return f"Written into {FILE} and onto {card.FILE}."
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})."
        raise OutputError(Problem(str(folder), what, "Make room, or get the right to.")) from error
    why = f"there is no {card.FILE}" if before is None else f"{card.FILE} is not as the merge wrote it, and stays"
    return f"Written into {FILE}; {why}."


def part_of(name: str) -> str:
    """The file that becomes the one of this name; a process that is killed meanwhile leaves it."""
    return f".{name}.part"


def _replace(path: Path, text: str) -> None:
    """The file has the old text or the new one, at any moment."""
    part = path.with_name(part_of(path.name))
    try:
        part.write_bytes(text.encode())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
