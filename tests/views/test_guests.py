"""The sources of a workbench: opened, named, and told apart by two letters."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergelab import sample
from mergelab.errors import SourceError
from mergelab.views.guests import codes, open_guests
from tests.weights import folders


def test_sources_have_the_names_of_their_folders(tmp_path: Path) -> None:
    twin = folders.save(tmp_path / "base")
    guests = open_guests([sample.path("base"), str(twin), sample.path("sort")], None)
    assert [guest.name for guest in guests] == ["base", "base 2", "sort"]
    assert len(dict.fromkeys(guest.code for guest in guests)) == 3
    assert guests[1].checkpoint.source.path == str(twin)


def test_sources_may_be_named() -> None:
    assert [guest.name for guest in open_guests([sample.path("base")], [" host "])] == ["host"]


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", ""], ["a", "merged"], ["a", "b", "c"]])
def test_names_that_name_no_sources_are_refused(names: list[str]) -> None:
    with pytest.raises(SourceError, match="does not name 2 sources"):
        open_guests([sample.path("base"), sample.path("sort")], names)


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ([], "0 sources were given"),
        ([sample.path("base")] * 6, "6 sources were given"),
        ([sample.path("base"), sample.path("sort"), str(sample.path("base"))], "base: is a source already.*many times"),
        ([sample.path("base"), 3, None], "a int is no model(.|\n)*a NoneType is no model"),
    ],
)
def test_what_is_no_room_of_sources_is_refused(sources: list[object], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        open_guests(sources, None)


@given(st.lists(st.text(min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=5, unique=True))
def test_codes_differ(names: list[str]) -> None:
    found = codes(names)
    assert len(dict.fromkeys(found)) == len(names)
    assert all(len(code) == 2 for code in found)


def test_codes_say_what_they_stand_for() -> None:
    assert codes(["base", "arith", "st-bible", "st-python", "stories"]) == ["Ba", "Ar", "Sb", "Sp", "St"]
