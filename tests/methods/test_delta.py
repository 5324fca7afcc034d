"""The task-vector family: worked by hand, stage by stage."""

from __future__ import annotations

import pytest
import torch

from mergelab import methods
from mergelab.errors import MethodError
from tests.methods.rows import delta

FAMILY = [row.name for row in delta.ROWS]
BASE = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0])
TAUS = torch.tensor([[3.0, -1.0, 0.5, -4.0, 2.0], [-2.0, -3.0, 0.5, 4.0, 0.0]])
MODELS = list(BASE + TAUS)


def stages(name: str, **numbers: object) -> dict[str, list[list[float]]]:
    found = methods.explain(name, MODELS, BASE, numbers)
    assert found[0].name == "models"
    return {stage.name: [tensor.tolist() for tensor in stage.tensors] for stage in found[1:]}


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


def test_rescaling_by_hand() -> None:
    found = stages("ties", weight=1.0, density=0.4, rescale=True)
    assert found["trim"] == [[3.0, 0.0, 0.0, -4.0, 0.0], [0.0, -3.0, 0.0, 4.0, 0.0]]
    assert found["rescale"][0] == [4.5, 0.0, 0.0, -6.0, 0.0]  # 10.5 / 7
    assert found["rescale"][1] == pytest.approx([0.0, -3.0 * 9.5 / 7, 0.0, 4.0 * 9.5 / 7, 0.0])


def test_breadcrumbs_by_hand() -> None:
    """Of five elements the largest is an outlier, two are kept."""
    assert stages("breadcrumbs", weight=[1.0, 0.5], density=0.4, gamma=0.2) == {
        "task vectors": TAUS.tolist(),
        "trim both ends": [[3.0, 0.0, 0.0, 0.0, 2.0], [-2.0, -3.0, 0.0, 0.0, 0.0]],
        "weigh": [[3.0, 0.0, 0.0, 0.0, 2.0], [-1.0, -1.5, 0.0, 0.0, 0.0]],
        "sum": [[2.0, -1.5, 0.0, 0.0, 2.0]],
        "scale": [[2.0, -1.5, 0.0, 0.0, 2.0]],
        "add to base": [[3.0, -0.5, 1.0, 1.0, 3.0]],
    }
    signs = stages("breadcrumbs_ties", weight=[1.0, 0.5], density=0.4, gamma=0.2)
    assert signs["elect sign"] == [[3.0, 0.0, 0.0, 0.0, 2.0], [0.0, -1.5, 0.0, 0.0, 0.0]]


def test_task_arithmetic_by_hand() -> None:
    assert stages("task_arithmetic", weight=[0.5, -1.0], normalize=True, **{"lambda": 0.5}) == {
        "task vectors": TAUS.tolist(),
        "weigh": [[1.5, -0.5, 0.25, -2.0, 1.0], [2.0, 3.0, -0.5, -4.0, 0.0]],
        "mean": [[-7.0, -5.0, 0.5, 12.0, -2.0]],
        "scale": [[-3.5, -2.5, 0.25, 6.0, -1.0]],
        "add to base": [[-2.5, -1.5, 1.25, 7.0, 0.0]],
    }


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize(
    "numbers",
    [{}, {"density": [0.3, 1.0]}, {"density": [0.3, 1.0], "rescale": False}],
    ids=["untrimmed", "trimmed", "not rescaled"],
)
def test_block_by_block_is_as_whole(name: str, numbers: dict[str, object]) -> None:
    """Bit for bit, over blocks of which the last is short, on strided tensors."""
    generator = torch.Generator().manual_seed(2)
    first, second, base = torch.randn(50_021, 3, 3, generator=generator).unbind(1)
    numbers = {"weight": [0.3, 0.9], "lambda": 0.7, "normalize": True, **numbers}
    method = methods.get(name)
    result = methods.apply(method, [first, second], base, numbers, dtype=torch.float32)
    assert torch.equal(result, methods.explain(method, [first, second], base, numbers)[-1].tensors[0])


@pytest.mark.parametrize("small", [1e-3, 1e-5, 1e-7])
def test_a_small_weight_that_agrees_alone_is_no_cancellation(small: float) -> None:
    models = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])]
    for weight in ([1.0, small], [-1.0, small]):
        merged = methods.apply(methods.get("ties"), models, torch.zeros(2), {"weight": weight}, dtype=torch.float32)
        assert merged.tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("name", ["task_arithmetic", "dare_linear", "della_linear", "breadcrumbs"])
def test_weights_that_are_all_zero_give_the_base(name: str) -> None:
    numbers = {"weight": 0.0, "normalize": True}
    assert torch.equal(methods.apply(methods.get(name), MODELS, BASE, numbers, dtype=torch.float32), BASE)
    with pytest.raises(MethodError, match="the weights sum to zero"):
        methods.apply(methods.get(name), MODELS, BASE, {"weight": [0.5, -0.5], "normalize": True}, dtype=torch.float32)


@pytest.mark.parametrize("weight", [[1e-50, 0.0], [0.0, 0.0], [1e-50, 2.0], [0.0, 2.0]])
def test_weights_that_are_nothing_in_float32_divide_nothing(weight: list[float]) -> None:
    """The elected mean is that of the others, and no model's where there is none."""
    first, second, base = torch.tensor([4.0, 0.0]), torch.tensor([2.0, 2.0]), torch.tensor([1.0, 1.0])
    numbers = {"weight": weight}
    merged = methods.apply(methods.get("ties"), [first, second], base, numbers, dtype=torch.float32)
    assert torch.equal(merged, second if weight[1] else base)
