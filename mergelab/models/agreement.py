"""Agreement: what the sources of a plan differ in, once the settings that their configs leave out are filled in.

A config that leaves out rope's theta means what its family takes then, and only transformers knows that: a plan
compares what configs state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mergelab.errors import FitError, Problem, raise_all
from mergelab.models.config import expanded
from mergelab.recipes.fit import in_a_stage
from mergelab.recipes.plan import Plan
from mergelab.recipes.preflight import as_problems, preflight
from mergelab.recipes.report import Finding
from mergelab.recipes.step import Origin, Spec
from mergelab.weights import Anatomy, Checkpoint, Source

_OF_THE_FILE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype")  # where it came from, how it is stored


@dataclass(frozen=True)
class Filled:
    """A model whose config states everything, for ``unfit`` to read like any other.

    Attributes:
        origin: the model as it is.
        config: its config.json with every default written out.
    """

    origin: Origin
    config: Mapping[str, Any]

    @property
    def source(self) -> Source:
        """Its address."""
        return self.origin.source

    @property
    def specs(self) -> Mapping[str, Spec]:
        """Its tensors by name."""
        return self.origin.specs

    @property
    def anatomy(self) -> Anatomy:
        """Which tensor belongs to which layer."""
        return self.origin.anatomy

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return self.origin.layers

    @property
    def width(self) -> int:
        """Width of the residual stream."""
        return self.origin.width

    def path(self, file: str) -> Path | None:
        """Local path of one of its files, or None where it has none."""
        return self.origin.path(file)


def filled(planned: Plan, known: dict[Source, dict[str, Any]] | None = None) -> dict[Source, Origin]:
    """What the slices of a plan name, in its vocabulary, with configs that state everything.

    Args:
        known: as for ``stack_config``.

    Raises:
        AssemblyError: as ``expanded``.
    """
    known = {} if known is None else known
    origins = planned.alignment.fitted(planned.origins) if planned.alignment else planned.origins
    return {source: Filled(one, expanded(planned.origins[source], known)) for source, one in origins.items()}


def same_stated(one: Origin, other: Origin) -> bool:
    """Whether two checkpoints state the same settings, so that what they leave out is the same too."""
    if not (isinstance(one, Checkpoint) and isinstance(other, Checkpoint)):
        return False
    mine, theirs = (
        {name: value for name, value in origin.config.items() if name not in _OF_THE_FILE} for origin in (one, other)
    )
    return mine == theirs


def agreed(planned: Plan, known: dict[Source, dict[str, Any]] | None = None) -> Plan:
    """The plan, told of every setting that its layers have to themselves, stated or not.

    Args:
        known: as for ``stack_config``.

    Raises:
        FitError: layers differ in a setting that they cannot have to themselves, or those of a stage in any.
        AssemblyError: as ``expanded``.
    """
    known = {} if known is None else known
    problems: list[Problem] = []
    for stage in planned.stages:
        where = f"stage {str(stage.source)!r}, "
        clashes = as_problems(tuple(in_a_stage(_differing(stage.plan, known))))
        problems += [replace(one, where=where + one.where) for one in clashes]
    raise_all(FitError, problems)
    apart = _differing(planned, known)
    raise_all(FitError, as_problems(apart) if any(not one.one_config for one in apart) else ())
    return replace(planned, apart=apart)


def _differing(planned: Plan, known: dict[Source, dict[str, Any]]) -> tuple[Finding, ...]:
    donor, homes = planned.recipe.donor, dict.fromkeys(layer.home.source for layer in planned.layers)
    if all(home == donor or same_stated(planned.origins[home], planned.origins[donor]) for home in homes):
        return planned.apart  # what is left out means the same everywhere
    return preflight(planned.recipe, filled(planned, known))
