"""Seams: planted truths show at the right place and size; grafts of siblings, strangers and stages."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mergelab import sample
from mergelab.errors import InspectionError
from mergelab.inspection.crossings import how_taken
from mergelab.inspection.distance import MEASURES
from mergelab.inspection.seams import ENDS, Seams, seams
from mergelab.models import assemble
from mergelab.recipes import Recipe, graft, plan, repeat, stack
from mergelab.weights import Source, open_checkpoint
from tests.inspection import changed_base
from tests.inspection.changed_base import LAYERS, plant

BASE = sample.path("base")
LINES = [prompt for skill in sample.SKILLS.values() for prompt in skill.prompts(8)]
PROMPTS = tuple(" ".join(LINES[start::4]) for start in range(4))  # few lengths, so few batches


def on_top(lower: Path, upper: Path, border: int = 4) -> Recipe:
    """Layers of one model under layers of another."""
    return stack([(lower, 0, border), (upper, border, LAYERS)], base=lower)


def value(found: Seams, measure: str, end: str = "entry", seam: int = 0) -> float:
    return float(found.grid(measure).values[ENDS.index(end), seam])


def off(found: Seams, end: str = "entry") -> list[str]:
    frame = found.to_frame()
    return list(frame.measure[frame.off & (frame.end == end)])


def test_a_copy_of_the_model_itself_fits_exactly(tmp_path: Path) -> None:
    found = seams(on_top(BASE, plant(tmp_path / "copy", changed_base.same)), PROMPTS)
    frame = found.to_frame()
    assert len(frame) == len(MEASURES) * len(ENDS)
    assert not frame.off.any()
    shifts = frame[~frame.measure.str.contains("cosine")].value
    assert shifts.abs().max() < 1e-9
    assert frame[frame.measure.str.contains("cosine")].value.to_numpy() == pytest.approx(1)
    assert found.verdicts()[0].startswith("Within chance")
    assert found.onestep().values[0].tolist() == [0] * LAYERS
    assert "no layer" in found.guilty()


def test_a_longer_stream_is_a_matter_of_scale_alone(tmp_path: Path) -> None:
    """The upper layers add nothing, so that the stream is that much longer at the exit too."""
    size = 2.0
    home = plant(tmp_path / "home", changed_base.silent(range(4, LAYERS)))
    found = seams(on_top(plant(tmp_path / "longer", changed_base.longer(size, range(4))), home), PROMPTS)
    for end in ENDS:
        assert value(found, "norm_ratio", end) == pytest.approx(math.log(size), abs=1e-3)
        assert value(found, "distance", end) == pytest.approx(abs(size - 1), abs=1e-3)
        assert value(found, "frechet_read", end) < 1e-4
        assert value(found, "cosine_read", end) == pytest.approx(1, abs=1e-4)
        assert not [name for name in off(found, end) if name.endswith("_read")]
        assert "norm_ratio" in off(found, end)
    assert found.verdicts()[0].startswith("Scale only: at the entry states are 2 times as long as at home (chance: 0.")
    assert found.verdicts()[0].endswith("The layer normalises what it reads, and that is within chance.")


def test_a_turned_basis_is_called_so_and_its_length_is_in_order(tmp_path: Path) -> None:
    turned = plant(tmp_path / "turned", changed_base.turned)
    with (
        assemble(stack([(turned, 0, LAYERS)], base=turned)) as one,
        assemble(stack([(BASE, 0, LAYERS)], base=BASE)) as own,
    ):
        ids = torch.tensor([one.tokenizer("Once upon a time")["input_ids"]])
        with torch.no_grad():
            torch.testing.assert_close(one.model(ids).logits, own.model(ids).logits, rtol=1e-3, atol=1e-3)
    found = seams(on_top(BASE, turned), PROMPTS)
    assert value(found, "norm_ratio") == pytest.approx(0, abs=1e-4)
    assert {"frechet", "frechet_read", "cosine", "cosine_read", "mean_shift_read"} <= set(off(found))
    assert "norm_ratio" not in off(found)
    assert value(found, "frechet_read") > 5 * found.figures(found.seams[0])["entry"]["frechet_read"].high
    assert found.verdicts()[0].startswith("Another basis: at the entry")


def test_the_layer_that_was_spoiled_is_the_guilty_one(tmp_path: Path) -> None:
    def change(tensors: changed_base.Tensors) -> None:
        changed_base.noisy(range(2, 7), 0.03, seed=1)(tensors)
        changed_base.noisy(range(5, 6), 1.0, seed=2)(tensors)

    found = seams(graft(BASE, plant(tmp_path / "spoiled", change), (2, 7)), PROMPTS)
    moved, without = found.onestep().values
    assert moved.argmax() == 5
    assert moved[5] > 5 * np.delete(moved, 5).max()
    assert moved[[0, 1, 7, 8, 9]].tolist() == [0] * 5
    assert found.guilty().startswith(f"One step: layer 5 takes the host's states furthest astray, by {moved[5]:.2g}")
    assert f"out does more, {without[5]:.2g}" in found.guilty()
    shift = value(found, "frechet_read", "exit")
    assert shift > 5 * value(found, "frechet_read", "entry")  # only the exit tells


@pytest.fixture(scope="module")
def sibling() -> Seams:
    return seams(graft(sample.path("arithmetic"), sample.path("pirate"), (2, 4)), PROMPTS)


@pytest.fixture(scope="module")
def stranger() -> Seams:
    return seams(graft(sample.path("arithmetic"), sample.path("stranger"), (2, 4)), PROMPTS)


def test_a_siblings_layers_lie_near_chance_and_a_strangers_far_from_it(sibling: Seams, stranger: Seams) -> None:
    for measure in ("frechet_read", "covariance_shift_read", "mean_shift_read"):
        near, far = (one.figures(one.seams[0])["average"][measure] for one in (sibling, stranger))
        assert near.value < 1.5 * near.high, measure
        assert far.off, measure
        assert far.value > 2 * near.value, measure
    assert value(stranger, "frechet_read") > 5 * value(sibling, "frechet_read")
    assert value(sibling, "cosine_read", "average") > 0.9
    assert value(stranger, "cosine_read", "average") < 0.7
    assert sibling.verdicts()[0].startswith(("Within chance", "Slightly shifted"))
    assert "is worse than none" in stranger.guilty()
    assert "need not be to blame" in sibling.guilty()
    assert stranger.verdicts()[0].startswith("Another basis: at the entry")


def test_the_average_of_both_ends_ranks_grafts_by_the_harm_they_do(sibling: Seams, stranger: Seams) -> None:
    """A relative's first layers hurt more than its middle ones (tests/sample/test_grafts.py), a stranger's most."""
    host = sample.path("arithmetic")
    first = seams(graft(host, sample.path("sort"), (0, 2)), PROMPTS)
    ranked = [value(one, "frechet_read", "average") for one in (sibling, first, stranger)]
    assert ranked == sorted(ranked)
    moved = [one.onestep().values[0].max() for one in (sibling, first, stranger)]
    assert min(moved[1:]) > 2 * moved[0]


def test_entry_and_exit_are_the_states_transformers_gives(sibling: Seams) -> None:
    """Slowly, with hidden states of whole passes: median lengths at both ends of the donor's run."""
    host, donor = (sample.path(name) for name in ("arithmetic", "pirate"))
    recipes = (
        graft(host, donor, (2, 4)), stack([(donor, 0, LAYERS)], base=donor), stack([(host, 0, LAYERS)], base=host)
    )  # fmt: skip
    states = []
    for recipe in recipes:
        with assemble(recipe) as one, torch.no_grad():
            passes = [
                one.model(torch.tensor([one.tokenizer(prompt)["input_ids"]]), output_hidden_states=True).hidden_states
                for prompt in PROMPTS
            ]
        states.append([torch.cat([one[border][0, 1:] for one in passes]).double() for border in range(LAYERS)])
    merged, theirs, ours = states
    for end, arriving, home in (("entry", merged[2], theirs[2]), ("exit", merged[4], ours[4])):
        ratio = (arriving.norm(dim=1).quantile(0.5) / home.norm(dim=1).quantile(0.5)).log()
        assert value(sibling, "norm_ratio", end) == pytest.approx(float(ratio), abs=1e-5)
        cosine = torch.nn.functional.cosine_similarity(arriving, home).mean()
        assert value(sibling, "cosine", end) == pytest.approx(float(cosine), abs=1e-5)
    assert sibling.tokens == len(merged[0])


def test_a_repeat_is_held_against_what_its_layer_reads_at_its_own_depth() -> None:
    found = seams(repeat(BASE, (3, 6)), PROMPTS)
    with assemble(stack([(BASE, 0, LAYERS)], base=BASE)) as own, torch.no_grad():
        ids = [torch.tensor([own.tokenizer(prompt)["input_ids"]]) for prompt in PROMPTS]
        passes = [own.model(one, output_hidden_states=True).hidden_states for one in ids]
    arriving, home = (torch.cat([one[border][0, 1:] for one in passes]).double() for border in (6, 3))
    assert found.crossings[6].home == "base 3"
    assert found.crossings[13].home == "base 10"
    apart = ((arriving - home).norm(dim=1) / home.norm(dim=1)).mean()
    assert value(found, "distance") == pytest.approx(float(apart), rel=1e-4)
    assert found.verdicts()[0].startswith("Shifted")


def test_the_table_and_the_grid_say_the_same(sibling: Seams) -> None:
    frame = sibling.to_frame()
    assert list(frame.seam.unique()) == ["1 | 2", "3 | 4"]
    for name in MEASURES:
        grid = sibling.grid(name)
        assert (grid.rows, grid.columns) == (ENDS, ("1 | 2", "3 | 4"))
        assert grid.chance is not None
        for column, seam in enumerate(grid.columns):
            rows = frame[(frame.measure == name) & (frame.seam == seam)].set_index("end")
            assert rows.value[list(ENDS)].tolist() == grid.values[:, column].tolist()
            assert rows.low[list(ENDS)].tolist() == np.asarray(grid.chance.low)[:, column].tolist()
            assert rows.high[list(ENDS)].tolist() == np.asarray(grid.chance.high)[:, column].tolist()
    entry = frame[(frame.seam == "1 | 2") & (frame.end == "entry")].iloc[0]
    assert (entry.border, entry.home, entry.norm) == (2, "pirate 2", "model.layers.2.input_layernorm")
    top = frame[(frame.seam == "3 | 4") & (frame.end == "exit")].iloc[0]
    assert (top.border, top.home, top.norm) == (10, "arithmetic 10", "model.norm")


def test_what_is_shown_is_narrow_and_explains_itself(sibling: Seams, stranger: Seams) -> None:
    for found in (sibling, stranger):
        table, *told = str(found).split("\n\n", 2)[1:]
        assert "verdict" in table.splitlines()[0]
        assert max(map(len, str(found).splitlines())) < 110
        text = " ".join(" ".join(told).split())
        for seam, sentence in zip(found.seams, found.verdicts(), strict=True):
            assert f"{seam.name} {sentence}" in text
            row = next(line for line in table.splitlines() if line.startswith(seam.name))
            assert row.endswith(sentence.split(":")[0])
            figures = found.figures(seam)["average"]
            assert f" {math.exp(figures['norm_ratio'].value):.3g}{'*' * figures['norm_ratio'].off} " in row
            assert f" {figures['frechet_read'].value:.3g}{'*' * figures['frechet_read'].off} " in row
        assert "* off: more than between two random halves" in text
        assert found.guilty() in text
        assert found.note in text
        assert found.guilty().replace("'", "&#x27;") in found._repr_html_()
    assert "*" in str(stranger).split("\n\n")[1]


def test_a_grade_that_is_given_is_explained() -> None:
    found = seams(graft(sample.path("arithmetic"), sample.path("pirate"), (4, 6)), PROMPTS)
    assert found.verdicts()[0].startswith("Slightly shifted")
    assert "at most 0.25 of its spread" in str(found)


@pytest.mark.parametrize("model", [BASE, str(BASE), open_checkpoint(BASE), Source.parse(BASE)])
def test_a_model_in_the_place_of_a_recipe_is_told(model: Any) -> None:
    with pytest.raises(InspectionError, match=r"a recipe is wanted, and '\S*base' is a .*model.*\. Give one, as graft"):
        seams(model, PROMPTS)


def test_what_is_no_recipe_at_all_is_told() -> None:
    with pytest.raises(InspectionError, match="a recipe is wanted, and this is of type dict"):
        seams({"base": BASE}, PROMPTS)  # type: ignore[arg-type]


def test_a_live_model_is_measured_as_it_is_and_left_so(sibling: Seams) -> None:
    planned = plan(graft(sample.path("arithmetic"), sample.path("pirate"), (2, 4)))
    with assemble(planned) as assembly:
        before = assembly.say("27+35=")
        live = seams(assembly, PROMPTS)
        assert assembly.say("27+35=") == before
        assert not [one for one in assembly.model.modules() if one._forward_hooks or one._forward_pre_hooks]
    assert live.to_frame().equals(sibling.to_frame())


def test_fewer_tokens_are_drawn_where_that_is_asked_for(sibling: Seams) -> None:
    few = seams(graft(sample.path("arithmetic"), sample.path("pirate"), (2, 4)), PROMPTS, most=60, seed=3)
    assert few.tokens == 60
    assert "in 6 directions of 64" in few.note
    assert value(few, "cosine") == pytest.approx(value(sibling, "cosine"), abs=0.05)


def test_a_stage_is_a_home_as_any_model() -> None:
    ours, theirs = sample.path("arithmetic"), sample.path("pirate")
    recipe = Recipe.load(f"""
name: mixed
merge_method: linear
models:
  - {{model: {ours}, parameters: {{weight: 0.5}}}}
  - {{model: {theirs}, parameters: {{weight: 0.5}}}}
---
merge_method: passthrough
slices:
  - sources: [{{model: {ours}, layer_range: [0, 4]}}]
  - sources: [{{model: mixed, layer_range: [4, 10]}}]
""")
    found = seams(recipe, PROMPTS)
    assert list(found.to_frame().above.unique()) == ["mixed 4"]
    assert 0.9 < value(found, "cosine") < 0.9999


def test_blends_in_place_have_no_seam_but_a_step_for_each_layer() -> None:
    ours, theirs = sample.path("arithmetic"), sample.path("pirate")
    recipe = Recipe.load(f"""
merge_method: linear
models:
  - {{model: {ours}, parameters: {{weight: [1, 0.5]}}}}
  - {{model: {theirs}, parameters: {{weight: [0, 0.5]}}}}
""")
    found = seams(recipe, PROMPTS)
    assert found.seams == found.verdicts() == ()
    assert found.to_frame().empty
    assert "Every layer follows" in str(found)
    assert "base, else the first" in found.note
    moved = found.onestep().values[0]
    assert moved[0] == 0
    assert (moved[1:] > 0).all()


def test_a_walk_that_is_stopped_gives_what_it_reached() -> None:
    recipe, told = graft(sample.path("arithmetic"), sample.path("pirate"), (2, 4)), []

    def progress(done: int, total: int) -> None:
        told.append(done / total)

    def stop() -> bool:
        return bool(told) and told[-1] > 0.3

    found = seams(recipe, PROMPTS, progress=progress, stop=stop)
    assert found.partial
    assert list(found.crossings) == [2]
    assert set(found.to_frame().end) == {"entry"}
    assert np.isnan(found.grid().values[1:]).all()
    assert np.isnan(found.onestep().values).all()
    assert [said.split(":")[0] for said in found.verdicts()][1] == "Not measured"
    assert "1 | 2" in str(found)


def test_sinks_are_left_out_and_counted(tmp_path: Path) -> None:
    """One word whose state is a hundred times as long: no figure hangs on it."""
    with assemble(stack([(BASE, 0, LAYERS)], base=BASE)) as own:
        ids = [own.tokenizer(prompt)["input_ids"][1:] for prompt in PROMPTS]
    word = max(set(ids[0]), key=lambda one: -ids[0].count(one))
    times = sum(one.count(word) for one in ids)

    def change(tensors: changed_base.Tensors) -> None:
        tensors["model.embed_tokens.weight"][word] *= 100

    host = plant(tmp_path / "host", change)
    found = seams(on_top(host, plant(tmp_path / "copy", change), border=1), PROMPTS)
    assert found.tokens == sum(map(len, ids)) - times
    assert f" and {times} sink{'s' * (times != 1)}." in found.note


def test_a_layer_without_a_norm_in_front_is_said_to_read_lengths(sibling: Seams) -> None:
    planned = plan(graft(sample.path("arithmetic"), sample.path("pirate"), (2, 4)))
    (first, one), *_ = sibling.crossings.items()
    counted = np.ones(64, dtype=np.bool_)
    said = how_taken(counted, planned, {first: replace(one, norm=""), first + 3: replace(one, norm="")})
    assert f"in front of what reads at borders {first}, {first + 3}: there the length of states is read too" in said
    assert "No norm" not in how_taken(counted, planned, {first: one})
    assert "No norm" not in sibling.note


def test_what_cannot_be_measured_is_refused() -> None:
    recipe = graft(sample.path("arithmetic"), sample.path("pirate"), (2, 4))
    with pytest.raises(InspectionError, match=r"prompts: 4 tokens count.*20 tokens at least"):
        seams(recipe, "27+3")
    with pytest.raises(InspectionError, match=r"most: 19 tokens are too few\. Give 20 or more"):
        seams(recipe, PROMPTS, most=19)
    with pytest.raises(InspectionError, match="there is none"):
        seams(recipe, [])


def test_an_unknown_measure_is_refused_with_a_suggestion(sibling: Seams) -> None:
    with pytest.raises(InspectionError, match="frechet_read"):
        sibling.grid("frechet_raed")
