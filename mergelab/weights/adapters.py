"""Adapters: LoRA weights folded into the model they belong to, tensor by tensor, when a tensor is asked for.

A LoRA adapter keeps two thin matrices A (rank, in) and B (out, rank) for a matrix W (out, in) of its base, and means
W + s B A (Hu et al. 2021, arXiv:2106.09685, equation 3); DoRA then brings its rows to trained lengths. Files are those
of peft: ``adapter_config.json`` and ``adapter_model.safetensors``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from mergelab.errors import Problem, SourceError, raise_all
from mergelab.weights.anatomy import Anatomy
from mergelab.weights.files import Folder, Mapped
from mergelab.weights.fitting import Change, Fitted, Fitting
from mergelab.weights.header import TensorSpec
from mergelab.weights.hub import Repository
from mergelab.weights.lora import Lora, read_lora
from mergelab.weights.source import Source

if TYPE_CHECKING:
    import torch

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PICKLES = ("adapter_model.bin", "adapter_model.pt")
_BLOCK = 1 << 16  # elements of a fold that are computed at a time


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

    @property
    def commit(self) -> str | None:
        """The commit of the hub's repository that its files come from; None for a folder."""
        return self._files.commit

    @property
    def stamps(self) -> dict[Path, tuple[int, ...]]:
        """Its weight file with what told it from a later one in its place: see ``Checkpoint.stamps``."""
        return self._mapped.stamps({WEIGHTS})

    def apart(self) -> Adapter:
        """The same adapter in memory of its own: see ``Checkpoint.apart``."""
        return replace(self, _mapped=self._mapped.again(), _folded=WeakValueDictionary())

    def path(self, file: str) -> Path | None:
        """Local path of one of the adapter's own files (tokenizer, README ...), or None where it has none."""
        return self._files.file(file)

    def fold(self, name: str, stored: torch.Tensor) -> torch.Tensor:
        """A tensor of the base with the adapter in it: same dtype, and the same shape but where the
        vocabulary grew; computed in float32 (float64 for float64)
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
            shaped = self._tensor(change.whole) if change.whole else stored
            made = self.rows(name, stored, 0, len(torch.atleast_1d(shaped))).view(shaped.shape)
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
        lengths = None if change.lengths is None else self._tensor(change.lengths).to(wide)
        stop = min(stop, len(whole))
        made = torch.empty(max(0, stop - first), *whole.shape[1:], dtype=stored.dtype)
        many = max(1, _BLOCK // max(1, math.prod(whole.shape[1:])))
        for at in range(first // many * many, stop, many):
            block = whole[at : at + many].to(wide)
            if factors:
                block = block + change.scale * _product(factors, slice(at, at + many), change.transposed)
            if lengths is not None:  # DoRA (Liu et al. 2024, arXiv:2402.09353, equation 5)
                block = block * (lengths[at : at + many] / torch.linalg.vector_norm(block, dim=1))[:, None]
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

    def onto(self, base: Mapping[str, TensorSpec], parts: Anatomy, config: Mapping[str, Any]) -> tuple[Adapter, Fitted]:
        """Fit it to a base.

        Args:
            base: header entry of every tensor of the base.
            parts: which of them belongs where.
            config: the base's config.json.

        Raises:
            SourceError: tensors that fit none of the base, or fit in name and not in shape; all of them at once.
        """
        fitted, problems = Fitting(self.source, self.lora, self.specs, base, parts, config).fitted()
        raise_all(SourceError, problems)
        made = Adapter(self.source, self.lora.base, fitted.changes, self._files, self._mapped, WeakValueDictionary())
        return made, fitted


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
