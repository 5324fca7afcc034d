"""What goes together, from headers: the same verdict as the plan's, both ways, with the figures beside it."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest

from mergelab import sample
from mergelab.errors import FitError
from mergelab.recipes import Part, Recipe, Setting, Slice, plan
from mergelab.views.guests import Guest, open_guests
from mergelab.views.suits import blends, fits, kinds, sizes
from mergelab.weights import Checkpoint
from tests.recipes.opened import checkpoint, opened
from tests.weights import folders

HOST = checkpoint("host", layers=5)
OTHERS = {
    "alike": checkpoint("alike", layers=3),
    "wide feed-forward": checkpoint("other", inner=16, config={"intermediate_size": 16}),
    "other epsilon": checkpoint("other", config={"rms_norm_eps": 1e-6}),
    "wider": checkpoint("other", width=12),
    "other family": checkpoint("other", config={"model_type": "mistral"}),
    "other vocabulary": checkpoint("other", vocabulary=99),
    "quantised": checkpoint("other", config={"quantization_config": {"quant_method": "gptq"}}),
    "fewer tensors": checkpoint(
        "other", {name: shape for name, shape in folders.shapes(4).items() if "k_proj" not in name}
    ),
    "more tensors": checkpoint(
        "other",
        {**folders.shapes(4), **{f"model.layers.{at}.self_attn.q_proj.bias": (8,) for at in range(4)}},
    ),
    "bias": checkpoint(
        "other",
        {**folders.shapes(4), **{f"model.layers.{at}.self_attn.q_proj.bias": (8,) for at in range(4)}},
        config={"attention_bias": True},
    ),
}


def seated(*models: Checkpoint) -> list[Guest]:
    return [Guest(model.source.label, model.source.label[:2], model) for model in models]


def planned(recipe: Recipe, *models: Checkpoint) -> str:
    """What the plan says of a recipe."""
    try:
        return "preview" if plan(recipe, opened(*models)).apart else "fits"
    except FitError:
        return "no"


def among(theirs: Checkpoint, **changes: Any) -> Recipe:
    """Layers of a model between those of the host."""
    runs = [Part(HOST.source, (0, 2)), Part(theirs.source, (0, theirs.layers)), Part(HOST.source, (2, 5))]
    return Recipe("passthrough", tuple(Slice((part,)) for part in runs), HOST.source, **changes)


@pytest.mark.parametrize("kind", OTHERS)
def test_the_verdict_is_the_plans(kind: str) -> None:
    other = OTHERS[kind]
    first, second = fits(seated(HOST, other), 0)
    assert (first["grade"], first["why"], first["widen"]) == ("fits", "Same shapes and settings.", False)
    assert second["grade"] == planned(among(other), HOST, other)
    assert second["widen"] == (
        second["grade"] == "preview" and planned(among(other, widen=True), HOST, other) == "fits"
    )
    assert json.loads(json.dumps(second, allow_nan=False)) == second


def test_the_verdicts_differ() -> None:
    """So that the test above can fail."""
    found = {kind: fits(seated(HOST, other), None)[1] for kind, other in OTHERS.items()}
    assert {kind: one["grade"] for kind, one in found.items()} == {
        "alike": "fits", "wide feed-forward": "preview", "other epsilon": "preview", "wider": "no",
        "other family": "no", "other vocabulary": "fits", "quantised": "no", "fewer tensors": "no",
        "more tensors": "no", "bias": "preview",
    }  # fmt: skip
    assert found["wide feed-forward"]["why"] == "Feed-forward size 16 against 10."
    assert [kind for kind, one in found.items() if one["widen"]] == []


def test_widening_is_offered_where_it_helps() -> None:
    names = ("gate_proj", "up_proj", "down_proj")

    def model(name: str, inner: int) -> Checkpoint:
        shapes = {
            f"model.layers.{at}.mlp.{part}.weight": (8, inner) if part == "down_proj" else (inner, 8)
            for at in range(3)
            for part in names
        }
        return checkpoint(
            name,
            {"model.embed_tokens.weight": (13, 8), **shapes, "model.norm.weight": (8,)},
            config={"intermediate_size": inner},
        )

    _, other = fits(seated(model("a", 10), model("b", 16)), 0)
    assert (other["grade"], other["widen"]) == ("preview", True)


def test_the_base_may_be_another() -> None:
    guests = seated(HOST, OTHERS["wide feed-forward"])
    assert [one["grade"] for one in fits(guests, 1)] == ["preview", "fits"]
    assert fits(guests, 1)[0]["why"] == "Feed-forward size 10 against 16."


def test_facts_stand_side_by_side_theirs_first() -> None:
    other = replace(OTHERS["wide feed-forward"], config={**OTHERS["wide feed-forward"].config, "rope_theta": 50000.0})
    facts = {one["what"]: one for one in fits(seated(HOST, other), 0)[1]["facts"]}
    assert facts["layers"] == {"what": "layers", "theirs": "4", "ours": "5", "differs": True, "hinders": False}
    size, theta, width = (facts[what] for what in ("feed-forward size", "rope theta", "width"))
    assert size == {"what": "feed-forward size", "theirs": "16", "ours": "10", "differs": True, "hinders": True}
    assert theta == {"what": "rope theta", "theirs": "50,000", "ours": "10,000", "differs": True, "hinders": True}
    assert width == {"what": "width", "theirs": "8", "ours": "8", "differs": False, "hinders": False}
    assert facts["vocabulary"]["theirs"] == "13"
    assert facts["stored as"]["ours"] == "F32"


def test_what_a_config_leaves_out_differs_from_nothing() -> None:
    other = replace(OTHERS["alike"], config={key: value for key, value in HOST.config.items() if key != "rope_theta"})
    facts = {one["what"]: one for one in fits(seated(HOST, other), 0)[1]["facts"]}
    told = {"what": "rope theta", "theirs": "not stated", "ours": "10,000", "differs": False, "hinders": False}
    assert facts["rope theta"] == told


def test_what_is_in_the_way_is_among_the_facts() -> None:
    facts = fits(seated(HOST, OTHERS["quantised"]), 0)[1]["facts"]
    assert any(one["what"] == "quantised weights" and "gptq" in one["theirs"] and one["differs"] for one in facts)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_can_be_blended_can_be_planned(kind: str) -> None:
    other = OTHERS[kind]
    deep = min(HOST.layers, other.layers)
    for ours, theirs in itertools.permutations((HOST, other)):
        parts = (Part(ours.source, (0, deep)), Part(theirs.source, (0, deep)))
        first, last = Slice((Part(ours.source, (0, 1)),)), Slice((Part(ours.source, (1, 2)),))
        recipe = Recipe("linear", (first, Slice(parts), last), ours.source, (("weight", Setting.of(0.5)),))
        why = blends(seated(ours, theirs))[0][1]
        assert (why == "") == (planned(recipe, ours, theirs) == "fits")


def test_why_sources_cannot_be_blended_is_said_for_every_two() -> None:
    guests = seated(HOST, OTHERS["alike"], OTHERS["wide feed-forward"])
    found = blends(guests)
    assert found[0] == ["", "", "Feed-forward size 16 against 10."]
    assert found[2] == ["Feed-forward size 10 against 16.", "Feed-forward size 10 against 16.", ""]


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (("self_attn.q.weight", "mlp.up.weight", "norm.weight"), {"attention": "self_attn", "feed_forward": "mlp"}),
        (("attn.c_attn.weight", "mlp.c_fc.weight"), {"attention": "attn", "feed_forward": "mlp"}),
        (
            ("attention.qkv.weight", "post_attention_norm.weight", "feed_forward.w1.weight"),
            {"attention": "attention.", "feed_forward": "feed_forward"},
        ),
        (("mixer.in.weight", "mlp.up.weight"), None),
        (("self_attn.q.weight", "fc1.weight", "fc2.weight"), None),
    ],
)
def test_kinds_are_words_of_attention_and_of_feed_forward_alone(
    stems: tuple[str, ...], expected: dict[str, str] | None
) -> None:
    shapes = {f"h.{at}.{stem}": (8, 8) for at in range(2) for stem in stems}
    model = checkpoint("model", {"wte.weight": (13, 8), **shapes, "norm.weight": (8,)})
    found = kinds(seated(model), 0)
    assert found == expected
    for kind, word in (found or {}).items():
        assert [stem for stem in stems if word in stem] == [
            stem for stem in stems if stem.startswith(word.rstrip("."))
        ], kind


def test_layers_without_attention_leave_no_word() -> None:
    shapes = {"h.0.attn.q.weight": (8, 8), "h.0.mlp.up.weight": (8, 8), "h.1.mlp.up.weight": (8, 8)}
    assert kinds(seated(checkpoint("model", {"wte.weight": (13, 8), **shapes, "norm.weight": (8,)})), 0) is None


def test_kinds_are_those_of_the_bases_family() -> None:
    shapes = {"h.0.attn.q.weight": (8, 8), "h.0.mlp.up.weight": (8, 8), "wte.weight": (13, 8), "norm.weight": (8,)}
    strange = checkpoint("strange", shapes, config={"model_type": "gpt2"})
    assert kinds(seated(HOST, strange), 0) == {"attention": "self_attn", "feed_forward": "mlp"}
    assert kinds(seated(HOST, strange), 1) == {"attention": "attn", "feed_forward": "mlp"}
    alike = checkpoint("alike", shapes)
    assert kinds(seated(HOST, alike), 0) is None


def test_sizes_add_up() -> None:
    model = checkpoint("model", dtypes={"mlp": "BF16"}, layers=3)
    found = sizes(model)
    assert found["layers"] == 3
    assert sum(found["parameters"]) + found["rest"]["parameters"] == model.parameters
    assert sum(found["bytes"]) + found["rest"]["bytes"] == model.bytes
    assert found["parameters"] == [8 + 64 + 32 + 80] * 3
    assert found["bytes"] == [4 * (8 + 64 + 32) + 2 * 80] * 3


def test_the_sample_family_fits_but_for_the_stranger() -> None:
    guests = open_guests([sample.path(name) for name in ("base", "arithmetic", "pirate", "stranger")], None)
    found = fits(guests, 0)
    assert [one["grade"] for one in found] == ["fits", "fits", "fits", "preview"]
    assert found[3]["why"].startswith("Feed-forward size 160 against 128, key/value heads 4 against 2")
    assert [bool(why) for why in blends(guests)[0]] == [False, False, False, True]
    assert kinds(guests, 0) == {"attention": "self_attn", "feed_forward": "mlp"}
