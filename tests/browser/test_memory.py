"""What the workbench remembers and gives away: undo, snapshots, blind comparison, the text, copies, files, reloads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

import mergelab as ml
from mergelab import sample
from mergelab.views.workbench import Workbench
from tests.browser.stage import Stage, answered, makes

BASE, REVERSE, PIRATE = (sample.path(name) for name in ("base", "reverse", "pirate"))
GRAFT = ml.graft(REVERSE, PIRATE, (2, 4))


def fingerprint(stage: Stage) -> Locator:
    return stage.root.locator(".ml-top .ml-fingerprint")


def swapped(stage: Stage) -> None:
    """The slice in the middle given to the base."""
    stage.page.mouse.click(*stage.layer(2))
    stage.root.get_by_label("Source of part 1").select_option(label="base")
    stage.title("reverse with base 2–3")


def test_undo_redo_snapshots_and_history(stage: Stage) -> None:
    bench = stage.make(recipe=GRAFT, scorers={"depth": lambda model: len(model.plan.layers)})
    stage.exact()
    first, mark = bench.recipe, fingerprint(stage)
    table = stage.table()
    swapped(stage)
    stage.exact()
    second, other = bench.recipe, stage.table()
    assert other != table
    stage.button("Undo").click()
    expect(mark).to_have_text(first.fingerprint)
    stage.exact()
    assert (bench.recipe, stage.table()) == (first, table)
    stage.stack.focus()
    stage.press("Control+Shift+z")
    expect(mark).to_have_text(second.fingerprint)
    expect(stage.button("Redo")).to_have_attribute("aria-disabled", "true")

    # A is what is there now, B the newest snapshot: a tap stays, a longer press peeks.
    stage.button("Undo").click()
    expect(mark).to_have_text(first.fingerprint)
    stage.button("Keep a snapshot of this").click()
    expect(stage.root.locator(".ml-under")).to_contain_text("kept as snapshot 1")
    stage.button("Redo").click()
    expect(stage.root.locator(".ml-under")).to_contain_text("changed since snapshot 1")
    stage.stack.focus()
    stage.page.keyboard.down("b")
    expect(mark).to_have_text(first.fingerprint)
    stage.page.evaluate("() => new Promise((done) => setTimeout(done, 301))")  # longer than a tap: top_view.js
    stage.page.keyboard.up("b")
    expect(mark).to_have_text(second.fingerprint)
    stage.button("B saved").click()
    expect(stage.root.locator(".ml-under")).to_contain_text("showing snapshot 1")
    stage.exact()
    assert stage.table() == table
    stage.stack.focus()
    stage.press("a")
    expect(mark).to_have_text(second.fingerprint)
    stage.exact()
    assert (bench.recipe, stage.table()) == (second, other)

    # The history has every turn with its scores; a snapshot can be restored, and dropped.
    stage.root.get_by_text("Snapshots and history").click()
    rows = stage.root.locator(".ml-history tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first.locator("td").nth(-2)).to_have_text("10")
    assert list(bench.history["recipe"]) == [first.fingerprint, second.fingerprint]
    stage.button("Restore snapshot 1").click()
    expect(mark).to_have_text(first.fingerprint)
    expect(rows).to_have_count(3)
    stage.button("Drop snapshot 1").click()
    expect(stage.button("Restore snapshot 1")).to_have_count(0)


def test_a_blind_comparison(stage: Stage) -> None:
    prompts = ["reverse cat dog sun :", "27+35=", "sort pear cat moon :"]
    bench = stage.make(recipe=GRAFT, prompts=prompts)
    stage.exact()
    stage.button("Keep a snapshot of this").click()
    swapped(stage)
    stage.root.get_by_text("Snapshots and history").click()
    stage.button("Blind snapshot 1").click()
    blind = stage.root.get_by_role("region", name="Blind comparison")
    expect(blind).to_contain_text("0 of 3 votes")
    expect(stage.root.locator(".ml-tokens")).to_be_hidden()
    assert "snapshot 1" not in blind.inner_text()
    for votes, prompt in enumerate(prompts, start=1):
        expect(blind).to_contain_text(prompt)
        blind.get_by_role("button", name="left is better").click()
        expect(blind).to_contain_text(f"{votes} of 3 votes")
    blind.get_by_role("button", name="Reveal").click()
    expect(blind).to_contain_text("Of 3 votes")
    expect(blind).to_contain_text("p =")
    assert set(bench._blind["names"]) == {"now", "snapshot 1"}
    expect(blind).to_contain_text("snapshot 1")
    blind.get_by_role("button", name="End").click()
    expect(blind).to_be_hidden()
    expect(stage.root.locator(".ml-tokens")).to_be_visible()


def test_the_text_and_the_picture_are_one_recipe(stage: Stage) -> None:
    bench = stage.make(recipe=GRAFT)
    stage.exact()
    field, checks = stage.root.locator(".ml-type"), stage.root.locator(".ml-before")
    first = bench.text
    field.fill(first.replace("layer_range: [2, 4]", "layer_range: [1, 3]"))
    stage.title("reverse with pirate 1–2")
    answered(stage, bench, ml.stack([(REVERSE, 0, 2), (PIRATE, 1, 3), (REVERSE, 4, 10)], base=REVERSE))

    # What cannot be read is said on its line; the picture keeps what could be read last, and one press mends it.
    seen, text = bench.sketch, bench.text
    wrong = text.replace("merge_method", "merge_metod")
    field.fill(wrong)
    line = stage.root.locator(".ml-line-wrong")
    expect(line).to_have_count(1)
    expect(line).to_contain_text("merge_metod")
    expect(line.locator(".ml-wrong")).to_have_text("merge_metod")
    expect(checks).to_contain_text("Line 1")
    assert (bench.sketch, bench.text) == (seen, wrong)
    stage.title("reverse with pirate 1–2")
    checks.get_by_role("button", name="Correct it").click()
    expect(line).to_have_count(0)
    expect(field).to_have_value(text)
    stage.exact()
    assert (bench.sketch, bench.text) == (seen, text)

    # A hand on the picture writes the text.
    stage.page.mouse.click(*stage.layer(2))
    stage.press("d")
    expect(field).to_have_value(bench.recipe.to_yaml())
    expect(stage.root.locator(".ml-line.ml-chosen").first).to_be_attached()


@pytest.mark.parametrize("kind", ["mergekit YAML", "Python", "JSON"])
def test_copies(stage: Stage, kind: str) -> None:
    stage.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=stage.host.address)
    bench = stage.make(recipe=GRAFT)
    stage.exact()
    button = stage.root.get_by_role("button", name=kind)
    expect(button).to_have_attribute("aria-disabled", "false")
    button.click()
    expect(stage.root.locator(".ml-hidden[role=status]").last).to_have_text(f"Copied as {kind}")
    text = stage.page.evaluate("navigator.clipboard.readText()")
    if kind == "mergekit YAML":
        assert makes(ml.Recipe.load(text)) == makes(GRAFT)
    elif kind == "Python":
        said: dict[str, object] = {"__name__": "copied"}
        exec(text.replace("print(", "("), said)
        assert isinstance(said["recipe"], ml.Recipe)
        assert makes(said["recipe"]) == makes(GRAFT)
    else:
        assert json.loads(text)["sketch"] == bench.sketch
        other = Workbench(text, scorers=())
        assert other.sketch == bench.sketch
        other.close()


def test_a_saved_recipe_opens_as_the_same_picture(stage: Stage, tmp_path: Path) -> None:
    bench = stage.make(recipe=GRAFT)
    swapped(stage)
    stage.press("s")
    stage.exact()
    file = bench.save(tmp_path / "mine.yml")
    picture, table = stage.stack.locator(".ml-picture").text_content(), stage.table()
    again = stage.put(Workbench(BASE, REVERSE, PIRATE, recipe=file, scorers=()))
    stage.exact()
    assert again.sketch == bench.sketch
    assert makes(again.recipe) == makes(bench.recipe)
    assert stage.stack.locator(".ml-picture").text_content() == picture
    assert stage.table() == table


def test_a_reload_restores_everything(stage: Stage) -> None:
    bench = stage.make(recipe=GRAFT)
    stage.exact()
    stage.button("Keep a snapshot of this").click()
    swapped(stage)
    stage.select(1, 4)
    stage.root.locator(".ml-field").fill("27+35=")
    stage.press("Enter")
    stage.exact()
    assert (bench.prompt, bench.selection) == ("27+35=", [1, 2, 3, 4])
    expect(stage.root.locator(".ml-caret")).to_have_count(0)
    expect(stage.root.locator(".ml-checks")).to_contain_text("This will load and run.")
    expect(stage.stack).not_to_contain_text("not yet")  # the seams
    parts = (".ml-name", ".ml-counts", ".ml-stack", ".ml-picks", ".ml-texts", ".ml-tokens", ".ml-checks")
    before = [stage.root.locator(part).text_content() for part in parts]
    table, text = stage.table(), stage.root.locator(".ml-type").input_value()
    stage.load()
    stage.exact()
    assert stage.table() == table
    assert stage.root.locator(".ml-type").input_value() == text
    assert [stage.root.locator(part).text_content() for part in parts] == before
    assert stage.stack.get_by_role("option", selected=True).count() == len(bench.selection)
    stage.button("Undo").click()
    expect(fingerprint(stage)).to_have_text(GRAFT.fingerprint)


def test_two_views_agree_and_a_closed_one_is_silent(stage: Stage) -> None:
    bench = stage.make(recipe=GRAFT)
    stage.show()
    stage.exact()
    views = stage.page.locator(".ml-root")
    expect(views).to_have_count(2)
    swapped(stage)
    stage.exact()
    expect(views.nth(1)).to_have_attribute("data-state", "exact")
    for part in (".ml-title", ".ml-fingerprint", ".ml-paint", ".ml-tokens"):
        one, other = (views.nth(i).locator(part).first for i in (0, 1))
        expect(other).to_have_text(one.text_content() or "")
    ids = stage.page.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))
    stage.page.evaluate("window.views[0]()")
    expect(views).to_have_count(1)
    bench.recipe = GRAFT
    stage.title("reverse with pirate 2–3")
    stage.exact()
    bench.close()
    stage.page.mouse.click(*stage.layer(2))
    stage.press("s")
    stage.press("d")
    assert bench.recipe == GRAFT
