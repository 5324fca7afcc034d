"""Text from outside is never markup: names, tokens, prompts, recipes, comments, snapshots, scorers, files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

import mergelab as ml
from mergelab import sample
from mergelab.views.workbench import Workbench
from tests.browser.stage import Stage
from tests.views.stand_in import StandIn

IMAGE = "<img src=x onerror=\"document.title='broken in'\">"
SCRIPT = "<script>document.title='broken in'</script>"
BREAKS = f"</textarea></style></script>{IMAGE}{SCRIPT}"
MARKUP = "img, iframe, object, embed, .ml-root script, .ml-root style, .ml-root a[href]"


def unharmed(stage: Stage) -> None:
    """Nothing of it became an element or ran."""
    stage.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    assert stage.page.locator(MARKUP).count() == 0
    assert stage.page.title() == "harness"
    handlers = "[...document.querySelectorAll('*')].flatMap((one) => one.getAttributeNames())"
    assert not [name for name in stage.page.evaluate(handlers) if name.startswith("on")]


def made_up(stage: Stage, **options: object) -> tuple[Workbench, StandIn]:
    """A workbench whose models say what the test says."""
    previews: list[StandIn] = []

    def make(*given: object) -> StandIn:
        previews.append(StandIn(*given))  # type: ignore[arg-type]
        return previews[0]

    return stage.make(preview=make, **options), previews[0]


@pytest.mark.parametrize("evil", [IMAGE, SCRIPT, BREAKS])
def test_names_tokens_prompts_and_texts(stage: Stage, evil: str) -> None:
    bench, preview = made_up(stage, names=[evil, "reverse", "pirate"], prompt=evil, prompts=[evil, "the"])
    preview.answer(token=evil, text=evil)
    stage.exact()
    expect(stage.root.locator(".ml-token")).to_contain_text(evil[:8])
    expect(stage.root.locator(".ml-merged .ml-words")).to_contain_text(evil)
    stage.root.locator(".ml-tokens th").first.hover()
    stage.page.mouse.click(*stage.layer(2))
    stage.pick(0, 2, 3)
    stage.root.get_by_label("Source of part 1").select_option(label=evil)
    preview.answer(token=evil, text=evil)
    expect(stage.root.locator(".ml-title")).to_contain_text(evil)
    preview.fail(evil)
    bench.prompt = "the"
    preview.fail(evil)
    expect(stage.root.get_by_role("alert").first).to_contain_text(evil)
    unharmed(stage)


def test_recipes_comments_and_snapshots(stage: Stage) -> None:
    bench, preview = made_up(stage)
    preview.answer()
    stage.exact()
    field = stage.root.locator(".ml-type")
    field.fill(f"# {BREAKS}\n{bench.text}# {SCRIPT}\n")
    expect(stage.root.locator(".ml-paint")).to_contain_text(BREAKS)
    stage.page.wait_for_function("window.models.bench.get('text').startsWith('# ')")
    stage.heard()
    assert BREAKS in bench.recipe.to_yaml()
    unharmed(stage)
    field.fill(bench.text.replace("passthrough", '"<img src=x onerror=alert(1)>"'))
    expect(stage.root.locator(".ml-line-wrong")).to_contain_text("<img")
    expect(stage.root.locator(".ml-before")).to_contain_text("<img")
    unharmed(stage)
    stage.root.get_by_text("Snapshots and history").click()
    name = stage.root.get_by_label("Name of a new snapshot")
    for evil in (BREAKS, IMAGE):
        name.fill(evil)
        name.press("Enter")
    expect(stage.root.locator(".ml-snapshots")).to_contain_text(BREAKS)
    stage.root.get_by_role("button", name=f"Show {IMAGE}", exact=True).click()
    expect(stage.root.locator(".ml-under")).to_contain_text(f"showing {IMAGE}")
    assert bench._past["showing"] == IMAGE
    unharmed(stage)
    stage.page.evaluate("window.models.bench.send({type: 'preset', name: '<script>', numbers: {}})")
    expect(stage.root.get_by_role("alert").first).to_contain_text("<script>")
    unharmed(stage)


def test_scorers_folders_and_what_a_saved_notebook_shows(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    shutil.copytree(sample.path("pirate"), folder)

    def score(_model: object) -> float:
        raise ValueError(BREAKS)

    base = sample.path("base")
    recipe = ml.graft(base, folder, (2, 4))
    bench = stage.put(Workbench(base, folder, recipe=recipe, prompt=BREAKS, scorers={IMAGE: score}))
    stage.exact()
    stage.title(f"base with {folder.name} 2–3")
    card = stage.root.locator(".ml-scores")
    expect(card).to_contain_text(IMAGE)
    expect(card).to_contain_text(BREAKS)
    unharmed(stage)
    assert bench.wait(60)
    still = bench.still()
    assert "&lt;img src=x" in still
    stage.page.evaluate("text => { document.body.innerHTML = text; }", still)
    unharmed(stage)
    stage.page.set_content(f"<title>harness</title>{still}")
    unharmed(stage)
