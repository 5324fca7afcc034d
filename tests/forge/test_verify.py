"""Verify: one bit that is not what it was is found and named, wherever it lies, and nothing else is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from mergelab.errors import SourceError
from mergelab.forge.merge import merge
from mergelab.forge.obstacles import RECIPE_FILE
from mergelab.forge.provenance import FILE
from mergelab.forge.verification import Sighting
from mergelab.forge.verify import verify
from mergelab.models.progress import Progress, Stopped
from mergelab.recipes import Recipe, stack
from mergelab.recipes.recipe import Part, Slice, numbers
from mergelab.weights import Source
from mergelab.weights.header import read_header
from tests.forge.spoiling import changed, edit, flip
from tests.weights.folders import pair, save_adapter

Trio = tuple[Path, Path, Path]
TENSOR = "model.layers.2.mlp.up_proj.weight"


def test_a_merge_that_nobody_touched_holds(out: Path) -> None:
    found = verify(out)
    assert (found.holds, found.changed, found.unseen) == (True, (), ())
    assert [one.about for one in found.findings] == ["recipe", "sources", "files", "plan", "tensors"]
    count = len(json.loads((out / FILE).read_bytes())["tensors"])
    assert f"{count} of {count} made anew from the sources: every bit is the same." in str(found)
    assert str(found).splitlines()[0] == f"{out} holds:"
    (out / "README.md").write_text("The card is there to be written on.")
    edited = verify(out)
    (note,) = (one for one in edited.findings if one not in found.findings)
    assert (edited.holds, note.grade, note.about) == (True, "note", "README.md")
    assert note.said.startswith("edited since")
    assert edited.unseen == ()
    (out / "README.md").unlink()
    assert Sighting("note", "README.md", "is gone.") in verify(out).findings
    assert verify(out).holds


@pytest.mark.parametrize(("element", "bit"), [(0, 0), (71, 15), (959, 6)])
def test_a_bit_of_the_weights(out: Path, element: int, bit: int) -> None:
    with safe_open(out / "model.safetensors", framework="pt") as file:
        shape = file.get_tensor(TENSOR).shape
    flip(out / "model.safetensors", TENSOR, element, bit)
    found = verify(out)
    assert changed(found) == ["model.safetensors", f"tensor {TENSOR}"]
    place = list(divmod(element, shape[1]))
    assert found.changed[1].said.startswith(
        f"1 of {shape.numel():,} elements is not what the sources give; the first, at {place}, is "
    )
    assert not found.unseen
    assert str(found).splitlines()[0] == f"{out} has changed, or its sources have:"


def test_a_bit_of_a_sources_weights(out: Path, models: tuple[str, str, str]) -> None:
    flip(Path(models[1]) / "model.safetensors", TENSOR, 5)
    found = verify(out)
    assert changed(found) == [f"{models[1]}, model.safetensors"]
    assert "is not the file that was merged" in found.changed[0].said
    # The upper layers are of the two others: they are still made anew.
    (unseen,) = found.unseen
    total = len(json.loads((out / FILE).read_bytes())["tensors"])
    made = next(one.said for one in found.findings if one.about == "tensors" and one.grade == "same")
    left, again = int(unseen.said.split()[0]), int(made.split()[0])
    assert left + again == total
    assert 0 < again < total


def test_a_bit_of_a_base_leaves_nothing_to_make_anew(out: Path, models: tuple[str, str, str]) -> None:
    flip(Path(models[0]) / "model.safetensors", TENSOR, 5)
    found = verify(out)
    assert changed(found) == [f"{models[0]}, model.safetensors"]
    assert "tensors" not in [one.about for one in found.findings if one.grade == "same"]


def test_the_recipe(out: Path) -> None:
    edit(out / FILE, lambda found: found["recipe"].update(yaml=found["recipe"]["yaml"].replace("0.2", "0.7")))
    found = verify(out)
    assert changed(found) == [f"the recipe in {FILE}"]
    assert "(density: " in found.changed[0].said
    assert not found.unseen  # the recipe beside it is still the one that was merged
    path = out / RECIPE_FILE
    path.write_text(path.read_text().replace("0.2", "0.7"))
    found = verify(out)
    assert changed(found) == [f"the recipe in {FILE}", RECIPE_FILE]
    assert [one.about for one in found.unseen] == ["sources", "tensors"]


def test_the_recipe_beside_the_record(out: Path) -> None:
    path = out / RECIPE_FILE
    path.write_text(path.read_text().replace("0.2", "0.7"))
    assert changed(verify(out)) == [RECIPE_FILE]


@pytest.mark.parametrize("yaml", ["", "merge_method: [", "merge_method: nothing\nmodels: []\n"])
def test_a_recipe_that_is_none(out: Path, yaml: str) -> None:
    edit(out / FILE, lambda found: found["recipe"].update(yaml=yaml))
    found = verify(out)
    assert changed(found) == [f"the recipe in {FILE}"]
    assert found.changed[0].said == "cannot be read."


def test_the_config_is_named_by_what_it_says(out: Path) -> None:
    edit(out / "config.json", lambda found: found.update(rms_norm_eps=0.5))
    found = verify(out)
    assert changed(found) == ["config.json"]
    assert "(rms_norm_eps is 0.5, would be 1e-06)" in found.changed[0].said
    (out / "config.json").write_text("{")
    assert verify(out).changed[0].said.endswith("; it is not JSON any more.")


def test_the_tokenizer(out: Path) -> None:
    path = out / "tokenizer.json"
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)
    assert changed(verify(out)) == ["tokenizer.json"]


def test_files_that_went_and_files_that_came(out: Path) -> None:
    (out / "generation_config.json").unlink()
    (out / "chat_template.jinja").write_text("{{ messages }}")
    (out / "LICENSE").write_text("Everybody may.")
    (out / ".git").mkdir()
    (out / ".git" / "config").write_text("")
    for folder, names in (("additional_chat_templates", "t"), ("custom_generate", "abcd")):
        (out / folder / "deep").mkdir(parents=True)
        for name in names:
            (out / folder / "deep" / f"{name}.jinja").write_text("x")
    (out / "link").symlink_to(out.parent / "x")
    found = verify(out)
    assert changed(found) == [
        "generation_config.json", "additional_chat_templates/deep/t.jinja", "chat_template.jinja",
        "custom_generate/", "link",
    ]  # fmt: skip
    assert [one.about for one in found.findings if one.grade == "note"] == [".git/config", "LICENSE"]
    assert "has 4 files" in found.changed[3].said
    assert "custom_generate/deep/a.jinja" in found.changed[3].said
    assert found.changed[3].said.endswith("c.jinja ....")


def test_tensors_that_went_came_or_grew(out: Path) -> None:
    path = out / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no dict
    gone = tensors.pop("model.norm.weight")
    tensors["model.layers.9.norm.weight"] = gone
    tensors[TENSOR] = tensors[TENSOR].float()
    save_file(tensors, path)
    found = verify(out)
    assert changed(found) == [
        "model.safetensors", f"tensor {TENSOR}", "tensor model.norm.weight", "tensor model.layers.9.norm.weight"
    ]  # fmt: skip
    assert [one.said for one in found.changed[1:]] == [
        'is "F32 [40, 24]", was "BF16 [40, 24]".', 'is absent, was "BF16 [24]".', 'is "BF16 [24]", was absent.'
    ]  # fmt: skip


def test_a_weight_file_that_is_cut_short(out: Path) -> None:
    path = out / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    found = verify(out)
    assert changed(found) == ["model.safetensors", "weight files", "tensors"], "not each of them"
    assert "model.safetensors cannot be read" in found.changed[1].said
    count = len(json.loads((out / "mergelab.json").read_bytes())["tensors"])
    assert found.changed[2].said.startswith(f"{count} cannot be read, ")


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("model", lambda it: it.update(layers=9), "layers is 9, would be 7"),
        ("made", lambda it: it[1].update(method="slerp"), '[1].method is "slerp", would be "ties"'),
        ("made", lambda it: it[1]["numbers"].update(density="0.9"), 'numbers.density is "0.9", would be "0"'),
        ("licence", lambda it: it.update(line={"licence": "mit", "name": None, "link": None}), "line is "),
    ],
)
def test_what_the_record_says_of_the_merge(out: Path, part: str, change: Callable[[Any], object], said: str) -> None:
    edit(out / FILE, lambda found: change(found[part]))
    found = verify(out)
    assert changed(found) == [f"{part} in {FILE}"]
    assert said in found.changed[0].said


def test_a_tensor_that_the_record_does_not_know(out: Path) -> None:
    edit(out / FILE, lambda found: found["tensors"].pop(TENSOR))
    assert changed(verify(out)) == [f"tensor {TENSOR}", f"tensors in {FILE}"]


def test_a_card_that_says_something_else_now(out: Path, models: tuple[str, str, str]) -> None:
    (Path(models[2]) / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    found = verify(out)
    assert changed(found) == [f"licence in {FILE}", f"the card of {models[2]}"]
    assert found.changed[1].said == 'licences[0] was absent, is "cc-by-nc-4.0".'


def test_a_source_that_is_gone(out: Path, models: tuple[str, str, str]) -> None:
    shutil.rmtree(models[1])
    found = verify(out)
    assert found.holds
    assert [one.about for one in found.unseen] == [str(models[1]), "tensors"]
    assert str(found).splitlines()[0] == f"{out} holds but for its tensors, none of which was made anew:"
    flip(out / "model.safetensors", TENSOR, 3)
    assert changed(verify(out)) == ["model.safetensors"]


def test_a_file_of_a_source_that_is_gone(out: Path, models: tuple[str, str, str]) -> None:
    (Path(models[0]) / "tokenizer.json").unlink()
    found = verify(out)
    assert found.holds
    assert found.unseen[0] == Sighting("unseen", f"{models[0]}, tokenizer.json", "is gone.")
    assert "2 of 3 have the files that were merged." in str(found)


def test_a_source_that_does_not_fit_any_more(out: Path, models: tuple[str, str, str]) -> None:
    edit(Path(models[1]) / "config.json", lambda found: found.update(model_type="unheard"))
    found = verify(out)
    assert changed(found) == [f"{models[1]}, config.json"]
    assert [one.about for one in found.unseen] == ["the plan", "tensors"]


def test_another_device_is_no_proof(out: Path) -> None:
    edit(out / FILE, lambda found: found["model"].update(device="xpu"))
    found = verify(out)
    assert found.holds
    total = len(json.loads((out / FILE).read_bytes())["tensors"])
    (unseen,) = found.unseen
    expected = f"{total} of {total} not made anew: they were computed on xpu, which is not here, and bits depend on it."
    assert unseen.said == expected
    assert "holds but for its tensors" in str(found).splitlines()[0]


def test_copies_need_no_device(models: tuple[str, str, str], tmp_path: Path) -> None:
    base, a, _ = models
    recipe = stack([(base, 0, 2), (a, 2, 6)], base=base)
    out = merge(recipe, tmp_path / "copies", prove=False)
    edit(out / FILE, lambda found: found["model"].update(device="xpu"))
    found = verify(out)
    assert (found.holds, found.unseen) == (True, ())
    flip(out / "model.safetensors", TENSOR, 3)
    assert changed(verify(out)) == ["model.safetensors", f"tensor {TENSOR}"]


def test_what_an_adapter_changes_is_no_copy(models: tuple[str, str, str], tmp_path: Path) -> None:
    module = "model.layers.1.self_attn.q_proj"
    lora = save_adapter(tmp_path / "lora", pair(module, 24, 24), base_model_name_or_path="org/A")
    recipe = Recipe("passthrough", (Slice((Part(Source(str(models[1]), None, Source(str(lora)))),)),))
    out = merge(recipe, tmp_path / "out", prove=False)
    edit(out / FILE, lambda found: found["model"].update(device="xpu"))
    found = verify(out)
    total = len(json.loads((out / FILE).read_bytes())["tensors"])
    (unseen,) = found.unseen
    assert unseen.said.startswith(f"1 of {total} not made anew: they were computed on xpu")
    assert f"{total - 1} of {total} made anew from the sources: every bit is the same." in str(found)


def test_other_versions_are_said_where_tensors_differ(out: Path) -> None:
    edit(out / FILE, lambda found: found["versions"].update(torch="1.0"))
    assert verify(out).unseen == ()
    flip(out / "model.safetensors", TENSOR, 3)
    (unseen,) = verify(out).unseen
    assert unseen.said.startswith('torch was "1.0", is "')


@pytest.mark.parametrize("spoilt", ["adapter_model.safetensors", "adapter_config.json"])
def test_an_adapter(spoilt: str, models: tuple[str, str, str], tmp_path: Path) -> None:
    base, a, _ = models
    module = "model.layers.1.self_attn.q_proj"
    lora = save_adapter(tmp_path / "lora", pair(module, 24, 24), base_model_name_or_path="org/A")
    adapted = Source(str(a), None, Source(str(lora)))
    parts = (Part(Source(str(base)), None, numbers({"weight": 0.5})), Part(adapted, None, numbers({"weight": 0.5})))
    out = merge(Recipe("linear", (Slice(parts),)), tmp_path / "out", prove=False)
    assert verify(out).unseen == verify(out).changed == ()
    path = lora / spoilt
    if spoilt.endswith(".json"):
        edit(path, lambda found: found.update(lora_dropout=0.5))
    else:
        flip(path, next(iter(read_header(path)[0])), 1)
    found = verify(out)
    assert changed(found) == [f"{lora}, {spoilt}"]
    assert [one.grade for one in found.findings if one.about == "tensors"] == ["unseen"]


def test_a_merge_in_stages(models: tuple[str, str, str], tmp_path: Path) -> None:
    base, a, b = models
    text = f"""\
name: early
merge_method: linear
models:
- model: {a}
  parameters: {{weight: 0.3}}
- model: {b}
  parameters: {{weight: 0.7}}
---
merge_method: slerp
base_model: {base}
models:
- model: {base}
- model: early
parameters: {{t: 0.4}}
"""
    out = merge(Recipe.load(text), tmp_path / "out", prove=False)
    found = verify(out)
    assert (found.holds, found.unseen) == (True, ())
    assert {one["stage"] for one in json.loads((out / FILE).read_bytes())["made"]} == {"early", None}
    flip(Path(b) / "model.safetensors", TENSOR, 5)
    assert changed(verify(out)) == [f"{b}, model.safetensors"]


def test_some_tensors_stand_for_all_where_that_is_asked(out: Path) -> None:
    found = verify(out, tensors=3)
    assert next(one.said for one in found.findings if one.about == "tensors").startswith("3 of ")
    assert "tensors" not in [one.about for one in verify(out, tensors=0).findings]


def test_progress_reaches_its_end_and_stop_ends_it(out: Path) -> None:
    seen: list[Progress] = []
    verify(out, progress=seen.append)
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    assert {one.stage for one in seen} == {"verifying"}
    assert (seen[-1].done, seen[-1].tensors) == (seen[-1].total, seen[-1].of)
    for much in (0, len(seen) // 2, len(seen) - 1):
        heard: list[Progress] = []

        def stop(heard: list[Progress] = heard, much: int = much) -> bool:
            return len(heard) >= much

        with pytest.raises(Stopped):
            verify(out, progress=heard.append, stop=stop)
        assert len(heard) <= much + 1


def test_folders_that_tell_nothing_are_refused(out: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is no folder"):
        verify(tmp_path / "nowhere")
    kept = (out / FILE).read_text()
    (out / FILE).unlink()
    with pytest.raises(SourceError, match=r"has no mergelab\.json"):
        verify(out)
    for text, said in [
        ("{", "it is not JSON"), ("[]", "all of it is no table"), ("{}", "format is missing"),
        (kept[: len(kept) // 2], "it is not JSON"), ('{"format": 2}', "has the format 2, this mergelab knows 1"),
        (kept.replace('"tensors"', '"tensions"'), "is damaged: tensors is missing"),
        (kept.replace('"hub": false', '"hub": 0'), r"sources\[0\]\.hub is 0 \(3 such\)"),
        (kept.replace('"layers": 7', '"layers": true'), "model.layers is true"),
    ]:  # fmt: skip
        (out / FILE).write_text(text)
        with pytest.raises(SourceError, match=said):
            verify(out)


def test_a_sighting_is_a_line() -> None:
    assert str(Sighting("same", "files", "8 of 8.")) == "same     files: 8 of 8."
