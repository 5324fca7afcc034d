"""Adapters: LoRA weights folded into the model they belong to, tensor by tensor, when a tensor is asked for.

A LoRA adapter keeps two thin matrices A (rank, in) and B (out, rank) for a matrix W (out, in) of its base, and means
W + s B A (Hu et al. 2021, arXiv:2106.09685, equation 3). Files are those of peft: ``adapter_config.json`` and
``adapter_model.safetensors``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from mergelab.errors import Problem, SourceError, raise_all
from mergelab.weights.files import Folder, Mapped
from mergelab.weights.header import FLOATS, TensorSpec
from mergelab.weights.hub import Repository
from mergelab.weights.lora import Lora, read_lora
from mergelab.weights.source import Source

if TYPE_CHECKING:
    import torch

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PICKLES = ("adapter_model.bin", "adapter_model.pt")
_BLOCK = 1 << 16  # elements of a fold that are computed at a time
_ROOT = "base_model.model."  # what peft puts before every name
# How the name of an adapter's tensor ends -> its part, and how the base's tensor of that module is called.
_ENDS: tuple[tuple[str, str, str], ...] = (
    (".lora_A.weight", "A", ".weight"),
    (".lora_B.weight", "B", ".weight"),
    (".lora_embedding_A", "A", ".weight"),
    (".lora_embedding_B", "B", ".weight"),
    (".lora_B.bias", "shift", ".bias"),
    (".base_layer.weight", "whole", ".weight"),
    (".base_layer.bias", "whole", ".bias"),
)


@dataclass(frozen=True)
class Change:
    """What an adapter does to one tensor of its base: (``whole`` or the base's own) + scale * product of ``factors``.

    Attributes:
        whole: name of the adapter's tensor that stands in for the base's, or None.
        factors: names of the adapter's tensors whose matrix product is added: B and A, the bias of B, or none.
        scale: factor of the product.
        transposed: the base stores this matrix as (in, out): the product is transposed.
    """

    whole: str | None
    factors: tuple[str, ...]
    scale: float
    transposed: bool


@dataclass(frozen=True)
class Adapter:
    """An opened LoRA adapter, fitted to its base.

    Attributes:
        source: its address.
        base: the model it was trained on, as the training named it, or None.
        changes: what it does, by the name of the base's tensor.
    """

    source: Source
    base: str | None
    changes: Mapping[str, Change]
    _files: Folder | Repository = field(repr=False, compare=False)
    _mapped: Mapped = field(repr=False, compare=False)
    _folded: WeakValueDictionary[str, torch.Tensor] = field(repr=False, compare=False)

    def apart(self) -> Adapter:
        """The same adapter in memory of its own: see ``Checkpoint.apart``."""
        return replace(self, _mapped=self._mapped.again(), _folded=WeakValueDictionary())

    def path(self, file: str) -> Path | None:
        """Local path of one of the adapter's own files (tokenizer, README ...), or None where it has none."""
        return self._files.file(file)

    def fold(self, name: str, stored: torch.Tensor) -> torch.Tensor:
        """A tensor of the base with the adapter in it: same shape and dtype, computed in float32 (float64 for float64)
        and rounded once. A tensor the adapter leaves alone is returned as it is.

        As long as somebody holds the result, asking again gives the same one.

        Raises:
            SourceError: the adapter's file is gone, or changed since it was opened.
        """
        import torch

        change = self.changes.get(name)
        if change is None:
            return stored
        self._parts(change)
        made = self._folded.get(name)
        if made is None:
            made = self.rows(name, stored, 0, len(torch.atleast_1d(stored))).view(stored.shape)
            self._folded[name] = made
        return made

    def rows(self, name: str, stored: torch.Tensor, first: int, stop: int) -> torch.Tensor:
        """Rows ``first`` to ``stop`` of a folded tensor, to the bit; no others are computed. Errors as ``fold``.

        Products are taken a block of rows at a time, the same blocks whoever asks: how a sum is rounded depends on the
        shapes of the matrices.
        """
        import torch

        change = self.changes.get(name)
        if change is None:
            return stored[first:stop]
        wide = torch.promote_types(stored.dtype, torch.float32)
        whole, factors = self._parts(change)
        whole, factors = torch.atleast_1d(stored if whole is None else whole), [factor.to(wide) for factor in factors]
        stop = min(stop, len(whole))
        made = torch.empty(max(0, stop - first), *whole.shape[1:], dtype=stored.dtype)
        many = max(1, _BLOCK // max(1, math.prod(whole.shape[1:])))
        for at in range(first // many * many, stop, many):
            block = whole[at : at + many].to(wide)
            if factors:
                block = block + change.scale * _product(factors, slice(at, at + many), change.transposed)
            start, end = max(at, first), min(at + many, stop)
            made[start - first : end - first] = block[start - at : end - at]
        return made

    def _parts(self, change: Change) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
        """What stands in for the base's tensor, if anything does, and the factors of what is added."""
        whole = self._tensor(change.whole) if change.whole else None
        return whole, [self._tensor(factor) for factor in change.factors]

    def _tensor(self, name: str) -> torch.Tensor:
        path = self._files.file(WEIGHTS)
        if path is None:
            hint = "It vanished after the adapter was opened: put it back, and open the model again."
            raise SourceError(Problem(str(self.source), f"weight file {WEIGHTS!r} is gone.", hint))
        return self._mapped.tensor(path, name)


def _product(factors: Sequence[torch.Tensor], rows: slice, transposed: bool) -> torch.Tensor:
    """Rows of the product of matrices, or of its transpose."""
    import torch

    if transposed:
        return reduce(torch.matmul, (*factors[:-1], factors[-1][:, rows])).T
    return reduce(torch.matmul, (factors[0][rows], *factors[1:]))


@dataclass(frozen=True)
class Loose:
    """An adapter as it lies in its files, not yet fitted to a base.

    Attributes:
        source: its address.
        lora: its settings.
        specs: header entry of every tensor by name, in file order.
    """

    source: Source
    lora: Lora
    specs: Mapping[str, TensorSpec]
    _files: Folder | Repository = field(repr=False, compare=False)
    _mapped: Mapped = field(repr=False, compare=False)

    def onto(self, base: Mapping[str, TensorSpec], prefix: str) -> Adapter:
        """Fit it to a base.

        Args:
            base: header entry of every tensor of the base.
            prefix: what stands before the layer number in the names of the base's layers.

        Raises:
            SourceError: tensors that fit none of the base, or fit in name and not in shape; all of them at once.
        """
        changes, problems = _Fitting(self, base, prefix).changes()
        raise_all(SourceError, problems)
        return Adapter(self.source, self.lora.base, changes, self._files, self._mapped, WeakValueDictionary())


def read_adapter(source: Source) -> tuple[Loose | None, list[Problem]]:
    """Read an adapter's settings and header, no weights; None with everything that is wrong with them."""
    try:
        folder = source.folder
        files = Repository(source) if folder is None else Folder(folder)
        stamps = files.stamps() if isinstance(files, Folder) else {}
        config = files.file(CONFIG)
        if config is None:
            what = f"has no {CONFIG}, so it is no adapter."
            hint = "Behind the '+' goes the folder or hub id of a LoRA that was saved by peft."
            return None, [Problem(str(source), what, hint)]
        lora, problems = read_lora(config)
        if files.has(WEIGHTS):
            specs, broken = files.header(WEIGHTS)
            problems += broken
        else:
            specs = {}
            problems.append(_without_weights(source, files))
    except SourceError as error:
        return None, list(error.problems)
    except OSError as error:
        return None, [Problem(str(source), f"cannot be read ({error}).", "Mend its files or their permissions.")]
    if problems or lora is None:
        return None, problems
    return Loose(source, lora, specs, files, Mapped(stamps)), []


def _without_weights(source: Source, files: Folder | Repository) -> Problem:
    pickled = next((name for name in _PICKLES if files.has(name)), None)
    if pickled:
        what = f"its weights are a pickle ({pickled}), which can run code when it is read."
        return Problem(str(source), what, f"Load it with peft where you trust it, and save it again: {WEIGHTS}.")
    return Problem(str(source), f"has no {WEIGHTS}.", "The adapter is incomplete: download or save it again.")


class _Fitting:
    """Lays an adapter's tensors beside those of a base. Collects problems instead of stopping at the first."""

    def __init__(self, loose: Loose, base: Mapping[str, TensorSpec], prefix: str) -> None:
        self.loose = loose
        self.base = base
        self.longer = {rest: name for name in base for rest in [name.partition(".")[2]] if "." in rest}
        self.prefix = prefix
        told = _inputs_first(base, prefix)
        self.inputs_first = loose.lora.transposed if told is None else told
        # The base's tensor -> part ("A", "B", "shift", "whole") -> the adapter's tensor; and what it calls the module.
        self.parts: dict[str, dict[str, TensorSpec]] = {}
        self.modules: dict[str, str] = {}
        self.homeless: list[str] = []
        self.clashes: list[str] = []

    def changes(self) -> tuple[dict[str, Change], list[Problem]]:
        """What the adapter does to each tensor of the base, and what does not fit."""
        for name, spec in self.loose.specs.items():
            self._place(name, spec)
        changes = {name: self._change(name, parts) for name, parts in self.parts.items()}
        where, home = str(self.loose.source), self.loose.lora.base
        hint = f"Put it on the model it was trained on{f' (it names {home!r})' if home else ''}."
        problems = []
        if self.homeless:
            tied = any("lm_head." in name or "embed_out." in name for name in self.homeless)
            why = (
                " A head that is tied to the embeddings is not stored, and takes no change of its own." if tied else ""
            )
            problems.append(Problem(where, f"fits no tensor of the base: {_listed(self.homeless)}.{why}", hint))
        if self.clashes:
            problems.append(Problem(where, f"clashes with the base: {_listed(self.clashes)}.", hint))
        if not self.loose.specs:
            problems.append(Problem(where, "holds no tensors.", "The adapter is empty: save it again."))
        return changes, problems

    def _place(self, name: str, spec: TensorSpec) -> None:
        """Find the base's tensor that one of the adapter's belongs to."""
        own = name.removeprefix(_ROOT)
        end, part, rest = next((end for end in _ENDS if own.endswith(end[0])), ("", "whole", ""))
        module = own.removesuffix(end)
        target = self._named(module + rest)
        if target is None:
            self.homeless.append(name)
            return
        parts = self.parts.setdefault(target, {})
        if part in parts:
            self.clashes.append(f"{name} and {parts[part].name} both belong to {target}")
        parts[part] = spec
        if end:
            self.modules[target] = module

    def _named(self, name: str) -> str | None:
        """The base's tensor of this name. A checkpoint may store one word more or less before it (``h.0...`` for
        ``transformer.h.0...``), as the model was saved with its head or without.
        """
        shorter = name.partition(".")[2]
        return name if name in self.base else shorter if shorter in self.base else self.longer.get(name)

    def _change(self, target: str, parts: Mapping[str, TensorSpec]) -> Change:
        whole, a, b, shift = (parts.get(part) for part in ("whole", "A", "B", "shift"))
        for spec in (whole, shift):
            if spec and spec.shape != self.base[target].shape:
                self._clash(f"{spec.name} {list(spec.shape)}", target)
        strange = next((spec for spec in (self.base[target], *parts.values()) if spec.dtype not in FLOATS), None)
        if strange:
            self.clashes.append(f"{strange.name} is {strange.dtype}: only plain floats can be added up")
        for half, other, missing in ((a, b, "lora_B"), (b, a, "lora_A")):
            if half and not other:
                self.clashes.append(f"{half.name} has no counterpart {missing}")
        transposed = bool(a and b and self._transposed(target, a, b))
        factors = tuple(spec.name for spec in (b, a, shift) if spec)
        scale = self.loose.lora.scale_of(self.modules.get(target, ""))
        return Change(whole.name if whole else None, factors, scale, transposed)

    def _transposed(self, target: str, a: TensorSpec, b: TensorSpec) -> bool:
        """Whether the base stores this matrix as (in, out): an embedding does, and a layer of GPT-2.

        The base itself tells. peft's fan_in_fan_out counts only where it does not: that is one switch for all modules,
        saved as the last of them had it.
        """
        shape, rank = self.base[target].shape, self.loose.lora.rank_of(self.modules[target])
        if len(a.shape) != 2 or len(b.shape) != 2 or not a.shape[0] == b.shape[1] == rank:
            self.clashes.append(f"{a.name} {list(a.shape)} and {b.name} {list(b.shape)} are no pair of rank {rank}")
            return False
        embedding = a.name.endswith("lora_embedding_A")
        transposed = embedding or (target.startswith(self.prefix) and self.inputs_first)
        product = (b.shape[0], a.shape[1])
        if (product[::-1] if transposed else product) != shape:
            self._clash(f"{b.name} times {a.name} {list(product)}", target)
        return transposed

    def _clash(self, what: str, target: str) -> None:
        self.clashes.append(f"{what} against {target} {list(self.base[target].shape)}")


def _inputs_first(base: Mapping[str, TensorSpec], prefix: str) -> bool | None:
    """Whether a model's layers store matrices as (in, out), by oblong matrices with a bias of length ``out``; None
    where it has no such matrix.
    """
    for name, spec in base.items():
        bias = base.get(f"{name.removesuffix('.weight')}.bias")
        if name.startswith(prefix) and bias and len(spec.shape) == 2 and spec.shape[0] != spec.shape[1]:
            return bias.shape == spec.shape[1:]
    return None


def _listed(found: Sequence[str]) -> str:
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return ", ".join(found[:8]) + more
