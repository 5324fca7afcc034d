"""Comparisons: nothing tells which is which before it may, votes find their owners, chance is exact."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergelab.errors import AssemblyError
from mergelab.models.answers import Prompt
from mergelab.models.comparison import Comparison, Said, chance

EVIL = "<img src=x onerror=alert(1)>"
NAMES = ("mild", "strong", "odd")
PROMPTS = tuple(Prompt(f"question {number}") for number in range(40))


def said(name: str, prompt: Prompt) -> Said:
    """What nobody else says; no name is in it."""
    word = {"mild": "alpha", "strong": "beta", "odd": "gamma"}[name]
    return Said(f"{word} to {prompt.text}", ((f" {word}", 0.75), (" the", 0.125)), 0.5 + NAMES.index(name), 2.25)


def made(names: Sequence[str] = NAMES, prompts: Sequence[Prompt] = PROMPTS, **options: bool | int) -> Comparison:
    marks = {name: f"{number}abcdef0" for number, name in enumerate(names)}
    every = {name: [said(name, prompt) for prompt in prompts] for name in names}
    return Comparison(every, prompts, marks=marks, **options)  # type: ignore[arg-type]


def shown(comparison: Comparison) -> list[list[str]]:
    """The rows of the table, without its heading."""
    return [list(map(str, row)) for row in comparison._table().rows]


def test_columns_are_names_with_their_recipes_and_rows_are_what_each_one_says() -> None:
    prompts = (Prompt("one\ntwo", " three"), Prompt("four"))
    table = made(("mild", "odd"), prompts)._table()
    assert table.heading == ("prompt", "", "mild (0abcdef0)", "odd (1abcdef0)")
    assert shown(made(("mild", "odd"), prompts)) == [
        ["1  one\\ntwo", "writes", "alpha to one\\ntwo", "gamma to one\\ntwo"],
        ["", "next token", "' alpha' 75%, ' the' 12%", "' gamma' 75%, ' the' 12%"],
        ["", "its entropy, nats", "0.50", "2.50"],
        ["", "loss on ' three', nats a token", "2.250", "2.250"],
        ["2  four", "writes", "alpha to four", "gamma to four"],
        ["", "next token", "' alpha' 75%, ' the' 12%", "' gamma' 75%, ' the' 12%"],
        ["", "its entropy, nats", "0.50", "2.50"],
    ]


def test_text_of_models_and_names_never_becomes_html() -> None:
    answer = Said(EVIL, ((EVIL, 1.0),), 0.0)
    for blind in (False, True):
        page = Comparison({EVIL: [answer], "b": [answer]}, [Prompt(EVIL, EVIL)], blind=blind)._repr_html_()
        assert "<img" not in page
        assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_blind_shows_texts_and_nothing_that_tells_which_is_which() -> None:
    comparison = made(blind=True, seed=3)
    comparison.vote(1, 2)
    for text in (repr(comparison), str(comparison), comparison._repr_html_()):
        for secret in (*NAMES, "abcdef0", "75%", "0.50", "2.25"):
            assert secret not in text
    orders = Counter(tuple(row[2:]) for row in shown(comparison) if row[1] == "writes")
    words = Counter(tuple(cell.split()[0] for cell in order) for order in orders)
    assert len(words) == 6, "every order turns up in 40 prompts"
    assert max(words.values()) < 20
    for wanted in (comparison.score, lambda: comparison.said):
        with pytest.raises(AssemblyError, match=r"tell which is which. Call reveal\(\) first"):
            wanted()


def test_the_order_depends_on_prompt_and_seed_alone() -> None:
    first = shown(made(blind=True, seed=3))
    assert shown(made(blind=True, seed=3)) == first[:]
    assert shown(made(blind=True, seed=4)) != first
    alone = shown(made(prompts=PROMPTS[7:8], blind=True, seed=3))
    (row,) = [row for row in first if row[0].endswith("  question 7")]
    assert alone[0][1:] == row[1:], "whatever else is asked"


def test_votes_go_to_whoever_said_it() -> None:
    comparison = made(blind=True)
    for number, row in enumerate(shown(comparison), start=1):
        # A voter who likes "beta", and gamma on every fourth prompt.
        liked = "gamma" if number % 4 == 0 else "beta"
        column = next(place for place, text in enumerate(row[2:], start=1) if text.startswith(liked))
        comparison.vote(row[0].split("  ")[1] if number % 2 else number, column if number % 3 else str(column))
    comparison.vote(1, 1)
    comparison.vote(1, shown(comparison)[0][2:].index("beta to question 0") + 1)
    assert repr(comparison) == "<Comparison of 3 on 40 prompts: blind, 40 of 40 voted>"
    assert comparison.reveal() is comparison
    assert comparison.score().votes == (("mild", 0), ("strong", 30), ("odd", 10))
    assert comparison.score().p == pytest.approx(chance([0, 30, 10]))
    rows = shown(comparison)
    assert rows[0][2:] == ["alpha to question 0", "beta to question 0", "gamma to question 0"]
    assert [row[2:] for row in rows if row[1] == "voted"][:4] == [["", "*", ""]] * 3 + [["", "", "*"]]
    with pytest.raises(AssemblyError, match="known now which is which"):
        comparison.vote(1, "mild")
    assert comparison.said["odd"][3].text == "gamma to question 3"


def test_no_preference_is_a_vote_that_does_not_count() -> None:
    comparison = made(("mild", "odd"), blind=True, seed=3)
    for number in range(1, 7):
        liked = next(heading for heading, text in comparison.columns(number) if text.startswith("gamma"))
        comparison.vote(number, liked)
    comparison.vote(6, None)
    comparison.vote(7, None)
    assert comparison.voted == (1, 2, 3, 4, 5, 6, 7)
    with pytest.raises(AssemblyError, match="the order would tell which is which"):
        comparison.as_drawn(1)
    drawn = [comparison.columns(number) for number in range(1, 8)]
    score = comparison.reveal().score()
    assert (score.votes, score.ties) == ((("mild", 0), ("odd", 5)), 2)
    assert score.p == pytest.approx(2 / 2**5)
    assert str(score).startswith("5 votes, and 2 without a preference, not counted. ")
    assert [row[2:] for row in shown(comparison) if row[1] == "voted"][4:] == [["", "*"], ["=", "="], ["=", "="]]
    for number, columns in enumerate(drawn, start=1):
        told = comparison.as_drawn(number)
        assert [text for _, text in told] == [text for _, text in columns], "where they were"
        assert all(comparison.said[name][number - 1].text == text for name, text in told)


def test_an_open_comparison_takes_votes_by_name() -> None:
    comparison = made(("mild", "odd"))
    assert comparison.score().p == 1
    comparison.vote("question 3", "odd")
    assert comparison.score().votes == (("mild", 0), ("odd", 1))
    assert str(comparison.score()).startswith("1 vote. ")
    assert "odd" in comparison.score()._repr_html_()


@pytest.mark.parametrize(
    ("prompt", "column", "words"),
    [
        (True, 1, "there is no prompt True."),
        (0, 1, "there is no prompt 0. Give a prompt of the table, or its number from 1 to 40"),
        (41, 1, "no prompt 41"),
        ("question", 1, "no prompt 'question'"),
        (1, 4, "there is no column 4. Known: 1, 2, 3"),
        (1, "mild", "there is no column 'mild'"),
    ],
)
def test_a_vote_that_means_nothing(prompt: str | int, column: str | int, words: str) -> None:
    comparison = made(blind=True)
    with pytest.raises(AssemblyError) as caught:
        comparison.vote(prompt, column)
    assert words in str(caught.value)
    assert "0 of 40 voted" in repr(comparison)


def test_a_name_that_is_a_number_tells_nothing() -> None:
    answers = {"1": [said("mild", PROMPTS[0])], "2": [said("odd", PROMPTS[0])]}
    comparison = Comparison(answers, PROMPTS[:1], marks={"1": "27f8b797", "2": "0abcdef0"}, blind=True)
    assert comparison._table().heading == ("prompt", "", "1", "2")
    assert comparison.reveal()._table().heading == ("prompt", "", "1 (27f8b797)", "2 (0abcdef0)")


def test_without_a_seed_every_comparison_has_its_own_order() -> None:
    comparisons = [made(blind=True) for _ in range(3)]
    orders = [shown(one) for one in comparisons]
    assert orders[0] != orders[1] != orders[2] != orders[0], "of 6^40 orders"
    with pytest.raises(AssemblyError, match=r"the seed would tell which is which\. Call reveal\(\) first"):
        _ = comparisons[0].seed
    assert "seed" not in str(comparisons[0])
    assert str(comparisons[0].reveal()).startswith(
        f"It was blind: the order of columns was drawn from seed {comparisons[0].seed}."
    )
    assert shown(made(blind=True, seed=comparisons[0].seed)) == orders[0]
    assert made()._table().title == ""


def test_two_prompts_of_one_text_have_orders_of_their_own_and_are_voted_on_by_number() -> None:
    prompts = tuple(Prompt("2 + 2 =", f" {number}") for number in range(20))
    comparison = made(prompts=prompts, blind=True, seed=3)
    assert len({tuple(row[2:]) for row in shown(comparison)}) > 3
    with pytest.raises(AssemblyError, match=r"vote: 20 prompts are '2 \+ 2 ='\. Give a number: 1, 2, 3"):
        comparison.vote("2 + 2 =", 1)
    comparison.vote(2, 1)
    assert "1 of 20 voted" in repr(comparison)


def test_answers_in_tables_are_stripped_and_none_is_said_to_be_nothing() -> None:
    answers = {"a": [Said(" once\n", (), 0.0)], "b": [Said(" ", (), 0.0)]}
    assert shown(Comparison(answers, PROMPTS[:1]))[0][2:] == ["once", "(nothing)"]


@given(votes=st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(lambda votes: sum(votes) <= 7))
@settings(max_examples=60, deadline=None)
def test_chance_counts_every_way_to_vote(votes: list[int]) -> None:
    """Against the definition: each of the k^n ways to vote is equally likely."""

    def likelihood(counts: Sequence[int]) -> int:
        return math.factorial(sum(counts)) // math.prod(map(math.factorial, counts))

    ways = [
        [each.count(kind) for kind in range(len(votes))]
        for each in itertools.product(range(len(votes)), repeat=sum(votes))
    ]
    as_odd = sum(likelihood(counts) <= likelihood(votes) for counts in ways)
    assert chance(votes) == pytest.approx(as_odd / len(ways), rel=1e-12)


def test_chance_for_two_is_the_test_against_a_coin() -> None:
    assert chance([0, 5]) == 2 / 2**5
    assert chance([9, 1]) == pytest.approx(2 * (1 + 10) / 2**10)
    assert chance([20, 20]) == 1
    assert chance([300, 500]) == pytest.approx(1.6e-12, rel=0.05), "and large numbers do not overflow"
    json.dumps(chance([40, 30, 20, 10]), allow_nan=False)
