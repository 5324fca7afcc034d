"""YAML as recipes use it: plain values, lists and tables with their places, and the comments between them.

Anchors, aliases and merge keys are written out, up to a limit. Tags, which ask for objects, are refused, and
nothing is ever made of a text but words, numbers and dates.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import yaml

from mergelab.errors import Problem, RecipeError

MOST_VALUES: Final = 100_000
"""Values of a document after its aliases are written out; GOLIATH has some hundred."""
DEEPEST: Final = 60
"""Lists and tables within one another; a recipe has twelve at most."""

_OPENED: Final = {
    "while parsing a flow sequence": ("list", "the ] that is missing."),
    "while parsing a flow mapping": ("table", "the } that is missing."),
    "while scanning a quoted scalar": ("quoted text", "the quote that is missing."),
}  # what PyYAML was at when it gave up, by its own words

Place: TypeAlias = tuple[int, int]
"""Line and column, both from 1."""


@dataclass(frozen=True)
class Leaf:
    """One value.

    Attributes:
        place: where it stands.
        text: as it is written, without quotes.
        value: what YAML makes of it: None, bool, int, float, date or str.
        readable: False where YAML takes it for a number or a date, and it is none.
    """

    place: Place
    text: str
    value: Any = None
    readable: bool = True


@dataclass(frozen=True)
class Items:
    """A list."""

    place: Place
    values: tuple[Node, ...]


@dataclass(frozen=True)
class Table:
    """A mapping: entries in the order of the text, keys as written; a key may come twice."""

    place: Place
    entries: tuple[tuple[Leaf, Node], ...]


Node: TypeAlias = Leaf | Items | Table


@dataclass(frozen=True)
class Comment:
    """A comment.

    Attributes:
        place: of its ``#``.
        text: what stands behind the ``#``.
        alone: nothing else is in its line.
    """

    place: Place
    text: str
    alone: bool


@dataclass(frozen=True)
class Document:
    """One document of a text.

    Attributes:
        root: what it says.
        comments: in order.
        indents: for each line of the whole text, the number of spaces it begins with.
    """

    root: Node
    comments: tuple[Comment, ...]
    indents: tuple[int, ...] = field(repr=False)


def documents(text: str, file: str) -> tuple[Document, ...]:
    """The documents of a YAML text; empty ones are left out.

    Args:
        file: the name that problems are reported under.

    Raises:
        RecipeError: the text is no YAML, has a tag, is nested too deeply, or its aliases make too much of it.
    """
    try:
        loader = _Loader(text)
        roots: list[Any] = []
        while loader.check_node():
            roots.append(loader.get_node())
        roots = [node for node in roots if node.tag != "tag:yaml.org,2002:null" or node.value != ""]
        found = tuple(_Expansion(file).node(root, 0) for root in roots)
        comments, breaks = _comments(text, loader.tokens_read)
    except RecursionError:
        raise _too_deep(file) from None
    except yaml.YAMLError as error:
        raise RecipeError(_unreadable(error, file)) from None
    indents = tuple(len(line) - len(line.lstrip(" ")) for line in re.split("\r\n|[\r\n\x85\u2028\u2029]", text))
    # A comment belongs to the last document that has begun ("---") above it.
    starts = [max((line for line in breaks if line <= root.start_mark.line), default=0) for root in roots[1:]]
    parted: list[list[Comment]] = [[] for _ in roots]
    for comment in comments if roots else ():
        parted[bisect_right(starts, comment.place[0] - 1)].append(comment)
    return tuple(Document(root, tuple(comments), indents) for root, comments in zip(found, parted, strict=True))


def _unreadable(error: yaml.YAMLError, file: str) -> Problem:
    """What is wrong, where it can be mended: what is never closed is found lines below where it begins."""
    begun, mark = (getattr(error, f"{name}_mark", None) for name in ("context", "problem"))
    opened = _OPENED.get(getattr(error, "context", None) or "")
    if opened and begun and mark and mark.line > begun.line:
        word, closing = opened
        where = f"{file} line {begun.line + 1}, column {begun.column + 1}"
        return Problem(where, f"the {word} that begins here is not closed by line {mark.line + 1}.", f"Add {closing}")
    where = f"{file} line {mark.line + 1}, column {mark.column + 1}" if mark else file
    told = [getattr(error, name, None) for name in ("context", "problem")]
    what = f"is not YAML that is read here: {', '.join(filter(None, told)) or error}."
    return Problem(where, what, "Check indentation, colons and brackets there.")


def step(where: str, key: str) -> str:
    """The path of an entry ``key`` of the table at ``where``: ``parameters.t``, ``tokenizer.tokens['<s>']``."""
    if not re.fullmatch(r"[\w-]+", key):
        return f"{where}[{key!r}]"
    return f"{where}.{key}" if where else key


def walk(node: Node, where: str = "") -> Iterator[tuple[str, Place, Node]]:
    """Every entry below a node, in the order of the text: its path, its place (a key's is the key's), itself."""
    if isinstance(node, Table):
        children = [(step(where, key.text), key.place, value) for key, value in node.entries]
    elif isinstance(node, Items):
        children = [(f"{where}[{index}]", value.place, value) for index, value in enumerate(node.values)]
    else:
        children = []
    for path, place, value in children:
        yield path, place, value
        yield from walk(value, path)


class _Loader(yaml.SafeLoader):
    """Composes nodes and refuses tags; an alias stays a node of its own, at its own place. Keeps its tokens."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.tokens_read: list[Any] = []

    def get_token(self) -> Any:
        token = super().get_token()
        self.tokens_read.append(token)
        return token

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            self.get_event()
            if event.anchor not in self.anchors:
                raise yaml.composer.ComposerError(None, None, f"undefined alias {event.anchor!r}", mark)
            return yaml.Node("alias", self.anchors[event.anchor], mark, mark)
        if getattr(event, "tag", None):
            what = f"tag {event.tag!r} is not allowed, a recipe has plain values"
            raise yaml.composer.ComposerError(None, None, what, mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


class _Expansion:
    """Writes aliases and merge keys out, counting what it makes."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.count = 0

    def node(self, node: yaml.Node, depth: int) -> Node:
        """The tree below a composed node. An alias stands at its own place, what is in it where it is written."""
        place = _place(node)
        self.count += 1
        if depth > DEEPEST:
            raise _too_deep(f"{self.file} line {place[0]}, column {place[1]}")
        if self.count > MOST_VALUES:
            what = f"its aliases make more than {MOST_VALUES} values of it."
            raise RecipeError(Problem(self.file, what, "Write out what is meant."))
        if node.tag == "alias":
            return replace(self.node(node.value, depth + 1), place=place)
        if isinstance(node, yaml.SequenceNode):
            return Items(place, tuple(self.node(item, depth + 1) for item in node.value))
        if isinstance(node, yaml.MappingNode):
            return Table(place, tuple(self.entries(node, depth)))
        return _leaf(node)

    def entries(self, node: yaml.MappingNode, depth: int) -> Iterator[tuple[Leaf, Node]]:
        """A table's own entries, and at the place of ``<<`` those of the tables it names that it has not itself."""
        own = {key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)}
        for key, value in node.value:
            place = _place(key)
            if key.tag == "tag:yaml.org,2002:merge":
                taken = self.node(value, depth + 1)
                for table in taken.values if isinstance(taken, Items) else (taken,):
                    if not isinstance(table, Table):
                        where = f"{self.file} line {place[0]}, column {place[1]}, <<"
                        what = "names something that is not a table of keys."
                        raise RecipeError(Problem(where, what, "Write <<: *anchor, or a list of such aliases."))
                    new = [entry for entry in table.entries if entry[0].text not in own]
                    own |= {entry[0].text for entry in new}
                    yield from new
            else:
                yield _leaf(key) if isinstance(key, yaml.ScalarNode) else Leaf(place, "?"), self.node(value, depth + 1)


def _place(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _leaf(node: yaml.Node) -> Leaf:
    try:
        return Leaf(_place(node), node.value, yaml.constructor.SafeConstructor().construct_object(node))
    except (yaml.YAMLError, ValueError, OverflowError):
        return Leaf(_place(node), node.value, readable=False)


def _comments(text: str, tokens: Iterable[Any]) -> tuple[list[Comment], list[int]]:
    """The comments of a text, and the lines (from 0) in which documents begin with ``---``."""
    found: list[Comment] = []
    breaks: list[int] = []
    lines = [0, *(end.end() for end in re.finditer("\r\n|[\r\n\x85\u2028\u2029]", text))]
    before = 0
    for token in tokens:
        if isinstance(token, yaml.DocumentStartToken):
            breaks.append(token.start_mark.line)
        # Between two tokens there is nothing but white space and comments.
        spans = [(before, token.start_mark.index)]
        before = max(before, token.end_mark.index)
        if isinstance(token, yaml.ScalarToken) and token.style in ("|", ">"):
            start = token.start_mark.index  # of a block of text only the first line can have a comment
            header = re.compile(r"[^\s#]*[ \t]+(?=#)").match(text, start)
            spans += [(header.end(), next(line for line in [*lines, len(text)] if line > start))] if header else []
        for start, end in spans:
            for match in re.finditer(r"#([^\r\n\x85\u2028\u2029]*)", text[start:end]):
                at = start + match.start()
                line = bisect_right(lines, at) - 1
                alone = not text[lines[line] : at].strip(" \t\ufeff")
                found.append(Comment((line + 1, at - lines[line] + 1), match[1].rstrip(), alone))
    return found, breaks


def _too_deep(where: str) -> RecipeError:
    return RecipeError(Problem(where, "is nested too deeply.", "A recipe needs ten levels at most."))
