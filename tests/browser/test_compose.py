"""Frankenmodels composed by hand, of the sample family's real models: with the pointer, and by the keyboard alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import expect

import mergelab as ml
from mergelab import sample
from mergelab.views.layouts import goliath
from mergelab.views.workbench import Workbench
from tests.browser.stage import Stage, answered, makes, middle

BASE, REVERSE, PIRATE, STRANGER = (sample.path(name) for name in ("base", "reverse", "pirate", "stranger"))
HANDS = pytest.mark.parametrize("hand", ["pointer", "keyboard"])
WHOLE = ml.stack([(BASE, 0, 10)], base=BASE)


def focus(stage: Stage, plot: str) -> None:
    """The keyboard to the stack, from its first layer on, or to the sources."""
    stage.tab_to(stage.root.locator(plot))
    stage.press("Home" if plot == ".ml-source-plot" else "ArrowLeft*30")


def to_row(stage: Stage, name: str) -> None:
    """The keyboard to a row of curves: Tab to all of them, then from row to row."""
    row = stage.row(name)
    stage.tab_to(stage.root.locator('.ml-curve-row[tabindex="0"]'))
    stage.press("Alt+ArrowUp*9")
    stage.arrow_to(row, "Alt+ArrowDown")


# ------------------------------------------------------------------------------------------------- frankenmodels


@HANDS
def test_a_graft(stage: Stage, hand: str) -> None:
    """Two layers of the host go, the donor's come in their place."""
    bench = stage.make(recipe=WHOLE)
    stage.exact()
    before = stage.table()
    if hand == "pointer":
        stage.select(2, 3)
        stage.page.keyboard.press("Delete")
        stage.exact()
        stage.bring(2, 2, 3, stage.layer(1.5))
    else:
        focus(stage, ".ml-stack")
        stage.press("ArrowRight*2", "Shift+ArrowRight", "Delete")
        focus(stage, ".ml-source-plot")
        stage.press("ArrowRight*2", "ArrowDown*2", "Shift+ArrowDown", "Space")
        stage.press("ArrowLeft*9", "ArrowRight*2", "Enter")
    stage.title("base with pirate 2–3")
    answered(stage, bench, ml.graft(BASE, PIRATE, (2, 4)))
    assert stage.table() != before
    assert bench.selection == [2, 3], "what was dropped is in hand"


@HANDS
def test_depth_up_scaling(stage: Stage, hand: str) -> None:
    """SOLAR: the whole stack once more, then the seam is cut from both sides."""
    bench = stage.make(recipe=WHOLE)
    stage.exact()
    if hand == "pointer":
        stage.button("Repeat").click()
        stage.exact()
        seam = stage.root.locator(".ml-border").nth(1)
        for key, way in (("Shift", -2), ("Alt", 2)):
            x, y = middle(seam)
            stage.drag((x, y), (x + way * stage.column(), y), key=key)
            stage.exact()
    else:
        focus(stage, ".ml-stack")
        stage.press("d", "ArrowLeft", "e", "Shift+ArrowLeft*2", "Alt+ArrowRight*2", "Enter")
        expect(stage.stack).to_be_focused()
    expect(stage.root.locator(".ml-counts")).to_contain_text("+6")
    expect(stage.stack.get_by_role("option")).to_have_count(16)
    answered(stage, bench, ml.upscale(BASE, 2))


@HANDS
@pytest.mark.parametrize(
    ("word", "recipe"),
    [
        ("Depth up-scaling", ml.upscale(BASE, 2)),
        ("Goliath's blocks", ml.interleave(BASE, REVERSE, ranges=goliath(10))),
        ("Skip", ml.stack([(BASE, 0, 2), (BASE, 4, 10)], base=BASE)),
    ],
)
def test_presets(stage: Stage, hand: str, word: str, recipe: ml.Recipe) -> None:
    bench = stage.make(recipe=WHOLE)
    stage.exact()
    first = bench.recipe
    layouts = stage.button("Layouts")
    if hand == "pointer":
        layouts.click()
        stage.root.get_by_label("Layout").select_option(label=word)
        stage.button("Lay it").click()
    else:
        stage.tab_to(layouts)
        stage.press("Enter")
        stage.page.keyboard.type(word[:4])
        stage.tab_to(stage.button("Lay it"))
        stage.press("Enter")
    expect(layouts).to_be_focused()
    expect(stage.root.locator(".ml-top .ml-fingerprint")).not_to_have_text(first.fingerprint)
    answered(stage, bench, recipe)
    stage.press("Control+z")
    expect(stage.root.locator(".ml-top .ml-fingerprint")).to_have_text(first.fingerprint)
    assert bench.recipe == first, "it is one edit"


@HANDS
def test_goliath(stage: Stage, hand: str) -> None:
    """Blocks of two sources in turn, each brought from its column to the top of the stack."""
    bench = stage.make("base", "reverse", recipe=ml.stack([(BASE, 0, 2)], base=BASE))
    stage.exact()
    blocks = goliath(10)
    for turn, (first, end) in enumerate(blocks[1:], start=1):
        if hand == "pointer":
            depth = sum(stop - start for start, stop in blocks[:turn])
            stage.bring(turn % 2, first, end - 1, stage.layer(depth - 0.5))
        else:
            focus(stage, ".ml-source-plot")
            stage.press("ArrowRight" if turn % 2 else "ArrowLeft")
            stage.press(
                "Home", f"ArrowDown*{first}", f"Shift+ArrowDown*{end - 1 - first}", "Space", "ArrowRight*3", "Enter"
            )
        expect(stage.root.locator(".ml-stack [role=group]")).to_have_count(turn + 1)
    answered(stage, bench, ml.interleave(BASE, REVERSE, ranges=blocks))


@HANDS
def test_a_weight_like_a_u(stage: Stage, hand: str) -> None:
    """TIES of a source on the base, its weight high at both ends: by a shape, then by hand.

    With ``normalize`` the weight of one source alone changes nothing, as the page says.
    """
    bench = stage.make(recipe=WHOLE, prompt=sample.SKILLS["pirate"].prompts(1)[0])
    stage.exact()
    method, curve = stage.root.get_by_label("Method of the slice"), "weight of pirate"
    normalize = stage.root.get_by_role("checkbox", name="normalize")
    if hand == "pointer":
        stage.bring(2, 0, 9, stage.layer(0, 0.8))
        method.select_option("ties")
        expect(stage.root.locator(".ml-slice-note")).to_contain_text("the weight changes nothing")
        normalize.uncheck()
        stage.button("U").click()
    else:
        focus(stage, ".ml-source-plot")
        stage.press("ArrowRight*2", "Shift+End", "Space", "ArrowDown", "Enter")
        stage.tab_to(stage.stack)
        stage.press("m")
        expect(method).to_be_focused()
        stage.page.keyboard.type("TIES")
        stage.arrow_to(normalize)
        stage.press("Space")
        to_row(stage, curve)
        stage.press("3")
    stage.title("base and pirate blended (TIES)")
    answered(stage, bench, u_shaped([1.17, 0.29, 0, 0.29, 1.17]))
    assert bench.answer is not None
    before = bench.answer["candidates"]
    if hand == "pointer":
        # One stroke, away from the points, one of which it would take; the dial goes from -1 to 2.
        stage.drag(stage.curve(curve, 0, 0.5), stage.curve(curve, 4, 0.4), stage.curve(curve, 9, 0.5), steps=12)
    else:
        to_row(stage, curve)
        stage.press("ArrowLeft*9", "Enter")
        for _ in range(10):
            stage.page.keyboard.type("1")
            stage.press("Enter")
            stage.press("Shift+Tab")
            expect(stage.row(curve)).to_be_focused()
            stage.press("ArrowRight")
            stage.exact()  # the field is of the layer that is drawn
            stage.press("Enter")
        stage.press("Escape", "Shift+Tab")
        stage.press("ArrowLeft*4", "Shift+ArrowDown*2")
    stage.exact()
    weight = bench.sketch["slices"][0]["parts"][1]["numbers"]["weight"][0][1]
    answered(stage, bench, u_shaped(weight))
    ends = 0.5 if hand == "pointer" else 1
    assert (weight[0], weight[9]) == pytest.approx((ends, ends), abs=0.1)
    assert min(weight) == pytest.approx(0.2 if hand == "pointer" else 0.8, abs=0.1)
    assert bench.answer is not None
    assert bench.answer["candidates"] != before
    expect(stage.root.locator(".ml-type")).to_have_value(bench.recipe.to_yaml())


def u_shaped(weight: list[float]) -> ml.Recipe:
    return ml.Recipe.load(
        f"merge_method: ties\nbase_model: {BASE}\nparameters: {{normalize: false}}\n"
        f"models:\n  - model: {PIRATE}\n    parameters: {{weight: {weight}}}\n"
    )


# --------------------------------------------------------------------------------------------------- the edits


@HANDS
def test_every_edit_of_the_stack(stage: Stage, hand: str) -> None:
    bench = stage.make(recipe=ml.graft(REVERSE, PIRATE, (2, 4)))
    stage.exact()
    pointer, slices = hand == "pointer", stage.stack.get_by_role("group")

    def now(*runs: tuple[object, int, int]) -> None:
        stage.exact()
        assert makes(bench.recipe)[1] == makes(ml.stack(list(runs), base=REVERSE))[1]  # type: ignore[arg-type]

    # Another donor.
    if pointer:
        stage.page.mouse.click(*stage.layer(2))
        stage.root.get_by_label("Source of part 1").select_option(label="base")
    else:
        focus(stage, ".ml-stack")
        stage.press("ArrowRight*2", "ArrowDown")
    now((REVERSE, 0, 2), (BASE, 2, 4), (REVERSE, 4, 10))

    # Split.
    if pointer:
        stage.page.mouse.click(*stage.layer(6))
        stage.button("Split").click()
    else:
        stage.press("ArrowRight*4", "s")
    expect(slices).to_have_count(4)
    now((REVERSE, 0, 2), (BASE, 2, 4), (REVERSE, 4, 10))

    # The stack made shorter at its end, and two slices that trade a layer.
    if pointer:
        for handle, by in ((4, -2), (1, 1)):
            x, y = middle(stage.root.locator(".ml-border").nth(handle))
            stage.drag((x, y), (x + by * stage.column(), y))
    else:
        stage.press(
            "ArrowRight*3", "e", "ArrowLeft*2", "Enter", "ArrowLeft*30", "ArrowRight", "e", "ArrowRight", "Enter"
        )
    now((REVERSE, 0, 3), (BASE, 3, 4), (REVERSE, 4, 8))

    # Several at once: selected, repeated, moved, and let go.
    if pointer:
        stage.select(1, 2)
        stage.button("Repeat").click()
    else:
        stage.press("ArrowLeft*30", "ArrowRight", "Shift+ArrowRight", "d")
    now((REVERSE, 0, 3), (REVERSE, 1, 3), (BASE, 3, 4), (REVERSE, 4, 8))
    assert bench.selection == [3, 4]
    if pointer:
        stage.drag(stage.layer(3), stage.layer(9.4))
    else:
        stage.press("Space", "ArrowRight*9", "Enter")
    now((REVERSE, 0, 3), (BASE, 3, 4), (REVERSE, 4, 8), (REVERSE, 1, 3))
    stage.press("Alt+ArrowLeft")
    now((REVERSE, 0, 3), (BASE, 3, 4), (REVERSE, 4, 7), (REVERSE, 1, 3), (REVERSE, 7, 8))
    if pointer:
        stage.page.mouse.click(*stage.layer(0))
        stage.page.keyboard.down("Shift")
        stage.page.mouse.click(*stage.layer(2))
        stage.page.keyboard.up("Shift")
        stage.button("Remove").click()
    else:
        stage.press("ArrowLeft*30", "Shift+ArrowRight*2", "Delete")
    answered(stage, bench, ml.stack([(BASE, 3, 4), (REVERSE, 4, 7), (REVERSE, 1, 3), (REVERSE, 7, 8)], base=REVERSE))


@HANDS
def test_what_is_picked_up_can_be_put_back(stage: Stage, hand: str) -> None:
    bench = stage.make()
    stage.exact()
    before = bench.sketch
    options = stage.stack.get_by_role("option")
    if hand == "pointer":
        stage.page.mouse.move(*stage.source(0, 0))
        stage.page.mouse.down()
        stage.page.mouse.move(*stage.source(0, 4), steps=3)
        stage.page.mouse.move(*stage.layer(0.5), steps=3)
    else:
        focus(stage, ".ml-source-plot")
        stage.press("Shift+ArrowDown*4", "Space")
    expect(options).to_have_count(15)
    stage.press("Escape")
    expect(options).to_have_count(10)
    stage.page.mouse.up()
    stage.exact()
    assert bench.sketch == before
    assert bench._past["undo"] == 0


# ------------------------------------------------------------------------------------------------- refused


@HANDS
def test_a_source_that_does_not_fit_is_refused_where_it_is_dropped(stage: Stage, hand: str) -> None:
    bench = stage.make("base", "pirate", "stranger", recipe=WHOLE)
    stage.exact()
    first, table = bench.sketch, stage.table()
    bar = stage.root.get_by_role("group", name="Not added")

    def drop(blend: bool) -> None:
        if hand == "pointer":
            stage.bring(2, 1, 2, stage.layer(3, 0.8) if blend else stage.layer(3.5))
        else:
            focus(stage, ".ml-source-plot")
            stage.press("ArrowRight*2", "ArrowDown", "Shift+ArrowDown", "Space", *["ArrowDown"] * blend, "Enter")

    def answer(word: str) -> None:
        button = bar.get_by_role("button", name=word)
        if hand == "pointer":
            button.click()
        else:
            stage.tab_to(button)
            stage.press("Enter")

    for blend, why in ((True, "Feed-forward size 160 against 128"), (False, "Previews here, cannot be saved")):
        drop(blend)
        expect(bar).to_contain_text(why)
        stage.exact()
        assert (bench.sketch, stage.table()) == (first, table), "nothing has changed"
        stage.press("Escape")
        expect(bar).to_be_hidden()
    drop(blend=False)
    answer("Put back")
    expect(bar).to_be_hidden()
    assert (bench.sketch, bench._past["undo"]) == (first, 0)
    drop(blend=False)
    answer("Preview only")
    expect(bar).to_be_hidden()
    stage.title("base with stranger 1–2, 12 layers")
    runs = [(BASE, 0, 4), (STRANGER, 1, 3), (BASE, 4, 10)] if hand == "pointer" else None
    stage.exact()
    assert runs is None or makes(bench.recipe) == makes(ml.stack(runs, base=BASE))
    assert stage.table() != table
    expect(stage.root.locator(".ml-checks")).to_contain_text("stranger")


def test_a_wider_source_is_widened(stage: Stage, tmp_path: Path) -> None:
    """Where sizes alone differ, the bar offers to bring all layers to one size; then it can be saved."""
    wide = tmp_path / "wide"
    shutil.copytree(STRANGER, wide)
    config = json.loads((wide / "config.json").read_text())
    config |= {"rms_norm_eps": 1e-5, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
    (wide / "config.json").write_text(json.dumps(config))
    bench = stage.put(Workbench(BASE, wide, recipe=WHOLE, scorers=()))
    stage.exact()
    stage.bring(1, 1, 2, stage.layer(3.5))
    bar = stage.root.get_by_role("group", name="Not added")
    bar.get_by_role("button", name="Widen").click()
    expect(bar).to_be_hidden()
    stage.title("base with wide 1–2, 12 layers")
    answered(stage, bench, replace(ml.stack([(BASE, 0, 4), (wide, 1, 3), (BASE, 4, 10)], base=BASE), widen=True))
    expect(stage.root.locator(".ml-before")).to_contain_text("This will load and run.")
