"""Recipe: what to merge, as data. Frozen, comparable, hashable; it never reads a tensor."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeAlias

from mergelab.columns import Table
from mergelab.errors import Problem
from mergelab.methods.curve import gradient
from mergelab.recipes.notes import Notes
from mergelab.weights import Source

Scalar: TypeAlias = float | bool | str
Value: TypeAlias = Scalar | tuple[Scalar, ...]


def plain(value: Any) -> Any:
    """Numbers and lists of numpy, torch and others as Python's own, lists as tuples; anything else as it is."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return tuple(map(plain, value))
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


@dataclass(frozen=True)
class Rule:
    """A value for the tensors whose name contains ``filter`` (None: for all).

    A tuple of values is a gradient over depth. Lists, and numbers of numpy, become Python's own.
    """

    value: Value
    filter: str | None = None
    _switches: tuple[bool, ...] = field(init=False, repr=False)  # true is no 1 in a recipe, as it is in Python

    def __post_init__(self) -> None:
        value = plain(self.value)
        object.__setattr__(self, "value", value)
        each = value if isinstance(value, tuple) else (value,)
        object.__setattr__(self, "_switches", tuple(isinstance(one, bool) for one in each))

    @property
    def text(self) -> str:
        """What the name of a tensor must contain; nothing where the rule is for all."""
        return "" if self.filter in (None, "*") else self.filter or ""

    def covers(self, other: Rule) -> bool:
        """Whether it matches every name that the other one matches."""
        return self.text in other.text


@dataclass(frozen=True)
class Setting:
    """What a recipe says of one parameter: rules, the first that matches a tensor's name wins."""

    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, value: Scalar | Sequence[Scalar]) -> Setting:
        """One value, or a gradient over the layers of a slice, for every tensor. Those of numpy are taken as well."""
        found = plain(value)
        return cls((Rule(found if isinstance(found, bool | int | float | str | tuple) else tuple(found)),))

    def at(self, name: str, index: int, count: int) -> Scalar | None:
        """Value for the tensor ``name`` in layer ``index`` of a slice of ``count`` layers; None: no rule matches."""
        for rule in self.rules:
            if rule.text in name:
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", plain(self.layers))


@dataclass(frozen=True)
class Slice:
    """A run of output layers and how they are made.

    Attributes:
        parts: the sources, each with as many layers as the others.
        base: base model of this slice, where it differs from the recipe's.
        numbers: parameters for this slice.
        method: name of the merge method of this slice, where it differs from the recipe's. mergekit has one per
            recipe.
    """

    parts: tuple[Part, ...]
    base: Source | None = None
    numbers: Numbers = ()
    method: str | None = None


@dataclass(frozen=True)
class Token:
    """Where the embedding of one token comes from.

    Attributes:
        source: the model whose row it takes; None with ``zero``.
        token: the token of ``source`` to take it from, by its text or its id; None: the token itself.
        zero: its embedding is zero.
        force: take that row for every model, also for those that have the token.
    """

    source: Source | None = None
    token: str | int | None = None
    zero: bool = False
    force: bool = False


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer of the merged model, and how embeddings are brought to its vocabulary.

    Attributes:
        source: a model's tokenizer; ``"base"``: the base's; ``"union"``: the base's with the tokens of all others
            appended.
        pad_to_multiple_of: the number of rows is rounded up to a multiple of this.
        tokens: what is said of single tokens; a token that is in no tokenizer is added.
        legacy: written as ``tokenizer_source``.
    """

    source: Source | str = "union"
    pad_to_multiple_of: int | None = None
    tokens: tuple[tuple[str, Token], ...] = ()
    legacy: bool = False


@dataclass(frozen=True)
class Recipe:
    """Slices in order, and the method that makes them.

    A recipe may have stages: recipes of their own, which it uses as models, by name (mergekit-multi's documents).

    Attributes:
        method: name of the merge method.
        slices: runs of output layers, bottom first.
        base: the base model, which also gives config and tokenizer; None: the first source does.
        numbers: parameters for everything.
        dtype: safetensors name (``"BF16"``) of the dtype to write; None: as the inputs.
        out_dtype: like ``dtype``, and stronger.
        seed: seed of every random draw.
        module: name of the one module (``"default"``) where it is written with ``modules:``, else None.
        module_numbers: parameters of that module: stronger than ``numbers``, weaker than a slice's.
        vocabulary: the tokenizer of the merged model; None: the donor's, and embeddings as they are.
        chat_template: ``"auto"``, the name of a known one, or a jinja text; None: the donor's.
        name: the name by which later stages use it as a model.
        stages: the recipes before it, each with a name; those may use one another in order.
        widen: feed-forwards are padded with zeros and key/value heads repeated, to one size in all layers; mergekit has
            no such thing.
        notes: comments and the order of keys, as written; not part of what a recipe means.
    """

    method: str
    slices: tuple[Slice, ...]
    base: Source | None = None
    numbers: Numbers = ()
    dtype: str | None = None
    out_dtype: str | None = None
    seed: int = 0
    module: str | None = None
    module_numbers: Numbers = ()
    vocabulary: Vocabulary | None = None
    chat_template: str | None = None
    name: str | None = None
    stages: tuple[Recipe, ...] = ()
    widen: bool = False
    notes: Notes | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", plain(self.seed))

    @classmethod
    def load(cls, recipe: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None) -> Recipe:
        """Read a recipe in mergekit's YAML.

        A text of several documents (``---`` between them) is a recipe in stages, as mergekit-multi reads it: each
        document but the last has a ``name``, by which later ones use it as a model.

        Args:
            recipe: a file, or the YAML text itself (a text has a line break or a colon followed by a space).
            root: folder from which relative model paths count; None: the current folder, as mergekit does.

        Raises:
            RecipeError: everything that is wrong with the text, each problem with its line, its column and a
                suggestion.
        """
        from mergelab.recipes.dialect import read

        text = os.fspath(recipe)
        inline = "\n" in text or ": " in text or not text.strip()
        loaded = read(text, "recipe") if inline else read(_file_text(Path(text)), Path(text).name)
        return loaded if root is None else loaded.under(root)

    def to_yaml(self) -> str:
        """The recipe in mergekit's YAML. ``Recipe.load`` of it gives the same recipe."""
        from mergelab.recipes.writing import write

        return write(self)

    def to_mergekit(self) -> str:
        """The recipe in YAML that mergekit 0.1.5 reads with the same meaning.

        Where slices have methods of their own, each run of slices becomes a document that the last one stacks: a text
        of several documents is for mergekit-multi, any other for mergekit-yaml. What mergekit is told on its command
        line stands in comments above the text.

        No source is opened. mergekit refuses a stage whose sources differ in their numbers of embedding rows unless
        that stage itself says ``tokenizer:``, which cannot be told from here.

        Raises:
            RecipeError: everything in the recipe that mergekit cannot say.
        """
        from mergelab.recipes.mergekit import export

        return export(self)

    def __str__(self) -> str:
        return self.to_yaml()

    @cached_property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that tell this recipe from others: of the SHA-256 of its YAML without comments.

        Equal recipes have equal ones. It says nothing of what the sources hold.
        """
        return hashlib.sha256(self.bare.to_yaml().encode()).hexdigest()[:8]

    @property
    def bare(self) -> Recipe:
        """The same recipe without comments, and with keys in the usual order; its stages too."""
        return replace(self, notes=None, stages=tuple(stage.bare for stage in self.stages))

    def place(self, path: str) -> str:
        """A path as ``check`` writes it, with the file, line and column where that stands in the recipe's text.

        ``recipe.yml line 5, column 7, slices[0].parameters.t``; for a recipe made without a text, the path itself.
        """
        if self.module and path.startswith(("models", "slices")):
            path = f"modules.{self.module}.{path}"
        return self.notes.place(path) if self.notes else path

    def expand(self) -> Table:
        """The number that every layer and module really gets, as a table; its sources are opened, from headers alone.

        Raises:
            MergelabError: as ``plan``.
        """
        from mergelab.recipes.expansion import expand
        from mergelab.recipes.plan import plan

        return expand(plan(self))

    def under(self, root: str | os.PathLike[str]) -> Recipe:
        """The same recipe with relative model folders taken from ``root``."""
        return self.renamed(lambda source: source.under(root))

    def renamed(self, change: Callable[[Source], Source]) -> Recipe:
        """The same recipe with every source, stages' included, replaced by what ``change`` makes of it."""

        def new(source: Source | None) -> Source | None:
            return source if source is None or self.stage(source) else change(source)

        slices = tuple(
            replace(
                piece,
                parts=tuple(replace(part, source=new(part.source) or part.source) for part in piece.parts),
                base=new(piece.base),
            )
            for piece in self.slices
        )
        known: dict[str, Recipe] = {}
        for stage in self.stages:  # a stage may name the ones before it
            whole = replace(stage, stages=tuple(self.stages[: len(known)])).renamed(change)
            known[stage.name or ""] = replace(whole, stages=())
        words = self.vocabulary
        if words is not None:
            source = new(words.source) if isinstance(words.source, Source) else words.source
            tokens = tuple((text, replace(token, source=new(token.source))) for text, token in words.tokens)
            words = replace(words, source=source or words.source, tokens=tokens)
        return replace(self, slices=slices, base=new(self.base), vocabulary=words, stages=tuple(known.values()))

    def method_of(self, piece: Slice) -> str:
        """The name of the method that makes a slice."""
        return piece.method or self.method

    def stage(self, source: Source) -> Recipe | None:
        """The earlier stage that ``source`` names, whole: with the stages before it. None: ``source`` is a model."""
        for place, stage in enumerate(self.stages):
            if source == Source(stage.name or ""):
                return replace(stage, stages=self.stages[:place])
        return None

    @property
    def named(self) -> tuple[Source, ...]:
        """Every model or stage that its own slices name, each once, in order of appearance, a base first."""
        found = [self.base] if self.base else []
        for piece in self.slices:
            found += [piece.base] if piece.base else []
            found += [part.source for part in piece.parts]
        return tuple(dict.fromkeys(found))

    @property
    def mentioned(self) -> tuple[Source, ...]:
        """As ``named``, and then the models and stages that only its vocabulary names."""
        words = self.vocabulary
        told = [words.source, *(token.source for _, token in words.tokens)] if words else []
        return tuple(dict.fromkeys((*self.named, *(source for source in told if isinstance(source, Source)))))

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every model it reads, each once: in order of appearance, a base first, a stage's own in its place."""
        found: list[Source] = []
        for source in self.mentioned:
            stage = self.stage(source)
            found += [source] if stage is None else stage.sources
        return tuple(dict.fromkeys(found))

    @property
    def donor(self) -> Source:
        """The model or stage whose config and tokenizer the merged model gets: the base, or the first in order."""
        return self.base or self.slices[0].parts[0].source


def _file_text(path: Path) -> str:
    from mergelab.errors import RecipeError

    shown = str(path) if len(str(path)) < 200 else f"{str(path)[:60]} ..."
    try:
        home = path.expanduser()
        if home.is_dir():
            raise RecipeError(_folder(home, shown))
        return home.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(Problem(shown, "there is no such recipe file.", "Give the path of a YAML file.")) from None
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise RecipeError(Problem(shown, f"cannot be read ({why}).", "Give a text file in UTF-8.")) from None


def _folder(path: Path, shown: str) -> Problem:
    """Why a folder is no recipe, and what might be meant."""
    inner = sorted(one for one in path.iterdir() if one.suffix in (".yml", ".yaml"))
    what = "is a model, not a recipe." if (path / "config.json").is_file() else "is a folder, not a recipe."
    if inner:
        more = f" and {len(inner) - 4} more" if len(inner) > 4 else ""
        listed = f"{', '.join(map(str, inner[:4]))}{more}"
        said = f"A YAML file in it is {listed}" if len(inner) == 1 else f"YAML files in it are {listed}"
        return Problem(shown, what, f"{said}: give the recipe itself.")
    said = (
        "merge_method: linear, models: [{model: A, parameters: {weight: 0.5}}, {model: B, parameters: {weight: 0.5}}]"
    )
    return Problem(shown, what, f"A recipe is a YAML file that names models, such as {said}.")
