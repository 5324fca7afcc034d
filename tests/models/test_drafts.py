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


@pytest.mark.parametrize("settled", [True, False])
def test_a_draft_that_nothing_follows_is_answered_whole(
    settled: bool, llamas: Trio, preview: Preview, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its rest; at once where it is a draft no more."""
    monkeypatch.setattr(module, "_REST", 60 if settled else 0.05)
    table = Gate()
    table.open()
    listener.at_first(Next, table)
    preview.ask(blend(llamas, 0.5), "hello", draft=True)
    table.wait()
    if settled:
        preview.settle()
    assert preview.wait(10)
    assert [event.speaker for event in listener.of(Text) if event.done] == ["merged", "base", "a", "b"]
