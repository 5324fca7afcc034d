"""A walk shows the states of a plain pass, bit for bit, and leaves nothing on the model."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mergelab.errors import AssemblyError, InspectionError
from mergelab.inspection.double import double
from mergelab.inspection.handles import find
from mergelab.inspection.seen import Batch, Seen
from mergelab.inspection.walk import logits, walk
from mergelab.models import assemble
from mergelab.recipes import stack
from tests.inspection.kinds import FAMILIES, ODD, between, made
from tests.models.families import save


def prompts(*lengths: int, seed: int = 0) -> list[Batch]:
    """Batches of two prompts each."""
    generator = torch.Generator().manual_seed(seed)
    return [Batch(torch.randint(3, 96, (2, length), generator=generator), ()) for length in lengths]


def states_of(model: Any, batch: Batch) -> tuple[list[torch.Tensor], torch.Tensor]:
    """What enters each layer, the end of the last one, and logits, by hooks of the plain kind."""
    found: list[torch.Tensor] = []
    handles = []
    layers = model.get_submodule(find(model).layers)
    for layer in layers:
        handles.append(
            layer.register_forward_pre_hook(
                lambda _, args, named: found.append((args[0] if args else named["hidden_states"]).clone()),
                with_kwargs=True,
            )
        )
    handles.append(
        layers[-1].register_forward_hook(
            lambda _layer, _args, output: found.append(output[0] if isinstance(output, tuple) else output)
        )
    )
    with torch.no_grad():
        said = model(batch.ids, use_cache=False).logits
    for handle in handles:
        handle.remove()
    return found, said


def parts_add_up(seen: Seen) -> None:
    """To the rounding of one or two sums in the model's own dtype."""
    states = [one.double() for one in (seen.before, seen.after, *seen.parts.values())]
    before, after, *parts = states
    assert parts
    error = torch.finfo(seen.after.dtype).eps * sum(one.abs() for one in states)
    assert ((after - before - sum(parts)).abs() <= error).all()


def marks(model: Any) -> list[Any]:
    """Everything that a walk could leave on a model."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")
    found: list[Any] = []
    for name, module in model.named_modules():
        kept = {key: value for key, value in vars(module).items() if not key.startswith("_")}
        found.append((name, id(module), sorted(kept), module.training, *(list(getattr(module, one)) for one in hooks)))
        found += [(key, id(one)) for key, one in (*module._parameters.items(), *module._buffers.items())]
    return [*found, *((name, one._version, one.double().sum().item()) for name, one in model.state_dict().items())]


@pytest.mark.parametrize("kind", [*FAMILIES, *(kind for kind in ODD if kind not in FAMILIES)])
def test_states_are_those_of_a_plain_pass(kind: str) -> None:
    model = made(kind, seed=2)
    batches = prompts(11, 3, 7)
    found = find(model)
    plain = [states_of(model, batch) for batch in batches]
    last: list[torch.Tensor] = []
    for layer, at in walk({"it": model}, {"it": found}, batches):
        for one, (states, _) in zip(at, plain, strict=True):
            seen = one["it"]
            assert seen.layer == layer
            assert torch.equal(seen.before, states[layer])
            assert torch.equal(seen.after, states[layer + 1])
            parts_add_up(seen)
        last = [one["it"].after for one in at]
    assert layer == 5
    for states, (_, said) in zip(last, plain, strict=True):
        torch.testing.assert_close(logits(model, found, states), said)


@pytest.mark.parametrize(
    "kind",
    ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "olmo2", "gpt_neox", "gpt2", "mixtral"],
)
def test_states_are_those_that_transformers_gives(kind: str) -> None:
    """All but its last: that one is after the final norm. In bfloat16, as models are."""
    model = made(kind, dtype=torch.bfloat16)
    (batch,) = prompts(9)
    with torch.no_grad():
        given = model(batch.ids, output_hidden_states=True, use_cache=False)
    for layer, (one,) in walk({"it": model}, {"it": find(model)}, [batch]):
        assert torch.equal(one["it"].before, given.hidden_states[layer])
        parts_add_up(one["it"])
    after_norm = given.hidden_states[-1]
    assert not torch.equal(one["it"].after, after_norm)


def test_parts_are_what_sub_layers_add_and_nothing_else() -> None:
    """Gemma 2 by hand: what is added is normed first. Falcon by hand: one sub-layer's output is added to in place."""
    (batch,) = prompts(6)
    model = made("gemma2")
    for layer, (one,) in walk({"it": model}, {"it": find(model)}, [batch]):
        own, seen = model.model.layers[layer], one["it"]
        middle = seen.before + seen.parts["attention"]
        with torch.no_grad():
            expected = own.post_feedforward_layernorm(own.mlp(own.pre_feedforward_layernorm(middle)))
        torch.testing.assert_close(seen.parts["feed-forward"], expected)
    model = made("falcon")
    for layer, (one,) in walk({"it": model}, {"it": find(model)}, [batch]):
        own, seen = model.transformer.h[layer], one["it"]
        with torch.no_grad():
            expected = own.mlp(own.input_layernorm(seen.before))
        torch.testing.assert_close(seen.parts["feed-forward"], expected)


def test_several_writers_of_one_role_are_added() -> None:
    model = made("granitemoehybrid")
    for layer, (one,) in walk({"it": model}, {"it": find(model)}, prompts(6)):
        kind = ODD["granitemoehybrid"]["layer_types"][layer]
        assert list(one["it"].parts) == [kind, "feed-forward"]


def test_parts_are_left_out_where_nobody_asks() -> None:
    model = made("llama")
    assert all(not one["it"].parts for _, (one,) in walk({"it": model}, {"it": find(model)}, prompts(6), parts=False))


@pytest.mark.parametrize("whole", [False, True], ids=["layer by layer", "whole passes"])
def test_no_logits_are_made_of_whole_batches(whole: bool) -> None:
    """Prompts x length x vocabulary of them take more memory than all states."""
    model = between() if whole else made("llama")
    found = find(model)
    heard: list[str] = []
    model.lm_head.register_forward_hook(lambda *_: heard.append("head"))
    model.model.norm.register_forward_hook(lambda *_: heard.append("norm"))
    assert [layer for layer, _ in walk({"it": model}, {"it": found}, prompts(5, 8))] == list(range(6))
    assert heard == []


def test_what_cannot_be_called_alone_is_run_up_to_each_layer() -> None:
    model = between()
    found = find(model)
    assert not found.stepwise
    batches = prompts(5, 8)
    plain = [states_of(model, batch)[0] for batch in batches]
    before = marks(model)
    for layer, at in walk({"it": model}, {"it": found}, batches):
        for one, states in zip(at, plain, strict=True):
            assert torch.equal(one["it"].before, states[layer])
            if layer == 5:
                assert torch.equal(one["it"].after, states[6])
            parts_add_up(one["it"])
    assert layer == 5
    assert marks(model) == before


def test_models_walk_in_step_and_a_shallow_one_ends_earlier() -> None:
    models = {"deep": made("llama"), "shallow": made("gpt2", FAMILIES["gpt2"] | {"n_layer": 4})}
    handles = {name: find(model) for name, model in models.items()}
    done: list[tuple[int, int]] = []
    names = [
        [tuple(one) for one in at]
        for _, at in walk(models, handles, prompts(5, 8), progress=lambda count, total: done.append((count, total)))
    ]
    assert names == [[("deep", "shallow")] * 2] * 4 + [[("deep",)] * 2] * 2
    assert done == [(count + 1, 20) for count in range(20)]


def test_one_model_under_two_names_is_seen_twice_alike() -> None:
    model = made("llama")
    found = find(model)
    for _, (one,) in walk({"a": model, "b": model}, {"a": found, "b": found}, prompts(5)):
        assert torch.equal(one["a"].after, one["b"].after)


@pytest.mark.parametrize("after", [0, 1, 5, 12, 19])
def test_a_stopped_walk_has_whole_layers(after: int) -> None:
    models = {"a": made("llama"), "b": made("llama", seed=2)}
    handles = {name: find(model) for name, model in models.items()}
    before = [marks(model) for model in models.values()]
    asked = iter(range(100))
    walked = [layer for layer, _ in walk(models, handles, prompts(5, 8), stop=lambda: next(asked) >= after)]
    assert walked == list(range(after // 4))
    assert [marks(model) for model in models.values()] == before


def test_only_one_layer_is_held() -> None:
    model = made("llama")
    ended: list[weakref.ref[torch.Tensor]] = []
    for _, (one,) in walk({"it": model}, {"it": find(model)}, prompts(5)):
        assert [old() for old in ended[:-2]] == [None] * len(ended[:-2])  # but for what enters this layer
        seen = one["it"]
        ended += [weakref.ref(state) for state in (*seen.parts.values(), seen.before)]
        ended.append(weakref.ref(seen.after))
        del one, seen


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "gpt2", "falcon", "mixtral", "mamba"])
def test_a_model_is_left_as_it_was(kind: str) -> None:
    """Also its training mode, in which it would drop out, and hooks of the user's."""
    model = made(kind).train()
    heard: list[int] = []
    layers = model.get_submodule(find(model).layers)
    layers[1].register_forward_hook(lambda *_: heard.append(1))
    before = marks(model)
    found = find(model)
    for _, (one,) in walk({"it": model}, {"it": found}, prompts(5)):
        states = one["it"].after
    logits(model, found, states)
    assert marks(model) == before
    assert heard
    assert model.training


@pytest.mark.parametrize("whole", [False, True], ids=["layer by layer", "whole passes"])
def test_a_model_is_left_as_it_was_when_it_fails(whole: bool) -> None:
    model = between() if whole else made("llama")
    found = find(model)
    fails: list[bool] = [False]

    def fail(*_: object) -> None:
        if fails[0]:
            raise ValueError("this layer does not run")

    model.model.layers[2].mlp.register_forward_hook(fail)
    before = marks(model)
    fails[0] = True
    walked: list[int] = []
    with pytest.raises(ValueError, match="does not run"):
        walked.extend(layer for layer, _ in walk({"it": model}, {"it": found}, prompts(5)))
    assert walked == [0, 1]
    with pytest.raises(ValueError, match="does not run"):
        find(model)
    assert marks(model) == before


def test_a_layer_that_writes_to_its_input_does_not_change_what_was_seen() -> None:
    model = made("llama")
    (batch,) = prompts(5)
    plain = [one["it"].after for _, (one,) in walk({"it": model}, {"it": find(model)}, [batch])]
    for layer in model.model.layers:
        own = layer.forward

        def forward(hidden_states: torch.Tensor, *args: Any, own: Callable[..., Any] = own, **named: Any) -> Any:
            return hidden_states.copy_(own(hidden_states, *args, **named))

        layer.forward = forward
    for layer, (one,) in walk({"it": model}, {"it": find(model)}, [batch]):
        seen = one["it"]
        assert torch.equal(seen.after, plain[layer])
        if layer:
            assert torch.equal(seen.before, plain[layer - 1])


def test_tokens_that_a_model_does_not_have_are_refused() -> None:
    models = {"a": made("llama"), "b": made("llama", FAMILIES["llama"] | {"vocab_size": 50})}
    handles = {name: find(model) for name, model in models.items()}
    with pytest.raises(InspectionError, match=r"'b': has 50 tokens, and is to read token 90"):
        next(walk(models, handles, [Batch(torch.tensor([[1, 90]]), ())]))


def test_a_model_that_writes_to_its_weights_is_refused() -> None:
    model = made("llama")
    found = find(model)
    weight = model.model.layers[1].mlp.up_proj.weight
    model.model.layers[1].mlp.register_forward_hook(lambda *_: None if weight.mul_(1) is weight else 0)
    weight.requires_grad_(False)
    with pytest.raises(AssemblyError, match="wrote to its own weights"):
        list(walk({"it": model}, {"it": found}, prompts(5)))


# ------------------------------------------------------------------------------------------------ reading out


@pytest.mark.parametrize("kind", ["gemma2", "granite", "cohere", "gpt2", "opt"])
def test_states_of_any_shape_are_read_out_by_the_models_own_head(kind: str) -> None:
    """With its soft cap (Gemma 2), its scale (Granite, Cohere), its learned positions (GPT-2, OPT)."""
    model = made(kind)
    found = find(model)
    states = torch.randn(70, 24, generator=torch.Generator().manual_seed(4))  # more than it has positions
    said = logits(model, found, states)
    body = model.get_output_embeddings()(model.get_submodule(found.final_norm or "")(states)).detach()
    config = model.config
    if kind == "gemma2":
        body = torch.tanh(body / config.final_logit_softcapping) * config.final_logit_softcapping
    if kind == "granite":
        body = body / config.logits_scaling
    if kind == "cohere":
        body = body * config.logit_scale
    torch.testing.assert_close(said, body)
    torch.testing.assert_close(logits(model, found, states.view(5, 2, 7, 24)), said.view(5, 2, 7, -1))
    assert not said.requires_grad


# ------------------------------------------------------------------------------------------------ assemblies


def test_a_live_merge_of_layers_with_settings_of_their_own(tmp_path: Path) -> None:
    """Layers of other widths, positions and epsilon, each from its own config."""
    rope = {"rope_type": "default", "rope_theta": 300.0}
    a = save("llama", tmp_path / "a", seed=1)
    b = save("llama", tmp_path / "b", seed=2, intermediate_size=56, num_key_value_heads=4, rms_norm_eps=1e-2,
             rope_parameters=rope)  # fmt: skip
    with assemble(stack([(a, 0, 2), (b, 1, 4), (a, 1, 3), (b, 5, 6)], base=a)) as live:
        found = find(live.model)
        assert found.notes == ()
        assert found.depth == 8
        batches = prompts(9, 4)
        plain = [states_of(live.model, batch) for batch in batches]
        before = marks(live.model)
        for layer, at in walk({"it": live.model}, {"it": found}, batches):
            for one, (states, _) in zip(at, plain, strict=True):
                assert torch.equal(one["it"].after, states[layer + 1])
                parts_add_up(one["it"])
        assert layer == 7
        assert marks(live.model) == before


# ------------------------------------------------------------------------------------------------ doubles


def test_a_double_shares_tensors_and_nothing_else() -> None:
    model = made("gpt2").train()
    twin = double(model)
    mine, theirs = dict(model.named_parameters()), dict(twin.named_parameters())
    assert list(mine) == list(theirs)
    assert all(one is theirs[name] for name, one in mine.items())
    assert twin.lm_head.weight is twin.transformer.wte.weight
    own = {id(module) for module in model.modules()}
    assert not any(id(module) in own for module in twin.modules())
    assert not twin.training
    twin.transformer.h[0].register_forward_hook(lambda *_: None)
    twin.transformer.h[0].register_buffer("more", torch.zeros(1))
    assert not model.transformer.h[0]._forward_hooks
    assert "more" not in dict(model.named_buffers())


def test_a_forward_that_is_bound_to_a_module_is_bound_to_its_double() -> None:
    """As accelerate does it: for a model on several devices it wraps every forward."""
    model = made("llama")
    layer = model.model.layers[0].mlp

    def wrapped(module: Any, states: torch.Tensor) -> torch.Tensor:
        seen.append(module)
        return type(module).forward(module, states)

    seen: list[Any] = []
    layer.forward = functools.update_wrapper(functools.partial(wrapped, layer), layer.forward)
    twin = double(model)
    with torch.no_grad():
        twin(torch.tensor([[1, 2, 3]]))
    assert seen == [twin.model.layers[0].mlp]
    assert find(model).notes == ()
