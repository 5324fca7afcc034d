"""What lesson 5 says in words about the workbench, held against the figures that it prints."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from mergelab import sample
from mergelab.models.comparison import chance
from tests.lessons import LESSONS, complaints, executed, is_widget, rows_of, shown_by, text_of

pytestmark = pytest.mark.slow

HEARD = re.compile(r"^recipe ([0-9a-f]{8}), (\d+) layers: (.*)\n(.*) -> ?(.*)\n(stories .*)$", re.MULTILINE)
SCORE = re.compile(r"(\w+) ([\d.]+) ± ([\d.]+)")


@dataclass(frozen=True)
class Heard:
    """One call of ``hear``."""

    recipe: str
    stack: str
    answer: str
    scores: dict[str, tuple[float, float]]


@functools.cache
def parts() -> tuple[str, str]:
    """What the lesson prints, and what its exercises print."""
    lesson, _, exercises = text_of(executed(LESSONS[4])).partition("exercises\n")
    return lesson, exercises


def heard(text: str) -> list[Heard]:
    return [
        Heard(
            recipe, stack, answer, {name: (float(value), float(spread)) for name, value, spread in SCORE.findall(row)}
        )
        for recipe, _, stack, _, answer, row in HEARD.findall(text)
    ]


def apart(one: Heard, other: Heard, name: str) -> float:
    """By how many of its standard errors a score of one is above the other's."""
    (value, spread), (less, its) = one.scores[name], other.scores[name]
    return (value - less) / math.hypot(spread, its)


@pytest.mark.parametrize("path", LESSONS[4:5], ids=lambda path: path.stem)
def test_a_lesson_runs_without_complaints(path: Path) -> None:
    assert complaints(path) == ""


def test_the_turns_come_in_the_order_of_the_text() -> None:
    blend = "base+pirate+arithmetic 0-9"
    graft = "pirate 0-1 | arithmetic 2-3 | pirate 4-9"
    turns = heard(parts()[0])
    assert [one.stack for one in turns] == [
        "pirate 0-9",
        graft,
        "pirate 0-3 | arithmetic 4-5 | pirate 6-9",
        "pirate 0-5 | arithmetic 6-7 | pirate 8-9",
        "pirate 0-7 | pirate 2-9",
        "pirate 0-1 | arithmetic 2-3 | pirate 4-5 | arithmetic 6-7 | pirate 8-9",
        *[blend] * 3,
        "pirate 0-1 | pirate 4-9",
        "pirate 0-3 | stranger 4-5 | pirate 6-9",
        "pirate 0-3 | pirate 6-9",
        *[blend] * 5,
    ]
    flat, thin_feed_forwards, thin_attention = (one.recipe for one in turns[6:9])
    assert [one.recipe for one in turns[12:]] == [
        thin_feed_forwards,  # with a comment
        thin_attention,
        thin_feed_forwards,  # shown
        thin_attention,  # undone and made again
        thin_feed_forwards,  # restored
    ]
    assert flat not in (thin_feed_forwards, thin_attention)


def test_stacks_of_layers() -> None:
    whole, graft, middle, upper, deep = heard(parts()[0])[:5]
    assert whole.scores["pirate"] == (100, 1), "the error is never 0"
    assert 75 < graft.scores["pirate"][0] < 95
    assert apart(whole, graft, "pirate") == pytest.approx(4, abs=1)
    assert middle.scores["pirate"][0] < 25, "hardly a right answer"
    assert upper.scores["pirate"][0] > 70, "most are back"
    assert deep.scores["pirate"][0] == pytest.approx(90, abs=4), "nine of ten"


def test_seams() -> None:
    graft, deep = parts()[0].split("Seams, average")[1:3]
    assert [row[-1] for row in rows_of(graft, "seam ")] == ["Within chance"] * 2
    [row] = rows_of(deep, "seam ")
    assert row[-1] == "Shifted"
    assert re.fullmatch(r"[\d.]+\*", row[3])
    assert 1.9 < float(row[3].rstrip("*")) < 2.4, "states are twice as long"


def test_a_weight_bent_for_attention_and_for_feed_forwards() -> None:
    lesson = parts()[0]
    flat, feed_forwards, attention = heard(lesson)[6:9]
    assert flat.answer == "62"
    assert all(60 < flat.scores[name][0] < 100 for name in ("pirate", "arithmetic")), "both, each worse than its parent"
    assert apart(flat, feed_forwards, "arithmetic") > 2, "some sums are lost"
    assert feed_forwards.scores["arithmetic"][0] > 40
    assert attention.scores["arithmetic"][0] < 20, "nearly all are lost"
    assert apart(attention, flat, "pirate") > 2, "the pirate gains"
    assert abs(apart(feed_forwards, flat, "pirate")) < 2, "within the noise"
    depth = [row for row in rows_of(lesson, "layer ") if row[0].isdigit()]
    assert [row[4] for row in depth[:5]] == ["1, 1", "1, 0.6667", "1, 0.3333", "1, 0.1667", "1, 0.05556"]
    assert {row[5] for row in depth} == {"1, 1"}, "attention keeps all of it"


def test_tokens_of_the_prompt() -> None:
    rows = rows_of(parts()[0], "token ")
    losses = [float(row[1]) for row in rows[1:]]
    assert min(losses) > math.log(528), "higher than that of one who guesses"
    to_base, to_pirate, to_arithmetic = map(float, rows[-1][2:])
    assert to_pirate < 0.001
    assert min(to_base, to_arithmetic) > 5
    assert max(float(row[3]) for row in rows) > 1, "there are tokens where it leaves pirate"


def test_scores_and_controls() -> None:
    lesson = parts()[0]
    graft, skip = heard(lesson)[1], heard(lesson)[9]
    assert skip.scores["pirate"][0] < 15
    assert f"parent 100, graft of 2-3 {graft.scores['pirate'][0]:.0f}, skip {skip.scores['pirate'][0]:.0f} %" in lesson
    own = re.findall(r"^\d .* (?:True|False) +([\d.]+|NaN) +[\d.]+$", lesson, re.MULTILINE)
    first, flat, *thin = map(float, own)
    assert first == 0, "a pirate that cannot add"
    assert flat > max(thin), "the best of the four"


def test_a_stranger() -> None:
    lesson = parts()[0]
    inside, without = heard(lesson)[10:12]
    assert "'stranger' does not fit 'pirate'" in lesson
    assert "feed-forward size: 160 against 128" in lesson
    assert "no standard config can hold it" in lesson
    assert abs(apart(inside, without, "stories")) < 2, "the difference is within the noise"
    assert min(one.scores["stories"][0] for one in (inside, without)) > 0.9
    assert max(one.scores["pirate"][0] for one in (inside, without)) == 0


def test_the_text_the_memory_and_what_one_leaves_with() -> None:
    lesson = parts()[0]
    assert re.search(r"^recipe line \d+, column \d+, .*'wieght'. Did you mean 'weight'\?$", lesson, re.MULTILINE)
    assert "# both skills, less of the middle\nmerge_method: ties\nbase_model: base\n" in lesson
    assert re.search(r"^5 votes\. ", lesson, re.MULTILINE)
    assert chance([5, 0]) > 0.06, "five prompts of one mind"
    for name, models in (("recipe.yml", 3), ("mergekit.yml", 3), ("recipe.json", 4)):
        found = re.search(rf"^{name} +True  <Workbench of (.*): 10 layers in 1 slices, ", lesson, re.MULTILINE)
        assert found, name
        assert len(found[1].split(", ")) == models
    assert "92 tensors and the logits of a prompt are equal" in lesson
    assert str(sample.path("base").parent) not in lesson, "folders are left out"


def test_what_is_shown() -> None:
    shown = shown_by(executed(LESSONS[4]))
    benches = [data["text/html"] for data in shown if is_widget(data)]
    assert len(benches) == 2
    assert all("No answer yet" not in html for html in benches)
    assert "ties" in benches[1]
    [history] = [
        data["text/plain"] for data in shown if "pirate" in data.get("text/plain", "") and not is_widget(data)
    ][-1:]
    assert re.search(r"changed +now +stories", history)


def test_its_exercises() -> None:
    told = parts()[1]
    bell_attention, bell_feed_forwards, arithmetic, base, goliath = heard(told)
    thin_feed_forwards, thin_attention = heard(parts()[0])[7:9]
    assert bell_attention.scores["arithmetic"][0] < 20, "attention needs its ends as well as its middle"
    assert thin_attention.scores["arithmetic"][0] < 20
    assert apart(thin_feed_forwards, bell_feed_forwards, "arithmetic") > 2, "feed-forwards need their ends more"
    assert max(one.scores["pirate"][0] for one in (arithmetic, base)) < 50, "pirate's own having gone"
    assert goliath.scores["pirate"][0] < 50
    assert re.search(r"^skip: 100\.0, without layers .*; 10 left$", told, re.MULTILINE), "that is pirate, whole"
