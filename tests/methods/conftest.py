"""Methods are tested by the compiled loops, and by the atoms where a test says so."""

from __future__ import annotations

import pytest
import torch

from mergelab.methods import fused


@pytest.fixture(scope="session", autouse=True)
def _loops() -> None:
    fused.ready(torch.device("cpu"))
