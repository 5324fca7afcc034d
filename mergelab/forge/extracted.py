"""What an extraction kept of a fine-tune, and what it lost."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from mergelab.columns import Table, in_bytes
from mergelab.recipes.licences import Line

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


@dataclass(frozen=True)
class Kept:
    """What became of one tensor that differs.

    Attributes:
        name: its name in the base.
        how: ``"pair"`` (two thin matrices), ``"whole"`` (as the fine-tune has it) or ``"left out"``.
        energy: squared Frobenius norm of its difference.
        lost: squared Frobenius norm of what the adapter does not hold of it, measured on the values as stored.
        bytes: what it takes in the adapter.
    """

    name: str
    how: str
    energy: float
    lost: float
    bytes: int

    @property
    def share(self) -> float:
        """The share of the energy that is kept, 0 to 1."""
        return _share(self.energy, self.lost)


@dataclass(frozen=True)
class Extraction:
    """An adapter that was written, and what it holds. ``print`` it for a table of the kinds of tensors;
    ``pandas.DataFrame(extraction.rows)`` has one row for each tensor.

    Attributes:
        folder: where it lies.
        rank: of its pairs.
        tensors: every tensor that differs between fine-tune and base, in the base's order.
    """

    folder: Path
    rank: int
    tensors: tuple[Kept, ...]

    @cached_property
    def energy(self) -> float:
        """The share of the squared Frobenius norm of all differences that is kept, 0 to 1."""
        return self._share()

    @cached_property
    def pairs(self) -> float:
        """The same of the matrices that got a pair."""
        return self._share("pair")

    @cached_property
    def left_out(self) -> float:
        """The share of all differences that lies in tensors which are left out, 0 to 1."""
        whole = math.fsum(one.energy for one in self.tensors)
        return math.fsum(one.energy for one in self.tensors if one.how == "left out") / whole

    @property
    def bytes(self) -> int:
        """Bytes of the adapter's tensors."""
        return sum(one.bytes for one in self.tensors)

    @property
    def rows(self) -> list[dict[str, object]]:
        """A row for each tensor: its name, how it is held, the Frobenius norm of its difference, the share kept of its
        square, and bytes.
        """
        return [
            {
                "tensor": one.name,
                "held": one.how,
                "change": math.sqrt(one.energy),
                "kept": one.share,
                "bytes": one.bytes,
            }
            for one in self.tensors
        ]

    @property
    def table(self) -> Table:
        """A row for each kind of tensor: those of all layers together."""
        kinds: dict[tuple[str, str], list[Kept]] = {}
        for one in self.tensors:
            kinds.setdefault((_NUMBER.sub("*", one.name), one.how), []).append(one)
        rows = tuple(
            (
                kind,
                len(found),
                how,
                _percent(_share(math.fsum(one.energy for one in found), math.fsum(one.lost for one in found))),
                _percent(min(one.share for one in found)),
                in_bytes(sum(one.bytes for one in found)),
            )
            for (kind, how), found in kinds.items()
        )
        of_pairs = f"of the matrices that got a pair of rank {self.rank}, {_percent(self.pairs)}"
        below = [f"Kept: {_percent(self.energy)} of the change (its squared Frobenius norm); {of_pairs}."]
        if self.left_out:
            below.append(f"Left out, since no pair holds it: {_percent(self.left_out)} of the change.")
        title = f"{self.folder.name}: rank {self.rank}, {in_bytes(self.bytes)}"
        return Table(("tensors", "number", "held", "kept", "least", "size"), rows, title, tuple(below))

    def __str__(self) -> str:
        return str(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()

    def _share(self, how: str = "") -> float:
        found = [one for one in self.tensors if how in ("", one.how)]
        return _share(math.fsum(one.energy for one in found), math.fsum(one.lost for one in found))


def adapter_card(made: Extraction, base: str | None, line: Line | None) -> str:
    """README.md of an adapter: what it is, in words of ours alone, with the front matter that the hub reads.

    Args:
        base: the id of its base on the hub, None where that is a folder of this machine.
        line: the licence that it may bear, None where none would be true.
    """
    head: dict[str, object] = {} if base is None else {"base_model": base}
    head |= {"library_name": "peft", "tags": ["lora", "mergelab"]}
    if line is not None:
        named = {"license": line.licence, "license_name": line.name, "license_link": line.link}
        head |= {key: value for key, value in named.items() if value is not None}
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n"
        f"# A LoRA adapter of rank {made.rank}\n\n"
        "What a fine-tune learned beyond its base, taken from the difference of their weights by mergelab, without any "
        f"training. It keeps {_percent(made.energy)} of the change (its squared Frobenius norm); of the matrices that "
        f"got a pair of thin ones, {_percent(made.pairs)}.\n"
    )


def _share(energy: float, lost: float) -> float:
    return 1.0 if energy == 0 else max(0.0, 1 - lost / energy)


def _percent(share: float) -> str:
    """Never rounded up to all: what is missing is said."""
    shown = f"{100 * share:.4g}%"
    return "> 99.99%" if shown == "100%" and share < 1 else shown
