"""explain: every stage of a method, for reading."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mergelab import methods
from mergelab.errors import MethodError
from tests.methods.table import TABLE, Case, Row, cases

LISTS = [[4.0, 0.0, 1.5], [-1.0, -2.0, 1.5]]


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_the_last_stage_is_the_result(row: Row) -> None:
    @settings(max_examples=20)
    @given(st.data())
    def hold(data: st.DataObject) -> None:
        case: Case = data.draw(cases(row))
        before = [one.clone() for one in case.inputs]
        found = methods.explain(row.name, case.models, case.base, case.numbers, seed=1, name="w", cutoffs=case.cutoffs)
        assert torch.equal(found[0].tensors[0], case.models[0])
        assert len(found[0].tensors) == len(case.models)
        assert torch.equal(found[-1].tensors[0].float(), case.merge())
        assert all(stage.name and stage.doc.endswith(".") for stage in found)
        assert all(torch.equal(one, kept) for one, kept in zip(case.inputs, before, strict=True))
        storages = [tensor.untyped_storage().data_ptr() for stage in found for tensor in stage.tensors]
        storages += [one.untyped_storage().data_ptr() for one in case.inputs]
        assert len(set(storages)) == len(storages)

    hold()


def test_lists_are_read_as_float32() -> None:
    """And what is masked shows as 0, not as -0."""
    found = methods.explain("ties", LISTS, [1.0, 1.0, 1.0], {"weight": 1, "density": 0.4})
    assert [stage.name for stage in found] == [
        "models", "task vectors", "trim", "weigh", "elect sign", "disjoint mean", "scale", "add to base"
    ]  # fmt: skip
    assert [tensor.tolist() for tensor in found[2].tensors] == [[3.0, 0.0, 0.0], [0.0, -3.0, 0.0]]
    assert all(math.copysign(1, x) == 1 for tensor in found[2].tensors for x in tensor.tolist() if x == 0)
    assert all(tensor.dtype == torch.float32 for stage in found for tensor in stage.tensors)
    assert methods.explain("ties", [torch.ones(2).double()], [1, 1], {"weight": 1})[1].tensors[0].dtype == torch.float64


def test_other_methods_have_one_step() -> None:
    models, result = methods.explain("linear", LISTS, numbers={"weight": 1})
    assert (models.name, result.name) == ("models", "linear")
    assert result.doc == 'The weighted mean of the models ("model soup").'
    assert result.tensors[0].tolist() == [1.5, -1.0, 1.5]


def test_seed_and_name_are_those_of_apply() -> None:
    models, base = torch.randn(2, 3, 40), torch.zeros(3, 40)
    numbers = {"weight": 1.0, "density": 0.5}
    method = methods.get("dare_linear")
    wanted = methods.apply(method, list(models), base, numbers, dtype=torch.float32, seed=7, name="layer")
    assert torch.equal(
        methods.explain(method, list(models), base, numbers, seed=7, name="layer")[-1].tensors[0], wanted
    )
    assert not torch.equal(methods.explain(method, list(models), base, numbers, seed=8)[-1].tensors[0], wanted)


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [(torch.arange(3), "cpu and torch.int64"), (torch.ones(3, device="meta"), "meta"), (torch.ones(0), "empty")],
    ids=["integers", "meta", "empty"],
)
def test_steps_need_values(tensor: Tensor, kind: str) -> None:
    with pytest.raises(MethodError, match=f"linear: cannot show steps on a tensor that is {kind}"):
        methods.explain("linear", [tensor], None, {"weight": 1})


@pytest.mark.parametrize("models", [[["1", "2"]], [[[1, 2], [3]]], ["text"], [[None]]])
def test_lists_hold_numbers(models: list) -> None:
    with pytest.raises(MethodError, match="linear: model 1 is neither a tensor nor a list of numbers"):
        methods.explain("linear", models, None, {"weight": 1})


def test_problems_are_those_of_apply() -> None:
    with pytest.raises(MethodError) as caught:
        methods.explain("ties", LISTS, None, {"wieght": 1})
    assert "has no base model" in str(caught.value)
    assert "Did you mean 'weight'" in str(caught.value)
    with pytest.raises(MethodError, match="no method 'tise'"):
        methods.explain("tise", LISTS)
