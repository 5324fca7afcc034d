"""The live model: shared memory, turns that redo only what changed, nothing half-made."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from mergelab.columns import in_bytes
from mergelab.errors import AssemblyError, FitError, MergelabError
from mergelab.models import Stopped, assemble
from mergelab.recipes import Recipe, graft, plan, repeat, stack
from tests.models.families import DEPTH, save

Trio = tuple[Path, Path, Path]


def state(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_repeated_layer_shares_its_memory_and_not_its_shell(llamas: Trio) -> None:
    with assemble(repeat(llamas[0], (2, 4), times=3)) as assembly:
        layers = assembly.model.model.layers
        assert len(layers) == DEPTH + 4
        first, again = layers[2], layers[4]
        assert first is not again
        assert first.self_attn.layer_idx == 2
        assert again.self_attn.layer_idx == 4
        for one, other in zip(first.parameters(), again.parameters(), strict=True):
            assert one.data_ptr() == other.data_ptr()


def test_grafted_layers_are_mapped_from_disk_and_not_copied(llamas: Trio) -> None:
    base, a, _ = llamas
    planned = plan(graft(base, a, (2, 4)))
    with assemble(planned) as assembly:
        donor = next(opened for source, opened in planned.checkpoints.items() if source.path == str(a))
        ours = assembly.model.model.layers[2].mlp.down_proj.weight
        assert ours.data_ptr() == donor.tensor("model.layers.2.mlp.down_proj.weight").data_ptr()


def test_a_turn_redoes_only_what_changed(llamas: Trio) -> None:
    base, a, _ = llamas

    def recipe(amount: float) -> Recipe:
        curve = [0.5, 0.5, 0.5, amount, 0.5, 0.5]
        return stack([(a, 0, DEPTH)], base=base, method="task_arithmetic", coefficient=curve)

    with assemble(recipe(0.25)) as assembly:
        model = assembly.model
        changes = assembly.turn(recipe(0.75))
        assert changes.redone == 9  # the nine tensors of layer 3
        assert changes.steps == len(assembly.plan.steps)
        assert changes.bytes_written == sum(step.bytes for step in assembly.plan.steps if ".layers.3." in step.name)
        assert changes.bytes_read == 2 * changes.bytes_written
        assert changes.first == 3
        assert not changes.rebuilt
        assert assembly.model is model
        assert assembly.turn(recipe(0.75)).redone == 0


def test_sources_are_never_changed(llamas: Trio) -> None:
    before = [path.read_bytes() for folder in llamas for path in sorted(folder.iterdir())]
    with assemble(stack([(llamas[1], 0, DEPTH)], base=llamas[0], method="slerp", coefficient=0.3)) as assembly:
        assembly.say("hello", max_new_tokens=4)
        assembly.turn(graft(llamas[0], llamas[2], (1, 3)))
        for parameter in assembly.model.parameters():
            assert not parameter.requires_grad
    assert before == [path.read_bytes() for folder in llamas for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_turns_of_a_checkpoint_saved_without_the_models_prefix(kind: str, family, tmp_path: Path) -> None:
    """Older folders name their tensors without "transformer." or "model.": repeated layers must not be mixed up."""
    import shutil

    from safetensors.torch import load_file, save_file

    folders = []
    for seed in (1, 2):
        folder = tmp_path / f"{kind}-{seed}"
        shutil.copytree(family(kind, seed), folder)
        tensors = load_file(folder / "model.safetensors")
        prefix = {"gpt2": "transformer.", "llama": "model."}[kind]
        save_file({name.removeprefix(prefix): value for name, value in tensors.items()}, folder / "model.safetensors")
        folders.append(folder)
    a, b = folders
    turns = [
        stack([(a, 0, 2), (a, 1, 4)], base=a),
        stack([(a, 0, 1), (b, 1, 2), (a, 1, 4)], base=a),
        stack([(a, 0, 1), (b, 1, 2), (a, 1, 4)], base=a, method="linear", coefficient=[1, 0.5, 1, 1, 0.25]),
        stack([(a, 0, 2), (a, 1, 4)], base=a),
    ]
    with assemble(turns[0]) as assembly:
        for recipe in turns[1:]:
            assembly.turn(recipe)
            with assemble(recipe) as fresh:
                assert same(state(assembly.model), state(fresh.model))


def test_a_turn_of_a_tied_model_turns_its_head_too(tmp_path: Path) -> None:
    a, b = (save("llama", tmp_path / f"tied-{seed}", seed=seed, tie_word_embeddings=True) for seed in (5, 6))
    with assemble(stack([(b, 0, DEPTH)], base=a, method="linear", coefficient=0.25)) as assembly:
        changed = stack([(b, 0, DEPTH)], base=a, method="linear", coefficient=0.75)
        assert not assembly.turn(changed).rebuilt
        with assemble(changed) as fresh:
            assert same(state(assembly.model), state(fresh.model))
            ids = torch.tensor([[1, 7, 40]])
            assert torch.equal(assembly.model(ids).logits, fresh.model(ids).logits)


def test_settings_of_generation_and_the_tokenizer_follow_the_donor(llamas: Trio, tmp_path: Path) -> None:
    import json
    import shutil

    other = tmp_path / "other"
    shutil.copytree(llamas[1], other)
    settings = json.loads((other / "generation_config.json").read_text())
    (other / "generation_config.json").write_text(json.dumps(settings | {"max_length": 17}))
    tokenizer = json.loads((other / "tokenizer_config.json").read_text())
    (other / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"model_max_length": 23}))
    with assemble(graft(llamas[0], other, (2, 4))) as assembly:
        assert assembly.model.generation_config.max_length != 17
        assert assembly.tokenizer.model_max_length != 23
        assembly.turn(graft(other, llamas[0], (2, 4)))
        assert assembly.tokenizer.model_max_length == 23
        assert assembly.model.generation_config.max_length == 17


def test_a_merge_of_dtypes_loads_in_the_widest(llamas: Trio, tmp_path: Path) -> None:
    narrow = save("llama", tmp_path / "narrow", seed=7)
    from safetensors.torch import load_file, save_file

    tensors = load_file(narrow / "model.safetensors")
    save_file({name: value.bfloat16() for name, value in tensors.items()}, narrow / "model.safetensors")
    planned = plan(stack([(narrow, 0, 2), (llamas[0], 2, DEPTH)], base=llamas[0]))
    assert [planned.steps[0].dtype, planned.steps[-1].dtype] == ["BF16", "F32"]
    assert planned.dtype == "F32"
    with assemble(planned) as assembly:
        assert assembly.model.dtype == torch.float32


def test_a_device_that_is_not_there_is_refused_in_words(llamas: Trio) -> None:
    for device, words in (("warp", "is unknown"), ("cuda:99", "cannot be used here")):
        with pytest.raises(AssemblyError, match=f"device: '{device}' {words}"):
            assemble(graft(llamas[0], llamas[1], (2, 4)), device=device)


def test_a_refused_turn_leaves_the_model_as_it_was(llamas: Trio, tmp_path: Path) -> None:
    wide = save("llama", tmp_path / "wide", seed=4, hidden_size=32)
    with assemble(graft(llamas[0], llamas[1], (2, 4))) as assembly:
        before, recipe = state(assembly.model), assembly.recipe
        with pytest.raises(FitError, match="width: 32 against 24"):
            assembly.turn(graft(llamas[0], wide, (2, 4)))
        assert same(state(assembly.model), before)
        assert assembly.recipe == recipe


def test_a_stopped_turn_leaves_the_model_as_it_was(llamas: Trio) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 20

    with assemble(graft(llamas[0], llamas[1], (2, 4))) as assembly:
        before = state(assembly.model)
        with pytest.raises(Stopped):
            assembly.turn(stack([(llamas[1], 0, DEPTH)], base=llamas[0], method="slerp", coefficient=0.5), stop=stop)
        assert asked == 21
        assert same(state(assembly.model), before)


def test_say_is_what_generate_writes(llamas: Trio) -> None:
    with assemble(graft(llamas[0], llamas[1], (2, 4))) as assembly:
        inputs = assembly.tokenizer("hello there", return_tensors="pt", return_token_type_ids=False)
        ids = assembly.model.generate(**inputs, max_new_tokens=7, do_sample=False)
        expected = assembly.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert assembly.say("hello there", max_new_tokens=7) == expected
        assert len(expected) > 0


def test_a_prompt_that_is_too_long_is_refused_in_words(llamas: Trio) -> None:
    with assemble(graft(llamas[0], llamas[1], (2, 4))) as assembly:
        with pytest.raises(AssemblyError, match="has 101 tokens, the model reads 64"):
            assembly.say("x" * 100)
        assert len(assembly.say("x" * 60, max_new_tokens=30)) <= 3  # 61 tokens with <s>: there is room for three


def test_a_prompt_that_is_too_long_is_said_once(llamas: Trio, caplog: pytest.LogCaptureFixture) -> None:
    """Not by transformers as well, whose tokenizer warns of what has been refused here."""
    from transformers.utils import logging

    logging.enable_propagation()
    try:
        with assemble(graft(llamas[0], llamas[1], (2, 4))) as assembly:
            assembly.tokenizer.model_max_length = 64
            with pytest.raises(AssemblyError, match="has 101 tokens"):
                assembly.say("x" * 100)
    finally:
        logging.disable_propagation()
    assert "indexing errors" not in caplog.text


def test_what_cannot_be_said_is_refused_in_words(llamas: Trio) -> None:
    with assemble(graft(llamas[0], llamas[1], (2, 4))) as assembly:
        assert assembly.say("", max_new_tokens=2) is not None, "<s> alone is a prompt"
        for odd in (["a", "b"], 3, None):
            with pytest.raises(AssemblyError, match=r"prompt: .+ is no text. Give one text"):
                assembly.say(odd)  # type: ignore[arg-type]
        for length in (0, -1, 1.5, True):
            with pytest.raises(AssemblyError, match=f"max_new_tokens: {length} is no number of tokens"):
                assembly.say("a", max_new_tokens=length)  # type: ignore[arg-type]
        assembly.tokenizer._tokenizer.post_processor = None
        with pytest.raises(AssemblyError, match=r"prompt: '' has no token\. Type a few words"):
            assembly.say("")


def test_assemblies_and_changes_in_words(llamas: Trio) -> None:
    def blend(amount: float) -> Recipe:
        curve = [0.5] * 4 + [amount, 0.5]
        return stack([(llamas[1], 0, DEPTH)], base=llamas[0], method="slerp", coefficient=curve)

    with assemble(blend(0.5)) as assembly:
        assert repr(assembly) == f"<Assembly of 6 layers on cpu: recipe {assembly.recipe.fingerprint}>"
        changes = replace(assembly.turn(blend(0.25)), seconds=0.0123456, bound="disk", from_disk=0)
        moved = in_bytes(changes.bytes_read + changes.bytes_written)
        steps = changes.steps
        assert str(changes) == f"9 of {steps} computed, 0 put into place, {moved}, 12.3 ms, bound by disk, from layer 4"
        assert pretty(changes) == str(changes)
        back = replace(assembly.turn(blend(0.5)), seconds=1.5, bound="planning", from_disk=0)
        assert str(back) == f"0 of {steps} computed, 9 put into place, 0 bytes, 1.5 s, bound by planning, from layer 4"
        assert ", nothing differs" in str(assembly.turn(blend(0.5)))
        still = replace(back, bound="")
        assert str(still) == str(back).replace("bound by planning", "nothing to compute")
        told = ", from layer 4, 2 kB of sources not kept, for want of room, 3 MB from disk"
        assert str(replace(back, streamed=2000, from_disk=3_000_000)).endswith(told)
        words = str(replace(back, first=6, rebuilt=True, warning="Memory may run out."))
        assert words.endswith(
            "1.5 s, bound by planning, only after the layers, the stack built anew. Memory may run out."
        )
    assert repr(assembly) == "<Assembly, closed>"
    with pytest.raises(AssemblyError, match=r"^this assembly is closed\. Assemble the recipe again"):
        assembly.say("a")


def test_a_build_and_a_load_at_the_same_time_leave_each_other_alone(tmp_path: Path) -> None:
    """transformers' from_pretrained patches its base class while it runs; a build on another thread must not mind."""
    path = save("llama", tmp_path / "tied", seed=5, tie_word_embeddings=True)
    ids, tie = torch.tensor([[1, 7, 40, 9]]), PreTrainedModel.tie_weights
    expected = AutoModelForCausalLM.from_pretrained(path)(ids).logits
    loaded: list[torch.Tensor] = []
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            loaded.append(AutoModelForCausalLM.from_pretrained(path)(ids).logits)

    user = threading.Thread(target=load)
    user.start()
    try:
        for _ in range(25):
            with assemble(stack([(path, 0, DEPTH)], base=path)) as assembly:
                assert torch.equal(assembly.model(ids).logits, expected)
                assert assembly.model.lm_head.weight is assembly.model.model.embed_tokens.weight
    finally:
        done.set()
        user.join()
    assert len(loaded) > 5
    assert all(torch.equal(logits, expected) for logits in loaded)
    assert PreTrainedModel.tie_weights is tie


def test_close_gives_everything_back(llamas: Trio) -> None:
    assembly = assemble(graft(llamas[0], llamas[1], (2, 4)))
    model = weakref.ref(assembly.model)
    assembly.close()
    assembly.close()
    gc.collect()
    assert model() is None
    for use in (lambda: assembly.say("hello"), lambda: assembly.turn(graft(llamas[0], llamas[1], (1, 4)))):
        with pytest.raises(AssemblyError, match="closed"):
            use()


def test_an_unknown_model_type_is_refused_before_any_weight_is_read(llamas: Trio, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "odd"
    shutil.copytree(llamas[0], copy)
    text = (copy / "config.json").read_text().replace('"model_type": "llama"', '"model_type": "lamma"')
    (copy / "config.json").write_text(text)
    with pytest.raises(MergelabError, match="'lamma' is unknown to the installed transformers"):
        assemble(graft(copy, copy, (0, 1)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_dtype_of_the_recipe_is_the_models(dtype: str, llamas: Trio) -> None:
    text = f"merge_method: linear\ndtype: {dtype}\nmodels:\n"
    text += "".join(f"  - {{model: {path}, parameters: {{weight: 0.5}}}}\n" for path in llamas[:2])
    with assemble(Recipe.load(text)) as assembly:
        assert assembly.model.dtype == getattr(torch, dtype)
        assert all(parameter.dtype == getattr(torch, dtype) for parameter in assembly.model.parameters())


def pretty(shown: Any) -> str:
    """What a notebook shows of it."""
    from IPython.lib.pretty import pretty as print_pretty

    return str(print_pretty(shown))
