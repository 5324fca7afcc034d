"""Wording: whether a written tokenizer turns text into tokens and back as the live model's does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mergelab.errors import SourceError
from mergelab.forge.answering import TEXTS, tokens
from mergelab.forge.checks import Check, found
from mergelab.models.assembly import Assembly
from mergelab.models.config import in_words
from mergelab.models.tokenizer import is_copied, load_tokenizer, write_tokenizer
from mergelab.recipes.plan import Plan, Staged
from mergelab.weights.files import TOKENIZER

_TALKS = (
    [{"role": "user", "content": "Hello"}],
    [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Bye"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
)
_NAMES = (
    "bos_token_id", "eos_token_id", "unk_token_id", "pad_token_id", "padding_side", "truncation_side",
    "model_max_length", "model_input_names", "clean_up_tokenization_spaces",
)  # fmt: skip
_FOR_OTHERS = ("tokenizer_class", "auto_map")  # settings of which nothing is left once transformers has read them
_OF_THE_PLACE = ("name_or_path", "is_local", "local_files_only", "chat_template")  # the template has its own check


@dataclass(frozen=True)
class _Unlike:
    """How a folder's tokenizer files differ from those that a merge writes.

    Attributes:
        tokens: of all files but those of the chat template, a sentence each.
        templates: of these.
        named: names of all files that a tokenizer may have: what is wrong with one is said here.
        count: of those that should be there.
    """

    tokens: tuple[str, ...]
    templates: tuple[str, ...]
    named: tuple[str, ...]
    count: int


def same_words(folder: Path, live: Assembly) -> tuple[Any, list[Check], tuple[str, ...]]:
    """The tokenizer of a folder, None where it has none; how it compares with the live model's; and the names of files
    that it may have, of which these checks speak.
    """
    from transformers import AutoTokenizer

    unlike = _files(folder, live.plan)
    try:
        expected = live.tokenizer
    except SourceError:
        said = f"transformers cannot read the donor's; its {unlike.count} files are here, byte by byte"
        said = f"{said if unlike.count else 'the donor has none, and none was written'}."
        return None, [found("tokenizer", [*unlike.tokens, *unlike.templates], said)], unlike.named
    try:
        written = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001 - whatever transformers raises is a no
        wrong = [f"it cannot be opened: {in_words(error)}", *unlike.tokens, *unlike.templates]
        return None, [found("tokenizer", wrong)], unlike.named
    tokenizer, chat = _tokens(written, expected, unlike.tokens), _chat(written, expected, unlike.templates)
    return written, [tokenizer, _round_trips(written, live), chat], unlike.named


def _files(folder: Path, plan: Plan) -> _Unlike:
    """Hold the files of a tokenizer against those that a merge writes: byte by byte where it copies them. Others are
    transformers' own, which another version of it may write otherwise: of these content and settings count.
    """
    with TemporaryDirectory() as place:
        fresh = Path(place)
        write_tokenizer(plan, fresh)
        meant = {path.relative_to(fresh).as_posix(): path for path in sorted(fresh.rglob("*")) if path.is_file()}
        more = (path.relative_to(folder).as_posix() for path in sorted(folder.glob("additional_chat_templates/*")))
        named = tuple(dict.fromkeys((*meant, *TOKENIZER, *more)))
        copied = is_copied(plan)
        wrong: list[str] = []
        templates: list[str] = []
        for one in named:
            why = _why_unlike(folder / one, meant.get(one), copied=copied)
            (templates if "chat_template" in one else wrong).extend([f"{one} {why}"] if why else [])
        ours, theirs = (_table(home / "tokenizer_config.json") for home in (folder, fresh))
        if ours.get("chat_template") != theirs.get("chat_template"):
            templates.append("tokenizer_config.json has another one")
        if not copied:
            wrong += [f"{name} in tokenizer_config.json is {ours.get(name)}, not {theirs.get(name)}"
                      for name in _FOR_OTHERS if ours.get(name) != theirs.get(name)]  # fmt: skip
            wrong += _settings_unlike(folder, fresh)
    return _Unlike(tuple(wrong), tuple(templates), named, len(meant))


def _why_unlike(here: Path, meant: Path | None, *, copied: bool) -> str:
    """What is wrong with a file, "" where nothing is."""
    if meant is None:
        return "is left over" if here.exists() else ""
    if not here.is_file():
        return "is missing"
    return "is not as in the donor, byte by byte" if copied and here.read_bytes() != meant.read_bytes() else ""


def _settings_unlike(folder: Path, fresh: Path) -> list[str]:
    """How a tokenizer that transformers wrote differs from one that it writes now, both opened beside one config."""
    from transformers import AutoTokenizer

    config = folder / "config.json"
    if config.is_file():
        (fresh / config.name).write_bytes(config.read_bytes())
    try:
        here, there = (
            AutoTokenizer.from_pretrained(home, local_files_only=True, trust_remote_code=False)
            for home in (folder, fresh)
        )
    except Exception:  # noqa: BLE001 - told by who opens it after this
        return []
    ours, theirs = _content(here), _content(there)
    return [
        f"{name} of it is not the live model's"
        for name in dict.fromkeys((*theirs, *ours))
        if ours.get(name) != theirs.get(name)
    ]


def _content(tokenizer: Any) -> dict[str, str]:
    """Everything that a tokenizer consists of: its class, the parts of its tokenizer.json, and its settings."""
    engine = getattr(tokenizer, "backend_tokenizer", None)
    parts = {} if engine is None else json.loads(engine.to_str())
    kept = {
        name: value
        for name, value in tokenizer.init_kwargs.items()
        if name not in _OF_THE_PLACE and not name.endswith("_file")
    }
    whole = {"class": type(tokenizer).__name__, **{f"the {name}": part for name, part in parts.items()}, **kept}
    return {name: json.dumps(value, sort_keys=True, default=repr) for name, value in whole.items()}


def _table(path: Path) -> Mapping[str, Any]:
    """What a JSON file holds, {} where that is no table."""
    try:
        found_there = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found_there if isinstance(found_there, dict) else {}


def _tokens(written: Any, expected: Any, unlike: Sequence[str]) -> Check:
    here, there = written.get_vocab(), expected.get_vocab()
    faults = [
        f"token {text!r} has the id {here.get(text)}, not {there.get(text)}"
        for text in dict.fromkeys((*there, *here))
        if here.get(text) != there.get(text)
    ]
    for name in _NAMES:
        one, other = getattr(written, name, None), getattr(expected, name, None)
        faults += [f"{name} is {one}, not {other}"] if one != other else []
    texts = [*TEXTS, "".join(expected.all_special_tokens), " ".join(list(there)[:200])]
    for text in texts:
        one, other = tokens(written, text), tokens(expected, text)
        faults += [f"{text[:20]!r} becomes {one[:8]}, not {other[:8]}"] if one != other else []
    said = f"all {len(there):,} tokens have their ids, and {len(texts)} texts become the same ones"
    return found("tokenizer", [*faults, *unlike], f"{said}; so are its files or what they hold.")


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
    ids = tokens(tokenizer, text, special=False)
    return ids if isinstance(ids, str) else str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def _chat(written: Any, expected: Any, unlike: Sequence[str]) -> Check:
    if written.chat_template != expected.chat_template:
        return found("chat template", ["it is not the live model's", *unlike])
    if not expected.chat_template:
        return found("chat template", unlike, "there is none, as in the live model.")
    rendered = [(_rendered(written, talk), _rendered(expected, talk)) for talk in _TALKS]
    faults = [f"a talk of {len(talk)} becomes {one[:60]!r}, not {other[:60]!r}"
              for talk, (one, other) in zip(_TALKS, rendered, strict=True) if one != other]  # fmt: skip
    return found("chat template", [*faults, *unlike], f"{len(_TALKS)} talks are rendered as by the live model's.")


def _rendered(tokenizer: Any, talk: list[dict[str, str]]) -> str:
    """A talk as the model reads it; what a template refuses is told in words."""
    try:
        return str(tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # noqa: BLE001 - a template may raise anything: some refuse the system's part
        return in_words(error)
