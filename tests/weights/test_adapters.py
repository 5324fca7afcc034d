"""Adapters: W + s B A, lazily, rounded once; whole tensors, biases, embeddings, names, tokenizers."""

from __future__ import annotations

import gc
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mergelab.weights import Source, adapters, open_checkpoint
from tests.weights import folders
from tests.weights.folders import DOWN, KEY, KEYS, QUERY, VOCABULARY, WIDTH, opened, pair, tensors

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def near(found: torch.Tensor, exact: torch.Tensor) -> None:
    """``found`` is ``exact`` (float64) rounded once: off by half a unit in the last place, and float32's own error."""
    assert exact.dtype == torch.float64
    slack = 1e-13 if found.dtype == torch.float64 else 3e-5
    assert ((found.double() - exact).abs() <= exact.abs() * torch.finfo(found.dtype).eps / 2 + slack).all()


def product(adapter: Mapping[str, torch.Tensor], module: str) -> torch.Tensor:
    """B A of a module, in float64, value by value."""
    a, b = (adapter[f"{module}.lora_{side}.weight"].double() for side in "AB")
    return torch.stack([torch.stack([(row * column).sum() for column in a.T]) for row in b])


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rank=st.integers(1, 5),
    alpha=st.sampled_from([1, 3, 16, 0.5, -2]),
    stabilised=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    thin=st.sampled_from(DTYPES[:3]),
    seed=st.integers(0, 9),
)
def test_a_pair_is_folded_in_and_rounded_once(
    tmp_path_factory: pytest.TempPathFactory,
    rank: int,
    alpha: float,
    stabilised: bool,
    dtype: torch.dtype,
    thin: torch.dtype,
    seed: int,
) -> None:
    base = tensors(folders.shapes(), seed=seed, dtype=dtype)
    adapter = pair(KEY, KEYS, WIDTH, rank=rank, seed=seed + 1, dtype=thin)
    adapter |= pair(DOWN, WIDTH, folders.INNER, rank=rank, seed=seed + 2, dtype=thin)
    model = opened(tmp_path_factory.mktemp("m"), adapter, base, r=rank, lora_alpha=alpha, use_rslora=stabilised)
    scale = alpha / (math.sqrt(rank) if stabilised else rank)
    for module in (KEY, DOWN):
        name = f"{module}.weight"
        found = model.tensor(name)
        assert found.dtype == dtype
        assert not torch.equal(found, base[name])
        near(found, base[name].double() + scale * product(adapter, module))
    for name in base.keys() - {f"{KEY}.weight", f"{DOWN}.weight"}:
        assert torch.equal(model.tensor(name), base[name])
    assert {name: spec.shape for name, spec in model.specs.items()} == folders.shapes()


def test_folding_changes_neither_base_nor_adapter(tmp_path: Path) -> None:
    model = opened(tmp_path, pair(QUERY, WIDTH, WIDTH))
    assert model.adapter
    alone = open_checkpoint(tmp_path / "base")
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*.*"))}
    stored = alone.tensor(f"{QUERY}.weight").clone()
    assert not torch.equal(model.tensor(f"{QUERY}.weight"), stored)
    assert torch.equal(alone.tensor(f"{QUERY}.weight"), stored)
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*.*"))} == before


def test_a_module_may_have_a_rank_and_an_alpha_of_its_own(tmp_path: Path) -> None:
    adapter = pair(QUERY, WIDTH, WIDTH, rank=2) | pair(KEY, KEYS, WIDTH, rank=3) | pair(DOWN, WIDTH, 10, rank=1)
    base = tensors(folders.shapes())
    model = opened(
        tmp_path, adapter, base, r=2, lora_alpha=6,
        rank_pattern={"k_proj": 3, r"layers\.1\.mlp\.down_proj": 1, "proj": 9}, alpha_pattern={"x": 1, "k_proj": 12},
    )  # fmt: skip
    for module, scale in ((QUERY, 6 / 2), (KEY, 12 / 3), (DOWN, 6 / 1)):
        near(model.tensor(f"{module}.weight"), base[f"{module}.weight"].double() + scale * product(adapter, module))


def test_whole_tensors_stand_in_for_the_bases(tmp_path: Path) -> None:
    whole = {"lm_head.weight": torch.ones(VOCABULARY, WIDTH), "model.norm.weight": torch.full((WIDTH,), 1 + 2**-12)}
    model = opened(tmp_path, whole, tensors(folders.shapes(), dtype=torch.bfloat16))
    assert torch.equal(model.tensor("lm_head.weight"), torch.ones(VOCABULARY, WIDTH, dtype=torch.bfloat16))
    assert torch.equal(model.tensor("model.norm.weight"), torch.ones(WIDTH, dtype=torch.bfloat16))


def test_a_whole_tensor_may_have_a_pair_on_top(tmp_path: Path) -> None:
    adapter = pair(QUERY, WIDTH, WIDTH) | {f"{QUERY}.base_layer.weight": torch.full((WIDTH, WIDTH), 0.25)}
    found = opened(tmp_path, adapter).tensor(f"{QUERY}.weight")
    near(found, 0.25 + 3 * product(adapter, QUERY))


def test_biases_are_replaced_or_shifted(tmp_path: Path) -> None:
    named = folders.shapes() | {f"{QUERY}.bias": (WIDTH,), f"{KEY}.bias": (KEYS,), f"{DOWN}.bias": (WIDTH,)}
    base = tensors(named)
    shift, new = torch.linspace(-1, 1, WIDTH), torch.linspace(-1, 1, KEYS)
    adapter = pair(QUERY, WIDTH, WIDTH) | pair(KEY, KEYS, WIDTH)
    adapter |= {f"{QUERY}.lora_B.bias": shift, f"{KEY}.base_layer.bias": new, f"{DOWN}.bias": shift.clone()}
    model = opened(tmp_path, adapter, base, bias="all", lora_bias=True)
    near(model.tensor(f"{QUERY}.bias"), base[f"{QUERY}.bias"].double() + 3 * shift.double())
    assert torch.equal(model.tensor(f"{KEY}.bias"), new)
    assert torch.equal(model.tensor(f"{DOWN}.bias"), shift)


@pytest.mark.parametrize("vocabulary", [VOCABULARY, WIDTH])
def test_an_embeddings_pair_is_turned(tmp_path: Path, vocabulary: int) -> None:
    base = tensors(folders.shapes(vocabulary=vocabulary))
    a, b = tensors({"a": (2, vocabulary), "b": (WIDTH, 2)}, seed=5).values()
    adapter = {"model.embed_tokens.lora_embedding_A": a, "model.embed_tokens.lora_embedding_B": b}
    found = opened(tmp_path, adapter, base).tensor("model.embed_tokens.weight")
    near(found, base["model.embed_tokens.weight"].double() + 3 * (b.double() @ a.double()).T)


def gpt(*, bias: bool = True) -> folders.Shapes:
    """A GPT-2, whose matrices are stored as (in, out)."""
    named: folders.Shapes = {"transformer.wte.weight": (VOCABULARY, WIDTH)}
    for layer in range(2):
        stem = f"transformer.h.{layer}."
        named |= {f"{stem}attn.c_proj.weight": (WIDTH, WIDTH), f"{stem}attn.c_attn.weight": (WIDTH, 3 * WIDTH)}
        named |= {f"{stem}attn.c_attn.bias": (3 * WIDTH,), f"{stem}attn.c_proj.bias": (WIDTH,)} if bias else {}
    return named | {"transformer.ln_f.weight": (WIDTH,)}


@pytest.mark.parametrize("told", [True, False, None])
def test_matrices_stored_as_in_and_out_are_known_by_their_shapes(tmp_path: Path, told: bool | None) -> None:
    base, square = tensors(gpt()), "transformer.h.1.attn.c_proj"
    adapter = pair(square, WIDTH, WIDTH) | pair("transformer.h.0.attn.c_attn", 3 * WIDTH, WIDTH)
    model = opened(tmp_path, adapter, base, fan_in_fan_out=told)
    for module in (square, "transformer.h.0.attn.c_attn"):
        near(model.tensor(f"{module}.weight"), base[f"{module}.weight"].double() + 3 * product(adapter, module).T)


@pytest.mark.parametrize("told", [True, False])
def test_where_no_bias_tells_the_adapters_word_is_taken(tmp_path: Path, told: bool) -> None:
    base, square = tensors(gpt(bias=False)), "transformer.h.1.attn.c_proj"
    adapter = pair(square, WIDTH, WIDTH)
    found = opened(tmp_path, adapter, base, fan_in_fan_out=told).tensor(f"{square}.weight")
    expected = product(adapter, square)
    near(found, base[f"{square}.weight"].double() + 3 * (expected.T if told else expected))


def test_a_head_is_not_turned_where_the_layers_are(tmp_path: Path) -> None:
    base = tensors(gpt() | {"lm_head.weight": (WIDTH, WIDTH)})
    adapter = pair("lm_head", WIDTH, WIDTH)
    found = opened(tmp_path, adapter, base, fan_in_fan_out=True).tensor("lm_head.weight")
    near(found, base["lm_head.weight"].double() + 3 * product(adapter, "lm_head"))


def test_a_llama_with_biases_is_never_turned(tmp_path: Path) -> None:
    base = tensors(folders.shapes() | {f"{KEY}.bias": (KEYS,)})
    adapter = pair(QUERY, WIDTH, WIDTH)
    found = opened(tmp_path, adapter, base, fan_in_fan_out=True).tensor(f"{QUERY}.weight")
    near(found, base[f"{QUERY}.weight"].double() + 3 * product(adapter, QUERY))


@pytest.mark.parametrize(("stored", "called"), [("", "model."), ("model.", ""), ("model.", "model.")])
def test_names_may_have_one_word_more_or_less_in_front(tmp_path: Path, stored: str, called: str) -> None:
    base = tensors(folders.shapes(head=False, prefix=stored))
    adapter = pair(f"{called}layers.1.self_attn.q_proj", WIDTH, WIDTH)
    name = f"{stored}layers.1.self_attn.q_proj.weight"
    model = opened(tmp_path, adapter, base)
    assert model.adapter
    assert list(model.adapter.changes) == [name]
    expected = product(adapter, f"{called}layers.1.self_attn.q_proj")
    near(model.tensor(name), base[name].double() + 3 * expected)


def test_the_base_that_the_adapter_names_is_told(tmp_path: Path) -> None:
    adapter = opened(tmp_path, pair(QUERY, WIDTH, WIDTH)).adapter
    assert adapter
    assert adapter.base == "org/base"
    assert adapter.source == Source(str(tmp_path / "lora"))
    assert open_checkpoint(tmp_path / "base").adapter is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_those_of_the_whole_to_the_bit(
    tmp_path: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matrices, turned ones, shifted biases, whole tensors, and those that no adapter changes."""
    monkeypatch.setattr(adapters, "_BLOCK", 3 * WIDTH)
    adapter = pair(KEY, KEYS, WIDTH) | pair(DOWN, WIDTH, folders.INNER)
    adapter |= {"model.embed_tokens.lora_embedding_A": torch.randn(2, VOCABULARY)}
    adapter |= {"model.embed_tokens.lora_embedding_B": torch.randn(WIDTH, 2)}
    adapter |= {"model.norm.weight": torch.randn(WIDTH)}
    model = opened(tmp_path, adapter, tensors(folders.shapes(), dtype=dtype))
    changed = [name for name in model.specs if model.adapter and name in model.adapter.changes]
    assert len(changed) == 4
    for name in model.specs:
        whole = model.tensor(name)
        for first, stop in ((0, len(whole)), (0, 1), (1, 5), (len(whole) - 2, len(whole))):
            rows = model.rows(name, first, stop)
            assert rows.dtype == whole.dtype
            assert torch.equal(rows, whole[first:stop])


def test_a_folded_tensor_is_shared_while_it_is_held_and_then_forgotten(tmp_path: Path) -> None:
    model = opened(tmp_path, pair(QUERY, WIDTH, WIDTH))
    held = model.tensor(f"{QUERY}.weight")
    assert model.tensor(f"{QUERY}.weight") is held
    expected = held.clone()
    assert model.adapter
    del held
    gc.collect()
    assert not model.adapter._folded
    assert torch.equal(model.tensor(f"{QUERY}.weight"), expected)


def test_threads_do_not_matter(tmp_path: Path) -> None:
    base = tensors(folders.shapes(1, width=300, vocabulary=3))
    model = opened(tmp_path, pair("model.layers.0.self_attn.q_proj", 300, 300, rank=64), base, r=64)
    threads, found = torch.get_num_threads(), []
    for number in (1, 2):
        torch.set_num_threads(number)
        found.append(model.tensor("model.layers.0.self_attn.q_proj.weight").clone())
        gc.collect()
    torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_a_tokenizer_comes_from_the_adapter_as_a_whole_or_from_the_base(tmp_path: Path) -> None:
    model = opened(tmp_path, pair(QUERY, WIDTH, WIDTH))
    for name in ("tokenizer.json", "tokenizer_config.json", "merges.txt", "generation_config.json", "README.md"):
        (tmp_path / "base" / name).write_text("{}")
    for name in ("tokenizer.json", "chat_template.jinja", "README.md", "generation_config.json"):
        (tmp_path / "lora" / name).write_text("{}")
    assert model.adapter
    assert model.path("tokenizer.json") == tmp_path / "base" / "tokenizer.json"
    assert model.path("chat_template.jinja") is None
    assert model.adapter.path("README.md") == tmp_path / "lora" / "README.md"
    (tmp_path / "lora" / "tokenizer_config.json").write_text("{}")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert model.path(name) == tmp_path / "lora" / name
    assert model.path("merges.txt") is None  # of the base's tokenizer, which is another
    for name in ("generation_config.json", "README.md", "config.json"):
        assert model.path(name) == tmp_path / "base" / name


def test_opening_reads_no_weights_and_imports_nothing_heavy(tmp_path: Path) -> None:
    opened(tmp_path, pair(QUERY, WIDTH, WIDTH))
    path, size = tmp_path / "lora" / "adapter_model.safetensors", 10_000_000_000
    names = [f"base_model.model.model.layers.0.x.lora_{side}.weight" for side in "AB"]
    shapes = [[1, size], [size, 1]]  # a hole of 80 GB: who reads it is found out
    header = {
        name: folders.entry(shape, at * 4 * size, (at + 1) * 4 * size)
        for at, (name, shape) in enumerate(zip(names, shapes, strict=True))
    }
    os.truncate(folders.raw_file(path, header), path.stat().st_size + 8 * size)
    code = (
        "import sys; from mergelab.weights import open_checkpoint; from mergelab.errors import SourceError\n"
        "try: open_checkpoint(sys.argv[1])\n"
        "except SourceError as error: print('fits no tensor' in str(error),"
        "[name for name in ('torch', 'safetensors', 'huggingface_hub', 'transformers', 'peft') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, f"{tmp_path / 'base'}+{tmp_path / 'lora'}"]
    told = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert told.stdout.strip() == "True []", told.stderr
