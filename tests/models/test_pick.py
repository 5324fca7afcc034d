"""Devices that cannot be used: which, and why, in words of ours and not of torch's."""

from __future__ import annotations

import pytest
import torch

from mergelab.errors import AssemblyError
from mergelab.models.devices import pick
from tests.models.test_devices import machine


@pytest.mark.parametrize("device", ["gpu", "warp", "", "auto:1", "cuda:x", None, 1.5, ["cpu"]])
def test_a_device_that_is_none_is_refused_in_words(device: object) -> None:
    with pytest.raises(AssemblyError) as caught:
        pick(device)  # type: ignore[arg-type]
    assert str(caught.value) == f"device: {device!r} is unknown. Use 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'."


@pytest.mark.parametrize(
    ("device", "built", "count", "why"),
    [
        ("cuda", False, 0, "this PyTorch is built without CUDA"),
        ("mps", False, 0, "this PyTorch is built without MPS"),
        ("cuda", True, 0, "this machine has no such GPU that PyTorch can use"),
        ("cuda:2", True, 2, "this machine has 2, counted from 0"),
        ("cuda:1", True, 2, "PyTorch can make no tensor on it"),
        ("meta", True, 0, "it holds no values"),
        ("xpu", True, 0, "PyTorch can make no tensor on it"),
    ],
)
def test_why_a_device_cannot_be_used_is_said_in_words_of_ours(
    device: str, built: bool, count: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch)
    for backend, module in ((torch.backends.cuda, torch.cuda), (torch.backends.mps, torch.mps)):
        monkeypatch.setattr(backend, "is_built", lambda: built)
        monkeypatch.setattr(module, "device_count", lambda: count)
    with pytest.raises(AssemblyError) as caught:
        pick(device)
    assert str(caught.value) == f"device: '{device}' cannot be used here: {why}. Use 'auto' or 'cpu'."
