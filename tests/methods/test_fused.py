"""What the fused kernel is told; and, where triton is installed, that it gives the bits of the atoms.

Triton comes with torch for CUDA on Linux and is not among the libraries of the tests: where it is absent, the two
programs that need it are left out, as the tests marked real are.
"""

from __future__ import annotations

import importlib.util
import os
import struct
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mergelab import methods
from mergelab.methods import fused
from mergelab.methods.atoms import added_up
from mergelab.methods.chain import chain
from mergelab.methods.pieces import Pieces
from mergelab.methods.select import Threshold

HERE = Path(__file__).parent


def work(size: int = 32, dtype: torch.dtype = torch.bfloat16) -> fused.Work:
    base, model, other, out = (torch.ones(size, dtype=dtype) for _ in range(4))
    return fused.Work([fused.Term(model, 0.3), fused.Term(other, 0.7)], base, out)


def floats(words: list[int]) -> list[float]:
    return list(struct.unpack(f"<{len(words)}f", struct.pack(f"<{len(words)}i", *words)))


def test_the_row_holds_addresses_and_the_bits_of_float32() -> None:
    one = work()
    term = replace(one.terms[0], lowest=Threshold(1.5, 7), mask=torch.ones(4, dtype=torch.uint8), gain=2.0, share=0.5)
    one = replace(one, terms=[term, one.terms[1]], factor=-2.0, divisor=0.1)
    row = one.row()
    assert len(row) == 5 + 10 * 2
    assert row[:3] == [32, one.out.data_ptr(), one.base.data_ptr()]
    assert floats(row[3:5]) == [-2.0, torch.tensor(0.1).item()]
    assert term.mask is not None
    assert row[5:7] == [term.model.data_ptr(), term.mask.data_ptr()]
    assert floats(row[7:11]) == torch.tensor([0.3, 0.3e-6, 2.0, 0.5]).tolist()
    assert row[11:15] == [0x3FC00000, 7, 2**31 - 1, 0]  # 1.5; nothing is an outlier
    assert row[16] == 0  # the other has no mask
    assert row[21:] == [-1, 0, 2**31 - 1, 0]  # and keeps everything


def test_only_what_the_kernel_can_do_fits() -> None:
    one = work()
    first, second = one.terms
    assert one.fits()
    assert replace(one, divisor=None).fits()
    assert not work(dtype=torch.float64).fits()
    assert one.aligned()
    for elsewhere in (work(size=24), replace(one, base=torch.ones(33, dtype=torch.bfloat16)[1:])):
        assert elsewhere.fits()
        assert not elsewhere.aligned(), "left to the atoms on CUDA"
    assert not replace(one, out=torch.ones(8, 8, dtype=torch.bfloat16)[:, :4]).fits(), "not contiguous"
    for term in (
        replace(first, weight=1e39),
        replace(first, gain=float("nan")),
        replace(first, lowest=Threshold(float("inf"), 1)),
        replace(first, outliers=Threshold(float("nan"), 1)),
    ):
        assert not replace(one, terms=[term, second]).fits()


def test_a_kernel_is_compiled_for_each_form_and_not_for_numbers() -> None:
    one = work()
    first, second = one.terms
    same = [replace(one, factor=0.3), replace(one, terms=[replace(first, weight=0.1), second])]
    assert {other.form() for other in same} == {one.form()}
    disjoint = replace(one, divisor=None)
    forms = [
        one,
        disjoint,
        replace(disjoint, terms=[replace(first, weight=-0.3), second]),
        replace(one, divisor=0.5),
        replace(one, elect=True),
        replace(one, out=one.out.float()),
        *(
            replace(one, terms=[term, second])
            for term in (
                replace(first, lowest=Threshold(1.0, 1)),
                replace(first, outliers=Threshold(1.0, 1)),
                replace(first, mask=torch.ones(4, dtype=torch.uint8)),
                replace(first, gain=2.0),
                replace(first, share=2.0),
            )
        ),
    ]
    assert len({other.form() for other in forms}) == len(forms)


def test_elsewhere_than_on_cuda_and_the_cpu_the_atoms_do_the_work() -> None:
    one, pieces = work(), Pieces(torch.device("cpu"))
    assert not fused.available(torch.device("meta"))
    there = [tensor.to("meta") for tensor in one.tensors]
    elsewhere = fused.Work([fused.Term(model, 0.5) for model in there[2:]], there[1], there[0])
    assert not fused.run([elsewhere], pieces)
    assert not fused.run([], pieces)


def by_hand(work: fused.Work) -> np.ndarray:
    """What a work says, in numpy: float32, unrounded."""
    base = work.base.float().numpy().reshape(-1)
    place, deltas = np.arange(base.size), []
    for term in work.terms:
        delta = term.model.float().numpy().reshape(-1) - base

        def reaches(limit: Threshold, delta: np.ndarray = delta) -> np.ndarray:
            return (np.abs(delta) > limit.magnitude) | ((np.abs(delta) == limit.magnitude) & (place < limit.until))

        kept = np.where(reaches(term.lowest), delta, np.float32(0)) if term.lowest else delta
        kept = kept - np.where(reaches(term.outliers), delta, np.float32(0)) if term.outliers else kept
        kept = (
            kept * np.unpackbits(term.mask.numpy(), count=base.size, bitorder="little").astype(np.float32)
            if term.mask is not None
            else kept
        )
        deltas.append(kept * np.float32(term.gain) / np.float32(term.share) * np.float32(term.weight))
    total = np.add.reduce(deltas)
    if work.elect:
        deltas = [np.where(np.signbit(total) == np.signbit(delta), delta, np.float32(0)) for delta in deltas]
        total = np.add.reduce(deltas)
    divisor = np.full_like(total, work.divisor or 0)
    if work.divisor is None:
        for term, delta in zip(work.terms, deltas, strict=True):
            divisor += (delta != 0) * np.float32(term.weight)
    return total / np.where(divisor == 0, np.float32(1), divisor) * np.float32(work.factor) + base


@pytest.mark.parametrize("scale", [{}, {"rescale": True}, {"rescale": True, "rescale_by": "probability"}])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("task_arithmetic", {}),
        ("ties", {"density": [0.4, 0.0, 1.0]}),
        ("ties", {"density": [0.4, 0.3, 0.5], "trim_scope": "model"}),
        ("dare_linear", {"density": [0.4, 0.0, 1.0]}),
        ("dare_ties", {"density": 0.6}),
        ("della", {"density": 0.6, "epsilon": 0.2}),
        ("della_linear", {"density": 0.6, "epsilon": 0.2}),
        ("breadcrumbs", {"density": [0.4, 0.7, 1.0], "gamma": [0.2, 0.1, 0.1]}),
        ("breadcrumbs_ties", {"density": 0.4, "gamma": 0.2}),
    ],
)
def test_a_chain_tells_all_that_it_does(
    name: str, numbers: dict[str, Any], normalize: bool, scale: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    method = methods.get(name)
    scale = {key: value for key, value in scale.items() if key in method.parameters}
    given = {"weight": [0.3, 0.5, 0.9], "normalize": normalize, "lambda": 0.8, **numbers, **scale}
    draws = torch.Generator().manual_seed(3)
    base, *models = (torch.randn(16, 20, generator=draws).mul_(4).round_().bfloat16() for _ in range(4))
    merged = partial(
        methods.apply, method, models, base, given, dtype=torch.float32, seed=5, name="x", cutoffs=[4.0, 6.0, 3.0]
    )
    expected = merged()
    told: list[fused.Work] = []
    monkeypatch.setattr(fused, "available", lambda _: True)
    monkeypatch.setattr(fused, "loop", lambda work, _: told.append(work))
    merged()
    if name.startswith("della") and scale.get("rescale_by") == "probability":
        assert not told, "each element has a divisor of its own"
        return
    (work,) = told
    assert (work.out.shape, work.out.dtype) == (base.shape, torch.float32)
    np.testing.assert_array_equal(by_hand(work), expected.numpy().reshape(-1))


def test_float64_is_left_to_the_atoms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "available", lambda _: True)
    base, model, out = torch.ones(16), torch.full((16,), 1.5), torch.empty(16)
    step = chain([model], base, *added_up([1.0], normalize=False, factor=0.1))
    step.result(torch.float64, out, Pieces(base.device), {})
    assert torch.equal(out, torch.full((16,), 1.05))


if importlib.util.find_spec("triton"):

    @pytest.mark.parametrize(("program", "interpret"), [("fused_proof.py", "1"), ("fused_compiled.py", "0")])
    def test_of_the_kernel(program: str, interpret: str) -> None:
        environment = os.environ | {"TRITON_INTERPRET": interpret, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(HERE / program)]
        ended = subprocess.run(
            command, env=environment, cwd=HERE.parents[1], capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


if torch.cuda.is_available():

    def test_the_device_gives_the_bits_of_the_atoms() -> None:
        assert fused.available(torch.device("cuda", 0)) == (importlib.util.find_spec("triton") is not None)
