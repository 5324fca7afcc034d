"""The generators: right answers, a clean split, and a tokenizer that gives back what it was given."""

from __future__ import annotations

import random
import re
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergelab.sample import text, tokens
from mergelab.sample.skills import SKILLS

GENERATORS = (*(g for g, _ in text.BASE), text.arithmetic, text.reverse, text.sort, text.pirate)
FACTS = (text.digit_sum, text.pirate_words)


def take(generator: text.Generator, n: int, *, test: bool, seed: int = 0) -> list[text.Document]:
    return list(islice(text.draw(generator, random.Random(seed), test=test), n))


def slow_answer(prompt: str) -> str:
    """The right answer, worked out from the prompt's own words by other means than the generators'."""
    if match := re.fullmatch(r"(\d+)\+(\d+)=", prompt):
        return str(len("x" * int(match[1]) + "y" * int(match[2])))
    command, rest = prompt.removesuffix(" :").split(" ", 1)
    if command == "copy":
        return f" {rest}"
    if command == "reverse":
        words: list[str] = []
        for word in rest.split():
            words.insert(0, word)
        return " " + " ".join(words)
    if command == "sort":
        words = rest.split()
        for i in range(len(words)):  # a bubble sort
            for j in range(len(words) - 1 - i):
                if words[j] > words[j + 1]:
                    words[j], words[j + 1] = words[j + 1], words[j]
        return " " + " ".join(words)
    if command == "pirate":
        for plain, other in text.PIRATE.items():
            # Upper case marks a word as done, so that no word is translated twice.
            rest = re.sub(rf"\b{plain}\b", other.upper(), rest)
        return f" {rest.lower()}"
    if command == "which":
        one, _, other = rest.removeprefix("is first, ").split()
        return f" {min(one, other)}"
    if command == "count":
        start = int(rest.split()[1])
        return "".join(f" {n}" for n in range(start + 1, start + 4))
    if command in ("first", "last"):
        words = rest.removeprefix("of ").split()
        return f" {words[0] if command == 'first' else words[-1]}"
    word, words_text = rest.split(" in ")
    words = words_text.split()
    return f" {words[words.index(word) + (1 if command == 'after' else -1)]}"


@pytest.mark.parametrize("generator", [g for g in GENERATORS if g is not text.story], ids=lambda g: g.__name__)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_answers_are_right(generator: text.Generator, seed: int) -> None:
    document = generator(random.Random(seed))
    expected = slow_answer(document.prompt)
    if generator is text.count:  # a count goes on for one to three numbers
        assert expected.startswith(document.answer)
        assert document.answer
    else:
        assert document.answer == expected


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_stories_agree_with_themselves(seed: int) -> None:
    story = text.story(random.Random(seed)).answer
    opening = re.match(r"Once upon a time there was a \w+ (\w+) named (\w+)\. ", story)
    assert opening, story
    animal, hero = opening.groups()
    assert animal in text.ANIMALS
    second = story.split(". ")[1].split()[0]
    assert second in (hero, "He" if hero in text.BOYS else "She")
    assert story.endswith(" The end.")
    names = set(re.findall(r"\b[A-Z]\w+\b", story)) & {*text.BOYS, *text.GIRLS}
    assert len(names) == 2


@pytest.mark.parametrize("generator", [g for g in GENERATORS if g not in FACTS], ids=lambda g: g.__name__)
def test_nothing_leaks_between_the_sides(generator: text.Generator) -> None:
    seen = {document.key for document in take(generator, 400, test=False)}
    kept = take(generator, 100, test=True)
    assert not seen & {document.key for document in kept}
    assert all(text.held_out(document.key) for document in kept)


@pytest.mark.parametrize("generator", FACTS, ids=lambda g: g.__name__)
def test_facts_are_all_trained_on(generator: text.Generator) -> None:
    with pytest.raises(ValueError, match=f"{generator.__name__} has no test side"):
        take(generator, 1, test=True)


@pytest.mark.parametrize("name", ["reverse", "sort", "arithmetic"])
def test_no_rearrangement_of_a_test_item_is_trained_on(name: str) -> None:
    def loose(prompt: str) -> tuple[str, ...]:
        return tuple(sorted(re.findall(r"\w+", prompt)))

    skill = SKILLS[name]
    trained = {loose(document.prompt) for document in skill.documents(3000, test=False)}
    assert not trained & {loose(prompt) for prompt in skill.prompts(300)}


def test_the_split_is_about_one_in_eight() -> None:
    share = sum(text.held_out(f"key {number}") for number in range(8000)) / 8000
    assert 0.11 < share < 0.14


def test_documents_depend_on_the_seed_alone() -> None:
    for skill in SKILLS.values():
        assert skill.documents(5, seed=3) == skill.documents(5, seed=3)
        assert skill.documents(5, seed=3) != skill.documents(5, seed=4)


def test_words_are_known_to_the_lists_once() -> None:
    assert len(set(text.NOUNS)) == len(text.NOUNS)
    assert {*text.ANIMALS, *text.THINGS, *text.PLACES} <= set(text.NOUNS)
    assert set(text.PIRATE.values()) <= set(text.LIST_WORDS)


TOKENIZER = tokens.tokenizer()
SPECIAL = re.compile(r"<unk>|<s>|</s>|<pad>")


@given(st.text().filter(lambda s: tokens.SPACE not in s and not SPECIAL.search(s)))
@settings(max_examples=300)
def test_any_text_comes_back_to_the_space(passage: str) -> None:
    ids = TOKENIZER.encode(passage)
    assert ids[0] == TOKENIZER.bos_token_id
    assert TOKENIZER.unk_token_id not in ids
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == passage


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda g: g.__name__)
def test_every_word_of_the_generators_is_one_token(generator: text.Generator) -> None:
    for document in take(generator, 200, test=False):
        whole = document.prompt + document.answer
        pieces = TOKENIZER.tokenize(whole)
        assert not [piece for piece in pieces if piece.startswith("<0x")], whole
        assert len(pieces) == len(re.findall(r' ?[A-Za-z]+| :| (?=[\d"])|\d|[^\w\s]', whole))
        # An answer is cut alike on its own and after its prompt.
        assert pieces == TOKENIZER.tokenize(document.prompt) + TOKENIZER.tokenize(document.answer)


def test_the_vocabulary_has_no_doubles_and_does_not_change() -> None:
    words = tokens.vocabulary()
    assert len(set(words)) == len(words)
    assert words == tokens.vocabulary()
    assert words[:4] == ["<unk>", "<s>", "</s>", "<pad>"]
