"""Drift of norms: planted changes are found in the right norm and channel, and nowhere else."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mergelab import sample
from mergelab.errors import InspectionError
from mergelab.inspection import drift_figures
from mergelab.inspection.drift import Drift, drift
from mergelab.inspection.grid import Grid
from tests.models.families import FAMILIES

PLUS_ONE = ("gemma", "gemma2", "gemma3_text")  # (1 + w) in transformers' sources; all others of the list have w
HEADS = {"qwen3": 2, "gemma3_text": 2, "olmo2": 2, "qwen3_moe": 2}  # query and key norms a layer
AROUND = {"gemma2": 4, "gemma3_text": 4, "cohere": 1}  # norms of the width a layer, where they are not 2


def made(kind: str, seed: int = 3, **changes: Any) -> Any:
    torch.manual_seed(seed)
    depth = "n_layer" if kind == "gpt2" else "num_hidden_layers"
    lists = {"layer_types": ["sliding_attention", "full_attention", "full_attention"], "no_rope_layers": [1, 0, 1]}
    shorter = {depth: 3} | {key: value for key, value in lists.items() if key in FAMILIES[kind]}
    settings = FAMILIES[kind] | shorter | changes
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def norms_of(model: Any) -> dict[str, Any]:
    """By their classes' names, which is how this test knows them, and not how they are found."""
    return {name: one for name, one in model.named_modules() if "Norm" in type(one).__name__}


def scaled(model: Any, path: str, channels: dict[int, float], plus: float = 0.0) -> Any:
    """A copy whose effective gains at ``path`` are multiplied."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        weight = twin.get_submodule(path).weight
        for channel, factor in channels.items():
            weight[channel] = (weight[channel] + plus) * factor - plus
    return twin


def alone(base: Any, source: Any, **settings: Any) -> tuple[Drift, str]:
    found = drift((base, None), (source, None), **settings)
    return found, found.sources[0]


def others(grid: Grid, row: int, column: int) -> np.ndarray:
    values = grid.values.copy()
    values[row, column] = np.nan
    return values[~np.isnan(values)]


@pytest.mark.parametrize("kind", FAMILIES)
def test_planted_gains_are_found_in_every_family(kind: str) -> None:
    base = made(kind)
    plus = float(kind in PLUS_ONE)
    names = [name for name in norms_of(base) if ".1." in name]
    path = names[0]
    source = scaled(base, path, {2: 2.0, 5: 0.25}, plus)
    found, name = alone(base, source)
    size = found.size(name)
    assert (~np.isnan(size.values)).sum() == len(norms_of(base)) == 3 * (AROUND.get(kind, 2) + HEADS.get(kind, 0)) + 1
    gain = norms_of(base)[path].weight.detach().double() + plus
    moved = norms_of(source)[path].weight.detach().double() + plus
    row, column = np.argwhere(size.values > 0)[0]
    assert column == 1
    assert size.values[row, column] == pytest.approx(float((moved - gain).norm() / gain.norm()), rel=1e-5)
    assert not others(size, row, column).any()
    ratios = np.zeros(len(gain))
    ratios[[2, 5]] = math.log(2), math.log(0.25)
    assert found.scale(name).values[row, column] == pytest.approx(math.exp(ratios.mean()), rel=1e-5)
    assert found.shape(name).values[row, column] == pytest.approx(ratios.std(), rel=1e-5)
    assert found.extreme(name).values[row, column] == pytest.approx(np.quantile(abs(ratios), 0.99), rel=1e-5)
    assert found.cosine(name).values[row, column] == pytest.approx(float(moved @ gain / moved.norm() / gain.norm()))
    assert (others(found.cosine(name), row, column) > 1 - 1e-12).all()
    assert (others(found.scale(name), row, column) == 1).all()
    assert not others(found.shape(name), row, column).any()
    top = found.channels(name, 3)
    assert top["channel"].tolist()[:2] == [5, 2]
    assert top["module"].tolist()[:2] == [path, path]
    assert top["log_ratio"].tolist() == pytest.approx([math.log(0.25), math.log(2), 0], abs=1e-5)
    assert top["source"].tolist()[:2] == pytest.approx(moved[[5, 2]].tolist(), rel=1e-5)


def test_gemma_drifts_as_llama_does() -> None:
    """The same effective gains, stored as w and as 1 + w."""
    figures = []
    for kind, plus in (("llama", 0.0), ("gemma", 1.0)):
        base = made(kind)
        gains = torch.Generator().manual_seed(9)
        pair = [base, copy.deepcopy(base)]
        with torch.no_grad():
            for model in pair:
                for one in norms_of(model).values():
                    one.weight.copy_(1 + 0.2 * torch.randn(one.weight.shape, generator=gains) - plus)
        found, name = alone(*pair)
        figures.append([found.size(name).values, found.shape(name).values, found.extreme(name).values])
    np.testing.assert_allclose(figures[0], figures[1], rtol=1e-5)


def test_signs_and_zeros_are_counted_apart() -> None:
    path = "model.layers.2.post_attention_layernorm"
    base = scaled(made("llama"), path, {3: -1.0, 9: 0.0})  # as they are in both
    source = scaled(base, path, {1: -1.0, 4: -3.0, 7: 0.0})
    found, name = alone(base, source)
    row = found.size(name).rows.index("before feed-forward")
    assert found.changed_sign(name).values[row, 2] == 2
    assert found.zeros(name).values[row, 2] == 1
    assert not others(found.changed_sign(name), row, 2).any()
    assert not others(found.zeros(name), row, 2).any()
    ratios = [0.0] * 21 + [math.log(3)]  # the zeros have no ratio, a sign is none
    assert found.shape(name).values[row, 2] == pytest.approx(np.std(ratios), rel=1e-5)
    top = found.channels(name, 4)
    assert set(top["channel"][:3]) == {1, 4, 7}
    assert top["log_ratio"][3] == 0
    assert len(found.channels(name, None)) == 7 * 24


def test_a_zero_counts_in_whichever_of_the_two_it_is() -> None:
    one, zero = np.array([0.0, 1.0, 0.0, 0.0, -2.0]), np.array([0.0, 0.0, 3.0, 4.0, 2.0])
    assert drift_figures.ZEROS.of(one, zero) == drift_figures.ZEROS.of(zero, one) == 3
    assert drift_figures.CHANGED_SIGN.of(one, zero) == 1


def test_bands_are_what_the_worst_rounding_gives() -> None:
    """Every channel off by its error, all the same way."""
    error, zero = np.array([0.1, 0.4, 0.0]), np.array([1.0, -2.0, 5.0])
    worst = np.array([1.1, 1.2, 1.0])
    figures = (getattr(drift_figures, name) for name in ("SIZE", "COSINE", "SCALE", "SHAPE", "EXTREME"))
    bands = {figure: figure.band(error, zero) for figure in figures if figure.band}
    assert bands[drift_figures.SCALE] == pytest.approx((1 / worst.prod() ** (1 / 3), worst.prod() ** (1 / 3)))
    assert bands[drift_figures.SHAPE] == pytest.approx((0, math.sqrt((np.log(worst) ** 2).mean())))
    assert bands[drift_figures.EXTREME] == pytest.approx((0, np.quantile(np.log(worst), 0.99)))
    length = math.sqrt(0.1**2 + 0.4**2) / math.sqrt(1 + 4 + 25)
    assert bands[drift_figures.SIZE] == pytest.approx((0, length))
    assert bands[drift_figures.COSINE] == pytest.approx((math.sqrt(1 - length**2), 1))


def test_rounding_stays_in_its_band_and_more_does_not() -> None:
    for kind in ("llama", "gemma"):
        base = made(kind)
        stored = copy.deepcopy(base).to(torch.bfloat16)
        found, name = alone(base, stored)
        grids = [found.size(name), found.cosine(name), found.scale(name), found.shape(name), found.extreme(name)]
        moved = scaled(
            base, "model.layers.1.input_layernorm", dict.fromkeys(range(0, 24, 2), 1.05), float(kind == "gemma")
        )
        found, name = alone(stored, moved)
        changed = [found.size(name), found.cosine(name), found.scale(name), found.shape(name), found.extreme(name)]
        for calm, loud in zip(grids, changed, strict=True):
            assert calm.chance is not None
            assert loud.chance is not None
            assert "bfloat16" in calm.chance.how
            out = (loud.values < loud.chance.low) | (loud.values > loud.chance.high)
            assert not ((calm.values < calm.chance.low) | (calm.values > calm.chance.high)).any(), calm.measure.name
            assert np.argwhere(out).tolist() == [[0, 1]], calm.measure.name


def test_biases_drift_by_themselves() -> None:
    base = made("gpt2")
    source = copy.deepcopy(base)
    with torch.no_grad():
        source.transformer.h[1].ln_2.bias[3] += 0.5
    found, name = alone(base, source)
    bias = found.bias(name)
    row = bias.rows.index("before feed-forward")
    gain = base.transformer.h[1].ln_2.weight.detach().double().norm()
    assert bias.values[row, 1] == pytest.approx(0.5 / float(gain), rel=1e-4)
    assert not others(bias, row, 1).any()
    assert not others(found.size(name), row, 1).any()
    assert found.size(name).values[row, 1] == 0
    with torch.no_grad():  # the yardstick is the base's gain, not the source's
        source.transformer.h[1].ln_2.weight *= 3
    found, name = alone(base, source)
    assert found.bias(name).values[row, 1] == pytest.approx(0.5 / float(gain), rel=1e-4)
    llama, name = alone(made("llama"), made("llama", seed=4))
    assert np.isnan(llama.bias(name).values).all()


@pytest.mark.parametrize(
    ("kind", "norm", "matrices"),
    [
        ("llama", "model.layers.1.input_layernorm", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        ("gemma2", "model.layers.1.pre_feedforward_layernorm", ["mlp.gate_proj", "mlp.up_proj"]),
        ("gpt2", "transformer.h.1.ln_2", ["mlp.c_fc"]),
    ],
)
def test_a_gain_folds_into_the_matrices_that_read_it(kind: str, norm: str, matrices: list[str]) -> None:
    base = made(kind)
    plus = float(kind in PLUS_ONE)
    drifted = scaled(base, norm, {2: 4.0, 6: 0.5}, plus)
    taken_back = copy.deepcopy(drifted)
    layer = taken_back.get_submodule(norm.rpartition(".")[0])
    own = base.get_submodule(norm.rpartition(".")[0])
    gain, moved = (one.get_submodule(norm).weight.detach().double() + plus for one in (base, drifted))
    squares = np.zeros(2)
    with torch.no_grad():
        for matrix in matrices:
            weight = layer.get_submodule(matrix).weight
            columns = weight.T if kind != "gpt2" else weight  # (input, output)
            columns[2] /= 4
            columns[6] *= 2
            before = own.get_submodule(matrix).weight.double()
            before = before if kind != "gpt2" else before.T
            squares += [float(((moved - gain) * before).square().sum()), float((gain * before).square().sum())]
    found, name = alone(base, drifted, fold=True)
    folded = found.folded(name)
    row, column = np.argwhere(found.size(name).values > 0)[0]
    assert folded.values[row, column] == pytest.approx(math.sqrt(squares[0] / squares[1]), rel=1e-5)
    assert not others(folded, row, column).any()
    found, name = alone(base, taken_back, fold=True)
    assert found.size(name).values[row, column] > 0.1
    assert found.folded(name).values[row, column] < 1e-6


def test_folding_is_told_where_only_matrices_read() -> None:
    found, name = alone(made("qwen3_moe"), made("qwen3_moe", seed=4), fold=True)
    folded = found.folded(name)
    told = {row: bool(~np.isnan(values).any()) for row, values in zip(folded.rows, folded.values[:, :2], strict=True)}
    assert told.pop("before attention")
    assert set(told) == {"query", "key", "before feed-forward", "final"}
    assert not any(told.values())  # experts read it; attention scores do; the final norm is not in the first layers
    assert not np.isnan(folded.row("final")[2])
    both = FAMILIES["qwen3_moe"] | {"shared_expert_intermediate_size": 12, "num_hidden_layers": 2}
    shared = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2_moe", **both)).eval()
    found, name = alone(shared, copy.deepcopy(shared), fold=True)
    folded = found.folded(name)
    assert np.isnan(folded.row("before feed-forward")).all()  # the shared expert's matrices read it, and so do experts
    assert not np.isnan(folded.row("before attention")).any()
    found, name = alone(made("llama"), made("phi3"), fold=True)
    assert not np.isnan(found.size(name).values[:2]).any()
    assert np.isnan(found.folded(name).values[:2]).all()  # the same norms before other matrices
    with pytest.raises(InspectionError, match="fold=True"):
        alone(made("llama"), made("llama"))[0].folded("LlamaForCausalLM 2")


def opt(before: bool) -> Any:
    torch.manual_seed(1)
    sizes = {"hidden_size": 24, "word_embed_proj_dim": 24, "ffn_dim": 40, "num_attention_heads": 4}
    settings = {"vocab_size": 50, "num_hidden_layers": 2, "max_position_embeddings": 32, "do_layer_norm_before": before}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("opt", **sizes, **settings)).eval()


def test_folding_is_not_told_where_the_norm_goes_on_as_the_stream() -> None:
    """There a matrix cannot take back what the gain does: the sum behind it reads the gain too."""
    for before in (True, False):
        base = opt(before)
        layer = "model.decoder.layers.1"
        norm = f"{layer}.{'final_layer_norm' if before else 'self_attn_layer_norm'}"
        source = copy.deepcopy(base)
        with torch.no_grad():
            for one in source.get_submodule(norm).parameters():
                one.mul_(2)
            source.get_submodule(f"{layer}.fc1").weight.div_(2)
            ids = torch.arange(6)[None]
            same = torch.allclose(source(ids).logits, base(ids).logits, atol=1e-5)
        assert same == before
        found, name = alone(base, source, fold=True)
        row, column = np.argwhere(found.size(name).values > 0)[0]
        folded = found.folded(name).values[row, column]
        assert folded < 1e-6 if before else np.isnan(folded)
    kind = {"hidden_size": 24, "n_layer": 2, "n_head": 4, "vocab_size": 50}
    settings = AutoConfig.for_model("bloom", **kind, apply_residual_connection_post_layernorm=True)
    bloom = AutoModelForCausalLM.from_config(settings).eval()
    found, name = alone(bloom, copy.deepcopy(bloom), fold=True)
    assert np.isnan(found.folded(name).row("before attention")).all()
    assert np.isnan(found.folded(name).row("before feed-forward")).all()


def test_norms_without_parameters_are_said_to_have_none() -> None:
    changes = {"num_key_value_heads": 2, "num_hidden_layers": 2}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("olmo", **(FAMILIES["llama"] | changes))).eval()
    with pytest.raises(InspectionError, match="no normalisation that can be compared"):
        alone(model, copy.deepcopy(model))


def test_one_norm_without_parameters_is_left_out() -> None:
    base = made("llama")
    base.model.layers[1].input_layernorm = torch.nn.LayerNorm(24, elementwise_affine=False)
    found, name = alone(base, copy.deepcopy(base))
    values = found.size(name).values
    assert np.isnan(values[0, 1])
    assert (others(found.size(name), 0, 1) == 0).all()
    assert others(found.size(name), 0, 1).size == 6
    assert "model.layers.1.input_layernorm has no parameters" in found.size(name).note


def broken(model: Any, path: str) -> Any:
    """A copy with one gain that is no number."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.get_submodule(path).weight[3] = math.nan
    return twin


def test_gains_that_are_no_numbers_are_named() -> None:
    """In a source alone that norm is left out; in a base those behind it as well, which no pass can find."""
    base, path = made("llama"), "model.layers.1.input_layernorm"
    found, name = alone(base, broken(base, path))
    size = found.size(name)
    assert np.isnan(size.values[0, 1])
    assert (others(size, 0, 1) == 0).all()
    assert others(size, 0, 1).size == 6
    assert f"{path} holds 1 of 24 numbers that are not finite." in size.note
    assert "counterpart" not in size.note
    found, name = alone(broken(base, path), base, fold=True)
    size = found.size(name)
    assert (size.values[:, 0] == 0).all()
    assert np.isnan(size.values[:, 1:]).all()
    assert "not finite" in size.note
    assert f"{path}.weight" in size.note
    first = broken(base, "model.layers.0.input_layernorm")
    with pytest.raises(
        InspectionError, match=r"not finite, and neither are those of model\.layers\.0\.input_layernorm"
    ):
        alone(first, base)
    deeper = broken(made("llama", num_hidden_layers=4), path)
    found, name = alone(base, deeper)
    assert "not finite" in found.size(name).note


def test_sources_that_differ_in_depth_or_width_are_compared_where_they_can_be() -> None:
    base = made("llama")
    found = drift((base, None), (made("llama", num_hidden_layers=2), None), (made("llama", num_hidden_layers=4), None))
    shallow, deep = found.sources
    assert np.isnan(found.size(shallow).values[:2, 2]).all()
    assert not np.isnan(found.size(shallow).values[:2, :2]).any()
    assert not np.isnan(found.size(shallow).row("final")[2])
    assert "model.layers.2.input_layernorm (and 1 more) has no counterpart" in found.size(shallow).note
    assert "model.layers.3" not in found.size(shallow).note
    assert "is not in the base" in found.size(deep).note
    with pytest.raises(InspectionError) as caught:
        drift((base, None), (made("llama", hidden_size=32), None), (made("llama", hidden_size=16), None))
    assert len(caught.value.problems) == 2


def test_wrong_input_and_stopping() -> None:
    base = made("llama")
    with pytest.raises(InspectionError, match="nothing to compare"):
        drift((base, None))
    told: list[tuple[int, int]] = []
    found = drift(
        (base, None), (base, None), (base, None),
        progress=lambda done, total: told.append((done, total)), stop=lambda: len(told) == 1,
    )  # fmt: skip
    assert (found.partial, told) == (True, [(1, 2)])
    assert found.sources == ("LlamaForCausalLM 2",)
    assert found.size().of == "LlamaForCausalLM 2 against LlamaForCausalLM"
    assert len(found.channels(top=3)) == 3
    with pytest.raises(InspectionError, match="Did you mean 'LlamaForCausalLM 2'"):
        found.size("LlamaForCausalLM 3")


def test_the_sample_family_on_disk() -> None:
    found = drift(sample.path("base"), sample.path("pirate"), sample.path("stranger"))
    near, far = (found.size(name).values for name in found.sources)
    assert found.sources == ("pirate", "stranger")
    with pytest.raises(InspectionError, match="Name one: pirate, stranger"):
        found.size()
    assert found.size("pirate").rows == ("before attention", "before feed-forward", "final")
    assert np.nanmax(near) < 0.03 < 0.1 < np.nanmin(far)
    assert found.size("pirate").chance.high[0, 0] < 1e-6  # type: ignore[union-attr, index]
