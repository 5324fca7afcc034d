"""Where seams are: from the plan alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergelab import sample
from mergelab.inspection.borders import borders, home_border
from mergelab.recipes import Recipe, graft, plan, repeat, stack

HOST, DONOR, STRANGER = (sample.path(name) for name in ("arithmetic", "pirate", "stranger"))


def names(recipe: Recipe) -> list[str]:
    return [f"{seam.name}, to {seam.end}: {seam}" for seam in borders(plan(recipe))]


def test_a_graft_has_a_seam_at_either_end_of_the_donors_run() -> None:
    found = borders(plan(graft(HOST, DONOR, (2, 5))))
    assert [(seam.name, seam.border, seam.end, seam.ends) for seam in found] == [
        ("1 | 2", 2, 5, (2, 5)),
        ("4 | 5", 5, 10, (5, 10)),
    ]
    assert [str(seam) for seam in found] == ["arithmetic 1 to pirate 2", "pirate 4 to arithmetic 5"]


@pytest.mark.parametrize(
    ("blocks", "wanted"),
    [
        ([(HOST, 0, 4), (HOST, 4, 10)], []),
        ([(HOST, 0, 4), (DONOR, 4, 10)], ["3 | 4, to 10: arithmetic 3 to pirate 4"]),
        ([(HOST, 0, 4), (HOST, 5, 10)], ["3 | 4, to 9: arithmetic 3 to arithmetic 5"]),
        ([(HOST, 2, 10)], ["embeddings | 0, to 8: embeddings to arithmetic 2"]),
        ([(HOST, 0, 7)], ["6 | final norm, to 7: arithmetic 6 to final norm"]),
        ([(HOST, 0, 5), (STRANGER, 5, 8)], ["4 | 5, to 8: arithmetic 4 to stranger 5"]),
    ],
)
def test_seams_of_stacks(blocks: list[tuple[Path, int, int]], wanted: list[str]) -> None:
    assert names(stack(blocks, base=HOST)) == wanted


def test_a_repeat_has_one_seam_where_it_jumps_back() -> None:
    assert names(repeat(HOST, (3, 6))) == ["5 | 6, to 13: arithmetic 5 to arithmetic 3"]


def test_a_seam_under_the_final_norm_has_an_entry_alone() -> None:
    (found,) = borders(plan(stack([(HOST, 0, 7)], base=HOST)))
    assert found.ends == (7,)


def blend(*slices: str) -> Recipe:
    return Recipe.load(f"merge_method: linear\nbase_model: {HOST}\nslices:\n" + "".join(slices))


def part(start: int, end: int, *models: tuple[Path, int], weight: float = 0.5, method: str = "linear") -> str:
    rows = [
        f"      - {{model: {model}, layer_range: [{start + later}, {end + later}], parameters: {{weight: {weight}}}}}\n"
        for model, later in models
    ]
    return f"  - merge_method: {method}\n    sources:\n" + "".join(rows)


def test_a_blend_is_whole_where_every_model_of_it_goes_on_by_the_same_method() -> None:
    both = ((HOST, 0), (DONOR, 0))
    seam = ["3 | 4, to 10: arithmetic 3 to arithmetic 4"]
    assert names(blend(part(0, 10, *both))) == []
    assert names(blend(part(0, 4, *both), part(4, 10, *both))) == []
    assert names(blend(part(0, 4, *both), part(4, 10, *both, weight=0.25))) == []
    assert names(blend(part(0, 4, *both), part(4, 10, (HOST, 0)))) == seam
    assert names(blend(part(0, 4, *both, method="task_arithmetic"), part(4, 10, *both))) == seam
    later = blend(part(0, 4, *both), part(5, 10, *both))
    assert names(later) == ["3 | 4, to 9: arithmetic 3 to arithmetic 5"]
    assert names(blend(part(0, 4, *both), part(4, 9, (HOST, 0), (DONOR, 1)))) == [
        "3 | 4, to 9: arithmetic 3 to arithmetic 4",
        "8 | final norm, to 9: arithmetic 8 to final norm",
    ]


def test_home_is_the_model_whose_place_a_layer_takes_and_on_top_the_end_of_it() -> None:
    planned = plan(stack([(HOST, 0, 4), (STRANGER, 2, 6)], base=HOST))
    assert [str(home_border(planned, border)) for border in (0, 3, 4, 7, 8)] == [
        "arithmetic 0", "arithmetic 3", "stranger 2", "stranger 5", "stranger 8",
    ]  # fmt: skip
    mixed = plan(blend(part(0, 9, (DONOR, 0), (HOST, 1))))
    assert str(home_border(mixed, 3)) == "pirate 3"
