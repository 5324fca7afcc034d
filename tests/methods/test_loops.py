"""The compiled loops give the bits of the atoms: every form, dtype, size and place in memory, whatever the values."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mergelab import methods
from mergelab.methods import fused, loops, machine, proof, scan, sums, trial
from mergelab.methods.atoms import disjoint_mean, weigh
from mergelab.methods.chain import chain
from mergelab.methods.pieces import Pieces
from mergelab.methods.select import Threshold, thresholds
from mergelab.methods.sparsify import drop, trim_both_ends
from mergelab.methods.vectors import TaskVectors

CPU = torch.device("cpu")
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
SIZES = (1, 7, 8, 9, 1023, 1024, 1025, 2050, 5000)
ODD = (0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1e-40, -3e-39, 3e38, -3e38, 65519.0, 65520.0, 6e-8)
NAMES = (
    "linear", "passthrough", "slerp", "task_arithmetic", "ties", "dare_linear", "dare_ties", "della", "della_linear",
    "breadcrumbs", "breadcrumbs_ties",
)  # fmt: skip
WEIGHTS = (0.0, 0.3, 0.7, 0.1, 0.2, 1.0, 1.0, -0.3, -1.000003, -1.0000005)


@contextmanager
def loops_or_not(there: bool) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "available", lambda _: there)
        yield


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Equal bits, those of zeros too; but every NaN is NaN."""
    assert left.dtype == right.dtype
    bits = torch.int32 if left.dtype == torch.float32 else torch.int16
    return bool(((left.view(bits) == right.view(bits)) | (left.isnan() & right.isnan())).all())


@st.composite
def tensors(draw: st.DrawFn, size: int) -> torch.Tensor:
    """Often few distinct values, so that magnitudes are equal and sums cancel; in some a share of odd ones; in some
    that begin anywhere in memory.
    """
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**40)))
    steps, dtype = draw(st.sampled_from((2, 8, 1000))), draw(st.sampled_from(DTYPES))
    values = torch.randn(size, generator=generator).mul_(steps).round_().div_(steps)
    if draw(st.booleans()):
        places = torch.randint(size, (1 + size // 20,), generator=generator)
        values[places] = torch.tensor(ODD)[torch.randint(len(ODD), places.shape, generator=generator)]
    shift = draw(st.integers(0, 3))
    stored = torch.empty(shift + size, dtype=dtype)[shift:]
    return stored.copy_(values)


@st.composite
def numbers(draw: st.DrawFn, name: str, count: int) -> dict[str, Any]:
    """Of a recipe."""
    known = methods.get(name).parameters

    def each(*values: float) -> st.SearchStrategy[list[float]]:
        return st.lists(st.sampled_from(values), min_size=count, max_size=count)

    wide = 0.05 if name.startswith("della") else 0.0
    choices: dict[str, st.SearchStrategy[Any]] = {
        "weight": each(*WEIGHTS),
        "scale": each(0.0, 0.3, -1.5),
        "t": st.sampled_from((0.0, 0.3, 1.0)),
        "normalize": st.booleans(),
        "lambda": st.sampled_from((1, 0.3, -2)),
        "density": each(0.2, 0.5, 0.9, 1.0) if wide else each(0.0, 0.1, 0.5, 0.9, 1.0),
        "rescale": st.booleans(),
        "gamma": each(0.0, 0.05, 0.3),
        "epsilon": st.just(wide),
        "rescale_by": st.sampled_from(("norm", "probability")),
    }
    return {key: draw(chosen) for key, chosen in choices.items() if key in known and known[key].effect}


@settings(max_examples=250)
@given(st.data(), st.sampled_from(NAMES), st.sampled_from(SIZES), st.sampled_from(DTYPES))
def test_loops_are_the_atoms(data: st.DataObject, name: str, size: int, dtype: torch.dtype) -> None:
    method = methods.get(name)
    count = method.inputs[1] or data.draw(st.integers(1, 4))
    given_numbers = data.draw(numbers(name, count))
    assume(not method.check(given_numbers, count))
    *models, base = (data.draw(tensors(size)) for _ in range(count + 1))
    of = None if method.base == "none" else base
    outs = [torch.full((size,), 7.0, dtype=dtype) for _ in range(2)]
    for there, out in enumerate(outs):
        with loops_or_not(bool(there)):
            methods.apply(method, models, of, given_numbers, dtype=dtype, seed=size, name="x", out=out)
    assert same(*outs), f"differ at {[int(at) for at in (outs[0] != outs[1]).nonzero().flatten()[:8]]}"


@pytest.mark.parametrize(("outliers", "mixed"), [(None, False), (Threshold(1.5, 300), True)])
def test_a_mean_of_what_is_not_elected(outliers: Threshold | None, mixed: bool) -> None:
    """What no method asks for, and a work can say."""
    draws = torch.Generator().manual_seed(4)
    base, *models = (torch.randn(1500, generator=draws).mul_(4).round_().div_(4) for _ in range(4))
    weight, out, expected = (0.3, 0.7, -1.0000005 if mixed else 1.0), torch.empty(1500), torch.empty(1500)
    terms = [fused.Term(model, factor, outliers=outliers) for model, factor in zip(models, weight, strict=True)]
    with Pieces(CPU) as pieces:
        if outliers is not None:
            deltas = [model - base for model in models]
            for delta in deltas:
                large = delta.clone()
                outliers.keep(large, 0)
                delta.sub_(large)
            models = [base + delta for delta in deltas]
        chain(models, base, weigh(weight), disjoint_mean(weight)).by_atoms(torch.float32, expected, pieces, {})
        fused.loop(fused.Work(terms, base, out, divisor=None), pieces)
    assert same(out, expected)


@settings(max_examples=25)
@given(st.data(), st.sampled_from((3, 70_000, 300_017)), st.integers(1, 3))
def test_thresholds_of_stored_tensors_are_those_of_task_vectors(data: st.DataObject, size: int, count: int) -> None:
    *models, base = (data.draw(tensors(size)) for _ in range(count + 1))
    ranks = st.tuples(st.integers(0, count - 1), st.integers(1, size))
    wanted = data.draw(st.lists(ranks, min_size=1, max_size=4))
    scanner, searching = (fused.scan(models, base, torch.float32) for _ in range(2))
    assert scanner is not None
    searching.count = lambda *_: None  # type: ignore[union-attr, method-assign]
    with Pieces(CPU) as pieces:
        slow, *quick = (
            TaskVectors.of(models, base, torch.float32, pieces, {}, one) for one in (None, scanner, searching)
        )
        for vectors in quick:
            for one, other in zip(thresholds(vectors, wanted), thresholds(slow, wanted), strict=True):
                both_none = math.isnan(one.magnitude) and math.isnan(other.magnitude)  # their bits may be any
                assert one == other or both_none
            assert vectors.then(lambda deltas, _: deltas).scan is None
        assert slow.then(lambda deltas, _: deltas).scan is None


def test_ties_of_which_a_sample_sees_no_others_are_counted_once() -> None:
    """So that both bounds are the same."""
    size = 300_000
    drawn = torch.randint(size, (size // 256,), generator=torch.Generator().manual_seed(0))
    base, model = torch.zeros(size), torch.full((size,), 0.5)
    model[:60_000] = model[drawn] = 1.0
    ones = int((model == 1).sum())
    scanner = fused.scan([model], base, torch.float32)
    assert scanner is not None
    one = int(np.float32(1).view(np.int32))
    assert scanner.tally(0, one, one, slice(0, size))[:3] == (0, ones, 0)
    with Pieces(CPU) as pieces:
        vectors = TaskVectors.of([model], base, torch.float32, pieces, {}, scanner)
        found = thresholds(vectors, [(0, ones), (0, ones + 1), (0, 2 * ones)])
    places = torch.nonzero(model == 0.5).flatten()
    assert found == [
        Threshold(1.0, size), Threshold(0.5, int(places[0]) + 1), Threshold(0.5, int(places[ones - 1]) + 1)
    ]  # fmt: skip
    numbers = {"weight": 1.0, "density": 0.3}
    made = methods.apply(methods.get("ties"), [model], base, numbers, dtype=torch.float32)
    assert int((made != 0).sum()) == 90_000


@settings(max_examples=25)
@given(st.data(), st.sampled_from((13, 1025, 16_385, 300_017)), st.booleans())
def test_norms_of_stored_tensors_are_those_of_task_vectors(data: st.DataObject, size: int, trimmed: bool) -> None:
    """Bit for bit, piece by piece, before and after they are thinned out."""
    *models, base = (data.draw(tensors(size)) for _ in range(3))
    scanner = fused.scan(models, base, torch.float32)
    assert scanner is not None
    thin = trim_both_ends((0.3, 0.9), (0.1, 0.0)) if trimmed else drop((0.3, 0.9), torch.Generator().manual_seed(1))
    with Pieces(CPU) as pieces:
        whole = TaskVectors.of(models, base, torch.float32, pieces, {}, scanner)
        for vectors in (whole, thin.after(whole)):
            assert vectors.told is not None
            for at in (slice(0, size), slice(0, min(size, sums.ROW)), slice(size // sums.ROW * sums.ROW, size)):
                found = scanner.absolute([1, 0], vectors.told, at)
                expected = [sums.absolute_rows(delta) for delta in reversed(vectors.read(at))]
                assert found is not None
                np.testing.assert_array_equal(found, expected)
        assert scanner.absolute([0], {**whole.told, "gain": [1.0, 1.0]}, slice(0, size)) is None
        assert scanner.absolute([0], {**whole.told, "nothing": [False, True]}, slice(0, size)) is None


@pytest.mark.parametrize("name", ["linear", "ties", "breadcrumbs_ties", "dare_linear"])
def test_threads_share_a_tensor_out(name: str) -> None:
    draws = torch.Generator().manual_seed(5)
    *models, base = (torch.randn(600_011, generator=draws).bfloat16() for _ in range(3))
    density = {"density": 0.4} if name != "linear" else {}
    threads, results = torch.get_num_threads(), []
    try:
        for many, there in ((1, False), (1, True), (2, True), (3, True)):
            torch.set_num_threads(many)
            with loops_or_not(there):
                of = None if name == "linear" else base
                numbers = {"weight": [0.3, 0.9], **density}
                results.append(methods.apply(methods.get(name), models, of, numbers, dtype=torch.bfloat16, name="x"))
    finally:
        torch.set_num_threads(threads)
    assert all(same(results[0], one) for one in results[1:])


@pytest.mark.parametrize("shape", [(0,), (3, 0), ()])
def test_empty_and_scalar(shape: tuple[int, ...]) -> None:
    base, model = torch.zeros(shape).bfloat16(), torch.ones(shape).bfloat16()
    assert fused.available(CPU)
    for name, of in (("linear", None), ("ties", base)):
        made = methods.apply(methods.get(name), [model], of, {"weight": 1.0}, dtype=torch.bfloat16)
        assert torch.equal(made, model)


# The proof ------------------------------------------------------------------------------------------------


def test_the_loops_are_proven_here() -> None:
    assert proof.proven()
    assert fused.available(CPU)


@pytest.mark.parametrize(
    ("module", "name", "result"),
    [
        (loops, "merge", None),
        (loops, "mix", None),
        (loops, "draw", None),
        (scan, "tally", (0, 0, 0, 0)),
        (scan, "nth", -1),
        (loops, "absolute", None),
    ],
)
def test_loops_that_do_nothing_are_not_proven(
    module: ModuleType, name: str, result: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, lambda *_: result)
    assert not trial.passed()


def test_loops_that_pick_others_are_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "pick", lambda *given: given[-1].fill(0))
    assert not trial.passed()


def test_a_tally_that_counts_twice_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(*given: Any) -> tuple[int, int, int, int]:
        above, at_high, at_low, inside = tally(*given)
        low, high = given[4:6]
        return above, at_high, at_high if low == high else at_low, inside

    tally = scan.tally
    monkeypatch.setattr(scan, "tally", twice)
    assert not trial.passed()


@pytest.mark.parametrize(
    ("column", "value"), [(1, 0), (4, 0x3F800000), (5, 0x3F800000), (6, -1), (7, 3001), (8, 0x7FFFFFFF), (9, 3001)]
)
def test_a_merge_that_forgets_is_not_proven(column: int, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks, gains, shares, thresholds and outliers, and up to where their equals belong to them."""

    def forgets(row: Any, *rest: Any) -> None:
        row[5 + column :: 10] = value
        merge(row, *rest)

    merge = loops.merge
    monkeypatch.setattr(loops, "merge", forgets)
    assert not trial.passed()


@pytest.mark.parametrize("place", [2, 3, 4, 5])
def test_a_merge_that_takes_other_steps_is_not_proven(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Election, division, means of what is left, weights of both signs."""

    def other(*given: Any) -> None:
        merge(*given[:place], False, *given[place + 1 :])

    merge = loops.merge
    monkeypatch.setattr(loops, "merge", other)
    assert not trial.passed()


def test_loops_that_fail_are_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(loops, "merge", fail)
    assert not trial.passed()


def test_without_numba_the_atoms_do_the_work() -> None:
    program = """
import sys
sys.modules["numba"] = None
import torch
from mergelab import methods
from mergelab.methods import fused
assert not fused.ready(torch.device("cpu"))
base, model = torch.zeros(9), torch.arange(9.0)
for name, of in (("ties", base), ("linear", None)):
    numbers = {"weight": 1.0, "density": 0.5} if of is not None else {"weight": 1.0}
    print(name, methods.apply(methods.get(name), [model], of, numbers, dtype=torch.float32).tolist())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "ties [0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 6.0, 7.0, 8.0]",
        "linear [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]",
    ]


def test_to_merge_imports_no_compiler_before_it_is_needed() -> None:
    program = "import sys, mergelab.methods; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


# Conversions ----------------------------------------------------------------------------------------------


@machine.loop
def _widened(kind: int, stored: np.ndarray, wide: np.ndarray) -> None:
    for i in range(len(stored)):
        wide[i] = machine.from_float16(stored[i]) if kind else machine.from_bfloat16(stored[i])


@machine.loop
def _rounded(kind: int, wide: np.ndarray, stored: np.ndarray) -> None:
    for i in range(len(wide)):
        stored[i] = machine.to_float16(wide[i]) if kind else machine.to_bfloat16(wide[i])


@pytest.mark.parametrize(("kind", "dtype"), [(0, torch.bfloat16), (1, torch.float16)])
def test_every_number_of_two_bytes_and_what_lies_between(kind: int, dtype: torch.dtype) -> None:
    patterns = np.arange(1 << 16, dtype=np.uint16)
    stored = torch.from_numpy(patterns.view(np.int16)).view(dtype)
    wide, back = np.empty(1 << 16, np.float32), np.empty(1 << 16, np.uint16)
    _widened(kind, patterns, wide)
    _rounded(kind, wide, back)
    assert same(torch.from_numpy(wide), stored.float())
    assert same(torch.from_numpy(back.view(np.int16)).view(dtype), stored)
    step = np.uint32(1) << np.uint32(13 if kind else 16)
    near = [wide.view(np.uint32) + shift for shift in (np.uint32(1), step // 2 - 1, step // 2, step // 2 + 1, step - 1)]
    drawn = np.random.default_rng(0).integers(0, 1 << 32, 1 << 18, dtype=np.uint32)
    between = np.concatenate([*near, drawn]).view(np.float32)
    rounded = np.empty(len(between), np.uint16)
    _rounded(kind, between, rounded)
    assert same(torch.from_numpy(rounded.view(np.int16)).view(dtype), torch.from_numpy(between).to(dtype))
