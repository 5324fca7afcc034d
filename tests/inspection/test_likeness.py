"""The sources of a trace beside one another, layer by layer."""

from __future__ import annotations

import numpy as np
import pytest

from mergelab.errors import InspectionError
from tests.inspection.planted import model, traced


def test_another_source_may_make_the_band() -> None:
    found = traced(model(), model(seed=9))
    grid = found.norms(by="other")
    assert grid.chance is not None
    assert grid.chance.how.startswith("other on random halves")
    np.testing.assert_array_equal(grid.values, found.norms().values)
    inside = (grid.chance.low <= grid.values[1:]) & (grid.values[1:] <= grid.chance.high)
    assert inside.all(), "its own medians lie between those of its halves"
    with pytest.raises(InspectionError, match="there is no source 'third'"):
        found.norms(by="third")


def test_the_others_beside_the_first() -> None:
    found = traced(model(), model(seed=9))
    assert found.along().rows == ("other",)
    np.testing.assert_allclose(found.along().row("other"), found.cka("base", "other").values.diagonal(), rtol=1e-9)
