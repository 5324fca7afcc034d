"""Blind comparison on the workbench: texts without names until the votes are in, then names and a verdict."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mergelab.models.answers import Prompt
from mergelab.models.comparison import Comparison, Said
from mergelab.views import blind
from tests.views.stand_in import Bench, run, sketch

PROMPTS = ("one", "two", "three")


def comparison(*names: str) -> Comparison:
    said = {name: [Said(f"{name} says {prompt}", (), 0.0) for prompt in PROMPTS] for name in names}
    return Comparison(said, [Prompt(prompt) for prompt in PROMPTS], blind=True, seed=3)


def test_two_are_left_and_right_and_prompts_come_one_by_one() -> None:
    told = comparison("now", "best")
    for place, prompt in enumerate(PROMPTS):
        shown = blind.payload(told)
        assert (shown["prompt"], shown["votes"], shown["of"], shown["verdict"], shown["names"]) == (
            prompt,
            place,
            3,
            "",
            None,
        )
        assert [column["label"] for column in shown["columns"]] == ["left", "right"]
        assert sorted(column["text"] for column in shown["columns"]) == [f"best says {prompt}", f"now says {prompt}"]
        best = next(column for column in shown["columns"] if column["text"].startswith("best"))
        blind.vote(told, best["label"])
    assert blind.payload(told)["prompt"] == "three", "all voted: the last stays"
    revealed = blind.payload(told.reveal())
    assert revealed["names"] == ["now", "best"]
    assert revealed["verdict"].startswith("Of 3 votes: now 0, best 3.")
    assert revealed["verdict"].endswith("with p = 0.25.")


@pytest.mark.parametrize("names", [("now", "best"), ("now", "best", "left")])
def test_columns_stay_where_they_are_when_names_are_shown(names: tuple[str, ...]) -> None:
    for prompt in range(len(PROMPTS)):
        told = comparison(*names)
        for _ in range(prompt):
            blind.vote(told, "same")
        before = blind.payload(told)["columns"]
        after = blind.payload(told.reveal())["columns"]
        assert [column["text"] for column in after] == [column["text"] for column in before]
        for was, now in zip(before, after, strict=True):
            name = now["text"].split(" says ")[0]
            assert now["label"] == f"{was['label']} was {name}"


def test_who_has_no_preference_need_not_have_one() -> None:
    one = [Said("alike", (), 0.0), Said("alike", (), 0.0), Said("a", (), 0.0)]
    told = Comparison({"now": one, "same": [*one[:2], Said("b", (), 0.0)]}, list(map(Prompt, PROMPTS)), blind=True)
    assert blind.payload(told)["same"] is True
    blind.vote(told, "same")
    blind.vote(told, "same")
    shown = blind.payload(told)
    assert (shown["same"], shown["votes"], shown["prompt"]) == (False, 2, "three")
    blind.vote(told, next(column["label"] for column in shown["columns"] if column["text"] == "b"))
    assert blind.payload(told.reveal())["verdict"] == (
        "Of 1 vote, and 2 without a preference, not counted: now 0, same 1. If all were equally good, votes no "
        "likelier than these would come with p = 1."
    )


def test_three_are_numbers() -> None:
    told = comparison("now", "best", "left")
    assert [column["label"] for column in blind.payload(told)["columns"]] == ["1", "2", "3"]
    blind.vote(told, "3")
    assert told.voted == (1,)
    assert blind.payload(comparison("a", "b").reveal())["verdict"] == "No vote was given."


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(prompts=["pirate hello my friend is in the house :", " ", "reverse ant fox :"])
    yield made
    made.widget.close()


def test_snapshots_are_compared_blind_by_messages(bench: Bench) -> None:
    """Real models: the pirate and the reverser write what they write when they stand alone."""
    widget = bench.widget

    def tell(**message: object) -> None:
        widget._handle_custom_msg(message, [])

    widget.sketch = sketch(run(1, 0, 10))
    tell(type="keep", name="reverser")
    widget.sketch = sketch(run(2, 0, 10))
    tell(type="vote", column="left")
    assert "there is no blind comparison" in widget.error
    tell(type="blind", names=["now", "reverser"])
    bench.settled()
    assert widget._blind["of"] == 2, "an empty prompt is not asked"
    texts = [column["text"] for column in widget._blind["columns"]]
    assert any("ahoy" in text for text in texts) != all("ahoy" in text for text in texts)
    pirate = widget._blind["columns"][["ahoy" in text for text in texts].index(True)]
    tell(type="vote", column=pirate["label"])
    assert (widget._blind["votes"], widget._blind["prompt"]) == (1, "reverse ant fox :")
    tell(type="vote", column="middle")
    assert "there is no column 'middle'" in widget.error
    tell(type="reveal")
    assert widget._blind["verdict"].startswith("Of 1 vote: now 1, reverser 0.")
    assert widget.error == ""
    tell(type="blind", names=[])
    assert widget._blind is None
    tell(type="blind", names=["nobody", "now"])
    assert "there is no snapshot 'nobody'" in widget.error
    tell(type="blind", names=["now"])
    assert "needs 2" in bench.settled().error
