"""Users' functions get a model and a thread of their own: what they do to it, and how long they take, harms nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from mergelab import sample
from mergelab.models.assembly import Assembly, assemble
from mergelab.models.events import Event, Measured, Next, Text
from mergelab.models.preview import Preview
from mergelab.models.speak import Stopped
from mergelab.recipes import stack
from mergelab.studies import errands, scores
from mergelab.studies.errands import Errands
from mergelab.studies.scores import function, perplexity
from mergelab.studies.scoring import Scores, Scoring

BASE, PIRATE = sample.path("base"), sample.path("pirate")
BLEND = stack([(PIRATE, 0, 3)], base=BASE, method="slerp", coefficient=0.5)
GRAFT = stack([(BASE, 0, 2), (PIRATE, 2, 3)], base=BASE)


def _no_gradients(change: Callable[[Any], object]) -> Callable[[Assembly], float]:
    def changes(model: Assembly) -> float:
        with torch.inference_mode(mode=False), torch.no_grad():
            change(model.model.model)
        return 1.0

    return changes


def _weight(model: Any) -> torch.Tensor:
    found = model.layers[0].self_attn.q_proj.weight
    assert isinstance(found, torch.Tensor)
    return found


def _replaced(model: Any) -> None:
    zeros = torch.zeros_like(_weight(model))
    model.layers[0].self_attn.q_proj.weight = torch.nn.Parameter(zeros, requires_grad=False)


def _turned(model: Assembly) -> float:
    model.turn(GRAFT)
    return 1.0


def _closed(model: Assembly) -> float:
    model.close()
    return 1.0


WRITES: dict[str, Callable[[Assembly], float]] = {
    "in place": _no_gradients(lambda model: _weight(model).mul_(0)),
    "data": _no_gradients(lambda model: _weight(model).data.zero_()),
    "numpy": _no_gradients(lambda model: _weight(model).detach().numpy().fill(0)),
    "replaced": _no_gradients(_replaced),
    "turned": _turned,
}


@pytest.mark.parametrize("whole", [50_000_000, 0])
def test_a_function_that_changes_weights_has_no_score(whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mergelab.models.untouched.WHOLE", whole)
    for name, call in {**WRITES, "none": lambda _: 1.0, "closed": _closed}.items():
        with assemble(BLEND) as own:
            found = function(call).score(own)
        words = "changed the weights of the model: its score does not count"
        assert (words in found.problem) == (name in WRITES), name


def _meddles(model: Assembly) -> float:
    """All that can be done to a model without a trace in its weights, and then some with one."""
    inner = model.model.model
    model.tokenizer.add_tokens(["pirate", "hello"])
    inner.norm.variance_epsilon = 100.0
    model.model.config.max_position_embeddings = 4
    inner.layers[0].register_forward_hook(lambda _module, _given, out: out * 0)
    return WRITES["numpy"](model) + WRITES["data"](model) + WRITES["replaced"](model)


def answers(measures: list[Scoring]) -> list[object]:
    """What two recipes say to two prompts, and how one that only reads scores them."""
    heard: list[Event] = []
    found: list[object] = []
    with Preview({"base": BASE, "pirate": PIRATE}, heard.append, max_new_tokens=4, measures=measures) as preview:
        for recipe, prompt in ((BLEND, "pirate hello"), (GRAFT, "Once upon a time")):
            heard.clear()
            preview.ask(recipe, prompt)
            assert preview.wait(60)
            found += [event.answers[0].candidates for event in heard if isinstance(event, Next)]
            found += [(event.speaker, event.text) for event in heard if isinstance(event, Text) and event.done]
            found.append(last_scores(heard)["perplexity"])
    return found


def last_scores(heard: list[Event]) -> dict[str, Any]:
    values = [event.value for event in heard if isinstance(event, Measured)]
    last = values[-1]
    assert isinstance(last, Scores)
    return {row.scorer.name: row.score for row in last.rows}


def test_whatever_functions_do_to_their_model_answers_are_those_of_a_fresh_one() -> None:
    reads = perplexity("the dog is in the house")
    expected = answers([Scoring([reads])])
    assert answers([Scoring([function(_meddles), reads, function(_turned)])]) == expected


class Hanging:
    """A function that waits for a gate."""

    def __init__(self) -> None:
        self.begun, self.gate, self.runs, self.most = threading.Event(), threading.Event(), 0, 0

    def __call__(self, _model: Assembly) -> float:
        self.runs += 1
        self.most = max(self.most, self.runs)
        self.begun.set()
        self.gate.wait(30)
        self.runs -= 1
        return 1.0


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.gate.set()
    for thread in threading.enumerate():
        if thread.name == "mergelab-errand":
            thread.join(30)


def test_a_function_that_hangs_holds_nobody_up(hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errands, "PATIENCE", 0.05)
    heard: list[Event] = []
    scoring = Scoring([function(hanging, "hangs"), perplexity("the dog is in the house")])

    def until(found: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not found():
            assert time.monotonic() < end
            time.sleep(0.005)

    def waited_for(number: int) -> bool:
        values = [event.value for event in heard if isinstance(event, Measured) and event.generation == number]
        return any(isinstance(value, Scores) and value.waiting == "hangs" for value in values)

    preview = Preview({"base": BASE, "pirate": PIRATE}, heard.append, max_new_tokens=1, measures=[scoring])
    first = preview.ask(GRAFT, "hello")
    until(lambda: waited_for(first))
    assert hanging.begun.wait(30)
    second = preview.ask(BLEND, "hello")
    until(lambda: any(isinstance(event, Next) and event.generation == second for event in heard))
    until(lambda: waited_for(second))
    assert hanging.most == 1, "the one before has not ended"
    third = preview.ask(GRAFT, "hello")
    until(lambda: waited_for(third))
    hanging.gate.set()
    assert preview.wait(60)
    assert last_scores(heard)["hangs"].value == 1.0
    hanging.gate.clear()
    hanging.begun.clear()
    preview.ask(BLEND, "hello")
    assert hanging.begun.wait(30)
    started = time.monotonic()
    preview.close()
    assert time.monotonic() - started < 2
    assert hanging.runs == 1, "it is still at it"


def test_an_errand_gives_what_it_came_to_or_raises_it() -> None:
    def drained(work: Callable[[], object], stop: Callable[[], bool] = lambda: False) -> object:
        steps = Errands().run(work, stop, lambda: "waiting")
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    assert drained(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        drained(lambda: 1 / 0)
    with pytest.raises(Stopped):
        drained(lambda: time.sleep(0.2), lambda: True)


def test_those_that_only_read_say_so() -> None:
    assert perplexity("a b").only_reads
    assert scores.skill("pirate").only_reads
    assert not function(len).only_reads
    assert scores.scorers_of({"mine": perplexity("a b")}, [])[0].only_reads
