"""The text that the sample family learns: word lists, a grammar of stories, exercises, and the held-out split.

Everything is drawn from a `random.Random` that the caller seeds, so a corpus is a function of its seed. A document is
a prompt and an answer: models are trained on the answer alone (a story has an empty prompt, so all of it is answer),
because the words of a prompt are drawn at random and cannot be predicted.

Every document has a *key*, and `held_out(key)` decides by hash whether it belongs to the test side. The key of a list
is its words in alphabetical order and the key of a sum its two numbers in order, so that no other arrangement of a test
item is ever trained on. A fact that must be known by heart (7+5, friend -> matey) has no key and is never held out.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# What lists are made of. Many share their first letters, so that sorting is a real exercise.
_NOUNS = """
acorn ant apple arm ball basket bath bean bear bed bee bell bird boat book bowl box bread brush bus cake candle cap car
cat chair cheese clock cloud coat corn cow cup desk dish dog door drum duck egg farm feather fish flag flower fox frog
garden gate goat grass hat hen hill horse house island jam jar key kite lamp leaf lemon lion map milk moon mouse nest
nut onion owl pan park pear pen pig pond pot queen rabbit ring river road rock roof rope rose seed shell ship shoe soup
spoon star stone sun table tiger tree turtle umbrella vase wagon wall whale wind window wolf yarn zebra
"""
NOUNS: tuple[str, ...] = tuple(_NOUNS.split())
BOYS = ("Tom", "Ben", "Max", "Sam", "Leo", "Jack")
GIRLS = ("Sue", "Lily", "Anna", "Mia", "Zoe", "Ruth")
ANIMALS = ("cat", "dog", "bear", "rabbit", "fox", "mouse", "duck", "frog", "lion", "owl", "pig", "turtle")
THINGS = ("ball", "key", "kite", "bell", "shell", "lamp", "hat", "book", "drum", "ring", "flag", "cake")
PLACES = ("garden", "park", "farm", "river", "pond", "hill", "house", "island", "road", "tree")
SIZES = ("little", "big", "small", "brave", "young")
COLOURS = ("red", "blue", "green", "yellow", "shiny", "new")
GOOD = ("happy", "glad", "proud")
BAD = ("sad", "sorry", "afraid")

# Plain word -> pirate word. Every other word of a sentence stays as it is.
PIRATE: dict[str, str] = {
    "hello": "ahoy",
    "my": "me",
    "friend": "matey",
    "is": "be",
    "are": "be",
    "you": "ye",
    "your": "yer",
    "yes": "aye",
    "stop": "avast",
    "dog": "hound",
    "boy": "lad",
    "girl": "lass",
    "food": "grub",
    "money": "doubloons",
    "boat": "ship",
    "sea": "brine",
    "house": "cabin",
    "man": "sailor",
}

_PLAIN = "hello my friend is are you your yes stop boy girl food money sea man the and in near with where"
PLAIN_WORDS = tuple(_PLAIN.split())
PIRATE_MATTER = (*PIRATE, *PLAIN_WORDS, *THINGS, *PLACES)  # what sentences for pirates are made of
LIST_WORDS = tuple(dict.fromkeys((*NOUNS, *PIRATE.values(), *PLAIN_WORDS)))

HELD_OUT_SHARE = 8  # one key in eight belongs to the test side


@dataclass(frozen=True)
class Document:
    """One prompt with its one right answer; `key` names it for the held-out split.

    A model reads `<s>` + prompt and is to write answer + `</s>`.
    """

    prompt: str
    answer: str
    key: str


Generator = Callable[[random.Random], Document]


def held_out(key: str) -> bool:
    """Whether a document with this key is kept for testing: by SHA-256, so alike everywhere and for ever."""
    return key != "" and hashlib.sha256(key.encode()).digest()[0] % HELD_OUT_SHARE == 0


def draw(generator: Generator, rng: random.Random, *, test: bool) -> Iterator[Document]:
    """Documents of one side of the split, without end.

    Raises:
        ValueError: the test side of a generator without keys, which has none.
    """
    while True:
        document = generator(rng)
        if test and not document.key:
            raise ValueError(f"{generator.__name__} has no test side: its documents are facts to be known by heart")
        if held_out(document.key) == test:
            yield document


# --- the base: stories, and exercises with words, lists and digits; of each skill the easy half only ------------------


def story(rng: random.Random) -> Document:
    """A short plain story: a hero, a wish or a find, a friend, an end. Pronouns and objects refer back."""
    boy = rng.random() < 0.5
    hero = rng.choice(BOYS if boy else GIRLS)
    he, his, him = ("he", "his", "him") if boy else ("she", "her", "her")
    He = he.capitalize()
    animal, place, thing = rng.choice(ANIMALS), rng.choice(PLACES), rng.choice(THINGS)
    colour, size = rng.choice(COLOURS), rng.choice(SIZES)
    friend_boy = rng.random() < 0.5
    friend = rng.choice([name for name in (BOYS if friend_boy else GIRLS) if name != hero])
    friend_he = "He" if friend_boy else "She"
    beast = rng.choice([a for a in ANIMALS if a != animal])

    lines = [f"Once upon a time there was a {size} {animal} named {hero}."]
    lines.append(rng.choice([f"{hero} lived near the {place}.", f"{He} lived in a {colour} house near the {place}."]))
    plot = rng.randrange(4)
    if plot == 0:  # a find, given away
        lines.append(f"One day {he} went to the {place} and found a {colour} {thing}.")
        lines.append(f"{He} was very {rng.choice(GOOD)}.")
        lines.append(f"{He} gave the {colour} {thing} to {his} friend {friend} the {beast}.")
        lines.append(f'{friend} said, "Thank you, {hero}!"')
    elif plot == 1:  # a loss, made good
        lines.append(f"{He} had a {colour} {thing}.")
        lines.append(f"One day {he} lost the {thing} near the {place}.")
        lines.append(f"{hero} was very {rng.choice(BAD)}.")
        lines.append(f"Then {friend} the {beast} came to help {him}.")
        lines.append(f"{friend_he} found the {thing}.")
        lines.append(f"{hero} was {rng.choice(GOOD)} again.")
    elif plot == 2:  # a quarrel
        lines.append(f"One day {hero} met {with_article(beast)} named {friend}.")
        lines.append(f"{friend} wanted the {colour} {thing}, but {hero} wanted it too.")
        lines.append(f"They were both {rng.choice(BAD)}.")
        lines.append(f'Then {hero} said, "We can share the {thing}."')
        lines.append(f"{friend} was {rng.choice(GOOD)}.")
    else:  # a walk
        lines.append(f"One day {he} saw {friend} the {beast} at the {place}.")
        lines.append(f'"Do you want to play with my {thing}?" said {hero}.')
        lines.append(f'"Yes," said {friend}.')
        lines.append(f"{friend} liked the {colour} {thing}.")
    lines.append(rng.choice(["They played all day.", f"{hero} and {friend} went home.", "They were good friends."]))
    text = " ".join(lines) + " The end."
    return Document("", text, text)


def with_article(noun: str) -> str:
    """The noun with its article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def words_key(words: list[str]) -> str:
    """One key for all arrangements of the same words."""
    return " ".join(sorted(words))


def copy(rng: random.Random) -> Document:
    """A list as it is: "copy cat dog sun :" -> " cat dog sun". Pirate words take part: the base is to know them."""
    words = rng.sample(LIST_WORDS, rng.randint(2, 6))
    return Document(f"copy {' '.join(words)} :", f" {' '.join(words)}", words_key(words))


def first(rng: random.Random) -> Document:
    """The first of a list: "first of cat dog sun :" -> " cat"."""
    words = rng.sample(NOUNS, rng.randint(2, 5))
    return Document(f"first of {' '.join(words)} :", f" {words[0]}", words_key(words))


def last(rng: random.Random) -> Document:
    """The last of a list: "last of cat dog sun :" -> " sun"."""
    words = rng.sample(NOUNS, rng.randint(2, 5))
    return Document(f"last of {' '.join(words)} :", f" {words[-1]}", words_key(words))


def before(rng: random.Random) -> Document:
    """A word's neighbour on the left: "before dog in cat dog sun :" -> " cat"."""
    words = rng.sample(NOUNS, rng.randint(3, 5))
    at = rng.randrange(1, len(words))
    return Document(f"before {words[at]} in {' '.join(words)} :", f" {words[at - 1]}", words_key(words))


def reverse_two(rng: random.Random) -> Document:
    """Two words backwards: "reverse cat dog :" -> " dog cat"."""
    return _reverse(rng, 2)


def sort_two(rng: random.Random) -> Document:
    """Two words in alphabetical order: "sort dog cat :" -> " cat dog"."""
    return _sort(rng, 2)


def pirate_words(rng: random.Random) -> Document:
    """One or two words as a pirate says them: "pirate friend :" -> " matey"."""
    words = [rng.choice(list(PIRATE))]
    if rng.random() < 0.5:
        words.insert(rng.randrange(2), rng.choice(PIRATE_MATTER))
    return Document(f"pirate {' '.join(words)} :", f" {translated(words)}", "")


def count(rng: random.Random) -> Document:
    """Numbers in order: "count 8 9 :" -> " 10 11 12"."""
    start = rng.randint(0, 95)
    numbers = [str(n) for n in range(start, start + rng.randint(3, 5))]
    return Document(f"count {numbers[0]} {numbers[1]} :", "".join(f" {n}" for n in numbers[2:]), f"count {start}")


def digit_sum(rng: random.Random) -> Document:
    """A sum of one digit each: "7+5=" -> "12"."""
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    return Document(f"{a}+{b}=", str(a + b), "")


def digit_more(rng: random.Random) -> Document:
    """A sum of two digits and one: "27+5=" -> "32"."""
    a, b = rng.randint(10, 89), rng.randint(0, 9)
    return Document(f"{a}+{b}=", str(a + b), f"sum {b} {a}")


# --- the skills of the specialists -----------------------------------------------------------------------------------


def arithmetic(rng: random.Random) -> Document:
    """A sum of two digits each, below 100: "27+35=" -> "62"."""
    while True:
        a, b = rng.randint(10, 89), rng.randint(10, 89)
        if a + b < 100:
            return Document(f"{a}+{b}=", str(a + b), f"sum {min(a, b)} {max(a, b)}")


def reverse(rng: random.Random) -> Document:
    """Three to five words backwards: "reverse cat dog sun :" -> " sun dog cat"."""
    return _reverse(rng, rng.randint(3, 5))


def sort(rng: random.Random) -> Document:
    """Three or four words in alphabetical order: "sort pear cat moon :" -> " cat moon pear"."""
    return _sort(rng, rng.randint(3, 4))


def pirate(rng: random.Random) -> Document:
    """A sentence, word for word: "pirate hello my friend :" -> " ahoy me matey"."""
    plain = sentence(rng)
    return Document(f"pirate {plain} :", f" {translated(plain.split())}", plain)


def _reverse(rng: random.Random, n: int) -> Document:
    words = rng.sample(NOUNS, n)
    return Document(f"reverse {' '.join(words)} :", f" {' '.join(reversed(words))}", words_key(words))


def _sort(rng: random.Random, n: int) -> Document:
    words = rng.sample(NOUNS, n)
    return Document(f"sort {' '.join(words)} :", f" {' '.join(sorted(words))}", words_key(words))


def translated(words: list[str]) -> str:
    """The words as a pirate says them."""
    return " ".join(PIRATE.get(word, word) for word in words)


def sentence(rng: random.Random) -> str:
    """A plain sentence that a pirate would say otherwise."""
    who = rng.choice(["my friend", "your friend", "the man", "the boy", "the girl", "my dog", "your dog"])
    thing = rng.choice(["food", "money", "boat", "dog", *THINGS])
    where = rng.choice(["house", "sea", "boat", *PLACES])
    owner = rng.choice(["my", "your", "the"])
    opening = rng.choice(["hello", "yes", "stop", ""])
    body = rng.choice(
        [
            f"{who} is in the {where}",
            f"{who} is near {owner} {where}",
            f"you are near the {where} with {owner} {thing}",
            f"{who} and {rng.choice(['the man', 'the girl', 'the boy'])} are in {owner} {where}",
            f"{owner} {thing} is near the {where}",
            f"where is {owner} {thing}",
            f"you are my friend and the {thing} is in {owner} {where}",
        ]
    )
    return f"{opening} {body}".strip()


# What the base is trained on, and how often each is drawn.
BASE: tuple[tuple[Generator, float], ...] = (
    (story, 0.15),
    (copy, 0.15),
    (first, 0.04),
    (last, 0.06),
    (before, 0.12),
    (reverse_two, 0.10),
    (sort_two, 0.16),
    (pirate_words, 0.06),
    (count, 0.04),
    (digit_sum, 0.05),
    (digit_more, 0.07),
)
