"""Sabotage of words: whatever is done to a tokenizer's files is caught, whether they were copied or made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mergelab.forge.merge import merge
from mergelab.forge.obstacles import RECIPE_FILE
from mergelab.forge.proof import Proof, prove
from mergelab.forge.wording import same_words
from mergelab.models.assembly import Assembly
from mergelab.recipes import Recipe
from mergelab.recipes.plan import plan
from tests.forge.test_sabotage import beside
from tests.models import tongues
from tests.models.talking import Trio, broken, in_table, merged, said, talkers


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Trio:
    return talkers(tmp_path_factory.mktemp("talkers"))


@pytest.fixture(scope="module")
def out(trio: Trio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return merged(trio, tmp_path_factory.mktemp("proof") / "merged")


@pytest.fixture(scope="module")
def made(trio: Trio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merge whose tokenizer is no source's."""
    root = tmp_path_factory.mktemp("made")
    other = Path(shutil.copytree(trio[1], root / "other"))
    tongues.save(tongues.bytes_and_merges("the cat", "don't", "mat"), other, added=["<|end|>"])
    models = [{"model": str(path), "parameters": {"weight": 0.5}} for path in (trio[0], other)]
    said = {"merge_method": "linear", "base_model": str(trio[0]), "models": models, "tokenizer": {"source": "union"}}
    return merge(Recipe.load(json.dumps(said)), root / "out", prove=False)


@pytest.fixture(scope="module")
def lives(out: Path, made: Path) -> Iterator[dict[Path, Assembly]]:
    """The live models of both."""
    with ExitStack() as stack:
        yield {
            folder: stack.enter_context(Assembly(plan(Recipe.load(folder / RECIPE_FILE)), device="cpu"))
            for folder in (out, made)
        }


def in_words(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change tokenizer.json."""
    return in_table("tokenizer.json", edit)


def in_settings(**settings: object) -> Callable[[Path], None]:
    """Change tokenizer_config.json."""
    return in_table("tokenizer_config.json", lambda t: t.update(settings))


def exchange_merges(table: dict[str, Any]) -> None:
    merges = table["model"]["merges"]
    merges[-1], merges[-2] = merges[-2], merges[-1]


_ZEBRA = {"type": "Replace", "pattern": {"String": "zebra"}, "content": "ape"}
_CUT = {"direction": "Right", "max_length": 200, "strategy": "LongestFirst", "stride": 0}
_FILLED = {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": 5, "pad_type_id": 0,
           "pad_token": "x"}  # fmt: skip
_BYTES = "is not as in the donor, byte by byte"

# What transformers reads in the words' stead: of a tokenizer whose files are copied, and of one that is made.
WORDS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "merges are exchanged": (in_words(exchange_merges), "tokenizer", "the model of it"),
    "merges are reversed": (in_words(lambda t: t["model"]["merges"].reverse()), "tokenizer", "the model of it"),
    "a normalizer is added": (in_words(lambda t: t.update(normalizer=_ZEBRA)), "tokenizer", "the normalizer of it"),
    "texts are cut": (in_words(lambda t: t.update(truncation=_CUT)), "tokenizer", "the truncation of it"),
    "texts are filled up": (in_words(lambda t: t.update(padding=_FILLED)), "tokenizer", "the padding of it"),
    "added tokens are not special": (
        in_words(lambda t: [one.update(special=False) for one in t["added_tokens"]]),
        "tokenizer",
        "the added_tokens of it",
    ),
    "added tokens stand alone": (
        in_words(lambda t: [one.update(single_word=True) for one in t["added_tokens"]]),
        "tokenizer",
        "the added_tokens of it",
    ),
    "texts are short": (in_settings(model_max_length=7), "tokenizer", "model_max_length is 7, not 1000"),
    "texts are cut at the left": (in_settings(truncation_side="left"), "tokenizer", "truncation_side is left"),
    "spaces are cleaned up": (
        in_settings(clean_up_tokenization_spaces=True),
        "tokenizer",
        "clean_up_tokenization_spaces is True",
    ),
    "a model is given less": (in_settings(model_input_names=["input_ids"]), "tokenizer", "model_input_names is"),
    "another class reads it": (in_settings(tokenizer_class="LlamaTokenizer"), "tokenizer", "tokenizer_class in"),
    "a template is in the settings": (
        in_settings(chat_template="{{ 'evil' }}"),
        "chat template",
        "tokenizer_config.json has another one",
    ),
    "a template is added": (
        beside("additional_chat_templates/evil.jinja", "{{ 'evil' }}"),
        "chat template",
        "additional_chat_templates/evil.jinja is left over",
    ),
    "a template of an older kind is added": (
        beside("chat_template.json"), "chat template", "chat_template.json is left over",
    ),
    "a vocabulary of an older kind is added": (beside("vocab.json"), "tokenizer", "vocab.json is left over"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WORDS)
def test_what_is_done_to_words_is_caught_whether_they_were_copied_or_made(
    kind: str, out: Path, made: Path, lives: dict[Path, Assembly], tmp_path: Path
) -> None:
    change, name, text = WORDS[kind]
    for whole, folder in ((out, tmp_path / "copied"), (made, tmp_path / "made")):
        shutil.copytree(whole, folder)
        change(folder)
        _, checks, _ = same_words(folder, lives[whole])
        proof = Proof(tuple(checks))
        assert name in broken(proof), str(proof)
        assert (text if whole is made or "left over" in text else _BYTES) in str(proof)


def test_words_that_were_made_are_proven_and_what_is_done_to_them_is_not(made: Path, tmp_path: Path) -> None:
    proof = prove(made)
    assert proof.holds, str(proof)
    assert said(proof, "tokenizer").startswith("all 272 tokens have their ids")
    folder = Path(shutil.copytree(made, tmp_path / "made"))
    in_words(exchange_merges)(folder)
    assert broken(prove(folder)) == ("tokenizer",)
