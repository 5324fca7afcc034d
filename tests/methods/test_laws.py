"""One suite of laws over the table of methods."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from mergelab import methods
from mergelab.methods import fused
from tests.methods.table import COARSE, FINE, TABLE, Case, Row, cases

Law = Callable[[st.DataObject, Row], None]
LAWS: dict[str, Law] = {}


def law(function: Law) -> Law:
    LAWS[function.__name__] = function
    return function


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Equal bits, NaN included; 0.0 and -0.0 are equal."""
    return left.dtype == right.dtype and torch.equal(left.nan_to_num(nan=1e30), right.nan_to_num(nan=1e30))


def near(result: torch.Tensor, wanted: torch.Tensor, case: Case) -> bool:
    return bool(((result.double() - wanted.double()).abs() <= case.rounding()).all())


@law
def dtype_and_shape_are_kept(data: st.DataObject, row: Row) -> None:
    case = data.draw(cases(row))
    of = data.draw(st.sampled_from((torch.float16, torch.bfloat16, torch.float32, torch.float64)))
    to = data.draw(st.sampled_from((torch.float16, torch.bfloat16, torch.float32, torch.float64)))
    result = case.map(lambda x: x.to(of)).merge(dtype=to)
    assert result.dtype == to
    assert result.shape == case.models[0].shape


@law
def inputs_stay_untouched(data: st.DataObject, row: Row) -> None:
    case = data.draw(cases(row))
    case = case.map(lambda x: x.to(data.draw(st.sampled_from((torch.bfloat16, torch.float32, torch.float64)))))
    before = [one.clone() for one in case.inputs]
    versions = [one._version for one in case.inputs]
    case.merge()
    assert all(same(one, kept) for one, kept in zip(case.inputs, before, strict=True))
    assert versions == [one._version for one in case.inputs]


@law
def the_result_is_fresh(data: st.DataObject, row: Row) -> None:
    case = data.draw(cases(row))
    result = case.merge()
    if row.method.unchanged(case.numbers):
        assert result is case.models[0]
    else:
        assert all(result.untyped_storage().data_ptr() != one.untyped_storage().data_ptr() for one in case.inputs)


@law
def the_same_seed_gives_the_same_result(data: st.DataObject, row: Row) -> None:
    case = data.draw(cases(row))
    first = case.merge()
    torch.manual_seed(data.draw(st.integers(0, 99)))  # the global generator is not asked
    assert same(first, case.merge())


@law
def equal_inputs_give_that_input(data: st.DataObject, row: Row) -> None:
    """Base and models alike, with numbers that sum to one."""
    case = data.draw(cases(row))
    alone = case.row.alone(len(case.models))
    equal = case.map(lambda _: case.models[0])
    assert near(equal.merge(numbers=alone), case.models[0], case)


@law
def equal_models_give_that_model(data: st.DataObject, row: Row) -> None:
    """Equal models, another base, weights and places as they come; untrimmed and unscaled."""
    case = data.draw(cases(row, several=True))
    free = ("weight", "t", "density")
    chosen = {name: value for name, value in case.numbers.items() if name in free and name in case.numbers}
    chosen.pop("density", None)
    if "weight" in chosen:
        chosen["weight"] = data.draw(st.integers(1, 32)) / 16
    models = (case.models[0],) * len(case.models)
    assert near(case.merge(models=models, numbers=chosen), case.models[0], case)


@law
def a_model_alone_comes_out_whole(data: st.DataObject, row: Row) -> None:
    """One-hot weights; the far end of a path."""
    case = data.draw(cases(row))
    alone = dataclasses.replace(case, numbers=row.alone(len(case.models)))
    assert near(alone.merge(), case.models[-1], alone)


@law
def no_model_gives_the_base(data: st.DataObject, row: Row) -> None:
    case = data.draw(cases(row))
    base = torch.zeros_like(case.models[0]) if case.base is None else case.base
    assert torch.equal(case.merge(numbers=row.nothing(len(case.models))), base)


@law
def the_order_of_models_does_not_matter(data: st.DataObject, row: Row) -> None:
    """Models with their own numbers, in another order. Fine values: no balanced signs to be tipped by a rounding."""
    case = data.draw(cases(row, several=True))
    order = data.draw(st.permutations(range(len(case.models))))
    numbers = {
        name: [value[at] for at in order] if isinstance(value, list) else value
        for name, value in case.numbers.items()
        if name != "rescale"
    }
    case = dataclasses.replace(case, numbers={n: v for n, v in case.numbers.items() if n != "rescale"})
    other = case.merge(models=tuple(case.models[at] for at in order), numbers=numbers)
    assert near(case.merge(), other, case)


@law
def a_power_of_two_passes_through(data: st.DataObject, row: Row) -> None:
    """f(2^k x) = 2^k f(x), bit for bit: no threshold hangs on the size of the values."""
    case = data.draw(cases(row))
    factor = 2.0 ** data.draw(st.integers(-12, 12))
    assert same(case.map(lambda x: x * factor).merge(), case.merge() * factor)


@law
def mirrored_inputs_give_the_mirrored_result(data: st.DataObject, row: Row) -> None:
    """f(-x) = -f(x), balanced signs included."""
    case = data.draw(cases(row, COARSE, several=True))
    assert same(case.map(torch.neg).merge(), -case.merge())


@law
def plain_inputs_give_finite_results(data: st.DataObject, row: Row) -> None:
    """Zeros, constants, parallel, opposite and perpendicular vectors, in any mixture."""
    case = data.draw(cases(row))
    direction = case.models[0]
    plain = st.sampled_from((0.0, 1.0, -1.0, 3.0, -0.5, 1e-20, 1e20)).map(lambda factor: factor * direction)
    constant = st.sampled_from((0.0, -1.0, 1e-30)).map(lambda value: torch.full_like(direction, value))
    drawn = case.map(lambda _: data.draw(plain | constant))
    assert drawn.merge().isfinite().all()


@law
def layout_does_not_matter(data: st.DataObject, row: Row) -> None:
    """Strided views give what contiguous tensors give, in a contiguous tensor."""
    case = data.draw(cases(row))
    strided = case.map(lambda x: torch.stack((x, x + 1), dim=-1)[..., 0])
    result = strided.merge()
    assert same(result, case.merge())
    assert result.is_contiguous() or row.method.unchanged(case.numbers)


@law
def mixed_dtypes_are_read_as_their_values(data: st.DataObject, row: Row) -> None:
    case = data.draw(cases(row, COARSE))  # exact in bfloat16
    mixed = dataclasses.replace(case, models=(case.models[0].bfloat16(), *case.models[1:]))
    assert same(mixed.merge(dtype=torch.float32), case.merge())


@law
def double_precision_is_kept(data: st.DataObject, row: Row) -> None:
    """float64 sources are computed in float64: thirds are right to 12 digits."""
    fixed = {"rescale": st.just(False)} if row.elects else {}
    case = data.draw(cases(row, FINE, **fixed)).map(lambda x: x.double() / (1 if row.decides else 3))
    numbers = case.numbers | ({"lambda": 1 / 3} if "lambda" in row.method.parameters else {})
    case = dataclasses.replace(case, numbers=numbers)
    error = (case.merge() - case.expected()).abs()
    assert (error <= case.rounding() * 2**-20).all()


@law
def not_a_number_stays_at_its_place(data: st.DataObject, row: Row) -> None:
    """A NaN in any one input makes that element NaN, and no other."""
    case = data.draw(cases(row, several=True))
    numbers = {name: value for name, value in case.numbers.items() if name not in ("density", "rescale")}
    spoilt = data.draw(st.integers(0, len(case.inputs) - 1))
    at = data.draw(st.integers(0, case.models[0].numel() - 1))
    inputs = [one.clone() for one in case.inputs]
    inputs[spoilt].view(-1)[at] = torch.nan
    base = None if case.base is None else inputs[-1]
    result = case.merge(models=tuple(inputs[: len(case.models)]), base=base, numbers=numbers)
    assert result.isnan().view(-1).nonzero().flatten().tolist() == [at]


@law
def elements_are_merged_one_by_one(data: st.DataObject, row: Row) -> None:
    """The first half of the tensor, merged by itself, is the first half of the merge."""
    case = data.draw(cases(row))
    assume(case.models[0].numel() > 1)
    half = case.map(lambda x: x.reshape(-1)[: x.numel() // 2])
    whole = case.merge().reshape(-1)[: case.models[0].numel() // 2]
    assert near(half.merge(), whole, case)


@law
def empty_and_meta_tensors_pass(data: st.DataObject, row: Row) -> None:
    case = data.draw(cases(row))
    numbers = case.numbers
    empty = case.map(lambda _: torch.empty(3, 0)).merge(torch.bfloat16, numbers=numbers)
    assert empty.shape == (3, 0)
    assert empty.dtype == torch.bfloat16
    meta = case.map(lambda x: x.to("meta")).merge(torch.bfloat16)
    assert meta.is_meta
    assert (meta.shape, meta.dtype) == (case.models[0].shape, torch.bfloat16)


PAIRS = list(itertools.product(LAWS, TABLE))
HELD = [(name, row) for name, row in PAIRS if name not in row.exceptions]
IN_ONE_PASS = (
    "passthrough", "linear", "slerp", "task_arithmetic", "ties", "dare_linear", "dare_ties", "della", "della_linear",
    "breadcrumbs", "breadcrumbs_ties",
)  # fmt: skip
BY_TORCH = [(name, row) for name, row in HELD if row.name in IN_ONE_PASS]
BROKEN = [(name, row) for name, row in PAIRS if name in row.exceptions]


def hold(name: str, row: Row, examples: int = 30, **options: object) -> None:
    @settings(max_examples=examples, **options)
    @given(st.data())
    def try_it(data: st.DataObject) -> None:
        LAWS[name](data, row)

    try_it()


@pytest.mark.parametrize(("name", "row"), HELD, ids=str)
def test_law(name: str, row: Row) -> None:
    hold(name, row)


@pytest.mark.parametrize(("name", "row"), BY_TORCH, ids=str)
def test_law_by_torch_alone(name: str, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no loops, or they are not proven."""
    monkeypatch.setattr(fused, "available", lambda _: False)
    hold(name, row, examples=10)


@pytest.mark.parametrize(("name", "row"), BROKEN, ids=str)
def test_an_exception_is_one(name: str, row: Row) -> None:
    phases = (Phase.explicit, Phase.generate)
    with pytest.raises(AssertionError):
        hold(name, row, examples=500, phases=phases, database=None, derandomize=True, report_multiple_bugs=False)


def test_the_table_is_complete() -> None:
    assert tuple(row.name for row in TABLE) == methods.names()
    assert all(name in LAWS for row in TABLE for name in row.exceptions)


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_threads_do_not_matter(row: Row) -> None:
    """Bit for bit, on a tensor long enough to be shared out unevenly. LAPACK may differ in the last bit, but not from
    itself with as many threads.
    """
    generator = torch.Generator().manual_seed(5)
    count = row.method.inputs[1] or 3
    tensors = [torch.randn(3, 40_009, generator=generator) for _ in range(count + 1)]
    base = tensors[-1] if row.method.base == "required" else None
    settings_of = {"weight": 0.3, "t": 0.3, "density": 0.37, "scale": 0.7, "rescale": True}
    numbers = {name: value for name, value in settings_of.items() if name in row.method.parameters}
    case = Case(row, tuple(tensors[:count]), base, numbers)
    threads = torch.get_num_threads()
    results = []
    try:
        for many in (1, 2, 3, 5):
            torch.set_num_threads(many)
            results.append(case.merge())
            assert not row.threaded or same(results[-1], case.merge())
    finally:
        torch.set_num_threads(threads)
    agree = functools.partial(near, case=case) if row.threaded else same
    assert all(agree(results[0], one) for one in results[1:])
