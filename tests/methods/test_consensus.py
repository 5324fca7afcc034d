"""Methods of consensus.py and pairwise.py worked by hand, and sums along rows on any number of threads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mergelab import methods


def run(name: str, models: list[list[float]], base: list[float] | None = None, **numbers: object) -> list[float]:
    tensors = [torch.tensor(model) for model in models]
    ground = torch.zeros_like(tensors[0]) if base is None else torch.tensor(base)
    return methods.apply(methods.get(name), tensors, ground, numbers, dtype=torch.float32).tolist()


def test_model_stock_by_hand() -> None:
    """Three task vectors, each at cos = 1/2 to the others: t = 3/2 / (1 + 2/2) = 3/4."""
    merged = run("model_stock", [[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    assert merged == pytest.approx([0.5, 0.5, 0.5])


def test_model_stock_row_by_row() -> None:
    """Equal task vectors in the first row, perpendicular ones in the second."""
    models = [[[2.0, 0.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, 1.0]]]
    assert run("model_stock", models, filter_wise=True) == [[2.0, 0.0], [0.0, 0.0]]
    whole = run("model_stock", models)
    assert whole[1] == pytest.approx([4 / 9, 4 / 9])  # cos = 4/5, t = 8/9


def test_model_stock_may_lead_away_from_the_models() -> None:
    """A negative cosine is not cut off: cos = -1/2 of two gives t = -2."""
    merged = run("model_stock", [[2.0, 0.0], [-1.0, 3.0**0.5]])
    assert merged == pytest.approx([-1.0, -(3.0**0.5)])


def test_sce_by_hand() -> None:
    """Variances 1, 0, 4 and 1/4: half of the three that are not zero is one. Its squares weigh 4 : 36."""
    models = [[1.0, 5.0, 2.0, 0.5], [-1.0, 5.0, 6.0, -0.5]]
    assert run("sce", models, select_topk=0.5) == pytest.approx([0.0, 0.0, (4 * 2 + 36 * 6) / 40, 0.0])


def test_sce_selects_the_first_of_equals() -> None:
    """Variances in the ratio 1, 9, 9, 1: a quarter is one element, the second."""
    assert run("sce", [[0.0, 3.0, 0.0, 1.0], [1.0, 0.0, 3.0, 0.0]], select_topk=0.25) == [0.0, 3.0, 0.0, 0.0]


def test_sce_erases_minorities() -> None:
    """Without selection, 9 : 1 and the sign of the sum; where it balances, plus."""
    assert run("sce", [[3.0, -3.0], [-1.0, 1.0]]) == pytest.approx([3.0, -3.0])
    assert run("sce", [[1.0, 1.0], [-1.0, 1.0]]) == pytest.approx([1.0, 1.0])


def test_short_task_vectors_meet_the_floors_of_mergekit() -> None:
    """Model Stock: lengths 5e-4 make a product of 2.5e-7, read as 1e-6: cos = 1/4, t = 2/5. SCE: equal weights."""
    assert run("model_stock", [[5e-4, 0.0], [5e-4, 0.0]]) == pytest.approx([2e-4, 0.0])
    assert run("sce", [[2e-4], [1e-4]]) == pytest.approx([1.5e-4])
    assert run("sce", [[2e-2], [1e-2]]) == pytest.approx([0.8 * 2e-2 + 0.2 * 1e-2])
    merged = run("sce", [[1e4, 0.0], [0.0, 0.5]])  # the second weighs 2.5e-9, which counts as 1e-6
    assert merged[1] == pytest.approx(0.5 * 2.5e-9 / 1e-6, rel=1e-4)


def test_ram_by_hand() -> None:
    models = [[0.5, 2.0, 0.1, -4.0], [0.0, 4.0, 0.1, 4.0]]
    assert run("ram", models, epsilon=0.25) == pytest.approx([0.5, 3.0, 0.0, 0.0])


def test_ramplus_by_hand() -> None:
    """Model 1 changed two elements with the other and one alone: 1 + 0.1 min(2, 0.2); model 2 none alone."""
    models = [[0.5, 2.0, 0.1, -4.0], [0.0, 4.0, 0.1, 4.0]]
    assert run("ramplus_tl", models, epsilon=0.25) == pytest.approx([0.51, 3.0, 0.0, 0.0])
    assert run("ramplus_tl", models, epsilon=0.25, alpha=9.0)[0] == pytest.approx(0.6)


def test_nearswap_moves_by_t_at_most() -> None:
    assert run("nearswap", [[1.0, 1.25, 3.0, -3.0]], [1.0] * 4, t=0.5) == [1.0, 1.25, 1.5, 0.5]
    assert run("nearswap", [[1e-3]], t=1e-4) == pytest.approx([1e-4])
    assert run("nearswap", [[5e-7]], t=1e-7) == pytest.approx([5e-8], rel=1e-5)  # a difference of 1e-6 at least


def test_arcee_fusion_takes_the_outliers_of_importance() -> None:
    """One row: importance goes with |tau| = 0, 1, 1, 2, 9. Quartiles 1 and 2: from 2.5 times the row's on."""
    base = [0.0, 1.0, 2.0, 3.0, 4.0]
    assert run("arcee_fusion", [[0.0, 2.0, 1.0, 5.0, -5.0]], base) == [0.0, 1.0, 2.0, 3.0, -5.0]


@pytest.mark.parametrize(
    ("name", "count", "shape", "numbers"),
    [
        ("nuslerp", 2, (3, 40_009), {"weight": 0.5, "nuslerp_flatten": False}),
        ("nuslerp", 2, (3, 40_009), {"weight": 0.5, "nuslerp_flatten": False, "nuslerp_row_wise": True}),
        ("model_stock", 2, (2, 70_001), {"filter_wise": True}),
        ("model_stock", 2, (70_001, 2), {"filter_wise": True}),
        ("arcee_fusion", 1, (90_001,), {}),
        ("sce", 3, (90_001,), {"select_topk": 0.3}),
    ],
)
def test_threads_do_not_matter_along_rows(
    name: str, count: int, shape: tuple[int, ...], numbers: dict[str, object]
) -> None:
    generator = torch.Generator().manual_seed(7)
    base, *models = torch.randn(count + 1, *shape, generator=generator)
    threads = torch.get_num_threads()
    results: list[Tensor] = []
    try:
        for many in (1, 2, 3, 5):
            torch.set_num_threads(many)
            results.append(methods.apply(methods.get(name), models, base, numbers, dtype=torch.float32))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(results[0], one) for one in results[1:])
