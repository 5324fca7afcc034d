"""Tokenizers: a source's, and the merged model's. transformers loads them; what a model brings is never run as code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mergelab.errors import AssemblyError, Problem, SourceError
from mergelab.models.lexicon import in_vocabulary, is_special_key, tokens_of
from mergelab.recipes.plan import Plan, Staged
from mergelab.recipes.step import Origin
from mergelab.weights.files import TOKENIZER


def load_tokenizer(checkpoint: Origin) -> Any:
    """The transformers tokenizer of a model.

    Raises:
        SourceError: it has none, or transformers cannot read it.
    """
    found = [path for name in TOKENIZER if (path := checkpoint.path(name)) is not None]
    if not found:
        raise SourceError(
            Problem(
                str(checkpoint.source),
                "has no tokenizer files.",
                "Copy tokenizer.json and tokenizer_config.json beside its weights.",
            )
        )
    try:
        return _opened(found[0].parent)
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(
            Problem(str(checkpoint.source), f"its tokenizer cannot be loaded ({error}).", "Save it again.")
        ) from error


def merged_tokenizer(plan: Plan) -> Any:
    """The transformers tokenizer of the merged model: the donor's, or that of the vocabulary which the recipe asks
    for, with the chat template which it asks for.

    Raises:
        SourceError: a source has none, or transformers cannot read it.
        AssemblyError: transformers gives its tokens other ids than the plan does.
    """
    alignment = plan.alignment
    if alignment is None:
        tokenizer = _tokenizer(plan.donor)
    else:
        tokenizer = _tokenizer(plan.origins[alignment.home])
        if any(text not in tokenizer.get_vocab() for text in alignment.ids):
            others = [_tokenizer(plan.origins[source]) for source in alignment.readers if source != alignment.home]
        else:
            others = []
        tokenizer = with_vocabulary(tokenizer, others, alignment.ids)
    if plan.chat_template is not None:
        tokenizer.chat_template = plan.chat_template
    return tokenizer


def write_tokenizer(plan: Plan, folder: Path) -> None:
    """Put the merged model's tokenizer files into a folder: the donor's own, where the recipe asks for no change."""
    if _changes(plan):
        merged_tokenizer(plan).save_pretrained(folder)
        return
    for name in TOKENIZER:
        path = plan.donor.path(name)
        if path is not None:
            shutil.copyfile(path, folder / name)


def with_vocabulary(tokenizer: Any, others: Sequence[Any], ids: Mapping[str, int]) -> Any:
    """A tokenizer with these tokens, and no other under their ids.

    Args:
        tokenizer: of transformers; it is left as it is.
        others: the tokenizers in which the tokens are found that it lacks; the first that has one says of what kind
            it is. A token in none of them is an added token.
        ids: the id of every token.

    Raises:
        AssemblyError: transformers gives other ids to them.
    """
    known = tokenizer.get_vocab()
    if known == ids:
        return tokenizer
    gone = frozenset(known) - frozenset(ids)
    with TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer.save_pretrained(folder)
        whole = in_vocabulary(tokens_of(tokenizer), [tokens_of(other) for other in others], ids)
        (folder / "tokenizer.json").write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
        path = folder / "tokenizer_config.json"
        settings = json.loads(path.read_bytes())
        kept = {key: value for key, value in settings.items() if not (is_special_key(key) and value in gone)}
        path.write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
        made = _opened(folder)
    made.name_or_path = tokenizer.name_or_path
    found = made.get_vocab()
    taken = frozenset(ids.values())
    # Some classes of transformers add tokens of their own; beyond these they do no harm.
    wrong = [text for text in ids if found.get(text) != ids[text]]
    wrong += [text for text in found if text not in ids and found[text] in taken]
    if wrong:
        what = f"token {wrong[0]!r} should get the id {ids.get(wrong[0])}, it gets {found.get(wrong[0])}"
        more = f" ({len(wrong)} such)" if len(wrong) > 1 else ""
        raise AssemblyError(
            Problem(
                f"tokenizer of {tokenizer.name_or_path!r}",
                f"cannot take this vocabulary: {what}{more}.",
                "Choose another tokenizer: source, or leave tokenizer: out.",
            )
        )
    return made


def same_tokenizer(one: Plan, other: Plan) -> bool:
    """Whether two merged models surely have the same tokenizer."""
    if one.chat_template != other.chat_template or one.alignment is not other.alignment:
        return False
    mine, yours = (plan.origins[plan.alignment.home] if plan.alignment else plan.donor for plan in (one, other))
    return mine is yours or (
        isinstance(mine, Staged) and isinstance(yours, Staged) and same_tokenizer(mine.plan, yours.plan)
    )


def _changes(plan: Plan) -> bool:
    asked = plan.alignment is not None or plan.chat_template is not None
    return asked or (isinstance(plan.donor, Staged) and _changes(plan.donor.plan))


def _tokenizer(origin: Origin) -> Any:
    return merged_tokenizer(origin.plan) if isinstance(origin, Staged) else load_tokenizer(origin)


def _opened(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
