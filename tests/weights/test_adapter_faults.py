"""Adapters that do not fit their base, cannot be read, or change under us: refused in words, all at once."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mergelab.errors import SourceError
from mergelab.weights import open_checkpoint
from tests.weights import folders
from tests.weights.folders import KEY, KEYS, QUERY, VOCABULARY, WIDTH, opened, pair, save_adapter, tensors

Weights = dict[str, torch.Tensor]


def problems(place: Path, adapter: Mapping[str, torch.Tensor], base: Weights | None = None, **told: Any) -> list[str]:
    """What opening this complains about; every complaint names the adapter and what to do."""
    with pytest.raises(SourceError) as caught:
        opened(place, adapter, base, **told)
    assert all(problem.hint and str(place / "lora") in problem.where for problem in caught.value.problems)
    return [problem.what for problem in caught.value.problems]


def only(place: Path, adapter: Mapping[str, torch.Tensor], base: Weights | None = None, **told: Any) -> str:
    """The one complaint."""
    (found,) = problems(place, adapter, base, **told)
    return found


# ------------------------------------------------------------------------------------------------ what does not fit


def test_tensors_that_fit_none_of_the_bases_are_all_listed(tmp_path: Path) -> None:
    adapter = pair("model.layers.7.self_attn.q_proj", WIDTH, WIDTH) | pair("model.layers.0.x", WIDTH, WIDTH)
    adapter |= {f"model.layers.0.self_attn.q_proj.lora_{side}.other.weight": torch.ones(2, 2) for side in "AB"}
    said = only(tmp_path, adapter | {"model.embed_tokens.token_adapter.trainable_tokens_delta": torch.ones(2)})
    assert said.startswith("fits no tensor of the base: base_model.model.model.")
    for name in ("layers.7.self_attn.q_proj.lora_B", "layers.0.x.lora_A", "q_proj.lora_A.other", "tokens_delta"):
        assert name in said


def test_long_lists_are_cut(tmp_path: Path) -> None:
    adapter = {f"model.layers.{layer}.x.weight": torch.ones(1) for layer in range(20)}
    assert only(tmp_path, adapter).endswith(" and 12 more.")


def test_a_tied_head_that_was_saved_and_not_trained_fits_nowhere(tmp_path: Path) -> None:
    said = only(tmp_path, {"lm_head.weight": torch.ones(VOCABULARY, WIDTH)}, tensors(folders.shapes(head=False)))
    assert said == "fits no tensor of the base: base_model.model.lm_head.weight."


def lengths(name: str, size: int) -> Weights:
    return {f"{name}.lora_magnitude_vector": torch.ones(size)}


@pytest.mark.parametrize(
    ("adapter", "dora", "said"),
    [
        (pair(QUERY, WIDTH, WIDTH), True, "lora_A.weight has no lora_magnitude_vector, which DoRA needs"),
        (pair(QUERY, WIDTH, WIDTH) | lengths(QUERY, WIDTH), False, "magnitude_vector belongs to no pair of a DoRA"),
        (lengths(QUERY, WIDTH), True, "lora_magnitude_vector belongs to no pair of a DoRA"),
        (pair(KEY, KEYS, WIDTH) | lengths(KEY, WIDTH), True, f"lora_magnitude_vector [8] against {KEY}.weight [4, 8]"),
        (
            tensors({f"model.embed_tokens.lora_embedding_{side}": shape
                     for side, shape in (("A", (2, VOCABULARY)), ("B", (WIDTH, 2)))})
            | lengths("model.embed_tokens", WIDTH),
            True,
            "is of model.embed_tokens.weight, stored as (in, out): only rows can be brought to lengths",
        ),
    ],
)  # fmt: skip
def test_lengths_of_a_dora_that_do_not_fit(tmp_path: Path, adapter: Weights, dora: bool, said: str) -> None:
    assert said in only(tmp_path, adapter, use_dora=dora)


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        (pair(QUERY, WIDTH, 9), f"{QUERY}.lora_A.weight [8, 9] against {QUERY}.weight [8, 8]"),
        (pair(KEY, WIDTH, KEYS), f"{KEY}.lora_A.weight [8, 4] against {KEY}.weight [4, 8]"),
        (pair(QUERY, WIDTH, WIDTH, rank=3), "[3, 8] and base_model.model."),
        (pair(QUERY, WIDTH, WIDTH, rank=3), "are no pair of rank 2"),
        (tensors({f"{QUERY}.lora_A.weight": (2, 8), f"{QUERY}.lora_B.weight": (8, 3)}), "are no pair of rank 2"),
        (tensors({f"{QUERY}.lora_A.weight": (2, 8, 1), f"{QUERY}.lora_B.weight": (8, 2)}), "are no pair of rank 2"),
        (tensors({f"{QUERY}.lora_A.weight": (2, 8)}), "lora_A.weight has no counterpart lora_B"),
        (tensors({f"{QUERY}.lora_B.weight": (8, 2)}), "lora_B.weight has no counterpart lora_A"),
        ({"model.norm.weight": torch.ones(9)}, "model.norm.weight [9] against model.norm.weight [8]"),
        ({f"{QUERY}.weight": torch.ones(8, 8, dtype=torch.int8)}, "is I8: only plain floats can be added up"),
        (
            {"model.norm.weight": torch.ones(8), "norm.weight": torch.ones(8)},
            "norm.weight both belong to model.norm.weight",
        ),
    ],
)
def test_clashes_are_told_with_the_shapes(tmp_path: Path, adapter: Weights, said: str) -> None:
    found = only(tmp_path, adapter)
    assert found.startswith("clashes with the base: base_model.model.")
    assert said in found


def test_a_quantised_base_takes_no_adapter(tmp_path: Path) -> None:
    base = tensors(folders.shapes()) | {f"{QUERY}.weight": torch.ones(WIDTH, WIDTH, dtype=torch.int8)}
    assert f"{QUERY}.weight is I8" in only(tmp_path, pair(QUERY, WIDTH, WIDTH), base)


def test_a_misfit_names_the_model_that_the_adapter_was_trained_on(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"Put it on the model it was trained on \(it names 'org/base'\)."):
        opened(tmp_path, pair(QUERY, WIDTH, 9))


def test_an_empty_adapter_is_refused(tmp_path: Path) -> None:
    assert only(tmp_path, {}) == "holds no tensors."


# --------------------------------------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"peft_type": "IA3"}, "is an adapter of type IA3; only LoRA can be read."),
        ({"peft_type": "PROMPT_TUNING"}, "is an adapter of type PROMPT_TUNING; only LoRA can be read."),
        ({"peft_type": None}, "does not name a peft_type."),
        ({"peft_type": 5}, "does not name a peft_type."),
        ({"use_dora": "yes"}, "use_dora = 'yes' is not true or false"),
        ({"ensure_weight_tying": 1}, "ensure_weight_tying = 1 is not true or false"),
        ({"modules_to_save": "lm_head"}, "modules_to_save = 'lm_head' is not a list of names"),
        ({"use_qalora": True}, "use_qalora = True cannot be honoured"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "[[0, 2], [1, 3]] cannot be honoured: it repeats layers of its base"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices = [1] cannot be honoured: it replaces single rows"),
        ({"target_parameters": ["x"]}, "target_parameters = ['x'] cannot be honoured: it acts on stacked experts"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens = [1] cannot be honoured"),
        ({"a_key_of_2030": {"deep": 1}}, "a_key_of_2030 = {'deep': 1} cannot be honoured: a setting that is not known"),
        ({"init_lora_weights": "pissa_niter_16"}, "'pissa_niter_16': the training began by changing"),
        ({"init_lora_weights": "OLoRA"}, "init_lora_weights = 'OLoRA': the training began by changing the base"),
        ({"init_lora_weights": "loftq"}, "the training began by changing the base"),
        ({"init_lora_weights": "new"}, "init_lora_weights = 'new' is not known here"),
        ({"r": 0}, "r = 0 is not a whole number above 0"),
        ({"r": 2.0}, "r = 2.0 is not a whole number above 0"),
        ({"r": True}, "r = True is not a whole number above 0"),
        ({"lora_alpha": "6"}, "lora_alpha = '6' is not a number"),
        ({"lora_alpha": math.nan}, "lora_alpha = nan is not a number"),
        ({"lora_alpha": math.inf}, "lora_alpha = inf is not a number"),
        ({"use_rslora": 1}, "use_rslora = 1 is not true or false"),
        ({"fan_in_fan_out": "no"}, "fan_in_fan_out = 'no' is not true or false"),
        ({"rank_pattern": {"x": 0}}, "rank_pattern = {'x': 0} is not patterns with whole numbers above 0"),
        ({"rank_pattern": {"(": 1}}, "rank_pattern = {'(': 1} is not patterns"),
        ({"rank_pattern": [1]}, "rank_pattern = [1] is not patterns"),
        ({"alpha_pattern": {"x": None}}, "alpha_pattern = {'x': None} is not patterns with numbers"),
        ({"alpha_pattern": {"x" * 999: None}}, "x ... is not patterns with numbers"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant_here_are_refused(tmp_path: Path, told: dict[str, Any], said: str) -> None:
    assert said in only(tmp_path, pair(QUERY, WIDTH, WIDTH), **told)


def test_settings_of_the_training_and_settings_that_are_off_do_not_matter(tmp_path: Path) -> None:
    idle = {
        "target_modules": ["q_proj"], "lora_dropout": 0.1, "bias": "none", "task_type": "CAUSAL_LM",
        "peft_version": "1", "eva_config": {"rho": 2.0}, "init_lora_weights": "gaussian", "use_dora": False,
        "a_key_of_2030": None, "another": {}, "rank_pattern": {}, "modules_to_save": None, "runtime_config": {"a": 1},
    }  # fmt: skip
    assert opened(tmp_path, pair(QUERY, WIDTH, WIDTH), **idle).adapter


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 100_000, b"[]", b'{"r": ' + b"9" * 5000 + b"}"])
def test_a_broken_config_is_refused(tmp_path: Path, text: bytes) -> None:
    opened(tmp_path, pair(QUERY, WIDTH, WIDTH))
    (tmp_path / "lora" / "adapter_config.json").write_bytes(text)
    with pytest.raises(SourceError, match=r"adapter_config.json: (is not JSON|does not name a peft_type)") as caught:
        open_checkpoint(f"{tmp_path / 'base'}+{tmp_path / 'lora'}")
    assert len(caught.value.problems) == 1


def test_a_pickled_adapter_is_refused_unread(tmp_path: Path) -> None:
    opened(tmp_path, pair(QUERY, WIDTH, WIDTH))
    (tmp_path / "lora" / "adapter_model.safetensors").unlink()
    with pytest.raises(SourceError, match=r"lora: has no adapter_model.safetensors. The adapter is incomplete"):
        open_checkpoint(f"{tmp_path / 'base'}+{tmp_path / 'lora'}")
    (tmp_path / "lora" / "adapter_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(SourceError, match=r"its weights are a pickle \(adapter_model.bin\), which can run code"):
        open_checkpoint(f"{tmp_path / 'base'}+{tmp_path / 'lora'}")


def test_a_model_is_no_adapter_and_an_adapter_no_model(tmp_path: Path) -> None:
    base, lora = folders.save(tmp_path / "base"), save_adapter(tmp_path / "lora", pair(QUERY, WIDTH, WIDTH))
    with pytest.raises(
        SourceError, match=r"base: has no adapter_config.json, so it is no adapter. Behind the '\+' goes"
    ):
        open_checkpoint(f"{base}+{base}")
    with pytest.raises(SourceError, match=r"has no config.json. It is an adapter: write its model before it, 'model\+"):
        open_checkpoint(lora)
    with pytest.raises(SourceError, match=r"there is no such folder"):
        open_checkpoint(f"{base}+{tmp_path / 'none'}")


def test_all_that_is_wrong_with_both_is_told_at_once(tmp_path: Path) -> None:
    base, lora = folders.save(tmp_path / "base"), save_adapter(tmp_path / "lora", {}, r=0, lora_alpha="x", new=1)
    (base / "config.json").write_text("{")
    (lora / "adapter_model.safetensors").write_bytes(b"short")
    with pytest.raises(SourceError) as caught:
        open_checkpoint(f"{base}+{lora}")
    said = [problem.what for problem in caught.value.problems]
    starts = ("is not JSON", "new = 1", "r = 0", "lora_alpha = 'x'", "the file has 5 bytes")
    assert [what.startswith(start) for what, start in zip(said, starts, strict=True)] == [True] * 5


def rewritten(path: Path) -> None:
    named = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    del named["__metadata__"]
    save_file({name: torch.ones(entry["shape"]) for name, entry in named.items()}, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


@pytest.mark.parametrize("side", ["base/model.safetensors", "lora/adapter_model.safetensors"])
@pytest.mark.parametrize("change", [rewritten, Path.unlink])
@pytest.mark.parametrize("warm", [False, True])
def test_a_file_that_changes_after_opening_is_an_error(tmp_path: Path, side: str, change: Any, warm: bool) -> None:
    model = opened(tmp_path, pair(QUERY, WIDTH, WIDTH))
    held = model.tensor(f"{QUERY}.weight") if warm else None
    change(tmp_path / side)
    with pytest.raises(SourceError, match=r"changed after it was opened|is gone") as caught:
        model.tensor(f"{QUERY}.weight")
    assert (held is not None) == warm
    assert "open" in caught.value.problems[0].hint.lower()
