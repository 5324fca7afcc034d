"""A widened merge says what the unwidened one says, and a standard config holds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from mergelab.forge.merge import merge
from mergelab.models import assemble
from mergelab.models.widen import widen
from mergelab.models.widening import padded, repeated
from mergelab.recipes import Recipe, stack
from mergelab.recipes.recipe import Part, Slice, numbers
from mergelab.weights import Source
from tests.models.families import save
from tests.models.test_blocks import IDS, NOISE, logits

# Families whose feed-forwards and heads have rows of their own; Qwen2 has biases on k and v, Qwen3 norms of heads.
KINDS = ("llama", "qwen2", "qwen3", "gemma2")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path, Path]]:
    root = tmp_path_factory.mktemp("uneven")

    def folders(kind: str) -> tuple[Path, Path, Path]:
        found = tuple(root / f"{kind}-{name}" for name in "abc")
        for seed, (path, inner, keys) in enumerate(zip(found, (40, 56, 48), (1, 2, 4), strict=True)):
            if not path.exists():
                save(kind, path, seed=seed, intermediate_size=inner, num_key_value_heads=keys)
        a, b, c = found
        return a, b, c

    return folders


@pytest.mark.parametrize("kind", KINDS)
def test_no_answer_changes_and_the_folder_is_the_live_model(
    kind: str, uneven: Callable[[str], tuple[Path, Path, Path]], tmp_path: Path
) -> None:
    a, b, c = uneven(kind)
    recipe = stack([(a, 0, 2), (b, 1, 4), (c, 3, 5), (a, 5, 6)], base=a)
    wide = widen(recipe)
    assert Recipe.load(wide.to_yaml()) == wide
    with assemble(recipe) as live, assemble(wide) as even:
        before, after = logits(live.model), logits(even.model)
        assert (after - before).abs().max() < NOISE
        assert (before[0, 1:] - before[0, :-1]).abs().max() > 1000 * NOISE
        written = AutoModelForCausalLM.from_pretrained(merge(wide, tmp_path / "out"))
        assert torch.equal(logits(written), after)
        assert (written.config.intermediate_size, written.config.num_key_value_heads) == (56, 4)
        for name, value in load_file(tmp_path / "out" / "model.safetensors").items():
            assert torch.equal(value, even.model.get_parameter(name)), name
        cache = written(IDS, use_cache=True).past_key_values
        assert [layer.keys.shape[1] for layer in cache.layers] == [4] * 8


@pytest.mark.parametrize("part", ["padded", "repeated"])
def test_what_is_widened_otherwise_is_heard(
    part: str, uneven: Callable[[str], tuple[Path, Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Units that are not zero, and heads that are tiled rather than repeated in a row."""
    _, b, c = uneven("llama")
    wide = widen(stack([(b, 0, 2), (c, 1, 4), (b, 5, 6)], base=b))
    with assemble(wide) as live:
        good = logits(live.model)
    wrong = {
        "padded": lambda tensor, shape: padded(tensor, shape) + 0.1,
        "repeated": lambda tensor, _, times: tensor.repeat(times, *[1] * (tensor.ndim - 1)),
    }
    monkeypatch.setattr(f"mergelab.models.pour.{part}", wrong[part])
    with assemble(wide) as live:
        assert (logits(live.model) - good).abs().max() > 100 * NOISE


def test_a_widened_merge_is_turned_like_any_other(uneven: Callable[[str], tuple[Path, Path, Path]]) -> None:
    a, b, _ = uneven("llama")
    same = Source.parse(str(a))

    def blend(weight: float, end: int, *, wide: bool) -> Recipe:
        parts = (
            Part(same, (0, end), numbers({"weight": 1 - weight})),
            Part(same, (0, end), numbers({"weight": weight})),
        )
        rest = Slice((Part(Source.parse(str(b)), (end, 6)),), method="passthrough")
        return Recipe("linear", (Slice(parts), rest), widen=wide)

    with assemble(blend(0.5, 2, wide=True)) as live:
        for weight, end, wide in ((0.25, 2, True), (0.25, 4, True), (0.25, 4, False), (0.75, 4, True)):
            recipe = blend(weight, end, wide=wide)
            live.turn(recipe)
            with assemble(recipe) as fresh, assemble(replace(recipe, widen=False)) as narrow:
                assert torch.equal(logits(live.model), logits(fresh.model))
                assert (logits(live.model) - logits(narrow.model)).abs().max() < NOISE


def test_heads_are_repeated_whole_and_in_a_row() -> None:
    heads = torch.arange(12.0).view(6, 2).bfloat16()
    rows = [0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 4, 5, 4, 5, 4, 5]
    assert torch.equal(repeated(heads, 2, 3), heads[rows])
    assert torch.equal(repeated(heads[:, 0], 2, 3), heads[rows, 0])
    assert repeated(heads, 2, 3).dtype == torch.bfloat16


def test_zeros_are_appended_and_nothing_else() -> None:
    small = torch.arange(1.0, 7.0).view(2, 3).half()
    assert padded(small, (3, 5)).tolist() == [[1, 2, 3, 0, 0], [4, 5, 6, 0, 0], [0, 0, 0, 0, 0]]
    assert padded(small, (3, 5)).dtype == torch.float16
    assert padded(small[0], (4,)).tolist() == [1, 2, 3, 0]
