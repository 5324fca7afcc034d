"""The record of a merge: everything that went in, by its hash, and the same bytes whenever it is made."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab.errors import SourceError
from mergelab.forge.card import model_card
from mergelab.forge.digests import Digests, Unwanted, sha256_of
from mergelab.forge.merge import merge
from mergelab.forge.provenance import FILE, Hashing, as_json, content_name, files_read, inputs, read_record, record
from mergelab.forge.record_form import misfits
from mergelab.models.progress import Stopped
from mergelab.recipes import Recipe, graft, plan, stack
from mergelab.recipes.plan import Plan
from mergelab.recipes.recipe import Part, Slice, Vocabulary, numbers
from mergelab.recipes.slice_map import slice_map
from mergelab.weights import Source, open_checkpoint
from tests.models.small import TOKENS, linear, runs, small
from tests.weights.fake_hub import serve
from tests.weights.folders import pair, save_adapter

Trio = tuple[Path, Path, Path]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hashes(planned: Plan) -> dict[Source, dict[str, str]]:
    with Digests() as digests:
        return Hashing(planned, digests).result()


def recorded(planned: Plan) -> Any:
    made = record(planned, device="cpu", hashes=hashes(planned), outputs={}, proof=None)
    assert misfits(json.loads(as_json(made))) == []
    return json.loads(as_json(made))


# ------------------------------------------------------------------------------------------------ the record


def test_a_merge_writes_down_all_that_it_read_and_wrote(llamas: Trio, tmp_path: Path) -> None:
    base, a, b = llamas
    recipe = stack([(a, 0, 3), (b, 1, 5)], base=base, method="ties", coefficient=[0.1 * i for i in range(7)])
    out = merge(recipe, tmp_path / "out")
    found = read_record(out / FILE)
    assert found["files"] == {
        path.name: sha256(path) for path in sorted(out.iterdir()) if path.name not in (FILE, "README.md")
    }
    assert found["recipe"]["fingerprint"] == recipe.fingerprint == found["recipe"]["sha256"][:8]
    assert Recipe.load(found["recipe"]["yaml"]) == recipe
    assert [one["address"] for one in found["sources"]] == [str(base), str(a), str(b)]
    for one, folder in zip(found["sources"], llamas, strict=True):
        assert one["files"]["model.safetensors"] == sha256(folder / "model.safetensors")
        assert all(sha == sha256(folder / name) for name, sha in one["files"].items())
    assert "tokenizer.json" in found["sources"][0]["files"]
    assert "tokenizer.json" not in found["sources"][1]["files"]
    assert found["proof"]["holds"] is True
    assert found["model"]["device"] == "cpu"
    assert found["versions"]["torch"] == torch.__version__
    assert found["tensors"]["model.norm.weight"] == "F32 [24]"


def test_the_same_merge_gives_the_same_bytes(llamas: Trio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, folder in zip("abc", llamas, strict=True):
        shutil.copytree(folder, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    first = merge(graft("a", "b", (2, 4)), "here/out", prove=False)
    (tmp_path / "deep/down").mkdir(parents=True)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("USER", "somebody")
    again = merge(graft("a", "b", (2, 4)), "deep/down/other", prove=False)
    for name in (FILE, "README.md"):
        assert (first / name).read_bytes() == (again / name).read_bytes()
    assert str(tmp_path) not in (first / FILE).read_text() + (first / "README.md").read_text()
    assert "other" not in (again / FILE).read_text()


def test_stages_seeds_vocabularies_and_slices_are_mapped(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a", tokens=TOKENS), small(tmp_path / "b", tokens=TOKENS, seed=2)
    early = replace(
        linear(a, b), name="early", method="dare_linear", base=Source(str(a)), seed=7,
        slices=(Slice((Part(Source(str(b)), None, numbers({"weight": 0.5, "density": 0.5})),)),),
    )  # fmt: skip
    late = runs(("early", 0, 2), (a, 1, 3), ("early", 2, 3))
    recipe = replace(late, stages=(early,), vocabulary=Vocabulary(Source(str(a))))
    found = recorded(plan(recipe))
    assert found["model"]["seeds"] == {"early": 7}
    assert found["model"]["vocabulary"] == {"rows": 5, "tokenizer": str(a)}
    layers = [one for one in found["made"] if isinstance(one["place"], int)]
    assert [(one["stage"], one["place"]) for one in layers[:3]] == [("early", 0), ("early", 1), ("early", 2)]
    assert [one["from"] for one in layers[3:]] == [
        [["early", 0]], [["early", 1]], [[str(a), 1]], [[str(a), 2]], [["early", 2]]
    ]  # fmt: skip
    assert [one["place"] for one in layers[3:]] == [0, 1, 2, 3, 4]
    assert (layers[0]["base"], layers[0]["method"]) == ([str(a), 0], "dare_linear")
    assert layers[0]["numbers"]["density"] == "0.5"
    assert found["made"][0]["place"] == "model.embed_tokens.weight"
    assert found["made"][0]["from"] == [[str(b), None]]


def test_the_slice_map_has_every_layer_where_the_plan_has_it(llamas: Trio) -> None:
    base, a, b = llamas
    planned = plan(stack([(a, 2, 6), (b, 0, 3)], base=base, method="slerp", coefficient=0.5))
    found = [one for one in slice_map(planned) if isinstance(one["place"], int)]
    assert len(found) == len(planned.layers)
    for one, layer in zip(found, planned.layers, strict=True):
        assert one["from"] == [[str(home.source), home.index] for home in layer.parts]
        assert one["home"] == [str(layer.home.source), layer.home.index]


def test_what_is_outside_the_layers_is_of_the_first_and_of_the_last(llamas: Trio) -> None:
    base, a, b = llamas
    planned = plan(stack([(a, 2, 6), (b, 0, 3)], base=base, method="slerp", coefficient=0.5))
    found = [one for one in slice_map(planned) if not isinstance(one["place"], int)]
    before, after = (planned.layers[0], planned.layers[-1])
    homes = {one["place"]: (one["from"], one["home"]) for one in found}
    assert homes.keys() >= {"model.embed_tokens.weight", "model.norm.weight"}
    for name, layer in (("model.embed_tokens.weight", before), ("model.norm.weight", after)):
        parts = [[str(home.source), None] for home in layer.parts]
        assert homes[name] == (parts, [str(layer.home.source), None])
    assert homes["model.embed_tokens.weight"] != homes["model.norm.weight"]


def test_of_stages_the_methods_and_the_model_behind_are_named(llamas: Trio) -> None:
    base, a, b = llamas
    text = f"""\
name: one
merge_method: dare_ties
base_model: {a}
models:
- {{model: {b}, parameters: {{weight: 0.5, density: 0.5}}}}
---
name: two
merge_method: slerp
base_model: one
models: [{{model: one}}, {{model: {base}}}]
parameters: {{t: 0.5}}
---
name: last
merge_method: passthrough
slices:
- sources: [{{model: two, layer_range: [0, 2]}}]
- sources: [{{model: {b}, layer_range: [2, 6]}}]
"""
    found = recorded(plan(Recipe.load(text)))
    assert found["model"]["methods"] == ["dare_ties", "slerp", "passthrough"]
    assert found["model"]["config"] == str(a)
    assert found["model"]["seeds"] == {"one": 0}
    assert list(dict.fromkeys(one["stage"] for one in found["made"])) == ["one", "two", None]
    seeded = recorded(plan(Recipe.load(text.partition("---")[0])))
    assert seeded["model"]["seeds"] == {"": 0}
    card = model_card(found)
    assert "Methods: dare\\_ties, slerp and passthrough." in card
    assert f"Config and tokenizer are those of {a.name}." in card
    assert [line for line in card.splitlines() if line.startswith("Stage ")] == [
        f"Stage {name}, which is used as a model below:" for name in ("one", "two")
    ]
    assert "Stage " not in model_card(seeded)


def test_an_adapter_stands_beside_its_model(llamas: Trio, tmp_path: Path) -> None:
    change = pair("model.layers.1.self_attn.q_proj", 24, 24)
    lora = save_adapter(tmp_path / "lora", change, base_model_name_or_path="o/A")
    (lora / "README.md").write_text("---\nlicense: llama3\nbase_model: o/A\n---\n")
    adapted = Source(str(llamas[1]), None, Source(str(lora)))
    recipe = Recipe("linear", (Slice((Part(adapted, None, numbers({"weight": 1.0})),)),))
    (one,) = recorded(plan(recipe))["sources"]
    assert one["address"] == f"{llamas[1]}+{lora}"
    assert one["licences"] == []
    adapter = one["adapter"]
    assert (adapter["licences"], adapter["ancestors"], adapter["trained on"]) == (["llama3"], ["o/A"], "o/A")
    assert adapter["files"] == {
        name: sha256(lora / name) for name in ("adapter_config.json", "adapter_model.safetensors")
    }


# --------------------------------------------------------------------------------------------- what is read


def test_only_weight_files_that_are_read_are_hashed(llamas: Trio, tmp_path: Path) -> None:
    whole = merge(graft(llamas[0], llamas[1], (2, 4)), tmp_path / "whole", prove=False, shard_bytes=20_000)
    shards = sorted(path.name for path in whole.glob("*.safetensors"))
    planned = plan(runs((llamas[0], 0, 5), (whole, 5, 6)))
    files = files_read(planned)[Source(str(whole))]
    read = {planned.checkpoints[one.source].specs[one.name].file for one in inputs(planned.steps)}
    assert "model.safetensors.index.json" in files
    named = [name for name in files if name.endswith(".safetensors")]
    assert 0 < len(named) < len(shards)
    assert {*named} | {"model.safetensors"} == read
    assert files_read(plan(runs((llamas[0], 0, 6)))).keys() == {Source(str(llamas[0]))}


def test_thresholds_over_a_model_read_all_of_it(llamas: Trio) -> None:
    base, a, _ = llamas
    text = f"merge_method: ties\nbase_model: {base}\nmodels:\n- model: {a}\n  parameters: {{weight: 1, density: 0.5}}\n"
    for scope, count in (("tensor", 1), ("model", len(plan(runs((a, 0, 6))).steps))):
        first = plan(Recipe.load(f"{text}parameters: {{trim_scope: {scope}}}\n")).steps[0]
        read = list(inputs([first]))
        assert len(read) == len(dict.fromkeys(read)) == 2 * count


def test_a_file_that_changes_or_goes_while_it_is_read_is_an_error(llamas: Trio, tmp_path: Path) -> None:
    a = Path(shutil.copytree(llamas[0], tmp_path / "a"))
    planned = plan(runs((a, 0, 6)))
    weights = a / "model.safetensors"
    with pytest.raises(SourceError, match="changed while it was read"):
        sha256_of(weights, lambda _: os.utime(weights, ns=(1, 1)))
    weights.unlink()
    with Digests() as digests, pytest.raises(SourceError, match=r"file 'model.safetensors' is gone"):
        Hashing(planned, digests)


def test_hashing_stops_when_it_is_told_to(llamas: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan(runs((llamas[0], 0, 6)))
    began = threading.active_count()
    with Digests() as digests:
        slow = threading.Event()
        monkeypatch.setattr("mergelab.forge.digests.sha256_of", lambda _path, heed: slow.wait(0.1) or heed(1) or "")
        hashing = Hashing(planned, digests, lambda: True)
        with pytest.raises(Stopped):
            hashing.result()
    assert threading.active_count() == began


def test_what_was_begun_early_is_of_the_file_that_is_merged(llamas: Trio, tmp_path: Path) -> None:
    a, b = (Path(shutil.copytree(llamas[0], tmp_path / name)) for name in "ab")
    files = [folder / "model.safetensors" for folder in (a, b)]
    with Digests() as digests:
        digests.begin(files)
        early = [digests.of(path) for path in files]
        assert [one.result() for one in early] == [sha256(path) for path in files]
        shutil.copy(llamas[1] / "model.safetensors", files[0])
        found = Hashing(plan(runs((a, 0, 6))), digests).result()
        assert found[Source(str(a))]["model.safetensors"] == sha256(llamas[1] / "model.safetensors")
        assert digests.of(files[1]) is early[1], "once is enough"


def test_what_nobody_asks_for_any_more_is_left_off(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(1 << 33)
    with Digests() as digests:
        running = digests.of(large)
        digests.only([])
    with pytest.raises((CancelledError, Unwanted)):
        running.result(60)


def test_the_hubs_cache_is_believed_of_large_files_alone(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for name, known in [("a" * 64, True), ("a" * 40, False), ("A" * 64, False), ("g" * 64, False), ("a" * 65, False)]:
        (blobs / name).write_text("x")
        link = tmp_path / f"{name}.safetensors"
        link.symlink_to(blobs / name)
        assert content_name(link) == (name if known else None)
    (tmp_path / ("b" * 64)).write_text("x")
    assert content_name(tmp_path / ("b" * 64)) is None


def test_a_folder_that_looks_like_the_hubs_cache_is_read_all_the_same(llamas: Trio, tmp_path: Path) -> None:
    a = Path(shutil.copytree(llamas[0], tmp_path / "a"))
    (tmp_path / "blobs").mkdir()
    lie = tmp_path / "blobs" / ("0" * 64)
    (a / "model.safetensors").rename(lie)
    (a / "model.safetensors").symlink_to(lie)
    found = hashes(plan(runs((a, 0, 6))))
    assert found[Source(str(a))]["model.safetensors"] == sha256(lie)


ASK = """
import json, sys, torch
from pathlib import Path
from mergelab.forge.merge import merge
from mergelab.forge.verify import verify
from mergelab.recipes import Recipe
text = "merge_method: linear\\nmodels:\\n- model: org/a\\n  parameters: {weight: 0.5}\\n"
text += "- model: org/b@dev\\n  parameters: {weight: 0.5}\\n"
out = merge(Recipe.load(text), sys.argv[1], prove=False)
print(verify(out))
"""


def test_models_of_the_hub_have_their_commits_and_are_verified_at_them(tmp_path: Path) -> None:
    """In a process of its own: huggingface_hub reads its address when it is imported."""
    with serve() as hub:
        for at, name in enumerate("ab"):
            folder = small(tmp_path / name, seed=at, card="license: mit\nbase_model: org/root", tokens=TOKENS)
            other = Path(shutil.copytree(folder, tmp_path / f"{name}-dev"))
            hub.repositories[f"org/{name}"] = {"main": folder, "dev": other}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        settings = {
            "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = [sys.executable, "-c", ASK, str(tmp_path / "out")]
        told = subprocess.run(command, capture_output=True, text=True, env=kept | settings, timeout=120, check=False)
        assert told.returncode == 0, told.stderr
        commits = [hub.commit("org/a", "main"), hub.commit("org/b", "dev")]
    found = read_record(tmp_path / "out" / FILE)
    assert [one["commit"] for one in found["sources"]] == commits
    assert [one["revision"] for one in found["sources"]] == [None, "dev"]
    assert all(one["hub"] for one in found["sources"])
    for one, folder in zip(found["sources"], ("a", "b-dev"), strict=True):
        assert one["files"]["model.safetensors"] == sha256(tmp_path / folder / "model.safetensors")
    assert "base_model:\n- org/a\n- org/b\n" in (tmp_path / "out" / "README.md").read_text()
    assert told.stdout.splitlines()[0].endswith(" holds:")
    assert "every bit is the same" in told.stdout


# --------------------------------------------------------------------------------------------- as JSON


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=12,
    ).filter(lambda made: isinstance(made, dict))
)
def test_the_text_is_json_in_short_lines(made: Any) -> None:
    assert json.loads(as_json(made)) == made
    assert json.loads(as_json(made).encode(errors="surrogatepass")) == made


def test_lines_are_as_long_as_fits() -> None:
    made = {"a": {"b": [1, 2], "c": {}}, "long": ["x" * 70, "y" * 70]}
    expected = [
        "{", ' "a": {"b": [1, 2], "c": {}},', ' "long": [', f'  "{"x" * 70}",', f'  "{"y" * 70}"', " ]", "}"
    ]  # fmt: skip
    assert as_json(made).splitlines() == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda it: it.pop("made"), "made is missing"),
        (lambda it: it.update(files=[]), "files is no table"),
        (lambda it: it["files"].update(x=3), "files['x'] is 3"),
        (lambda it: it.update(sources={}), "sources is no list"),
        (lambda it: it["sources"][0].update(hub=1), "sources[0].hub is 1"),
        (lambda it: it["sources"][0].update(adapter={}), "sources[0].adapter.address is missing"),
        (lambda it: it["made"][0].update(base=["x"]), "made[0].base is no list of 2"),
        (lambda it: it["made"][0].update(base=["x", "y"]), 'made[0].base[1] is "y"'),
        (lambda it: it["model"].update(layers=True), "model.layers is true"),
        (lambda it: it.update(proof={"holds": True, "checks": [{}]}), "proof.checks[0].name is missing"),
    ],
)
def test_what_is_not_of_the_form_is_named(change: Callable[[Any], object], said: str, llamas: Trio) -> None:
    made = recorded(plan(runs((llamas[0], 0, 6))))
    change(made)
    assert misfits(made)[0] == said


def test_versions_are_those_that_are_installed(llamas: Trio) -> None:
    found = recorded(plan(runs((llamas[0], 0, 6))))["versions"]
    assert list(found) == ["python", "mergelab", "torch", "transformers", "safetensors", "tokenizers"]
    assert all(re.match(r"\d+\.\d+", one) for one in found.values())


def test_a_checkpoint_says_its_commit_and_whether_an_index_names_its_files(llamas: Trio, tmp_path: Path) -> None:
    assert open_checkpoint(llamas[0]).commit is None
    assert not open_checkpoint(llamas[0]).sharded
    assert open_checkpoint(merge(graft(*llamas[:2], (2, 4)), tmp_path / "s", prove=False, shard_bytes=20_000)).sharded
