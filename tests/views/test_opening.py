"""What a workbench begins with, and where it is saved."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergelab import sample
from mergelab.errors import OutputError, RecipeError, SourceError
from mergelab.recipes.presets import graft
from mergelab.views import opening
from mergelab.views.guests import open_guests
from mergelab.views.saving import Files
from tests.recipes.opened import checkpoint
from tests.views.stand_in import Bench

GRAFT = graft(sample.path("pirate"), sample.path("arithmetic"), (2, 4))


def test_prompts_are_those_that_the_sources_answer() -> None:
    family = open_guests([sample.path(name) for name in ("base", "pirate")], None)
    found = opening.first_prompts(family)
    assert found[0] == sample.SKILLS["pirate"].prompts(1)[0]
    assert set(sample.demo_prompts()) <= {*found}
    others = open_guests([checkpoint("a", layers=2)], None)
    assert opening.first_prompts(others) == opening.PROMPTS
    bench = Bench(prompts=["x", "y", "x"])
    assert (bench.widget.prompts, bench.widget.prompt) == (["x", "y"], "x")
    bench.widget.close()
    silent = Bench(prompts=[])
    assert (silent.widget.prompt, silent.widget.status) == ("", "waiting")
    silent.widget.close()


def test_a_recipe_beside_sources_adds_its_own() -> None:
    guests, recipe = opening.begin([sample.path("base"), sample.path("arithmetic")], GRAFT.to_yaml(), None)
    assert [guest.name for guest in guests] == ["base", "arithmetic", "pirate"]
    assert recipe == GRAFT
    guests, _ = opening.begin([], GRAFT, ["host", "donor"])
    assert [guest.name for guest in guests] == ["host", "donor"]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("nowhere.yml", RecipeError, "no such recipe file"),
        ("nowhere.json", RecipeError, "cannot be read"),
        ('{"sketch": 3}', RecipeError, "is no workbench"),
        ("merge_method: lienar\nmodels: [{model: a}]\n", RecipeError, "Did you mean 'linear'"),
        ("nowhere", SourceError, "nowhere"),
        (3, SourceError, "a int is no model"),
    ],
)
def test_what_cannot_be_opened_says_why(
    given: object, error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(error, match=words):
        opening.begin([given], None, None)


def test_it_saves_with_comments_or_says_why_not(tmp_path: Path) -> None:
    bench = Bench()
    bench.widget.text = f"# by ear\n{bench.widget.text}"
    file = bench.widget.save(tmp_path / "mine.yml")
    assert file.read_text().startswith("# by ear\n")
    assert opening.recipe_from(file) == bench.widget.recipe
    with pytest.raises(OutputError, match="cannot be written"):
        bench.widget.save(tmp_path)
    bench.widget.close()


def test_it_saves_over_files_of_its_own_alone(tmp_path: Path) -> None:
    """Those that it has opened or saved, by whatever name; over others with force, and then they are its own."""
    mine, other = tmp_path / "mine.yml", tmp_path / "other.yml"
    link = tmp_path / "link.yml"
    link.symlink_to(mine)
    bench = Bench()
    bench.widget.save(mine)
    recipe = mine.read_text()
    other.write_text("theirs")
    for _ in range(2):
        with pytest.raises(OutputError, match=r"is there already.*force=True"):
            bench.widget.save(other)
    assert other.read_text() == "theirs"
    mine.write_text("edited")
    bench.widget.save(link)
    assert mine.read_text() == recipe
    assert bench.widget.save(other, force=True) == other
    bench.widget.save(str(other))
    assert other.read_text() == recipe
    bench.widget.close()
    for sources, first in (((), mine), ((str(mine),), None)):
        again = Files(sources, first)
        again.save(bench.widget.recipe, mine, force=False)
        with pytest.raises(OutputError, match="is there already"):
            again.save(bench.widget.recipe, other, force=False)
