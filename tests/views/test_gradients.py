"""The page bends curves by the arithmetic of `methods.curve`: one file of figures holds for both."""

from __future__ import annotations

import json
from pathlib import Path

from mergelab.methods import gradient

FIGURES = Path(__file__).resolve().parents[2] / "widgets" / "test" / "gradients.json"


def test_the_figures_that_the_page_is_tested_with_are_ours_to_the_last_bit() -> None:
    rows = json.loads(FIGURES.read_text(encoding="utf-8"))
    assert len(rows) > 100
    for row in rows:
        count = len(row["layers"])
        assert row["layers"] == [gradient(row["points"], index, count) for index in range(count)]
