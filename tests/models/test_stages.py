"""Recipes in stages: what a stage makes is never written down, and yet everything is as if it had been."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from mergelab.forge.merge import merge
from mergelab.models import assemble
from mergelab.recipes import Part, Recipe, Slice, numbers, plan
from mergelab.weights import Source

Trio = tuple[Path, Path, Path]
DEPTH = 6


def at(model: Path | str, start: int = 0, end: int = DEPTH, weight: float | None = None) -> Part:
    return Part(Source(str(model)), (start, end), numbers({} if weight is None else {"weight": weight}))


def linear(*parts: Part, **more: object) -> Recipe:
    return replace(Recipe("linear", (Slice(parts),)), **more)


def stack(*parts: Part, **more: object) -> Recipe:
    return replace(Recipe("passthrough", tuple(Slice((part,)) for part in parts)), **more)


def ties(base: Path | str, *parts: Part, **more: object) -> Recipe:
    recipe = Recipe("ties", (Slice((*parts, at(base))),), Source(str(base)), numbers({"density": 0.4}))
    return replace(recipe, **more)


def one_after_another(base: Path, a: Path, b: Path) -> Recipe:
    first = ties(base, at(a, weight=0.5), at(b, weight=0.7), name="first")
    second = linear(at("first", weight=0.3), at(base, weight=0.7), name="second", base=Source("first"))
    last = Recipe("slerp", (Slice((at("second"), at(a))),), Source("second"), numbers({"t": [0.0, 0.4, 1.0]}))
    return replace(last, stages=(first, second))


def rounded_to_bfloat16(base: Path, a: Path, b: Path) -> Recipe:
    first = linear(at(a, weight=0.3), at(b, weight=0.7), name="first", out_dtype="BF16")
    return ties("first", at(base, weight=0.9), stages=(first,), dtype="F32")


def deeper(base: Path, a: Path, b: Path) -> Recipe:
    first = stack(at(a, 0, 4), at(b, 2, 6), name="first")
    second = stack(at(b, 0, 3), at(a, 1, 6), name="second")
    last = linear(at("first", 0, 8, weight=0.25), at("second", 0, 8, weight=0.75), base=Source("second"))
    return replace(last, stages=(first, second))


def used_twice(base: Path, a: Path, b: Path) -> Recipe:
    first = linear(at(a, weight=0.3), at(b, weight=0.7), name="first")
    second = ties(base, at("first", weight=1.0), name="second")
    mixed = Slice((at("first", 2, 4, weight=0.5), at("second", 2, 4, weight=0.5)), method="linear")
    last = Recipe("passthrough", (Slice((at("first", 0, 4),)), mixed, Slice((at("first", 2, 6),))))
    return replace(last, stages=(first, second))


def seeds_of_their_own(base: Path, a: Path, b: Path) -> Recipe:
    def dare(part: Part, ground: Path | str, seed: int) -> Recipe:
        return replace(ties(ground, part), method="dare_linear", seed=seed)

    first = replace(dare(at(a, weight=0.8), base, 7), name="first")
    return replace(dare(at(b, weight=0.8), "first", 11), stages=(first,))


SCENES = (one_after_another, rounded_to_bfloat16, deeper, used_twice, seeds_of_their_own)


def by_folders(recipe: Recipe, root: Path) -> Path:
    """Every stage merged to a folder, and the last document over those folders."""
    known: dict[Source, Source] = {}
    for stage in (*recipe.stages, recipe):
        alone = replace(stage, stages=(), name=None).renamed(lambda source: known.get(source, source))
        folder = merge(alone, root / (stage.name or "last"))
        known[Source(stage.name or "")] = Source(str(folder))
    return folder


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_stages_equal_merging_folder_by_folder(
    scene: Callable[[Path, Path, Path], Recipe], llamas: Trio, tmp_path: Path
) -> None:
    recipe = scene(*llamas)
    expected = by_folders(recipe, tmp_path / "folders")
    out = merge(recipe, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folders", "out"], "nothing between them on disk"
    written, wanted = load_file(out / "model.safetensors"), load_file(expected / "model.safetensors")
    assert written.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert written[name].dtype == tensor.dtype
        assert torch.equal(written[name], tensor), name
    assert json.loads((out / "config.json").read_text()) == json.loads((expected / "config.json").read_text())
    with assemble(recipe) as assembly:
        live = assembly.model.state_dict()
        assert live.keys() == written.keys()
        assert all(torch.equal(live[name], tensor) for name, tensor in written.items())


def test_layers_keep_their_attention_through_stages(family: Callable[[str, int], Path], tmp_path: Path) -> None:
    a, b = family("gemma3_text", 1), family("gemma3_text", 2)
    first = stack(at(a, 1, 6), at(b, 3, 6), name="first")
    recipe = stack(at("first", 2, 8), at(b, 1, 3), stages=(first,))
    out = merge(recipe, tmp_path / "out")
    kinds = ["sliding_attention", "sliding_attention", "full_attention"] * 2
    moved = [*kinds[1:6], *kinds[3:6]]
    assert json.loads((out / "config.json").read_text())["layer_types"] == [*moved[2:8], *kinds[1:3]]
    _, report = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_a_layer_of_a_stage_that_is_used_twice_is_made_once(llamas: Trio) -> None:
    _, a, b = llamas
    first = linear(at(a, weight=0.3), at(b, weight=0.7), name="first")
    with assemble(stack(at("first", 0, 4), at("first", 2, 6), stages=(first,))) as assembly:
        layers = assembly.model.model.layers
        assert layers[2].mlp.down_proj.weight.data_ptr() == layers[4].mlp.down_proj.weight.data_ptr()
        changes = assembly.turn(stack(at("first", 1, 4), at("first", 2, 6), stages=(first,)))
        assert changes.rebuilt
        with assemble(assembly.recipe) as fresh:
            expected = fresh.model.state_dict()
            assert all(torch.equal(expected[name], one) for name, one in assembly.model.state_dict().items())


def test_a_turn_of_a_stage_redoes_what_is_made_of_it(llamas: Trio) -> None:
    base, a, b = llamas

    def recipe(weight: float, t: float) -> Recipe:
        first = Recipe("linear", (Slice((at(a, weight=weight), at(b, weight=1.0))),), name="first")
        slices = (Slice((at(base, 0, 2),)), Slice((at("first", 2, 6), at(base, 2, 6)), method="slerp",
                                                   numbers=numbers({"t": t}), base=Source(str(base))))  # fmt: skip
        return Recipe("passthrough", slices, Source(str(base)), stages=(first,))

    with assemble(recipe(0.5, 0.5)) as assembly:
        per_layer = len(assembly.plan.root.anatomy.layers[0])
        for turned in (recipe(0.25, 0.5), recipe(0.25, 0.75)):
            changes = assembly.turn(turned)
            assert (changes.redone, changes.rebuilt) == (4 * per_layer + 2, False)
            with assemble(turned) as fresh:
                expected = fresh.model.state_dict()
                assert all(torch.equal(expected[name], one) for name, one in assembly.model.state_dict().items())
        assert assembly.turn(recipe(0.25, 0.75)).redone == 0


def test_config_tokenizer_and_settings_come_from_the_donor_of_the_donor(llamas: Trio, tmp_path: Path) -> None:
    import shutil

    odd = tmp_path / "odd"
    shutil.copytree(llamas[1], odd)
    settings = json.loads((odd / "generation_config.json").read_text())
    (odd / "generation_config.json").write_text(json.dumps(settings | {"max_length": 17}))
    first = linear(at(llamas[0], weight=1.0), at(odd, weight=1.0), base=Source(str(odd)), name="first")
    recipe = ties("first", at(llamas[2], weight=1.0), stages=(first,))
    planned = plan(recipe)
    assert planned.donor.source == Source("first")
    assert planned.root.source == Source(str(odd))
    out = merge(planned, tmp_path / "out")
    assert json.loads((out / "generation_config.json").read_text())["max_length"] == 17
    assert (out / "tokenizer.json").is_file()
    with assemble(planned) as assembly:
        assert assembly.model.generation_config.max_length == 17
        assert len(assembly.say("hello", max_new_tokens=3)) > 0
