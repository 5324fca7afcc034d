"""Reads tables, lists and values off a document, and collects everything that is wrong with them."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Final

from mergelab import methods
from mergelab.errors import Problem, closest, did_you_mean
from mergelab.methods import Parameter
from mergelab.recipes.notes import located
from mergelab.recipes.recipe import Scalar
from mergelab.recipes.yaml_text import Items, Leaf, Node, Place, Table, step

_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_SWITCHES: Final[Mapping[str, bool]] = {
    "true": True,
    "yes": True,
    "on": True,
    "false": False,
    "no": False,
    "off": False,
}


class Reader:
    """Reads one document, value by value; knows where everything stands that it has come by.

    Args:
        file: the name that problems are reported under.
        start: where the document begins.
        stages: names of the documents before it.

    Attributes:
        problems: what is wrong, in the order found.
        unread: paths of what could not be read. That is said already; what follows from it is not said again.
    """

    def __init__(self, file: str, start: Place, stages: Sequence[str]) -> None:
        self.file = file
        self.stages = stages
        self.problems: list[Problem] = []
        self.unread: list[str] = []
        self._places: dict[str, Place] = {"": start}

    def wrong(self, where: str, what: str, hint: str = "", *, read: bool = False) -> None:
        """Note a problem; ``read``: a value is there all the same, so that what is said of it by others counts."""
        if not read:
            self.unread.append(where or "merge_method")
        self.problems.append(Problem(located(where, self._places, self.file), what, hint))

    def follows(self, problem: Problem) -> bool:
        """Whether a problem lies within, or around, something that could not be read."""
        return any(_within(problem.where, place) or _within(place, problem.where) for place in self.unread)

    def table(
        self,
        node: Node,
        where: str,
        keys: Sequence[str] | None,
        *,
        required: Sequence[str] = (),
        refused: Mapping[str, tuple[str, str]] | None = None,
    ) -> dict[str, Node]:
        """Entries of a table by key; unknown, repeated and missing keys are problems.

        A key that has no value (null) counts as left out, as in mergekit.

        Args:
            keys: those that mean something here; None: any key.
            required: those that must be there.
            refused: what is wrong with keys that others know, and what to do.
        """
        if not isinstance(node, Table):
            hint = f"Write {', '.join(f'{key}:' for key in keys)}." if keys else "Write 'name: value' lines."
            self.wrong(where, "is not a table of keys.", hint)
            return {}
        found: dict[str, Node] = {}
        seen: set[str] = set()
        misspelt: list[tuple[Leaf, Node]] = []
        for key, value in node.entries:
            path = step(where, key.text)
            self._places.setdefault(path, key.place)
            if key.text in seen:
                what = f"is written twice, again in line {key.place[0]}."
                self.wrong(path, what, "Keep one of the two.", read=True)
            elif refused and key.text in refused:
                self.wrong(path, *refused[key.text], read=True)
            elif keys is not None and key.text not in keys:
                close = closest(key.text, keys)
                number = not close and "parameters" in keys and _is_number(key.text)
                hint = "Numbers of a method stand under parameters:." if number else did_you_mean(key.text, keys)
                self.wrong(path, "is not a key that means anything here.", hint, read=True)
                self.unread += [step(where, "parameters")] if number else []
                misspelt.append((key, value))
            else:
                found[key.text] = value
            seen.add(key.text)
        for key, value in misspelt:
            # Read on as the key that was meant, so that one slip does not hide others or bring up more.
            meant = closest(key.text, keys or ())
            if meant is not None and meant not in found:
                found[meant] = value
                self._places.setdefault(step(where, meant), key.place)
        for name in required:
            if name not in found:
                self.wrong(where, f"has no {name}:.", f"Add {name}: there.")
        if keys is not None:
            found = {key: value for key, value in found.items() if key in required or not is_nothing(value)}
        return found

    def items(self, node: Node, where: str) -> list[tuple[Node, str]]:
        """Entries of a list, each with its path; no list, and an empty one, are problems."""
        if not isinstance(node, Items):
            self.wrong(where, "is not a list.", "Write one '- ' line for each entry.")
            return []
        if not node.values:
            self.wrong(where, "is an empty list.", "Give at least one entry.")
        found = [(value, f"{where}[{index}]") for index, value in enumerate(node.values)]
        self._places |= {path: value.place for value, path in found if path not in self._places}
        return found

    def leaf(self, node: Node, where: str) -> Leaf | None:
        """One value; None: it is a table, a list, or unreadable, which is noted."""
        if not isinstance(node, Leaf):
            kind = "table" if isinstance(node, Table) else "list"
            self.wrong(where, f"is a {kind}, one value is wanted.", f"Write one value in place of the {kind}.")
            return None
        if not node.readable:
            self.wrong(where, f"{_short(node.text)!r} cannot be read.", "Put it in quotes if it is text.")
            return None
        return node

    def text(self, node: Node, where: str) -> str | None:
        """A text that is not empty, else None and a problem."""
        leaf = self.leaf(node, where)
        if leaf is None:
            return None
        if not isinstance(leaf.value, str):
            hint = "Write a name, in quotes if it looks like something else."
            self.wrong(where, f"{leaf.value!r} is not text.", hint)
            return None
        if not leaf.value:
            self.wrong(where, "is empty.", "Write a name.")
            return None
        return leaf.value

    def whole(self, node: Node, where: str) -> int | None:
        """A whole number, else None and a problem. ``4.0`` and ``"4"`` are read as 4, as mergekit does."""
        leaf = self.leaf(node, where)
        if leaf is None:
            return None
        value = leaf.value
        if isinstance(value, str) and re.fullmatch(r"[-+]?\d{1,18}", value):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        self.wrong(where, f"{leaf.value!r} is not a whole number.", "Write a whole number.")
        return None

    def switch(self, node: Node, where: str) -> bool | None:
        """True or false, else None and a problem."""
        leaf = self.leaf(node, where)
        if leaf is None:
            return None
        value = _switch(leaf.value)
        if value is None:
            self.wrong(where, f"{leaf.value!r} is neither true nor false.", "Give true or false.")
        return value

    def scalar(self, node: Node, where: str, parameter: Parameter | None) -> Scalar:
        """A value of a parameter, as the kind it is declared to be where what is written has one clear meaning.

        YAML reads ``1e-5`` and ``"0.5"`` as text, and people write ``normalize: 1.0``: mergekit turns them into
        numbers and switches, and so does this.
        """
        leaf = self.leaf(node, where)
        if leaf is None:
            return 0.0
        if parameter and parameter.choices:
            return leaf.text
        value = leaf.value
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if parameter and parameter.kind is bool and (switch := _switch(value)) is not None:
            return switch
        if isinstance(value, bool | str):
            return value
        what = "has no value." if value is None else f"{leaf.text!r} is not a number."
        if isinstance(value, int | float):
            with contextlib.suppress(OverflowError):
                return float(value)
            what = f"{_short(leaf.text)} is beyond every float."
        hint = parameter.expects if parameter else "Write a number, true or false, a list, or filter and value."
        self.wrong(where, what, hint)
        return 0.0


def is_nothing(node: Node) -> bool:
    """Whether a value is null, or was left out behind its key."""
    return isinstance(node, Leaf) and node.readable and node.value is None


def _is_number(word: str) -> bool:
    """Whether a method has a parameter of this name, or nearly."""
    known = {name for method in methods.names() for name in methods.get(method).parameters}
    return bool(difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.8))


def _switch(value: object) -> bool | None:
    if isinstance(value, str):
        return _SWITCHES.get(value.lower())
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def _short(text: str) -> str:
    return text if len(text) < 100 else f"{text[:100]} ..."


def _within(where: str, place: str) -> bool:
    return where == place or where.startswith((f"{place}.", f"{place}["))
