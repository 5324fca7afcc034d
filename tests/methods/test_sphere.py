"""Directions and lengths: properties that define the methods, and vectors along the dimensions of a tensor."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mergelab import methods
from mergelab.errors import MethodError

GENERATOR = torch.Generator().manual_seed(4)
A, B, C = torch.randn(3, 6, 9, generator=GENERATOR, dtype=torch.float64)


def run(name: str, models: list[Tensor], base: Tensor | None = None, **numbers: object) -> Tensor:
    return methods.apply(methods.get(name), models, base, numbers, dtype=models[0].dtype)


def cosine(left: Tensor, right: Tensor) -> float:
    return float((left * right).sum() / left.norm() / right.norm())


def test_nuslerp_shares_the_angle_out() -> None:
    """Of vectors of one length, at t = 1/3 of the way."""
    end = B * (A.norm() / B.norm())
    merged = run("nuslerp", [A, end], weight=[2.0, 1.0])
    angle = math.acos(cosine(A, end))
    assert math.acos(cosine(A, merged)) == pytest.approx(angle / 3)
    assert math.acos(cosine(merged, end)) == pytest.approx(2 * angle / 3)
    assert float(merged.norm()) == pytest.approx(float(A.norm()))


@pytest.mark.parametrize("base", [None, C])
def test_nuslerp_along_rows_and_columns(base: Tensor | None) -> None:
    """Each vector as if it were a tensor by itself; ``nuslerp_row_wise`` takes the first dimension, as in mergekit."""
    numbers: dict[str, object] = {"weight": [0.7, 0.2], "nuslerp_flatten": False}
    rows = run("nuslerp", [A, B], base, **numbers)
    columns = run("nuslerp", [A, B], base, nuslerp_row_wise=True, **numbers)
    for at in range(6):
        alone = run("nuslerp", [A[at], B[at]], None if base is None else base[at], weight=[0.7, 0.2])
        torch.testing.assert_close(rows[at], alone)
    for at in range(9):
        alone = run("nuslerp", [A[:, at], B[:, at]], None if base is None else base[:, at], weight=[0.7, 0.2])
        torch.testing.assert_close(columns[:, at], alone)


def test_nuslerp_in_three_dimensions() -> None:
    """Along the first dimension of a tensor of three; the shape stays."""
    first, second = A.view(3, 2, 9), B.view(3, 2, 9)
    merged = run("nuslerp", [first, second], weight=1, nuslerp_flatten=False, nuslerp_row_wise=True)
    alone = run("nuslerp", [first[:, 1, 4], second[:, 1, 4]], weight=1)
    torch.testing.assert_close(merged[:, 1, 4], alone)


def test_weights_that_cancel_meet_half_way_in_nuslerp() -> None:
    assert torch.equal(run("nuslerp", [A, B], weight=[0.5, -0.5]), run("nuslerp", [A, B], weight=[1, 1]))


def test_multislerp_is_the_mean_direction_with_the_mean_length() -> None:
    merged = run("multislerp", [A, B, C], weight=[1.0, 2.0, 1.5])
    assert float(merged.norm()) == pytest.approx(float(A.norm() + 2 * B.norm() + 1.5 * C.norm()) / 4.5)
    mean = A / A.norm() + 2 * B / B.norm() + 1.5 * C / C.norm()
    assert cosine(merged, mean) == pytest.approx(1)


@pytest.mark.parametrize("base", [None, C])
def test_directions_that_cancel_leave_the_weighted_sum(base: Tensor | None) -> None:
    """For three models too, where mergekit stops with an error."""
    ground = torch.zeros_like(A) if base is None else base
    first, second = A / A.norm(), B / B.norm()
    third = -5 * (first + second)
    weight = [1.0, 1.0, float((first + second).norm())]
    merged = run("multislerp", [ground + one for one in (first, second, third)], base, weight=weight)
    wanted = ground + (first + second + weight[2] * third) / sum(weight)
    torch.testing.assert_close(merged, wanted)


def test_weights_that_cancel_are_refused_in_multislerp() -> None:
    with pytest.raises(MethodError, match=r"multislerp: the weights sum to zero\. .* normalize_weights: false"):
        run("multislerp", [A, B], weight=[1.0, -1.0])
    assert run("multislerp", [A, B], weight=[1.0, -1.0], normalize_weights=False).isfinite().all()


def test_the_karcher_mean_of_two_is_half_way() -> None:
    end = B * (A.norm() / B.norm())
    torch.testing.assert_close(run("karcher", [A, end]), run("nuslerp", [A, end], weight=1))


def test_at_the_karcher_mean_the_pulls_cancel() -> None:
    """Its definition: the logarithms of the models add up to nothing."""
    mean = run("karcher", [A, B, C], max_iter=100, tol=1e-12)
    unit = mean / mean.norm()
    pulls = []
    for model in (A, B, C):
        side = model / model.norm()
        theta = math.acos(cosine(side, unit))
        pulls.append(theta / math.sin(theta) * (side - math.cos(theta) * unit))
    assert float(sum(pulls).norm()) < 1e-10
    assert min(float(pull.norm()) for pull in pulls) > 0.5
    assert float(mean.norm()) == pytest.approx(sum(float(model.norm()) for model in (A, B, C)) / 3)


def test_a_model_of_zeros_has_a_length_and_no_direction() -> None:
    torch.testing.assert_close(run("karcher", [A, torch.zeros_like(A)]), A / 2)
    assert torch.equal(run("karcher", [torch.zeros_like(A)] * 2), torch.zeros_like(A))


def test_opposite_models_take_the_first_ones_direction() -> None:
    torch.testing.assert_close(run("karcher", [-A, 3 * A]), -2 * A)
