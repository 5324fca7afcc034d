"""The merged model's tokenizer: exactly the planned tokens, pieces made as where they come from, and it loads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mergelab.errors import AssemblyError
from mergelab.models.tokenizer import with_vocabulary
from mergelab.recipes.templates import TEMPLATES
from tests.models import tongues

Kind = Callable[..., Tokenizer]
KINDS = [tongues.words, tongues.bytes_and_merges, tongues.pieces]
SPACE = "\u2581Ġ"  # as pieces and as bytes write it
OF_QWEN = "<|endoftext|>"  # transformers' class for it adds this one where it is absent
TEXT = "hello new moon old <|b|> new#y# <|a|>hello"


def opened(made: Tokenizer, folder: Path, *, named: str | None = None, **how: Any) -> Any:
    """A tokenizer read from a folder; ``named``: the class that its config names."""
    tongues.save(made, folder, **how)
    path = folder / "tokenizer_config.json"
    if named:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": named}))
    return AutoTokenizer.from_pretrained(folder)


def union(home: Any, *others: Any) -> dict[str, int]:
    ids = dict(home.get_vocab())
    for other in others:
        theirs = other.get_vocab()
        for text in sorted(theirs, key=theirs.__getitem__):
            ids.setdefault(text, len(ids))
    return ids


@pytest.mark.parametrize(
    ("kind", "named"), [*((kind, None) for kind in KINDS), (tongues.bytes_and_merges, "Qwen2Tokenizer")]
)
def test_a_union_has_the_tokens_of_both_and_cuts_text_with_them(kind: Kind, named: str | None, tmp_path: Path) -> None:
    home = opened(kind("hello", "old"), tmp_path / "home", named=named, added=["<|a|>"], plain=["#x#"])
    other = opened(kind("hello", "new", "moon"), tmp_path / "other", added=["<|b|>", "<|a|>"], plain=["#y#"])
    ids = union(home, other)
    made = with_vocabulary(home, [other], dict(reversed(ids.items())))  # their order says nothing
    made.save_pretrained(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    assert str(tmp_path) not in (tmp_path / "out" / "tokenizer_config.json").read_text()
    for one in (made, AutoTokenizer.from_pretrained(tmp_path / "out")):
        assert type(one) is type(home)
        assert one.get_vocab() == ids
        assert (one.bos_token, one.eos_token, one.unk_token) == ("<s>", "</s>", "<unk>")
        added = one.backend_tokenizer.get_added_tokens_decoder()
        assert {entry.content: entry.special for entry in added.values() if entry.content != OF_QWEN} == {
            **dict.fromkeys(tongues.SPECIAL, True), "<|a|>": True, "<|b|>": True, "#x#": False, "#y#": False,
        }  # fmt: skip
        found = one(TEXT).input_ids
        cut = [text.strip(SPACE) for text in one.convert_ids_to_tokens(found)]
        assert [text for text in cut if text] == [
            "hello",
            "new",
            "moon",
            "old",
            "<|b|>",
            "new",
            "#y#",
            "<|a|>",
            "hello",
        ]
        spoken = "".join(one.decode(found, skip_special_tokens=True).split())
        assert spoken == "hellonewmoonoldnew#y#hello"


@pytest.mark.parametrize("kind", KINDS)
def test_what_home_knows_it_cuts_as_before(kind: Kind, tmp_path: Path) -> None:
    home = opened(kind("hello", "old"), tmp_path / "home", added=["<|a|>"])
    other = opened(kind("he", "new"), tmp_path / "other", added=["<|b|>"])
    made = with_vocabulary(home, [other], union(home, other))
    text = "hello old <|a|> hello"
    assert made(text).input_ids == home(text).input_ids


def test_merges_of_the_other_make_its_own_pieces_only(tmp_path: Path) -> None:
    """Home cuts abc into a and bc, although it has a token abc; the other's way to it must not change that."""

    def made(*more: tuple[str, str]) -> Tokenizer:
        merges = [("b", "c"), *more]
        listed = dict.fromkeys([*tongues.SPECIAL, *"abcd", "ab", "abc", *(left + right for left, right in merges)])
        return Tokenizer(BPE({text: number for number, text in enumerate(listed)}, merges))

    home = opened(made(("a", "b"), ("ab", "c")), tmp_path / "home")
    other = opened(made(("a", "bc"), ("d", "d")), tmp_path / "other")
    assert [one.convert_ids_to_tokens(one("abc").input_ids) for one in (home, other)] == [["a", "bc"], ["abc"]]
    union_of_both = with_vocabulary(home, [other], union(home, other))
    assert union_of_both.convert_ids_to_tokens(union_of_both("abcdd").input_ids) == ["a", "bc", "dd"]


def test_pieces_without_a_score_are_the_last_that_a_unigram_takes(tmp_path: Path) -> None:
    home = opened(tongues.pieces("old"), tmp_path / "home")
    other = opened(tongues.words("\u2581o", "ld"), tmp_path / "other")
    made = with_vocabulary(home, [other], union(home, other))
    assert made.convert_ids_to_tokens(made("old").input_ids) == ["\u2581old"]


def test_only_added_tokens_leave_the_model_itself_alone(tmp_path: Path) -> None:
    home = opened(tongues.bytes_and_merges("hello"), tmp_path / "home")
    other = opened(tongues.bytes_and_merges("hello"), tmp_path / "other", added=["<|c|>", "<|b|>"])
    made = with_vocabulary(home, [other], dict(reversed(union(home, other).items())))
    before, after = (json.loads(one.backend_tokenizer.to_str()) for one in (home, made))
    assert after["model"] == before["model"]
    assert after["added_tokens"][:-2] == before["added_tokens"]
    assert [entry["content"] for entry in after["added_tokens"][-2:]] == ["<|c|>", "<|b|>"]
    assert after["added_tokens"][-1] | {"id": 0} == {
        "id": 0, "content": "<|b|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
        "special": True,
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_without_a_row_is_left_out_with_all_that_names_it(kind: Kind, tmp_path: Path) -> None:
    home = opened(kind("hello", "old"), tmp_path / "home", added=["[PAD]"], pad_token="[PAD]")
    assert home.pad_token == "[PAD]"
    ids = {text: number for text, number in home.get_vocab().items() if text != "[PAD]"}
    made = with_vocabulary(home, [], ids)
    assert made.get_vocab() == ids
    assert made.pad_token is None
    assert made("hello old").input_ids == home("hello old").input_ids


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_without_a_row_are_left_out_with_their_merges(kind: Kind, tmp_path: Path) -> None:
    home = opened(kind("hello", "zz"), tmp_path / "home")
    vocabulary = home.get_vocab()
    last = max(vocabulary, key=vocabulary.__getitem__)
    ids = {text: number for text, number in vocabulary.items() if text != last}
    made = with_vocabulary(home, [], ids)
    assert made.get_vocab() == ids
    assert vocabulary[last] not in made("hello zz old").input_ids


def test_a_token_of_the_recipe_alone_is_cut_out_of_text(tmp_path: Path) -> None:
    home = opened(tongues.bytes_and_merges("hello"), tmp_path / "home")
    ids = home.get_vocab() | {"<new>": len(home)}
    made = with_vocabulary(home, [], ids)
    assert made("hello<new>").input_ids[-1] == ids["<new>"]
    assert made.decode(made("hello<new>").input_ids, skip_special_tokens=True) == "hello<new>"


def test_a_token_that_transformers_adds_by_itself_stays_beyond_the_planned_ones(tmp_path: Path) -> None:
    home = opened(tongues.bytes_and_merges("hello"), tmp_path / "home", named="Qwen2Tokenizer")
    ids = {text: number for text, number in home.get_vocab().items() if text != OF_QWEN}
    ids["<new>"] = len(ids)
    made = with_vocabulary(home, [], ids).get_vocab()
    assert made == ids | {OF_QWEN: len(ids)}
    assert home.get_vocab()[OF_QWEN] == ids["<new>"]


def test_ids_that_no_tokenizer_can_have_are_refused_with_the_token(tmp_path: Path) -> None:
    home = opened(tongues.pieces("hello"), tmp_path / "home")
    ids = home.get_vocab() | {"<new>": len(home) + 3}
    with pytest.raises(AssemblyError, match=r"token '<new>' should get the id \d+, it gets \d+"):
        with_vocabulary(home, [], ids)


def test_the_same_tokens_give_the_same_tokenizer(tmp_path: Path) -> None:
    home = opened(tongues.words("hello"), tmp_path / "home")
    assert with_vocabulary(home, [], home.get_vocab()) is home


# ------------------------------------------------------------------------------------------------ chat templates

TALK = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi!"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Bye?"},
]
# name: (the talk, and the second line alone), each up to where the assistant is to speak; line ends are shown as /
RENDERED = {
    "alpaca": (
        "<s>Be kind.//### Instruction:/Hi!//### Response:/Hello.</s>//### Instruction:/Bye?//### Response:/",
        "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "//### Instruction:/Hi!//### Response:/",
    ),
    "chatml": (
        "<|im_start|>system/Be kind.<|im_end|>/<|im_start|>user/Hi!<|im_end|>/<|im_start|>assistant/Hello.<|im_end|>/"
        "<|im_start|>user/Bye?<|im_end|>/<|im_start|>assistant/",
        "<|im_start|>user/Hi!<|im_end|>/<|im_start|>assistant/",
    ),
    "exaone": (
        "[|system|]Be kind.[|endofturn|]/[|user|]Hi!/[|assistant|]Hello.[|endofturn|]/[|user|]Bye?/[|assistant|]",
        "[|system|][|endofturn|]/[|user|]Hi!/[|assistant|]",
    ),
    "llama3": (
        "<s><|start_header_id|>system<|end_header_id|>//Be kind.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>//Hi!<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>//Hello.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>//Bye?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>//",
        "<s><|start_header_id|>user<|end_header_id|>//Hi!<|eot_id|><|start_header_id|>assistant<|end_header_id|>//",
    ),
    "mistral": ("<s>[INST] Be kind.//Hi! [/INST] Hello.</s>[INST] Bye? [/INST]", "<s>[INST] Hi! [/INST]"),
}


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_transformers_renders_the_known_templates_as_their_makers_publish_them(name: str) -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tongues.words(), bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = TEMPLATES[name]
    whole, alone, begun = (
        tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=prompted)
        for talk, prompted in ((TALK, True), (TALK[1:2], True), (TALK[:3], False))
    )
    expected = tuple(text.replace("/", "\n").replace("<\n", "</").replace("[\n", "[/") for text in RENDERED[name])
    assert (whole, alone) == expected
    assert whole.startswith(begun)
    assert begun.endswith(("Hello.", "</s>", "|>", "|>\n", "|]\n", "</s>\n\n"))
