"""Probes: which layers encode a property, as far as a linear reader can tell, beside what that is held against.

A probe that is right says that the property can be read off the states, not that the model uses it. Beside it stand the
commonest label, the same model with random weights, and a control task: labels drawn at random for each word type
(Hewitt & Liang, arXiv:1909.03368). What a probe reads of the control it has learned by heart; what it reads beyond,
its selectivity, is in the states.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mergelab.errors import InspectionError, Problem, raise_all
from mergelab.inspection.grid import Chance, Floats, Grid, Measure
from mergelab.inspection.handles import find
from mergelab.inspection.labels import Labeller, labelled
from mergelab.inspection.reading import Candidate, open_models
from mergelab.inspection.seen import Batch
from mergelab.inspection.walk import walk

PROBE = Measure(
    "probe",
    "What a linear probe reads",
    "share right",
    "how often a linear classifier, fitted on the states of other prompts, names the label of a token",
    "mean over held-out tokens of [argmax_k (W z(h) + b)_k = y], z: standardised, W: logistic regression with an L2 "
    "penalty of 1; prompts are split into folds, so that no prompt is both learned from and asked about",
    "Hewitt & Liang, arXiv:1909.03368, for the control task and selectivity",
    reading=(
        "Compare with the rows below: what the control labels reach was learned by heart, what random weights reach is "
        "in the tokens themselves. Selectivity is labels less control labels: large, and the states tell more than "
        "words learned by heart would; below 0, and the labels are harder to tell than the control's, as of a property "
        "that does not hang on the word. Readable does not mean used."
    ),
)
WIDEST = 256  # channels that a probe reads; wider states are projected at random
_RESAMPLES = 200
_ITERATIONS = 300
RANDOM = "random weights"
_SELECTIVITY = (
    "Selectivity below 0 is no error: there these labels are harder to tell than the control's. Whether they can be "
    "told at all is seen against the band and random weights."
)
_COLUMNS = ["layer", "accuracy", "low", "high", "control", "selectivity", RANDOM]

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Probed:
    """What linear probes read off each layer of a source.

    Attributes:
        table: a row for each layer, and one for what leaves the last: "layer", "accuracy", "low" and "high" (95 %, over
            prompts), "control", "selectivity" (accuracy - control), "random weights" (NaN: not asked for), all as
            shares. ``attrs`` has the number of tokens, of prompts, and the share of the commonest label.
        of: what was probed, in words.
        note: what else one has to know.
        partial: it was stopped: layers are missing.
    """

    table: pd.DataFrame
    of: str
    note: str
    partial: bool = False

    def __repr__(self) -> str:
        return f"<Probed: {self.of}, {len(self.table)} layers>"

    def __str__(self) -> str:
        return str(self.grid())

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """What a terminal shows."""
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return self.grid()._repr_html_()

    def grid(self) -> Grid:
        """Accuracy of the labels, of the control's, with random weights, and selectivity: by layers."""
        names = {"accuracy": "labels", "control": "control labels", RANDOM: RANDOM}
        rows = [self.table[name].to_numpy(dtype=np.float64) for name in (*names, "selectivity")]
        # Tokens of one prompt are right or wrong together: prompts are counted.
        commonest, prompts = self.table.attrs["commonest"], self.table.attrs["prompts"]
        slack = 1.96 * np.sqrt(commonest * (1 - commonest) / prompts)
        low, high = np.full((4, len(self.table)), np.nan), np.full((4, len(self.table)), np.nan)
        low[:3], high[:3] = 0.0, min(1.0, commonest + slack)
        chance = Chance(low, high, "at best what always saying the commonest label gives, 97.5 % for so many prompts")
        layers = tuple(map(str, self.table["layer"]))
        axes = ("what is read", "layer")
        note = f"{self.note} {_SELECTIVITY}" if (rows[-1] < 0).any() else self.note
        return Grid(PROBE, np.stack(rows), axes, (*names.values(), "selectivity"), layers, self.of, chance, note)


def probe(
    source: Candidate,
    prompts: str | Sequence[str],
    labels: str | Labeller | Sequence[str] = "class",
    *,
    tokens: int = 1000,
    folds: int = 5,
    seed: int = 0,
    baseline: bool = True,
    device: str | torch.device = "auto",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Probed:
    """Which layers of a source encode what ``labels`` say of its tokens.

    The first token of each prompt is left out: it is a sink in most models, the same in every prompt.

    Args:
        source: as for ``trace``.
        prompts: at least as many as folds.
        labels: "class" (a word's beginning, its middle, digits, punctuation ...), "position" (quarter of the prompt),
            "word" (which of the commonest tokens), a function from a prompt's tokens, as text, to a label or None for
            each; or a label for each prompt, which is looked for in its last token, as is "skill" (which skill of the
            sample family the prompt asks for).
        tokens: at most so many are read, drawn with ``seed``, the same in every layer.
        folds: into how many parts prompts are split.
        baseline: probe the same architecture with random weights, too. It takes the memory of the model once more.
        progress: gets how many layers are done, and of how many; what leaves the last one counts as one.
        stop: asked before every layer; those that are done stand.

    Raises:
        InspectionError: labels do not fit, or there are too few of them, of tokens or of prompts.
        MergelabError: as ``open_models``.
    """
    with open_models([source], device) as opened:
        ((name, model),) = opened.models.items()
        batches = opened.batches(prompts)
        asked = _asked(labels, batches, tokens, folds, seed)
        models = {name: model} | ({RANDOM: _random(model, seed)} if baseline else {})
        rows: list[dict[str, float]] = []
        unsettled = 0
        depth = find(model).depth
        for layer, states in _borders(models, batches, asked, seed, stop):
            right, slow = _right(states[name], asked.labels, asked)
            control, also = _right(states[name], asked.control, asked)
            bare, too = _right(states[RANDOM], asked.labels, asked) if baseline else (np.full(1, np.nan), 0)
            low, high = _over_prompts(right, asked.groups, seed)
            figures = {"accuracy": right.mean(), "low": low, "high": high, "control": control.mean()}
            selectivity = right.mean() - control.mean()
            rows.append({"layer": layer, **figures, "selectivity": selectivity, RANDOM: bare.mean()})
            unsettled += slow + also + too
            progress(layer + 1, depth + 1)
    table = pd.DataFrame(rows, columns=_COLUMNS).astype({"layer": int})
    table.attrs.update(tokens=len(asked.labels), prompts=len(set(asked.groups.tolist())), commonest=asked.commonest)
    what = labels if isinstance(labels, str) else "labels of one's own"
    return Probed(table, f"{what} in {name}", asked.note + _unsettled(unsettled), partial=len(rows) <= depth)


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is read, and what is looked for in it.

    Attributes:
        batches, prompts, positions: where each token stands: int64, shape (tokens,).
        labels, control: what it is, and what the control says it is: numbers from 0 on.
        groups: the prompt that each belongs to.
        folds: into how many parts prompts are split.
        commonest: share of the commonest label.
        note: in words.
    """

    batches: Numbers
    prompts: Numbers
    positions: Numbers
    labels: Numbers
    control: Numbers
    groups: Numbers
    folds: int
    commonest: float
    note: str


def _asked(
    labels: str | Labeller | Sequence[str], batches: Sequence[Batch], tokens: int, folds: int, seed: int
) -> _Asked:
    places = [(number, row) for number, batch in enumerate(batches) for row in range(len(batch.words))]
    order = np.argsort([batches[number].places[row] for number, row in places])  # as the prompts were given
    places = [places[at] for at in order]
    words = [batches[number].words[row] for number, row in places]
    told, of_prompts = labelled(labels, words)
    alike = {text: group for group, text in reversed(list(enumerate(words)))}  # a text that comes twice is one group
    found = [
        (*places[group], at, label, words[group][at], alike[words[group]])
        for group, own in enumerate(told)
        for at, label in enumerate(own)
        if label is not None and (at > 0 or of_prompts)
    ]
    draws = np.random.default_rng(seed)
    if len(found) > max(tokens, 0):
        found = [found[at] for at in np.sort(draws.choice(len(found), max(tokens, 0), replace=False))]
    kinds = sorted({label for *_, label, _, _ in found})
    groups = len({group for *_, group in found})
    problems = []
    if folds < 2:
        what = f"{folds} leaves no prompts to ask about beside those that are learned from."
        problems.append(Problem("folds", what, "Give 2 folds or more."))
    elif groups < folds:
        what = f"{groups} prompts with labels cannot be split into {folds} folds."
        hint = "Give more prompts, or fewer folds." if folds > 2 else "Give at least 2 prompts with labels."
        problems.append(Problem("prompts", what, hint))
    if len(kinds) < 2:
        what = f"there {'is one' if kinds else 'is none'} among {len(found)} tokens: nothing is to be told apart."
        problems.append(Problem("labels", what, "Give labels of two kinds or more, and prompts that have them."))
    raise_all(InspectionError, problems)
    numbers = np.array([kinds.index(label) for *_, label, _, _ in found])
    if of_prompts:
        control, how = draws.permutation(numbers), "labels shuffled among prompts"
    else:
        types = sorted({word for *_, word, _ in found})
        drawn = dict(zip(types, draws.choice(numbers, len(types)), strict=True))
        control = np.array([drawn[word] for *_, word, _ in found])
        how = "a label drawn for each word type, to be learned by heart"
    batch, row, at, *_, group = (list(one) for one in zip(*found, strict=True))
    note = f"{len(found)} tokens of {groups} prompts, {len(kinds)} labels, {folds} folds. Control: {how}."
    return _Asked(
        np.array(batch),
        np.array(row),
        np.array(at),
        numbers,
        control,
        np.array(group),
        folds,
        float(np.bincount(numbers).max() / len(found)),
        note,
    )


def _borders(
    models: Mapping[str, Any], batches: Sequence[Batch], asked: _Asked, seed: int, stop: Callable[[], bool]
) -> Iterator[tuple[int, dict[str, Floats]]]:
    """What enters each layer, and what leaves the last, at the tokens: float64, shape (tokens, channels)."""
    handles = {name: find(model) for name, model in models.items()}

    def taken(layer: int, states: Sequence[torch.Tensor]) -> Floats:
        rows = torch.stack(
            [
                states[number][row, at]
                for number, row, at in zip(asked.batches, asked.prompts, asked.positions, strict=True)
            ]
        )
        values = rows.double().cpu().numpy()
        width = values.shape[1]
        if width <= WIDEST:
            return values
        return values @ np.random.default_rng([seed, layer]).standard_normal((width, WIDEST)) / np.sqrt(WIDEST)

    layer, last = -1, {}
    for layer, seen in walk(models, handles, batches, parts=False, stop=stop):
        yield layer, {name: taken(layer, [one[name].before for one in seen]) for name in models}
        last = {name: [one[name].after for one in seen] for name in models}
    if layer + 1 == next(iter(handles.values())).depth and not stop():
        yield layer + 1, {name: taken(layer + 1, states) for name, states in last.items()}


def _right(states: Floats, labels: Numbers, asked: _Asked) -> tuple[Floats, int]:
    """Where probes that were fitted on other prompts are right, 1 or 0, and how many of them did not settle."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold
    from sklearn.preprocessing import StandardScaler

    right = np.zeros(len(labels))
    unsettled = 0
    for learned, held_out in GroupKFold(asked.folds).split(states, labels, asked.groups):
        scaler = StandardScaler().fit(states[learned])
        commonest = np.bincount(labels[learned]).argmax()
        if len(set(labels[learned].tolist())) == 1:
            right[held_out] = labels[held_out] == commonest
            continue
        probe_ = LogisticRegression(max_iter=_ITERATIONS, tol=1e-3)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", ConvergenceWarning)
            probe_.fit(scaler.transform(states[learned]), labels[learned])
        unsettled += any(issubclass(one.category, ConvergenceWarning) for one in said)
        right[held_out] = probe_.predict(scaler.transform(states[held_out])) == labels[held_out]
    return right, unsettled


def _over_prompts(right: Floats, groups: Numbers, seed: int) -> tuple[float, float]:
    """95 % of the means of resampled prompts (bootstrap by clusters)."""
    names, inside = np.unique(groups, return_inverse=True)
    hits, sizes = np.bincount(inside, right), np.bincount(inside)
    drawn = np.random.default_rng(seed).integers(len(names), size=(_RESAMPLES, len(names)))
    low, high = np.quantile(hits[drawn].sum(1) / sizes[drawn].sum(1), [0.025, 0.975])
    return float(low), float(high)


def _random(model: Any, seed: int) -> Any:
    """The same architecture with the random weights that its training began with, as transformers draws them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = type(model)(copy.deepcopy(model.config))
    return twin.to(model.device, model.dtype).eval().requires_grad_(requires_grad=False)


def _unsettled(count: int) -> str:
    return f" {count} probes did not settle in {_ITERATIONS} iterations: their figures may be too low." if count else ""
