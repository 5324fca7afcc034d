"""tokenizer.json as data: a tokenizer given other tokens.

Added tokens (``<|im_end|>``) are cut out of a text before anything else, wherever they stand. Ordinary tokens are what
a model (BPE, Unigram, WordPiece, words) makes of the rest. A token that is appended stays what it was where it comes
from: were ordinary ones added, every ``the`` would be cut out of ``other``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Table = dict[str, Any]
Pairs = list[list[str]]


def tokens_of(tokenizer: Any) -> Table:
    """The tokenizer.json of a transformers tokenizer."""
    table: Table = json.loads(tokenizer.backend_tokenizer.to_str())
    return table


def in_vocabulary(home: Table, others: Sequence[Table], ids: Mapping[str, int]) -> Table:
    """The tokenizer.json ``home`` with exactly these tokens.

    The pieces of another BPE come with the merges that make them, ranked after all of home's; a Unigram's come with
    their scores, and pieces without one get the lowest.

    Args:
        others: those in which the tokens are found that home lacks.
        ids: the id of every token.
    """
    kinds: dict[str, Table] = {}  # added tokens, each as the first says that has it
    for table in (home, *others):
        for entry in table["added_tokens"]:
            kinds.setdefault(entry["content"], entry)
    own = _ordinary(home)
    pieces = frozenset(text for table in others for text in _ordinary(table) if text in ids) - own.keys() - kinds.keys()
    at_home = frozenset(entry["content"] for entry in home["added_tokens"])
    added = [
        {**kinds.get(text, _plain(text)), "id": ids[text]}
        for text in sorted(ids, key=ids.__getitem__)
        if text in at_home or (text not in own and text not in pieces)
    ]
    model = home["model"]
    if pieces or not own.keys() <= ids.keys():
        # Ids of added tokens follow those of the model, unless the model has them too: now it has them all.
        model = model | {"vocab": _listed(home, others, ids)}
    if "merges" in model:
        model = model | {"merges": list(_merges(home, others, ids, pieces))}
    return home | {"added_tokens": added, "model": model}


def is_special_key(key: str) -> bool:
    """Whether a key of tokenizer_config.json names a special token."""
    return key.endswith("_token")


def _ordinary(table: Table) -> Mapping[str, float]:
    """The tokens of the model itself, with its id, or its score in a Unigram."""
    vocabulary = table["model"]["vocab"]
    return vocabulary if isinstance(vocabulary, dict) else dict(vocabulary)


def _plain(text: str) -> Table:
    kind = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {"id": 0, "content": text, **kind}


def _listed(home: Table, others: Sequence[Table], ids: Mapping[str, int]) -> dict[str, int] | list[list[Any]]:
    """The model's vocabulary, of all tokens."""
    if isinstance(home["model"]["vocab"], dict):
        return dict(ids)
    scores: dict[str, float] = {}
    for table in (home, *others):
        if isinstance(table["model"]["vocab"], list):
            for text, score in table["model"]["vocab"]:
                scores.setdefault(text, score)
    lowest = min(scores.values())
    return [[text, scores.get(text, lowest)] for text in sorted(ids, key=ids.__getitem__)]


def _merges(
    home: Table, others: Sequence[Table], ids: Mapping[str, int], pieces: frozenset[str]
) -> Iterable[list[str]]:
    """Home's merges, then those of the others that make a new piece; all of them between tokens that are there."""
    found: dict[tuple[str, str], None] = {}
    for table in (home, *others):
        for left, right in table["model"].get("merges", ()):
            made = left + right.removeprefix(table["model"].get("continuing_subword_prefix") or "")
            if left in ids and right in ids and (made in pieces or (table is home and made in ids)):
                found[left, right] = None
    return map(list, found)
