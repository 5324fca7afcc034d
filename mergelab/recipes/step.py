"""Step: one tensor of a merge and how it is made. What goes into it is a tensor of a source, or another step."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from mergelab import methods
from mergelab.recipes.recipe import Scalar
from mergelab.weights import ITEM_BITS, Anatomy, Source


@dataclass(frozen=True)
class Home:
    """A layer of a source."""

    source: Source
    index: int

    def __str__(self) -> str:
        return f"{self.source.label} {self.index}"


@dataclass(frozen=True)
class Layer:
    """One layer of the merged model.

    Attributes:
        home: the source layer whose place it takes: the base's where the slice has one, else the first source's. Its
            per-layer settings (attention type ...) come from there.
        parts: the source layers that are merged into it, as the recipe orders them, without the base.
        base: the base's layer, or None.
        slice: index of the slice it belongs to.
    """

    home: Home
    parts: tuple[Home, ...]
    base: Home | None
    slice: int


class Spec(Protocol):
    """What is known of a tensor before it is read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions."""

    @property
    def dtype(self) -> str:
        """Its dtype, by the name that safetensors has for it."""


class Origin(Protocol):
    """What a plan reads of a model: an opened ``Checkpoint``, or an earlier stage of the recipe."""

    @property
    def source(self) -> Source:
        """Its address; the name of a stage."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Its config.json."""

    @property
    def specs(self) -> Mapping[str, Spec]:
        """Its tensors by name. A stage's are steps."""

    @property
    def anatomy(self) -> Anatomy:
        """Which tensor belongs to which layer."""

    @property
    def layers(self) -> int:
        """Number of decoder layers."""

    @property
    def width(self) -> int:
        """Width of the residual stream."""

    def path(self, file: str) -> Path | None:
        """Local path of one of its files (tokenizer, generation config ...), or None where it has none."""


class Input(NamedTuple):
    """A tensor of a source."""

    source: Source
    name: str

    @property
    def key(self) -> Key:
        """What the tensor depends on."""
        return repr((self.source, self.name)).encode()


Given: TypeAlias = "Input | Step | Aligned | Padded | Repeated"
Number: TypeAlias = Scalar | tuple[Scalar | None, ...] | None
Key: TypeAlias = bytes
"""What a tensor depends on, spelt out or as a digest: tensors of equal keys are equal."""


ALL_ROWS = -1
"""In place of the number of a row: the mean of all rows."""


@dataclass(frozen=True)
class Rows:
    """Which rows make one model's matrix in another vocabulary. Each is the mean of its terms; without any, zeros.

    Arrays are bytes of int32, so that equal ones are compared and hashed fast.

    Attributes:
        lenders: the models that rows are taken from, the model itself first.
        counts: for each row, its number of terms.
        lender: for each term, which of ``lenders``.
        row: for each term, the row of that model's matrix, or ALL_ROWS.
    """

    lenders: tuple[Source, ...]
    counts: bytes = field(repr=False)
    lender: bytes = field(repr=False)
    row: bytes = field(repr=False)

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.counts) // 4

    @cached_property
    def key(self) -> Key:
        """A digest of the whole table."""
        arrays = (self.counts, self.lender, self.row)
        return _digest(self.lenders, *(hashlib.blake2b(one, digest_size=16).digest() for one in arrays))


@dataclass(frozen=True)
class Aligned:
    """A model's matrix brought to another vocabulary.

    Attributes:
        shape: its dimensions then.
        dtype: safetensors' name of the dtype that the model has it in; means of rows are not rounded to it.
        rows: where its rows come from.
        matrices: those of ``rows.lenders``.
    """

    shape: tuple[int, ...]
    dtype: str
    rows: Rows
    matrices: tuple[Given, ...]

    @cached_property
    def key(self) -> Key:
        """What the matrix depends on, as a digest."""
        return _digest("aligned", self.rows.key, tuple(matrix.key for matrix in self.matrices))


@dataclass(frozen=True)
class Padded:
    """A tensor with zeros appended in every dimension up to a shape."""

    given: Step
    shape: tuple[int, ...]

    @cached_property
    def key(self) -> Key:
        """What the tensor depends on, as a digest."""
        return _digest("padded", self.given.key, self.shape)


@dataclass(frozen=True)
class Repeated:
    """A tensor whose rows come in heads, each of which stands ``times`` times in a row."""

    given: Step
    head_size: int
    times: int

    @cached_property
    def key(self) -> Key:
        """What the tensor depends on, as a digest."""
        return _digest("repeated", self.given.key, self.head_size, self.times)


class TaskVector(NamedTuple):
    """What fine-tuning changed in one tensor: tuned - base, in float64 where ``double``, else in float32."""

    tuned: Given
    base: Given
    double: bool

    @property
    def key(self) -> tuple[Key, Key, bool]:
        """What the vector depends on."""
        return self.tuned.key, self.base.key, self.double


@dataclass(frozen=True)
class Peers:
    """The tensors of one model that are trimmed together, as one long task vector.

    Attributes:
        vectors: each tensor once.
        elements: number of their values.
        density: the share of them that is kept.
    """

    vectors: tuple[TaskVector, ...] = field(repr=False)
    elements: int
    density: float

    @cached_property
    def key(self) -> Key:
        """What the magnitude depends on from which they are kept, as a digest."""
        return _digest("peers", self.density, tuple(vector.key for vector in self.vectors))

    @cached_property
    def _hash(self) -> int:
        return hash((self.vectors, self.density))

    def __hash__(self) -> int:
        return self._hash  # every step of the model asks for it


@dataclass(frozen=True)
class Step:
    """How one tensor of the merged model is made. Two equal steps make equal tensors.

    Attributes:
        name: its name in the merged model, or in the stage that it belongs to.
        shape: its dimensions.
        dtype: safetensors name of its dtype.
        method: name of the merge method.
        inputs: the tensors that are merged: of sources, or made by steps of an earlier stage.
        base: the base's tensor, or None.
        numbers: each parameter by name; per-model ones have one value for each input.
        seed: seed of the recipe.
        copies: the tensor is its input's own, unchanged: no memory and no arithmetic is needed.
        depth: place of its layer, 0 for the first and 1 for the last; 0 outside the layers, and always 0 where the
            method does not ask for it.
        peers: for each input the tensors that are trimmed with it; empty where each tensor is trimmed on its own.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    method: str
    inputs: tuple[Given, ...]
    base: Given | None
    numbers: tuple[tuple[str, Number], ...]
    seed: int
    copies: bool
    depth: float = 0.0
    peers: tuple[Peers, ...] = ()

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.dtype, self.method, self.inputs, self.base, self.numbers, self.seed, self.peers))

    def __hash__(self) -> int:
        return self._hash  # kept: steps of stages lie within one another

    @property
    def elements(self) -> int:
        """Number of its values."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Its bytes on disk."""
        return self.elements * ITEM_BITS[self.dtype] // 8

    @cached_property
    def key(self) -> Key:
        """What its tensor depends on, and no more: steps of equal keys make equal tensors, whatever they are called.

        The seed counts only where random numbers are drawn, and so does the name, which the seed is combined with.
        Numbers are told apart as they are written: -0.0 is not 0.0. A method that is defined again, as in a notebook,
        is another method.
        """
        if self.copies:
            return self.inputs[0].key
        method = methods.get(self.method)
        drawn = (self.seed, self.name) if method.seeded else ()
        given = (tuple(one.key for one in self.inputs), None if self.base is None else self.base.key)
        trimmed = tuple(one.key for one in self.peers)
        return _digest(self.method, method.edition, self.dtype, given, self.numbers, self.depth, trimmed, drawn)

    @property
    def narrow(self) -> Step:
        """The step that merges: itself, or the one whose tensor it widens."""
        given = self.inputs[0]
        return given.given if isinstance(given, Padded | Repeated) else self

    @property
    def maker(self) -> Step:
        """The step whose tensor this is: itself, or the step of an earlier stage that it copies."""
        given = self.inputs[0]
        return given.maker if self.copies and isinstance(given, Step) else self


def made_of(given: Given) -> tuple[Given, ...]:
    """What a tensor is made of; nothing, where it is a source's own."""
    match given:
        case Step():
            return (*given.inputs, *([] if given.base is None else [given.base]))
        case Aligned():
            return given.matrices
        case Padded() | Repeated():
            return (given.given,)
        case Input():
            return ()


def _digest(*parts: object) -> Key:
    """Of plain values and tuples of them, whose ``repr`` tells all of them apart."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()
