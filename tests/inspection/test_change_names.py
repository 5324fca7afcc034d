"""Task vectors are asked for by name: what is missing, wrong or named twice is said once, with what to write."""

from __future__ import annotations

import pytest

from mergelab import sample
from mergelab.errors import InspectionError
from mergelab.inspection.changes import TaskVectors, task_vectors


def changes(*names: str) -> TaskVectors:
    """Of these sources, before anything was read."""
    return task_vectors(*map(sample.path, ("base", *names)), stop=lambda: True)


def problems(found: TaskVectors, asked: str, *named: str) -> list[str]:
    with pytest.raises(InspectionError) as caught:
        getattr(found, asked)(*named)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("asked", ["size", "zeros", "largest"])
def test_of_two_sources_one_has_to_be_named(asked: str) -> None:
    found = changes("pirate", "sort")
    assert problems(found, asked) == [
        f"{asked}: a source is needed, and there are 2: pirate, sort. Name one, as in {asked}('pirate')."
    ]
    assert problems(found, asked, "pirat") == ["sources: no source is called 'pirat'. Did you mean 'pirate'?"]


@pytest.mark.parametrize("asked", ["cosine", "conflict"])
def test_of_three_sources_a_pair_has_to_be_named_and_that_is_said_once(asked: str) -> None:
    found = changes("pirate", "sort", "reverse")
    needed = (
        f"{asked}: a pair is needed, and there are 3: pirate, sort, reverse. Name two, as in {asked}('pirate', 'sort')."
    )
    assert problems(found, asked) == problems(found, asked, "pirate") == [needed]
    assert [text.split(":")[0] for text in problems(found, asked, "x")] == ["sources", asked]
    assert len(problems(found, asked, "x", "x")) == 1
    assert len(problems(found, asked, "x", "y")) == 2
    assert "'sort' is named twice" in problems(found, asked, "sort", "sort")[0]


@pytest.mark.parametrize("asked", ["cosine", "conflict"])
def test_one_change_is_no_pair(asked: str) -> None:
    told = f"{asked}: it needs two changes, and there is one: pirate. Give task_vectors another source."
    assert problems(changes("pirate"), asked) == problems(changes("pirate"), asked, "pirate", "sort") == [told]
