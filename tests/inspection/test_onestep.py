"""One step: each merged layer put alone into the host, against models in which it really is put there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mergelab import sample
from mergelab.inspection.handles import find
from mergelab.inspection.onestep import Place, as_grid, one_step, places
from mergelab.inspection.reading import batches
from mergelab.inspection.seams import seams
from mergelab.inspection.seen import Batch
from mergelab.models import assemble
from mergelab.recipes import Recipe, graft, plan, repeat, stack
from tests.inspection.changed_base import Tensors, noisy, plant
from tests.inspection.kinds import ODD, made
from tests.models.families import save

HOST, DONOR = sample.path("arithmetic"), sample.path("pirate")
PROMPTS = ("27+35=", "reverse cat dog sun :", "Once upon a time there was a", "sort pear cat moon :", "4+9=")


def everything(states: torch.Tensor) -> torch.Tensor:
    return torch.ones(states.shape[:-1], dtype=torch.bool)


def hidden(model, read: tuple[Batch, ...]) -> list[list[torch.Tensor]]:
    """What transformers itself gives: by batch, the states in front of every layer."""
    with torch.no_grad():
        return [list(model(batch.ids, output_hidden_states=True).hidden_states) for batch in read]


def apart(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    """Mean over tokens of |ours - theirs| / |theirs|, one at a time."""
    values = []
    for x, h in zip(ours, theirs, strict=True):
        pairs = zip(x.flatten(0, 1).double(), h.flatten(0, 1).double(), strict=True)
        values += [float((a - b).norm() / b.norm()) for a, b in pairs]
    return sum(values) / len(values)


def measured(recipe: Recipe) -> np.ndarray:
    planned = plan(recipe)
    with (
        assemble(planned) as merged,
        assemble(stack([(planned.donor.source, 0, planned.donor.layers)], base=HOST)) as host,
    ):
        read = batches(host.tokenizer, PROMPTS)
        layers = find(host.model).layers, find(merged.model).layers
        return one_step(host.model, merged.model, layers, places(planned), read, everything)


def test_a_donors_layer_is_where_the_host_with_that_one_layer_would_be() -> None:
    found = measured(graft(HOST, DONOR, (2, 5)))
    with assemble(stack([(HOST, 0, 10)], base=HOST)) as host:
        read = batches(host.tokenizer, PROMPTS)
        home = hidden(host.model, read)
    for layer in (2, 3, 4):
        with assemble(graft(HOST, DONOR, (layer, layer + 1))) as alone:
            states = hidden(alone.model, read)
        wanted = apart([one[layer + 1] for one in states], [one[layer + 1] for one in home])
        assert found[0, layer] == pytest.approx(wanted, rel=1e-4)
        assert found[0, layer] > 0.01
        without = apart([one[layer] for one in home], [one[layer + 1] for one in home])
        assert found[1, layer] == pytest.approx(without, rel=1e-6)
    assert found[0, [0, 1, 5, 6, 7, 8, 9]].tolist() == [0] * 7


def test_a_layer_too_many_is_where_the_host_with_one_more_layer_would_be() -> None:
    found = measured(repeat(HOST, (3, 5)))
    with assemble(stack([(HOST, 0, 10)], base=HOST)) as host:
        read = batches(host.tokenizer, PROMPTS)
        home = hidden(host.model, read)
    for merged, layer in ((5, 3), (6, 4)):
        with assemble(stack([(HOST, 0, 5), (HOST, layer, layer + 1), (HOST, 5, 10)], base=HOST)) as longer:
            states = hidden(longer.model, read)
        wanted = apart([one[6] for one in states], [one[5] for one in home])
        assert found[0, merged] == pytest.approx(wanted, rel=1e-4)
    assert np.isnan(found[1]).tolist() == [False] * 5 + [True] * 2 + [False] * 5
    assert found[0, [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]].tolist() == [0] * 10


@pytest.mark.parametrize("kind", ["gpt2", "gemma3_text", "olmo2", "mixtral"])
def test_decoders_of_other_kinds(kind: str, tmp_path: Path) -> None:
    """The donor's layers move the host's states, its own do not."""
    host, donor = (save(kind, tmp_path / str(seed), seed=seed) for seed in (1, 2))
    planned = plan(graft(host, donor, (2, 4)))
    read = (Batch(torch.tensor([[5, 9, 33, 7, 20, 41]]), ()), Batch(torch.tensor([[8, 3], [60, 11]]), ()))
    with assemble(planned) as merged, assemble(stack([(host, 0, 6)], base=host)) as own:
        layers = find(own.model).layers, find(merged.model).layers
        found = one_step(own.model, merged.model, layers, places(planned), read, everything)
        hooks = [module for module in merged.model.modules() if module._forward_hooks or module._forward_pre_hooks]
    assert found[0, [0, 1, 4, 5]].tolist() == [0] * 4
    assert (found[0, 2:4] > 0.01).all()
    assert (found[1] > 0).all()
    assert not hooks


@pytest.mark.parametrize("kind", ODD)
def test_every_kind_of_decoder_is_moved_by_the_layer_that_was_changed_and_by_no_other(kind: str) -> None:
    """Also where later layers share keys and values (Gemma 4), and without a head being run."""
    host, merged = made(kind), made(kind)
    found = find(host)
    layer = merged.get_submodule(f"{found.layers}.2")
    with torch.no_grad():
        for parameter in layer.get_submodule(found.writers[2][-1].path).parameters():
            parameter.add_(torch.randn_like(parameter))
    heard: list[int] = []
    for model in (host, merged):
        model.get_output_embeddings().register_forward_hook(lambda *_: heard.append(1))
    read = (Batch(torch.tensor([[5, 9, 33, 7, 20, 41]]), ()), Batch(torch.tensor([[8, 3], [60, 11]]), ()))
    at = [Place(number) for number in range(6)]
    moved, without = one_step(host, merged, (found.layers,) * 2, at, read, everything)
    assert moved[[0, 1, 3, 4, 5]].tolist() == [0] * 5
    assert moved[2] > 0.01
    assert (without > 0).all()
    assert heard == []


def test_tokens_that_do_not_count_change_nothing_and_a_stopped_pass_tells_nothing() -> None:
    with assemble(graft(HOST, DONOR, (2, 4))) as merged, assemble(stack([(HOST, 0, 10)], base=HOST)) as host:
        read = batches(host.tokenizer, PROMPTS)
        layers, at = (find(host.model).layers,) * 2, places(merged.plan)

        def inner(states: torch.Tensor) -> torch.Tensor:
            kept = everything(states)
            kept[:, 0] = False
            return kept

        some = one_step(host.model, merged.model, layers, at, read, inner)
        every = one_step(host.model, merged.model, layers, at, read, everything)
        none = one_step(host.model, merged.model, layers, at, read, lambda states: ~everything(states))
        late = one_step(host.model, merged.model, layers, at, read, everything, iter([False, True]).__next__)
    tokens = sum(batch.ids.numel() for batch in read)
    first = one_first(every, some, tokens, len(PROMPTS))
    assert (first[0, 2:4] > 0).all()
    assert not np.allclose(every[:, 2:4], some[:, 2:4], rtol=1e-3)
    assert np.isnan(none).all()
    assert np.isnan(late).all()


def test_first_tokens_and_sinks_are_left_out_of_what_seams_tells(tmp_path: Path) -> None:
    """One word's state is a hundred times as long as others': slowly, the mean over all tokens but it and the first."""
    long = [" ".join(PROMPTS[start:] + PROMPTS[:start]) for start in range(3)]
    with assemble(stack([(HOST, 0, 10)], base=HOST)) as own:
        ids = [own.tokenizer(prompt)["input_ids"] for prompt in long]
    word = ids[0][3]

    def sink(tensors: Tensors) -> None:
        tensors["model.embed_tokens.weight"][word] *= 100

    def spoilt(tensors: Tensors) -> None:
        sink(tensors)
        noisy(range(2, 4), 0.3, seed=1)(tensors)

    host, donor = plant(tmp_path / "host", sink), plant(tmp_path / "donor", spoilt)
    read = tuple(Batch(torch.tensor([one]), ()) for one in ids)
    counts = [torch.tensor(one) != word for one in ids]
    for one in counts:
        one[0] = False
    found = seams(graft(host, donor, (2, 4)), long).onestep().values[0]
    with assemble(stack([(host, 0, 10)], base=host)) as own:
        home = hidden(own.model, read)
    for layer in (2, 3):
        with assemble(graft(host, donor, (layer, layer + 1))) as alone:
            states = hidden(alone.model, read)
        ends = [one[layer + 1][0] for one in states], [one[layer + 1][0] for one in home]

        def over(kept: list[torch.Tensor], ends: tuple[list[torch.Tensor], ...] = ends) -> float:
            ours, theirs = ([one[rows][None] for one, rows in zip(side, kept, strict=True)] for side in ends)
            return apart(ours, theirs)

        assert found[layer] == pytest.approx(over(counts), rel=1e-4)
        assert found[layer] != pytest.approx(over([one | (torch.arange(len(one)) == 0) for one in counts]), rel=1e-3)
        assert found[layer] != pytest.approx(over([torch.arange(len(one)) > 0 for one in counts]), rel=1e-3)


def one_first(every: np.ndarray, some: np.ndarray, tokens: int, prompts: int) -> np.ndarray:
    """The mean over first tokens, from the mean over all and the mean over the others."""
    return (every * tokens - some * (tokens - prompts)) / prompts


def test_places_in_a_host_of_the_same_depth_are_those_of_the_same_number() -> None:
    shuffled = stack([(HOST, 5, 7), (DONOR, 0, 4), (HOST, 1, 5)], base=HOST)
    assert places(plan(shuffled)) == tuple(Place(number) for number in range(10))


@pytest.mark.parametrize(
    ("blocks", "wanted"),
    [
        ([(HOST, 0, 6), (HOST, 3, 10)], [*range(6), "6+", "6+", "6+", *range(6, 10)]),
        ([(HOST, 0, 2), (DONOR, 4, 7), (HOST, 3, 10)], [0, 1, 2, "3+", "3+", *range(3, 10)]),
        ([(HOST, 0, 2), (HOST, 4, 10)], [0, 1, *range(4, 10)]),
        ([(DONOR, 0, 3), (HOST, 5, 9)], [0, 1, 2, 5, 6, 7, 8]),
        ([(HOST, 0, 10), (DONOR, 8, 10)], [*range(10), "10+", "10+"]),
        ([(HOST, 0, 3), (DONOR, 1, 3)], [0, 1, 2, 3, 4]),
    ],
)
def test_places_in_a_host_of_another_depth(blocks: list[tuple[Path, int, int]], wanted: list[int | str]) -> None:
    found = [place.border if place.instead else f"{place.border}+" for place in places(plan(stack(blocks, base=HOST)))]
    assert found == wanted


def test_the_grid_names_layers_and_says_which_are_one_too_many() -> None:
    planned = plan(repeat(HOST, (3, 5)))
    grid = as_grid(np.zeros((2, 12)), planned, places(planned))
    assert grid.columns == tuple(map(str, range(12)))
    assert "handed through: 5, 6." in grid.note
    assert grid.chance is not None
    assert str(grid.measure.title) in grid.title
