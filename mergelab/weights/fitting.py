"""Fitting: an adapter's tensors laid beside those of the model they belong to. From headers alone.

What an adapter means is what the model did while it was trained, peft's adapted model. Where peft's
``merge_and_unload`` makes another of it, that one is not followed: a change of embeddings that are also the head by
tying acts on the embeddings alone, unless the adapter says ``ensure_weight_tying``, and one of the head on the head
alone. Then the model has a head of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mergelab.errors import Problem
from mergelab.weights.anatomy import HEADS, Anatomy
from mergelab.weights.header import FLOATS, ITEM_BITS, TensorSpec
from mergelab.weights.lora import Lora
from mergelab.weights.source import Source

ROOT = "base_model.model."  # what peft puts before every name
# How the name of an adapter's tensor ends -> its part, and how the base's tensor of that module is called.
_ENDS: tuple[tuple[str, str, str], ...] = (
    (".lora_A.weight", "A", ".weight"),
    (".lora_B.weight", "B", ".weight"),
    (".lora_embedding_A", "A", ".weight"),
    (".lora_embedding_B", "B", ".weight"),
    (".lora_B.bias", "shift", ".bias"),
    (".lora_magnitude_vector", "lengths", ".weight"),
    (".lora_magnitude_vector.weight", "lengths", ".weight"),
    (".base_layer.weight", "whole", ".weight"),
    (".base_layer.bias", "whole", ".bias"),
)
# Where the vocabulary grew, peft saves modules that were trained as a whole from inside too: as they were before, and
# what was trained once more.
_BEFORE, _AGAIN = ".original_module.", ".modules_to_save."


@dataclass(frozen=True)
class Change:
    """What an adapter does to one tensor of its base: (``whole`` or the base's own) + scale * product of ``factors``.

    Attributes:
        whole: name of the adapter's tensor that stands in for the base's, or None.
        factors: names of the adapter's tensors whose matrix product is added: B and A, the bias of B, or none.
        scale: factor of the product.
        transposed: the base stores this matrix as (in, out): the product is transposed.
        lengths: name of the tensor that says how long each row is in the end (DoRA), or None.
    """

    whole: str | None
    factors: tuple[str, ...]
    scale: float
    transposed: bool
    lengths: str | None = None


@dataclass(frozen=True)
class Fitted:
    """An adapter on its base.

    Attributes:
        changes: what it does, by the name of the model's tensor.
        specs: header entry of every tensor of the model with the adapter on it. A tied head that it parts from the
            embeddings has their entry.
        settings: what changes in the config.
    """

    changes: Mapping[str, Change]
    specs: Mapping[str, TensorSpec]
    settings: Mapping[str, Any]


class Fitting:
    """Lays an adapter's tensors beside those of a base. Collects problems instead of stopping at the first."""

    def __init__(
        self,
        source: Source,
        lora: Lora,
        own: Mapping[str, TensorSpec],
        base: Mapping[str, TensorSpec],
        parts: Anatomy,
        config: Mapping[str, Any],
    ) -> None:
        """Of the adapter at ``source``, its settings and tensors; and the tensors, parts and config of the base."""
        self.source = source
        self.lora = lora
        self.own = {
            name: spec
            for name, spec in own.items()
            if _BEFORE not in name and name.replace(_AGAIN, ".") not in own.keys() - {name}
        }
        self.base = dict(base)
        self.parts = parts
        self.settings: dict[str, Any] = {}
        self.longer = {rest: name for name in base for rest in [name.partition(".")[2]] if "." in rest}
        # The base's tensor -> part ("A", "B", "shift", "lengths", "whole") -> the adapter's tensor; what it calls the
        # module.
        self.found: dict[str, dict[str, TensorSpec]] = {}
        self.modules: dict[str, str] = {}
        self._part_from_tied_head(config)
        told = _inputs_first(base, parts.prefix)
        self.inputs_first = lora.transposed if told is None else told
        self.homeless: list[str] = []
        self.clashes: list[str] = []

    def fitted(self) -> tuple[Fitted, list[Problem]]:
        """The adapter on its base, and what does not fit."""
        for name, spec in self.own.items():
            self._place(name, spec)
        self._grow()
        changes = {name: self._change(name, parts) for name, parts in self.found.items()}
        home = self.lora.base
        hint = f"Put it on the model it was trained on{f' (it names {home!r})' if home else ''}."
        problems = []
        for found, what in ((self.homeless, "fits no tensor of the base"), (self.clashes, "clashes with the base")):
            if found:
                problems.append(Problem(str(self.source), f"{what}: {_listed(found)}.", hint))
        if not self.own:
            problems.append(Problem(str(self.source), "holds no tensors.", "The adapter is empty: save it again."))
        return Fitted(changes, self.base, self.settings), problems

    def _part_from_tied_head(self, config: Mapping[str, Any]) -> None:
        """Give the model a head of its own where the adapter trained embeddings or tied head without the other."""
        embedding = _embedding(self.base, self.parts, config)
        if embedding is None or any(head in self.base for head in HEADS) or config.get("tie_word_embeddings") is False:
            return
        heads = [name for name in self.own if name.removeprefix(ROOT).startswith(_stems(HEADS))]
        rows = [name for name in self.own if self._target(name)[0] == embedding]
        trained = any(map(self._trained, (*heads, *rows)))
        if self.lora.tied or (rows and not trained):
            for name in heads:  # it says again what is said of the embeddings
                del self.own[name]
        elif trained:
            self.base[HEADS[0]] = self.base[embedding]
            self.settings["tie_word_embeddings"] = False
            inner = next((name for name in rows if name.endswith(".base_layer.weight")), None)
            if inner and not heads:  # what the pair of the embeddings was put beside is the head
                self.found[HEADS[0]] = {"whole": self.own[inner]}

    def _trained(self, name: str) -> bool:
        """Whether a tensor was trained, and not only saved because the vocabulary grew."""
        _, part, module = self._target(name)
        return part != "whole" or self.lora.keeps(module)

    def _target(self, name: str) -> tuple[str | None, str, str]:
        """The base's tensor that one of the adapter's belongs to, which part of its change it is, and its module."""
        own = name.removeprefix(ROOT)
        end, part, rest = next((end for end in _ENDS if own.endswith(end[0])), ("", "whole", ""))
        module = own.removesuffix(end) if end else own.rpartition(".")[0]
        return self._named(own.removesuffix(end) + rest), part, module

    def _place(self, name: str, spec: TensorSpec) -> None:
        target, part, module = self._target(name)
        if target is None:
            self.homeless.append(name)
            return
        parts = self.found.setdefault(target, {})
        if part in parts:
            self.clashes.append(f"{name} and {parts[part].name} both belong to {target}")
        parts[part] = spec
        if part in ("A", "B", "shift"):
            self.modules[target] = module

    def _named(self, name: str) -> str | None:
        """The base's tensor of this name. A checkpoint may store one word more or less before it (``h.0...`` for
        ``transformer.h.0...``), as the model was saved with its head or without; and its head may have its older name.
        """
        shorter = name.partition(".")[2]
        near = name if name in self.base else shorter if shorter in self.base else self.longer.get(name)
        return next((head for head in HEADS if head in self.base), None) if near is None and name in HEADS else near

    def _grow(self) -> None:
        """Where whole embeddings have more rows than the base's, or fewer, the vocabulary is theirs."""
        outside = (*self.parts.before, *self.parts.after, *HEADS)
        sized = {
            name: whole.shape
            for name in outside
            for whole in [self.found.get(name, {}).get("whole")]
            if whole and len(whole.shape) == 2 and whole.shape[1:] == self.base[name].shape[1:]
        }
        grown = {name: shape for name, shape in sized.items() if shape != self.base[name].shape}
        old = dict.fromkeys(self.base[name].shape[0] for name in grown)
        for rows in old:
            # All that is as long as the vocabulary has to grow with it.
            peers = [name for name in outside if name in self.base and self.base[name].shape[:1] == (rows,)]
            if len(dict.fromkeys(sized.get(name, self.base[name].shape)[0] for name in peers)) > 1:
                return  # told as clashes of shapes
        for name, shape in grown.items():
            spec = self.base[name]
            size = math.prod(shape) * ITEM_BITS[spec.dtype] // 8
            self.base[name] = replace(spec, shape=shape, end=spec.begin + size)
            self.settings["vocab_size"] = shape[0]

    def _change(self, target: str, parts: Mapping[str, TensorSpec]) -> Change:
        whole, a, b, shift, lengths = (parts.get(part) for part in ("whole", "A", "B", "shift", "lengths"))
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
        self._check_lengths(target, a, lengths, transposed=transposed)
        factors = tuple(spec.name for spec in (b, a, shift) if spec)
        scale = self.lora.scale_of(self.modules.get(target, ""))
        return Change(whole.name if whole else None, factors, scale, transposed, lengths.name if lengths else None)

    def _check_lengths(
        self, target: str, a: TensorSpec | None, lengths: TensorSpec | None, *, transposed: bool
    ) -> None:
        """DoRA gives each pair the lengths of the rows, and nothing else has them."""
        if a and self.lora.dora and lengths is None:
            self.clashes.append(f"{a.name} has no lora_magnitude_vector, which DoRA needs")
        if lengths is None:
            return
        if a is None or not self.lora.dora:
            self.clashes.append(f"{lengths.name} belongs to no pair of a DoRA")
        elif transposed:
            self.clashes.append(
                f"{lengths.name} is of {target}, stored as (in, out): only rows can be brought to lengths"
            )
        elif lengths.shape != self.base[target].shape[:1]:
            self._clash(f"{lengths.name} {list(lengths.shape)}", target)

    def _transposed(self, target: str, a: TensorSpec, b: TensorSpec) -> bool:
        """Whether the base stores this matrix as (in, out): an embedding does, and a layer of GPT-2.

        The base itself tells. peft's fan_in_fan_out counts only where it does not: that is one switch for all modules,
        saved as the last of them had it.
        """
        shape, rank = self.base[target].shape, self.lora.rank_of(self.modules[target])
        if len(a.shape) != 2 or len(b.shape) != 2 or not a.shape[0] == b.shape[1] == rank:
            self.clashes.append(f"{a.name} {list(a.shape)} and {b.name} {list(b.shape)} are no pair of rank {rank}")
            return False
        embedding = a.name.endswith("lora_embedding_A")
        transposed = embedding or (target.startswith(self.parts.prefix) and self.inputs_first)
        product = (b.shape[0], a.shape[1])
        if (product[::-1] if transposed else product) != shape:
            self._clash(f"{b.name} times {a.name} {list(product)}", target)
        return transposed

    def _clash(self, what: str, target: str) -> None:
        self.clashes.append(f"{what} against {target} {list(self.base[target].shape)}")


def _stems(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.removesuffix("weight") for name in names)


def _embedding(base: Mapping[str, TensorSpec], parts: Anatomy, config: Mapping[str, Any]) -> str | None:
    """The embedding matrix of the tokens, among others perhaps."""
    matrices = [name for name in parts.before if len(base[name].shape) == 2]
    return next((name for name in matrices if base[name].shape[0] == config.get("vocab_size")), None)


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
