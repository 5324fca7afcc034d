"""What a model card states about its model, read as data: licence and ancestors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from mergelab.weights import Checkpoint

_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|\Z)", re.DOTALL)
LONGEST = 1_000_000


@dataclass(frozen=True)
class Card:
    """The front matter of a README.md.

    Attributes:
        licence: its name, or None where none is stated.
        bases: the models that it was made from, as the card names them.
    """

    licence: str | None = None
    bases: tuple[str, ...] = ()


def read_card(checkpoint: Checkpoint) -> Card:
    """The card of a model; an empty one where there is none, or none that can be read.

    A model with an adapter on it has the licences of both, or none where one of them states none.
    """
    card = _card(checkpoint.path("README.md"))
    if checkpoint.adapter is None:
        return card
    licences = dict.fromkeys((card.licence, _card(checkpoint.adapter.path("README.md")).licence))
    stated = [licence for licence in licences if licence is not None]
    return Card(" + ".join(stated) if len(stated) == len(licences) else None, card.bases)


def _card(path: Path | None) -> Card:
    if path is None:
        return Card()
    found = _FRONT_MATTER.match(path.read_bytes()[:LONGEST].decode("utf-8", errors="replace"))
    if found is None:
        return Card()
    try:
        table = yaml.safe_load(found[1])
    except (yaml.YAMLError, ValueError, RecursionError):
        return Card()
    if not isinstance(table, dict):
        return Card()
    licences, named = _texts(table.get("license")), _texts(table.get("license_name"))
    said = named if named and licences in ((), ("other",)) else licences
    return Card(", ".join(said) or None, _texts(table.get("base_model")))


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(one.strip() for one in values if isinstance(one, str) and one.strip())
