"""Thinning out task vectors: how many stay, which, by what chance, and what makes up for the rest."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mergelab import methods
from mergelab.errors import MethodError
from mergelab.methods import execution, fused, lots, select
from tests.methods.rows import delta as reference
from tests.methods.table import uniforms

RANDOM = ["dare_linear", "dare_ties", "della", "della_linear"]
DENSITIES = st.integers(0, 100).map(lambda percent: percent / 100)


def thinned(name: str, taus: Tensor, stage: str, seed: int = 0, tensor: str = "w", **numbers: object) -> Tensor:
    """The task vectors, one a row, after that stage."""
    found = methods.explain(
        name, list(taus), torch.zeros_like(taus[0]), {"weight": 1.0, **numbers}, seed=seed, name=tensor
    )
    return torch.stack(next(step.tensors for step in found if step.name == stage))


# Chance ----------------------------------------------------------------------------------------------------


def expect(found: float, wanted: float, sigma: float) -> None:
    assert abs(found - wanted) <= 5 * sigma


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("density", [0.2, 0.5, 0.8])
def test_so_many_stay(name: str, density: float) -> None:
    """Within five standard deviations of the binomial distribution; both models, and both at once."""
    taus = torch.randn(2, 300, 400, generator=torch.Generator().manual_seed(1))
    kept = thinned(name, taus, "drop by rank" if "della" in name else "drop", density=density) != 0
    sigma = math.sqrt(density * (1 - density) / kept[0].numel())
    expect(kept[0].float().mean().item(), density, sigma)
    expect(kept[1].float().mean().item(), density, sigma)
    if "dare" in name:
        both = density**2
        expect((kept[0] & kept[1]).float().mean().item(), both, math.sqrt(both * (1 - both) / kept[0].numel()))


def frequencies(name: str, tau: Tensor, stage: str, times: int, **numbers: object) -> tuple[Tensor, Tensor]:
    """How often each element stays, and its mean, over as many tensors' names."""
    drawn = [thinned(name, tau[None], stage, tensor=str(at), **numbers)[0] for at in range(times)]
    drawn = torch.stack(drawn).double()
    return (drawn != 0).double().mean(0), drawn.mean(0)


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 3, 2)])
def test_della_keeps_by_rank(shape: tuple[int, ...]) -> None:
    """From density - epsilon for the smallest of a line along dimension 1 to density + epsilon for the largest; and
    each survivor over its own chance has the expectation of the whole.
    """
    tau = torch.tensor([0.5, -3.0, 2.0, -1.0, 8.0, 4.0]).view(shape)
    chance = {
        (6,): [0.2, 0.56, 0.44, 0.32, 0.8, 0.68],
        (2, 3): [0.2, 0.8, 0.5, 0.2, 0.8, 0.5],
        (1, 3, 2): [0.2, 0.5, 0.5, 0.2, 0.8, 0.8],
    }[shape]
    times = 500
    numbers = {"density": 0.5, "epsilon": 0.3, "rescale_by": "probability"}
    found, means = frequencies("della_linear", tau, "drop by rank", times, **numbers)
    for p, x, often, mean in zip(chance, tau.flatten(), found.flatten(), means.flatten(), strict=True):
        expect(often.item(), p, math.sqrt(p * (1 - p) / times))
        expect(mean.item(), x.item(), abs(x.item()) * math.sqrt((1 - p) / p / times))


@pytest.mark.parametrize("shape", [(), (1,), (4, 1)])
def test_a_line_of_one_element_has_the_middle_rank(shape: tuple[int, ...]) -> None:
    times = 400
    found, _ = frequencies("della", torch.ones(shape), "drop by rank", times, density=0.7, epsilon=0.2)
    for often in found.flatten():
        expect(often.item(), 0.7, math.sqrt(0.7 * 0.3 / times))


def test_dare_restores_the_expectation() -> None:
    tau = torch.tensor([1.0, -2.0, 0.25, 7.0])
    times = 500
    _, means = frequencies("dare_linear", tau, "rescale", times, density=0.3, rescale_by="probability")
    for x, mean in zip(tau, means, strict=True):
        expect(mean.item(), x.item(), abs(x.item()) * math.sqrt(0.7 / 0.3 / times))


@pytest.mark.parametrize("name", ["ties", *RANDOM, "breadcrumbs", "breadcrumbs_ties"])
def test_rescaling_restores_the_l1_norm(name: str) -> None:
    taus = torch.randn(2, 50, 60, generator=torch.Generator().manual_seed(2))
    density = {"density": [0.4, 1.0], "rescale": True}
    found = thinned(name, taus, "rescale", **density)
    norms = found.double().abs().sum((1, 2))
    assert torch.allclose(norms, taus.double().abs().sum((1, 2)), rtol=1e-6)
    assert torch.equal(found[1], taus[1])
    assert (found[0] == 0).double().mean() > 0.5
    plain = thinned(name, taus, "weigh", **density | {"rescale": False})
    ratio = found[0][plain[0] != 0] / plain[0][plain[0] != 0]
    assert torch.allclose(ratio, ratio[0].expand_as(ratio), rtol=1e-6)  # one factor for all


def test_rescaling_beyond_float32_stays_finite() -> None:
    """The one that is dropped is 2^200 times as large as the one that takes its place: no float32 holds that factor."""
    tau = torch.tensor([2.0**100, 2.0**-100])
    found = [thinned("dare_linear", tau[None], "rescale", seed=seed, density=0.5)[0].tolist() for seed in range(40)]
    assert [0.0, 2.0**100] in found
    assert all(kept in ([0.0, 0.0], [0.0, 2.0**100], [2.0**100, 0.0], tau.tolist()) for kept in found)


def test_ranks_of_a_long_row_with_ties() -> None:
    """Of equal magnitudes the lowest index counts as the larger, also where thousands are equal."""
    tau = torch.randn(5000, generator=torch.Generator().manual_seed(7)).round() + 0.25
    (draws,) = uniforms(1, 5000)
    order = reference.largest(tau.tolist(), 5000)
    chance = dict(zip(order, (0.8 - 0.6 * rank / 4999 for rank in range(5000)), strict=True))
    (found,) = thinned("della", tau[None], "drop by rank", seed=1, density=0.5, epsilon=0.3)
    assert (found != 0).tolist() == [u < chance[at] for at, u in enumerate(draws)]


# What the draws hang on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RANDOM)
def test_draws_depend_on_seed_name_and_place_only(name: str) -> None:
    stage = "drop by rank" if "della" in name else "drop"
    taus = torch.randn(3, 9, 70, generator=torch.Generator().manual_seed(3))
    kept = thinned(name, taus, stage, density=0.5)
    assert torch.equal(kept[1:], thinned(name, taus, stage, density=[1.0, 0.5, 0.5])[1:])
    assert torch.equal(kept[:2], thinned(name, taus[:2], stage, density=0.5))
    assert torch.equal(kept.double(), thinned(name, taus.double(), stage, density=0.5))
    strided = torch.stack((taus, taus + 1), dim=-1)[..., 0].transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(kept, thinned(name, strided, stage, density=0.5))
    same = taus[:1].expand_as(taus).contiguous()
    masks = [thinned(name, same, stage, seed, tensor, density=0.5) != 0 for seed in (0, 1) for tensor in ("w", "v")]
    drawn = {tuple(mask.flatten().tolist()) for several in masks for mask in several}
    assert len(drawn) == 2 * 2 * 3  # seeds, names, places


@pytest.mark.parametrize("name", RANDOM)
def test_a_long_tensor_is_drawn_in_one_stream(name: str) -> None:
    """Blocks of drawing and sorting are none of the result's: a part of the rows is kept as in the whole."""
    taus = torch.randn(1, 50, 3001, generator=torch.Generator().manual_seed(4))
    stage = "drop by rank" if "della" in name else "drop"
    whole = thinned(name, taus, stage, density=0.5)
    assert torch.equal(whole[:, :7], thinned(name, taus[:, :7], stage, density=0.5))
    assert len({tuple(row.tolist()) for row in whole[0] != 0}) == 50


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("name", RANDOM)
def test_no_block_is_drawn_twice(name: str, there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many equal magnitudes as blocks are long, twice and a half: word for word from one stream."""
    assert fused.ready(torch.device("cpu"))
    monkeypatch.setattr(fused, "available", lambda _: there)
    stage, more = ("drop by rank", {"epsilon": 1e-9}) if "della" in name else ("drop", {})
    kept = thinned(name, torch.ones(1, 160, 1024), stage, density=0.5, **more)[0] != 0
    seed = int(torch.randint(2**63 - 1, (1,), generator=execution._generator(0, "w")))
    assert torch.equal(kept.flatten(), torch.from_numpy(lots.words(seed, 0, kept.numel()) < 2**31))


@pytest.mark.parametrize("name", RANDOM)
def test_where_all_is_kept_nothing_is_drawn(name: str) -> None:
    """Bit for bit what the method without chance gives."""
    generator = torch.Generator().manual_seed(5)
    first, second, base = torch.randn(3, 40, 50, generator=generator)
    plain = "task_arithmetic" if "linear" in name else "ties"
    numbers = {"weight": [0.3, 0.9], "normalize": True, "lambda": 0.7}
    wanted = methods.apply(methods.get(plain), [first, second], base, numbers, dtype=torch.float32)
    for seed in (0, 1):
        found = methods.apply(methods.get(name), [first, second], base, numbers, dtype=torch.float32, seed=seed)
        assert torch.equal(found, wanted)


# Ranks -----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=99), DENSITIES)
def test_a_trim_keeps_exactly_so_many(steps: list[int], density: float) -> None:
    """max(1, int(density n)) of n < 100 elements of five magnitudes at most; zeros that are kept stay zero."""
    tau = torch.tensor(steps, dtype=torch.float32)
    (trimmed,) = thinned("ties", tau[None], "trim", density=density)
    count = 0 if density == 0 else max(1, int(density * len(steps)))
    order = sorted(range(len(steps)), key=lambda at: (-abs(steps[at]), at))
    chosen = sorted(at for at in order[:count] if steps[at])
    assert trimmed.nonzero().flatten().tolist() == chosen
    assert torch.equal(trimmed[chosen], tau[chosen])


@given(st.lists(st.sampled_from([-3, -2, -1, 1, 2, 3]), min_size=1, max_size=99), DENSITIES, DENSITIES)
def test_breadcrumbs_keep_exactly_so_many(steps: list[int], density: float, gamma: float) -> None:
    """int(density n), below int(gamma n) outliers, or below fewer where not enough would be left."""
    tau = torch.tensor(steps, dtype=torch.float32)
    (left,) = thinned("breadcrumbs", tau[None], "trim both ends", density=density, gamma=gamma)
    count, outliers = int(density * len(steps)), int(gamma * len(steps))
    assert int((left != 0).sum()) == count
    descending = sorted(range(len(steps)), key=lambda at: (-abs(steps[at]), at))
    first = min(outliers, len(steps) - count)
    assert left.nonzero().flatten().tolist() == sorted(descending[first : first + count])


def test_a_whole_model_is_trimmed_at_its_cutoff() -> None:
    """Two tensors of one model, 40 % of which is kept: all of the first, little of the second, equals of the last."""
    large, small = torch.tensor([5.0, -4.0, 3.0]), torch.tensor([1.0, -3.0, 0.5, 0.0, 2.0, -3.0, 1.0])
    cutoff = select.cutoff(lambda: iter((large, small)), 0.4, 10)
    assert cutoff == 3.0
    numbers = {"weight": 1.0, "density": 0.4, "trim_scope": "model"}

    def trimmed(tau: Tensor) -> list[float]:
        found = methods.explain("ties", [tau], torch.zeros_like(tau), numbers, cutoffs=[cutoff])
        return next(stage for stage in found if stage.name == "trim").tensors[0].tolist()

    assert trimmed(large) == large.tolist()
    assert trimmed(small) == [0.0, -3.0, 0.0, 0.0, 0.0, -3.0, 0.0]
    zeros = torch.zeros(10)
    alone = methods.explain("ties", [torch.cat((large, small))], zeros, numbers)  # taken for the whole model
    assert torch.equal(alone[2].tensors[0], torch.tensor(trimmed(large) + trimmed(small)))


def test_without_cutoffs_whole_models_cannot_be_trimmed() -> None:
    ones = torch.ones(3)
    method = methods.get("ties")
    numbers = {"weight": 1.0, "density": 0.4, "trim_scope": "model"}
    with pytest.raises(MethodError, match="ties: trim_scope: model needs the magnitudes from which whole models"):
        methods.apply(method, [ones], ones, numbers, dtype=torch.float32)
    untrimmed = methods.apply(method, [ones], ones, numbers | {"density": 1.0}, dtype=torch.float32)
    assert torch.equal(untrimmed, ones)
