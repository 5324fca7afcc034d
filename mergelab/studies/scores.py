"""Scores: how good a live model is at something, as one number with its spread."""

from __future__ import annotations

import hashlib
import math
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from mergelab import sample
from mergelab.errors import InspectionError, Problem, raise_all
from mergelab.models.assembly import Assembly
from mergelab.models.replay import stoppable
from mergelab.models.speak import Stopped, is_text
from mergelab.models.untouched import state
from mergelab.sample.runs import RUNS
from mergelab.sample.skills import ACCURACY, NATS
from mergelab.studies.passages import ENGLISH
from mergelab.weights import Source

Stop: TypeAlias = Callable[[], bool]
Function: TypeAlias = Callable[[Assembly], Any]
Given: TypeAlias = "Scorer | Function | Mapping[str, Scorer | Function] | Sequence[Scorer | Function] | None"

DOCUMENTS = {ACCURACY: 100, NATS: 16}  # by unit: few enough to be known soon after a turn
WINDOW = 256  # tokens of a text that are read at a time
_FORM = "Give functions f(model) -> float, by name or in a row, or what skill(), perplexity() and function() make."


@dataclass(frozen=True)
class Score:
    """How one model did.

    Attributes:
        value: in ``unit``; NaN where it could not be found.
        spread: its standard error, in ``unit``; NaN: unknown.
        unit: of both; "": a plain number.
        n: documents or tokens it was taken over; 0: not known.
        basis: what was counted, in words, where that depends on the tokenizer: only scores of one basis compare.
        problem: why there is no value, in words; else "".
    """

    value: float
    spread: float = math.nan
    unit: str = ""
    n: int = 0
    basis: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Scorer:
    """Something that a model is scored by.

    Attributes:
        name: what it is called; each of several has another.
        unit: of its scores; "": plain numbers.
        better: which scores are.
        call: takes a live model, and what is to be asked between batches whether to raise ``Stopped``.
        only_reads: it leaves the model as it is and asks often whether to stop, so that it may have the live one. Any
            other gets a model of its own, on a thread of its own.
    """

    name: str
    unit: str
    better: Literal["higher", "lower"]
    call: Callable[[Assembly, Stop], Score]
    only_reads: bool = False

    def score(self, model: Assembly, stop: Stop = lambda: False) -> Score:
        """Score a model. Whatever goes wrong, in a user's function for one, is told in the score's ``problem``.

        Raises:
            Stopped: ``stop`` said so.
        """
        try:
            with model.lock, torch.inference_mode():
                found = self.call(model, stop)
        except Stopped:
            raise
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a function may not end the thread it runs on
            found = Score(math.nan, unit=self.unit, problem=f"{type(error).__name__}: {error}".removesuffix(": "))
        if stop():
            raise Stopped  # a function may have caught the first one
        return found


def skill(name: str, n: int | None = None) -> Scorer:
    """One of the sample family's skills, scored exactly on documents that training never saw; always the same ones.

    The spread of a share is its standard error with one more document right and one more wrong (Laplace's rule), since
    none wrong of a hundred does not mean that none ever is.

    Args:
        name: one of ``sample.SKILLS``.
        n: documents; None: 100 that are right or wrong, 16 stories.

    Raises:
        InspectionError: there is no such skill.
    """
    raise_all(
        InspectionError,
        [Problem("skill", f"there is no {name!r}.", f"Give one of {', '.join(sample.SKILLS)}.")]
        if name not in sample.SKILLS
        else [],
    )
    judged = sample.SKILLS[name]
    documents = DOCUMENTS[judged.unit] if n is None else n
    exact = judged.unit == ACCURACY

    def call(model: Assembly, stop: Stop) -> Score:
        found = sample.score(stoppable(model.model, stop), model.tokenizer, judged, documents)
        basis = "" if exact else _basis(model.tokenizer, [one.answer for one in judged.documents(documents)])
        spread = _binomial(found.value / 100, found.n) if exact else found.standard_error
        return Score(found.value, spread, found.unit, found.n, basis)

    return Scorer(name, judged.unit, "higher" if exact else "lower", call, only_reads=True)


def _binomial(share: float, n: int) -> float:
    """Standard error, in per cent, of a share of ``n``, with one more right and one more wrong."""
    likely = (share * n + 1) / (n + 2)
    return 100 * math.sqrt(likely * (1 - likely) / (n + 2))


def perplexity(*texts: str, name: str = "perplexity") -> Scorer:
    """How surprised a model is by texts: mean -log p of their tokens, in nats per token of its own tokenizer.

    The exponential of it is what is called perplexity. Read in windows of 256 tokens, or as many as the model reads;
    the first token of a text is given, not predicted. The spread is the standard error of the mean over windows,
    weighted by their lengths; unknown where there is one.

    Raises:
        InspectionError: there is no text, or one has nothing in it.
    """
    wrong = [one for one in texts if not is_text(one) or not one.strip()]
    problems = [
        Problem(name, f"{reprlib.repr(one)} is no text to read.", "Give texts with a few words.") for one in wrong
    ]
    raise_all(InspectionError, problems or ([] if texts else [Problem(name, "there is no text.", "Give one.")]))

    def call(model: Assembly, stop: Stop) -> Score:
        losses, counts = zip(*_windows(model, texts, stop), strict=True)
        mean = sum(losses) / sum(counts)
        apart = sum((loss - mean * count) ** 2 for loss, count in zip(losses, counts, strict=True))
        spread = math.sqrt(apart) / sum(counts) if len(counts) > 1 else math.nan
        if math.isnan(mean):
            raise InspectionError(
                Problem(name, "the model gives values that are not numbers (NaN).", "Look at a seam.")
            )
        return Score(mean, spread, NATS, sum(counts), _basis(model.tokenizer, texts))

    return Scorer(name, NATS, "lower", call, only_reads=True)


def function(
    call: Function, name: str = "", *, unit: str = "", better: Literal["higher", "lower"] = "higher"
) -> Scorer:
    """Any function of a live model as a scorer.

    Args:
        call: takes an ``Assembly`` (``say``, ``model``, ``tokenizer``), returns a number, or a number and its spread.
            In a workbench it runs on a thread of its own, without gradients, on a model made for it alone: nothing that
            it does is seen elsewhere. A score does not count where the function changed the weights or the recipe.
        name: what to call it; "": as the function is called.
    """

    def scored(model: Assembly, stop: Stop) -> Score:
        live = model.model
        before = state(live), model.recipe
        with _heeding(live, stop):
            given = call(model)
        if (state(live), model.recipe) != before:
            what, hint = "changed the weights of the model: its score does not count.", "Change a copy: copy.deepcopy."
            raise InspectionError(Problem("the function", what, hint))
        return Score(*_reading(given), unit)

    return Scorer(name or getattr(call, "__name__", "score").strip("<>"), unit, better, scored)


def scorers_of(given: Given, sources: Iterable[Source]) -> tuple[Scorer, ...]:
    """What to score by.

    Args:
        given: scorers and functions, one, in a row or by name; None: the skills that the sources were trained on where
            all are of the sample family, else how surprised they are by short English texts.
        sources: what is merged.

    Raises:
        InspectionError: something is neither, or two have one name.
    """
    if given is None:
        return _usual(tuple(sources))
    if isinstance(given, Mapping):
        named = [(str(name), one) for name, one in given.items()]
    else:
        named = [("", one) for one in ((given,) if isinstance(given, Scorer) or callable(given) else given)]
    wrong = [Problem("scorers", f"{reprlib.repr(one)} scores nothing.", _FORM) for _, one in named if not _scores(one)]
    raise_all(InspectionError, wrong)
    found = tuple(_called(one, name) if isinstance(one, Scorer) else function(one, name) for name, one in named)
    names = [one.name for one in found]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    hint = "Give them by name: {'short': f, 'long': g}."
    raise_all(InspectionError, [Problem("scorers", f"two are called {name!r}.", hint) for name in twice])
    return found


def _usual(sources: tuple[Source, ...]) -> tuple[Scorer, ...]:
    members = [Path(source.path).name for source in sources if Path(source.path).parent == sample.FAMILY]
    if len(members) < len(sources):
        return (perplexity(*ENGLISH, name="English"),)
    runs = [run for run in RUNS if run.name in members]
    taught = [generator for run in runs for generator, share in run.mixture if share > 0]
    return tuple(skill(one.name) for one in sample.SKILLS.values() if one.generator in taught)


def _scores(one: object) -> bool:
    return isinstance(one, Scorer) or callable(one)


def _called(scorer: Scorer, name: str) -> Scorer:
    return replace(scorer, name=name or scorer.name)


def _basis(tokenizer: Any, texts: Iterable[str]) -> str:
    """The tokens of texts, by number and digest."""
    ids = [tokenizer(text, verbose=False)["input_ids"] for text in texts]
    digest = hashlib.sha256(repr(ids).encode()).hexdigest()[:6]
    return f"{sum(map(len, ids))} tokens ({digest})"


def _windows(model: Assembly, texts: Sequence[str], stop: Stop) -> Iterator[tuple[float, int]]:
    """For each window of each text: the sum of its tokens' losses, in nats, and how many tokens that are."""
    room = getattr(model.model.config, "max_position_embeddings", None)
    window = WINDOW if room is None else min(WINDOW, room)
    read = stoppable(model.model, stop)
    for text in texts:
        ids = torch.tensor(model.tokenizer(text, verbose=False)["input_ids"])
        if len(ids) < 2:
            raise InspectionError(Problem("perplexity", f"{text!r} has no token to predict.", "Give longer texts."))
        for start in range(0, len(ids) - 1, window - 1):
            piece = ids[start : start + window].to(model.model.device)
            logits = read(input_ids=piece[None, :-1], use_cache=False).logits[0].float()
            yield float(torch.nn.functional.cross_entropy(logits, piece[1:], reduction="sum")), len(piece) - 1


@contextmanager
def _heeding(model: Any, stop: Stop) -> Iterator[None]:
    """Inside the block the model asks before every pass whether it still should."""

    def ask(_model: object, _given: object) -> None:
        if stop():
            raise Stopped

    hook = model.register_forward_pre_hook(ask)
    try:
        yield
    finally:
        hook.remove()


def _reading(given: Any) -> tuple[float, float]:
    """Value and spread that a function gave.

    Raises:
        InspectionError: they are none.
    """
    value, spread = given if isinstance(given, tuple | list) and len(given) == 2 else (given, math.nan)
    hint = "Return a number, or a number and its spread."
    try:
        found = [math.nan if isinstance(one, str) else float(one) for one in (value, spread)]
    except (TypeError, ValueError, RuntimeError):
        found = [math.nan]
    if not math.isfinite(found[0]) or found[1] < 0 or isinstance(spread, str):
        raise InspectionError(Problem("the function", f"returned {reprlib.repr(given)}.", hint))
    return found[0], found[1]
