"""Models of several vocabularies merged: the rows of every token, live and on disk, and what transformers loads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from mergelab.forge.merge import RECIPE_FILE, merge
from mergelab.models import assemble
from mergelab.models.verdict import check
from mergelab.recipes import Part, Recipe, Slice, numbers, plan
from mergelab.recipes.recipe import Token, Vocabulary
from mergelab.weights import Source
from tests.models import families, tongues

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def model(
    folder: Path, made: Any, *, seed: int, kind: str = "llama", padding: int = 0, how: Any = (), **config: Any
) -> Source:
    """A tiny model with a tokenizer, and so many more rows than tokens.

    Args:
        how: settings of ``tongues.save``.
        config: settings of the model.
    """
    count = tongues.save(made, folder, **dict(how))
    families.save(kind, folder, seed=seed, **{"vocab_size": count + padding, "pad_token_id": None} | config)
    return Source(str(folder))


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, Source, Source]:
    """Three models of different vocabularies; the second has padding rows, the third has a chat token of its own."""
    root = tmp_path_factory.mktemp("trio")
    return (
        model(root / "a", tongues.words("the", "cat", "sat"), seed=1),
        model(root / "b", tongues.words("sat", "dog", "the", "mat"), seed=2, padding=3),
        model(root / "c", tongues.words("mat", "ran"), seed=3, how={"added": ["<|end|>"], "pad_token": "<|end|>"}),
    )


def mixed(*sources: Source, weights: Sequence[float] = (), **changes: Any) -> Recipe:
    """A linear merge of whole models."""
    shares = weights or [1.0 / len(sources)] * len(sources)
    parts = (Part(source, None, numbers({"weight": share})) for source, share in zip(sources, shares, strict=True))
    return replace(Recipe("linear", (Slice(tuple(parts)),)), **changes)


def stored(source: Source) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    folder = Path(source.path)
    return load_file(folder / "model.safetensors"), AutoTokenizer.from_pretrained(folder).get_vocab()


def check_alike(recipe: Recipe, out: Path) -> tuple[Any, Any]:
    """Live and disk agree bit for bit, tokenizers too, and transformers loads the folder; gives model and tokenizer."""
    merge(recipe, out)
    written = load_file(out / "model.safetensors")
    loaded, report = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer = AutoTokenizer.from_pretrained(out)
    with assemble(recipe) as assembly:
        live = assembly.model.state_dict()
        assert all(torch.equal(tensor, live[name]) for name, tensor in written.items())
        assert loaded.config.vocab_size == assembly.model.config.vocab_size == live[EMBEDDING].shape[0]
        assert tokenizer.get_vocab() == assembly.tokenizer.get_vocab()
        assert tokenizer.chat_template == assembly.tokenizer.chat_template
        assert len(tokenizer) <= loaded.config.vocab_size
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            assert getattr(loaded.config, name) == getattr(assembly.model.config, name)
            mine, theirs = (getattr(one.generation_config, name) for one in (loaded, assembly.model))
            assert mine == theirs
        text = "the cat sat on a mat <|end|> dog"
        assert tokenizer(text).input_ids == assembly.tokenizer(text).input_ids
        ids = torch.tensor([tokenizer(text).input_ids])
        assert torch.equal(loaded(ids).logits, assembly.model(ids).logits)
        assert isinstance(assembly.say("the cat", max_new_tokens=3), str)
    assert Recipe.load(out / RECIPE_FILE) == recipe
    return loaded, tokenizer


@pytest.mark.parametrize("dtype", [None, "BF16"])
def test_a_union_is_merged_token_by_token_live_and_on_disk(
    dtype: str | None, trio: tuple[Source, Source, Source], tmp_path: Path
) -> None:
    recipe = mixed(*trio, weights=(0.5, 0.3, 0.2), vocabulary=Vocabulary("union"), dtype=dtype)
    loaded, tokenizer = check_alike(recipe, tmp_path / "out")
    sources = [stored(source) for source in trio]
    ids = tokenizer.get_vocab()
    assert ids == sources[0][1] | {"dog": 6, "mat": 7, "ran": 8, "<|end|>": 9}
    assert tokenizer.convert_tokens_to_ids("<|end|>") in tokenizer("cat<|end|>").input_ids
    for name in (EMBEDDING, HEAD):
        result = loaded.state_dict()[name]
        assert result.shape == (10, 24)
        for text, number in ids.items():
            own = [
                tensors[name][vocabulary[text]].double() if text in vocabulary else None
                for tensors, vocabulary in sources
            ]
            owners = [row for row in own if row is not None]
            borrowed = own[0] if own[0] is not None else sum(owners) / len(owners)
            expected = sum(
                weight * (borrowed if row is None else row) for weight, row in zip((0.5, 0.3, 0.2), own, strict=True)
            )
            torch.testing.assert_close(
                result[number].double(), expected, rtol=1e-2 if dtype else 1e-6, atol=1e-2 if dtype else 1e-6
            )


def test_padding_rows_are_the_mean_of_each_models_rows(trio: tuple[Source, Source, Source], tmp_path: Path) -> None:
    a, b, _ = trio
    recipe = mixed(a, b, weights=(0.25, 0.75), vocabulary=Vocabulary("union", pad_to_multiple_of=16))
    loaded, tokenizer = check_alike(recipe, tmp_path / "out")
    assert (len(tokenizer), loaded.config.vocab_size) == (8, 16)
    means = [stored(source)[0][EMBEDDING].double().mean(0) for source in (a, b)]
    expected = (0.25 * means[0] + 0.75 * means[1]).expand(8, -1)
    torch.testing.assert_close(loaded.state_dict()[EMBEDDING][8:].double(), expected, rtol=1e-6, atol=1e-6)


def test_the_base_keeps_its_ids_and_the_others_follow_it(trio: tuple[Source, Source, Source], tmp_path: Path) -> None:
    a, b, c = trio
    recipe = mixed(a, c, weights=(0.5, 0.5), base=b, vocabulary=Vocabulary("base"))
    parts = (*recipe.slices[0].parts, Part(b, None, numbers({"weight": 1.0})))
    loaded, tokenizer = check_alike(replace(recipe, slices=(Slice(parts),)), tmp_path / "out")
    assert tokenizer.get_vocab() == stored(b)[1]
    assert loaded.config.vocab_size == 7  # its rows of padding are gone


@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
def test_task_vectors_are_taken_of_aligned_matrices(
    method: str, trio: tuple[Source, Source, Source], tmp_path: Path
) -> None:
    a, b, c = trio
    recipe = mixed(a, b, c, base=a, method=method, vocabulary=Vocabulary("union"))
    loaded, tokenizer = check_alike(recipe, tmp_path / "out")
    (ground, _), (other, known) = stored(a), stored(b)
    row = loaded.state_dict()[EMBEDDING][tokenizer.get_vocab()["dog"]]
    torch.testing.assert_close(row, other[EMBEDDING][known["dog"]])  # nobody else knows it: no change to any of them
    assert not torch.equal(loaded.state_dict()[EMBEDDING][3], ground[EMBEDDING][3])


def test_a_graft_takes_embeddings_of_one_model_and_tokens_of_both(
    trio: tuple[Source, Source, Source], tmp_path: Path
) -> None:
    a, b, _ = trio
    slices = tuple(Slice((Part(source, run),)) for source, run in ((a, (0, 2)), (b, (2, 5)), (a, (5, 6))))
    loaded, tokenizer = check_alike(Recipe("passthrough", slices, vocabulary=Vocabulary()), tmp_path / "out")
    (own, known), (other, theirs) = stored(a), stored(b)
    ids = tokenizer.get_vocab()
    assert list(ids.values()) != []
    for name in (EMBEDDING, HEAD):
        for text, number in ids.items():
            expected = own[name][known[text]] if text in known else other[name][theirs[text]]
            assert torch.equal(loaded.state_dict()[name][number], expected), text


def test_what_would_be_copied_is_rounded_once_where_rows_are_means(
    trio: tuple[Source, Source, Source], tmp_path: Path
) -> None:
    a, _, _ = trio
    whole = Recipe("passthrough", (Slice((Part(a),)),), dtype="BF16")
    half = Source(str(merge(whole, tmp_path / "half")))
    padded = Recipe("passthrough", (Slice((Part(half),)),), vocabulary=Vocabulary(pad_to_multiple_of=8))
    loaded, _ = check_alike(padded, tmp_path / "out")
    assert loaded.dtype == torch.bfloat16
    matrix = stored(half)[0][EMBEDDING]
    assert torch.equal(loaded.state_dict()[EMBEDDING][:6], matrix)
    assert torch.equal(loaded.state_dict()[EMBEDDING][7], matrix.double().mean(0).to(torch.bfloat16))


def test_what_is_said_of_single_tokens_holds(trio: tuple[Source, Source, Source], tmp_path: Path) -> None:
    a, b, c = trio
    words = Vocabulary(
        "base",
        tokens=(
            ("<new>", Token(b, "dog")),
            ("<nil>", Token(zero=True)),
            ("<|end|>", Token(c)),
            ("cat", Token(b, 2, force=True)),
            ("sat", Token(b, "mat")),
        ),
    )
    loaded, tokenizer = check_alike(mixed(a, b, weights=(0.5, 0.5), vocabulary=words), tmp_path / "out")
    (own, known), (other, theirs), (third, chat) = stored(a), stored(b), stored(c)
    rows = {text: loaded.state_dict()[EMBEDDING][number] for text, number in tokenizer.get_vocab().items()}
    assert list(tokenizer("cat<new><|end|><nil>").input_ids) == [4, 6, 8, 7]
    assert torch.equal(rows["<new>"], other[EMBEDDING][theirs["dog"]])
    assert torch.equal(rows["<nil>"], torch.zeros(24))
    assert torch.equal(rows["<|end|>"], third[EMBEDDING][chat["<|end|>"]])
    assert tokenizer.backend_tokenizer.get_added_tokens_decoder()[8].special
    assert torch.equal(rows["cat"], other[EMBEDDING][2])
    both = own[EMBEDDING][known["sat"]], other[EMBEDDING][theirs["sat"]]
    torch.testing.assert_close(rows["sat"], (both[0] + both[1]) / 2)  # both have it: nothing to take elsewhere


def test_the_tokenizer_of_a_model_brings_its_special_tokens(tmp_path: Path) -> None:
    a = model(tmp_path / "a", tongues.words("the", "cat"), seed=1, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    chat = tongues.words("cat", "x", "y")
    b = model(tmp_path / "b", chat, seed=2, how={"added": ["<|end|>"]}, bos_token_id=4, eos_token_id=6)
    for source, settings in (
        (a, {"eos_token_id": [2], "temperature": 0.5, "do_sample": True}),
        (b, {"eos_token_id": [6, 2]}),
    ):
        (Path(source.path) / "generation_config.json").write_text(json.dumps(settings))
    loaded, tokenizer = check_alike(mixed(a, b, vocabulary=Vocabulary(b)), tmp_path / "out")
    assert tokenizer.get_vocab() == stored(b)[1]
    assert (loaded.config.bos_token_id, loaded.config.eos_token_id, loaded.config.pad_token_id) == (4, 6, None)
    written = GenerationConfig.from_pretrained(tmp_path / "out")
    assert (written.eos_token_id, written.temperature) == ([6, 2], 0.5)
    (Path(b.path) / "generation_config.json").unlink()
    loaded, _ = check_alike(mixed(a, b, vocabulary=Vocabulary(b)), tmp_path / "again")
    assert loaded.generation_config.eos_token_id == 6


@pytest.mark.parametrize("make", [tongues.bytes_and_merges, tongues.pieces])
def test_pieces_of_other_kinds_of_tokenizers_come_along(make: Any, tmp_path: Path) -> None:
    a = model(tmp_path / "a", make("hello", "old"), seed=1)
    b = model(tmp_path / "b", make("hello", "moon"), seed=2, how={"added": ["<|end|>"]})
    loaded, tokenizer = check_alike(mixed(a, b, vocabulary=Vocabulary()), tmp_path / "out")
    (own, known), (other, theirs) = stored(a), stored(b)
    ids = tokenizer.get_vocab()
    assert ids.items() >= known.items()
    assert ids.keys() == known.keys() | theirs.keys()
    moon = next(text for text in theirs if text in ("\u2581moon", "Ġmoon"))
    assert ids[moon] in tokenizer("hello moon").input_ids
    assert torch.equal(loaded.state_dict()[EMBEDDING][ids[moon]], other[EMBEDDING][theirs[moon]])
    assert own[EMBEDDING].shape[0] < len(ids)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True)])
def test_tied_heads_borrow_from_heads(first: bool, second: bool, tmp_path: Path) -> None:
    a = model(tmp_path / "a", tongues.words("the", "cat"), seed=1, tie_word_embeddings=first)
    b = model(tmp_path / "b", tongues.words("the", "dog"), seed=2, tie_word_embeddings=second)
    loaded, tokenizer = check_alike(mixed(a, b, vocabulary=Vocabulary()), tmp_path / "out")
    (_, known), (other, theirs) = stored(a), stored(b)
    ids = tokenizer.get_vocab()
    assert ids == known | {"dog": 5}
    head = other.get(HEAD, other[EMBEDDING])[theirs["dog"]]
    assert torch.equal(loaded.get_output_embeddings().weight[5], head)
    assert torch.equal(loaded.get_input_embeddings().weight[5], other[EMBEDDING][theirs["dog"]])
    assert loaded.config.tie_word_embeddings == (first and second)


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "gemma2", "qwen3"])
def test_families_are_aligned_by_the_number_of_rows_alone(kind: str, tmp_path: Path) -> None:
    """The tokens of the GPT-2 here are as many as its positions."""
    listed = [f"w{number}" for number in range(61)]  # with three special ones: as many as there are positions
    a = model(tmp_path / "a", tongues.words(*listed), seed=1, kind=kind)
    b = model(tmp_path / "b", tongues.words(*listed[:20], "new"), seed=2, kind=kind)
    out = merge(mixed(a, b, vocabulary=Vocabulary()), tmp_path / "out")
    loaded, report = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    rows = loaded.get_input_embeddings().weight
    theirs = AutoModelForCausalLM.from_pretrained(b.path).get_input_embeddings().weight
    assert rows.shape[0] == 65
    assert torch.equal(rows[64], theirs[23])


def test_a_stage_with_its_own_tokens_is_as_if_merged_to_a_folder_first(
    trio: tuple[Source, Source, Source], tmp_path: Path
) -> None:
    a, b, c = trio
    chat = "{% for message in messages %}{{ message.content }}<|end|>{% endfor %}"
    first = mixed(a, c, vocabulary=Vocabulary(), chat_template=chat, dtype="BF16", name="first")
    last = mixed(Source("first"), b, vocabulary=Vocabulary(pad_to_multiple_of=4), stages=(first,))
    loaded, tokenizer = check_alike(last, tmp_path / "out")
    assert tokenizer.chat_template == chat
    folder = merge(replace(first, name=None), tmp_path / "first")
    again = merge(mixed(Source(str(folder)), b, vocabulary=Vocabulary(pad_to_multiple_of=4)), tmp_path / "again")
    one, other = (load_file(path / "model.safetensors") for path in (tmp_path / "out", again))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert AutoTokenizer.from_pretrained(again).get_vocab() == tokenizer.get_vocab()
    silent = Recipe("passthrough", (Slice((Part(Source("first")),)),), stages=(first,))
    _, passed = check_alike(silent, tmp_path / "silent")
    assert passed.get_vocab() == AutoTokenizer.from_pretrained(folder).get_vocab()
    assert passed.chat_template == chat
    assert loaded.config.vocab_size == 12


@pytest.mark.parametrize("legacy", [False, True])
def test_a_stage_may_give_the_tokenizer_alone(
    legacy: bool, trio: tuple[Source, Source, Source], tmp_path: Path
) -> None:
    a, b, _ = trio
    first, words = mixed(b, vocabulary=Vocabulary("base"), name="first"), Vocabulary(Source("first"), legacy=legacy)
    recipe = mixed(a, vocabulary=words, stages=(first,))
    assert recipe.sources == (a, b)
    assert plan(recipe).alignment.home == Source("first")
    _, tokenizer = check_alike(recipe, tmp_path / "out")
    assert tokenizer.get_vocab() == stored(b)[1] != stored(a)[1]
    assert check(recipe).merged
    assert recipe.expand().rows


def test_a_stage_may_give_the_row_of_a_token_alone(trio: tuple[Source, Source, Source], tmp_path: Path) -> None:
    a, b, c = trio
    first = mixed(b, c, vocabulary=Vocabulary(), name="first")
    words = Vocabulary("base", tokens=(("dog", Token(Source("first"))),))
    recipe = mixed(a, vocabulary=words, stages=(first,))
    assert recipe.sources == (a, b, c)
    loaded, tokenizer = check_alike(recipe, tmp_path / "out")
    rows, ids = stored(b)
    row = loaded.state_dict()[EMBEDDING][tokenizer.get_vocab()["dog"]]
    torch.testing.assert_close(row, rows[EMBEDDING][ids["dog"]], rtol=1e-6, atol=1e-7)


def test_a_chat_template_alone_changes_nothing_else(trio: tuple[Source, Source, Source], tmp_path: Path) -> None:
    a, _, _ = trio
    plain = mixed(a, a)
    loaded, tokenizer = check_alike(replace(plain, chat_template="chatml"), tmp_path / "out")
    talk = [{"role": "user", "content": "the cat"}]
    assert tokenizer.apply_chat_template(talk, tokenize=False) == "<|im_start|>user\nthe cat<|im_end|>\n"
    assert (tmp_path / "out" / "chat_template.jinja").is_file()
    merge(plain, tmp_path / "plain")
    files = {path.name: path.read_bytes() for path in (tmp_path / "plain").glob("tokenizer*")}
    assert files == {path.name: path.read_bytes() for path in Path(a.path).glob("tokenizer*")}
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "plain"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert loaded.config.vocab_size == 6


def test_turns_redo_what_they_must(trio: tuple[Source, Source, Source]) -> None:
    a, b, _ = trio
    words = Vocabulary("union")
    with assemble(mixed(a, b, vocabulary=words)) as assembly:
        tokenizer = assembly.tokenizer
        assert len(tokenizer) == 8
        changes = assembly.turn(mixed(a, b, weights=(0.9, 0.1), vocabulary=words))
        assert not changes.rebuilt
        assert assembly.tokenizer is tokenizer
        assert assembly.turn(mixed(a, b, weights=(0.9, 0.1), vocabulary=words)).redone == 0
        changes = assembly.turn(mixed(a, b, weights=(0.9, 0.1), vocabulary=Vocabulary("base")))
        assert changes.redone == 2  # embedding and head
        assert changes.rebuilt
        assert len(assembly.tokenizer) == 6
        assembly.turn(mixed(a, b, vocabulary=Vocabulary("base"), chat_template="chatml"))
        assert "<|im_start|>" in assembly.tokenizer.chat_template
        assembly.turn(mixed(a, a))
        assert assembly.tokenizer.chat_template is None


def test_one_vocabulary_for_all_costs_nothing(trio: tuple[Source, Source, Source]) -> None:
    a, _, _ = trio
    grafted = Recipe("passthrough", (Slice((Part(a, (0, 6)),)),), vocabulary=Vocabulary("union"))
    assert all(step.copies for step in plan(grafted).steps)
