"""Interrupts: wherever one comes in a turn, the model is that of its recipe, and its bank counts what there is."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import FrameType
from typing import Any

import pytest
import torch

from mergelab import methods
from mergelab.models import Assembly, assemble, assembly, bank, residence, stock, variants
from mergelab.models.bank import Bank
from mergelab.models.interrupts import held, let_in
from mergelab.models.variants import Variants
from mergelab.recipes import Recipe, plan, stack
from mergelab.weights import Checkpoint
from tests.models.test_turns import Trio, same, state

Spot = tuple[str, int]
ROOMS = tuple(str(module.__file__) for module in (assembly, bank, stock, variants))


@contextmanager
def watched(see: Callable[[Spot], None], rooms: tuple[str, ...] = ROOMS) -> Iterator[None]:
    """``see`` hears of every line of these modules before it runs."""

    def line(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            see((frame.f_code.co_filename, frame.f_lineno))
        return line

    def call(frame: FrameType, _: str, __: Any) -> Any:
        return line if frame.f_code.co_filename in rooms else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before)


def spots(work: Callable[[], object], rooms: tuple[str, ...] = ROOMS) -> list[Spot]:
    """Every line of these modules that the work comes by."""
    seen: dict[Spot, None] = {}
    with watched(seen.setdefault, rooms):
        work()
    return list(seen)


def interrupted(work: Callable[[], object], at: Spot) -> None:
    """Do it, with an interrupt before that line runs first."""
    waiting = [at]

    def see(spot: Spot) -> None:
        if spot in waiting:
            waiting.remove(spot)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), watched(see):
        work()
    assert not waiting


def moved(llamas: Trio) -> Recipe:
    return stack([(llamas[0], 0, 1), (llamas[1], 2, 3)], base=llamas[0])


def blended(llamas: Trio, amount: float) -> Recipe:
    return stack([(llamas[1], 0, 1)], base=llamas[0], method="linear", coefficient=amount)


@pytest.mark.parametrize("rebuilt", [False, True])
def test_wherever_a_turn_is_interrupted_the_model_is_that_of_its_recipe(rebuilt: bool, llamas: Trio) -> None:
    start, target = blended(llamas, 0.5), moved(llamas) if rebuilt else blended(llamas, 0.25)
    opened = {**plan(start).checkpoints, **plan(moved(llamas)).checkpoints}
    expected = {}
    for recipe in (start, target):
        with assemble(recipe, device="cpu") as fresh:
            expected[recipe] = state(fresh)

    ends = []
    with Assembly(plan(start, opened), bank=Bank(opened, device="cpu")) as live:
        everywhere = spots(lambda: live.turn(target), ROOMS[:1] if rebuilt else ROOMS)
        for at in everywhere:
            live.turn(start)
            live.bank.shrink()  # what was made is made again
            interrupted(lambda: live.turn(target), at)
            ends.append(live.recipe)
            assert same(state(live), expected[live.recipe]), at
            kept = {step.key: step.bytes for step in live.plan.steps if not step.maker.copies}
            assert live.bank.made - live.bank.retired == sum(kept.values()), at
            live.turn(target)
            assert same(state(live), expected[target]), at
    assert len(everywhere) > 40
    assert list(dict.fromkeys(ends)) == [start, target], "it is broken off, or done and then interrupted"
    assert (live.bank.made, live.bank.retired, len(live.bank._stock)) == (0, 0, 0)


def test_variants_and_their_past_agree_wherever_they_are_interrupted(llamas: Trio) -> None:
    def verbs(made: Variants) -> dict[str, Callable[[], object]]:
        return {
            "turn": lambda: made.turn(blended(llamas, 0.75)),
            "undo": made.undo,
            "keep": lambda: made.keep("other"),
            "drop": lambda: made.drop("kept"),
            "close": made.close,
        }

    opened = plan(blended(llamas, 0.5)).checkpoints

    def begun() -> Variants:
        made = Variants(plan(blended(llamas, 0.5), opened), device="cpu")
        made.turn(blended(llamas, 0.25))
        made.keep("kept")
        return made

    for verb in verbs(begun()):
        everywhere = spots(verbs(begun())[verb])
        for at in everywhere[:: 1 + len(everywhere) // 6]:
            with begun() as made:
                shared = made.assembly.bank
                interrupted(verbs(made)[verb], at)
                for name in made.names:
                    made.switch(name)
                    assert made.recipe == made.assembly.recipe, (verb, at)
                    made.history  # noqa: B018 - closed models have none
                    made.assembly.say("a", max_new_tokens=1)
            assert (shared.made, shared.retired) == (0, 0), (verb, at)


def test_while_a_source_is_read_an_interrupt_comes_at_once(llamas: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a download."""
    read, calls = Checkpoint.tensor, []

    def slowly(checkpoint: Checkpoint, name: str) -> torch.Tensor:
        calls.append(name)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
            calls.append("went on")
        return read(checkpoint, name)

    with assemble(blended(llamas, 0.5), device="cpu") as one:
        monkeypatch.setattr(Checkpoint, "tensor", slowly)
        with pytest.raises(KeyboardInterrupt):
            one.turn(blended(llamas, 0.25))
        assert len(calls) == 3
        assert one.recipe == blended(llamas, 0.5)


def test_between_two_tensors_an_interrupt_comes_at_once(llamas: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing is read: the sources may be on the device."""
    apply, calls = methods.apply, []

    def counted(*given: Any, **how: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 3:
            press()
        return apply(*given, **how)

    with assemble(blended(llamas, 0.5), device="cpu") as one:
        monkeypatch.setattr(methods, "apply", counted)
        monkeypatch.setattr(residence, "let_in", nullcontext)
        with pytest.raises(KeyboardInterrupt):
            one.turn(blended(llamas, 0.25))
        assert len(calls) == 3
        assert one.recipe == blended(llamas, 0.5)


def press() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    "steps", ["( ! 1 )", "( ( ! 1 ) 2 )", "( [ ] ! 1 )", "( ! 1 [ 0 ] 0 )", "( 1 [ ! 0 ] 0 )", "[ ! 0 ]"]
)
def test_what_is_held_comes_at_the_end_or_where_it_is_let_in(steps: str) -> None:
    """Round brackets hold, square ones let in; "!" is the interrupt, after which a number other than 0 is reached."""
    before, done = signal.getsignal(signal.SIGINT), []

    def run() -> None:
        with ExitStack() as blocks:
            inner = [blocks]
            for step in steps.split():
                if step in "([":
                    inner.append(inner[-1].enter_context(ExitStack()))
                    inner[-1].enter_context(held() if step == "(" else let_in())
                elif step in ")]":
                    inner.pop().close()
                elif step == "!":
                    press()
                else:
                    done.append(step)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert done == [step for step in steps.split() if step in "12"]
    assert signal.getsignal(signal.SIGINT) is before


def test_on_another_thread_there_is_nothing_to_hold() -> None:
    seen = []

    def work() -> None:
        with held(), let_in():
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_who_wants_no_interrupts_gets_none() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held(), let_in():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
