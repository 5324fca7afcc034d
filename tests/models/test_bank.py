"""The bank: what is the same is there once, what is retired is found again, and nobody's tensor is written over."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergelab import methods
from mergelab.errors import AssemblyError
from mergelab.methods import registry
from mergelab.methods.tensors import Array, Arrays
from mergelab.models import Assembly, Stopped, assemble
from mergelab.models import bank as module
from mergelab.models.bank import Bank
from mergelab.recipes import Part, Recipe, Slice, numbers, plan, stack
from mergelab.weights import Source
from tests.models.families import DEPTH, save
from tests.models.held import held

Trio = tuple[Path, Path, Path]


def linear(trio: Trio, *amounts: float) -> Recipe:
    curve = list(amounts) * (DEPTH if len(amounts) == 1 else 1)
    return stack([(trio[1], 0, DEPTH)], base=trio[0], method="linear", coefficient=curve)


def places(assembly: Assembly) -> dict[str, int]:
    return {name: value.data_ptr() for name, value in assembly.model.named_parameters()}


def state(assembly: Assembly) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in assembly.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def size(assembly: Assembly) -> int:
    return sum(step.bytes for step in assembly.plan.steps)


def test_assemblies_on_one_bank_share_what_is_the_same(llamas: Trio) -> None:
    bank = Bank(device="cpu")
    one = Assembly(plan(linear(llamas, 0.5)), bank=bank)
    other = Assembly(plan(linear(llamas, *[0.5] * 5, 0.25)), bank=bank)
    layer = sum(step.bytes for step in one.plan.steps if ".layers.5." in step.name)
    assert other.made.bytes_written == layer
    assert bank.made == size(one) + layer
    mine, theirs = places(one), places(other)
    assert {name for name in mine if mine[name] != theirs[name]} == {name for name in mine if ".layers.5." in name}
    before = state(other)
    one.close()
    assert same(state(other), before)
    assert (bank.made, bank.retired) == (size(other), 0)
    again = Assembly(plan(linear(llamas, 0.25)), bank=bank)
    other.close()
    assert bank.made == size(again)
    again.close()
    again.close()
    assert (bank.made, bank.retired) == (0, 0)


def test_equal_layers_are_made_once(llamas: Trio) -> None:
    parts = (Part(Source(str(llamas[1])), (2, 4), numbers({"weight": 0.5})), Part(Source(str(llamas[0])), (2, 4)))
    recipe = Recipe("task_arithmetic", (Slice(parts), Slice(parts)), Source(str(llamas[0])))
    with assemble(recipe, device="cpu") as assembly:
        per_layer = len(assembly.plan.root.anatomy.layers[0])
        assert assembly.made.redone == len(assembly.plan.steps) - 2 * per_layer
        layers = assembly.model.model.layers
        for low, high in ((0, 2), (1, 3)):
            assert layers[low] is not layers[high]
            for one, other in zip(layers[low].parameters(), layers[high].parameters(), strict=True):
                assert one.data_ptr() == other.data_ptr()


def test_undo_finds_what_was_retired(llamas: Trio) -> None:
    with assemble(linear(llamas, 0.5), device="cpu") as assembly:
        before, first = state(assembly), places(assembly)
        assembly.turn(linear(llamas, 0.25))
        assert assembly.bank.retired == size(assembly), "as many bytes as the model has are kept"
        back = assembly.turn(linear(llamas, 0.5))
        assert (back.redone, back.rebound, back.bytes_written) == (0, back.steps, 0)
        assert same(state(assembly), before)
        assert places(assembly) == first
        for amount in (0.1, 0.2, 0.3, 0.4):
            assembly.turn(linear(llamas, amount))
            assert assembly.bank.made == 2 * size(assembly)
        assert assembly.turn(linear(llamas, 0.3)).redone == 0
        for place in range(DEPTH):
            assembly.turn(linear(llamas, *[0.3] * place, 0.7, *[0.3] * (DEPTH - place - 1)))
        assert assembly.turn(linear(llamas, 0.7, *[0.3] * 5)).redone == 0, "small turns can be taken back further"


def test_what_is_retired_is_written_over(llamas: Trio) -> None:
    with assemble(linear(llamas, 0.5), device="cpu") as assembly:
        first = places(assembly)
        assembly.turn(linear(llamas, 0.25))
        second = places(assembly)
        assert not set(first.values()) & set(second.values())
        for amount in (0.1, 0.2, 0.3):
            assembly.turn(linear(llamas, amount))
            assert set(places(assembly).values()) <= {*first.values(), *second.values()}


HOLD: dict[str, Callable[[Any], Any]] = {
    "the parameter": lambda parameter: parameter,
    "its data": lambda parameter: parameter.data,
    "a view": lambda parameter: parameter.detach()[1:],
    "the same in another shape": lambda parameter: parameter.detach().view(-1),
    "an array": lambda parameter: parameter.detach().numpy(),
    "its storage": lambda parameter: parameter.detach().untyped_storage(),
    "something that leads back to it": lambda parameter: [{"weights": parameter.detach().T}],
}


@pytest.mark.parametrize("how", HOLD)
def test_a_tensor_that_somebody_holds_never_changes(how: str, llamas: Trio) -> None:
    def values(kept: Any) -> list[float]:
        if isinstance(kept, list):
            kept = kept[0]["weights"]
        if isinstance(kept, torch.UntypedStorage):
            kept = torch.frombuffer(bytearray(bytes(kept)), dtype=torch.float32)
        return torch.as_tensor(kept).detach().flatten().tolist()

    with assemble(linear(llamas, 0.5), device="cpu") as assembly:
        kept = [HOLD[how](assembly.model.model.layers[place].mlp.down_proj.weight) for place in range(DEPTH)]
        gc.collect()
        before = [values(one) for one in kept]
        for amount in (0.1, 0.2, 0.3, 0.4):
            assembly.turn(linear(llamas, amount))
        assert [values(one) for one in kept] == before


def test_a_model_from_before_a_rebuild_stays_as_it_was(llamas: Trio) -> None:
    with assemble(linear(llamas, 0.5), device="cpu") as assembly:
        old = assembly.model
        before = {name: value.clone() for name, value in old.state_dict().items()}
        shorter = stack([(llamas[1], 0, 4)], base=llamas[0], method="linear", coefficient=0.4)
        assert assembly.turn(shorter).rebuilt
        for amount in (0.1, 0.2, 0.3, 0.4):
            assembly.turn(stack([(llamas[1], 0, 4)], base=llamas[0], method="linear", coefficient=amount))
        assert same(dict(old.state_dict()), before)


def test_budgets(llamas: Trio) -> None:
    layer = 4 * sum(value.numel() for value in assemble(linear(llamas, 0.5)).model.model.layers[0].parameters())
    for spare in (0, layer, 3 * layer + 5):
        bank = Bank(device="cpu", spare=spare)
        with Assembly(plan(linear(llamas, 0.5)), bank=bank) as assembly:
            for amount in (0.1, 0.2, 0.1):
                assembly.turn(linear(llamas, amount))
                assert bank.retired <= spare
                assert bank.made - bank.retired == size(assembly)
            if not spare:
                assert bank.made == size(assembly)
            bank.shrink()
            assert bank.retired == 0


@settings(max_examples=30, deadline=None)
@given(
    amounts=st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=2),
    other=st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=2),
)
def test_keys_are_equal_where_the_numbers_are(amounts: list[float], other: list[float], llamas: Trio) -> None:
    def keys(values: list[float]) -> list[bytes]:
        parts = tuple(
            Part(Source(str(path)), None, numbers({"weight": value}))
            for path, value in zip(llamas[1:], values, strict=False)
        )
        return [step.key for step in plan(Recipe("task_arithmetic", (Slice(parts),), Source(str(llamas[0])))).steps]

    alike = [repr(value) for value in amounts] == [repr(value) for value in other]
    assert all((one == two) == alike for one, two in zip(keys(amounts), keys(other), strict=True))
    assert len(set(keys(amounts))) == len(keys(amounts))


def test_the_sign_of_a_zero_is_kept(llamas: Trio) -> None:
    """0.0 == -0.0, but what they are multiplied with has another sign: a turn from one to the other is one."""

    def recipe(scale: float) -> Recipe:
        parts = (Part(Source(str(llamas[0])), (0, DEPTH), numbers({"scale": scale})),)
        return Recipe("passthrough", (Slice(parts),))

    with assemble(recipe(0.0), device="cpu") as assembly, assemble(recipe(-0.0), device="cpu") as fresh:
        assembly.turn(recipe(-0.0))
        for name, value in fresh.model.state_dict().items():
            assert torch.equal(assembly.model.state_dict()[name].signbit(), value.signbit())


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models of some megabytes a layer, so that copies of them show."""
    root = tmp_path_factory.mktemp("wide")
    shape = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 4}
    one, other = (save("llama", root / f"m{seed}", seed=seed, **shape) for seed in (1, 2))
    return one, other


def test_a_stack_of_two_models_takes_no_memory_of_its_own(wide: tuple[Path, Path]) -> None:
    """Goliath: each of two models several times over. What is mapped from disk is all there is."""
    one, other = wide
    tall = stack([(one, 0, 3), (other, 1, 4), (one, 1, 4), (other, 0, 3), (one, 2, 4)], base=one)
    with assemble(stack([(one, 0, 4)], base=one), device="cpu") as assembly:
        before = held()
        changes = assembly.turn(tall)
        layer = sum(value.nbytes for value in assembly.model.model.layers[0].parameters())
        assert layer > 6_000_000
        assert held() - before < layer / 2, "14 layers"
        assert (changes.bytes_written, assembly.bank.made) == (0, 0)
        assert len({value.data_ptr() for value in assembly.model.model.layers.parameters()}) == 8 * 9


def test_an_earlier_stage_is_made_once(llamas: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    base, a, b = (Source(str(path)) for path in llamas)

    def recipe(t: float) -> Recipe:
        mixed = (Part(a, None, numbers({"weight": 0.5})), Part(b, None, numbers({"weight": 0.5})))
        first = Recipe("linear", (Slice(mixed),), name="first")
        last = (Part(Source("first"), None), Part(base, None))
        return Recipe("slerp", (Slice(last),), base, numbers({"t": t}), stages=(first,))

    calls: list[str] = []
    apply = methods.apply

    def counted(method: Any, *args: Any, **more: Any) -> torch.Tensor:
        calls.append(method.name)
        return apply(method, *args, **more)

    monkeypatch.setattr(methods, "apply", counted)
    with assemble(recipe(0.5), device="cpu") as assembly:
        steps = len(assembly.plan.steps)
        assert (calls.count("linear"), calls.count("slerp")) == (steps, steps)
        for amount in (0.25, 0.75, 0.1, 0.2):
            assembly.turn(recipe(amount))
        assert (calls.count("linear"), calls.count("slerp")) == (steps, 5 * steps)
        assert assembly.bank.made == 3 * size(assembly), "the model, the stage, and the model before"


def test_a_changed_source_is_not_mixed_with_its_old_self(llamas: Trio, tmp_path: Path) -> None:
    path = save("llama", tmp_path / "a", seed=1)
    with assemble(stack([(path, 0, DEPTH)], base=path), device="cpu") as assembly:
        save("llama", path, seed=1, intermediate_size=56)
        with pytest.raises(AssemblyError, match="has changed since other live models were made of it"):
            Assembly(plan(stack([(path, 0, DEPTH)], base=path)), bank=assembly.bank)
        assembly.turn(stack([(path, 0, DEPTH)], base=path))


def test_a_turn_that_finds_no_memory_gives_up_what_can_be_made_again(
    llamas: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = methods.apply

    def poor(*args: Any, **more: Any) -> torch.Tensor:
        if assembly.bank.retired:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return apply(*args, **more)

    with assemble(linear(llamas, 0.5), device="cpu") as assembly:
        assembly.turn(linear(llamas, 0.25))
        monkeypatch.setattr(methods, "apply", poor)
        changes = assembly.turn(linear(llamas, 0.75))
        assert changes.redone == changes.steps
        monkeypatch.undo()
        with assemble(linear(llamas, 0.75), device="cpu") as fresh:
            assert same(state(assembly), state(fresh))


def test_where_memory_runs_out_for_good_the_model_stays(llamas: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    def poor(*_: Any, **__: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with assemble(linear(llamas, 0.5), device="cpu") as assembly:
        before, recipe = state(assembly), assembly.recipe
        monkeypatch.setattr(methods, "apply", poor)
        with pytest.raises(AssemblyError, match=r"memory: ran out on cpu.*out of memory"):
            assembly.turn(linear(llamas, 0.75))
        monkeypatch.undo()
        assert assembly.recipe == recipe
        assert same(state(assembly), before)
        assert assembly.turn(linear(llamas, 0.75)).redone > 0


def test_a_model_that_its_device_cannot_hold_goes_on_on_the_cpu(llamas: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    bank = Bank(device="cpu")
    with Assembly(plan(linear(llamas, 0.5)), bank=bank) as assembly:
        bank.device = torch.device("cuda:0")  # from now on
        monkeypatch.setattr(bank, "make", full)
        monkeypatch.setattr(module.devices, "trim", lambda _: None)
        changes = assembly.turn(linear(llamas, 0.75))
        assert "not enough memory on cuda:0" in changes.warning
        assert assembly.bank is not bank
        assert assembly.bank.device.type == "cpu"
        assert bank.made == 0, "the other one has been left"
        with assemble(linear(llamas, 0.75), device="cpu") as fresh:
            assert same(state(assembly), state(fresh))
        assert assembly.turn(linear(llamas, 0.25)).warning == ""


def test_an_assembly_that_is_stopped_at_once_leaves_what_it_made(llamas: Trio) -> None:
    bank, asked = Bank(device="cpu"), iter(range(60))
    with pytest.raises(Stopped):
        Assembly(plan(linear(llamas, 0.5)), bank=bank, stop=lambda: next(asked, None) is None)
    assert bank.retired == bank.made > 0
    with Assembly(plan(linear(llamas, 0.5)), bank=bank) as assembly:
        assert 0 < assembly.made.redone < assembly.made.steps
        with assemble(linear(llamas, 0.5), device="cpu") as fresh:
            assert same(state(assembly), state(fresh))
    assert bank.made == 0


def test_a_method_that_is_defined_again_is_another(llamas: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_METHODS", {name: registry.get(name) for name in registry.names()})

    def cell(factor: float) -> None:
        def louder(models: Arrays) -> Array:
            """Louder: the first model, multiplied."""
            return models[0] * factor

        registry.method(inputs=(1, None))(louder)

    recipe = Recipe("louder", (Slice((Part(Source(str(llamas[0]))),)),))
    cell(1.5)
    with assemble(recipe) as live:
        cell(3.0)
        assert live.turn(recipe).redone > 0
        with assemble(recipe) as fresh:
            for name, value in fresh.model.state_dict().items():
                assert torch.equal(value, live.model.state_dict()[name])
        assert live.turn(recipe).redone == 0


def test_memory_that_runs_out_when_all_is_made_hides_no_change(llamas: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what is measured for ``Changes`` takes memory."""
    with assemble(linear(llamas, 0.25)) as live:
        monkeypatch.delitem(vars(live.bank), "copy_speed")
        tries = []

        def speed(bank: Bank) -> float:
            tries.append(bank)
            if len(tries) == 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 32.00 MiB.")
            return 1e9

        monkeypatch.setattr(Bank, "copy_speed", property(speed))
        assert live.turn(linear(llamas, 0.75)).first == 0
        assert len(tries) == 2
