"""Labels: what a probe is to find in hidden states. Built-in ones are read off the tokens; anybody may bring others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

from mergelab.errors import InspectionError, Problem, did_you_mean, raise_all

Words: TypeAlias = tuple[str, ...]
"""The tokens of a prompt as text."""

Labeller: TypeAlias = Callable[[Words], "Sequence[str | None]"]
"""A label for each token of a prompt; None: none."""

COMMONEST = 12  # words that are told apart
# What prompts of the sample family look like, by skill; a text that is none of these is a story.
SKILLS = {"arithmetic": r"\d+\+\d+=", "reverse": r"reverse ", "sort": r"sort ", "pirate": r"pirate "}
STORY = "stories"
QUARTERS = ("first quarter", "second quarter", "third quarter", "last quarter")


def token_class(words: Words) -> list[str | None]:
    """What each token is made of: a word's beginning, its middle, digits, punctuation, space, other."""
    return [_kind(word) for word in words]


def position(words: Words) -> list[str | None]:
    """The quarter of the prompt in which each token stands."""
    return [QUARTERS[4 * place // len(words)] for place in range(len(words))]


def commonest_words(prompts: Sequence[Words]) -> Labeller:
    """Which of the ``COMMONEST`` commonest tokens of all prompts a token is; others have no label."""
    counts = Counter(word for words in prompts for word in words[1:])
    known = {word for word, _ in counts.most_common(COMMONEST)}
    return lambda words: [word if word in known else None for word in words]


def skill(words: Words) -> str:
    """Which skill of the sample family a prompt asks for."""
    start = "".join(words[1:] if words[0].startswith("<") else words).lstrip()
    return next((name for name, form in SKILLS.items() if re.match(form, start)), STORY)


def labelled(
    labels: str | Labeller | Sequence[str], prompts: Sequence[Words]
) -> tuple[tuple[tuple[str | None, ...], ...], bool]:
    """A label, or None, for each token of each prompt, and whether labels are of prompts: then last tokens have them.

    Args:
        labels: "class", "position", "word", "skill", a function from a prompt's tokens to their labels, or a label a
            prompt.
        prompts: their tokens, as text.

    Raises:
        InspectionError: there are no such labels, or not as many as there are tokens or prompts.
    """
    if labels == "skill":
        labels = [skill(words) for words in prompts]
    if isinstance(labels, str):
        built_in = {"class": token_class, "position": position, "word": commonest_words(prompts)}
        if labels not in built_in:
            hint = did_you_mean(labels, [*built_in, "skill"]) or "Or give a function, or a label for each prompt."
            raise InspectionError(Problem("labels", f"there are no labels {labels!r}.", hint))
        labels = built_in[labels]
    if callable(labels):
        told = [tuple(labels(words)) for words in prompts]
        raise_all(
            InspectionError,
            (
                Problem(f"prompts[{number}]", f"has {len(words)} tokens and {len(own)} labels.", "Give one a token.")
                for number, (words, own) in enumerate(zip(prompts, told, strict=True))
                if len(words) != len(own)
            ),
        )
        return tuple(told), False
    if len(labels) != len(prompts):
        what = f"there are {len(labels)} for {len(prompts)} prompts."
        raise InspectionError(Problem("labels", what, "Give one for each prompt."))
    return tuple((None,) * (len(words) - 1) + (label,) for words, label in zip(prompts, labels, strict=True)), True


def _kind(word: str) -> str:
    bare = word.strip()
    if not bare:
        return "space" if word else "other"  # a part of a character has no text
    if bare.isdigit():
        return "digits"
    if bare.isalpha():
        return "word" if word[0].isspace() or bare[0].isupper() else "inside a word"
    return "other" if any(map(str.isalnum, bare)) else "punctuation"
