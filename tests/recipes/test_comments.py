"""Comments and the order of keys: kept when a recipe is read and written, in place and in words."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergelab.recipes import Recipe
from tests.recipes.faults import RIGHT

PEOPLE_WRITE = """# A blend of two, for the evening.
# Second line.

models:  # the three
- model: org/base
  # No parameters necessary for base model
- model: org/writer  # good prose
  parameters:
    weight: [0, 0.5]  # later layers only
    # dense enough
    density: 0.5
# - model: org/other
#   parameters: {weight: 1}
- model: org/coder
  parameters:
    weight:
    # attention first
    - filter: self_attn  # all of it
      value: 0.25
    - value: 1
merge_method: ties
base_model: org/base
parameters:
  normalize: true
  #int8_mask: true
dtype: bfloat16  # not float16
# the end
"""


def comments(text: str) -> list[str]:
    """All comments of a text in which no value has a '#'."""
    return [found.rstrip() for found in re.findall(r"(?<!\S)#(.*)", text)]


def test_what_people_write_stays_as_it_is() -> None:
    assert Recipe.load(PEOPLE_WRITE).to_yaml() == PEOPLE_WRITE.replace("line.\n\n", "line.\n")


def test_comments_belong_to_no_meaning() -> None:
    bare = Recipe.load("".join(re.sub(r"\s*#.*", "", line) + "\n" for line in PEOPLE_WRITE.split("\n")))
    assert Recipe.load(PEOPLE_WRITE) == bare
    assert hash(Recipe.load(PEOPLE_WRITE)) == hash(bare)
    assert comments(bare.to_yaml()) == []


def test_comments_of_what_is_written_otherwise_move_to_what_is_around_it() -> None:
    text = """merge_method: linear
models: [{model: a,  # one
          parameters: {weight: &w [1, # two
                               0.5]}},  # three
         {model: {model: {path: b}},  # four
          parameters: {weight: *w}  # five
         }  # six
        ]  # seven
parameters: {normalize: {filter: '*', # eight
                         value: 1.0}}
--- # nine
"""
    written = Recipe.load(text).to_yaml()
    assert sorted(comments(written)) == sorted(comments(text))
    assert Recipe.load(written) == Recipe.load(text)
    assert Recipe.load(written).to_yaml() == written


def test_comments_of_keys_without_a_value_are_kept() -> None:
    bare = "merge_method: passthrough\nslices:\n- sources:\n  - model: a\n    layer_range: [0, 1]\n"
    text = f"# why\nbase_model:  # none\n  # at all\n{bare}"
    assert Recipe.load(text).to_yaml() == f"# why\n# none\n# at all\n{bare}"


def test_anchors_are_written_out_and_their_comments_once() -> None:
    text = """merge_method: ties
base_model: a
models:
- model: b
  parameters: &common  # for both
    # all of it
    weight: 1
    density: 0.5  # half
- model: c
  parameters: *common  # as above
- model: d
  parameters:
    <<: *common  # but
    density: 1
"""
    assert (
        Recipe.load(text).to_yaml()
        == """merge_method: ties
base_model: a
models:
- model: b
  parameters:  # for both
    # all of it
    weight: 1
    density: 0.5  # half
- model: c
  parameters:  # as above
    weight: 1
    density: 0.5
- model: d
  parameters:  # but
    weight: 1
    density: 1
"""
    )


def test_texts_of_several_lines_stay_texts_of_several_lines() -> None:
    text = """merge_method: passthrough
slices:
- sources:
  - model: a
    layer_range: [0, 1]
# how it talks
chat_template: |-
  {% for message in messages %}

    {{ message['content'] }}  # no comment
  {% endfor %}
seed: 3  # lucky
"""
    recipe = Recipe.load(text.replace("|-", "|-  # how it talks").replace("# how it talks\nchat", "chat"))
    assert recipe.chat_template is not None
    assert recipe.chat_template.split("\n")[2] == "  {{ message['content'] }}  # no comment"
    assert recipe.to_yaml() == text
    assert Recipe.load(text).to_yaml() == text


def test_comments_of_stages_stay_with_their_documents() -> None:
    text = """# first
name: one
merge_method: linear
models:
- model: a
  parameters:
    weight: 1
# after one
---
# second
merge_method: linear
models:
- model: one  # the first
  parameters:
    weight: 1
"""
    recipe = Recipe.load(text)
    assert recipe.to_yaml() == text
    assert recipe.stages[0].notes is not None
    assert recipe.stages[0].notes.end == (" after one",)


def test_a_changed_recipe_keeps_the_comments_of_what_is_left() -> None:
    recipe = Recipe.load(PEOPLE_WRITE)
    (piece,) = recipe.slices
    shorter = replace(recipe, slices=(replace(piece, parts=piece.parts[:2]),), seed=7)
    text = shorter.to_yaml()
    assert Recipe.load(text) == shorter
    assert sorted(comments(text)) == sorted(comments(PEOPLE_WRITE))
    assert text.index("seed: 7") > text.index("dtype:")


@settings(max_examples=40)
@given(st.sampled_from(sorted(RIGHT)), st.data())
def test_no_comment_is_lost_and_writing_twice_changes_nothing(right: str, data: st.DataObject) -> None:
    recipe = Recipe.load(RIGHT[right])
    lines = recipe.to_yaml().rstrip("\n").split("\n")
    said: list[str] = []
    spots = data.draw(st.lists(st.tuples(st.integers(0, len(lines) - 1), st.integers(-1, 8)), max_size=8))
    for place, indent in sorted(spots, reverse=True):
        said.append(f" note {len(said)}")
        if indent >= 0:
            lines.insert(place, f"{' ' * indent}#{said[-1]}")
        elif not re.search(r"# note \d+$", lines[place]):
            lines[place] += f"  #{said[-1]}"
        else:
            said.pop()
    text = "\n".join(lines) + "\n"
    read = Recipe.load(text)
    assert read == recipe
    written = read.to_yaml()
    assert Recipe.load(written) == recipe
    assert sorted(re.findall(r"# note \d+$", written, re.MULTILINE)) == sorted(f"#{one}" for one in said)
    assert Recipe.load(written).to_yaml() == written


@pytest.mark.parametrize("before", ["", "\ufeff", "%YAML 1.1\n---\n", "# one\n--- # two\n", "\n\n"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_comments_are_found_whatever_the_line_ends(before: str, ends: str) -> None:
    text = (
        f"{before}merge_method: passthrough # three\nslices:\n- sources: [{{model: a, layer_range: [0, 1]}}] # four\n"
    )
    written = Recipe.load(text.replace("\n", ends) + "\n").to_yaml()
    assert comments(written) == comments(text)
