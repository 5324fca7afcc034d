"""The stream: the same tensors however files are cut, little memory, and an end at any moment that leaves no thread."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mergelab.errors import AssemblyError, SourceError
from mergelab.forge import making
from mergelab.forge.merge import merge
from mergelab.forge.rehearsal import as_its_donor, rehearsed
from mergelab.methods import apply, fused, get
from mergelab.models.progress import Progress, Stopped
from mergelab.recipes import Recipe, graft, plan, repeat, stack
from mergelab.weights.header import read_header
from mergelab.weights.shards import ShardWriter

Trio = tuple[Path, Path, Path]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


@pytest.fixture
def recipe_of_three(llamas: Trio, tmp_path: Path) -> Path:
    lines = ["merge_method: linear", "models:"]
    lines += [
        f"- {{model: {path}, parameters: {{weight: {weight}}}}}"
        for path, weight in zip(llamas, (0.5, 0.3, 0.4), strict=True)
    ]
    path = tmp_path / "three.yml"
    path.write_text("\n".join([*lines, "dtype: float32"]) + "\n")
    return path


@pytest.mark.parametrize("shard_bytes", [1, 3000, 20_000])
def test_files_of_any_size_hold_the_same_tensors(shard_bytes: int, recipe_of_three: Path, tmp_path: Path) -> None:
    whole = tensors(merge(recipe_of_three, tmp_path / "whole", prove=False))
    out = merge(recipe_of_three, tmp_path / "parts", shard_bytes=shard_bytes, prove=False)
    parts = tensors(out)
    assert len(list(out.glob("*.safetensors"))) > 3
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


def test_a_step_of_three_files_is_what_the_method_makes_of_them(
    recipe_of_three: Path, llamas: Trio, tmp_path: Path
) -> None:
    written = tensors(merge(recipe_of_three, tmp_path / "out", prove=False))
    stored = [load_file(path / "model.safetensors") for path in llamas]
    for name, tensor in written.items():
        models = [one[name] for one in stored]
        made = apply(get("linear"), models, None, {"weight": (0.5, 0.3, 0.4)}, dtype=torch.float32, name=name)
        assert torch.equal(tensor, made), name


@pytest.mark.parametrize("method", ["passthrough", "linear"])
def test_memory_that_is_used_again_is_not_written_over_too_early(
    method: str, recipe_of_three: Path, llamas: Trio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of_three if method == "linear" else graft(llamas[0], llamas[1], (2, 4))
    expected = tensors(merge(recipe, tmp_path / "plain", prove=False))
    monkeypatch.setattr("mergelab.forge.buffers._SMALL", 1)
    monkeypatch.setattr("mergelab.forge.stream._PIECE", 96)  # so that copies pass in many pieces
    put = ShardWriter.append

    def late(self: ShardWriter, content: memoryview) -> None:
        time.sleep(0.001)
        put(self, content)

    monkeypatch.setattr(ShardWriter, "append", late)
    found = tensors(merge(recipe, tmp_path / "again", prove=False))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_data_is_laid_out_as_safetensors_lays_it(llamas: Trio, tmp_path: Path) -> None:
    out = merge(graft(llamas[0], llamas[1], (2, 4)), tmp_path / "out", prove=False) / "model.safetensors"
    save_file(load_file(out), tmp_path / "theirs.safetensors")
    ours, theirs = (path.read_bytes() for path in (out, tmp_path / "theirs.safetensors"))
    ends = [8 + int.from_bytes(content[:8], "little") for content in (ours, theirs)]
    assert ours[ends[0] :] == theirs[ends[1] :]
    assert list(read_header(out)[0]) == list(read_header(tmp_path / "theirs.safetensors")[0])
    assert ends[0] % 8 == 0
    with safe_open(out, "pt") as file:
        assert file.metadata() == {"format": "pt", "mergelab": graft(llamas[0], llamas[1], (2, 4)).fingerprint}


@pytest.mark.parametrize("error", [Stopped, KeyboardInterrupt])
def test_an_end_at_any_tensor_leaves_no_thread_and_no_folder(
    error: type[BaseException], recipe_of_three: Path, llamas: Trio, tmp_path: Path
) -> None:
    count = len(plan(recipe_of_three).steps)
    for at in random.Random(7).sample(range(count), 6):
        asked: list[Progress] = []

        def tell(now: Progress, at: int = at, asked: list[Progress] = asked) -> None:
            asked.append(now)
            if error is KeyboardInterrupt and now.tensors == at:
                raise KeyboardInterrupt

        def stop(at: int = at, asked: list[Progress] = asked) -> bool:
            return error is Stopped and bool(asked) and asked[-1].tensors >= at

        with pytest.raises(error):
            merge(recipe_of_three, tmp_path / "out", progress=tell, stop=stop, prove=False)
        assert [
            one.name for one in threading.enumerate() if one.name.startswith(("mergelab-a", "mergelab-b", "hash"))
        ] == []
        assert sorted(path.name for path in tmp_path.iterdir()) == ["three.yml"]


def test_a_file_that_is_cut_short_midway_is_an_error_and_no_crash(
    llamas: Trio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapped file would end the process with SIGBUS."""
    import shutil

    from mergelab.weights.files import Mapped

    copy = tmp_path / "model"
    shutil.copytree(llamas[1], copy)
    planned = plan(graft(llamas[0], copy, (2, 4)))
    monkeypatch.setattr(Mapped, "see", lambda *_: None)  # as if it were cut between the look and the reading
    monkeypatch.setattr("mergelab.forge.merge.Place.check", lambda *_, **__: None)
    with (copy / "model.safetensors").open("r+b") as file:
        file.truncate(2000)
    with pytest.raises(SourceError, match=r"ends within tensor .* cut short"):
        merge(planned, tmp_path / "out", prove=False)


# ------------------------------------------------------------------------------------------ without transformers


def test_what_has_the_donors_tensors_is_settled_without_transformers(recipe_of_three: Path) -> None:
    planned = plan(recipe_of_three)
    mine, theirs = as_its_donor(planned), rehearsed(planned)
    assert mine is not None
    from transformers import AutoConfig

    one, other = (AutoConfig.for_model(**table).to_dict() for table in (mine.config, theirs.config))
    assert one == other


def test_another_depth_or_order_is_for_transformers_to_judge(llamas: Trio, tmp_path: Path) -> None:
    assert as_its_donor(plan(repeat(llamas[0], (1, 3)))) is None
    assert as_its_donor(plan(stack([(llamas[0], 3, 6), (llamas[0], 0, 3)], base=llamas[0]))) is None
    assert as_its_donor(plan(graft(llamas[0], llamas[1], (2, 4)))) is not None


@pytest.mark.parametrize(
    ("settings", "asks"),
    [
        ({"eos_token_id": [1, 2], "do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20}, False),
        ({"cache_implementation": "nowhere"}, True),
        ({"eos_token_id": "x"}, True),
        ([], True),
    ],
)
def test_generation_settings_that_transformers_might_refuse_are_asked_about(
    settings: object, asks: bool, llamas: Trio, tmp_path: Path
) -> None:
    import shutil

    copy = tmp_path / "model"
    shutil.copytree(llamas[0], copy)
    (copy / "generation_config.json").write_text(json.dumps(settings))
    found = as_its_donor(plan(graft(copy, llamas[1], (2, 4))))
    assert (found is None) == asks
    assert found is None or found.generation == settings


# -------------------------------------------------------------------------------------------------- without torch

_LOADED = """
import sys
from mergelab.cli import main
code = main(sys.argv[1:])
print([name for name in ("torch", "transformers", "numpy", "jaxtyping", "huggingface_hub") if name in sys.modules])
sys.exit(code)
"""


def loaded(recipe: str, tmp_path: Path, *options: str) -> str:
    """Which large libraries a process of the command has loaded at its end."""
    (tmp_path / "recipe.yml").write_text(recipe)
    words = ["merge", str(tmp_path / "recipe.yml"), str(tmp_path / "alone"), "--no-prove", *options]
    ran = subprocess.run([sys.executable, "-c", _LOADED, *words], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()[-1]


def test_a_merge_that_only_copies_loads_no_torch_and_writes_the_same_bytes(llamas: Trio, tmp_path: Path) -> None:
    recipe = graft(llamas[0], llamas[1], (2, 4)).to_yaml()
    assert loaded(recipe, tmp_path, "--shard-size", "20000") == "[]"
    merge(Recipe.load(recipe), tmp_path / "here", shard_bytes=20_000, prove=False, device=torch.device("cpu"))
    alone, here = (
        {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
        for out in (tmp_path / "alone", tmp_path / "here")
    )
    assert alone == here
    assert len([name for name in here if name.endswith(".safetensors")]) > 1
    assert json.loads(here["mergelab.json"])["model"]["device"] == "cpu"


def test_a_device_that_has_to_be_looked_for_is(llamas: Trio, tmp_path: Path) -> None:
    assert "'torch'" in loaded(graft(llamas[0], llamas[1], (2, 4)).to_yaml(), tmp_path, "--device", "auto")


def test_what_is_computed_loads_torch_alone(recipe_of_three: Path, tmp_path: Path) -> None:
    found = loaded(recipe_of_three.read_text(), tmp_path)
    assert "'torch'" in found
    assert "'transformers'" not in found


@pytest.mark.parametrize("large", [True, False])
def test_what_is_large_waits_for_its_loops(
    large: bool, recipe_of_three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And can be stopped meanwhile."""
    waited: list[Callable[[], object]] = []
    stopping = False
    monkeypatch.setattr(fused, "awaited", waited.append)
    planned = plan(Recipe.load(recipe_of_three))
    monkeypatch.setattr(making, "_LARGE", planned.bytes + (not large))
    merge(planned, tmp_path / "out", prove=False, stop=lambda: stopping)
    assert len(waited) == large
    stopping = True
    for heed in waited:
        with pytest.raises(Stopped):
            heed()


def test_a_device_that_is_not_here_is_refused_also_for_copies(llamas: Trio, tmp_path: Path) -> None:
    with pytest.raises(AssemblyError, match=r"'cuda:99' cannot be used here"):
        merge(graft(llamas[0], llamas[1], (2, 4)), tmp_path / "out", device="cuda:99")


# ------------------------------------------------------------------------------------------------------- memory

_PEAK = """
import resource, sys
import mergelab.forge.merge as forge
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
forge.merge(sys.argv[1], sys.argv[2], prove=False)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(("method", "layers"), [("passthrough", 16), ("linear", 24)])
def test_memory_does_not_grow_with_the_model(method: str, layers: int, llamas: Trio, tmp_path: Path) -> None:
    """Weights of some hundred MB, 2 MB the widest tensor: who holds them all, or maps them and holds on, is seen."""
    config = json.loads((llamas[0] / "config.json").read_text())
    config |= {
        "hidden_size": 1024,
        "intermediate_size": 1024,
        "num_hidden_layers": layers,
        "vocab_size": 64,
        "dtype": "bfloat16",
    }
    config |= {"num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 64}
    source = tmp_path / "model"
    source.mkdir()
    (source / "config.json").write_text(json.dumps(config))
    matrix = torch.zeros(1024, 1024, dtype=torch.bfloat16)
    parts = {f"self_attn.{one}_proj": matrix for one in "qkvo"} | {
        f"mlp.{one}_proj": matrix for one in ("gate", "up", "down")
    }
    parts |= {"input_layernorm": matrix[0], "post_attention_layernorm": matrix[0]}
    held = {
        f"model.layers.{layer}.{part}.weight": one.clone() for layer in range(layers) for part, one in parts.items()
    }
    held |= {
        "model.embed_tokens.weight": matrix[:64].clone(),
        "lm_head.weight": matrix[:64].clone(),
        "model.norm.weight": matrix[0].clone(),
    }
    save_file(held, source / "model.safetensors")
    whole = sum(one.nbytes for one in held.values())
    del held
    lines = [f"merge_method: {method}", "models:", f"- {{model: {source}, parameters: {{weight: 0.5}}}}"]
    lines += [f"- {{model: {source}, parameters: {{weight: 0.25}}}}"] * (method == "linear")
    if method == "passthrough":
        lines[2] = f"- model: {source}"
    (tmp_path / "recipe.yml").write_text("\n".join([*lines, "dtype: bfloat16"]) + "\n")
    ran = subprocess.run(
        [sys.executable, "-c", _PEAK, tmp_path / "recipe.yml", tmp_path / "out"], check=True, capture_output=True
    )
    grown = int(ran.stdout.split()[-1]) << 20
    assert grown < whole * (0.5 if method == "passthrough" else 0.7), (grown, whole)
