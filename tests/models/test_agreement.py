"""Settings that only one of two configs states, and what families keep for all their layers."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from mergelab.errors import AssemblyError, FitError, MergelabError
from mergelab.forge.merge import merge
from mergelab.models import assemble
from mergelab.models.replay import Replay
from mergelab.models.verdict import check
from mergelab.models.widen import widen
from mergelab.recipes import Recipe, plan, stack
from mergelab.recipes.recipe import Part, Slice, numbers
from mergelab.weights import Source
from tests.models.families import FAMILIES, save
from tests.models.test_blocks import IDS, NOISE, logits

Two = tuple[Path, Path]

PLAIN = FAMILIES["llama"]
THETA = {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}


@pytest.fixture
def two(tmp_path: Path) -> Callable[..., Two]:
    """Two models of a family: a, and b that has ``theirs`` otherwise; of their configs the named keys are left out."""

    def saved(
        kind: str,
        ours: dict[str, Any],
        theirs: dict[str, Any],
        silent: tuple[str, ...] = (),
        mute: tuple[str, ...] = (),
    ) -> Two:
        a = save(kind, tmp_path / "a", seed=1, **ours)
        b = save(kind, tmp_path / "b", seed=2, **ours | theirs)
        for folder, keys in ((a, silent), (b, mute)):
            path = folder / "config.json"
            config = json.loads(path.read_text())
            path.write_text(json.dumps({key: value for key, value in config.items() if key not in keys}))
        return a, b

    return saved


def halves(a: Path, b: Path) -> Recipe:
    return stack([(a, 0, 3), (b, 3, 6)], base=a)


def grafted(a: Path, b: Path) -> torch.Tensor:
    """Logits of b from its fourth layer on, above what a's third gives; by transformers alone."""
    below, above = AutoModelForCausalLM.from_pretrained(a), AutoModelForCausalLM.from_pretrained(b)
    with torch.inference_mode():
        hidden = below(IDS, output_hidden_states=True).hidden_states[3]
        above.model.layers[2].register_forward_hook(lambda *_: hidden)
        return above(IDS, use_cache=False).logits


# --------------------------------------------------------------------------- what only one of two configs states


@pytest.mark.parametrize(
    ("kind", "ours", "theirs", "silent", "what"),
    [
        ("llama", THETA, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, "rope_parameters",
         "rope theta: 10,000 against 500,000"),
        ("llama", {"rms_norm_eps": 1e-2}, {"rms_norm_eps": 1e-6}, "rms_norm_eps", "norm epsilon: 1e-06 against 0.01"),
        ("llama", {"hidden_act": "gelu"}, {"hidden_act": "silu"}, "hidden_act", "activation: silu against gelu"),
        ("granite", {"residual_multiplier": 0.2}, {"residual_multiplier": 1.0}, "residual_multiplier",
         "residual_multiplier: 1 against 0.2"),
    ],
)  # fmt: skip
def test_a_setting_that_only_one_config_states(
    two: Callable[..., Two],
    tmp_path: Path,
    kind: str,
    ours: dict[str, Any],
    theirs: dict[str, Any],
    silent: str,
    what: str,
) -> None:
    a, b = two(kind, ours, theirs, mute=(silent,))
    recipe = halves(a, b)
    with assemble(recipe) as live:
        assert (logits(live.model) - grafted(a, b)).abs().max() < NOISE
        assert [f"{one.what}: {one.evidence}" for one in live.plan.apart] == [what]
    report = check(recipe)
    assert (report.works, report.runs) == (False, True)
    assert [f"{one.what}: {one.evidence}" for one in report.errors] == [what]
    for refused in (lambda: merge(recipe, tmp_path / "out"), lambda: widen(recipe)):
        with pytest.raises(FitError, match=what):
            refused()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("ours", "theirs", "silent", "mute"),
    [
        ({"sliding_window": 4}, {"sliding_window": 4096}, (), ("sliding_window",)),
        ({"sliding_window": 4096}, {"sliding_window": 4}, ("sliding_window",), ()),
    ],
)
def test_a_window_that_only_one_config_states_is_refused(
    two: Callable[..., Two],
    ours: dict[str, Any],
    theirs: dict[str, Any],
    silent: tuple[str, ...],
    mute: tuple[str, ...],
) -> None:
    a, b = two("mistral", ours, theirs, silent, mute)
    report = check(halves(a, b))
    assert not report.runs
    assert [one.what for one in report.errors] == ["sliding window"]
    with pytest.raises(FitError, match="sliding window: "):
        assemble(halves(a, b))


def test_a_window_in_use_that_only_the_guest_states_is_refused(two: Callable[..., Two]) -> None:
    plain = {"use_sliding_window": False, "sliding_window": None, "layer_types": ["full_attention"] * 6}
    using = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0, "layer_types": None}
    silent = ("use_sliding_window", "sliding_window", "layer_types", "max_window_layers")
    a, b = two("qwen2", plain, using, silent, ("layer_types",))
    assert not check(halves(a, b)).runs
    with pytest.raises(FitError, match="sliding window in use: True against False"):
        assemble(halves(a, b))


def test_what_is_left_out_and_what_states_the_default_agree(two: Callable[..., Two], tmp_path: Path) -> None:
    a, b = two("llama", {}, {}, mute=("rope_parameters", "rms_norm_eps", "hidden_act", "attention_bias", "head_dim"))
    recipe = halves(a, b)
    assert check(recipe).works
    assert widen(recipe) is recipe
    with assemble(recipe) as live:
        written = AutoModelForCausalLM.from_pretrained(merge(recipe, tmp_path / "out"))
        assert torch.equal(logits(written), logits(live.model))
        assert live.plan.apart == ()


def test_blended_models_are_warned_of_what_one_leaves_out(two: Callable[..., Two]) -> None:
    a, b = two(
        "llama", THETA, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, mute=("rope_parameters",)
    )
    parts = tuple(Part(Source.parse(str(path)), None, numbers({"weight": 0.5})) for path in (a, b))
    report = check(Recipe("linear", (Slice(parts),)))
    assert report.works
    assert [one.evidence for one in report.findings if one.what == "rope theta"] == ["10,000 against 500,000"]


# --------------------------------------------------------------------------------------------- kinds of rope

DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
LONG = {
    "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0, 1.1, 1.2], "long_factor": [2.0, 3.0, 4.0],
    "original_max_position_embeddings": 16,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"rope_parameters": DYNAMIC, "max_position_embeddings": 4}, {"max_position_embeddings": 8}),
        ({"rope_parameters": LONG, "max_position_embeddings": 32}, {"max_position_embeddings": 64}),
        ({"rope_parameters": LONG}, {"rope_parameters": LONG | {"short_factor": [1.0, 2.1, 3.2]}}),
        ({"rope_parameters": YARN | {"attention_factor": 2.0}}, {"rope_parameters": YARN}),
    ],
    ids=["dynamic", "longrope", "factors", "yarn"],
)
def test_what_rope_scales_by_is_a_layers_own(
    two: Callable[..., Two], ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    a, b = two("llama", ours, theirs)
    assert not check(halves(a, b)).works
    with assemble(halves(a, b)) as live:
        said = logits(live.model)
    assert (said - grafted(a, b)).abs().max() < NOISE
    (b / "config.json").write_text((a / "config.json").read_text())
    assert (said - grafted(a, b)).abs().max() > 100 * NOISE, "with the host's it would be seen"


# ------------------------------------------------------------------------------------------ turns and saving


def test_a_turn_that_only_changes_settings_of_layers_is_heard(two: Callable[..., Two]) -> None:
    a, b = two("llama", {}, {"rope_parameters": {"rope_type": "default", "rope_theta": 20.0}})
    weight = numbers({"weight": 0.5})

    def blend(layers: tuple[int, int] | None) -> Recipe:
        parts = tuple(Part(Source.parse(str(path)), layers, weight) for path in (b, a))
        return Recipe("linear", (Slice(parts),), base=Source.parse(str(a)))

    replay = Replay()
    with assemble(blend(None)) as live, torch.inference_mode():
        before, _ = replay.forward(live.model, IDS, IDS.shape[1])
        changes = live.turn(blend((0, 6)))
        assert changes.first == 0
        replay.changed(changes.first)
        told, _ = replay.forward(live.model, IDS, IDS.shape[1])
        assert torch.equal(told, logits(live.model))
        assert not torch.equal(told, before)
        assert live.turn(blend((0, 6))).first == 7


def test_a_model_that_no_config_holds_is_not_saved_either(two: Callable[..., Two], tmp_path: Path) -> None:
    a, b = two("llama", {}, {"intermediate_size": 56})
    with assemble(halves(a, b)) as live:
        for model in (live.model, copy.deepcopy(live.model)):
            with pytest.raises(AssemblyError, match=r"ml\.merge\(ml\.widen\(recipe\), folder\)"):
                model.save_pretrained(tmp_path / "out")
        assert not (tmp_path / "out").exists()
        live.turn(widen(halves(a, b)))
        live.model.save_pretrained(tmp_path / "out")
        assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out")), logits(live.model))


# ---------------------------------------------------------------------------------- stages, and names in words


def test_widening_reaches_stages_and_refusals_of_stages_are_said_once(two: Callable[..., Two]) -> None:
    a, b = two("llama", {}, {"intermediate_size": 56})
    first = halves(a, b).to_yaml()
    recipe = Recipe.load(f"name: first\n{first}---\nmerge_method: passthrough\nmodels: [{{model: first}}]\n")
    with pytest.raises(FitError, match=r"widen\(recipe\) does it, or widen: true in the stage") as caught:
        plan(recipe)
    assert "Assemble it and listen" not in str(caught.value)
    report = check(recipe)
    assert not report.runs
    assert len(report.errors) == 1
    wide = widen(recipe)
    assert ([stage.widen for stage in wide.stages], wide.widen) == ([True], False)
    with assemble(wide) as live, assemble(halves(a, b)) as whole:
        assert (logits(live.model) - logits(whole.model)).abs().max() < NOISE


def test_a_stage_of_layers_that_differ_in_what_one_leaves_out_is_refused(two: Callable[..., Two]) -> None:
    a, b = two(
        "llama", THETA, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, mute=("rope_parameters",)
    )
    recipe = Recipe.load(
        f"name: first\n{halves(a, b).to_yaml()}---\nmerge_method: passthrough\nmodels: [{{model: first}}]\n"
    )
    assert not check(recipe).runs
    with pytest.raises(FitError, match="stage 'first', 'b' does not fit 'a': rope theta: 10,000 against 500,000"):
        assemble(recipe)


def test_refusals_of_widening_name_models_as_check_does(two: Callable[..., Two], tmp_path: Path) -> None:
    a, b = two("llama", {}, {"rms_norm_eps": 1e-2})
    with pytest.raises(FitError, match=r"^'b' does not fit 'a': norm epsilon") as caught:
        widen(halves(a, b))
    assert str(tmp_path) not in str(caught.value)
    assert str(caught.value).endswith("or assemble the recipe unwidened and listen.")


# ------------------------------------------------------------------------- what a family keeps for all its layers


NANO = {"hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2}
BLOOM = {"vocab_size": 96, "hidden_size": 24, "n_layer": 6, "n_head": 4}
FALCON = {
    "vocab_size": 96, "hidden_size": 24, "num_hidden_layers": 6, "num_attention_heads": 4, "alibi": True,
    "new_decoder_architecture": False, "multi_query": True, "num_kv_heads": 4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "ours", "theirs", "said"),
    [
        ("bloom", BLOOM, {"n_head": 2}, "share one alibi, made for 4 heads, not 2"),
        ("falcon", FALCON, {"num_attention_heads": 2}, "share one alibi, made for 4 heads, not 2"),
        ("nanochat", PLAIN | NANO, {"rms_norm_eps": 1e-2}, "'norm' serves all layers, with a setting eps of 1e-06"),
    ],
)
def test_what_the_model_makes_for_all_layers_is_not_a_layers_own(
    kind: str, ours: dict[str, Any], theirs: dict[str, Any], said: str, two: Callable[..., Two],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(FAMILIES, kind, ours)
    a, b = two(kind, {}, theirs)
    report = check(halves(a, b))
    assert not report.runs
    assert said in str([one.evidence for one in report.errors])
    with pytest.raises(MergelabError, match=said):
        assemble(halves(a, b))


def test_layers_with_embeddings_by_their_place_stay_there(
    two: Callable[..., Two], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "head_dim": 8, "global_head_dim": 8, "hidden_size_per_layer_input": 4, "vocab_size_per_layer_input": 96,
        "num_kv_shared_layers": 0, "layer_types": ["sliding_attention", "full_attention"] * 3, "sliding_window": 4,
    }  # fmt: skip
    monkeypatch.setitem(FAMILIES, "gemma4_text", PLAIN | settings)
    a, b = two("gemma4_text", {}, {})
    with assemble(halves(a, b)) as live:
        assert logits(live.model).isfinite().all()
    moved = stack([(a, 0, 2), (a, 4, 6), (a, 2, 4)], base=a)
    assert [one.what for one in check(moved).errors] == ["embeddings per layer"] * 2
    with pytest.raises(FitError, match="layer 4 would get the embeddings of layer 2"):
        assemble(moved)
