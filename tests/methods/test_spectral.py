"""What the papers say of LiNeS, TSV-Merge, Iso-C and KnOTS, and what low rank and equal values must not break."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mergelab import methods
from mergelab.methods import spectral
from tests.methods.rows import layers

SPECTRAL = ["tsv_merge", "iso_c", "knots"]


def merge(name: str, taus: list[Tensor], base: Tensor | None = None, depth: float = 0.0, **numbers: object) -> Tensor:
    """The merged task vector, in float64."""
    base = torch.zeros_like(taus[0]) if base is None else base
    models = [base + tau for tau in taus]
    method = methods.get(name)
    return methods.apply(method, models, base, numbers, dtype=torch.float64, depth=depth) - base


def random(*shape: int, count: int = 1, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(count, *shape, generator=generator, dtype=torch.float64))


def low_rank(rank: int, rows: int, columns: int, count: int) -> list[Tensor]:
    """Changes as LoRA makes them: B A, of that rank."""
    left = random(rows, rank, count=count, seed=1)
    right = random(rank, columns, count=count, seed=2)
    return [b @ a for b, a in zip(left, right, strict=True)]


def orthogonal(size: int, seed: int) -> Tensor:
    (matrix,) = random(size, size, seed=seed)
    return torch.linalg.qr(matrix).Q


def values(matrix: Tensor) -> Tensor:
    return torch.linalg.svdvals(matrix)


def close(left: Tensor, right: Tensor) -> bool:
    return torch.allclose(left, right, rtol=0, atol=1e-10)


# Iso-C ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6)], ids=str)
def test_iso_c_makes_all_singular_values_their_mean(shape: tuple[int, int]) -> None:
    taus = random(*shape, count=3)
    mean = values(sum(taus)).mean()
    assert close(values(merge("iso_c", taus)), mean.expand(min(shape)))


def test_iso_c_keeps_the_directions_of_the_sum() -> None:
    taus = random(5, 8, count=3)
    left, _, right = torch.linalg.svd(sum(taus), full_matrices=False)
    merged = left.mT @ merge("iso_c", taus) @ right.mT
    assert close(merged, torch.eye(5, dtype=torch.float64) * merged[0, 0])


def test_iso_c_fills_only_the_directions_of_a_low_rank() -> None:
    taus = low_rank(2, 7, 9, count=2)
    merged = merge("iso_c", taus)
    expected = torch.zeros(7, dtype=torch.float64)
    expected[:4] = values(sum(taus)).sum() / 4
    assert close(values(merged), expected)


# TSV-Merge -----------------------------------------------------------------------------------------------


def test_tsv_merge_keeps_the_strongest_values_of_each_task() -> None:
    """Rank 8, three tasks: two each. Orthogonal vectors put these six into the spectrum of the merge, unchanged."""
    taus = random(8, 11, count=3)
    kept = torch.cat([values(tau)[:2] for tau in taus]).sort(descending=True).values
    merged = values(merge("tsv_merge", taus))
    assert close(merged[:6], kept)
    assert close(merged[6:], torch.zeros(2, dtype=torch.float64))


def test_tsv_merge_makes_tasks_orthogonal() -> None:
    taus = random(8, 11, count=3)
    base = torch.zeros_like(taus[0])
    found = methods.explain("tsv_merge", taus, base)
    (parts,) = (stage.tensors for stage in found if stage.name == "decorrelate")
    for place, part in enumerate(parts):
        for other in parts[:place]:
            assert close(part.mT @ other, torch.zeros(11, 11, dtype=torch.float64))
            assert close(part @ other.mT, torch.zeros(8, 8, dtype=torch.float64))


def test_tsv_merge_of_orthogonal_tasks_is_their_sum() -> None:
    left, right = orthogonal(9, 1), orthogonal(7, 2)
    taus = [float(place + 2) * left[:, place : place + 1] @ right[place : place + 1] for place in range(3)]
    assert close(merge("tsv_merge", taus), sum(taus))


def test_tsv_merge_of_one_model_is_that_model() -> None:
    (tau,) = random(4, 6)
    assert close(merge("tsv_merge", [tau]), tau)


def test_tsv_merge_divides_what_tasks_share_in_full() -> None:
    """Twice the same change of rank 2: the nearest orthonormal vectors give each task half of it."""
    (tau,) = low_rank(2, 7, 9, count=1)
    assert close(merge("tsv_merge", [tau, tau]), tau)


def test_tsv_merge_keeps_values_that_tie_with_the_last() -> None:
    """A rotation has no strongest direction: half of its rank would be whatever the library returns first."""
    tau = orthogonal(4, 1)
    assert close(merge("tsv_merge", [tau, torch.zeros_like(tau)]), tau)


def test_a_procrustes_solution_is_orthonormal_and_nearest() -> None:
    (vectors,) = random(9, 4)
    found = spectral.nearest_orthonormal(vectors)
    assert close(found.mT @ found, torch.eye(4, dtype=torch.float64))
    product = found.mT @ vectors  # nearest: this product is symmetric and positive
    assert close(product, product.mT)
    assert (torch.linalg.eigvalsh(product) > 0).all()


# KnOTS ---------------------------------------------------------------------------------------------------


def test_knots_of_one_model_is_that_model() -> None:
    (tau,) = low_rank(3, 7, 9, count=1)
    assert close(merge("knots", [tau], weight=0.3), tau)


def test_knots_merges_along_shared_directions() -> None:
    """Two tasks along one direction of the output: their coordinates there are merged by TIES, by hand."""
    direction = torch.tensor([[3.0], [0.0], [4.0]], dtype=torch.float64) / 5
    taus = [direction @ torch.tensor([row], dtype=torch.float64) for row in ([4.0, -2.0, 0.0], [2.0, 6.0, 1.0])]
    assert close(merge("knots", taus), direction @ torch.tensor([[3.0, 6.0, 1.0]], dtype=torch.float64))
    trimmed = merge("knots", taus, density=0.4, **{"lambda": 2.0})
    assert close(trimmed, direction @ torch.tensor([[8.0, 12.0, 0.0]], dtype=torch.float64))


def test_knots_elects_plus_where_signs_balance() -> None:
    """Along a shared direction whose largest element is positive: the library's choice of its sign is no vote."""
    for sign in (1.0, -1.0):
        direction = sign * torch.tensor([[3.0], [0.0], [-4.0]], dtype=torch.float64) / 5
        tau = direction @ torch.tensor([[1.0, -2.0]], dtype=torch.float64)
        expected = torch.tensor([[-3.0], [0.0], [4.0]], dtype=torch.float64) / 5 * torch.tensor([[1.0, 2.0]])
        assert close(merge("knots", [tau, -tau]), expected)


def test_knots_of_a_vector_is_ties() -> None:
    taus = random(12, count=3)
    numbers = {"weight": [1.0, 0.5, 2.0], "density": 0.5, "lambda": 0.7}
    assert torch.equal(merge("knots", taus, **numbers), merge("ties", taus, **numbers))


# Of all three --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPECTRAL)
def test_the_basis_of_the_output_does_not_matter(name: str) -> None:
    """f(Q x) = Q f(x) for an orthogonal Q, which no method that looks at single elements knows."""
    taus, turn = random(6, 9, count=3), orthogonal(6, 3)
    numbers = {"density": 0.5} if name == "knots" else {}
    turned = merge(name, [turn @ tau for tau in taus], **numbers)
    assert close(turned, turn @ merge(name, taus, **numbers))
    ties = {"weight": 1.0, "density": 0.5}
    assert not close(merge("ties", [turn @ tau for tau in taus], **ties), turn @ merge("ties", taus, **ties))


@pytest.mark.parametrize("name", SPECTRAL)
def test_directions_of_no_strength_do_not_matter(name: str) -> None:
    """Rows and columns of zeros beside changes of low rank: the library is free to choose vectors there."""
    taus = low_rank(1, 6, 6, count=3)
    wider = [torch.nn.functional.pad(tau, (0, 5, 0, 7)) for tau in taus]
    assert close(merge(name, wider)[:6, :6], merge(name, taus))
    assert close(merge(name, wider)[6:], torch.zeros(7, 11, dtype=torch.float64))


@pytest.mark.parametrize("name", SPECTRAL)
def test_a_model_of_weight_zero_takes_no_part(name: str) -> None:
    first, second, third = random(6, 9, count=3)
    numbers = {"density": 0.5} if name == "knots" else {}
    with_it = merge(name, [first, second, third], weight=[1.0, 0.0, 1.0], **numbers)
    assert close(with_it, merge(name, [first, third], weight=1.0, **numbers))
    assert not close(with_it, merge(name, [first, second, third], weight=1.0, **numbers))


@pytest.mark.parametrize("name", SPECTRAL)
def test_matrices_of_a_stack_are_merged_one_by_one(name: str) -> None:
    taus = random(3, 6, 9, count=2)
    merged = merge(name, taus)
    for place in range(3):
        assert close(merged[place], merge(name, [tau[place] for tau in taus]))


@pytest.mark.parametrize("name", ["tsv_merge", "iso_c"])
def test_vectors_are_averaged(name: str) -> None:
    taus = random(12, count=3)
    assert close(merge(name, taus, weight=[1.0, 0.0, 0.5]), (taus[0] + taus[2] / 2) / 2)


@pytest.mark.parametrize("name", SPECTRAL)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_value_that_is_no_number_spoils_its_matrix_alone(name: str, bad: float) -> None:
    taus = random(2, 4, 5, count=2)
    clean = merge(name, taus)
    taus[1][0, 2, 3] = bad
    merged = merge(name, taus)
    assert merged[0].isnan().all()
    assert close(merged[1], clean[1])


@pytest.mark.parametrize("name", SPECTRAL)
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_sizes_do_not_matter(name: str, size: float) -> None:
    taus = random(5, 6, count=2)
    assert close(merge(name, [tau * size for tau in taus]) / size, merge(name, taus))


# LiNeS ---------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.integers(0, 7), st.floats(0, 1) | st.none(), st.floats(0, 1) | st.none(), st.integers(1, 4))
def test_lines_agrees_with_the_reference_at_any_depth(
    layer: int, alpha: float | None, beta: float | None, count: int
) -> None:
    base, *models = random(5, count=count + 1)
    numbers = {"weight": 0.5, "alpha": alpha, "beta": beta}
    depth = layer / 7
    found = methods.apply(methods.get("lines"), models, base, numbers, dtype=torch.float64, depth=depth)
    lists = [model.tolist() for model in models]
    wanted = layers.lines(lists, base.tolist(), weight=[0.5] * count, alpha=alpha, beta=beta, depth=depth)
    assert close(found, torch.tensor(wanted, dtype=torch.float64))


def test_lines_without_a_slope_is_task_arithmetic() -> None:
    taus = random(5, 6, count=3)
    for depth in (0.0, 0.5, 1.0):
        merged = merge("lines", taus, depth=depth, weight=[0.3, -1.0, 2.0], alpha=0.4, beta=0)
        assert torch.equal(merged, merge("task_arithmetic", taus, weight=[0.3, -1.0, 2.0], **{"lambda": 0.4}))


def test_lines_goes_from_the_mean_to_the_sum() -> None:
    """1 / T of the plain sum at the bottom and outside the layers, all of it at the top."""
    taus = random(5, count=4)
    assert close(merge("lines", taus, depth=0.0), sum(taus) / 4)
    assert close(merge("lines", taus, depth=1.0), sum(taus))


def test_lines_is_a_gradient_of_lambda() -> None:
    taus = random(5, count=3)
    for layer in range(6):
        scaled = methods.gradient([0.25, 0.25 + 0.5], layer, 6)
        merged = merge("lines", taus, depth=layer / 5, alpha=0.25, beta=0.5)
        assert close(merged, merge("task_arithmetic", taus, weight=1.0, **{"lambda": scaled}))


# Negative task vectors and analogies -----------------------------------------------------------------------


def test_a_negative_weight_takes_the_change_back() -> None:
    """Ilharco et al., section 3: theta_0 - lambda tau. Taking away what was added restores the model."""
    base, tau = random(4, 5, count=2)
    assert close(merge("task_arithmetic", [tau], base, weight=-0.5), -0.5 * tau)
    tuned = base + tau
    restored = methods.apply(methods.get("task_arithmetic"), [base], tuned, {"weight": 1.0}, dtype=torch.float64)
    assert close(restored, base)


def test_analogies_are_sums_of_task_vectors() -> None:
    """Section 5: "A is to B as C is to D" gives tau_D = tau_C + (tau_B - tau_A)."""
    base, a, step, c = random(4, 5, count=4)
    merged = merge("task_arithmetic", [c, a + step, a], base, weight=[1.0, 1.0, -1.0])
    assert close(merged, c + step)
