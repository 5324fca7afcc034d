"""Wording: whether a written tokenizer turns text into tokens and back as the live model's does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mergelab.errors import SourceError
from mergelab.forge.answering import TEXTS
from mergelab.forge.checks import Check, found
from mergelab.models.assembly import Assembly
from mergelab.models.config import in_words
from mergelab.models.tokenizer import load_tokenizer
from mergelab.recipes.plan import Staged
from mergelab.weights.files import TOKENIZER

_TALKS = (
    [{"role": "user", "content": "Hello"}],
    [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Bye"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
)
_NAMES = ("bos_token_id", "eos_token_id", "unk_token_id", "pad_token_id", "padding_side")


def same_words(folder: Path, live: Assembly) -> tuple[Any, list[Check]]:
    """The tokenizer of a folder, None where it has none, and how it compares with the live model's."""
    from transformers import AutoTokenizer

    try:
        expected = live.tokenizer
    except SourceError:
        return None, [_unread(folder, live)]
    try:
        written = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001 - whatever transformers raises is a no
        return None, [found("tokenizer", [f"it cannot be opened: {in_words(error)}"])]
    return written, [_tokens(written, expected), _round_trips(written, live), _chat(written, expected)]


def _unread(folder: Path, live: Assembly) -> Check:
    """Of a donor without a tokenizer, or with one that transformers does not read: whether its files are the same."""
    donor = live.plan.donor
    wrong = []
    for name in TOKENIZER:
        theirs, ours = donor.path(name), folder / name
        if (theirs is not None) != ours.is_file() or (theirs is not None and theirs.read_bytes() != ours.read_bytes()):
            wrong.append(f"{name} is not as in the donor")
    there = sum(donor.path(name) is not None for name in TOKENIZER)
    said = f"transformers cannot read the donor's; its {there} files are here, byte by byte"
    return found("tokenizer", wrong, f"{said if there else 'the donor has none, and none was written'}.")


def _tokens(written: Any, expected: Any) -> Check:
    here, there = written.get_vocab(), expected.get_vocab()
    faults = [
        f"token {text!r} has the id {here.get(text)}, not {there.get(text)}"
        for text in dict.fromkeys((*there, *here))
        if here.get(text) != there.get(text)
    ]
    for name in _NAMES:
        one, other = getattr(written, name), getattr(expected, name)
        faults += [f"{name} is {one}, not {other}"] if one != other else []
    texts = [*TEXTS, "".join(expected.all_special_tokens), " ".join(list(there)[:200])]
    for text in texts:
        one, other = (tokenizer(text, verbose=False)["input_ids"] for tokenizer in (written, expected))
        faults += [f"{text[:20]!r} becomes {one[:8]}, not {other[:8]}"] if one != other else []
    said = f"all {len(there):,} tokens have their ids, and {len(texts)} texts become the same ones"
    return found("tokenizer", faults, f"{said}.")


def _round_trips(written: Any, live: Assembly) -> Check:
    """Whether what the model that speaks gets back of a text, the written tokenizer gets back too."""
    plan = live.plan
    home = plan.origins[plan.alignment.home] if plan.alignment else plan.donor
    while isinstance(home, Staged):
        inner = home.plan
        home = inner.origins[inner.alignment.home] if inner.alignment else inner.donor
    donor = load_tokenizer(home)
    returning = [text for text in TEXTS if _back(donor, text) == text]
    faults = [f"{text[:20]!r} comes back as {_back(written, text)[:20]!r}" for text in returning
              if _back(written, text) != text]  # fmt: skip
    tried = f"{len(returning)} of {len(TEXTS)} texts come back whole from tokens"
    return found("round trip", faults, f"{tried}, all that do so with the donor's tokenizer.")


def _back(tokenizer: Any, text: str) -> str:
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def _chat(written: Any, expected: Any) -> Check:
    if written.chat_template != expected.chat_template:
        return found("chat template", ["it is not the live model's"])
    if not expected.chat_template:
        return found("chat template", [], "there is none, as in the live model.")
    rendered = [(_rendered(written, talk), _rendered(expected, talk)) for talk in _TALKS]
    faults = [f"a talk of {len(talk)} becomes {one[:60]!r}, not {other[:60]!r}"
              for talk, (one, other) in zip(_TALKS, rendered, strict=True) if one != other]  # fmt: skip
    return found("chat template", faults, f"{len(_TALKS)} talks are rendered as by the live model's.")


def _rendered(tokenizer: Any, talk: list[dict[str, str]]) -> str:
    """A talk as the model reads it; what a template refuses is told in words."""
    try:
        return str(tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # noqa: BLE001 - a template may raise anything: some refuse the system's part
        return in_words(error)
