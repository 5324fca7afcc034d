"""Scoring: each model is scored once, the control is the stack without foreign layers, and partial results survive."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergelab import sample
from mergelab.models.assembly import Assembly
from mergelab.models.events import Measured, Measuring
from mergelab.models.preview import Preview
from mergelab.recipes import Recipe, graft, plan, repeat, stack
from mergelab.recipes.recipe import Part, Slice, numbers
from mergelab.studies.scores import Score, Scorer
from mergelab.studies.scoring import Scores, Scoring, Skip, skip
from mergelab.weights import Source

NAMES = ("base", "pirate", "stranger")
BASE, PIRATE, STRANGER = (sample.path(name) for name in NAMES)


class Counting:
    """A scorer that gives the number of layers and keeps who was scored."""

    def __init__(self, name: str = "layers") -> None:
        self.scored: list[str] = []
        self.at: dict[int, object] = {}  # what to do at which call
        self.scorer = Scorer(name, "layers", "higher", self._call)

    def _call(self, model: Assembly, _stop: object) -> Score:
        self.scored.append(model.recipe.fingerprint)
        act = self.at.get(len(self.scored))
        if act is not None:
            act()  # type: ignore[operator]
        return Score(float(len(model.plan.layers)), unit="layers")


class Heard:
    """What was measured, by request."""

    def __init__(self) -> None:
        self.values: dict[int, list[Scores]] = {}
        self.problems: list[str] = []
        self.begun = threading.Event()

    def __call__(self, event: object) -> None:
        if isinstance(event, Measuring):
            self.begun.set()
        if isinstance(event, Measured):
            self.problems += [event.problem] * bool(event.problem)
            if isinstance(event.value, Scores) and not event.value.waiting:  # which a slow machine may be told
                self.values.setdefault(event.generation, []).append(event.value)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def preview(heard: Heard, counting: Counting) -> Iterator[Preview]:
    sources = {"base": BASE, "pirate": PIRATE}
    with Preview(sources, heard, max_new_tokens=1, measures=[Scoring([counting.scorer])]) as made:
        yield made


def test_the_merge_comes_first_then_the_control_then_sources(
    preview: Preview, heard: Heard, counting: Counting
) -> None:
    recipe = graft(BASE, PIRATE, (3, 6))
    preview.ask(recipe, "hello")
    assert preview.wait(60)
    first, *_, last = heard.values[1]
    assert first.recipe == last.recipe == recipe.fingerprint == counting.scored[0]
    assert len(counting.scored) == 4
    assert [one.done for one in heard.values[1]] == [False] * 4 + [True]
    (row,) = first.rows
    assert row.score == Score(10.0, unit="layers")
    assert [one.score for one in row.controls] == [None] * 3
    (row,) = last.rows
    assert row.scorer is counting.scorer
    assert [(one.name, one.score and one.score.value) for one in row.controls] == [
        ("base", 10.0),
        ("pirate", 10.0),
        ("skip", 7.0),
    ]
    assert [one.what for one in row.controls] == [
        "base alone",
        "pirate alone",
        "without layers 3 to 5, in which base has no part; 7 left",
    ]
    order = [len(one.rows[0].controls) - [c.score for c in one.rows[0].controls].count(None) for one in heard.values[1]]
    assert order == [0, 1, 2, 3, 3]
    assert heard.values[1][1].rows[0].controls[2].score is not None


def test_what_was_scored_is_not_scored_again(preview: Preview, heard: Heard, counting: Counting) -> None:
    for layers in ((3, 6), (3, 7), (3, 6)):
        preview.ask(graft(BASE, PIRATE, layers), "hello")
        assert preview.wait(60)
    assert len(counting.scored) == len(set(counting.scored)) == 6  # two merges, two controls, two sources
    (again,) = heard.values[3]
    assert again == heard.values[1][-1]


def test_scores_survive_a_newer_request_and_failures_are_tried_again(
    preview: Preview, heard: Heard, counting: Counting
) -> None:
    recipe = graft(BASE, PIRATE, (3, 6))
    counting.at[2] = lambda: preview.ask(recipe, "hello you")  # while the control is scored

    def fail() -> None:
        raise ValueError("no luck")

    counting.at[3] = fail  # the control again, as what was overtaken does not count
    preview.ask(recipe, "hello")
    assert preview.wait(60)
    assert counting.scored[:3] == [recipe.fingerprint, *[counting.scored[1]] * 2]
    (row,) = heard.values[2][-1].rows
    control = row.controls[2].score
    assert control is not None
    assert math.isnan(control.value)
    assert control.problem == "ValueError: no luck"
    assert row.score == Score(10.0, unit="layers")
    preview.ask(recipe, "hello")
    assert preview.wait(60)
    assert heard.values[3][-1].rows[0].controls[2].score == Score(7.0, unit="layers")
    assert len(counting.scored) == 6


def test_several_scorers_keep_apart_and_none_says_nothing(heard: Heard) -> None:
    one, other = Counting("one"), Counting("other")
    recipe = graft(BASE, BASE, (0, 10))
    with Preview({"base": BASE}, heard, max_new_tokens=1, measures=[Scoring([one.scorer, other.scorer])]) as preview:
        preview.ask(recipe, "hello")
        assert preview.wait(60)
    assert [row.scorer.name for row in heard.values[1][-1].rows] == ["one", "other"]
    assert len(one.scored) == len(other.scored)
    for told in heard.values[1]:
        for row in told.rows:
            control = row.controls[1]
            assert control.score is not None
            assert math.isnan(control.score.value)
            assert control.score.problem == "base has a part in every layer: there is none to leave out"
    heard.values.clear()
    with Preview({"base": BASE}, heard, max_new_tokens=1, measures=[Scoring([])]) as preview:
        preview.ask(recipe, "hello")
        assert preview.wait(60)
    assert not heard.values
    assert not heard.problems


def skipped(recipe: Recipe) -> Skip:
    return skip(plan(recipe))


def homes(recipe: Recipe | None) -> list[str]:
    assert recipe is not None
    return [str(layer.home) for layer in plan(recipe).layers]


@given(
    runs=st.lists(
        st.tuples(st.sampled_from((BASE, PIRATE)), st.integers(0, 8), st.integers(1, 2)), min_size=1, max_size=5
    )
)
def test_the_control_keeps_the_host_s_layers_in_their_order(runs: list[tuple[Path, int, int]]) -> None:
    recipe = stack([(path, start, start + count) for path, start, count in runs], base=BASE)
    found, layers = skipped(recipe), [str(layer.home) for layer in plan(recipe).layers]
    host = "base" if any(name.startswith("base") for name in layers) else "pirate"
    kept = [name for name in layers if name.startswith(host)]
    if kept == layers:
        assert found.recipe is None
        assert found.why.startswith(f"{host} has a part in every layer")
    else:
        assert (host, homes(found.recipe), found.why) == ("base", kept, "")
        assert found.what.endswith(f"{len(kept)} left")
        gone = [number for number, name in enumerate(layers) if not name.startswith(host)]
        told = found.what.split("layer")[1].removeprefix("s").split(", in which")[0]
        named = [run.split(" to ") for run in told.split(", ")]
        assert [number for run in named for number in range(int(run[0]), int(run[-1]) + 1)] == gone


def test_layers_that_the_host_has_a_part_in_stay() -> None:
    base, pirate = Source(str(BASE)), Source(str(PIRATE))
    half = numbers({"weight": 0.5})
    blended = Slice((Part(pirate, (2, 4), half), Part(base, (2, 4), half)))
    alone = Slice((Part(pirate, (4, 6), half),))
    recipe = Recipe("linear", (Slice((Part(base, (0, 2), half),)), blended, alone, blended), base)
    found = skipped(recipe)
    assert found.recipe is not None
    assert found.recipe.slices == (recipe.slices[0], blended, blended)
    assert found.what == "without layers 4 to 5, in which base has no part; 6 left"
    over = stack([(PIRATE, 0, 10)], base=BASE, method="slerp", coefficient=0.5)  # of which the host is the base
    assert skipped(over).recipe is None
    assert skipped(repeat(BASE, (3, 5), times=2)).recipe is None
    assert homes(skipped(graft(BASE, PIRATE, (0, 1))).recipe) == [f"base {number}" for number in range(1, 10)]
    assert skipped(graft(BASE, PIRATE, (9, 10))).what.startswith("without layer 9, in")


def test_where_the_giver_has_no_part_the_host_is_who_has_a_part_in_most_layers() -> None:
    found = skipped(stack([(STRANGER, 0, 2), (PIRATE, 2, 4), (STRANGER, 4, 5)], base=BASE))
    assert homes(found.recipe) == ["stranger 0", "stranger 1", "stranger 4"]
    assert found.what == (
        "without layers 2 to 3, in which stranger has no part; 3 left. base, which gives config and tokenizer, has no "
        "part in any layer; stranger has in most"
    )
    even = skipped(stack([(PIRATE, 0, 2), (STRANGER, 2, 4)], base=BASE))
    assert homes(even.recipe) == ["pirate 0", "pirate 1"], "of two the lowest"


def test_a_control_that_cannot_be_made_is_told(
    heard: Heard, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = graft(BASE, PIRATE, (3, 6))
    wrong = Recipe("passthrough", (Slice((Part(Source(str(BASE)), (0, 99)),)),))
    monkeypatch.setattr("mergelab.studies.scoring.skip", lambda _: Skip(wrong, "without all sense"))
    sources = {"base": BASE, "pirate": PIRATE}
    with Preview(sources, heard, max_new_tokens=1, measures=[Scoring([counting.scorer])]) as preview:
        preview.ask(recipe, "hello")
        assert preview.wait(60)
    (row,) = heard.values[1][-1].rows
    control = row.controls[2]
    assert control.what == "without all sense"
    assert control.score is not None
    assert "99" in control.score.problem
    assert heard.values[1][-1].done
