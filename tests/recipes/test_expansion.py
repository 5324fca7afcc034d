"""``recipe.expand()``: the number that every layer and module really gets."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings

from mergelab.errors import FitError
from mergelab.recipes import Recipe, plan
from mergelab.recipes.expansion import expand
from tests.recipes.opened import checkpoint, family, opened
from tests.recipes.test_scopes import Table, recipes
from tests.weights import folders

CLASSIC = """
merge_method: slerp
base_model: a
slices:
  - sources: [{model: a, layer_range: [0, 3]}, {model: b, layer_range: [1, 4]}]
parameters:
  t:
    - {filter: self_attn, value: [0, 0.5, 1]}
    - {filter: mlp, value: [1, 0.5, 0]}
    - {value: 0.25}
"""


def shown(text: str) -> list[str]:
    return str(expand(plan(Recipe.load(text), family()))).splitlines()


def test_the_classic_curves_in_numbers() -> None:
    assert shown(CLASSIC) == [
        "layer                      from  base  made by  t: self_attn  t: mlp  t: others",
        "-------------------------  ----  ----  -------  ------------  ------  ---------",
        "model.embed_tokens.weight  b     a     slerp                          0.25",
        "0                          b 1   a 0   slerp    0             1       0.25",
        "1                          b 2   a 1   slerp    0.5           0.5     0.25",
        "2                          b 3   a 2   slerp    1             0       0.25",
        "model.norm.weight          b     a     slerp                          0.25",
        "lm_head.weight             b     a     slerp                          0.25",
    ]


def test_one_column_where_all_modules_agree_and_none_for_defaults() -> None:
    table = expand(plan(Recipe.load("""
merge_method: ties
base_model: a
parameters: {weight: [0.5, 2], lambda: 1.0, normalize: true, int8_mask: true}
models: [{model: b}, {model: c, parameters: {density: {filter: lm_head, value: 0.25}}}]
"""), family()))  # fmt: skip
    assert table.heading[-2:] == ("weight", "density")
    assert [row[-2:] for row in table.rows] == [
        ("0.5, 0.5", "1, 1"), ("0.5, 0.5", "1, 1"), ("1, 1", "1, 1"), ("1.5, 1.5", "1, 1"), ("2, 2", "1, 1"),
        ("0.5, 0.5", "1, 1"), ("0.5, 0.5", "1, 0.25"),
    ]  # fmt: skip


def test_slices_of_other_methods_and_stages_stand_in_one_table() -> None:
    assert shown("""
name: half
merge_method: linear
models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 3}}]
---
merge_method: passthrough
slices:
  - sources: [{model: half, layer_range: [2, 4]}]
  - sources: [{model: a, layer_range: [3, 4]}, {model: half, layer_range: [0, 1]}]
    merge_method: slerp
    base_model: a
    parameters: {t: [{filter: k_proj, value: 0.75}, {value: 0.5}]}
""") == [
        "stage  layer                      from      base  made by  weight  t: self_attn.k_proj  t: others",
        "-----  -------------------------  --------  ----  -------  ------  -------------------  ---------",
        "half   model.embed_tokens.weight  a, b            linear   1, 3",
        "half   0                          a 0, b 0        linear   1, 3",
        "half   1                          a 1, b 1        linear   1, 3",
        "half   2                          a 2, b 2        linear   1, 3",
        "half   3                          a 3, b 3        linear   1, 3",
        "half   model.norm.weight          a, b            linear   1, 3",
        "half   lm_head.weight             a, b            linear   1, 3",
        "       model.embed_tokens.weight  half            copy",
        "       0                          half 2          copy",
        "       1                          half 3          copy",
        "       2                          half 0    a 3   slerp            0.75                 0.5",
        "       model.norm.weight          half      a     slerp                                 0.5",
        "       lm_head.weight             half      a     slerp                                 0.5",
    ]


def test_names_of_columns_are_the_shortest_that_are_true() -> None:
    stems = (
        "attn.q.weight",
        "attn.q.bias",
        "attn.k.weight",
        "attn.k.bias",
        "mlp.up.weight",
        "mlp.down.weight",
        "norm.weight",
    )
    shapes = {"embed.weight": (13, 8)}
    shapes |= {f"model.layers.{layer}.{stem}": (8, 8) for layer in range(2) for stem in stems}
    text = "merge_method: linear\nmodels: [{model: a}]\nparameters:\n  weight:\n"
    for part, weight in (("attn.q", 2), ("bias", 3), ("mlp", 4)):
        text += f"    - {{filter: {part}, value: {weight}}}\n"
    table = expand(
        plan(Recipe.load(f"{text}    - 5\n".replace("- 5", "- {value: 5}")), opened(checkpoint("a", shapes)))
    )
    assert table.heading[6:] == ("weight: attn.q", "weight: attn.k.bias", "weight: mlp", "weight: others")
    assert table.rows[1][6:] == ("2", "3", "4", "5")


@settings(max_examples=25)
@given(recipes())
def test_every_number_of_the_plan_stands_in_the_table(tree: Table) -> None:
    try:
        planned = plan(Recipe.load(yaml.safe_dump(tree)), family())
    except FitError:
        return
    table = expand(planned)
    assert len(table.rows) == len(planned.layers) + 3
    for row in table.rows:
        cells = dict(zip(table.heading, row, strict=True))
        inside = str(row[1]).isdigit()
        made = [
            step for step in planned.steps
            if (step.name.startswith(f"model.layers.{row[1]}.") if inside else step.name == row[1])
        ]  # fmt: skip
        for parameter in (name for name, _ in made[0].numbers):
            columns = {name: cell for name, cell in cells.items() if name.split(":")[0] == parameter}
            for step in made if columns else ():
                stem = step.name.split(".", 3)[3] if inside else ""
                named = [
                    name for name in columns if any(stem.startswith(part) for part in name.split(": ")[-1].split(", "))
                ]
                cell = columns[named[0] if named and ": " in named[0] else list(columns)[-1]]
                value = dict(step.numbers)[parameter]
                assert cell == ", ".join(map(said, value if isinstance(value, tuple) else (value,)))


def said(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value:.4g}"


def test_a_recipe_opens_its_models_to_expand(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        folders.save(tmp_path / name, folders.tensors(folders.shapes(4), seed=seed))
    table = Recipe.load(CLASSIC, root=tmp_path).expand()
    assert str(table).splitlines()[3].split() == ["0", "b", "1", "a", "0", "slerp", "1", "0", "0.25"]
    assert "<td" in table._repr_html_()


@pytest.mark.parametrize(("layers", "expected"), [(4, ["0", "0.333", "0.667", "1"]), (1, ["0"])])
def test_depth_is_shown_where_a_method_asks_for_it(layers: int, expected: list[str]) -> None:
    text = "merge_method: lines\nbase_model: a\nmodels: [{model: b, parameters: {weight: 1}}]\n"
    table = expand(plan(Recipe.load(text), family(2, layers=layers)))
    column = table.heading.index("depth")
    assert [row[column] for row in table.rows] == ["0", *expected, "0", "0"]
