"""Turns: whatever was turned before, the live model is that of a fresh build, bit for bit, and nothing piles up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mergelab.models import Assembly, Stopped, assemble
from mergelab.models import bank as module
from mergelab.models.bank import Bank
from mergelab.models.changes import Changes
from mergelab.recipes import Part, Recipe, Rule, Setting, Slice, numbers, plan, repeat, stack
from mergelab.weights import Source
from tests.models.families import DEPTH, save
from tests.models.held import held

Trio = tuple[Path, Path, Path]
IDS = torch.tensor([[1, 7, 40, 9, 22, 3]])


def at(model: Path | str, start: int = 0, end: int = DEPTH, **said: object) -> Part:
    return Part(Source(str(model)), (start, end), numbers(said))


def state(assembly: Assembly) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in assembly.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@torch.no_grad()
def thoughts(assembly: Assembly) -> list[torch.Tensor]:
    """What goes into each layer, what comes out of the last, and the logits."""
    said = assembly.model(IDS, output_hidden_states=True, use_cache=False)
    return [*said.hidden_states[: len(assembly.plan.layers)], said.logits]


def after(calls: int) -> Callable[[], bool]:
    """Says stop once it has been asked that often."""
    asked = iter(range(calls))
    return lambda: next(asked, None) is None


AMOUNT = st.sampled_from([0.0, 0.25, 0.5, 1.0])
RUNS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, DEPTH - 1), st.integers(1, 3)), min_size=1, max_size=4)


def blended(trio: Trio, blocks: list[tuple[int, int, int]], method: str, amounts: list[float]) -> Recipe:
    runs = [(trio[which], start, min(start + length, DEPTH)) for which, start, length in blocks]
    curve = amounts[: sum(end - start for _, start, end in runs)]
    return stack(runs, base=trio[0], method=method, coefficient=curve)


def moved(trio: Trio, blocks: list[tuple[int, int, int]]) -> Recipe:
    return stack([(trio[which], start, min(start + length, DEPTH)) for which, start, length in blocks], base=trio[0])


def drawn(trio: Trio, seed: int, density: float, weights: tuple[float, float]) -> Recipe:
    parts = tuple(at(model, weight=weight, density=density) for model, weight in zip(trio[1:], weights, strict=True))
    return Recipe("dare_ties", (Slice((*parts, at(trio[0]))),), Source(str(trio[0])), seed=seed)


def staged(trio: Trio, weight: float, t: float, cut: int) -> Recipe:
    first = Recipe("linear", (Slice((at(trio[1], weight=weight), at(trio[2], weight=0.5))),), name="first")
    slices = (
        Slice((at("first", 0, cut),)),
        Slice((at("first", cut, DEPTH), at(trio[0], cut, DEPTH)), method="slerp", numbers=numbers({"t": t}),
              base=Source(str(trio[0]))),
        Slice((at("first", 1, 3),)),
    )  # fmt: skip
    return Recipe("passthrough", slices, Source(str(trio[0])), stages=(first,))


def whole(trio: Trio, density: float, weight: float) -> Recipe:
    parts = (at(trio[1], weight=weight), at(trio[2], weight=0.5), at(trio[0]))
    said = numbers({"density": density, "trim_scope": "model"})
    return Recipe("ties", (Slice(parts),), Source(str(trio[0])), said)


def recipes(trio: Trio) -> st.SearchStrategy[Recipe]:
    method = st.sampled_from(["linear", "slerp", "task_arithmetic", "ties"])
    amounts = st.lists(AMOUNT, min_size=16, max_size=16)
    weight, density = st.sampled_from([0.25, 0.5, 1.0]), st.sampled_from([0.3, 0.6])
    return st.one_of(
        st.builds(blended, st.just(trio), RUNS, method, amounts),
        st.builds(moved, st.just(trio), RUNS),
        st.builds(drawn, st.just(trio), st.integers(0, 1), density, st.tuples(weight, weight)),
        st.builds(staged, st.just(trio), weight, AMOUNT, st.integers(1, 4)),
        st.builds(whole, st.just(trio), density, weight),
    )


@pytest.fixture(scope="module")
def alone() -> Callable[[Recipe], tuple[dict[str, torch.Tensor], list[torch.Tensor]]]:
    """What a fresh model of a recipe holds and says, made once."""
    known: dict[Recipe, tuple[dict[str, torch.Tensor], list[torch.Tensor]]] = {}

    def fresh(recipe: Recipe) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        if recipe not in known:
            with assemble(recipe, device="cpu") as assembly:
                known[recipe] = state(assembly), thoughts(assembly)
        return known[recipe]

    return fresh


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), spare=st.sampled_from([None, None, 0, 20_000]))
def test_after_any_turns_live_equals_a_fresh_build_bit_for_bit(data, spare: int | None, alone, llamas: Trio) -> None:
    some = data.draw(st.lists(recipes(llamas), min_size=2, max_size=4, unique=True), label="recipes")
    turns = data.draw(
        st.lists(st.tuples(st.sampled_from(some), st.none() | st.integers(0, 120)), min_size=2, max_size=8),
        label="turns",
    )
    bank = Bank(device="cpu", spare=spare)
    with Assembly(plan(some[0]), bank=bank) as assembly:
        now = some[0]
        for recipe, patience in turns:
            before = thoughts(assembly)
            try:
                changes = assembly.turn(recipe, stop=None if patience is None else after(patience))
                now = recipe
            except Stopped:
                changes = None
            weights, said = alone(now)
            assert assembly.recipe == now
            assert same(state(assembly), weights)
            heard = thoughts(assembly)
            assert all(map(torch.equal, heard, said))
            if changes is not None:
                # Place k is what goes into layer k, and the last one the logits.
                known = changes.first + 1 if changes.first else 0
                assert all(map(torch.equal, before[:-1][:known], heard[:-1][:known]))
                assert changes.first < len(heard) or torch.equal(before[-1], heard[-1])
    assert (bank.made, bank.retired) == (0, 0)


def test_the_first_layer_that_changes(llamas: Trio) -> None:
    base, a, b = llamas

    def linear(*amounts: float) -> Recipe:
        return stack([(a, 0, len(amounts))], base=base, method="linear", coefficient=list(amounts))

    half = [0.5] * DEPTH
    with assemble(linear(*half), device="cpu") as assembly:

        def first(recipe: Recipe) -> int:
            return assembly.turn(recipe).first

        assert first(linear(*half)) == DEPTH + 1, "nothing"
        assert first(linear(*half[:5], 0.25)) == 5
        assert first(linear(*half[:2], 0.25, 0.5, 0.5, 0.25)) == 2
        assert first(linear(*half[:2], 0.25, 0.5)) == 4, "the layers above are gone: what goes into the norm changed"
        assert first(linear(*half[:2], 0.25, 0.5, 0.5)) == 4
        assert first(linear(0.25, *half[1:])) == 0, "the embeddings follow the first layer"
        assert first(stack([(base, 0, DEPTH)], base=base)) == 0
        assert first(stack([(base, 0, 3), (a, 3, 5), (base, 5, DEPTH)], base=base)) == 3
        assert first(stack([(base, 0, 3), (a, 3, 4), (base, 4, DEPTH)], base=base)) == 4
        assert first(stack([(base, 0, 3), (a, 3, 4), (base, 4, 5), (b, 5, DEPTH)], base=base)) == 5
        head = stack([(base, 0, 3), (a, 3, 4), (base, 4, 5), (b, 5, DEPTH)], base=base)
        assert first(head) == DEPTH + 1
        assert first(repeat(base, (2, 4))) == 3


def test_a_head_alone_changes_no_layer(llamas: Trio) -> None:
    base, a, _ = llamas

    def recipe(head: float) -> Recipe:
        rules = Setting((Rule(head, "lm_head"), Rule(0.5)))
        first = replace(at(a), numbers=(("weight", rules),))
        return Recipe("linear", (Slice((first, at(base, weight=1.0))),))

    with assemble(recipe(0.5), device="cpu") as assembly:
        changes = assembly.turn(recipe(0.75))
        assert (changes.redone, changes.rebound, changes.first) == (1, 0, DEPTH)


def test_tied_embeddings_change_everything(tmp_path: Path) -> None:
    a, b = (save("llama", tmp_path / f"tied-{seed}", seed=seed, tie_word_embeddings=True) for seed in (5, 6))

    def recipe(inside: float, outside: float) -> Recipe:
        rules = Setting((Rule(outside, "embed"), Rule(inside)))
        first = replace(at(a), numbers=(("weight", rules),))
        return Recipe("linear", (Slice((first, at(b, weight=1.0))),))

    with assemble(recipe(0.5, 0.5), device="cpu") as assembly:
        assert assembly.turn(recipe(0.5, 0.75)).first == 0
        assert assembly.model.lm_head.weight is assembly.model.model.embed_tokens.weight
        assert assembly.turn(recipe(0.25, 0.75)).first == 0
        assert assembly.turn(recipe(0.25, 0.75)).first == DEPTH + 1


def test_layers_that_move_along_are_not_made_again(llamas: Trio) -> None:
    base, a, _ = llamas
    moving = stack([(a, 0, 4)], base=base, method="ties", coefficient=[0.2, 0.4, 0.6, 0.8])
    along = replace(moving, slices=(replace(moving.slices[0], parts=tuple(
        replace(part, layers=(1, 4)) for part in moving.slices[0].parts)),))  # fmt: skip
    said = numbers({"weight": 1.0, "density": [0.4, 0.6, 0.8]})
    along = replace(along, slices=(replace(along.slices[0], parts=(
        along.slices[0].parts[0], replace(along.slices[0].parts[1], numbers=said))),))  # fmt: skip
    with assemble(moving, device="cpu") as assembly:
        per_layer = len(assembly.plan.root.anatomy.layers[0])
        places = {name: value.data_ptr() for name, value in assembly.model.named_parameters()}
        changes = assembly.turn(along)
        assert changes.rebuilt
        outside = len(assembly.plan.steps) - 3 * per_layer
        assert changes.redone == outside, "embeddings, norm and head follow the first numbers of the slice"
        for name, value in assembly.model.model.layers[0].named_parameters():
            assert value.data_ptr() == places[f"model.layers.1.{name}"]


def test_random_numbers_are_drawn_again_for_another_place(llamas: Trio) -> None:
    """They are seeded by the name of the tensor: a moved layer is another one, and so it is with another seed."""
    base, a, _ = llamas

    def recipe(start: int, seed: int) -> Recipe:
        parts = (at(a, start, start + 2, weight=1.0, density=0.5), at(base, start, start + 2))
        return Recipe("dare_linear", (Slice(parts),), Source(str(base)), seed=seed)

    with assemble(recipe(0, 0), device="cpu") as assembly:
        every = len(assembly.plan.steps)
        outside = every - 2 * len(assembly.plan.root.anatomy.layers[0])
        assert assembly.turn(recipe(1, 0)).redone == every - outside
        assert assembly.turn(recipe(1, 7)).redone == every
    still = Recipe("linear", (Slice((at(a, weight=1.0), at(base, weight=1.0))),))
    with assemble(still, device="cpu") as assembly:
        changes = assembly.turn(replace(still, seed=7))
        assert (changes.redone, changes.rebound) == (0, 0), "nothing is drawn: the seed does not matter"


def test_depth_counts_where_the_method_asks_for_it(llamas: Trio) -> None:
    """LiNeS adds more the higher a layer stands: a stack that grows moves every layer but the first."""

    def recipe(end: int, method: str) -> Recipe:
        parts = (at(llamas[1], 0, end, weight=1.0), at(llamas[0], 0, end))
        return Recipe(method, (Slice(parts),), Source(str(llamas[0])))

    with assemble(recipe(4, "lines"), device="cpu") as assembly:
        per_layer = len(assembly.plan.root.anatomy.layers[0])
        assert assembly.turn(recipe(5, "lines")).redone == 4 * per_layer
        assembly.turn(recipe(4, "task_arithmetic"))
        assert assembly.turn(recipe(5, "task_arithmetic")).redone == per_layer


def test_grafts_repeats_and_moves_copy_nothing(llamas: Trio) -> None:
    base, a, b = llamas
    with assemble(stack([(base, 0, 6)], base=base), device="cpu") as assembly:
        for recipe in (
            stack([(base, 0, 2), (a, 2, 4), (base, 4, 6)], base=base),
            stack([(base, 0, 2), (a, 2, 5), (base, 5, 6)], base=base),
            repeat(base, (1, 5), times=3),
            stack([(b, 4, 6), (base, 0, 2), (a, 1, 3)], base=base),
        ):
            changes = assembly.turn(recipe)
            assert (changes.redone, changes.bytes_read, changes.bytes_written) == (0, 0, 0)
            assert changes.rebound > 0
            assert assembly.bank.made == 0


def test_what_an_abandoned_turn_made_is_there_for_the_next(llamas: Trio) -> None:
    base, a, _ = llamas

    def linear(amount: float) -> Recipe:
        return stack([(a, 0, DEPTH)], base=base, method="linear", coefficient=amount)

    with assemble(linear(0.5), device="cpu") as assembly:
        with pytest.raises(Stopped):
            assembly.turn(linear(0.25), stop=after(60))
        every, made = len(assembly.plan.steps), assembly.bank.retired
        assert made > 0
        changes = assembly.turn(linear(0.25))
        assert 0 < changes.redone < every
        assert changes.redone + changes.rebound == every
        assert made + changes.bytes_written == sum(step.bytes for step in assembly.plan.steps)


def test_an_interrupt_between_two_tensors_leaves_the_model_whole(llamas: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    base, a, _ = llamas

    def linear(amount: float) -> Recipe:
        return stack([(a, 0, DEPTH)], base=base, method="linear", coefficient=amount)

    made = iter(range(1000))
    parameter = torch.nn.Parameter

    def interrupted(*args: object, **more: object) -> torch.nn.Parameter:
        if next(made) == 30:
            raise KeyboardInterrupt
        return parameter(*args, **more)

    with assemble(linear(0.5), device="cpu") as assembly:
        before, live = state(assembly), assembly.bank.made - assembly.bank.retired
        monkeypatch.setattr(torch.nn, "Parameter", interrupted)
        with pytest.raises(KeyboardInterrupt):
            assembly.turn(linear(0.25))
        monkeypatch.undo()
        assert same(state(assembly), before)
        assert assembly.bank.made - assembly.bank.retired == live
        assert assembly.turn(linear(0.25)).redone == 0


def test_what_bound_a_turn(llamas: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    from mergelab.models.bank import Made
    from mergelab.models.changes import what_bound

    def bound(
        *, planning: float = 0.0, reading: float = 0.0, merging: float = 0.0, building: float = 0.0, disk: int = 0
    ) -> str:
        made = Made({}, (), (("key",),), 300, 200, disk, reading + merging, reading)
        return what_bound(made, planning, building, copying=1000.0)

    assert bound(planning=2, reading=1, merging=1, building=1) == "planning"
    assert bound(planning=1, reading=2, merging=1, building=1) == "reading sources"
    assert bound(planning=1, reading=1, merging=1, building=2) == "building the model"
    assert bound(merging=0.9) == "memory"
    assert bound(merging=1.1) == bound(merging=1.1, disk=149) == "arithmetic"
    assert bound(merging=0.9, disk=150) == "disk"
    assert bound(merging=0.9, planning=2, disk=150) == "planning"
    nothing = Made({}, (), (), 0, 0, 0, 0.5, 0.1)
    assert what_bound(nothing, 0.3, 0.1, copying=1000.0) == ""
    assert what_bound(nothing, 0.6, 0.1, copying=1000.0) == "planning"
    assert Bank(device="cpu").copy_speed > 1e8
    with assemble(stack([(llamas[1], 0, DEPTH)], base=llamas[0]), device="cpu") as assembly:
        changes: Changes = assembly.made
        assert changes.bound in ("planning", "reading sources", "building the model")
        assert changes.seconds > 0


def test_what_came_from_disk_is_said(llamas: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources that memory has no room for are read again each turn: that has its cost, and a name."""

    def linear(amount: float) -> Recipe:
        return stack([(llamas[1], 0, DEPTH)], base=llamas[0], method="linear", coefficient=amount)

    with assemble(linear(0.5), device="cpu") as assembly:
        told = iter([5_000, 3_005_000])
        monkeypatch.setattr(module, "read_from_disk", lambda: next(told))
        changes = assembly.turn(linear(0.25))
        assert changes.from_disk == 3_000_000
        assert str(changes).endswith(", 3 MB from disk")
        monkeypatch.setattr(module, "read_from_disk", lambda: 7)
        assert "disk" not in str(assembly.turn(linear(0.75)))


def test_a_thousand_turns_leave_nothing_behind(llamas: Trio) -> None:
    base, a, _ = llamas
    opened = plan(stack([(a, 0, 2)], base=base)).checkpoints
    ground, other = (opened[Source(str(path))] for path in (base, a))
    assembly = assemble(stack([(other, 0, 2)], base=ground, method="linear", coefficient=0.5), device="cpu")

    def turn(number: int) -> None:
        amount = (number % 97) / 97
        if number % 50 == 49:
            assembly.turn(stack([(ground, 0, 1), (other, 0, 2)], base=ground))
        method = ("linear", "ties")[number % 2]
        assembly.turn(stack([(other, 0, 2)], base=ground, method=method, coefficient=[0.5, amount]))

    def tensors() -> int:
        import gc

        gc.collect()
        return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())

    for number in range(200):
        turn(number)
    threads, live, before = threading.active_count(), tensors(), held()
    for number in range(200, 1200):
        turn(number)
    turn(199)
    assert held() < 1.01 * before
    assert abs(tensors() - live) <= 40, "a tensor more or less is retired"
    assert threading.active_count() <= threads
    bank = assembly.bank
    assembly.close()
    assert (bank.made, bank.retired) == (0, 0)
