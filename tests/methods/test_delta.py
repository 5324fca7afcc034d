"""The task-vector family: worked by hand, stage by stage, and the counts that a trim keeps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mergelab import methods
from mergelab.errors import MethodError
from tests.methods.table import BY_NAME, Case, cases

BASE = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0])
TAUS = torch.tensor([[3.0, -1.0, 0.5, -4.0, 2.0], [-2.0, -3.0, 0.5, 4.0, 0.0]])
MODELS = list(BASE + TAUS)


def stages(name: str, **numbers: object) -> dict[str, list[list[float]]]:
    found = methods.stages(methods.get(name), MODELS, BASE, numbers)
    return {stage.name: [tensor.tolist() for tensor in stage.tensors] for stage in found}


def test_ties_by_hand() -> None:
    """Two of five and three of five are kept. Both kept at the fourth place balance: plus is elected."""
    assert stages("ties", weight=[1.0, 1.0], density=[0.4, 0.6]) == {
        "task vectors": TAUS.tolist(),
        "trim": [[3.0, 0.0, 0.0, -4.0, 0.0], [-2.0, -3.0, 0.0, 4.0, 0.0]],
        "weigh": [[3.0, 0.0, 0.0, -4.0, 0.0], [-2.0, -3.0, 0.0, 4.0, 0.0]],
        "elect sign": [[3.0, 0.0, 0.0, 0.0, 0.0], [0.0, -3.0, 0.0, 4.0, 0.0]],
        "disjoint mean": [[3.0, -3.0, 0.0, 4.0, 0.0]],
        "scale": [[3.0, -3.0, 0.0, 4.0, 0.0]],
        "add to base": [[4.0, -2.0, 1.0, 5.0, 1.0]],
    }


def test_ties_with_weights_by_hand() -> None:
    """Weights take part in the election; the mean divides by those that agree, the sum does not."""
    mean = stages("ties", weight=[1.0, 3.0], **{"lambda": 2.0})
    assert mean["elect sign"] == [[0.0, -1.0, 0.5, 0.0, 2.0], [-6.0, -9.0, 1.5, 12.0, 0.0]]
    assert mean["disjoint mean"] == [[-2.0, -2.5, 0.5, 4.0, 2.0]]
    assert mean["add to base"] == [[-3.0, -4.0, 2.0, 9.0, 5.0]]
    plain = stages("ties", weight=[1.0, 3.0], normalize=False)
    assert plain["sum"] == [[-6.0, -10.0, 2.0, 12.0, 2.0]]


def test_weights_that_cancel_leave_the_sum_undivided() -> None:
    """Models may agree with opposite weights. 0.3 + 0.6 - 0.9 is not zero in float32, and counts as zero."""
    base = torch.zeros(1)
    tau = torch.ones(1)
    numbers = {"weight": [0.3, 0.6, -0.9]}
    result = methods.apply(methods.get("ties"), [tau, tau, -tau], base, numbers, dtype=torch.float32)
    assert result.item() == pytest.approx(1.8, rel=1e-6)


def test_rescaling_restores_the_l1_norm() -> None:
    found = stages("ties", weight=1.0, density=0.4, rescale=True)["trim"]
    assert found[0] == [4.5, 0.0, 0.0, -6.0, 0.0]  # 10.5 / 7
    assert found[1] == pytest.approx([0.0, -3.0 * 9.5 / 7, 0.0, 4.0 * 9.5 / 7, 0.0])


def test_task_arithmetic_by_hand() -> None:
    assert stages("task_arithmetic", weight=[0.5, -1.0], normalize=True, **{"lambda": 0.5}) == {
        "task vectors": TAUS.tolist(),
        "weigh": [[1.5, -0.5, 0.25, -2.0, 1.0], [2.0, 3.0, -0.5, -4.0, 0.0]],
        "mean": [[-7.0, -5.0, 0.5, 12.0, -2.0]],
        "scale": [[-3.5, -2.5, 0.25, 6.0, -1.0]],
        "add to base": [[-2.5, -1.5, 1.25, 7.0, 0.0]],
    }


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=99), st.integers(0, 100))
def test_a_trim_keeps_exactly_so_many(steps: list[int], percent: int) -> None:
    """max(1, int(density n)) of n < 100 elements of five magnitudes at most; zeros that are kept stay zero."""
    tau = torch.tensor(steps, dtype=torch.float32)
    density = percent / 100
    numbers = {"weight": 1.0, "density": density}
    found = methods.stages(methods.get("ties"), [tau], torch.zeros_like(tau), numbers)
    (trimmed,) = next(stage.tensors for stage in found if stage.name == "trim")
    count = 0 if percent == 0 else max(1, int(density * len(steps)))
    order = sorted(range(len(steps)), key=lambda at: (-abs(steps[at]), at))
    chosen = sorted(at for at in order[:count] if steps[at])
    assert trimmed.nonzero().flatten().tolist() == chosen
    assert torch.equal(trimmed[chosen], tau[chosen])


@pytest.mark.parametrize("name", ["task_arithmetic", "ties"])
@given(data=st.data())
def test_the_last_stage_is_the_result(name: str, data: st.DataObject) -> None:
    case: Case = data.draw(cases(BY_NAME[name]))
    before = [one.clone() for one in case.inputs]
    found = methods.stages(case.row.method, case.models, case.base, case.numbers, seed=1, name="w")
    assert torch.equal(found[-1].tensors[0], case.merge())
    assert all(torch.equal(one, kept) for one, kept in zip(case.inputs, before, strict=True))
    storages = [tensor.untyped_storage().data_ptr() for stage in found for tensor in stage.tensors]
    assert len(set(storages)) == len(storages)


def test_other_methods_have_one_stage() -> None:
    (stage,) = methods.stages(methods.get("linear"), MODELS, None, {"weight": 1})
    assert stage.name == "linear"
    assert torch.equal(stage.tensors[0], torch.stack(MODELS).mean(0))


@pytest.mark.parametrize("tensor", [torch.arange(3), torch.ones(3, device="meta")])
def test_steps_need_values(tensor: Tensor) -> None:
    with pytest.raises(MethodError, match="cannot show steps on a"):
        methods.stages(methods.get("linear"), [tensor], None, {"weight": 1})


@pytest.mark.parametrize("name", ["task_arithmetic", "ties"])
@pytest.mark.parametrize("numbers", [{}, {"density": [0.3, 1.0]}], ids=["untrimmed", "trimmed"])
def test_block_by_block_is_as_whole(name: str, numbers: dict[str, object]) -> None:
    """Bit for bit, over blocks of which the last is short, on strided tensors."""
    generator = torch.Generator().manual_seed(2)
    first, second, base = torch.randn(50_021, 3, 3, generator=generator).unbind(1)
    numbers = {"weight": [0.3, 0.9], "lambda": 0.7, "normalize": True, **numbers}
    method = methods.get(name)
    result = methods.apply(method, [first, second], base, numbers, dtype=torch.float32)
    assert torch.equal(result, methods.stages(method, [first, second], base, numbers)[-1].tensors[0])
