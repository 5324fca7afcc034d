"""What a check remarks on models that fit: tokens, templates, ancestors, licences, dtypes, layers that moved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mergelab.models.verdict import check
from mergelab.recipes.presets import graft, repeat
from mergelab.recipes.recipe import Part, Recipe, Slice, Vocabulary, numbers
from mergelab.weights import Source, open_checkpoint
from tests.models.small import SWAPPED, TOKENS, about, linear, runs, small, whats
from tests.weights import folders
from tests.weights.folders import Shapes


def test_the_same_token_at_another_id_is_a_warning_and_examples_are_words(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a", tokens=TOKENS), small(tmp_path / "b", tokens=SWAPPED)
    found = about(check(linear(a, b)), "tokens")
    assert found.grade == "warning"
    assert found.evidence == (
        "3 of 5 that both have stand at another id: 'cat' 2 against 1, 'sat' 1 against 2, '<0x00>' 5 against 4; "
        "1 only in b"
    )
    assert "tokenizer: {source: union}" in found.remedy
    inner = about(check(graft(a, b, (1, 2))), "tokens")
    assert (inner.grade, inner.remedy) == ("warning", "The merge reads and writes with the tokenizer of a.")


def test_a_model_alone_has_nothing_beside_it(tmp_path: Path) -> None:
    assert whats(check(runs((small(tmp_path / "a"), 0, 3)))) == ["licence"]


def test_tokens_that_agree_are_no_finding_and_more_of_them_a_note(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a", tokens=TOKENS), small(tmp_path / "b", tokens=dict(TOKENS))
    assert "tokens" not in whats(check(linear(a, b)))
    c = small(tmp_path / "c", tokens=TOKENS | {"mat": 9})
    found = about(check(linear(a, c)), "tokens")
    assert (found.grade, found.evidence) == ("note", "1 only in c")


def test_tokens_that_cannot_be_compared_are_said(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a", tokens=TOKENS), small(tmp_path / "b", vocab_size=12)
    found = about(check(graft(a, b, (1, 2))), "tokens")
    assert found.grade == "note"
    assert found.evidence == "not compared: no tokenizer.json of b on this machine; 12 rows against 13"
    (b / "tokenizer.json").write_text("{}")
    assert about(check(graft(a, b, (1, 2))), "tokens").evidence.startswith("not compared: ")


@pytest.mark.parametrize(
    ("ours", "theirs", "what", "grade", "evidence"),
    [
        ({"eos_token_id": 2}, {"eos_token_id": [2, 3]}, "end of text", "warning", "token [2, 3] against 2"),
        ({"bos_token_id": 1}, {"bos_token_id": 4}, "start of text", "note", "token 4 against 1"),
        ({"pad_token_id": 0}, {"pad_token_id": 5}, "padding", "note", "token 5 against 0"),
        ({"max_position_embeddings": 64}, {"max_position_embeddings": 4096}, "longest context", "note",
            "4,096 against 64 tokens"),
        ({}, {"tie_word_embeddings": True}, "tied embeddings", "note", "b uses its embeddings as head, the other has "
            "a head"),
    ],
)  # fmt: skip
def test_settings_that_run_and_differ_are_said(
    tmp_path: Path, ours: dict, theirs: dict, what: str, grade: str, evidence: str
) -> None:
    a, b = small(tmp_path / "a", **ours), small(tmp_path / "b", **theirs)
    found = about(check(graft(a, b, (1, 2))), what)
    assert (found.grade, found.evidence, found.about) == (grade, evidence, "b beside a")
    assert what not in whats(check(graft(a, a, (1, 2))))


def test_chat_templates_are_compared_unless_the_recipe_chooses(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a"), small(tmp_path / "b")
    (b / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ x }}"}))
    assert about(check(linear(a, b)), "chat template").evidence == "only b has one"
    assert "chat template" not in whats(check(linear(a, b, chat_template="chatml")))
    (a / "chat_template.jinja").write_text("{{ y }}")
    assert about(check(linear(a, b)), "chat template").evidence == "they differ"


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("license: llama3", "llama3"), ("license: other\nlicense_name: qwen", "qwen"),
        ("license: isc\nlicense_name: x", "isc"),
        ("license_name: x", "x"), ("license: [mit, isc]", "mit, isc"),
        ("license: 3", "not stated"), ("x: [", "not stated"), ("- a", "not stated"),
    ],
)  # fmt: skip
def test_licences_are_read_from_cards_as_data(tmp_path: Path, card: str, said: str) -> None:
    a, b = small(tmp_path / "a", card=card), small(tmp_path / "b", card="license: mit")
    report = check(linear(a, b))
    assert [row[-1] for row in report.sources.rows] == [said, "mit"]
    if said == "not stated":
        assert about(report, "licence").about == "a"
    else:
        assert about(report, "they differ").evidence == f"a {said.replace(', ', ' + ')}, b mit"


@pytest.mark.parametrize(
    ("ours", "theirs", "flagged"),
    [
        ("org/base-8B", "other/tower-7b", True),
        ("org/base-8B", "mirror/Base-8b", False),
        ("[org/x, org/base-8B]", "org/base-8B", False),
        ("org/base-8B", "", False),
    ],
)
def test_ancestors_are_compared_by_their_cards(tmp_path: Path, ours: str, theirs: str, flagged: bool) -> None:
    a = small(tmp_path / "a", card=f"base_model: {ours}")
    b = small(tmp_path / "b", card=f"base_model: {theirs}" if theirs else "license: mit")
    report = check(linear(a, b))
    assert ("different ancestors" in whats(report)) == flagged
    if flagged:
        assert "by their cards other/tower-7b" in about(report, "different ancestors").evidence


def test_dtypes_seeds_and_repeats_are_said(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a"), small(tmp_path / "b")
    whole = open_checkpoint(a)
    folders.save(b, {name: whole.tensor(name).bfloat16() for name in whole.specs}, tie_word_embeddings=False)
    found = about(check(linear(a, b)), "dtypes differ")
    assert (found.evidence, found.remedy[:29]) == ("a F32, b BF16", "The merge is written as F32; ")
    dare = Recipe(
        "dare_ties",
        (Slice((Part(Source(str(b)), None, numbers({"weight": 1.0, "density": 0.5})),)),),
        base=Source(str(a)),
    )
    assert about(check(dare), "random draws").evidence == "dare_ties with seed 0"
    assert "random draws" not in whats(check(Recipe("dare_ties", dare.slices, base=dare.base, seed=3)))
    twice = about(check(repeat(a, (1, 3))), "repeated layers")
    assert twice.evidence == "2 layers occur more than once, at 1-4 of 5"
    assert "repeated layers" not in whats(check(graft(a, a, (1, 2))))


def test_settings_per_layer_move_along_and_blends_of_two_kinds_are_warned_of(tmp_path: Path) -> None:
    kinds = ["full_attention", "sliding_attention", "full_attention"]
    config = {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 4, "head_dim": None}
    folder = small(tmp_path / "a", **config, layer_types=kinds)
    weights = dict(open_checkpoint(folder).specs)
    shapes: Shapes = {name: spec.shape for name, spec in weights.items()}
    shapes |= {
        f"model.layers.{layer}.self_attn.{name}_proj.bias": (8 if name == "q" else 4,)
        for layer in range(3) for name in "qkv"
    }  # fmt: skip
    for name in "ab":
        changed = config | {"layer_types": kinds if name == "a" else kinds[::-1][:1] + kinds[:2]}
        folders.save(tmp_path / name, folders.tensors(shapes), tie_word_embeddings=False, **changed)
    moved = check(runs((folder, 0, 1), (folder, 2, 3)))
    assert moved.works, str(moved)
    assert about(moved, "settings per layer").evidence == "layer_types moved along"
    assert "settings per layer" not in whats(check(runs((folder, 0, 3))))
    mixed = about(check(linear(tmp_path / "a", tmp_path / "b")), "attention types")
    assert (mixed.grade, mixed.evidence) == ("warning", "layers 1-2 blend layers of different attention types")
    assert "attention types" not in whats(check(linear(folder, folder)))


def test_ids_of_tokens_do_not_move_with_the_layers(tmp_path: Path) -> None:
    """Three ids, as many as there are layers."""
    a = small(tmp_path / "a", tokens=TOKENS, eos_token_id=[2, 3, 4])
    b = small(tmp_path / "b", tokens=TOKENS, eos_token_id=[3, 4, 5])
    assert "settings per layer" not in whats(check(runs((a, 0, 1), (a, 2, 3))))
    theirs = Vocabulary(source=Source(str(b)))
    assert "settings per layer" not in whats(check(linear(a, b, vocabulary=theirs)))


def test_with_a_tokenizer_section_other_tokens_are_a_note(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a", tokens=TOKENS), small(tmp_path / "b", tokens=SWAPPED)
    report = check(linear(a, b, vocabulary=Vocabulary()))
    assert about(report, "tokens").grade == "note"
