"""Where figures of weights belong: modules by layers, and what lies outside the layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mergelab.errors import InspectionError, Problem
from mergelab.inspection.grid import Chance, Floats, Grid, Measure
from mergelab.inspection.rows import Place

TWO_SIDED = 1.96
"""Standard deviations of a normal distribution between which 95 % of it lie on either side of its mean."""
BY_SIGNS = (
    "the same changes with independent signs, 95 % (normal approximation); "
    "trained changes have fewer free directions and scatter more"
)
"""Where bands come from that leave every change its size."""


@dataclass(frozen=True)
class Layout:
    """Names and order of the places of a model's weights.

    Attributes:
        places: (layer, module), outside of the layers (None, module).
        layers: how many the base has.
    """

    places: tuple[Place, ...]
    layers: int

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules within the layers, in file order."""
        return tuple(dict.fromkeys(module for layer, module in self.places if layer is not None))

    def grid(
        self,
        measure: Measure,
        values: Floats,
        of: str,
        notes: Iterable[str],
        band: tuple[Floats, Floats, str] | None = None,
    ) -> Grid:
        """Values, one for each place, as module x layer; those outside the layers are told in the note.

        Args:
            band: lower and upper end of what chance gives at each place, and where that comes from.
        """
        chance = None if band is None else Chance(self._spread(band[0]), self._spread(band[1]), band[2])
        layers = tuple(map(str, range(self.layers)))
        note = " ".join(filter(None, (*notes, self._outside(values))))
        return Grid(measure, self._spread(values), ("module", "layer"), self.modules, layers, of, chance, note)

    def within(self, layers: Sequence[int] | None) -> NDArray[np.bool_]:
        """Which places lie in these layers, shape (places,); None: all, those outside the layers too.

        Raises:
            InspectionError: there is no such layer.
        """
        if layers is None:
            return np.ones(len(self.places), dtype=bool)
        missing = [layer for layer in layers if not 0 <= layer < self.layers]
        if missing:
            what = f"there is no layer {missing[0]}."
            raise InspectionError(Problem("layers", what, f"Choose from 0 to {self.layers - 1}."))
        return np.array([layer in layers for layer, _ in self.places])

    def _spread(self, values: Floats) -> Floats:
        modules = {module: row for row, module in enumerate(self.modules)}
        spread = np.full((len(modules), self.layers), np.nan)
        for (layer, module), value in zip(self.places, values.tolist(), strict=True):
            if layer is not None:
                spread[modules[module], layer] = value
        return spread

    def _outside(self, values: Floats) -> str:
        pairs = zip(self.places, values.tolist(), strict=True)
        told = [f"{module} {value:.3g}" for (layer, module), value in pairs if layer is None and not np.isnan(value)]
        return f"Outside the layers: {', '.join(told)}." if told else ""
