"""The card of a merge: what the hub reads in it, and words of others that mean nothing there but themselves."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from hypothesis import example, given
from hypothesis import strategies as st

from mergelab.forge.card import model_card
from mergelab.forge.provenance import as_json, record
from mergelab.forge.record_form import misfits
from mergelab.recipes import graft, plan, stack
from mergelab.recipes.recipe import Recipe
from tests.models.small import linear, runs, small


def card_of(recipe: Recipe) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The record of a merge that was not made, the front matter of its card, and the whole card."""
    made = record(plan(recipe), device="cpu", hashes={}, outputs={}, proof=None)
    found = json.loads(as_json(made))
    text = model_card(found)
    return found, front(text), text


def front(text: str) -> dict[str, Any]:
    """The front matter, as anybody reads it, and as the hub's own library does."""
    assert text.startswith("---\n")
    table = yaml.safe_load(text[4:].partition("\n---\n")[0])
    theirs = ModelCard(text, ignore_metadata_errors=False)
    assert theirs.data.to_dict() == table
    assert theirs.text.lstrip().startswith("# A merge of ")
    return table


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each table, row by row, cut at the bars that Markdown cuts at."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    return [[[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block] for block in blocks]


def test_a_merge_of_folders_names_no_base_that_nobody_can_find(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a", card="license: mit"), small(tmp_path / "b", card="license: apache-2.0", seed=2)
    _, table, text = card_of(graft(a, b, (1, 2)))
    assert table == {
        "base_model_relation": "merge", "library_name": "transformers", "tags": ["merge", "mergelab"],
        "license": "apache-2.0",
    }  # fmt: skip
    assert "# A merge of a and b\n" in text
    head, _, recipe = text.partition("## Recipe")
    assert str(tmp_path) not in head
    assert str(tmp_path) in recipe.partition("## Use")[0]  # the recipe as it was merged
    assert str(tmp_path) not in recipe.partition("## Use")[2]
    assert "| 0 | a 0 |" in text
    assert "| 1 | b 1 |" in text
    assert "The folder was not compared with the live model" in text
    assert "- **apache-2.0**: Keep its notices and its text, and state what was changed." in text


def test_models_of_the_hub_are_its_bases(tmp_path: Path) -> None:
    found, *_ = card_of(graft(small(tmp_path / "a"), small(tmp_path / "b"), (1, 2)))
    for at, one in enumerate(found["sources"]):
        one |= {"path": f"org/m{at}", "hub": True, "commit": "c0ffee" * 6, "licences": ["llama3.1"]}
    adapter = {key: found["sources"][1][key] for key in found["sources"][1] if key != "adapter"}
    found["sources"][1]["adapter"] = {**adapter, "path": "org/lora", "trained on": None}
    found["licence"]["line"] = {"licence": "other", "name": "llama3.1-and-gemma", "link": "LICENSE"}
    assert misfits(found) == []
    table = front(model_card(found))
    assert table["base_model"] == ["org/m0", "org/m1", "org/lora"]
    assert (table["license"], table["license_name"], table["license_link"]) == (
        "other", "llama3.1-and-gemma", "LICENSE"
    )  # fmt: skip
    assert tables(model_card(found))[0][4][2:4] == ["org/lora", "c0ffeec0ffee"]
    assert "# A merge of m0 and m1+lora\n" in model_card(found)


def test_where_no_line_is_true_there_is_none_and_why_is_said(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a", card="license: gpl-3.0"), small(tmp_path / "b", card="license: gemma")
    _, table, text = card_of(linear(a, b))
    assert "license" not in table
    said = text.partition("## Licences")[2]
    assert "No licence is stated above, because none would be true" in said
    assert "they clash: a gpl-3.0, b gemma: gpl-3.0 wants the whole merge" in said
    assert "no legal advice" in said


def test_layers_stand_in_runs_and_numbers_from_end_to_end(tmp_path: Path) -> None:
    a, b, c = (small(tmp_path / name, seed=at) for at, name in enumerate("abc"))
    curve = [0.1, 0.2, 0.4, 0.8, 0.8]
    _, _, text = card_of(stack([(a, 0, 3), (b, 1, 3)], base=c, method="slerp", coefficient=curve))
    layers = text.partition("## Layers")[2].partition("## ")[0].strip().splitlines()
    assert layers[2:] == [
        "| 0 to 2 | a 0 to 2 | c 0 to 2 | slerp | t 0.1 ... 0.4 |",
        "| 3 to 4 | b 1 to 2 | c 1 to 2 | slerp | t 0.8 |",
    ]
    _, _, text = card_of(runs((a, 0, 2), (a, 0, 2), (b, 2, 3)))
    layers = text.partition("## Layers")[2].partition("## ")[0].strip().splitlines()
    assert [line.split(" | ")[:2] for line in layers[2:]] == [
        ["| 0 to 1", "a 0 to 1"], ["| 2 to 3", "a 0 to 1"], ["| 4", "b 2"]
    ]  # fmt: skip


def test_stages_have_tables_of_their_own(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a"), small(tmp_path / "b", seed=2)
    text = f"name: ea|rly\nmerge_method: linear\nmodels:\n- model: {a}\n  parameters: {{weight: 0.3}}\n"
    text += f"- model: {b}\n  parameters: {{weight: 0.7}}\n---\nmerge_method: passthrough\nmodels:\n- model: ea|rly\n"
    _, _, card = card_of(Recipe.load(text))
    layers = card.partition("## Layers")[2].partition("## ")[0]
    assert "Stage ea\\|rly, which is used as a model below:" in layers
    assert "| 0 to 2 | a 0 to 2, b 0 to 2 | linear | weight 0.3, 0.7 |" in layers
    assert "| 0 to 2 | ea\\|rly 0 to 2 | copy |" in layers or "| 0 to 2 | ea\\|rly 0 to 2 | passthrough |" in layers


def test_a_verdict_seeds_and_versions_are_told(tmp_path: Path) -> None:
    found, *_ = card_of(graft(small(tmp_path / "a"), small(tmp_path / "b"), (1, 2)))
    found["proof"] = {"holds": False, "checks": [
        {"name": "tensors", "holds": True, "said": "all there."}, {"name": "logits", "holds": False, "said": "3 | 4"},
    ]}  # fmt: skip
    found["model"]["seeds"] = {"early": 3, "": 4}
    text = model_card(found)
    assert "1 of 2 checks hold." in text
    assert "| logits | fails | 3 \\| 4 |" in text
    assert "drawn with seed 3 (early), 4." in text
    assert f"torch {torch.__version__}" in text


def test_sources_that_are_called_alike_are_numbered(tmp_path: Path) -> None:
    a, b = small(tmp_path / "x" / "model"), small(tmp_path / "y" / "model", seed=2)
    _, _, text = card_of(graft(a, b, (1, 2)))
    assert "# A merge of model (1) and model (2)\n" in text
    assert "| 1 | model (2) 1 |" in text


def test_a_folder_of_a_hostile_name_is_merged_and_shown(tmp_path: Path) -> None:
    a = small(tmp_path / "a|b`c`<b>\n---\n# x", card="license: '<script>'\nbase_model: 'x | y'")
    _, table, text = card_of(graft(a, small(tmp_path / "b"), (1, 2)))
    assert table.keys() == {"base_model_relation", "library_name", "tags"}
    assert "# A merge of a\\|b\\`c\\`\\<b\\> --- \\# x and b\n" in text
    assert tables(text)[0][2] == ["a\\|b\\`c\\`\\<b\\> --- \\# x", "a folder", "\\<script\\>", "x \\| y"]


MARKS = ["---", "\n---\n", "```", "<script>", *"`|<>&*_#~[]()\\!-:\n\r\t'\"{}$ ab\u2028\u202e\x00\x1b\x85"]
CHARACTERS = st.characters(exclude_categories=["Cs"])
HOSTILE = st.lists(st.sampled_from(MARKS) | CHARACTERS, min_size=1, max_size=12).map("".join)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("cards")
    found, *_ = card_of(graft(small(root / "a"), small(root / "b"), (1, 2)))
    return found


@given(text=HOSTILE)
@example(text="\n---\nlicense: mit\n---\n")
@example(text="a | b | c")
@example(text="x\n```\n# out\n~~~")
@example(text="<img src=x onerror=alert(1)>")
@example(text="x: y\n- z #")
@example(text="&lt;b&gt; http://x")
def test_words_of_others_break_neither_front_matter_nor_tables_nor_blocks(text: str, plain: dict[str, Any]) -> None:
    found = json.loads(json.dumps(plain))
    before = model_card(found)
    source = found["sources"][0]
    address = source["address"]
    source |= {"path": text, "hub": True, "licences": [text], "ancestors": [text, text], "revision": text}
    found["licence"] |= {"line": {"licence": "other", "name": text, "link": text}, "duties": {text: text}}
    found["licence"]["findings"] = [dict.fromkeys(("grade", "about", "what", "evidence", "remedy"), text)]
    found["model"]["methods"] = [text]
    found["recipe"]["yaml"] = f"merge_method: {text}\n"
    found["proof"] = {"holds": True, "checks": [{"name": text, "holds": True, "said": text}]}
    for one in found["made"]:
        one |= {"method": text, "numbers": {"t": text}}
    assert address == source["address"]
    assert misfits(found) == []
    card = model_card(found)
    table = front(card)
    assert {*table} <= {
        "base_model", "base_model_relation", "library_name", "tags", "license", "license_name", "license_link"
    }  # fmt: skip
    assert (table["license"], table["base_model_relation"]) == ("other", "merge")
    clean = "".join(one for one in " ".join(text.split()) if one.isprintable())
    assert table.get("base_model", [clean]) == [clean]
    assert len(tables(card)) == 3  # sources, layers, proof
    assert all(len(row) == len(rows[0]) for rows in tables(card) for row in rows)
    # Outside the recipe, the lines are those of the card: no more headings, fences or rules than it has.
    head, fenced, tail = _around_the_recipe(card)
    assert fenced.rstrip("\n") == f"merge_method: {text}".rstrip()
    told = [line for line in (head + tail).splitlines() if line.startswith("#")]
    assert len(told) == sum(line.startswith("#") for line in before.splitlines())
    outside = re.sub(r"\\.", "", head.partition("\n---\n")[2] + tail)
    assert "<" not in outside.replace("```python", "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://x.example", "http\\://x.example"), ("www.x.example", "www\\.x.example"), ("WWW.x", "WWW\\.x"),
        ("by @user", "by \\@user"), ("a.b", "a.b"),
    ],
)  # fmt: skip
def test_words_of_others_become_no_links(text: str, shown: str, plain: dict[str, Any]) -> None:
    found = json.loads(json.dumps(plain))
    found["licence"]["findings"] = [dict.fromkeys(("grade", "about", "what", "evidence", "remedy"), text)]
    assert f"- {shown}, {shown}: {shown}. {shown}" in model_card(found).splitlines()


def _around_the_recipe(card: str) -> tuple[str, str, str]:
    """What stands before the block of YAML, in it, and behind it."""
    opened = re.search(r"^(`{3,})yaml\n", card, re.MULTILINE)
    assert opened is not None
    head, rest = card[: opened.start()], card[opened.end() :]
    inside, _, tail = rest.partition(f"\n{opened[1]}\n")
    return head, inside, tail
