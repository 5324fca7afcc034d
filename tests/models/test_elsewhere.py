"""Live models on a device that is not the CPU, and memory that runs out there.

The device is pretended: tensors that are sent to it stay on the CPU, but everybody is told it is another.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mergelab import methods
from mergelab.columns import in_bytes
from mergelab.errors import AssemblyError
from mergelab.forge.merge import merge
from mergelab.models import Assembly, assemble, devices
from mergelab.models.bank import Bank
from mergelab.models.events import Done, Event, Merged, Next, Text
from mergelab.models.preview import Preview
from mergelab.models.variants import Variants
from mergelab.recipes import Recipe, graft, plan, stack
from mergelab.weights import Checkpoint, open_checkpoint
from tests.models.families import DEPTH, save
from tests.models.test_turns import Trio, same, state

CPU = torch.device("cpu")
AMPLE = 10**9


class Pretended:
    """A device of another kind than the CPU."""

    type = "xpu"

    def __str__(self) -> str:
        return "xpu:0"


GPU: Any = Pretended()


class Machine:
    """A machine with that device.

    Attributes:
        free: bytes of memory that are free there.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free: int | None = AMPLE
        pick, free, to = devices.pick, devices.free, torch.Tensor.to

        def sent(tensor: torch.Tensor, *where: Any, **how: Any) -> torch.Tensor:
            return to(tensor, *(CPU if place is GPU else place for place in where), **how)

        monkeypatch.setattr(devices, "pick", lambda device="auto": GPU if device == "auto" else pick(device))
        monkeypatch.setattr(devices, "free", lambda device: self.free if device is GPU else free(device))
        monkeypatch.setattr(torch.Tensor, "to", sent)
        monkeypatch.setattr(Bank, "copy_speed", 1e9)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with a pretended GPU."""
    return Machine(monkeypatch)


def blend(llamas: Trio, amount: float) -> Recipe:
    return stack([(llamas[1], 0, DEPTH)], base=llamas[0], method="slerp", coefficient=amount)


def fails(monkeypatch: pytest.MonkeyPatch, when: Callable[[], bool]) -> None:
    """Memory runs out in arithmetic as long as ``when`` says so."""
    apply = methods.apply

    def tried(*given: Any, **how: Any) -> torch.Tensor:
        if when():
            raise torch.OutOfMemoryError("XPU out of memory. Tried to allocate 20 GiB.\nmore")
        return apply(*given, **how)

    monkeypatch.setattr(methods, "apply", tried)


# ----------------------------------------------------------------------------------------------- another device


def test_a_model_elsewhere_is_that_of_the_cpu_and_all_of_it_is_there(llamas: Trio, machine: Machine) -> None:
    mapped = {opened.tensor(name).data_ptr() for opened in map(open_checkpoint, llamas) for name in opened.specs}
    turns = [graft(llamas[0], llamas[1], (1, 3)), blend(llamas, 0.5), graft(llamas[1], llamas[2], (0, 2))]
    with assemble(turns[0]) as live:
        assert live.bank.device is GPU
        for recipe in (*turns, turns[0]):
            live.turn(recipe)
            for opened in live.bank.checkpoints.values():
                mapped |= {opened.tensor(name).data_ptr() for name in opened.specs}
            with assemble(recipe, device="cpu") as there:
                assert same(state(live.model), state(there.model))
            assert mapped.isdisjoint(one.data_ptr() for one in live.model.parameters())


def test_sources_stay_there_as_far_as_they_may_and_the_rest_is_sent_each_turn(llamas: Trio, machine: Machine) -> None:
    whole = open_checkpoint(llamas[0]).bytes
    for resident, streamed in ((0, 2 * whole), (whole, whole), (2 * whole, 0), (None, 0)):
        planned = plan(blend(llamas, 0.5))
        bank = Bank(planned.checkpoints, resident=resident)
        with Assembly(planned, bank=bank) as live:
            for amount in (0.25, 0.75):
                changes = live.turn(blend(llamas, amount))
                assert changes.bytes_read == 2 * whole
                assert 0 <= changes.streamed - streamed < whole / 2
            with assemble(blend(llamas, 0.75), device="cpu") as there:
                assert same(state(live.model), state(there.model))


def test_whoever_makes_a_live_model_may_state_how_much_of_the_sources_stays(llamas: Trio, machine: Machine) -> None:
    whole = open_checkpoint(llamas[0]).bytes
    with assemble(blend(llamas, 0.5), resident=whole) as live:
        assert live.bank.budget == whole
        changes = live.turn(blend(llamas, 0.25))
        assert 0 < changes.streamed < 2 * whole
        assert f"{in_bytes(changes.streamed)} of sources not kept, for want of room" in str(changes)
    with Variants(blend(llamas, 0.5), resident=0) as variants:
        assert variants.turn(blend(llamas, 0.25)).streamed == 2 * whole
    said: list[Event] = []
    with Preview({"base": llamas[0]}, said.append, max_new_tokens=1, resident=0) as preview:
        preview.ask(blend(llamas, 0.5), "hello")
        assert preview.wait(60)
        assert preview._bank.budget == 0
    assert isinstance(said[0], Merged)
    assert said[0].changes.streamed == 2 * whole
    with assemble(blend(llamas, 0.5)) as live:
        assert live.bank.budget >= 2 * whole
    wrong: Any
    for wrong in (-1, 1.5, True, "1 GB"):
        with pytest.raises(AssemblyError, match=r"resident: .* is no number of bytes\. Give 0 or more, or None"):
            assemble(blend(llamas, 0.5), resident=wrong)


def test_a_source_that_is_a_model_there_itself_is_not_sent_again(llamas: Trio, machine: Machine) -> None:
    planned = plan(blend(llamas, 0.5))
    bank = Bank(planned.checkpoints, resident=0)
    alone = [Assembly(plan(graft(path, path, (0, 1)), bank.checkpoints), bank=bank) for path in llamas[:2]]
    with Assembly(planned, bank=bank) as live:
        assert live.made.streamed == live.turn(blend(llamas, 0.25)).streamed == 0
        with assemble(blend(llamas, 0.25), device="cpu") as there:
            assert same(state(live.model), state(there.model))
    for one in alone:
        one.close()
    assert (bank.made, bank.retired) == (0, 0)


def test_a_float32_base_with_narrow_models_is_merged_as_each_is_stored(
    llamas: Trio, machine: Machine, tmp_path: Path
) -> None:
    narrow = []
    for number, kind in enumerate((torch.bfloat16, torch.float16)):
        narrow.append(save("llama", tmp_path / str(number), seed=7 + number))
        file = narrow[-1] / "model.safetensors"
        save_file({name: one.to(kind) for name, one in load_file(file).items()}, file, metadata={"format": "pt"})
    models = "".join(f"  - {{model: {path}, parameters: {{weight: 0.5}}}}\n" for path in narrow)
    recipe = Recipe.load(f"merge_method: task_arithmetic\nbase_model: {llamas[0]}\nmodels:\n{models}")
    with assemble(blend(llamas, 0.5)) as live:
        live.turn(recipe)
        kept = [one.tensor.dtype for one in live.bank._residence._kept.values()]
        assert {kept.count(kind) for kind in (torch.bfloat16, torch.float16)} == {len(live.plan.steps)}
        for name, parameter in live.model.named_parameters():
            base, *others = (open_checkpoint(path).tensor(name).double() for path in (llamas[0], *narrow))
            expected = base + sum(0.5 * (other - base) for other in others)
            assert parameter.dtype == torch.float32
            torch.testing.assert_close(parameter.double(), expected, rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------------------------------------ does it fit


def test_what_cannot_fit_is_refused_before_a_weight_is_read(
    llamas: Trio, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with assemble(graft(llamas[0], llamas[1], (1, 3))) as live:
        before, recipe = state(live.model), live.recipe
        deep = stack([(llamas[1], 0, DEPTH), (llamas[2], 0, DEPTH), (llamas[0], 0, DEPTH)], base=llamas[0])
        machine.free = 1000
        with monkeypatch.context() as patched:
            patched.setattr(Checkpoint, "tensor", None)
            with pytest.raises(
                AssemblyError, match=r"memory: the model needs .* kB on xpu:0, .* are free\. Use device"
            ):
                live.turn(deep)
        assert same(state(live.model), before)
        assert live.recipe == recipe
        machine.free = AMPLE
        assert live.turn(deep).rebuilt


def test_auto_means_the_cpu_where_the_model_does_not_fit_elsewhere(llamas: Trio, machine: Machine) -> None:
    machine.free = 1000
    with assemble(blend(llamas, 0.5)) as live:
        assert live.bank.device == CPU
        assert live.turn(blend(llamas, 0.25)).streamed == 0
    bank = Bank()
    Assembly(plan(blend(llamas, 0.5)), bank=bank).close()
    assert bank.device == CPU
    machine.free = AMPLE
    Assembly(plan(blend(llamas, 0.5)), bank=bank).close()
    assert bank.device is GPU


# ------------------------------------------------------------------------------------------- memory runs out


def test_where_memory_runs_out_what_can_be_made_again_goes_and_the_turn_is_done(
    llamas: Trio, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with assemble(blend(llamas, 0.5)) as live:
        live.turn(blend(llamas, 0.25))
        assert live.bank.retired
        resident = live.bank._residence.resident
        left = iter([False, False, False, True])
        fails(monkeypatch, lambda: next(left, False))
        changes = live.turn(blend(llamas, 0.75))
        assert next(left, None) is None
        assert (changes.warning, live.bank.device) == ("", GPU)
        assert live.bank._residence.resident <= resident // 2
        with assemble(blend(llamas, 0.75), device="cpu") as there:
            assert same(state(live.model), state(there.model))


def test_where_that_does_not_help_the_model_moves_to_the_cpu(
    llamas: Trio, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with assemble(blend(llamas, 0.5)) as live:
        old = live.bank
        fails(monkeypatch, lambda: live.bank is old and len(calls) < 2 and not calls.append(1))
        calls: list[int] = []
        changes = live.turn(blend(llamas, 0.25))
        assert changes.warning == "There was not enough memory on xpu:0: the model is on the CPU now."
        assert live.bank.device == CPU
        assert (old.made, old.retired) == (0, 0)
        assert live.say("hello", max_new_tokens=3)
        for amount in (0.25, 0.75):
            live.turn(blend(llamas, amount))
            with assemble(blend(llamas, amount), device="cpu") as there:
                assert same(state(live.model), state(there.model))


def test_on_the_cpu_it_is_said_in_words_and_the_model_stays_as_it_was(
    llamas: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    with assemble(blend(llamas, 0.5), device="cpu") as live:
        before, recipe = state(live.model), live.recipe
        with monkeypatch.context() as patched:
            fails(patched, lambda: True)
            with pytest.raises(AssemblyError, match=r"memory: ran out on cpu, .* are free \(XPU out of memory"):
                live.turn(blend(llamas, 0.25))
        assert same(state(live.model), before)
        assert live.recipe == recipe
        assert live.turn(blend(llamas, 0.25)).redone == len(live.plan.steps)
        with assemble(blend(llamas, 0.25), device="cpu") as there:
            assert same(state(live.model), state(there.model))


def test_memory_that_runs_out_while_the_model_speaks_is_said_in_words(
    llamas: Trio, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mergelab.models import assembly

    with assemble(blend(llamas, 0.5)) as live:
        expected, write = live.say("hello", max_new_tokens=3), assembly.write
        errors = [torch.OutOfMemoryError("XPU out of memory")] * 3

        def tried(*given: Any, **how: Any) -> str:
            if errors:
                raise errors.pop()
            return write(*given, **how)

        monkeypatch.setattr(assembly, "write", tried)
        with pytest.raises(AssemblyError, match=r"memory: ran out on xpu:0, 1 GB are free \(XPU out of memory\)"):
            live.say("hello", max_new_tokens=3)
        assert live.say("hello", max_new_tokens=3) == expected


def test_a_machine_without_a_gpu_needs_to_be_told_nothing(llamas: Trio) -> None:
    with assemble(blend(llamas, 0.5)) as live:
        assert live.bank.device == CPU
        assert live.made.streamed == 0


def test_what_is_live_takes_the_best_device_and_what_is_written_does_not_depend_on_the_machine() -> None:
    import mergelab as ml

    for live in (ml.assemble, Assembly, Bank, ml.Preview, ml.Variants, ml.Workbench):
        assert signature(live).parameters["device"].default == "auto"
    assert signature(ml.merge).parameters["device"].default == "cpu"


def test_memory_that_runs_out_while_a_model_is_written_leaves_nothing_behind(
    llamas: Trio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fails(monkeypatch, lambda: True)
    with pytest.raises(AssemblyError, match=r"ran out on cpu.*Close other programs, or merge on the CPU"):
        merge(blend(llamas, 0.5), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------ all of it there


def test_a_stack_of_two_models_takes_the_memory_of_the_two(llamas: Trio, machine: Machine) -> None:
    """Goliath, where nothing is mapped: each layer is sent once, however often it stands in the stack."""
    one, other = llamas[:2]
    both = sum(open_checkpoint(path).bytes for path in (one, other))
    tall = stack([(one, 0, 4), (other, 1, 5), (one, 2, DEPTH), (other, 3, DEPTH), (one, 0, DEPTH)], base=one)
    with assemble(stack([(one, 0, DEPTH)], base=one)) as live:
        changes = live.turn(tall)
        assert live.bank.device is GPU
        assert (changes.redone, changes.bytes_written) == (0, 0)
        layers = {(part.untyped_storage().data_ptr(), part.nbytes) for part in live.model.parameters()}
        assert sum(size for _, size in layers) < both
        kept = {
            (kept.tensor.untyped_storage().data_ptr(), kept.tensor.nbytes)
            for kept in live.bank._residence._kept.values()
        }
        assert sum(size for _, size in layers | kept) <= both, "what is resident is what the model is made of"
        assert live.bank.made <= both
        assert len(live.plan.layers) == 21


def test_a_preview_goes_on_on_the_cpu_and_says_so(
    llamas: Trio, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    with Preview(dict(zip(("base", "a", "b"), llamas, strict=True)), events.append, max_new_tokens=3) as preview:

        def asked(amount: float) -> dict[type, list[Any]]:
            events.clear()
            preview.ask(blend(llamas, amount), "hello")
            assert preview.wait(60)
            assert isinstance(events[-1], Done), events[-1]
            return {kind: [event for event in events if type(event) is kind] for kind in (Merged, Next, Text)}

        (before,) = asked(0.5)[Next]
        with monkeypatch.context() as patched:
            fails(patched, lambda: len(tries) < 2 and not tries.append(1))
            tries: list[int] = []
            said = asked(0.25)
        assert said[Merged][0].changes.warning.endswith("the model is on the CPU now.")
        for amount in (0.25, 0.75, 0.5):
            said = asked(amount)
            assert said[Merged][0].changes.warning == ""
            with assemble(blend(llamas, amount), device="cpu") as there:
                assert said[Text][-1].done
                assert [text.text for text in said[Text] if text.speaker == "merged"][-1] == there.say(
                    "hello", max_new_tokens=3
                )
        (after,) = said[Next]
        assert after.answers[0].candidates == before.answers[0].candidates
        assert after.answers[0].kl == before.answers[0].kl


def test_variants_go_on_where_one_of_them_had_to_move(
    llamas: Trio, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Variants(blend(llamas, 0.5)) as variants:
        variants.keep("there")
        old = variants.assembly.bank
        with monkeypatch.context() as patched:
            tries: list[int] = []
            fails(patched, lambda: len(tries) < 2 and not tries.append(1))
            assert "on the CPU now" in variants.turn(blend(llamas, 0.25)).warning
        variants.keep("here")
        assert variants.assembly.bank.device == CPU
        variants.undo()
        said = variants.compare("hello", max_new_tokens=3).said
        assert said["first"] == said["there"] != said["here"]
        variants.switch("there")
        assert variants.assembly.bank is old
        variants.turn(blend(llamas, 0.25))
        said = variants.compare("hello", max_new_tokens=3).said
        assert said["there"] == said["here"] != said["first"]
    assert (old.made, old.retired) == (0, 0)
