"""The inspector on real models of the family: what it shows is what the measures say, under its own names."""

from __future__ import annotations

import threading

import numpy as np

from mergelab import sample
from mergelab.inspection.changes import task_vectors
from mergelab.inspection.drift import drift
from mergelab.inspection.trace import trace
from mergelab.views.captions import number
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
        look.selection = [2, 5]
        rows = {row["label"].split(";")[0]: row for row in look.readout}
        own = changes.conflict("sort", "stranger").summary(0.2, [2, 5]).loc["sign_conflict"]
        row = rows["Sign conflict, sorter with other"]
        assert row["here"] == number(own["value"], "x")
        assert row["label"].endswith(f"by chance here {number(own['low'])} to {number(own['high'], 'x')}")
        size = changes.summary([2, 5]).loc["sort", "size"]
        assert rows["Size of the change, sorter against mother"]["here"] == number(size)
        np.testing.assert_array_equal(look.grid("drift").values, drift(paths[0], paths[1]).size("sort").values)
        assert look.grid("drift").of == "sorter against mother"
        told = trace({"mother": paths[0], "sorter": paths[1], "other": paths[2]}, PROMPTS, device="cpu")
        np.testing.assert_array_equal(look.grid("norms").values, told.norms().values)
        np.testing.assert_array_equal(look.grid("tokens").values, told.tokens("sorter", 0).values)
        np.testing.assert_array_equal(look.grid("between").values, told.along().values)
        look.turned = {"conflict": "lost", "drift": "shape", "between": "kl"}
        assert look.wait(10)
        expected = changes.conflict("sort", "stranger").lost(0.2)
        np.testing.assert_array_equal(look.grid("conflict").values, expected.values)
        np.testing.assert_array_equal(look.grid("drift").values, drift(paths[0], paths[1]).shape("sort").values)
        np.testing.assert_array_equal(look.grid("between").values, told.lens.figure("kl", to="mother").values)
        look.turned = {"between": "distance", "against": "sorter"}
        assert look.wait(10)
        for row, source in enumerate(("mother", "other")):
            expected = told.distance("sorter", source).row("median")
            shown = look.grid("between").values[row]
            np.testing.assert_array_equal(shown[: len(expected)], expected)
            assert np.isnan(shown[len(expected) :]).all(), "the stranger has fewer layers"
        look.turned = {"between": "cka"}
        assert look.wait(10)
        np.testing.assert_array_equal(look.grid("between").values, told.along("sorter").values)
        look.turned = {"conflict": "weighted", "drift": "scale"}
        assert look.wait(10)
        expected = changes.conflict("sort", "stranger").weighted(0.2)
        np.testing.assert_array_equal(look.grid("conflict").values, expected.values)
        np.testing.assert_array_equal(look.grid("drift").values, drift(paths[0], paths[1]).scale("sort").values)
        assert look.to_frame("sinks").drop(columns="channels").equals(told.sinks().drop(columns="channels"))
        densities = [float(one) for one in changes.kept().columns]
        kept = np.interp(0.2, densities, changes.conflict("sort", "stranger").kept().values.mean(0))
        assert f"keep {100 * kept:.0f}\u00a0% of its norm on average." in look.dials["density"]["text"]
        look.turned = {"density": 0.01, "source": "other"}
        assert look.wait(60)
        notes = {panel["id"]: panel["note"] for panel in look.panels}
        assert notes["conflict"].startswith("Hatched: no weight is kept in both.")
        assert notes["size"].startswith("other is no relative of mother")
        chances = {panel["id"]: panel["chance"] for panel in look.panels}
        assert chances["drift"].startswith("up to ")
        assert " by rounding alone: storing once in " in chances["drift"]
        assert len(look.still().encode()) < 50_000


def test_what_is_stopped_at_once_is_no_error() -> None:
    with Inspector(
        sample.path("base"), sample.path("sort"), sample.path("pirate"), prompts=PROMPTS, device="cpu"
    ) as look:
        look.stop()
        assert look.wait(60)
        assert look.error == ""
        assert all(panel["state"] in ("stopped", "done") for panel in look.panels)
    names = {thread.name for thread in threading.enumerate()} - {"mergelab-trial"}
    assert not [name for name in names if name.startswith("mergelab-")]
