"""When the page asks, and when it does not: stopped by hand, in a paused cell, and about another prompt or none."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

import mergelab as ml
from mergelab import sample
from mergelab.views.workbench import Workbench
from tests.browser.stage import Stage
from tests.views.stand_in import StandIn

REVERSE, PIRATE = (sample.path(name) for name in ("reverse", "pirate"))
GRAFT, WIDER, OTHER = (ml.graft(REVERSE, PIRATE, layers) for layers in ((2, 4), (3, 6), (1, 5)))
PROMPTS = ["27+35=", "copy dog cat :", "reverse cat dog sun :"]


@pytest.fixture
def bench(stage: Stage, previews: list[StandIn]) -> Workbench:
    """A workbench on the page whose models answer when the test says so."""

    def make(*given: object) -> StandIn:
        previews.append(StandIn(*given))  # type: ignore[arg-type]
        return previews[-1]

    return stage.make(recipe=GRAFT, prompts=PROMPTS, preview=make)


@pytest.fixture
def previews() -> list[StandIn]:
    """Those that the workbench has made."""
    return []


@pytest.fixture
def preview(bench: Workbench, previews: list[StandIn]) -> StandIn:
    """The one that the workbench asks."""
    (made,) = previews
    return made


def state(stage: Stage, name: str) -> None:
    """Until the page says this of its figures."""
    expect(stage.root).to_have_attribute("data-state", name)


def running(stage: Stage, yes: bool) -> None:
    """Until there is something to stop, or is not."""
    expect(stage.button("Stop")).to_have_attribute("aria-disabled", "false" if yes else "true")


def tokens(stage: Stage) -> Locator:
    return stage.root.get_by_role("table", name="Probability of the next token").get_by_role("rowheader")


def field(stage: Stage) -> Locator:
    return stage.root.get_by_role("textbox", name="Prompt", exact=True)


def test_stopped_while_loading_the_next_edit_asks_again(stage: Stage, bench: Workbench, preview: StandIn) -> None:
    state(stage, "loading")
    running(stage, True)
    late = preview.events(token=" late")
    stage.button("Stop").click()
    state(stage, "stopped")
    running(stage, False)
    expect(stage.root.get_by_text("at your word")).to_be_visible()
    assert (preview.stops, bench.status) == (1, "stopped")
    preview.tell(*late)
    assert (bench.status, bench.answer) == ("stopped", None), "what was on its way is not heard any more"

    bench.recipe = WIDER
    state(stage, "loading")
    running(stage, True)
    assert preview.asked == [(GRAFT, PROMPTS[0]), (WIDER, PROMPTS[0])]
    preview.answer()
    stage.exact()
    running(stage, False)
    expect(tokens(stage)).to_contain_text(["cat"])


def test_stopped_while_a_later_answer_is_on_its_way(stage: Stage, bench: Workbench, preview: StandIn) -> None:
    preview.answer()
    stage.exact()
    running(stage, False)
    shown = stage.table()
    bench.recipe = WIDER
    state(stage, "draft")
    running(stage, True)
    late = preview.events(token=" late")
    stage.stack.focus()
    stage.press(".")
    state(stage, "stopped")
    running(stage, False)
    assert (preview.stops, bench.status) == (1, "stopped")
    preview.tell(*late)
    assert bench.answer is not None
    assert bench.answer["recipe"] == GRAFT.fingerprint
    assert stage.table() == shown, "the figures before stay"
    expect(tokens(stage)).to_contain_text(["cat"])

    # In so many words it is asked once more: the same question.
    stage.button("Ask now").click()
    state(stage, "draft")
    assert preview.asked[1:] == [(WIDER, PROMPTS[0])] * 2
    preview.answer(token=" dog")
    stage.exact()
    expect(tokens(stage)).to_contain_text(["dog"])


def test_stopped_while_texts_are_written_the_figures_are_exact(
    stage: Stage, bench: Workbench, preview: StandIn
) -> None:
    *first, last, done = preview.events(text="the cat")
    preview.tell(*first)
    stage.exact()
    running(stage, True)
    stage.button("Stop").click()
    running(stage, False)
    preview.tell(last, done)
    stage.exact()
    assert (preview.stops, bench.status) == (1, "done")
    answers = stage.root.get_by_role("region", name="Answers")
    expect(answers).to_contain_text("the cat of reverse")
    expect(answers).not_to_contain_text("the cat of pirate")


def test_a_paused_cell_is_drawn_at_once_and_asked_once(stage: Stage, bench: Workbench, preview: StandIn) -> None:
    preview.answer()
    stage.exact()
    asked = len(preview.asked)
    with bench.paused():
        for layers in range(4, 7):
            bench.recipe = ml.graft(REVERSE, PIRATE, (2, layers))
        stage.title("reverse with pirate 2–5")
        with bench.paused():
            bench.recipe = OTHER
        stage.title("reverse with pirate 1–4")
        bench.prompt = PROMPTS[1]
        expect(field(stage)).to_have_value(PROMPTS[1])
        assert len(preview.asked) == asked
    assert preview.asked[asked:] == [(OTHER, PROMPTS[1])]
    state(stage, "draft")
    preview.answer(token=" dog")
    stage.exact()
    expect(tokens(stage)).to_contain_text(["dog"])
    expect(stage.root.get_by_text(f"of {OTHER.fingerprint}", exact=True)).to_be_visible()


def test_another_prompt_the_examples_and_none(stage: Stage, bench: Workbench, preview: StandIn) -> None:
    def asked_about(prompt: str) -> None:
        """It is asked, once; the answer is shown; it is the one that is pressed, where it is in the list."""
        state(stage, "draft")
        stage.heard()
        assert bench.prompt == prompt
        assert preview.asked == [*before, (GRAFT, prompt)]
        preview.answer(token=f" {len(preview.asked)}")
        stage.exact()
        assert bench.answer is not None
        assert bench.answer["prompt"] == prompt
        expect(tokens(stage)).to_contain_text([f"{len(preview.asked)}"])
        expect(field(stage)).to_have_value(prompt)
        for each in PROMPTS:
            pick = examples.get_by_role("button", name=each, exact=True)
            expect(pick).to_have_attribute("aria-pressed", str(each == prompt).lower())

    examples = stage.root.get_by_role("toolbar", name="Prompts")
    preview.answer()
    stage.exact()
    before = list(preview.asked)
    field(stage).fill("sort pear cat moon :")
    field(stage).press("Enter")
    said = stage.page.evaluate("window.models.bench.get('prompt')")
    assert said == "sort pear cat moon :", "at once: Enter does not wait for the typing to rest"
    asked_about("sort pear cat moon :")

    before = list(preview.asked)
    examples.get_by_role("button", name=PROMPTS[2], exact=True).click()
    asked_about(PROMPTS[2])

    # Without a prompt nothing is asked, and what is there stays.
    before, shown, stops = list(preview.asked), stage.table(), preview.stops
    field(stage).fill(" ")
    state(stage, "waiting")
    running(stage, False)
    expect(stage.root.get_by_text("Type a prompt to ask all of them.")).to_be_visible()
    bench.recipe = WIDER
    stage.title("reverse with pirate 3–5")
    state(stage, "waiting")
    bench.recipe = GRAFT
    stage.title("reverse with pirate 2–3")
    assert (preview.asked, stage.table(), bench.status) == (before, shown, "waiting")
    assert preview.stops > stops

    # The next one is asked by itself, once the typing rests.
    field(stage).fill(PROMPTS[0])
    asked_about(PROMPTS[0])
    expect(stage.root.get_by_text("Type a prompt to ask all of them.")).to_be_hidden()
