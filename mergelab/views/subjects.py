"""Subjects: the models an inspector looks at, named, and the prompts it reads with them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mergelab import sample
from mergelab.errors import InspectionError, Problem, raise_all
from mergelab.inspection.reading import Live
from mergelab.models.assembly import Assembly
from mergelab.recipes.plan import plan
from mergelab.recipes.recipe import Recipe
from mergelab.studies.passages import ENGLISH
from mergelab.views.guests import MOST_SOURCES, codes
from mergelab.views.visible import one_line
from mergelab.weights import Checkpoint, Source, open_checkpoint

Model: TypeAlias = "Checkpoint | Recipe | Assembly | Live"
Looked: TypeAlias = "Model | Source | str | os.PathLike[str]"


@dataclass(frozen=True, eq=False)
class Subject:
    """One model that is looked at.

    Attributes:
        name: what it is called, on one line and `visible`.
        code: two letters, different for each.
        layers: how many it has.
        width: of its residual stream, in channels.
        model: what is looked at: an opened checkpoint, a recipe, a live assembly, or a model with its tokenizer.
    """

    name: str
    code: str
    layers: int
    width: int
    model: Model

    @property
    def weights(self) -> bool:
        """Whether its weights lie in files. A recipe's and a live model's do not."""
        return isinstance(self.model, Checkpoint)


def subjects(models: Sequence[object], names: Sequence[str] | None) -> tuple[Subject, ...]:
    """Open the models and name them, each differently.

    Args:
        models: one to five: what ``ml.open`` takes, recipes, live assemblies, pairs of a transformers model and its
            tokenizer. The first is the base.
        names: one for each; None: the names of their folders.

    Raises:
        InspectionError: too few or too many, something that is no model, or names that do not match.
        SourceError: a model cannot be opened.
        RecipeError, FitError: a recipe cannot be planned.
    """
    if not 1 <= len(models) <= MOST_SOURCES:
        what, hint = f"{len(models)} models were given.", f"Give 1 to {MOST_SOURCES}; the first is the base."
        raise InspectionError(Problem("Inspector", what, hint))
    hint = (
        "Give folders, addresses, what ml.open gives, recipes, live assemblies, or (model, tokenizer) of transformers."
    )
    kinds = (Checkpoint, Source, str, os.PathLike, Recipe, Assembly)
    raise_all(
        InspectionError,
        (
            Problem("Inspector", f"a {type(one).__name__} is no model.", hint)
            for one in models
            if not isinstance(one, kinds) and not _is_live(one)
        ),
    )
    opened: list[Model] = [
        open_checkpoint(one) if isinstance(one, Checkpoint | Source | str | os.PathLike) else one  # type: ignore[misc]
        for one in models
    ]
    called = _called(opened) if names is None else [one_line(str(name)) for name in names]
    if len(called) != len(opened) or len(dict.fromkeys(called)) != len(called) or "" in called:
        what = f"{list(names or ())!r} does not name {len(opened)} models."
        raise InspectionError(Problem("names", what, "Give one name for each, all different, none of them empty."))
    return tuple(
        Subject(name, code, *_size(one), one) for name, code, one in zip(called, codes(called), opened, strict=True)
    )


def _is_live(model: object) -> bool:
    return isinstance(model, tuple) and len(model) == 2 and hasattr(model[0], "config")


def _called(models: Sequence[Model]) -> list[str]:
    found: list[str] = []
    for model in models:
        label = one_line(_label(model)) or "model"
        alike = sum(name == label or name.startswith(f"{label} ") for name in found)
        found.append(f"{label} {alike + 1}" if alike else label)
    return found


def _label(model: Model) -> str:
    if isinstance(model, Checkpoint):
        return model.source.label
    if isinstance(model, tuple):
        return "model"
    return (model if isinstance(model, Recipe) else model.recipe).name or "merged"


def _size(model: Model) -> tuple[int, int]:
    """Number of layers and width."""
    if isinstance(model, Checkpoint):
        return model.layers, model.width
    if isinstance(model, tuple):
        config = model[0].config.get_text_config()
        return int(config.num_hidden_layers), int(config.hidden_size)
    planned = plan(model) if isinstance(model, Recipe) else model.plan
    return len(planned.layers), planned.donor.width


def prompts_of(prompts: str | Sequence[str] | None, models: Sequence[Subject]) -> tuple[tuple[str, ...], str]:
    """The prompts, and where they come from in words.

    Raises:
        InspectionError: what was given is no text, or there is none.
    """
    if prompts is None:
        if all(_of_family(one.model) for one in models):
            more = [text for skill in sample.SKILLS.values() for text in skill.prompts(3) if text]
            own = tuple(dict.fromkeys([*sample.demo_prompts(), *more]))
            return own, f"{len(own)} of the sample family's own"
        return ENGLISH, f"{len(ENGLISH)} short English texts that come with mergelab"
    hint = "Give a text, or several, that have something in them."
    if not isinstance(prompts, Sequence):
        raise InspectionError(Problem("prompts", f"a {type(prompts).__name__} is no list of texts.", hint))
    given: tuple[object, ...] = (prompts,) if isinstance(prompts, str) else tuple(prompts)
    wrong = [(place, one) for place, one in enumerate(given) if not (isinstance(one, str) and one.strip())]
    problems = (Problem(f"prompts[{place}]", f"{one!r} is no text to read.", hint) for place, one in wrong)
    raise_all(InspectionError, problems)
    if not given:
        raise InspectionError(Problem("prompts", "there is none.", hint))
    return tuple(map(str, given)), f"{len(given)} given"


def _of_family(model: Model) -> bool:
    if isinstance(model, tuple):
        return False
    if isinstance(model, Checkpoint):
        sources = [model.source]
    else:
        sources = list((plan(model) if isinstance(model, Recipe) else model.plan).checkpoints)
    return all(Path(source.path).parent == sample.FAMILY for source in sources)
