"""Proof: what is as it should be holds; of what is not, tests/models/test_sabotage.py has the whole list."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mergelab.errors import AssemblyError, SourceError
from mergelab.forge.answering import STOPS_AFTER, WRITTEN, Answers, ends_at
from mergelab.forge.checks import opening, same_answers
from mergelab.forge.merge import merge
from mergelab.forge.proof import prove
from mergelab.forge.reopened import reopened, stored, tied
from mergelab.models import Stopped
from mergelab.recipes import Recipe, graft, repeat, stack
from tests.forge.test_merge import files
from tests.models import tongues
from tests.models.families import DEPTH
from tests.models.held import held
from tests.models.talking import ANSWERS, CHECKS, TALKING, Trio, broken, in_table, merged, said, talkers
from tests.models.test_mergekit_cases import cases

Family = Callable[[str, int], Path]


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Trio:
    return talkers(tmp_path_factory.mktemp("talkers"))


@pytest.fixture(scope="module")
def out(trio: Trio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return merged(trio, tmp_path_factory.mktemp("proof") / "merged")


@pytest.mark.parametrize(
    "kind",
    [
        "llama",
        "mistral",
        "qwen2",
        "qwen3",
        "gemma2",
        "gemma3_text",
        "olmo2",
        "gpt_neox",
        "gpt2",
        "mixtral",
        "qwen3_moe",
    ],
)
def test_what_was_merged_is_proven_and_left_as_it_is(kind: str, family: Family, tmp_path: Path) -> None:
    a, b = family(kind, 1), family(kind, 2)
    out = merge(
        stack([(a, 0, 3), (b, 2, 4), (a, 3, DEPTH)], base=a), tmp_path / "out", shard_bytes=100_000, prove=False
    )
    before = files(out)
    proof = prove(out)
    assert proof.holds, str(proof)
    assert tuple(check.name for check in proof.checks) == CHECKS
    tied = "tied" in said(proof, "opening") and "nothing tied" not in said(proof, "opening")
    assert tied == (kind in ("gemma2", "gemma3_text", "gpt2"))
    assert "2 prompts" in said(proof, "logits")
    assert files(out) == before


@pytest.mark.real
def test_every_shared_case_is_proven(shared: Path, tmp_path: Path) -> None:
    for case in cases(shared):
        recipe = Recipe.load(case / "config.yml", root=shared / "mergekit-cases")
        proof = prove(merge(recipe, tmp_path / case.name, prove=False), recipe)
        assert proof.holds, f"{case.name}\n{proof}"
        assert tuple(check.name for check in proof.checks) == TALKING, case.name
        assert "all that do so" in said(proof, "round trip"), case.name
    assert len(list(tmp_path.iterdir())) > 30


def test_a_proof_is_plain_data_and_a_text(out: Path) -> None:
    proof = prove(out)
    record = json.loads(json.dumps(proof.as_record()))
    assert record["holds"] is True
    assert [check["name"] for check in record["checks"]] == list(TALKING)
    assert str(proof).splitlines()[0] == "Proven: all 13 checks hold."
    assert all(check["said"] in str(proof) for check in record["checks"])
    assert prove(out).as_record() == proof.as_record()


def test_nothing_is_left_in_memory(family: Family, tmp_path: Path) -> None:
    out = merge(repeat(family("llama", 1), (1, 2)), tmp_path / "out", prove=False)
    for _ in range(3):
        prove(out)
    before = held()
    for _ in range(20):
        prove(out)
    assert held() - before < 2_000_000


def test_a_source_that_has_changed_since_shows_in_the_values(trio: Trio, tmp_path: Path) -> None:
    one, two = (Path(shutil.copytree(path, tmp_path / path.name)) for path in trio[:2])
    recipe = graft(one, two, (2, 4))
    out = merge(recipe, tmp_path / "out", prove=False)
    shutil.copyfile(trio[2] / "model.safetensors", two / "model.safetensors")
    for given in (None, recipe, out / "mergelab_recipe.yml"):
        proof = prove(out, given)
        assert broken(proof) == ("values", *ANSWERS)
        assert "model.layers.2." in said(proof, "values")
        assert "and " in said(proof, "values")


def test_what_is_infinite_in_a_source_may_be_so_and_what_overflows_may_not(trio: Trio, tmp_path: Path) -> None:
    one, two = (Path(shutil.copytree(path, tmp_path / path.name)) for path in trio[:2])
    tensors = load_file(one / "model.safetensors")
    tensors["model.embed_tokens.weight"][280, 3] = torch.inf  # a token that nobody uses
    save_file(tensors, one / "model.safetensors", {"format": "pt"})
    proof = prove(merge(graft(one, two, (2, 4)), tmp_path / "kept", prove=False))
    assert "finite" not in broken(proof)
    assert said(proof, "finite").startswith("1 of ")
    text = f"merge_method: linear\nmodels: [{{model: {two}, parameters: {{weight: 1e6}}}}]\n"
    recipe = Recipe.load(f"{text}parameters: {{normalize: false}}\nout_dtype: float16\n")
    proof = prove(merge(recipe, tmp_path / "over", prove=False))
    assert broken(proof)[:1] == ("finite",)
    assert "values that are infinite or not a number" in said(proof, "finite")
    assert ", and " in said(proof, "finite")


def test_a_donor_without_a_tokenizer_gives_none(family: Family, tmp_path: Path) -> None:
    out = merge(repeat(family("llama", 1), (1, 2)), tmp_path / "out", prove=False)
    assert "none was written" in said(prove(out), "tokenizer")
    (out / "tokenizer.json").write_text("{}")
    assert broken(prove(out)) == ("tokenizer",)


def test_a_tokenizer_that_transformers_cannot_read_is_compared_byte_by_byte(family: Family, tmp_path: Path) -> None:
    source = Path(shutil.copytree(family("llama", 1), tmp_path / "source"))
    (source / "tokenizer.json").write_text('{"model": {}}')
    out = merge(repeat(source, (1, 2)), tmp_path / "out", prove=False)
    assert "its 1 files are here, byte by byte" in said(prove(out), "tokenizer")
    (out / "tokenizer.json").write_text('{"model": { }}')
    assert broken(prove(out)) == ("tokenizer",)


def test_generation_is_tried_for_every_end_of_text(trio: Trio, tmp_path: Path) -> None:
    source = Path(shutil.copytree(trio[0], tmp_path / "source"))
    in_table("generation_config.json", lambda t: t.update(eos_token_id=[7, 100]))(source)
    proof = prove(merge(repeat(source, (1, 2)), tmp_path / "out", prove=False))
    assert proof.holds, str(proof)
    assert said(proof, "ending") == "generation ends at 7, 100, tried for each, the tokenizer's is 2, as at home."


def test_a_vocabulary_of_several_models_is_proven(trio: Trio, tmp_path: Path) -> None:
    other = Path(shutil.copytree(trio[1], tmp_path / "other"))
    words = tongues.bytes_and_merges("the cat", "don't", "mat")
    tongues.save(words, other, added=["<|end|>"])
    text = f"""merge_method: linear
base_model: {trio[0]}
models:
  - {{model: {trio[0]}, parameters: {{weight: 0.5}}}}
  - {{model: {other}, parameters: {{weight: 0.5}}}}
tokenizer: {{source: union}}
chat_template: chatml
"""
    proof = prove(merge(Recipe.load(text), tmp_path / "out", prove=False))
    assert proof.holds, str(proof)
    assert "3 talks are rendered" in said(proof, "chat template")
    assert "6 of 6 texts" in said(proof, "round trip")


def test_a_forced_end_is_the_only_one_that_ends(out: Path) -> None:
    model, faults = reopened(out, stored(out).tensors)
    assert not faults
    assert ends_at(model, [5, 6, 7], [9], 9) == STOPS_AFTER
    assert ends_at(model, [5, 6, 7], [8, 9], 8) == STOPS_AFTER
    assert ends_at(model, [5, 6, 7], [9], 8) == WRITTEN


def test_what_is_tied_in_one_model_alone_is_found(out: Path) -> None:
    model, _ = reopened(out, stored(out).tensors)
    assert tied(model) == []
    head = ("lm_head.weight", "model.embed_tokens.weight")
    model.lm_head.weight = model.model.embed_tokens.weight
    assert tied(model) == [head]
    assert opening([], model, [head], [head]).holds
    check = opening([], model, [], [head])
    assert not check.holds
    assert check.said == "tied are lm_head.weight = model.embed_tokens.weight, in the live model none."


def test_a_device_that_adds_up_in_another_order_is_held_to_its_own_spread() -> None:
    def heard(*values: float) -> Answers:
        one = (torch.tensor([values]),)
        return Answers(one, one, one)

    first, second = heard(1.0, 2.0), heard(1.0, 2.0 + 2**-20)
    assert all(check.holds for check in same_answers([first], first))
    assert not any(check.holds for check in same_answers([first], second))
    held_to = same_answers([first, second], heard(1.0 - 2**-21, 2.0))
    assert all(check.holds and "within 9.5e-07" in check.said for check in held_to)
    assert not any(check.holds for check in same_answers([first, second], heard(1.0 - 2**-19, 2.0)))
    assert not any(check.holds for check in same_answers([first, second], heard(float("nan"), 2.0)))


def test_what_cannot_be_proven_is_an_error(out: Path, trio: Trio, tmp_path: Path, family: Family) -> None:
    with pytest.raises(SourceError, match="is no folder"):
        prove(tmp_path / "nowhere")
    with pytest.raises(SourceError, match=r"has no mergelab_recipe\.yml.*prove\(out, recipe\)"):
        prove(trio[0])
    with pytest.raises(AssemblyError, match="cuda:99"):
        prove(out, device="cuda:99")
    with pytest.raises(Stopped):
        prove(out, stop=lambda: True)


def test_a_right_model_that_cannot_be_run_here_is_an_error_that_says_so(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = merge(repeat(family("llama", 1), (1, 2)), tmp_path / "out", prove=False)

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("strides should be multiple of 16 bytes")

    monkeypatch.setattr("mergelab.forge.proof.answers", refuse)
    with pytest.raises(AssemblyError, match=r"could not be run here \(RuntimeError: strides.*prove=False \(--no-prove"):
        prove(out)


def test_a_stop_is_heeded_wherever_the_proof_is(out: Path) -> None:
    asked = 0

    def count() -> bool:
        nonlocal asked
        asked += 1
        return False

    prove(out, stop=count)
    total, points = asked, 0
    for last in range(1, total, total // 12):
        asked = 0
        with pytest.raises(Stopped):
            prove(out, stop=lambda last=last: count() or asked >= last)  # noqa: B023 - it is over before the next
        points += 1
        assert asked == last
    assert points >= 12
