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
from mergelab.recipes.vocabulary import Lexicon, lexicon
from mergelab.weights.files import TOKENIZER

_TEMPLATES = "additional_chat_templates"


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
    """Put the merged model's tokenizer files into a folder.

    Where its tokens are those of a model, they are that model's own files, all of them, also those that only other
    readers know (``tokenizer.model``); a chat template that the recipe asks for is put into them. Else transformers
    writes them.

    Raises:
        SourceError, AssemblyError: as ``merged_tokenizer``.
    """
    speaker = _speaker(plan)
    if speaker is None:
        merged_tokenizer(plan).save_pretrained(folder)
        return
    if isinstance(speaker, Staged):
        write_tokenizer(speaker.plan, folder)
    else:
        for name, path in tokenizer_files(speaker).items():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, folder / name)
    if plan.chat_template is not None:
        _put_template(plan.chat_template, folder)


def is_copied(plan: Plan) -> bool:
    """Whether ``write_tokenizer`` takes a model's own files, instead of having transformers write them."""
    speaker = _speaker(plan)
    return is_copied(speaker.plan) if isinstance(speaker, Staged) else speaker is not None


def tokenizer_files(origin: Origin) -> dict[str, Path]:
    """Every file of a model's tokenizer, by its name in the model's folder: those of known names, and all further
    templates of a model that is a folder.
    """
    found = {name: path for name in TOKENIZER if (path := origin.path(name)) is not None}
    homes = dict.fromkeys(path.parent for name, path in found.items() if "/" not in name)
    for path in (path for home in homes for path in sorted((home / _TEMPLATES).glob("*.jinja"))):
        found.setdefault(f"{_TEMPLATES}/{path.name}", path)
    return found


def _speaker(plan: Plan) -> Origin | None:
    """The model or stage that has exactly the tokens of the merged model; None: no one has."""
    alignment = plan.alignment
    if alignment is None:
        return plan.donor
    home = plan.origins[alignment.home]
    tokens = (home.lexicon if isinstance(home, Staged) else None) or lexicon(home)
    return home if isinstance(tokens, Lexicon) and tokens.ids == alignment.ids else None


def _put_template(text: str, folder: Path) -> None:
    """Make a text the one chat template of a tokenizer, in the place where it has its own: older readers know one only
    in tokenizer_config.json.
    """
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_bytes()) if path.exists() else {}
    if "chat_template" in settings:
        path.write_text(json.dumps(settings | {"chat_template": text}, indent=2, ensure_ascii=False), encoding="utf-8")
    if "chat_template" not in settings or (folder / "chat_template.jinja").exists():
        (folder / "chat_template.jinja").write_text(text, encoding="utf-8")
    (folder / "chat_template.json").unlink(missing_ok=True)
    shutil.rmtree(folder / _TEMPLATES, ignore_errors=True)


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


def _tokenizer(origin: Origin) -> Any:
    return merged_tokenizer(origin.plan) if isinstance(origin, Staged) else load_tokenizer(origin)


def _opened(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
