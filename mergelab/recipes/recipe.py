"""Recipe: what to merge, as data. Frozen, comparable, hashable; it never reads a tensor."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from mergelab.methods.curve import gradient
from mergelab.weights import Source

Scalar: TypeAlias = float | bool
Value: TypeAlias = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class Rule:
    """A value for the tensors whose name contains ``filter`` (None: for all).

    A tuple of values is a gradient over depth.
    """

    value: Value
    filter: str | None = None


@dataclass(frozen=True)
class Setting:
    """What a recipe says of one parameter: rules, the first that matches a tensor's name wins."""

    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, value: Scalar | Sequence[Scalar]) -> Setting:
        """One value, or a gradient over the layers of a slice, for every tensor."""
        return cls((Rule(value if isinstance(value, (bool, int, float)) else tuple(value)),))

    def at(self, name: str, index: int, count: int) -> Scalar | None:
        """Value for the tensor ``name`` in layer ``index`` of a slice of ``count`` layers; None: no rule matches."""
        for rule in self.rules:
            if rule.filter is None or rule.filter == "*" or rule.filter in name:
                return gradient(rule.value, index, count) if isinstance(rule.value, tuple) else rule.value
        return None


Numbers: TypeAlias = tuple[tuple[str, Setting], ...]


def numbers(values: Mapping[str, Setting | Scalar | Sequence[Scalar]]) -> Numbers:
    """Settings by parameter name, in the order given."""
    return tuple((name, value if isinstance(value, Setting) else Setting.of(value)) for name, value in values.items())


@dataclass(frozen=True)
class Part:
    """One source of a slice.

    Attributes:
        source: the model.
        layers: its layers [start, end), or None for all of them.
        numbers: parameters for this source alone.
    """

    source: Source
    layers: tuple[int, int] | None = None
    numbers: Numbers = ()


@dataclass(frozen=True)
class Slice:
    """A run of output layers and how they are made.

    Attributes:
        parts: the sources, each with as many layers as the others.
        base: base model of this slice, where it differs from the recipe's.
        numbers: parameters for this slice.
    """

    parts: tuple[Part, ...]
    base: Source | None = None
    numbers: Numbers = ()


@dataclass(frozen=True)
class Recipe:
    """Slices in order, and the method that makes them.

    Attributes:
        method: name of the merge method.
        slices: runs of output layers, bottom first.
        base: the base model, which also gives config and tokenizer; None: the first source does.
        numbers: parameters for everything.
        dtype: safetensors name (``"BF16"``) of the dtype to write; None: as the inputs.
        out_dtype: like ``dtype``, and stronger.
        seed: seed of every random draw.
    """

    method: str
    slices: tuple[Slice, ...]
    base: Source | None = None
    numbers: Numbers = ()
    dtype: str | None = None
    out_dtype: str | None = None
    seed: int = 0

    @classmethod
    def load(cls, recipe: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None) -> Recipe:
        """Read a recipe in mergekit's YAML.

        Args:
            recipe: a file, or the YAML text itself (a text has a line break or a colon followed by a space).
            root: folder from which relative model paths count; None: the current folder, as mergekit does.

        Raises:
            RecipeError: everything that is wrong with the text, each problem with its line and a suggestion.
        """
        from mergelab.recipes.dialect import read

        text = os.fspath(recipe)
        inline = "\n" in text or ": " in text
        loaded = read(text, "recipe") if inline else read(_file_text(Path(text)), Path(text).name)
        return loaded if root is None else loaded.under(root)

    def to_yaml(self) -> str:
        """The recipe in mergekit's YAML. ``Recipe.load`` of it gives the same recipe."""
        from mergelab.recipes.writing import write

        return write(self)

    def __str__(self) -> str:
        return self.to_yaml()

    def under(self, root: str | os.PathLike[str]) -> Recipe:
        """The same recipe with relative model folders taken from ``root``."""
        slices = tuple(
            replace(
                piece,
                parts=tuple(replace(part, source=part.source.under(root)) for part in piece.parts),
                base=piece.base and piece.base.under(root),
            )
            for piece in self.slices
        )
        return replace(self, slices=slices, base=self.base and self.base.under(root))

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every model it names, each once, in order of appearance, a base first."""
        named = [self.base] if self.base else []
        for piece in self.slices:
            named += [piece.base] if piece.base else []
            named += [part.source for part in piece.parts]
        return tuple(dict.fromkeys(named))

    @property
    def donor(self) -> Source:
        """The model whose config and tokenizer the merged model gets."""
        return self.base or self.slices[0].parts[0].source


def _file_text(path: Path) -> str:
    from mergelab.errors import Problem, RecipeError

    shown = str(path) if len(str(path)) < 200 else f"{str(path)[:60]} ..."
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(Problem(shown, "there is no such recipe file.", "Give the path of a YAML file.")) from None
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise RecipeError(Problem(shown, f"cannot be read ({why}).", "Give a text file in UTF-8.")) from None
