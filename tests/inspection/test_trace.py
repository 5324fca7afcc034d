"""Traces of tiny models into which something was planted, and of models whose states transformers itself shows."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import math
import weakref

import numpy as np
import pytest
import torch

from mergelab import sample
from mergelab.errors import InspectionError
from mergelab.inspection import influence
from mergelab.inspection.grid import Floats
from mergelab.inspection.handles import find
from mergelab.inspection.trace import trace
from mergelab.weights import Source, open_checkpoint
from tests.inspection.planted import (
    PROMPTS,
    Numerals,
    cosines,
    inside,
    leap,
    model,
    plant,
    sizes,
    states,
    traced,
)

# ------------------------------------------------------------------------------------------- against plain passes


def test_all_figures_are_those_of_plain_hidden_states() -> None:
    made = model()
    found = traced(made)
    borders, parts = states(made)
    assert not len(found.sinks())
    shares = {"median": 0.5, "q05": 0.05, "q25": 0.25, "q75": 0.75, "q95": 0.95}
    for statistic, share in shares.items():
        slow = [np.quantile(sizes(one), share) for one in borders]
        np.testing.assert_allclose(found.norms(statistic).values[0], slow, rtol=1e-5)  # type: ignore[arg-type]
    slow = [np.median(sizes(one)) / math.sqrt(24) for one in borders]
    np.testing.assert_allclose(found.norms("rms").values[0], slow, rtol=1e-5)
    pairs = list(itertools.pairwise(borders))
    slow = [np.median(sizes(after)) / np.median(sizes(before)) for before, after in pairs]
    np.testing.assert_allclose(found.growth().values[0], slow, rtol=1e-5)
    slow = [1 - cosines(before, after).mean() for before, after in pairs]
    np.testing.assert_allclose(found.influence().values[0], slow, rtol=1e-4)
    for role, added in parts.items():
        slow = [np.median(sizes(part) / sizes(before)) for part, before in zip(added, borders[:-1], strict=True)]
        np.testing.assert_allclose(found.contributions(role).values[0], slow, rtol=1e-4)
        slow = [np.median(cosines(part, before)) for part, before in zip(added, borders[:-1], strict=True)]
        np.testing.assert_allclose(found.contributions(role, "cosine").values[0], slow, rtol=1e-4, atol=1e-5)
    angular = found.angular("base").values
    for n in range(1, 7):
        for layer in range(7 - n):
            slow_angle = np.arccos(cosines(borders[layer], borders[layer + n])).mean() / math.pi
            assert angular[n - 1, layer] == pytest.approx(slow_angle, rel=1e-4)
        assert np.isnan(angular[n - 1, 7 - n :]).all()


def test_the_last_tokens_alone_are_those_of_the_paper() -> None:
    made = model()
    borders, _ = states(made)
    ends = np.cumsum([len(prompt.split()) - 1 for prompt in PROMPTS]) - 1
    slow = np.arccos(cosines(borders[1][ends], borders[3][ends])).mean() / math.pi
    assert traced(made).angular("base", last=True).values[1, 1] == pytest.approx(slow, rel=1e-4)


def test_last_tokens_are_there_however_few_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """And do not weigh more than others in the mean over all: that is over those that were drawn."""
    made = model()
    whole = traced(made).angular("base", last=True)
    monkeypatch.setattr(influence, "affordable", lambda _: 2 * len(PROMPTS))
    found = traced(made)
    np.testing.assert_allclose(found.angular("base", last=True).values, whole.values, rtol=1e-6)
    assert f"Mean over {len(PROMPTS)} last tokens" in found.angular("base", last=True).note
    drawn = np.count_nonzero(found._counted.drawn)
    assert drawn < len(found._counted.held) == 2 * len(PROMPTS)
    assert f"Mean over {drawn} tokens" in found.angular("base").note


@pytest.mark.parametrize("kind", ["gemma2", "gpt2", "olmo2"])
def test_norms_of_other_families_are_those_of_plain_hidden_states(kind: str) -> None:
    made = model(kind)
    found = traced(made).norms().values[0]
    norms: list[list[Floats]] = [[] for _ in range(7)]
    with torch.no_grad():
        for prompt in PROMPTS:
            hidden = made(torch.tensor([Numerals()(prompt)["input_ids"]]), output_hidden_states=True).hidden_states
            for border, one in zip(norms, hidden, strict=True):
                border.append(sizes(one[0, 1:].double().numpy()))
    slow = [np.median(np.concatenate(one)) for one in norms]
    np.testing.assert_allclose(found[:-1], slow[:-1], rtol=1e-5)  # transformers gives the last one after the final norm


def test_parts_behind_norms_add_up_to_what_a_layer_adds() -> None:
    # What Gemma 2's attention gives goes through a norm before it is added: the parts are what is added.
    made = model("gemma2")
    found = traced(made)
    counted = found._counted.passed["base"]
    before, after = counted.before, counted.after
    cos_of_sum = (
        1
        + counted.sizes["attention"] ** 2
        + counted.sizes["feed-forward"] ** 2
        + 2 * counted.sizes["attention"] * counted.cosines["attention"]
        + 2 * counted.sizes["feed-forward"] * counted.cosines["feed-forward"]
    )
    # |h + a + f|^2 = |h|^2 + |a|^2 + |f|^2 + 2 h.a + 2 h.f + 2 a.f, and |2 a.f| is at most 2 |a| |f|.
    cross = 2 * counted.sizes["attention"] * counted.sizes["feed-forward"]
    gap = np.abs((after / before) ** 2 - cos_of_sum)
    assert (gap <= cross * (1 + 1e-4)).all()


# ------------------------------------------------------------------------------------------------ planted truths


def test_a_layer_whose_output_is_doubled_shows_in_its_growth_and_nowhere_else() -> None:
    base, other = model(rms_norm_eps=1e-12), model(rms_norm_eps=1e-12)
    plant(other, 2, lambda out: 2 * out)
    with torch.no_grad():  # what later layers add is doubled with the stream
        for layer in other.model.layers[3:]:
            layer.self_attn.o_proj.weight *= 2
            layer.mlp.down_proj.weight *= 2
    found = traced(base, other)
    growth = found.growth()
    expected = growth.row("base") * np.array([1, 1, 2, 1, 1, 1])
    np.testing.assert_allclose(growth.row("other"), expected, rtol=1e-4)
    assert inside(growth, "base") == [True] * 6
    assert inside(growth, "other") == [True, True, False, True, True, True]
    norms = found.norms()
    np.testing.assert_allclose(norms.row("other") / norms.row("base"), [1, 1, 1, 2, 2, 2, 2], rtol=1e-4)
    assert inside(norms, "other") == [True] * 3 + [False] * 4
    np.testing.assert_allclose(*found.influence().values, rtol=1e-3)
    np.testing.assert_allclose(found.cosine("base", "other").row("median"), 1, atol=1e-5)
    np.testing.assert_allclose(found.distance("base", "other").row("median"), [0] * 3 + [1] * 4, atol=1e-4)
    parts = found.contributions()
    assert np.isnan(parts.row("other")).tolist() == [False, False, True, False, False, False]
    sound = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(parts.row("other")[sound], parts.row("base")[sound], rtol=1e-4)
    assert "other: What is added to the stream in layers 2" in parts.note


def test_a_sink_is_told_where_it_is_born_and_removed_and_moves_no_figure() -> None:
    base, other = model(), model()
    plant(plant(other, 1, leap(1e5)), 4, leap(-1e5))
    found = traced(base, other)
    table = found.sinks()
    assert table["source"].tolist() == ["other"] * 12
    assert table["prompt"].tolist() == list(range(12))
    assert table["token"].tolist() == [prompt.split()[3] for prompt in PROMPTS]
    assert (table["position"] == 3).all()
    assert (table["layer"] == 1).all()
    assert (table["gone"] == 4).all()
    assert {one[0] for one in table["channels"]} == {5}
    np.testing.assert_allclose(table["value"], 1e5, rtol=1e-3)
    assert table["massive"].all()
    borders, _ = states(base)
    fourth = np.concatenate([np.arange(1, len(prompt.split())) == 3 for prompt in PROMPTS])
    for border, one in enumerate(borders):
        left = one[~fourth] if 2 <= border <= 4 else one
        assert found.norms().row("base")[border] == pytest.approx(np.median(sizes(left)), rel=1e-5)
    for layer, (before, after) in enumerate(itertools.pairwise(borders)):
        left = ~fourth if 1 <= layer <= 4 else fourth | ~fourth
        turn = 1 - cosines(before[left], after[left]).mean()
        assert found.influence().row("base")[layer] == pytest.approx(turn, rel=1e-4)
        angle = np.arccos(cosines(before[left], after[left])).mean() / math.pi
        assert found.angular("base").values[0, layer] == pytest.approx(angle, rel=1e-4)
    assert (found.norms("q95").row("other") < 2 * found.norms("q95").row("base")).all()
    assert inside(found.norms(), "other")[:2] == [True, True]
    rows = found.tokens("other", 7).values
    assert (rows[3, 2:5] > 0.9e5).all()
    assert (np.delete(rows, 3, 0) < 1e3).all()


def test_a_sink_that_is_there_from_the_embeddings_to_the_end_has_no_layers() -> None:
    made = model(rms_norm_eps=1e-12)
    with torch.no_grad():
        made.model.embed_tokens.weight[2] = 1e4
    found = traced(made, prompts=[*PROMPTS[:3], "4 5 2 7"]).sinks()
    assert found[["prompt", "position", "token"]].to_numpy().tolist() == [[3, 2, "2"]]
    assert found[["layer", "gone"]].isna().all(axis=None)


def test_a_start_token_in_the_middle_of_a_text_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Numerals, "bos_token_id", 50)
    made = model()
    borders, _ = states(made, ["4 5 50 7"])
    found = traced(made, prompts=["4 5 50 7"]).norms().row("base")
    np.testing.assert_allclose(found, [np.median(sizes(one[[0, 2]])) for one in borders], rtol=1e-5)


def test_sources_of_other_widths_are_comparable_by_channel() -> None:
    narrow = model(seed=1)
    wide = model(seed=1, hidden_size=48, head_dim=6)
    with torch.no_grad():
        for made in (narrow, wide):  # layers that add nothing
            for layer in made.model.layers:
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()
        wide.model.embed_tokens.weight.copy_(narrow.model.embed_tokens.weight.repeat(1, 2))
    found = traced(narrow, wide)
    np.testing.assert_allclose(found.norms().row("other"), math.sqrt(2) * found.norms().row("base"), rtol=1e-5)
    np.testing.assert_allclose(*found.norms("rms").values, rtol=1e-5)
    np.testing.assert_array_equal(found.influence().values, 0)
    with pytest.raises(InspectionError, match="24 channels"):
        found.cosine("base", "other")


def test_a_source_with_fewer_layers_ends_where_it_ends() -> None:
    found = traced(model(), model(seed=1, num_hidden_layers=4))
    norms, alone = found.norms(), traced(model(seed=1, num_hidden_layers=4)).norms()
    assert norms.columns == tuple("0123456")
    np.testing.assert_array_equal(norms.row("other")[:5], alone.row("base"))
    assert np.isnan(norms.row("other")[5:]).all()
    assert np.isfinite(norms.row("base")).all()
    assert found.growth().columns == tuple("012345")
    assert np.isfinite(found.growth().row("other")).tolist() == [True] * 4 + [False] * 2
    assert found.angular("other").values.shape == (4, 4)
    assert found.tokens("other").columns == tuple("01234")


def test_states_that_are_no_numbers_are_said_and_spoil_nothing_else() -> None:
    base, other = model(), model()
    plant(other, 3, lambda out: out * float("nan"))
    found = traced(base, other)
    norms = found.norms()
    np.testing.assert_array_equal(norms.row("base"), traced(base).norms().row("base"))
    assert np.isnan(norms.row("other")).tolist() == [False] * 4 + [True] * 3
    assert "other: states that are not finite leave layer 3." in norms.note
    assert "base: states" not in norms.note
    assert not len(found.sinks())


# --------------------------------------------------------------------------------------------- prompts and chance


def test_nothing_depends_on_the_order_of_prompts_nor_on_what_else_is_read() -> None:
    made = model()
    found, turned = traced(made), traced(made, prompts=PROMPTS[::-1])
    np.testing.assert_allclose(found.norms().values, turned.norms().values, rtol=1e-6)
    np.testing.assert_allclose(found.influence().values, turned.influence().values, rtol=1e-5)
    for number in (0, 5, 11):
        alone = traced(made, prompts=PROMPTS[number]).tokens("base").values
        np.testing.assert_allclose(found.tokens("base", number).values, alone, rtol=1e-5)
        np.testing.assert_allclose(turned.tokens("base", 11 - number).values, alone, rtol=1e-5)
        words = PROMPTS[number].split()
        assert found.tokens("base", number).rows == tuple(f"{place} {word}" for place, word in enumerate(words))


def test_the_band_is_the_first_sources_and_says_so() -> None:
    found = traced(model(), model(seed=9))
    for grid in (found.norms(), found.growth(), found.contributions(), found.influence()):
        assert grid.chance is not None
        assert grid.chance.how.startswith("base on random halves of the 12 prompts")
        assert np.mean(inside(grid, "base")) > 0.9
    angular = found.angular("other").chance
    assert angular is not None
    assert angular.how.startswith("other")
    assert traced(model(), prompts=["3 4 5"]).norms().chance is None


def test_a_trace_is_data_and_lets_go_of_the_model() -> None:
    made = model()
    found = traced(made)
    gone = weakref.ref(made)
    del made
    gc.collect()
    assert gone() is None
    assert np.isfinite(found.norms().values).all()


# ------------------------------------------------------------------------------------------------- stop, progress


def test_a_stopped_trace_has_the_layers_it_walked() -> None:
    made, asked = model(), 0
    plant(made, 1, leap(1e5))

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2 * 4 + 1  # batches of 4 lengths: in the third layer

    found, whole = traced(made, stop=stop), traced(made)
    assert found.partial
    assert not whole.partial
    assert found.walked == 2
    for grid, all_of_it, known in (
        (found.norms(), whole.norms(), 3),
        (found.growth(), whole.growth(), 2),
        (found.influence(), whole.influence(), 2),
        (found.tokens("base", 1), whole.tokens("base", 1), 3),
    ):
        assert grid.columns == all_of_it.columns
        np.testing.assert_allclose(grid.values[:, :known], all_of_it.values[:, :known], rtol=1e-6)
        assert np.isnan(grid.values[:, known:]).all()
    assert "Stopped: 2 of 6 layers were walked." in found.norms().note
    assert np.isfinite(found.angular("base").values).sum() == 3
    assert len(found.sinks()) == 12
    assert found.lens.figure("kl").values.shape[0] <= 1


def test_a_trace_that_is_stopped_while_it_reads_predictions_off_says_so() -> None:
    made, asked = model(), 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 6 * 4  # layers, and batches of 4 lengths

    found = traced(made, stop=stop)
    assert found.walked == 6
    assert found.partial
    assert np.isfinite(found.norms().values).all()


def test_a_trace_that_is_stopped_at_once_says_so() -> None:
    with pytest.raises(InspectionError, match="stopped before"):
        traced(model(), stop=lambda: True)


def test_progress_rises_to_its_end() -> None:
    told: list[tuple[int, int]] = []
    traced(model(), model(seed=1, num_hidden_layers=4), progress=lambda done, total: told.append((done, total)))
    done, totals = zip(*told, strict=True)
    assert len(dict.fromkeys(totals)) == 1
    assert list(done) == sorted(done)
    assert done[-1] == totals[0]
    assert done[0] <= 1


# ---------------------------------------------------------------------------------------------------- wrong input


def test_what_is_not_there_is_said_with_what_is() -> None:
    found = traced(model(), prompts=PROMPTS[:2])
    with pytest.raises(InspectionError, match="no statistic 'mean'"):
        found.norms("mean")  # type: ignore[arg-type]
    with pytest.raises(InspectionError, match=r"no role 'atention'\. Did you mean 'attention'\?"):
        found.contributions("atention")
    with pytest.raises(InspectionError, match="no statistic 'angle'"):
        found.contributions("attention", "angle")
    with pytest.raises(InspectionError, match=r"no source 'bse'\. Did you mean 'base'\?"):
        found.angular("bse")
    with pytest.raises(InspectionError, match="no source 'x'"):
        found.tokens("x")
    for prompt in (-1, 2):
        with pytest.raises(InspectionError, match=rf"no prompt {prompt}\. Give a number from 0 to 1\."):
            found.tokens("base", prompt)


def test_sources_are_named_by_what_they_were_read_from_too() -> None:
    base, pirate = (sample.path(name) for name in ("base", "pirate"))
    found = trace([base, Source(str(pirate))], ["Once upon a time there was"])
    named = found.cosine("base", "pirate")
    assert named.of == "pirate against base"
    for one, other in ((base, pirate), (str(base), Source.parse(pirate)), (open_checkpoint(base), "pirate")):
        assert np.array_equal(found.cosine(one, other).values, named.values)
        assert found.distance(one, other).of == named.of
        assert found.cka(one, other).of == found.cka("base", "pirate").of
    assert found.angular(pirate).of == "pirate"
    assert found.tokens(pirate).of == "pirate, prompt 0"
    with pytest.raises(InspectionError, match=r"there is no source '.*sort'"):
        found.cosine(base, sample.path("sort"))


def test_who_knows_better_says_where_layers_are() -> None:
    """As of a model whose layers are not found: here it is told of the same ones, without what they are made of."""
    own = model()
    told = dataclasses.replace(find(own), writers=((),) * 6)
    found = traced(own, prompts=PROMPTS[:2], handles={"base": told})
    assert found.roles == ()
    with pytest.raises(InspectionError, match=r"no source 'bsae'\. Did you mean 'base'\?"):
        traced(own, prompts=PROMPTS[:2], handles={"bsae": told})


def test_layers_that_show_no_parts_have_no_contributions_and_all_the_rest() -> None:
    made = model()
    for layer in range(6):
        plant(made, layer, lambda out: 1.5 * out)
    found = traced(made)
    assert found.roles == ()
    with pytest.raises(InspectionError, match="no layer of any source shows its parts"):
        found.contributions()
    assert np.isfinite(found.growth().values).all()


def test_prompts_of_one_token_leave_nothing_to_measure() -> None:
    with pytest.raises(InspectionError, match="no token is left"):
        traced(model(), prompts=["3", "4"])
