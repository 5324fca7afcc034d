"""What a model card states about its model, read as data: licence and ancestors."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
        licences: their ids as it writes them; the name that it gives where the id says no more than "other".
        link: where it says that the terms stand, or None.
        bases: the models that it was made from, as the card names them.
    """

    licences: tuple[str, ...] = ()
    link: str | None = None
    bases: tuple[str, ...] = ()


def read_cards(checkpoint: Checkpoint) -> tuple[Card, ...]:
    """The card of a model, and that of the adapter on it; an empty one where there is none, or none that can be read.

    Raises:
        SourceError: the hub cannot be reached.
    """
    cards = [_card(checkpoint.path("README.md"))]
    if checkpoint.adapter is not None:
        cards.append(_card(checkpoint.adapter.path("README.md")))
    return tuple(cards)


def licence_of(cards: Sequence[Card]) -> str | None:
    """In words, the licences of a model with its adapter; None where one of the two states none."""
    stated = dict.fromkeys(", ".join(card.licences) for card in cards)
    return " + ".join(stated) if all(stated) else None


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
    return Card(said, next(iter(_texts(table.get("license_link"))), None), _texts(table.get("base_model")))


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(one.strip() for one in values if isinstance(one, str) and one.strip())
