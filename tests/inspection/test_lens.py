"""Predictions read off at every layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from mergelab.errors import InspectionError
from mergelab.inspection import lens as module
from mergelab.inspection.grid import Floats
from mergelab.inspection.handles import find
from mergelab.inspection.lens import Head, Lens, divergence, entropy, kl, rank
from mergelab.inspection.trace import trace
from mergelab.inspection.trajectories import FIGURES, Trajectories
from mergelab.inspection.walk import logits, walk
from tests.inspection.planted import Numerals, model
from tests.inspection.streams import normal, pass_by, prompts, stream

BATCHES, TOKENS = prompts(((4, 6), (2, 5)))
COUNT = len(TOKENS.words)
INNER = TOKENS.counts
LAST = TOKENS.last()[INNER]
SEEDS = st.integers(0, 10**6)
VOCABULARY = 11


def head(width: int, vocabulary: int = VOCABULARY, seed: int = 5) -> Head:
    weight = normal(width, vocabulary, seed=seed)
    return lambda states: states.float() @ weight


def drifting(seed: int = 1, width: int = 6, borders: int = 4) -> list[Tensor]:
    """A stream that comes nearer to its end from border to border."""
    end = normal(COUNT, width, seed=seed)
    noise = stream(COUNT, width, borders, seed)
    return [end + (borders - 1 - border) * one for border, one in enumerate(noise)]


def read(
    streams: dict[str, list[Tensor]],
    heads: dict[str, Head] | None = None,
    *,
    sinks: Sequence[int] = (),
    layers: int | None = None,
    count: int = 256,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Trajectories:
    found = Lens(BATCHES, TOKENS, count=count)
    pass_by([found], BATCHES, streams, sinks, layers)
    heads = heads or {name: head(states[0].shape[-1]) for name, states in streams.items()}
    return found.read(heads, {name: len(states) - 1 for name, states in streams.items()}, stop=stop, progress=progress)


def probabilities(states: Tensor, through: Head | None = None) -> Floats:
    """Predictions for the tokens that count, float64, shape (tokens, vocabulary)."""
    logits = (through or head(states.shape[-1]))(states).double().numpy()[INNER]
    p: Floats = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def slow_kl(p: Floats, q: Floats) -> Floats:
    return (p * np.log(p / q)).sum(-1)


def log_p(count: int, vocabulary: int, seed: int, scale: float) -> Tensor:
    return torch.log_softmax(scale * normal(count, vocabulary, seed=seed), -1)


@given(SEEDS, st.integers(1, 5), st.integers(2, 30), st.sampled_from([0.0, 1.0, 8.0]))
def test_entropy_and_distances_are_those_of_slow_float64(seed: int, count: int, vocabulary: int, scale: float) -> None:
    one, other = (log_p(count, vocabulary, seed + number, scale) for number in range(2))
    p, q = one.double().exp().numpy(), other.double().exp().numpy()
    np.testing.assert_allclose(entropy(one).numpy(), -(p * np.log(p)).sum(-1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kl(one, other).numpy(), slow_kl(p, q), rtol=1e-5, atol=1e-6)
    middle = (p + q) / 2
    expected = (slow_kl(p, middle) + slow_kl(q, middle)) / 2
    np.testing.assert_allclose(divergence(one, other).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert (kl(one, one) == 0).all()
    assert (divergence(one, other) <= math.log(2) + 1e-6).all()


def test_tokens_that_a_model_never_says_count_nothing() -> None:
    one = torch.tensor([[0.5, 0.5, 0.0]]).log()
    other = torch.tensor([[0.25, 0.75, 0.0]]).log()
    apart = torch.tensor([[0.0, 0.0, 1.0]]).log()
    np.testing.assert_allclose(entropy(one).numpy(), math.log(2), rtol=1e-6)
    np.testing.assert_allclose(kl(one, other).numpy(), 0.5 * math.log(2) + 0.5 * math.log(2 / 3), rtol=1e-6)
    assert kl(one, apart).isposinf().all()
    np.testing.assert_allclose(divergence(one, apart).numpy(), math.log(2), rtol=1e-6)


def test_ranks_count_what_is_likelier() -> None:
    rows = torch.tensor([[0.1, 0.4, 0.4, 0.1], [0.7, 0.1, 0.1, 0.1]]).log()
    assert rank(rows, torch.tensor([1, 3])).tolist() == [1, 2]
    assert rank(rows, torch.tensor([0, 0])).tolist() == [3, 1]


def test_every_figure_is_that_of_slow_float64() -> None:
    states = drifting()
    grids = {name: read({"a": states}).of_tokens("a", name) for name in FIGURES}
    p = [probabilities(one) for one in states]
    final = p[-1].argmax(-1)
    each = np.arange(len(final))
    following = np.roll(TOKENS.ids, -1)[INNER]
    for border, q in enumerate(p):
        expected = {
            "kl": slow_kl(p[-1], q),
            "entropy": -(q * np.log(q)).sum(-1),
            "rank": 1 + (q > q[each, final][:, None]).sum(-1),
            "probability": q[each, final],
            "loss": np.where(LAST, np.nan, -np.log(q[each, following])),
            "decided": np.all([later.argmax(-1) == final for later in p[border:]], 0),
        }
        for name, values in expected.items():
            np.testing.assert_allclose(grids[name].values[:, border], values, rtol=1e-4, atol=1e-6, err_msg=name)
    assert 0 < grids["decided"].values[:, 0].mean() < 1, "the test sees both"
    assert grids["kl"].axes == ("token", "layer")
    assert grids["kl"].rows[:2] == ("0:1 w7", "0:2 w3")


def test_a_grid_has_the_statistic_over_tokens() -> None:
    sinks = (3, 9)
    streams = {"a": drifting(1), "b": drifting(2, borders=3)}
    found = read(streams, sinks=sinks)
    left = np.ones(COUNT, dtype=np.bool_)
    left[list(sinks)] = False
    left = left[INNER]
    grid = found.figure("entropy", "q75")
    q = probabilities(streams["a"][2])
    np.testing.assert_allclose(grid.row("a")[2], np.quantile(-(q * np.log(q)).sum(-1)[left], 0.75), rtol=1e-5)
    assert (grid.rows, grid.columns, grid.axes) == (("a", "b"), ("0", "1", "2", "3"), ("source", "layer"))
    assert np.isnan(grid.row("b")).tolist() == [False, False, False, True]
    assert grid.title == "Undecidedness, q75 over tokens"
    assert grid.note.startswith("26 of 34 tokens;")
    loss = found.figure("loss").row("a")[1]
    each = found.of_tokens("a", "loss").values[:, 1]
    assert np.isnan(each).sum() == LAST[left].sum()
    assert loss == np.nanmedian(each)
    share = found.figure("decided").row("a")
    np.testing.assert_allclose(share, found.of_tokens("a", "decided").values.mean(0))
    assert share[-1] == 1


def test_the_end_is_at_no_distance_from_itself() -> None:
    found = read({"a": drifting(1), "b": drifting(2)})
    for name in "ab":
        assert found.figure("kl").row(name)[-1] == 0
        assert found.figure("rank").row(name)[-1] == 1
        assert (np.diff(found.figure("kl").row(name)) < 0).all()


def test_the_distance_to_another_source() -> None:
    streams = {"a": drifting(1), "b": drifting(2)}
    grid = read(streams).figure("kl", to="b")
    for name, states in streams.items():
        expected = [np.median(slow_kl(probabilities(streams["b"][-1]), probabilities(one))) for one in states]
        np.testing.assert_allclose(grid.row(name), expected, rtol=1e-4, atol=1e-6)
    assert grid.title == "Distance from the final prediction, to b"
    assert grid.chance is not None
    own = read(streams).figure("kl").chance
    assert own is not None
    np.testing.assert_array_equal(grid.chance.low, np.asarray(own.low)[[1, 1]])
    assert "the average of b's final predictions" in grid.chance.how
    assert "the average of the source's final predictions" in own.how


def test_chance_is_guessing_by_frequency() -> None:
    states = drifting()
    found = read({"a": states})
    p = probabilities(states[-1])
    average = p.mean(0)
    guess = found.sources["a"].guess
    np.testing.assert_allclose(guess["kl"], slow_kl(p, average), rtol=1e-4)
    np.testing.assert_allclose(guess["entropy"], -(average * np.log(average)).sum(), rtol=1e-5)
    np.testing.assert_allclose(guess["probability"], average[p.argmax(-1)], rtol=1e-5)
    np.testing.assert_allclose(guess["decided"], p.argmax(-1) == average.argmax())
    for name in ("kl", "rank", "probability", "loss", "decided"):
        chance = found.figure(name).chance
        assert chance is not None
        low, high = np.asarray(chance.low), np.asarray(chance.high)
        assert low.shape == high.shape == (1, 1)
        middle = np.nanmean(guess[name]) if name == "decided" else np.nanmedian(guess[name])
        assert low <= middle <= high
        assert low < high
        assert "200 draws" in chance.how
    chance = found.figure("entropy").chance
    assert chance is not None
    np.testing.assert_allclose(chance.low, guess["entropy"][:1, None], rtol=1e-6)
    np.testing.assert_allclose(chance.high, math.log(VOCABULARY))


def test_a_source_that_says_the_same_everywhere_is_no_nearer_than_a_guess() -> None:
    """Its distance is 0 at every layer, and so is chance: nothing is learned from it."""
    found = read({"a": [torch.ones(COUNT, 6)] * 3}).figure("kl")
    assert found.chance is not None
    np.testing.assert_allclose(found.values, 0, atol=1e-6)
    np.testing.assert_allclose(found.chance.high, 0, atol=1e-6)


def test_reading_in_portions_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = {"a": drifting(1), "b": drifting(2)}
    whole = read(streams)
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(module, "AT_ONCE", 5 * VOCABULARY)
    parts = read(streams, progress=lambda done, total: told.append((done, total)))
    for name in FIGURES:
        one, other = whole.figure(name), parts.figure(name)
        np.testing.assert_allclose(other.values, one.values, rtol=1e-5, atol=1e-6)
        assert one.chance is not None
        assert other.chance is not None
        np.testing.assert_allclose(other.chance.high, one.chance.high, rtol=1e-5, atol=1e-6)
    pd.testing.assert_frame_equal(parts.outputs("a", "b"), whole.outputs("a", "b"), rtol=1e-4)
    # 6 portions of 28 tokens, two sources of 4 borders, each with its average.
    assert told == [(done, 60) for done in range(1, 61)]


def test_one_token_is_read_like_one_of_many() -> None:
    """Whether the others are sinks, or are not drawn, or there are none."""
    streams = {"a": drifting(1), "b": drifting(2)}
    found = read(streams, sinks=np.flatnonzero(INNER)[1:].tolist())
    assert len(found.drawn) == 1
    whole = read(streams)
    place = whole.drawn.tolist().index(found.drawn[0])
    for name in FIGURES:
        np.testing.assert_allclose(
            found.of_tokens("a", name).values[0], whole.of_tokens("a", name).values[place], rtol=1e-5, atol=1e-6
        )
    np.testing.assert_allclose(found.divergence["a", "b"], whole.divergence["a", "b"][place], rtol=1e-5)
    assert len(read(streams, count=1).drawn) == 1
    two = trace({"a": (model(), Numerals())}, "3 4")
    np.testing.assert_array_equal(two.lens.drawn, [1])
    assert two.lens.figure("kl").row("a")[-1] == 0


def test_stopped_the_tokens_read_so_far_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 5 * VOCABULARY)
    states = drifting(1)
    told: list[int] = []
    found = read({"a": states}, stop=lambda: len(told) >= 18, progress=lambda done, _total: told.append(done))
    # 6 averages, then 4 borders for each portion: three portions are whole.
    assert len(told) == 18
    assert len(found.drawn) == 15
    assert (np.diff(found.drawn) > 0).all()
    assert found.note.startswith("15 of 34 tokens")
    numbers = np.searchsorted(np.flatnonzero(INNER), found.drawn)
    expected = slow_kl(probabilities(states[-1]), probabilities(states[0]))[numbers]
    np.testing.assert_allclose(found.of_tokens("a", "kl").values[:, 0], expected, rtol=1e-4)
    assert len(set(TOKENS.prompt[found.drawn])) == 6, "all prompts are among them"
    nothing = read({"a": states}, stop=lambda: True)
    assert np.isnan(nothing.figure("kl").values).all()


def test_a_walk_that_was_stopped_has_no_final_prediction() -> None:
    streams = {"a": drifting(1), "b": drifting(2, borders=3)}
    found = read(streams, layers=2)
    assert np.isnan(found.figure("kl").row("a")).all()
    assert np.isfinite(found.figure("entropy").row("a")).tolist() == [True, True, True]
    assert np.isfinite(found.figure("kl").row("b")).all()
    assert np.isfinite(found.figure("kl", to="b").values).all()
    assert np.isnan(found.figure("decided").row("a")).all()
    whole = read(streams)
    np.testing.assert_array_equal(found.figure("entropy").row("a"), whole.figure("entropy").row("a")[:3])


def test_sources_of_other_vocabularies_are_not_held_against_each_other() -> None:
    streams = {"a": drifting(1), "b": drifting(2)}
    found = read(streams, {"a": head(6), "b": head(6, VOCABULARY + 3)})
    assert np.isnan(found.figure("kl", to="b").row("a")).all()
    assert np.isfinite(found.figure("kl", to="b").row("b")).all()
    assert np.isfinite(found.figure("kl").values).all()
    table = found.outputs("a", "b")
    assert table["kl"].isna().all()
    assert table["js"].isna().all()
    assert table["change"].notna().any()


def test_outputs_token_by_token() -> None:
    streams = {"a": drifting(1), "b": drifting(2, width=8)}
    table = read(streams).outputs("a", "b")
    p, q = (probabilities(states[-1]) for states in streams.values())
    order = np.argsort(-slow_kl(p, q), kind="stable")
    numbers = np.flatnonzero(INNER)[order]
    assert table["token"].tolist() == [TOKENS.words[one] for one in numbers]
    assert table["prompt"].tolist() == TOKENS.prompt[numbers].tolist()
    assert table["position"].tolist() == TOKENS.position[numbers].tolist()
    np.testing.assert_allclose(table["kl"], slow_kl(p, q)[order], rtol=1e-4)
    middle = (p + q) / 2
    np.testing.assert_allclose(table["js"], ((slow_kl(p, middle) + slow_kl(q, middle)) / 2)[order], rtol=1e-4)
    assert table["agree"].tolist() == (p.argmax(-1) == q.argmax(-1))[order].tolist()
    ends = LAST[order]
    assert (table["next"] == "").tolist() == ends.tolist()
    assert table["next"][~ends].tolist() == [TOKENS.words[one + 1] for one in numbers[~ends]]
    following = np.roll(TOKENS.ids, -1)[numbers]
    losses = [-np.log(one[order, following]) for one in (p, q)]
    np.testing.assert_allclose(table["loss of a"][~ends], losses[0][~ends], rtol=1e-4)
    np.testing.assert_allclose(table["change"][~ends], (losses[1] - losses[0])[~ends], rtol=1e-4, atol=1e-5)
    assert table["change"][ends].isna().all()
    turned = read(streams).outputs("b", "a")
    np.testing.assert_allclose(turned["js"].sort_values(), table["js"].sort_values())
    assert not np.allclose(turned["kl"], table["kl"])


def test_a_source_without_a_head_is_named() -> None:
    found = read({"a": drifting(1), "b": drifting(2)}, {"a": head(6)})
    assert tuple(found.sources) == ("a",)
    assert "Without a head that could be found: b." in found.note
    none = read({"a": drifting(1)}, {"c": head(6)}).figure("kl")
    assert none.values.size == 0
    assert none.chance is None
    assert "Without a head that could be found: a." in none.note


def test_some_tokens_are_drawn_and_it_is_said() -> None:
    found = read({"a": drifting(1), "b": drifting(2)}, count=7)
    assert len(found.drawn) == 7
    assert found.note.startswith("7 of 34 tokens")
    assert set(found.drawn) <= set(np.flatnonzero(INNER))
    whole = read({"a": drifting(1)}).of_tokens("a")
    some = found.of_tokens("a")
    assert set(some.rows) < set(whole.rows)
    np.testing.assert_allclose(some.values[3], whole.row(some.rows[3]), rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_real_decoder_the_last_layer_says_what_the_model_says(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=20, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.3,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval().to(dtype)
    handles = find(model)
    found = Lens(BATCHES, TOKENS)
    for _, seen in walk({"a": model}, {"a": handles}, BATCHES):
        for batch, one in zip(BATCHES, seen, strict=True):
            found.see(batch, one, (torch.arange(batch.ids.shape[1]) > 0).expand_as(batch.ids))
    trajectories = found.read({"a": lambda states: logits(model, handles, states)}, {"a": 3})
    with torch.no_grad():
        own = [torch.log_softmax(model(batch.ids).logits[:, 1:].double(), -1).flatten(0, 1) for batch in BATCHES]
    expected = torch.cat(own)
    near = {"atol": 1e-5} if dtype == torch.float32 else {"atol": 0.1}
    np.testing.assert_allclose(
        trajectories.of_tokens("a", "entropy").values[:, -1], -(expected.exp() * expected).sum(-1).numpy(), **near
    )
    ids = torch.from_numpy(np.roll(TOKENS.ids, -1)[INNER])
    loss = -expected.gather(-1, ids[:, None])[:, 0].numpy()
    np.testing.assert_allclose(trajectories.of_tokens("a", "loss").values[~LAST, -1], loss[~LAST], **near)
    assert (trajectories.of_tokens("a", "kl").values[:, -1] == 0).all()
    assert (trajectories.of_tokens("a", "kl").values[:, 0] > 0.01).any()


def test_what_there_is_not_is_refused() -> None:
    found = read({"base": drifting(1), "pirate": drifting(2)})
    with pytest.raises(InspectionError, match=r"lens, figure: there is no 'entropie'. Did you mean 'entropy'"):
        found.figure("entropie")
    with pytest.raises(InspectionError, match="lens, statistic: there is no 'mean'"):
        found.figure("kl", "mean")
    with pytest.raises(InspectionError, match=r"lens, to: there is no 'pirat'. Did you mean 'pirate'"):
        found.figure("kl", to="pirat")
    with pytest.raises(InspectionError, match="'rank' of a prediction is not held against another source"):
        found.figure("rank", to="pirate")
    with pytest.raises(InspectionError, match="lens, source: there is no 'bas'"):
        found.of_tokens("bas")
    with pytest.raises(InspectionError, match="lens, source: there is no 'bas'"):
        found.outputs("bas", "pirate")
    with pytest.raises(InspectionError, match="'base' is compared with itself"):
        found.outputs("base", "base")
