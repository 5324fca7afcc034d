"""Tokenizer files of a merge: all of a model's own, as they are, wherever its tokens are the merge's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from mergelab.forge.merge import merge
from mergelab.models.tokenizer import write_tokenizer
from mergelab.recipes import Recipe
from mergelab.recipes.plan import plan
from tests.models import tongues
from tests.models.families import save

Family = Callable[[str, int], Path]
MORE = {
    "tokenizer.model": "pieces", "added_tokens.json": "{}", "special_tokens_map.json": "{}", "tekken.json": "{}",
    "sentencepiece.bpe.model": "pieces", "additional_chat_templates/tool_use.jinja": "{{ tools }}",
    "additional_chat_templates/of_our_own.jinja": "{{ mine }}", "chat_template.jinja": "{{ messages }}",
}  # fmt: skip
ODD = '{ "tokenizer_class": "PreTrainedTokenizerFast",   "bos_token": "<s>", "of_somebody": 1}'


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    """Two models whose tokenizers have the same tokens, with every file that a tokenizer may have."""
    folders = tmp_path / "a", tmp_path / "b"
    for seed, folder in enumerate(folders):
        count = tongues.save(tongues.bytes_and_merges("hello", "moon"), folder)
        save("llama", folder, seed=seed, vocab_size=count)
    put(folders[0], MORE | {"tokenizer_config.json": ODD})
    return folders


def put(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def files(folder: Path) -> dict[str, str]:
    """What a folder holds of a tokenizer."""
    weights = ("config.json", "generation_config.json", "model.safetensors")
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_text() for name, path in found.items() if name not in weights}


def written(folders: tuple[Path, Path], out: Path, more: str = "") -> dict[str, str]:
    models = ", ".join(f"{{model: {folder}, parameters: {{weight: 1}}}}" for folder in folders)
    out.mkdir()
    write_tokenizer(plan(Recipe.load(f"merge_method: linear\nmodels: [{models}]\n{more}")), out)
    return files(out)


@pytest.mark.parametrize("more", ["", "tokenizer: {source: base}", "tokenizer: {source: union}"])
def test_all_files_of_the_model_with_these_tokens_are_copied(
    more: str, models: tuple[Path, Path], tmp_path: Path
) -> None:
    assert files(models[0]).keys() >= MORE.keys()
    assert written(models, tmp_path / "out", more) == files(models[0])


def test_another_models_tokenizer_is_its_own(models: tuple[Path, Path], tmp_path: Path) -> None:
    assert written(models, tmp_path / "out", f"tokenizer: {{source: {models[1]}}}") == files(models[1])


def test_other_tokens_are_written_anew(models: tuple[Path, Path], tmp_path: Path) -> None:
    made = written(models, tmp_path / "out", 'tokenizer: {source: union, tokens: {"<|new|>": {source: {kind: zero}}}}')
    assert "tokenizer.model" not in made
    assert "<|new|>" in AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()


@pytest.mark.parametrize(
    ("own", "places"),
    [
        ({"chat_template.jinja": "old"}, ["chat_template.jinja"]),
        ({"tokenizer_config.json": '{"chat_template": "old", "a": 1}'}, ["tokenizer_config.json"]),
        ({"tokenizer_config.json": '{"chat_template": [{"name": "x", "template": "old"}]}'}, ["tokenizer_config.json"]),
        ({"tokenizer_config.json": '{"chat_template": "old"}', "chat_template.jinja": "old"},
         ["tokenizer_config.json", "chat_template.jinja"]),
        ({"chat_template.json": '{"chat_template": "old"}'}, ["chat_template.jinja"]),
        ({}, ["chat_template.jinja"]),
    ],
)  # fmt: skip
def test_a_template_that_is_asked_for_stands_where_the_model_has_its_own(
    own: dict[str, str], places: list[str], models: tuple[Path, Path], tmp_path: Path
) -> None:
    for name in ("chat_template.jinja", "additional_chat_templates/tool_use.jinja"):
        (models[0] / name).unlink()
    put(models[0], own)
    before = files(models[0])
    made = written(models, tmp_path / "out", "chat_template: '{{ messages[0].content }}!'\n")
    for name in places:
        text = made.pop(name)
        before.pop(name, None)
        told = json.loads(text) if name.endswith(".json") else {"chat_template": text}
        assert told["chat_template"] == "{{ messages[0].content }}!"
        assert told.get("a", 1) == 1
    assert made == {name: text for name, text in before.items() if "template" not in name}
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi!"


def test_a_tokenizer_that_transformers_cannot_read_is_copied_and_gets_its_template(
    family: Family, tmp_path: Path
) -> None:
    folder = save("llama", tmp_path / "a", seed=1)
    put(folder, {"tokenizer.model": "not to be read here"})
    out = merge(Recipe.load(f"merge_method: passthrough\nmodels: [{{model: {folder}}}]\nchat_template: chatml\n"),
                tmp_path / "out", prove=False)  # fmt: skip
    assert (out / "tokenizer.model").read_text() == "not to be read here"
    assert "<|im_start|>" in (out / "chat_template.jinja").read_text()


def test_a_stage_hands_its_donors_files_on(models: tuple[Path, Path], tmp_path: Path) -> None:
    text = f"name: one\nmerge_method: passthrough\nmodels: [{{model: {models[0]}}}]\n"
    text += "chat_template: '{{ messages[0].content }}!'\n"
    text += "---\nmerge_method: passthrough\nmodels: [{model: one}]\n"
    (tmp_path / "out").mkdir()
    write_tokenizer(plan(Recipe.load(text)), tmp_path / "out")
    made = files(tmp_path / "out")
    assert made["chat_template.jinja"] == "{{ messages[0].content }}!"
    assert made["tokenizer.model"] == "pieces"
    assert "additional_chat_templates/tool_use.jinja" not in made
    assert made["tokenizer_config.json"] == ODD
