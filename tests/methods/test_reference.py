"""Every method against its slow reference."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.methods.table import BY_NAME, COARSE, FINE, TABLE, WIDE, Case, Row, Values, cases

SMOOTH = [row for row in TABLE if not row.decides]


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_float32_agrees_with_the_reference(row: Row) -> None:
    """All numbers of the method; values with ties and balanced signs, on which float32 decides as float64 does."""
    fixed = {"rescale": st.just(False)} if row.elects else {}

    @settings(max_examples=150)
    @given(cases(row, **fixed))
    def agree(case: Case) -> None:
        error = (case.merge().double() - case.expected()).abs()
        assert (error <= case.rounding()).all()

    agree()


@pytest.mark.parametrize("row", SMOOTH, ids=str)
def test_float32_agrees_on_values_of_many_scales(row: Row) -> None:
    @settings(max_examples=60)
    @given(cases(row, WIDE))
    def agree(case: Case) -> None:
        error = (case.merge().double() - case.expected()).abs()
        assert (error <= case.rounding()).all()

    agree()


@pytest.mark.parametrize("row", TABLE, ids=str)
@pytest.mark.parametrize("values", [COARSE, FINE], ids=["coarse", "fine"])
def test_bfloat16_is_within_one_unit_of_the_last_place(row: Row, values: Values) -> None:
    """Ours computes in float32 and rounds once: at most one bfloat16 away from the float64 result, rounded."""
    fixed = {"rescale": st.just(False)} if row.elects else {}

    @settings(max_examples=60)
    @given(cases(row, values, **fixed))
    def close(case: Case) -> None:
        case = case.map(torch.Tensor.bfloat16)
        wanted = case.expected()
        result = case.merge()
        assert result.dtype == torch.bfloat16
        error = (result.double() - wanted.bfloat16().double()).abs()
        assert (error <= unit(wanted) + case.rounding()).all()

    close()


def unit(values: torch.Tensor) -> torch.Tensor:
    """The distance between neighbouring bfloat16 numbers at ``values``: 8 bits of mantissa, none below 2^-133."""
    exponent = torch.frexp(values).exponent.double()
    return torch.where(values == 0, 0, 2.0 ** (exponent - 8)).clamp_min(2.0**-133)


@settings(max_examples=100)
@given(cases(BY_NAME["ties"], FINE, rescale=st.just(True)))
def test_ties_rescales_like_the_reference(case: Case) -> None:
    """One model: its own sign wins, so that no rounding of the factor can tip an election."""
    density = case.numbers["density"]
    one = {"weight": 1.0, "density": density[0] if isinstance(density, list) else density, "rescale": True}
    models = case.models[:1]
    alone = Case(case.row, models, case.base, one)
    largest = float(alone.expected().abs().max()) + alone.rounding() / 4
    error = (alone.merge().double() - alone.expected()).abs()
    assert (error <= 4 * 2**-24 * (largest + 32)).all()


def test_the_unit_is_that_of_bfloat16() -> None:
    ones = torch.tensor([1.0, 1.5, 2.0, -3.0, 0.75], dtype=torch.float64)
    following = (ones.abs().bfloat16().view(torch.int16) + 1).view(torch.bfloat16).double()
    assert torch.equal(unit(ones), following - ones.abs())
