"""Comparison: what several live models say to the same prompts, side by side, blind if wanted."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from mergelab.columns import Table
from mergelab.errors import AssemblyError, Problem, did_you_mean
from mergelab.models.answers import MERGED, Asked, Prompt, compare, hear, only_numbers, prompts_of
from mergelab.models.assembly import Assembly
from mergelab.models.speak import allowed, write

CANDIDATES = 3  # next tokens that are shown


@dataclass(frozen=True)
class Said:
    """What one model said to one prompt.

    Attributes:
        text: what it wrote, greedily.
        candidates: its likeliest next tokens, each with its probability, 0 to 1.
        entropy: of its next token, in nats.
        loss: on the prompt's continuation, in nats per token; NaN where there is none.
    """

    text: str
    candidates: tuple[tuple[str, float], ...]
    entropy: float
    loss: float = math.nan


@dataclass(frozen=True)
class Score:
    """Votes by name.

    Attributes:
        votes: how many each has, as (name, votes).
        ties: votes without a preference. They say nothing for or against chance, and ``p`` is taken without them, as
            in the sign test.
        p: exact two-sided p-value: how likely votes are that are no likelier than these, if each fell on every name
            with the same chance. For two names it is the binomial test against a coin, for more the exact multinomial
            test. It takes the votes for independent: one person's votes on prompts of one kind hardly are.
    """

    votes: tuple[tuple[str, int], ...]
    p: float
    ties: int = 0

    @property
    def count(self) -> str:
        """How many votes there are, in words."""
        count = sum(votes for _, votes in self.votes)
        ties = f", and {self.ties} without a preference, not counted" if self.ties else ""
        return f"{count} vote{'s' * (count != 1)}{ties}"

    @property
    def odds(self) -> str:
        """What ``p`` says, in words."""
        return f"If all were equally good, votes no likelier than these would come with p = {self.p:.3g}."

    def _table(self) -> Table:
        return Table(("variant", "votes"), self.votes, f"{self.count}. {self.odds}")

    def __str__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


class Comparison:
    """What several models say to the same prompts. ``str`` gives a table, a notebook shows it as HTML.

    A blind one shows texts alone, in columns called "1", "2" ... whose order is drawn for each prompt, until it is
    revealed; from then on it takes no votes.

    Attributes:
        prompts: what was asked, each once.
        blind: whether it was asked for blind.
        revealed: whether names are shown.
    """

    def __init__(
        self,
        said: Mapping[str, Sequence[Said]],
        prompts: Sequence[Prompt],
        *,
        marks: Mapping[str, str] | None = None,
        blind: bool = False,
        seed: int | None = None,
    ) -> None:
        """
        Args:
            said: for each model what it said to each prompt.
            prompts: what was asked.
            marks: what to show under a name: the fingerprint of its recipe.
            blind: hide which is which.
            seed: of the order of blind columns; None: one that nobody knows before ``reveal``.
        """  # noqa: D212 - the class says what it is
        self.prompts = tuple(prompts)
        self.blind = blind
        self.revealed = not blind
        self._said = {name: tuple(each) for name, each in said.items()}
        self._marks = dict(marks or {})
        self._seed = secrets.randbits(32) if seed is None else seed
        self._votes: dict[int, str | None] = {}  # None: no preference

    @property
    def names(self) -> tuple[str, ...]:
        """The models, in the order given."""
        return tuple(self._said)

    @property
    def said(self) -> dict[str, tuple[Said, ...]]:
        """For each model what it said to each prompt.

        Raises:
            AssemblyError: the comparison is blind.
        """
        self._seen("what each one said")
        return dict(self._said)

    @property
    def seed(self) -> int:
        """What the order of blind columns was drawn from: with it, they come in the same order again.

        Raises:
            AssemblyError: the comparison is blind.
        """
        self._seen("the seed")
        return self._seed

    @property
    def voted(self) -> tuple[int, ...]:
        """The numbers of the prompts that have a vote, from 1."""
        return tuple(place + 1 for place in sorted(self._votes))

    def columns(self, prompt: str | int) -> tuple[tuple[str, str], ...]:
        """Heading and text of each column for a prompt, as the table shows them: without names where it is blind.

        Raises:
            AssemblyError: there is no such prompt, or several have that text.
        """
        place = self._place(prompt)
        order = zip(self._headings(), self._order(place), strict=True)
        return tuple((heading, self._said[name][place].text) for heading, name in order)

    def as_drawn(self, prompt: str | int) -> tuple[tuple[str, str], ...]:
        """Name and text of each column for a prompt, in the order that it had while it was blind.

        Raises:
            AssemblyError: the comparison is blind, there is no such prompt, or several have that text.
        """
        self._seen("the order")
        place = self._place(prompt)
        return tuple((name, self._said[name][place].text) for name in self._drawn(place))

    def vote(self, prompt: str | int, column: str | int | None) -> None:
        """Say which answer to a prompt is best; a second vote on the same prompt replaces the first.

        Args:
            prompt: the prompt's text, or its number in the table, from 1: where two prompts have one text, the number.
            column: the heading of the column: its number where the comparison is blind, else the model's name. None: no
                preference, as where all wrote the same.

        Raises:
            AssemblyError: there is no such prompt or column, or a blind comparison has been revealed.
        """
        if self.blind and self.revealed:
            raise AssemblyError(Problem("vote", "it is known now which is which.", "Vote before reveal()."))
        place = self._place(prompt)
        if column is None:
            self._votes[place] = None
            return
        headings = dict(zip(self._headings(), self._order(place), strict=True))
        if str(column) not in headings:
            hint = did_you_mean(str(column), tuple(headings))
            raise AssemblyError(Problem("vote", f"there is no column {column!r}.", hint))
        self._votes[place] = headings[str(column)]

    def score(self) -> Score:
        """Votes by name.

        Raises:
            AssemblyError: the comparison is blind.
        """
        self._seen("the score")
        counts = Counter(self._votes.values())
        votes = tuple((name, counts[name]) for name in self.names)
        return Score(votes, chance([count for _, count in votes]), counts[None])

    def reveal(self) -> Comparison:
        """Show which is which. Returns itself, for the notebook to show."""
        self.revealed = True
        return self

    def __repr__(self) -> str:
        how = "blind" if not self.revealed else ", ".join(self.names)
        return (
            f"<Comparison of {len(self._said)} on {len(self.prompts)} prompts: {how}, "
            f"{len(self._votes)} of {len(self.prompts)} voted>"
        )

    def __str__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()

    def _table(self) -> Table:
        marks = self._marks if self.revealed else {}  # a name may be "1", as a heading may
        heads = [f"{head} ({marks[head]})" if head in marks else head for head in self._headings()]
        rows: list[tuple[object, ...]] = []
        for place, prompt in enumerate(self.prompts):
            order = self._order(place)
            said = [self._said[name][place] for name in order]
            first = f"{place + 1}  {_one_line(prompt.text)}"
            rows.append((first, "writes", *(_one_line(one.text.strip()) or "(nothing)" for one in said)))
            if self.revealed:
                rows.append(("", "next token", *(_likely(one) for one in said)))
                rows.append(("", "its entropy, nats", *(f"{one.entropy:.2f}" for one in said)))
                if prompt.continuation is not None:
                    follows = f"loss on {prompt.continuation!r}, nats a token"
                    rows.append(("", follows, *(f"{one.loss:.3f}" for one in said)))
            if place in self._votes:
                marks_of = ("=" if self._votes[place] is None else "*" * (name == self._votes[place]) for name in order)
                rows.append(("", "voted", *marks_of))
        title = "Blind: every prompt has its own order of columns."
        if self.revealed:
            title = f"It was blind: the order of columns was drawn from seed {self._seed}." if self.blind else ""
        return Table(("prompt", "", *heads), tuple(rows), title)

    def _headings(self) -> tuple[str, ...]:
        return self.names if self.revealed else tuple(str(number + 1) for number in range(len(self._said)))

    def _order(self, place: int) -> tuple[str, ...]:
        """The names as the columns of a prompt hold them."""
        return self.names if self.revealed else self._drawn(place)

    def _drawn(self, place: int) -> tuple[str, ...]:
        """The names in the order of a blind prompt: drawn from the seed and the prompt."""
        if not self.blind:
            return self.names

        def lot(index: int) -> bytes:
            return hashlib.sha256(repr((self._seed, index, self.prompts[place])).encode()).digest()

        return tuple(self.names[index] for index in sorted(range(len(self.names)), key=lot))

    def _place(self, prompt: str | int) -> int:
        texts = [one.text for one in self.prompts]
        if isinstance(prompt, str) and prompt in texts:
            numbers = [place + 1 for place, text in enumerate(texts) if text == prompt]
            if len(numbers) > 1:
                what = f"{len(numbers)} prompts are {prompt!r}."
                raise AssemblyError(Problem("vote", what, f"Give a number: {', '.join(map(str, numbers))}."))
            return numbers[0] - 1
        if isinstance(prompt, int) and not isinstance(prompt, bool) and 1 <= prompt <= len(texts):
            return prompt - 1
        hint = f"Give a prompt of the table, or its number from 1 to {len(texts)}."
        raise AssemblyError(Problem("vote", f"there is no prompt {prompt!r}.", hint))

    def _seen(self, what: str) -> None:
        if not self.revealed:
            raise AssemblyError(Problem("comparison", f"{what} would tell which is which.", "Call reveal() first."))


def ask_all(
    assemblies: Mapping[str, Assembly],
    prompts: Asked,
    *,
    blind: bool = False,
    seed: int | None = None,
    max_new_tokens: int = 24,
) -> Comparison:
    """Ask every model every prompt.

    Args:
        assemblies: live models by name.
        prompts: one or several; one that is given twice is asked once.
        blind: hide which is which until ``Comparison.reveal``.
        seed: of the order of blind columns; None: one that nobody knows before ``Comparison.reveal``.
        max_new_tokens: length of the written answers, 1 or more.

    Raises:
        AssemblyError: there is nothing to ask or nobody to answer, a blind comparison is of fewer than two, a prompt
            has no token or more than a model reads, or a model gives values that are not numbers.
    """
    asked = tuple(dict.fromkeys(prompts_of(prompts, "compare")))
    allowed(max_new_tokens)
    least = 2 if blind else 1
    if len(assemblies) < least:
        few = "1 variant" if len(assemblies) == 1 else f"{len(assemblies)} variants"
        what = f"{few}, where {'a blind comparison' if blind else 'it'} needs {least}."
        raise AssemblyError(Problem("compare", what, "Keep another one, or name more."))
    said = {name: _said(name, assembly, asked, max_new_tokens) for name, assembly in assemblies.items()}
    marks = {name: assembly.recipe.fingerprint for name, assembly in assemblies.items()}
    return Comparison(said, asked, marks=marks, blind=blind, seed=seed)


def _said(name: str, assembly: Assembly, prompts: Sequence[Prompt], length: int) -> list[Said]:
    with assembly.lock, torch.inference_mode():
        model, tokenizer = assembly.model, assembly.tokenizer
        heard = hear(model, tokenizer, prompts)
        only_numbers({name: heard}, prompts)
        answers = [
            compare(prompt, {MERGED: one}, {MERGED: None}, tokenizer)
            for prompt, one in zip(prompts, heard, strict=True)
        ]
        texts = [write(model, tokenizer, prompt.text, length=length) for prompt in prompts]
    return [
        Said(
            text,
            tuple((row.token, row.probabilities[0]) for row in answer.candidates[:CANDIDATES]),
            answer.entropy[0],
            answer.losses[0],
        )
        for text, answer in zip(texts, answers, strict=True)
    ]


def chance(votes: Sequence[int]) -> float:
    """Exact p-value of votes, if each fell on every one with the same chance: the summed probability of all outcomes
    that are no likelier than this one (multinomial test; for two the two-sided binomial test).

    1 where there is no vote, or only one to vote for.
    """
    total, kinds = sum(votes), len(votes)
    seen = _ways(votes)
    as_odd = 0
    for counts in _partitions(total, kinds, total):
        ways = _ways(counts)
        if ways <= seen:
            as_odd += ways * _ways(tuple(Counter(counts).values()))  # so many orders of the same counts
    return as_odd / kinds**total


def _ways(counts: Sequence[int]) -> int:
    """In how many orders things of several kinds can stand: the multinomial coefficient."""
    return math.factorial(sum(counts)) // math.prod(math.factorial(count) for count in counts)


def _partitions(total: int, kinds: int, most: int) -> Iterator[tuple[int, ...]]:
    """Every falling sequence of ``kinds`` numbers from 0 to ``most`` whose sum is ``total``."""
    if kinds == 0:
        if total == 0:
            yield ()
        return
    for first in range(min(most, total), -1, -1):
        if first * kinds < total:
            return
        for rest in _partitions(total - first, kinds - 1, first):
            yield (first, *rest)


def _likely(said: Said) -> str:
    return ", ".join(f"{token!r} {p:.0%}" for token, p in said.candidates)


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n")
