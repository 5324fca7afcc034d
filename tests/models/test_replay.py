"""Replay: the same bits as a whole pass, in every family, after any changes; and only what is downstream runs."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from mergelab.errors import AssemblyError
from mergelab.models import assemble
from mergelab.models.replay import Replay, stoppable
from mergelab.models.speak import Stopped
from mergelab.recipes import Part, Recipe, Rule, Setting, Slice, numbers, stack
from mergelab.weights import Source
from tests.models.asking import Trio, blend
from tests.models.families import DEPTH, FAMILIES

Family = Callable[[str, int], Path]
IDS = torch.tensor([[1, 5, 9, 33, 7, 20, 41, 3, 60, 11], [1, 6, 8, 33, 7, 21, 40, 4, 60, 12]])
LAYER = IDS.numel() * 24 * 4  # bytes of one layer's output


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


class Counted:
    """A model that notes which layers run."""

    def __init__(self, path: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(path).eval()
        self.ran: list[int] = []
        for number, layer in enumerate(layers(self.model)):
            layer.register_forward_hook(lambda *_, number=number: self.ran.append(number))

    def since(self) -> list[int]:
        """The layers that ran since this was last asked."""
        ran, self.ran[:] = list(self.ran), []
        return ran


def layers(model: Any) -> torch.nn.ModuleList:
    """By name, in the three ways that the families have: not how replay finds them."""
    for name in ("model.layers", "transformer.h", "gpt_neox.layers"):
        try:
            return model.get_submodule(name)
        except AttributeError:
            continue
    raise AssertionError(type(model))


def shake(module: torch.nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    for parameter in module.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))


def ending_after(count: int) -> Callable[[], bool]:
    """A stop that says no ``count`` times."""
    answers = iter([False] * count)
    return lambda: next(answers, True)


@pytest.fixture
def counted(family: Family) -> Counted:
    return Counted(family("llama", 1))


@pytest.mark.parametrize("kind", FAMILIES)
def test_it_equals_a_whole_pass_bit_for_bit_after_any_changes(kind: str, family: Family) -> None:
    """Layers, the head and what stands in front of the layers change; batches come and go; passes are broken off."""
    subject, replay, chance = Counted(family(kind, 1)), Replay(), random.Random(kind)
    model, stack = subject.model, layers(subject.model)
    batches = [IDS, IDS[:1], IDS[1:, :4]]
    saved = dict.fromkeys(range(len(batches)), 0)  # how many layers of each batch are known
    for turn in range(14):
        first = chance.randrange(DEPTH + 2)
        if first == 0:
            shake(model.get_input_embeddings(), turn)
        elif first < DEPTH:
            shake(stack[first], turn)
        elif first == DEPTH:
            shake(model.get_output_embeddings(), turn)
            tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
            first = 0 if tied else DEPTH
        replay.changed(first)
        saved = {place: min(known, first) for place, known in saved.items()}
        place, wanted = chance.randrange(len(batches)), chance.randrange(1, 4)
        if turn % 3 == 2 and saved[place] < DEPTH:
            more = chance.randrange(DEPTH - saved[place])
            with pytest.raises(Stopped):  # one question before the pass, and one before each layer
                replay.forward(model, batches[place], wanted, stop=ending_after(more + 1))
            saved[place] += more
        whole = model(batches[place], use_cache=False, logits_to_keep=wanted).logits
        subject.since()
        logits, last = replay.forward(model, batches[place], wanted)
        assert subject.since() == list(range(saved[place], DEPTH))
        assert torch.equal(logits, whole)
        assert last.shape == (*batches[place].shape, 24)
        saved[place] = DEPTH
    assert replay.bytes == sum(batches[place].numel() * 24 * 4 * known for place, known in saved.items())


@pytest.mark.parametrize("seed", range(2))
def test_turns_of_an_assembly_say_from_where_to_go_on(seed: int, llamas: Trio) -> None:
    """Dials turn and stacks grow, shrink and change their order: what replays is what the model itself says."""
    base, a, b = llamas
    chance, replay, firsts = random.Random(seed), Replay(), []
    assembly = assemble(blend(llamas, 0.5))
    for _ in range(15):
        curve = [0.5] * DEPTH
        curve[chance.randrange(DEPTH)] = chance.choice((0.25, 0.5, 1.0))
        tail = chance.randrange(1, DEPTH)
        recipe = chance.choice((
            blend(llamas, curve),
            stack([(a, 0, tail), (b, tail, DEPTH)], base=base),
            stack([(a, 0, DEPTH), (a, tail, DEPTH)], base=base),
            stack([(a, 0, tail)], base=base),
            stack([(a, 0, tail)], base=b),
        ))  # fmt: skip
        firsts.append(assembly.turn(recipe).first)
        replay.changed(firsts[-1])
        logits, last = replay.forward(assembly.model, IDS)
        assert torch.equal(logits, assembly.model(IDS, use_cache=False, logits_to_keep=1).logits)
        assert torch.equal(last, Replay(budget=0).forward(assembly.model, IDS)[1])
    assembly.close()
    assert len(dict.fromkeys(firsts)) > 3  # it did go on from several places


def test_a_head_that_is_the_embedding_too_changes_the_first_layer(llamas: Trio, tmp_path: Path) -> None:
    """A tied checkpoint may store its one matrix under the name of the head, behind the layers."""
    paths = []
    for path in llamas[:2]:
        paths.append(Path(shutil.copytree(path, tmp_path / path.name)))
        tensors = load_file(path / "model.safetensors")
        del tensors["model.embed_tokens.weight"]
        save_file(tensors, paths[-1] / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((path / "config.json").read_text())
        (paths[-1] / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))

    def recipe(head: float, norm: float) -> Recipe:
        asked = Setting((Rule(head, "lm_head"), Rule(norm, "model.norm"), Rule(0.5)))
        first, second = (Source(str(path)) for path in paths)
        parts = (Part(first, None, numbers({"weight": 1.0})), Part(second, None, numbers({"weight": asked})))
        return Recipe("linear", (Slice(parts),))

    replay = Replay()
    with assemble(recipe(0.5, 0.5)) as assembly:
        assert assembly.model.lm_head.weight is assembly.model.model.embed_tokens.weight
        for turned, first in ((recipe(0.9, 0.5), 0), (recipe(0.9, 0.7), DEPTH), (recipe(0.2, 0.7), 0)):
            replay.forward(assembly.model, IDS)
            assert assembly.turn(turned).first == first
            replay.changed(first)
            logits, _ = replay.forward(assembly.model, IDS)
            assert torch.equal(logits, assembly.model(IDS, use_cache=False, logits_to_keep=1).logits)


def test_batches_of_which_nothing_is_kept_are_forgotten(counted: Counted) -> None:
    replay = Replay()
    for number in range(5):
        replay.forward(counted.model, IDS + number)
        replay.changed(0)
    assert len(replay._kept) == 1


@pytest.mark.parametrize("first", range(DEPTH + 1))
def test_only_what_is_downstream_runs(first: int, counted: Counted) -> None:
    replay = Replay()
    replay.forward(counted.model, IDS)
    assert counted.since() == list(range(DEPTH))
    replay.changed(first)
    replay.forward(counted.model, IDS)
    assert counted.since() == list(range(first, DEPTH))


def test_a_pass_ends_within_one_layer_and_goes_on_where_it_ended(counted: Counted) -> None:
    replay = Replay()
    with pytest.raises(Stopped):
        replay.forward(counted.model, IDS, stop=ending_after(4))
    assert counted.since() == [0, 1, 2]  # one question before the pass, one before each layer
    logits, _ = replay.forward(counted.model, IDS)
    assert counted.since() == [3, 4, 5]
    assert torch.equal(logits, counted.model(IDS, use_cache=False, logits_to_keep=1).logits)


def test_the_last_state_is_what_the_final_norm_is_given(counted: Counted) -> None:
    given: list[torch.Tensor] = []
    hook = counted.model.model.norm.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    for replay in (Replay(), Replay(budget=0)):
        _, last = replay.forward(counted.model, IDS)
        assert torch.equal(last, given[-1])
    hook.remove()


def test_the_model_is_left_as_it_was(counted: Counted) -> None:
    def shape(module: torch.nn.Module) -> list[Any]:
        return [
            (name, id(one), tuple(one.__dict__), len(one._forward_hooks), len(one._forward_pre_hooks))
            for name, one in module.named_modules()
        ]

    before, replay = shape(counted.model), Replay()
    replay.forward(counted.model, IDS)
    with pytest.raises(Stopped):
        stoppable(counted.model, lambda: True)(IDS)
    assert shape(counted.model) == before


def test_the_budget_holds_and_what_was_read_longest_ago_goes_first(counted: Counted) -> None:
    replay, other, third = Replay(budget=13 * LAYER), IDS + 1, IDS + 2
    for ids in (IDS, other, IDS, third):
        replay.forward(counted.model, ids)
    assert replay.bytes == 12 * LAYER
    counted.since()
    for ids, ran in ((third, []), (IDS, []), (other, list(range(DEPTH)))):
        replay.forward(counted.model, ids)
        assert counted.since() == ran
    replay.forget()
    assert replay.bytes == 0
    replay.forward(counted.model, IDS)
    assert counted.since() == list(range(DEPTH))


@pytest.mark.parametrize("layers_kept", [0, 4])
def test_a_batch_larger_than_the_budget_keeps_its_first_layers(layers_kept: int, counted: Counted) -> None:
    replay = Replay(budget=layers_kept * LAYER + LAYER // 2)
    for _ in range(2):
        logits, _ = replay.forward(counted.model, IDS)
        assert replay.bytes == layers_kept * LAYER
        assert torch.equal(logits, counted.model(IDS, use_cache=False, logits_to_keep=1).logits)
    counted.since()
    replay.forward(counted.model, IDS)
    assert counted.since() == list(range(layers_kept, DEPTH))


def test_generating_ends_within_one_layer(counted: Counted) -> None:
    ids = IDS[:1]
    counting = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "max_new_tokens": 4, "do_sample": False}
    whole = counted.model.generate(**counting)
    assert torch.equal(stoppable(counted.model, lambda: False).generate(**counting), whole)
    counted.since()
    with pytest.raises(Stopped):
        stoppable(counted.model, ending_after(DEPTH + 2)).generate(**counting)
    assert counted.since() == [*range(DEPTH), 0, 1]  # the prompt, and two layers of the first token


def test_a_family_whose_layers_hand_on_more_than_their_output_runs_whole() -> None:
    """Gemma 4's last layers use keys and values of earlier ones, which these leave in a dict."""
    config = AutoConfig.for_model(
        "gemma4_text", vocab_size=96, hidden_size=24, intermediate_size=40, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, global_head_dim=8, num_kv_shared_layers=2, hidden_size_per_layer_input=4,
        vocab_size_per_layer_input=96, sliding_window=4, pad_token_id=0,
        layer_types=["sliding_attention", "full_attention"] * 2,
    )  # fmt: skip
    torch.manual_seed(0)
    model, replay = AutoModelForCausalLM.from_config(config).eval(), Replay()
    for _ in range(2):
        logits, _ = replay.forward(model, IDS)
        assert torch.equal(logits, model(IDS, use_cache=False, logits_to_keep=1).logits)
    assert replay.bytes == 0


def test_a_model_without_a_list_of_layers_is_refused_in_words() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    model.config = SimpleNamespace(get_text_config=lambda decoder: SimpleNamespace(num_hidden_layers=3))  # noqa: ARG005
    with pytest.raises(AssemblyError, match="Sequential has no list of 3 layers"):
        Replay().forward(model, IDS)
