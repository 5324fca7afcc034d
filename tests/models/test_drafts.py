"""Drafts: while a hand is still moving, figures come at once and what takes longer waits a moment."""

from __future__ import annotations

import pytest

from mergelab.models import preview as module
from mergelab.models.preview import Merged, Next, Preview, Text
from tests.models.asking import Gate, Listener, Trio, blend


def test_a_draft_leaves_the_processor_to_others_between_its_table_and_its_texts(
    llamas: Trio, preview: Preview, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REST", 60)
    table = Gate()
    table.open()
    listener.at_first(Next, table)
    draft = preview.ask(blend(llamas, 0.5), "hello", draft=True)
    table.wait()
    assert not preview.wait(0.5)
    assert [type(event) for event in listener.events] == [Merged, Next]
    last = preview.ask(blend(llamas, 0.25), "hello")
    assert preview.wait(10), "what comes next does not wait"
    assert {event.generation for event in listener.events} == {draft, last}
    assert [event.speaker for event in listener.of(Text) if event.done] == ["merged", "base", "a", "b"]


def test_a_draft_that_is_one_no_more_goes_on_at_once(
    llamas: Trio, preview: Preview, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REST", 60)
    preview.ask(blend(llamas, 0.5), "hello", draft=True)
    preview.settle()
    assert preview.wait(10)
    assert [event.speaker for event in listener.of(Text) if event.done] == ["merged", "base", "a", "b"]


def test_a_draft_that_nothing_follows_is_answered_whole(
    llamas: Trio, preview: Preview, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REST", 0.05)
    preview.ask(blend(llamas, 0.5), "hello", draft=True)
    assert preview.wait(60)
    assert [event.speaker for event in listener.of(Text) if event.done] == ["merged", "base", "a", "b"]
