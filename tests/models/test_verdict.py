"""`check`: what will work, what will not, and why, from configs, headers, cards and a model without weights."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mergelab import sample
from mergelab.errors import FitError, RecipeError, SourceError
from mergelab.models.assembly import assemble
from mergelab.models.devices import need, pick
from mergelab.models.verdict import check
from mergelab.models.widen import widen
from mergelab.recipes.plan import plan
from mergelab.recipes.presets import graft, repeat
from mergelab.recipes.recipe import Part, Recipe, Slice
from mergelab.weights import Checkpoint, Source, open_checkpoint
from tests.models.small import SWAPPED, TOKENS, about, linear, runs, small, whats
from tests.recipes.opened import checkpoint, opened
from tests.weights import folders
from tests.weights.fake_hub import serve
from tests.weights.folders import Shapes, pair, save_adapter

LLAMA = "meta-llama/Meta-Llama-3-8B-Instruct"
CODER = "deepseek-ai/deepseek-coder-7b-instruct-v1.5"


# ------------------------------------------------------------------------------------------ what cannot work


def big(name: str, layers: int, keys: int, inner: int, vocabulary: int, **config: Any) -> Checkpoint:
    """A checkpoint of billions of weights that exists as a header only."""
    shapes: Shapes = {"model.embed_tokens.weight": (vocabulary, 4096)}
    for layer in range(layers):
        stem = f"model.layers.{layer}."
        shapes |= {stem + f"self_attn.{one}_proj.weight": (4096, 4096) for one in "qo"}
        shapes |= {stem + f"self_attn.{one}_proj.weight": (keys * 128, 4096) for one in "kv"}
        shapes |= {stem + f"mlp.{one}_proj.weight": (inner, 4096) for one in ("gate", "up")}
        shapes |= {stem + "mlp.down_proj.weight": (4096, inner)}
        shapes |= {stem + f"{one}_layernorm.weight": (4096,) for one in ("input", "post_attention")}
    shapes |= {"model.norm.weight": (4096,), "lm_head.weight": (vocabulary, 4096)}
    settings = {
        "intermediate_size": inner, "num_attention_heads": 32, "num_key_value_heads": keys,
        "vocab_size": vocabulary, "hidden_act": "silu", "tie_word_embeddings": False,
    }  # fmt: skip
    return checkpoint(name, shapes, dtype="BF16", width=4096, config=settings | config)


def test_llama_3_with_layers_of_deepseek_coder_runs_here_and_cannot_be_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    host = big(LLAMA, 32, 8, 14336, 128256, rope_theta=5e5, rms_norm_eps=1e-5, eos_token_id=128009)
    guest = big(CODER, 30, 32, 11008, 102400, rope_theta=1e4, rms_norm_eps=1e-6, eos_token_id=100015)
    text = "merge_method: passthrough\nslices:\n"
    for model, start, end in ((LLAMA, 0, 10), (CODER, 10, 22), (LLAMA, 22, 32)):
        text += f"  - sources: [{{model: {model}, layer_range: [{start}, {end}]}}]\n"
    report = check(text, opened(host, guest))
    assert report.verdict == (
        "This runs here, but no standard config can hold it. Its layers differ in feed-forward size, key/value heads, "
        "norm epsilon and rope theta; a config states each of these once for all layers."
    )
    assert (report.works, report.runs) == (False, True)
    said = str(report)
    assert "Meta-Llama-3-8B-Instruct         32      4,096  128,256  8.03 B      16.1 GB  BF16   not stated" in said
    for line in (
        "error    deepseek-coder-7b-instruct-v1.5 does not fit Meta-Llama-3-8B-Instruct",
        "         feed-forward size  11,008 against 14,336",
        "         key/value heads    32 against 8",
        "         norm epsilon       1e-06 against 1e-05",
        "         rope theta         10,000 against 500,000",
        "         -> Assemble it and listen: each layer runs with its own model's settings. Widening does not",
        "         end of text  token 100015 against 128009",
    ):
        assert line in said.splitlines(), said
    assert report.merged[0].startswith("The merged model: 32 layers, 7,841,517,568 parameters")
    with pytest.raises(FitError) as refused:
        widen(text, opened(host, guest))
    (problem,) = refused.value.problems
    assert problem.what == "\n    norm epsilon: 1e-06 against 1e-05\n    rope theta: 10,000 against 500,000\n   "
    late = check(text.replace("[10, 22]", "[22, 32]"), opened(host, guest))
    assert about(late, "layer range").evidence == "asks for layers [22, 32], it has 30"
    assert late.verdict.startswith("This cannot work. In the way: ")
    assert not late.runs


def test_a_layer_without_a_weight_that_transformers_needs_is_seen(tmp_path: Path) -> None:
    whole = open_checkpoint(small(tmp_path / "whole"))
    weights = {name: whole.tensor(name) for name in whole.specs if name != "model.norm.weight"}
    broken = folders.save(tmp_path / "broken", weights, tie_word_embeddings=False)
    report = check(runs((broken, 0, 3)))
    assert not report.works
    assert about(report, "refused").evidence == "is missing from the sources"
    assert "model.norm.weight" in about(report, "refused").about


@pytest.mark.parametrize(
    ("config", "what", "evidence"),
    [
        ({"model_type": "brand_new"}, "refused", "model_type 'brand_new' is unknown to the installed transformers"),
        ({"num_attention_heads": 0}, "refused", "transformers says ZeroDivisionError"),
        ({"hidden_act": "no_such"}, "refused", "transformers says "),
    ],
)
def test_what_transformers_refuses_is_no_crash(tmp_path: Path, config: dict, what: str, evidence: str) -> None:
    report = check(runs((small(tmp_path / "a", **config), 0, 3)))
    assert evidence in about(report, what).evidence
    assert not report.works
    assert f"({about(report, what).evidence})" in report.verdict


def test_a_problem_of_the_plan_is_a_finding(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a"), small(tmp_path / "b")
    (b / "model.safetensors").unlink()
    weights = folders.tensors({name: spec.shape for name, spec in open_checkpoint(a).specs.items()}, seed=2)
    del weights["model.layers.1.self_attn.k_proj.weight"]
    folders.save(b, weights, tie_word_embeddings=False)
    report = check(linear(a, b))
    assert "has no tensor 'model.layers.1.self_attn.k_proj.weight'" in about(report, "refused").evidence
    assert "has no tensor 'model.layers.1.self_attn.k_proj.weight'" in report.verdict


def test_a_malformed_recipe_and_lost_models_are_errors_as_everywhere(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as wrong:
        check("merge_method: linearr\nmodels: [{model: a, parameters: {weight: x}}]\nbogus: 1\n")
    assert len(wrong.value.problems) >= 2
    with pytest.raises(RecipeError, match="int is no recipe"):
        check(3)  # type: ignore[arg-type]
    with pytest.raises(SourceError) as lost:
        check(linear(tmp_path / "x", tmp_path / "y"))
    assert len(lost.value.problems) == 2


# ---------------------------------------------------------------------------------------------- what works


def test_what_works_does_assemble_and_says_what_it_costs(tmp_path: Path) -> None:
    a, b = (small(tmp_path / name, card="license: mit", tokens=TOKENS) for name in "ab")
    recipe = linear(a, b)
    report = check(recipe)
    assert report.verdict == "This will load and run."
    assert whats(report) == []
    size = open_checkpoint(a).bytes
    assert report.merged == (
        f"The merged model: 3 layers, {size // 4:,} parameters, {size / 1000:.3g} kB on disk (linear, F32).",
        "Config and tokenizer: those of a, without base_model the first model in reading order.",
        f"Memory for a live preview: {2 * size / 1000:.3g} kB of the sources, mapped from disk, and {size / 1000:.3g} "
        "kB made, beside 98.3 kB for keys and values of 1,024 tokens and 1.25 kB to work in.",
    )
    with assemble(recipe) as live:
        assert sum(one.numel() for one in live.model.parameters()) == size // 4
    assert "0 bytes made" in check(graft(a, b, (1, 2))).merged[2]
    assert "those of a, the base model" in check(linear(a, b, base=Source(str(a)))).merged[1]


def test_the_memory_of_a_live_model_is_foreseen(tmp_path: Path) -> None:
    """Tensors that are made, and those that are cast because a model has one dtype; what is mapped costs nothing."""
    a, b = small(tmp_path / "a"), small(tmp_path / "b")
    whole = open_checkpoint(a)
    folders.save(b, {name: whole.tensor(name).bfloat16() for name in whole.specs}, tie_word_embeddings=False)
    lora = save_adapter(tmp_path / "lora", pair("model.layers.1.self_attn.q_proj", 8, 8))
    adapted = open_checkpoint(f"{a}+{lora}")
    moved = Recipe("passthrough", (Slice((Part(adapted.source, (0, 3)),)),), name="first")
    for recipe in (
        graft(a, b, (1, 2)), linear(a, b), repeat(a, (1, 3)),
        repeat(adapted, (1, 3)), graft(a, adapted, (1, 2)), linear(a, str(adapted.source)),
        replace(runs(("first", 0, 2), ("first", 1, 3)), stages=(linear(a, a, name="first"),)),
        replace(runs((a, 0, 1), ("first", 1, 2), ("first", 1, 3)), stages=(moved,)),
    ):  # fmt: skip
        planned = plan(recipe)
        with assemble(planned) as live:
            mapped = {
                checkpoint.tensor(name).data_ptr() for checkpoint in planned.checkpoints.values()
                for name in checkpoint.specs if not checkpoint.adapter or name not in checkpoint.adapter.changes
            }  # fmt: skip
            own = {one.data_ptr(): one.nbytes for one in live.model.parameters() if one.data_ptr() not in mapped}
        assert need(planned, pick("cpu")).model == sum(own.values())
    changed = adapted.specs["model.layers.1.self_attn.q_proj.weight"].bytes
    needed = need(plan(replace(moved, name=None)), pick("cpu"))
    assert (needed.model, needed.sources) == (changed, adapted.bytes - changed)


def test_a_model_with_an_adapter_is_a_model(tmp_path: Path) -> None:
    folder = small(tmp_path / "a", card="license: mit")
    change = pair("model.layers.1.self_attn.q_proj", 8, 8)
    lora = save_adapter(tmp_path / "lora", change, base_model_name_or_path="org/A")
    assert about(check(linear(folder, f"{folder}+{lora}")), "licence").about == "a+lora"
    (lora / "README.md").write_text("---\nlicense: llama3\n---\n")
    report = check(linear(folder, f"{folder}+{lora}"))
    assert report.works
    assert [row[0] for row in report.sources.rows] == ["a", "a+lora"]
    assert [row[-1] for row in report.sources.rows] == ["mit", "mit + llama3"]
    assert "base of the adapter" not in whats(report)
    save_adapter(tmp_path / "lora", change, base_model_name_or_path="org/other")
    found = about(check(linear(folder, f"{folder}+{lora}")), "base of the adapter")
    assert (found.grade, found.about, found.evidence) == ("note", "a+lora", f"trained on org/other, put on {folder}")


def test_of_two_models_of_one_name_the_whole_address_is_said(tmp_path: Path) -> None:
    a, b = small(tmp_path / "x" / "model"), small(tmp_path / "y" / "model", seed=2)
    assert about(check(linear(a, b)), "licence").about == f"{a}, {b}"


@pytest.mark.parametrize("name", [name for name in sample.members() if name not in ("base", "stranger")])
def test_every_specialist_of_the_family_fits_its_base_without_a_remark(name: str) -> None:
    report = check(graft(sample.path("base"), sample.path(name), (4, 6)))
    assert (report.works, whats(report)) == (True, [])


def test_the_stranger_of_the_family_is_no_relative_and_does_not_fit() -> None:
    report = check(runs((sample.path("base"), 0, 4), (sample.path("stranger"), 4, 6), (sample.path("base"), 6, 10)))
    assert [one.what for one in report.errors] == [
        "feed-forward size", "key/value heads", "norm epsilon", "rope theta",
    ]  # fmt: skip
    assert about(report, "different ancestors").grade == "warning"
    assert "of 4,096 values of model.layers.4.self_attn.o_proj.weight" in about(report, "different ancestors").evidence
    assert about(report, "different ancestors").evidence.endswith("unrelated weights lie within ±0.062 of 0")


def test_a_recipe_in_stages_is_checked_stage_by_stage(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a"), small(tmp_path / "b", seed=2)
    c = small(tmp_path / "c", seed=3, rms_norm_eps=1e-3)
    first = linear(a, b, name="first")
    good = linear("first", b, stages=(first,))
    assert check(good).works
    bad = check(linear("first", a, stages=(linear(a, c, name="first"),)))
    assert (about(bad, "norm epsilon").grade, about(bad, "norm epsilon").about) == ("warning", "c blended into a")
    late = check(linear("first", c, stages=(first,)))
    assert late.works
    assert about(late, "norm epsilon").about == "c blended into first"
    bad = check(replace(runs(("first", 0, 1), (c, 1, 3)), stages=(first,)))
    assert not bad.works
    assert "norm epsilon" in str(bad)


def test_a_blend_runs_with_the_settings_of_its_host(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a", rope_theta=1e4), small(tmp_path / "b", seed=2, rope_theta=5e5)
    report = check(linear(a, b))
    assert (report.works, about(report, "rope theta").grade) == (True, "warning")
    assert "-> Its weights will run with the setting of a," in str(report)
    with assemble(linear(a, b)) as live:
        assert live.model.config.rope_parameters["rope_theta"] == 1e4
    assert not check(graft(a, b, (1, 2))).works


# --------------------------------------------------------------------------------------------------- the hub


ASK = """
import sys
from mergelab.models.verdict import check
for name in sys.argv[1:]:
    models = f"models: [{{model: org/a}}, {{model: org/{name}}}]"
    print(check(f"merge_method: linear\\nparameters: {{weight: 1}}\\n{models}\\n"))
    print("=====")
"""


def test_of_the_hub_only_headers_configs_and_cards_are_read(tmp_path: Path) -> None:
    """In a process of its own: huggingface_hub reads its address when it is imported."""
    shapes: Shapes = {name: spec.shape for name, spec in open_checkpoint(small(tmp_path / "x")).specs.items()}
    shapes |= {"model.embed_tokens.weight": (5000, 8), "lm_head.weight": (5000, 8)}
    with serve() as hub:
        for name, tokens in (("a", TOKENS), ("b", SWAPPED), ("c", TOKENS)):
            folder = small(tmp_path / name, tokens=tokens, card="license: mit")
            folders.save(folder, folders.tensors(shapes), vocab_size=5000, tie_word_embeddings=False)
            hub.repositories[f"org/{name}"] = {"main": folder}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        settings = {
            "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = [sys.executable, "-c", ASK, "b", "c"]
        told = subprocess.run(command, capture_output=True, text=True, env=kept | settings, timeout=120, check=False)
        assert told.returncode == 0, told.stderr
        other, same = told.stdout.split("=====\n")[:2]
        assert other.startswith("This will load and run.")
        assert "tokens  not compared: no tokenizer.json of b and a on this machine" in other
        assert "mit" in other
        assert "not compared" not in same, "the hub says that the two files are the same"
        for name in "abc":
            whole = (tmp_path / name / "model.safetensors").stat().st_size
            headers = 2 if name == "a" else 1  # each of the two reports asks anew
            assert hub.served(f"org/{name}", ".safetensors") <= headers * 101_000 < headers * whole
            assert hub.served(f"org/{name}", "tokenizer.json") == 0


def test_a_recipe_that_cannot_work_is_refused_without_loading_transformers() -> None:
    asked = (
        "import sys\nimport mergelab as ml\nbase, other = map(ml.sample.path, ('base', 'stranger'))\n"
        "print(ml.check(f'merge_method: passthrough\\nslices:\\n- sources: [{{model: {base}, layer_range: [0, 2]}}]\\n"
        "- sources: [{{model: {other}, layer_range: [7, 9]}}]\\n').runs, 'transformers' in sys.modules)\n"
    )
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=120, check=False)
    assert told.stdout == "False False\n", told.stderr
