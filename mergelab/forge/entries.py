"""Entries: what a record says of the sources, each held against what the source is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from mergelab.forge.provenance import FILE
from mergelab.forge.verification import Sighting
from mergelab.weights import Source

_CARD = ("licences", "licence link", "ancestors")  # what an entry has from the card of its source

Entry: TypeAlias = Mapping[str, Any]


def pinned(source: Source, entry: Entry) -> Source:
    """The address with the commits that were merged."""

    def at(place: Source, said: Entry) -> Source:
        return replace(place, revision=said["commit"]) if place.folder is None and said["commit"] else place

    adapter = source.adapter and entry["adapter"] and at(source.adapter, entry["adapter"])
    return replace(at(source, entry), adapter=adapter or source.adapter)


def held(place: Source, written: Mapping[str, str], there: Sequence[str], perhaps: Sequence[str]) -> Iterator[Sighting]:
    """The names of files that are written down, beside those that are read: these are there, those may be."""
    for name in there:
        if name not in written:
            yield Sighting("changed", f"{place}, {name}", f"is read by the merge, and {FILE} has no SHA-256 of it.")
    for name in written:
        if name not in (*there, *perhaps):
            yield Sighting("changed", f"{place}, {name}", f"is not read by the merge, though {FILE} has its SHA-256.")


def stated(entry: Entry) -> Entry:
    """What cards state of a model and its adapter."""
    said = {key: entry[key] for key in _CARD}
    return said | ({"adapter": stated(entry["adapter"])} if entry.get("adapter") else {})


def placed(entry: Entry) -> Entry:
    """Everything else of a model and its adapter, but for their files."""
    said = {key: value for key, value in entry.items() if key not in (*_CARD, "files", "adapter")}
    return said | ({"adapter": placed(entry["adapter"])} if entry.get("adapter") else {})
