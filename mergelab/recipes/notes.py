"""What a recipe's text says beside its meaning: comments, the order of keys, and where everything stands."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mergelab.recipes.yaml_text import Comment, Document, Place, Table, walk


@dataclass(frozen=True)
class Notes:
    """What a text says beside its meaning, by path (``slices[1].sources[0].model``).

    Attributes:
        order: the keys of each table as they were written; the table of everything is ``""``.
        above: whole lines of comment before a key or an entry, what stands behind their ``#``.
        beside: the comment at the end of its line.
        below: whole lines of comment after it that are indented like it, and deeper than what follows.
        end: whole lines of comment after everything.
        places: line and column, from 1, of each key and each entry of a list.
        file: the name of the text.
    """

    order: tuple[tuple[str, tuple[str, ...]], ...] = ()
    above: tuple[tuple[str, tuple[str, ...]], ...] = ()
    beside: tuple[tuple[str, str], ...] = ()
    below: tuple[tuple[str, tuple[str, ...]], ...] = ()
    end: tuple[str, ...] = ()
    places: tuple[tuple[str, Place], ...] = ()
    file: str = "recipe"

    @property
    def comments(self) -> tuple[object, ...]:
        """All comments, and what they are about."""
        return self.above, self.beside, self.below, self.end

    def place(self, path: str) -> str:
        """``path`` with file, line and column of the nearest key or entry around it that stands in the text."""
        return located(path, dict(self.places), self.file)


def located(path: str, places: Mapping[str, Place], file: str) -> str:
    """``path`` with file, line and column of the nearest of ``places`` around it."""
    here = path
    while here and here not in places:
        here = here[: max(here.rfind("."), here.rfind("["), 0)]
    where = f"{file} line {places[here][0]}, column {places[here][1]}" if here in places else file
    return f"{where}, {path}" if path else where


def notes_of(document: Document, file: str) -> Notes:
    """The notes of a document, each comment with the key or entry it stands above, beside or below."""
    found = list(walk(document.root))
    tables = [("", document.root), *((path, node) for path, _, node in found)]
    order = tuple(
        (path, tuple(dict.fromkeys(key.text for key, _ in node.entries)))
        for path, node in tables
        if isinstance(node, Table)
    )
    places: dict[str, Place] = {}
    starts: dict[int, str] = {}  # line -> the outermost key or entry that begins in it
    for path, place, _ in found:
        places.setdefault(path, place)
        starts.setdefault(place[0], path)
    lines = sorted(starts)
    sides: dict[str, dict[str, list[str]]] = {side: defaultdict(list) for side in ("above", "beside", "below", "end")}
    for comment in document.comments:
        at = bisect_left(lines, comment.place[0])
        before = starts[lines[at - 1]] if at else None
        here = starts[lines[at]] if at < len(lines) else None
        side, path = _side(comment, here, before, places, document.indents)
        if side == "beside" and path in sides[side]:
            side = "above"  # a line has room for one
        sides[side][path].append(comment.text)
    above, below = (tuple((path, tuple(texts)) for path, texts in sides[side].items()) for side in ("above", "below"))
    beside = tuple((path, texts[0]) for path, texts in sides["beside"].items())
    return Notes(order, above, beside, below, tuple(sides["end"][""]), tuple(places.items()), file)


def _side(
    comment: Comment, here: str | None, before: str | None, places: Mapping[str, Place], indents: Sequence[int]
) -> tuple[str, str]:
    """The side and the path that a comment belongs to.

    Args:
        here: the outermost key or entry of its line, or of the next line that has one.
        before: that of the last line before it.
    """
    line, column = comment.place
    if not comment.alone:
        path = here if here and places[here][0] == line else before
        if path:
            return "beside", path
    elif before and column - 1 > (indents[places[here][0] - 1] if here else 0) and not (here and _within(here, before)):
        path = before
        while places[path][1] > column and "." in path:
            path = path[: max(path.rfind("."), path.rfind("["))]
        return "below", path
    return ("above", here) if here else ("end", "")


def _within(path: str, outer: str) -> bool:
    return path.startswith((f"{outer}.", f"{outer}["))
