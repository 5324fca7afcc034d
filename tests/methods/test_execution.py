"""apply: casting, seeding, sharing, and every refusal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mergelab import methods
from mergelab.errors import MethodError
from mergelab.methods import fused, pieces, scanner, select, sparsify, sums
from mergelab.methods.pieces import Pieces
from mergelab.methods.registry import Method, describe
from mergelab.methods.tensors import Array, Arrays

A, B, C = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
LINEAR = methods.get("linear")
PASS = methods.get("passthrough")


def run(method: Method, models: list[Tensor], base: Tensor | None = None, **numbers: object) -> Tensor:
    return methods.apply(method, models, base, numbers, dtype=torch.float32, seed=3, name="layer.weight")


def noise(models: Arrays, *, generator: torch.Generator) -> Array:
    """Noise: random numbers in the shape of the first model."""
    return torch.randn(models[0].shape, generator=generator)


NOISE = describe(noise, inputs=(1, None))


def test_random_numbers_depend_on_seed_and_name_only() -> None:
    def draw(seed: int, name: str) -> list[float]:
        torch.manual_seed(seed + 1)
        torch.randn(3)
        return methods.apply(NOISE, [A], None, {}, dtype=torch.float32, seed=seed, name=name).flatten().tolist()

    assert draw(1, "a") == draw(1, "a")
    assert len({tuple(draw(seed, name)) for seed in (0, 1, 11) for name in ("", "a", "1a", "b")}) == 12


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    run(NOISE, [A])
    assert torch.equal(before, torch.random.get_rng_state())


def test_random_numbers_are_the_same_in_every_process() -> None:
    script = (
        "import torch, mergelab.methods as m\n"
        "from mergelab.methods.registry import describe\n"
        "def noise(models, *, generator):\n"
        "    'Noise.'\n"
        "    return torch.randn(models[0].shape, generator=generator)\n"
        "method = describe(noise, inputs=(1, 1))\n"
        "one = m.apply(method, [torch.zeros(3)], None, {}, dtype=torch.float64, seed=5, name='w')\n"
        "print(one.tolist())"
    )
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    here = methods.apply(NOISE, [torch.zeros(3)], None, {}, dtype=torch.float64, seed=5, name="w")
    assert other.stdout.strip() == str(here.tolist())


def seen(models: Arrays, base: Array) -> Array:
    """Seen: one where the method is handed float64, else zero, and the number of models."""
    assert all(model.dtype == base.dtype for model in models)
    return torch.full_like(models[0], len(models[1:]) + 10 * (base.dtype == torch.float64))


SEEN = describe(seen, inputs=(1, None))


@pytest.mark.parametrize(
    ("dtypes", "wanted", "double"),
    [
        ((torch.bfloat16, torch.float16, torch.float32), torch.float32, False),
        ((torch.float8_e4m3fn, torch.float16, torch.bfloat16), torch.bfloat16, False),
        ((torch.bfloat16, torch.float64, torch.float32), torch.float32, True),
        ((torch.float32, torch.float32, torch.float64), torch.float32, True),
        ((torch.float32, torch.bfloat16, torch.float32), torch.float64, True),
    ],
)
def test_methods_receive_float32_or_float64(dtypes: tuple[torch.dtype, ...], wanted: torch.dtype, double: bool) -> None:
    first, second, base = (x.to(dtype) for x, dtype in zip((A, B, C), dtypes, strict=True))
    result = methods.apply(SEEN, [first, second], base, {}, dtype=wanted)
    assert set(result.flatten().tolist()) == {11.0 if double else 1.0}


def test_the_result_is_rounded_once() -> None:
    """1 + 2^-9 + 2^-9 is a bfloat16 only when nothing is rounded on the way."""
    models = [torch.tensor([value]).bfloat16() for value in (1.0, 2**-9, 2**-9, 2**-8)]
    result = methods.apply(LINEAR, models, None, {"weight": 1, "normalize": False}, dtype=torch.bfloat16)
    assert result.item() == 1 + 2**-7


def test_passthrough_shares_its_tensor() -> None:
    half = A.bfloat16()
    assert methods.apply(PASS, [half], None, {}, dtype=torch.bfloat16) is half
    assert methods.apply(PASS, [half], None, {"scale": [1.0]}, dtype=torch.bfloat16) is half
    wide = methods.apply(PASS, [half], None, {}, dtype=torch.float32)
    assert wide.dtype == torch.float32
    assert torch.equal(wide, half.float())
    parameter = torch.nn.Parameter(A)
    assert methods.apply(PASS, [parameter], None, {}, dtype=torch.float32) is parameter


def test_passthrough_scales_as_torch_does_in_the_own_dtype() -> None:
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        x = torch.randn(4099, generator=torch.Generator().manual_seed(1)).to(dtype)
        assert torch.equal(methods.apply(PASS, [x], None, {"scale": 0.3}, dtype=dtype), x * 0.3)


def test_results_ask_for_no_gradient() -> None:
    assert not run(LINEAR, [torch.nn.Parameter(A), B], weight=1).requires_grad


def handed_back(models: Arrays) -> Array:
    """Handed back: the careless method that returns a view of its input."""
    return models[0][:]


def test_a_method_that_returns_its_input_makes_a_copy() -> None:
    result = run(describe(handed_back, inputs=(1, 1)), [A])
    assert torch.equal(result, A)
    assert result.untyped_storage().data_ptr() != A.untyped_storage().data_ptr()


def cropped(models: Arrays) -> Array:
    """Cropped: a method of another shape."""
    return models[0][:1]


def test_a_method_that_changes_the_shape_is_at_fault() -> None:
    with pytest.raises(MethodError, match=r"cropped, layer.weight: returned 1×5 for inputs of 2×5"):
        run(describe(cropped, inputs=(1, 1)), [A])


def test_integers_are_kept_when_they_agree() -> None:
    ids = torch.arange(4)
    result = methods.apply(LINEAR, [ids, ids.clone()], None, {"weight": 1}, dtype=torch.bfloat16)
    assert result is ids
    mask = torch.tensor([True, False])
    assert methods.apply(PASS, [mask], None, {"scale": 0.5}, dtype=torch.float32) is mask
    meta = ids.to("meta")
    assert run(LINEAR, [meta, meta], weight=1) is meta


def words(call: object, *arguments: object, **numbers: object) -> str:
    with pytest.raises(MethodError) as caught:
        call(*arguments, **numbers)
    return str(caught.value)


def test_integers_that_differ_are_refused() -> None:
    text = words(run, LINEAR, [torch.arange(3), torch.arange(3) + 1], weight=1)
    assert text == (
        "linear, layer.weight: integer or boolean tensors differ: model 1 torch.int64, model 2 torch.int64. "
        "They cannot be merged: use passthrough."
    )
    assert "differ" in words(run, LINEAR, [torch.arange(2), torch.tensor([False, True])], weight=1)


def test_floats_do_not_mix_with_integers() -> None:
    text = words(run, methods.get("slerp"), [torch.arange(3)], torch.ones(3), t=0.5)
    assert "floating and other tensors are mixed: model 1 torch.int64, base torch.float32." in text


def test_shapes_must_agree() -> None:
    text = words(run, methods.get("ties"), [A, B[:, :3]], C[0], weight=1)
    assert text == (
        "ties, layer.weight: shapes differ: model 1 2×5, model 2 2×3, base 5. Only tensors of one shape can be merged."
    )
    assert "model 1 scalar, model 2 1." in words(run, LINEAR, [torch.tensor(1.0), torch.ones(1)], weight=1)


def test_devices_must_agree() -> None:
    text = words(run, LINEAR, [A, B.to("meta")], weight=1)
    assert "devices differ: model 1 cpu, model 2 meta. Move them to one device." in text


def test_a_floating_result_needs_a_floating_dtype() -> None:
    with pytest.raises(MethodError, match=r"the result of floating tensors cannot be torch\.int64\. Choose"):
        methods.apply(LINEAR, [A], None, {"weight": 1}, dtype=torch.int64)


def test_every_problem_is_told_at_once() -> None:
    text = words(run, methods.get("ties"), [A, B[:1]], None, weight=[1], density=50, lamda=1)
    assert text.startswith("5 problems:")
    for part in ("no base model", "'lamda'. Did you mean 'lambda'", "weight has 1 values", "density 50", "shapes"):
        assert part in text


def test_no_models_at_all() -> None:
    assert words(run, LINEAR, [], weight=1) == "linear, layer.weight: has 0 models. Give 1 or more."


def test_one_number_stands_for_all_models() -> None:
    assert torch.equal(run(LINEAR, [A, B], weight=0.5), run(LINEAR, [A, B], weight=[0.5, 0.5]))


def test_numbers_without_effect_have_none() -> None:
    method = methods.get("task_arithmetic")
    plain = run(method, [A, B], C, weight=[0.5, 0.25])
    given = run(method, [A, B], C, weight=[0.5, 0.25], density=[0.1, 0.2], rescale=True, int8_mask=True)
    assert torch.equal(plain, given)


@pytest.mark.parametrize("name", ["linear", "task_arithmetic"])
def test_a_result_in_float64_is_computed_in_float64(name: str) -> None:
    """dtype: float64 of float32 sources: thirds are right to 15 digits."""
    models, base = [torch.tensor([1.0, 2.0]), torch.tensor([4.0, 1.0])], torch.zeros(2)
    found = methods.get(name)
    numbers = {"weight": [1 / 3, 2 / 3]}
    result = methods.apply(found, models, None if found.base == "none" else base, numbers, dtype=torch.float64)
    assert result.tolist() == pytest.approx([3.0, 4 / 3], rel=1e-15)


# What is kept, piece by piece, and broken off ---------------------------------------------------------------

TRIMMED = {"ties", "breadcrumbs", "breadcrumbs_ties"}
DRAWN = {"dare_linear", "dare_ties", "della", "della_linear"}
SETTINGS = {
    "weight": [0.3, 0.9, 0.4],
    "density": [0.3, 0.6, 1.0],
    "gamma": 0.05,
    "epsilon": 0.1,
    "t": 0.01,
    "scale": 0.7,
}


def merge(name: str, found: dict[object, object] | None = None, **changes: object) -> Tensor:
    """Of three tensors and a base in bfloat16, 40 003 elements each, with many ties."""
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(13, 3001, generator=generator).bfloat16()
    models = [(base + 0.02 * torch.randn(13, 3001, generator=generator)).bfloat16() for _ in range(3)]
    method = methods.get(name)
    options = {key: changes.pop(key) for key in ("out", "pieces") if key in changes}
    numbers = {**SETTINGS, "rescale": True, **changes}
    models = models[: method.inputs[1] or 3]
    numbers = {
        key: value[: len(models)] if isinstance(value, list) else value
        for key, value in numbers.items()
        if key in method.parameters
    }
    start = base if method.base == "required" else None
    return methods.apply(method, models, start, numbers, dtype=torch.bfloat16, name="w", found=found, **options)


@pytest.mark.parametrize("name", sorted(TRIMMED | DRAWN))
def test_what_is_found_out_is_kept_and_changes_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dial of weight looks for nothing and draws nothing; one of a density for what is new."""
    found: dict[object, object] = {}
    turns: list[dict[str, object]] = [
        {},
        {"weight": 0.7},
        {"density": [0.5, 0.6, 0.2]},
        {"density": 0.3, "lambda": 2.0},
    ]
    for changes in turns:
        assert torch.equal(merge(name, found, **changes), merge(name, **changes))
    monkeypatch.setattr(select, "thresholds", lambda *_: pytest.fail("selected again"))
    monkeypatch.setattr(sparsify, "_packed", lambda _: pytest.fail("drawn again"))
    monkeypatch.setattr(fused, "draw", lambda *_: pytest.fail("drawn again"))
    monkeypatch.setattr(sums, "absolute_rows", lambda _: pytest.fail("added up again"))
    monkeypatch.setattr(scanner.Scanner, "absolute", lambda *_: pytest.fail("added up again"))
    for changes in turns:
        merge(name, found, **changes | {"weight": [0.1, 0.2, 0.3]})


def test_an_angle_is_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[object, object] = {}
    expected = [merge("slerp", t=t) for t in (0.3, 0.8)]
    assert torch.equal(merge("slerp", found, t=0.3), expected[0])
    monkeypatch.setattr(sums, "product_rows", lambda *_: pytest.fail("added up again"))
    assert torch.equal(merge("slerp", found, t=0.8), expected[1])
    assert not torch.equal(*expected)


def test_a_density_is_looked_for_where_it_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[object, object] = {}
    merge("ties", found)
    asked = []
    thresholds = select.thresholds
    monkeypatch.setattr(select, "thresholds", lambda *given: asked.append(given[1]) or thresholds(*given))
    merge("ties", found, density=[0.3, 0.5, 1.0])
    assert asked == [[(1, int(0.5 * 13 * 3001))]]


@pytest.mark.parametrize("rescale_by", ["norm", "probability"])
@pytest.mark.parametrize("name", sorted(DRAWN))
def test_findings_of_other_numbers_are_others(name: str, rescale_by: str) -> None:
    """One store for all numbers, seeds and methods on the same tensors."""
    found: dict[object, object] = {}
    for changes in ({}, {"epsilon": 0.2}, {"density": 0.5}, {"rescale": False}):
        for other in ("ties", name, "breadcrumbs"):
            given = {**changes, "rescale_by": rescale_by}
            assert torch.equal(merge(other, found, **given), merge(other, **given))


@pytest.mark.parametrize("name", methods.names())
def test_pieces_threads_and_storage_do_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    wanted = merge(name)
    try:
        for length, many in ((1 << 14, 1), (1 << 14, 2), (1 << 14, 5), (1 << 20, 2)):
            monkeypatch.setattr(pieces, "LENGTH", length)
            torch.set_num_threads(many)
            out = torch.full_like(wanted, torch.nan)
            assert merge(name, out=out) is out
            assert torch.equal(out, wanted)
    finally:
        torch.set_num_threads(threads)


def test_the_number_of_threads_changes_no_bit_of_a_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Terms of very different sizes: their sum shows in what order they were added up."""
    monkeypatch.setattr(pieces, "LENGTH", 1 << 14)
    draws = torch.Generator().manual_seed(2)
    base = torch.randn(100_003, generator=draws, dtype=torch.float64)
    models = [base + (6 * torch.randn(100_003, generator=draws, dtype=torch.float64)).exp() for _ in range(2)]
    numbers = {"weight": 1.0, "density": 0.5}
    method = methods.get("dare_linear")
    wanted, *made = [
        methods.apply(method, models, base, numbers, dtype=torch.float64, name="w", pieces=way)
        for way in (_way(1), _way(2), _way(3), _way(7))
    ]
    assert all(torch.equal(one, wanted) for one in made)


def _way(threads: int, stop: Callable[[], None] | None = None) -> Pieces:
    """As on a machine that has so many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: threads)
        return Pieces(torch.device("cpu"), stop)


class StoppedError(Exception):
    """Somebody wants something else."""


@pytest.mark.parametrize("name", ["linear", "task_arithmetic", "ties", "dare_ties"])
def test_it_can_be_broken_off(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two pieces; afterwards all goes on, with what was found out till then."""
    monkeypatch.setattr(pieces, "LENGTH", 1 << 13)
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    def stop() -> None:
        count()
        if calls == last:
            raise StoppedError

    wanted = merge(name, pieces=_way(1, count))
    assert calls >= 5
    for last in range(1, calls + 1):
        calls, found = 0, {}
        with pytest.raises(StoppedError):
            merge(name, found, pieces=_way(1, stop))
        assert calls == last
        assert torch.equal(merge(name, found), wanted)
