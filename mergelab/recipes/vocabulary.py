"""Vocabularies: which tokens the merged model has, and which rows make each model's matrices fit it.

Pure: tokens and row numbers in, row numbers out; no tensor is read. Two tokens are the same where their texts are the
same, whatever their ids.

The output vocabulary is that of one model, its *home*: of the model named, or else of the base (without base model: of
the first model). ``union`` appends the tokens of the others, model by model in reading order, by ascending id; then
come tokens that only the recipe names. Every model that the recipe names takes part, also where it gives no embedding
to the merge: it may lend a row.

The row of a token in a model's matrix is, in this order: its own; what the recipe says of this token; the base's; the
mean over the models that have it; zeros. A row without a token (padding) is the mean of the model's rows.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeAlias

from mergelab.errors import Problem, did_you_mean
from mergelab.recipes.fitted import Fitted
from mergelab.recipes.recipe import Recipe, Token, Vocabulary
from mergelab.recipes.step import ALL_ROWS, Origin, Rows
from mergelab.recipes.yaml_text import step
from mergelab.weights import Source

Terms: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Lexicon:
    """The tokens of a model.

    Attributes:
        ids: the id of each token.
        rows: number of rows of its embedding matrix: more than tokens where it is padded.
    """

    ids: Mapping[str, int]
    rows: int

    @cached_property
    def owned(self) -> Mapping[str, int]:
        """The tokens that have a row: a tokenizer may know more than its model, such as a padding token."""
        return {text: number for text, number in self.ids.items() if number < self.rows}


@dataclass(frozen=True, eq=False)
class Alignment:
    """The vocabulary of the merged model.

    Attributes:
        home: the model whose tokenizer it is, but for what is appended, and for tokens without a row.
        readers: all models whose tokenizers take part, in reading order.
        ids: the id of each token.
        count: number of rows, padding included.
        rows: how the matrices of each model are brought to it; None where they fit as they are.
        lexicons: the tokens of each reader.
    """

    home: Source
    readers: tuple[Source, ...]
    ids: Mapping[str, int]
    count: int
    rows: Mapping[Source, Rows | None]
    lexicons: Mapping[Source, Lexicon]

    @cached_property
    def lexicon(self) -> Lexicon:
        """Its tokens, for a merge that uses this one as a model."""
        return Lexicon(self.ids, self.count)

    def fitted(self, origins: Mapping[Source, Origin]) -> dict[Source, Origin]:
        """The models, each as it looks in this vocabulary."""
        found = dict(origins)
        for source, rows in self.rows.items():
            if rows is not None:
                found[source] = Fitted(origins[source], rows, tuple(origins[lender] for lender in rows.lenders))
        return found


@dataclass(frozen=True)
class Reader:
    """A model that takes part.

    Attributes:
        source: its address.
        lexicon: its tokens.
        lends: its rows fit the merge: its embeddings have the same width and name.
    """

    source: Source
    lexicon: Lexicon
    lends: bool = True


def align(
    recipe: Recipe, origins: Mapping[Source, Origin], chosen: Mapping[Source, Lexicon]
) -> tuple[Alignment | None, tuple[Problem, ...]]:
    """The vocabulary that a recipe asks for, and everything that is wrong with it. None where it asks for none.

    Args:
        origins: the models that it names.
        chosen: the tokens of those of them for which a recipe chose them: of stages.
    """
    words = recipe.vocabulary
    if words is None:
        return None, ()
    readers: list[Reader] = []
    problems: list[Problem] = []
    host = origins[recipe.donor]
    for source in dict.fromkeys((recipe.donor, *recipe.mentioned)):
        origin = origins[source]
        found = chosen.get(source) or lexicon(origin)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            alike = origin.width == host.width and all(name in origin.specs for name in host.anatomy.before)
            readers.append(Reader(source, found, alike))
    if problems:
        return None, tuple(problems)
    alignment, wrong = join(words, tuple(readers))
    return alignment, tuple(replace(problem, where=recipe.place(problem.where)) for problem in wrong)


def lexicon(origin: Origin) -> Lexicon | Problem:
    """The tokens of a model from its tokenizer.json, or vocab.json, or what is wrong with it."""
    where = str(origin.source)
    rows = origin.config.get("vocab_size")
    if type(rows) is not int:
        hint = "Leave out tokenizer:, or save the model again with transformers."
        return Problem(where, "its config does not say vocab_size.", hint)
    names = ("tokenizer.json", "vocab.json", "added_tokens.json", "tokenizer_config.json")
    files = tuple(path for name in names if (path := origin.path(name)) is not None)
    if not any(path.name in names[:2] for path in files):
        hint = "Save it there as tokenizer.json: AutoTokenizer.from_pretrained(...).save_pretrained(...)."
        return Problem(where, "has no tokenizer.json, and its vocabulary is asked for.", hint)
    try:
        stamps = tuple((os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in files)
        return _read(files, stamps, rows)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = str(error) or type(error).__name__
        return Problem(where, f"its tokenizer cannot be read ({why}).", "Download or save it again.")


@lru_cache(maxsize=8)
def _read(files: tuple[Path, ...], _stamps: tuple[tuple[int, int], ...], rows: int) -> Lexicon:
    """The stamps tell a file that was written anew from the one that was read."""
    texts = {path.name: json.loads(path.read_bytes()) for path in files}
    ids: dict[str, int] = {}
    if "tokenizer.json" in texts:
        vocabulary = texts["tokenizer.json"]["model"]["vocab"]
        # Unigram has a list of pieces with their scores, the others a table of ids.
        ids |= vocabulary if isinstance(vocabulary, dict) else {piece[0]: at for at, piece in enumerate(vocabulary)}
        ids |= {token["content"]: token["id"] for token in texts["tokenizer.json"].get("added_tokens") or ()}
    else:
        ids |= texts["vocab.json"] | texts.get("added_tokens.json", {})
    for number, token in texts.get("tokenizer_config.json", {}).get("added_tokens_decoder", {}).items():
        ids.setdefault(token["content"], int(number))
    if not all(type(number) is int and number >= 0 for number in ids.values()):
        raise ValueError("ids must be whole numbers from 0")
    return Lexicon(ids, rows)


@lru_cache(maxsize=4)
def join(words: Vocabulary, readers: tuple[Reader, ...]) -> tuple[Alignment | None, tuple[Problem, ...]]:
    """The vocabulary made of those of the readers, of whom the first is the base; and what is wrong with it."""
    problems = tuple(problem for text, token in words.tokens for problem in _wrong(text, token, readers))
    if problems:
        return None, problems
    home = next((reader for reader in readers if reader.source == words.source), readers[0])
    ids = dict(home.lexicon.ids if isinstance(words.source, Source) else home.lexicon.owned)
    following = 1 + max(ids.values(), default=-1)
    others = readers if words.source == "union" else ()
    wanted = [text for reader in others for text in sorted(reader.lexicon.owned, key=reader.lexicon.owned.__getitem__)]
    for text in dict.fromkeys((*wanted, *(text for text, _ in words.tokens))):
        if text not in ids:
            ids[text] = following
            following += 1
    step = words.pad_to_multiple_of or 1
    count = -(-following // step) * step
    terms = _Terms(dict(words.tokens), readers, ids, count)
    rows = {reader.source: terms.rows(reader) for reader in readers}
    lexicons = {reader.source: reader.lexicon for reader in readers}
    return Alignment(home.source, tuple(lexicons), ids, count, rows, lexicons), ()


def _wrong(text: str, token: Token, readers: Sequence[Reader]) -> Iterator[Problem]:
    """What is wrong with what the recipe says of one token."""
    reader = next((reader for reader in readers if reader.source == token.source), None)
    if reader is None:
        return
    where, name, has = f"{step('tokenizer.tokens', text)}.source", str(reader.source), reader.lexicon
    wanted = text if token.token is None else token.token
    if not reader.lends:
        what = f"no row of {name!r} fits the merge: its embeddings have another width or name."
        yield Problem(where, what, "Take the row from a model of the same family and width, or {kind: zero}.")
    elif isinstance(wanted, int):
        if not 0 <= wanted < has.rows:
            yield Problem(where, f"{name!r} has no token_id {wanted}.", f"Its ids are 0 to {has.rows - 1}.")
    elif wanted not in has.ids:
        hint = did_you_mean(wanted, list(has.owned)) or "Name a model that has it, or {kind: zero}."
        yield Problem(where, f"{name!r} has no token {wanted!r}.", hint)
    elif wanted not in has.owned:
        what = f"{name!r} has no embedding of {wanted!r}: its id is {has.ids[wanted]}, there are {has.rows} rows."
        yield Problem(where, what, "Take the row of another token: {kind: model_token, model: ..., token: ...}.")


class _Terms:
    """Where the rows of every model come from. ``(lender, row)``, lenders being counted as in ``readers``."""

    def __init__(
        self, told: Mapping[str, Token], readers: Sequence[Reader], ids: Mapping[str, int], count: int
    ) -> None:
        self._told = told
        self._forced = frozenset(text for text, token in told.items() if token.force)
        self._readers = readers
        self._texts: list[str | None] = [None] * count
        for text, number in ids.items():
            self._texts[number] = text
        self._borrowed: dict[str, Terms] = {}

    def rows(self, reader: Reader) -> Rows | None:
        """The rows of one model's matrix; None where it needs no change."""
        mine, owned = self._readers.index(reader), reader.lexicon.owned
        own = [None if text is None or text in self._forced else owned.get(text) for text in self._texts]
        terms = [
            ((mine, number),) if number is not None else self._borrow(text) if text is not None else ((mine, ALL_ROWS),)
            for text, number in zip(self._texts, own, strict=True)
        ]
        if len(terms) == reader.lexicon.rows and all(row == ((mine, at),) for at, row in enumerate(terms)):
            return None
        used = dict.fromkeys([mine, *sorted({lender for row in terms for lender, _ in row})])
        place = {lender: index for index, lender in enumerate(used)}
        return Rows(
            tuple(self._readers[lender].source for lender in used),
            array("i", map(len, terms)).tobytes(),
            array("i", [place[lender] for row in terms for lender, _ in row]).tobytes(),
            array("i", [number for row in terms for _, number in row]).tobytes(),
        )

    def _borrow(self, text: str) -> Terms:
        """The row of a token in a model that does not have it, or must not use its own: the same for all of these."""
        if text not in self._borrowed:
            self._borrowed[text] = self._lent(text, self._told.get(text))
        return self._borrowed[text]

    def _lent(self, text: str, token: Token | None) -> Terms:
        if token is not None and token.zero:
            return ()
        if token is not None and token.source is not None:
            at = next(at for at, reader in enumerate(self._readers) if reader.source == token.source)
            named = text if token.token is None else token.token
            return ((at, named if isinstance(named, int) else self._readers[at].lexicon.owned[named]),)
        owners = tuple(
            (at, reader.lexicon.owned[text])
            for at, reader in enumerate(self._readers)
            if reader.lends and text in reader.lexicon.owned
        )
        return owners[:1] if owners and owners[0][0] == 0 else owners
