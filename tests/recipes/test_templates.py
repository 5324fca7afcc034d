"""Which chat template a merge gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mergelab.errors import FitError, RecipeError, SourceError
from mergelab.recipes import Part, Recipe, Slice, numbers, plan
from mergelab.recipes.recipe import Vocabulary
from mergelab.recipes.templates import TEMPLATES
from mergelab.weights import Source
from tests.weights import folders


def model(folder: Path, *, config: Any = None, file: str | None = None) -> Source:
    folders.save(folder)
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if file is not None:
        (folder / "chat_template.jinja").write_text(file)
    return Source(str(folder))


def chosen(template: str | None, *sources: Source, **changes: Any) -> str | None:
    parts = tuple(Part(source, None, numbers({"weight": 1.0})) for source in sources)
    return plan(Recipe("linear", (Slice(parts),), chat_template=template, **changes)).chat_template


def test_a_known_name_is_its_template_and_jinja_is_taken_as_it_is(tmp_path: Path) -> None:
    source = model(tmp_path / "a")
    assert {name: chosen(name, source) for name in TEMPLATES} == dict(TEMPLATES)
    text = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}"
    assert chosen(text, source) == text
    assert chosen(None, source) is None


def test_auto_is_the_most_common_and_the_first_of_equally_common_ones(tmp_path: Path) -> None:
    one = model(tmp_path / "one", config={"chat_template": "{{ 1 }}"})
    two = model(tmp_path / "two", file="{{ 2 }}", config={"chat_template": "{{ overruled }}"})
    also = model(
        tmp_path / "also",
        config={
            "chat_template": [{"name": "tool_use", "template": "{{ 3 }}"}, {"name": "default", "template": "{{ 2 }}"}]
        },
    )
    none = model(tmp_path / "none", config={})
    assert chosen("auto", one, two, also) == "{{ 2 }}"
    assert chosen("auto", one, two) == "{{ 1 }}"
    assert chosen("auto", two, one) == "{{ 2 }}"
    assert chosen("auto", one, two, base=two) == "{{ 2 }}"
    assert chosen("auto", none, two) == "{{ 2 }}"


def test_auto_asks_a_stage_what_it_was_given(tmp_path: Path) -> None:
    one = model(tmp_path / "one", file="{{ 1 }}")
    text = "{{ 'given by the recipe' }}"

    def stages(template: str | None) -> tuple[Recipe, ...]:
        given = Recipe("passthrough", (Slice((Part(one),)),), name="given", chat_template=template)
        return given, Recipe("passthrough", (Slice((Part(Source("given")),)),), name="silent")

    assert chosen("auto", Source("silent"), stages=stages(text)) == text
    assert chosen("auto", Source("silent"), stages=stages(None)) == "{{ 1 }}"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("lama3", "chat_template: 'lama3' is no known template, and no jinja text. Did you mean 'llama3'?"),
        ("{% for m in messages %}", "chat_template: is no jinja: line 1: Unexpected end of template."),
        ("{{ 'abcdefgh' }}\n{% nonsense %}", "chat_template: is no jinja: line 2: Encountered unknown tag 'nonsense'."),
        ("{% generation %} open", "chat_template: is no jinja: line 1: Unexpected end of template."),
    ],
)
def test_what_is_no_template_is_an_error_before_a_model_is_opened(template: str, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        chosen(template, Source("nowhere"))
    assert str(caught.value).startswith(expected)


def test_auto_where_no_model_has_one_is_an_error_beside_what_else_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FitError) as caught:
        chosen("auto", model(tmp_path / "a"), vocabulary=Vocabulary())
    tokens, template = map(str, caught.value.problems)
    assert "has no tokenizer.json" in tokens
    assert template == (
        "chat_template: 'auto' takes the most common template of the models, and none of them has one. "
        "Name one (alpaca, chatml, exaone, llama3, mistral), or leave out chat_template:."
    )


def test_a_template_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    source = model(tmp_path / "a")
    (tmp_path / "a" / "tokenizer_config.json").write_text("[1]")
    with pytest.raises(SourceError, match="its chat template cannot be read"):
        chosen("auto", source)
    assert chosen(None, source) is None
