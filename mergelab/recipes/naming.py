"""Models and tokens as the text of a recipe names them, in each of mergekit's spellings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from mergelab.errors import MergelabError
from mergelab.recipes.reader import Reader, is_nothing
from mergelab.recipes.recipe import Token, Vocabulary
from mergelab.recipes.yaml_text import Node, Table, step
from mergelab.weights import Source

_REFUSED: Final = {
    "override_architecture": ("cannot be used.", "The architecture is read off the weights and the config: delete it.")
}


def source(reader: Reader, node: Node | None, where: str) -> Source | None:
    """A model: a text (``path[@revision][+adapter[@revision]]``, or the name of an earlier stage) or a table.

    None: there is none, or it cannot be read, which is noted.
    """
    if node is None:
        return None
    if not isinstance(node, Table):
        return _address(reader, node, where)
    table = reader.table(node, where, ("model", "lora"), required=("model",), refused=_REFUSED)
    model, lora = (_half(reader, table[key], f"{where}.{key}") if key in table else None for key in ("model", "lora"))
    if model is None or lora is None:
        return model
    if model.adapter or lora.adapter:
        reader.wrong(f"{where}.lora", f"{str(lora)!r} is a second adapter.", "A model takes one: keep one of them.")
        return None
    return replace(model, adapter=lora)


def _half(reader: Reader, node: Node, where: str) -> Source | None:
    """The ``model:`` or the ``lora:`` of a table: a text, or path and revision apart, the path taken as it is."""
    if not isinstance(node, Table):
        return _address(reader, node, where)
    table = reader.table(node, where, ("path", "revision"), required=("path",))
    path, revision = (
        reader.text(table[key], f"{where}.{key}") if key in table else None for key in ("path", "revision")
    )
    return Source(path, revision) if path else None


def _address(reader: Reader, node: Node, where: str) -> Source | None:
    text = reader.text(node, where)
    if text is None:
        return None
    if text in reader.stages:
        return Source(text)
    try:
        return Source.parse(text)
    except MergelabError as error:
        for problem in error.problems:
            reader.wrong(where, f"{text!r}: {problem.what}", problem.hint)
        return None


def vocabulary(reader: Reader, tables: Mapping[str, Node]) -> Vocabulary | None:
    """What ``tokenizer:``, or the older ``tokenizer_source:``, says."""
    if "tokenizer_source" in tables:
        if "tokenizer" in tables:
            hint = "Keep tokenizer:, and write its source: there."
            reader.wrong("tokenizer_source", "stands beside tokenizer:, which says the same.", hint)
        return Vocabulary(_tokenizer(reader, tables["tokenizer_source"], "tokenizer_source"), legacy=True)
    if "tokenizer" not in tables:
        return None
    table = reader.table(tables["tokenizer"], "tokenizer", ("source", "pad_to_multiple_of", "tokens"))
    known = _tokenizer(reader, table["source"], "tokenizer.source") if "source" in table else "union"
    rows = "pad_to_multiple_of"
    multiple = reader.whole(table[rows], f"tokenizer.{rows}") if rows in table else None
    tokens = reader.table(table["tokens"], "tokenizer.tokens", None) if "tokens" in table else {}
    said = tuple((text, _token(reader, node, step("tokenizer.tokens", text))) for text, node in tokens.items())
    return Vocabulary(known, multiple, said)


def _tokenizer(reader: Reader, node: Node, where: str) -> Source | str:
    model = source(reader, node, where)
    if model is None:
        return "union"
    return model.path if model in (Source("union"), Source("base")) and not isinstance(node, Table) else model


def _token(reader: Reader, node: Node, where: str) -> Token:
    if is_nothing(node):
        return Token()
    table = reader.table(node, where, ("source", "force"))
    force = reader.switch(table["force"], f"{where}.force") or False if "force" in table else False
    place = f"{where}.source"
    row = table.get("source")
    keys = [key.text for key, _ in row.entries] if isinstance(row, Table) else []
    if not isinstance(row, Table) or not {"kind", "token", "token_id"}.intersection(keys):
        return Token(source(reader, row, place), force=force)
    told = reader.table(row, place, ("kind", "model", "token", "token_id"))
    kind = reader.text(told["kind"], f"{place}.kind") if "kind" in told else "model_token"
    if kind == "zero":
        for key in [key for key in told if key != "kind"]:
            reader.wrong(step(place, key), "has no meaning beside kind: zero.", "Delete one of the two.")
        return Token(zero=True, force=force)
    if kind != "model_token":
        if kind is not None:
            reader.wrong(f"{place}.kind", f"{kind!r} is no kind of source.", "Give zero or model_token.")
        return Token()
    named = [key for key in ("token", "token_id") if key in told]
    if "model" not in told or len(named) != 1:
        what = "has both token: and token_id:." if len(named) == 2 else "lacks model:, or token: or token_id:."
        reader.wrong(place, what, "Give model:, and one of token: and token_id:.")
        return Token()
    spot = f"{place}.{named[0]}"
    token = (reader.whole if named[0] == "token_id" else reader.text)(told[named[0]], spot)
    return Token(source(reader, told["model"], f"{place}.model"), token, force=force)
