"""The inspector on real models of the family: what it shows is what the measures say, under its own names."""

from __future__ import annotations

import threading

import numpy as np

from mergelab import sample
from mergelab.inspection.changes import task_vectors
from mergelab.inspection.drift import drift
from mergelab.inspection.trace import trace
from mergelab.views.inspector import Inspector

PROMPTS = ["Once upon a time there was a", "sort pear cat moon :"]


def test_it_shows_what_the_measures_say() -> None:
    paths = [sample.path(name) for name in ("base", "sort", "stranger")]
    with Inspector(*paths, prompts=PROMPTS, names=["mother", "sorter", "other"], device="cpu") as look:
        assert look.wait(120)
        assert look.error == ""
        assert {panel["state"] for panel in look.panels} == {"done"}
        changes = task_vectors(*paths)
        look.turned = {"density": 0.2}
        assert look.wait(10)
        expected = changes.conflict("sort", "stranger").at(0.2)
        np.testing.assert_array_equal(look.grid("conflict").values, expected.values)
        assert look.grid("conflict").of == "sorter with other"
        np.testing.assert_array_equal(look.grid("cosine").values, changes.cosine("sort", "stranger").values)
        np.testing.assert_array_equal(look.grid("size").values, changes.size("sort").values)
        np.testing.assert_array_equal(look.grid("drift").values, drift(paths[0], paths[1]).size("sort").values)
        assert look.grid("drift").of == "sorter against mother"
        told = trace({"mother": paths[0], "sorter": paths[1], "other": paths[2]}, PROMPTS, device="cpu")
        np.testing.assert_array_equal(look.grid("norms").values, told.norms().values)
        np.testing.assert_array_equal(look.grid("tokens").values, told.tokens("sorter", 0).values)
        assert look.to_frame("sinks").drop(columns="channels").equals(told.sinks().drop(columns="channels"))
        kept = np.interp(
            0.2, [float(one) for one in changes.kept().columns], changes.conflict("sort", "stranger").kept().values[0]
        )
        assert f"{float(f'{100 * kept:.3g}'):g} % of sorter's" in look.dials["density"]["text"]
        assert "of other's length" in look.dials["density"]["text"]
        assert len(look.still().encode()) < 50_000


def test_what_is_stopped_at_once_is_no_error() -> None:
    with Inspector(
        sample.path("base"), sample.path("sort"), sample.path("pirate"), prompts=PROMPTS, device="cpu"
    ) as look:
        look.stop()
        assert look.wait(60)
        assert look.error == ""
        assert all(panel["state"] in ("stopped", "done") for panel in look.panels)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mergelab-")]
