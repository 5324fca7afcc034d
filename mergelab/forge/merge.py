"""Forge: a plan made into a folder that transformers loads.

Tensors stream from the sources' files to those of the merge; the folder appears whole or not, and what it was made of
lies in it. torch is loaded where something is computed or proven, transformers where it has to be asked.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from mergelab.errors import AssemblyError, OutputError, Problem
from mergelab.forge import card, rehearsal
from mergelab.forge.digests import Digests, sha256_of
from mergelab.forge.key import key_of
from mergelab.forge.obstacles import RECIPE_FILE
from mergelab.forge.place import Place, unchanged
from mergelab.forge.provenance import FILE, Hashing, as_json, record
from mergelab.forge.rehearsal import Settings
from mergelab.forge.stream import Stream
from mergelab.models.agreement import agreed
from mergelab.models.progress import Progress, Stopped
from mergelab.models.tokenizer import write_tokenizer
from mergelab.recipes.plan import Plan, plan, standard
from mergelab.recipes.recipe import Recipe
from mergelab.weights.files import INDEX
from mergelab.weights.shards import Shard, index, layout

if TYPE_CHECKING:
    import torch

    from mergelab.forge.proof import Proof

SMALL = 250_000_000
"""Bytes of weights up to which a merge is proven unless told otherwise."""
_FAULT = "This is a fault of mergelab: report it with the recipe."
_OVERFLOW = "The recipe overflows its dtype: choose a wider one, or smaller weights. --no-prove writes it as it is."
_OFTEN = 0.02  # seconds between two looks at whether to stop


def merge(
    recipe: Recipe | Plan | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    force: bool = False,
    device: str | torch.device = "cpu",
    shard_bytes: int = 5_000_000_000,
    prove: bool | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    digests: Digests | None = None,
) -> Path:
    """Write the merged model to a folder: weights, config, tokenizer, the recipe, and where everything came from.

    Everything is written to a hidden folder beside ``out``, synced and renamed at the end: whatever happens, ``out`` is
    as it was or whole. Weight files that were finished when a run broke off are used by the next one. Every tensor
    equals that of ``assemble(recipe)`` bit for bit on the same device. In memory are the widest step and its inputs,
    some that were read ahead, and nothing else.

    Args:
        recipe: a recipe, a plan of one, or what ``Recipe.load`` reads.
        out: a folder that does not exist yet, or is empty.
        force: replace ``out`` if it is an earlier merge, and nothing else lies in it.
        device: where the arithmetic is done, a name or a device of torch's; "auto": a GPU where there is one. The CPU
            unless told: sums come in another order on a GPU, so that last bits may differ, and what is written to disk
            should not depend on the machine.
        shard_bytes: most bytes of one weight file.
        prove: hold what was written against the live model (``models.proof``) before it is put in place; None: where
            it has at most ``SMALL`` bytes of weights.
        progress: called on this thread after every tensor and every few MB.
        stop: asked again and again; once it says True the merge is broken off.
        digests: has perhaps begun with the sources' files already, as the command line does while torch is loaded.

    Returns:
        The folder.

    Raises:
        MergelabError: as ``plan``; FitError where layers have settings of their own, which no config holds;
            AssemblyError where this machine does not have the device, or transformers cannot hold the model;
            SourceError where a source changes or vanishes; OutputError where the folder exists, cannot be written, or
            is not what was planned.
        Stopped: ``stop`` said so.
    """
    if type(shard_bytes) is not int or shard_bytes < 1:
        what = f"{shard_bytes!r} is no number of bytes."
        raise OutputError(Problem("shard_bytes", what, "Give a whole number, such as 5_000_000_000."))
    where = _named(device)
    planned = standard(agreed(recipe if isinstance(recipe, Plan) else plan(recipe)))
    folder = Path(out).expanduser().absolute()
    mended = Place.check(planned, folder, force=force)
    shards = tuple(shard.sorted() for shard in layout(_entries(planned), shard_bytes=shard_bytes))
    key = key_of(planned, where, shards)
    size = planned.bytes
    with (
        Place(folder, key=key, bytes=size, force=force, mended=mended, progress=progress, stop=stop) as place,
        ExitStack() as stack,
    ):
        hashing = Hashing(planned, stack.enter_context(Digests()) if digests is None else digests, stop)
        proven = planned.bytes <= SMALL if prove is None else prove
        run = _Run(planned, where, shards, place, rehearsal.begun(planned, asked=proven), progress, stop)
        write_tokenizer(planned, place.partial)
        weights = run.write()
        hashing.unchanged()
        _write_settings(planned, run.settings.result(), shards, place.partial)
        files = {
            path.relative_to(place.partial).as_posix(): path for path in place.partial.rglob("*") if path.is_file()
        }
        rest = {name: sha256_of(path) for name, path in files.items() if name not in weights}
        proof = run.prove(must=bool(prove)) if proven else None
        made = record(
            planned, device=where.partition(":")[0], hashes=hashing.result(), outputs=weights | rest, proof=proof
        )
        unchanged(planned)
        hashing.unchanged()
        (place.partial / FILE).write_text(as_json(made), encoding="utf-8")
        (place.partial / card.FILE).write_text(card.model_card(made), encoding="utf-8")
        place.commit()
        run.tell("done")
    return folder


class _Run:
    """One merge, and who hears of it.

    Attributes:
        settings: what is written beside the weights, once transformers has agreed.
    """

    def __init__(
        self,
        planned: Plan,
        device: str,
        shards: Sequence[Shard],
        place: Place,
        settings: Future[Settings],
        progress: Callable[[Progress], None] | None,
        stop: Callable[[], bool] | None,
    ) -> None:
        self.settings = settings
        self._planned = planned
        self._device = device
        self._shards = shards
        self._place = place
        self._progress = progress
        self._stop = stop
        self._started = time.perf_counter()
        self._remark = place.remark
        finished = [shard for shard in shards if shard.name in place.finished]
        self._resumed = self._done = sum(shard.bytes for shard in finished)
        self._names = dict.fromkeys(name for shard in finished for name in shard.specs)

    def write(self) -> dict[str, str]:
        """Write the weight files that no earlier run has finished, and their index.

        Returns:
            SHA-256 of each weight file.
        """
        planned, place = self._planned, self._place
        written = dict(place.finished)

        def finish(name: str, sha256: str) -> None:
            unchanged(planned)  # no later run goes on from a file that is of two minds
            place.finish(name, sha256)
            written[name] = sha256

        self.tell("writing")
        stream = Stream(planned, self._device, self._heed, self._passed)
        left = [shard for shard in self._shards if shard.name not in place.finished]
        stream.pour(left, place.partial, {"mergelab": planned.recipe.fingerprint}, self._agreed, finish)
        return written

    def prove(self, *, must: bool) -> Proof | None:
        """Hold what was written against the live model. None: that cannot live here, and need not.

        Raises:
            OutputError: it is another model.
            AssemblyError: the live model cannot live here.
        """
        from mergelab.forge.proof import prove

        self.tell("proving")
        try:
            found = prove(self._place.partial, self._planned, device=self._device, stop=self._stop)
        except AssemblyError as error:
            if must:
                raise
            self._remark = f"It was not proven: {error}"
            self.tell("proving")
            return None
        if not found.holds:
            self._place.forget()
            hint = _OVERFLOW if [check.name for check in found.broken] == ["finite"] else _FAULT
            raise OutputError(Problem("proof", f"what was written is not what was planned. {found}", hint))
        return found

    def tell(self, stage: str) -> None:
        """Tell how far it is."""
        if self._progress is not None:
            seconds = time.perf_counter() - self._started
            counts = (self._done, self._planned.bytes, len(self._names), len(self._planned.steps))
            remark, self._remark = self._remark, ""
            self._progress(Progress(stage, *counts, seconds, self._resumed, remark))

    def _passed(self, name: str, size: int) -> None:
        self._done += size
        self._names[name] = None
        self.tell("writing")

    def _heed(self) -> None:
        if self._stop is not None and self._stop():
            raise Stopped
        if self.settings.done():
            self.settings.result()

    def _agreed(self) -> None:
        """Wait until transformers has said that the model will load: no file is finished before."""
        while not self.settings.done():
            self._heed()
            wait([self.settings], _OFTEN)
        self._heed()


def _named(device: str | torch.device) -> str:
    """The name of the device where the arithmetic is done.

    Raises:
        AssemblyError: as ``pick``.
    """
    if device == "cpu":
        return "cpu"  # which is always there: no need to ask torch
    from mergelab.models.devices import arithmetic, pick

    return str(arithmetic(pick(device)))


def _entries(planned: Plan) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    return ((step.name, step.dtype, step.shape) for step in planned.steps)


def _write_settings(planned: Plan, settings: Settings, shards: Sequence[Shard], folder: Path) -> None:
    tables = {"config.json": settings.config, "generation_config.json": settings.generation}
    tables |= {INDEX: index(shards) if len(shards) > 1 else None}
    for name, table in tables.items():
        if table is not None:
            (folder / name).write_text(json.dumps(table, indent=2) + "\n")
    (folder / RECIPE_FILE).write_text(planned.recipe.to_yaml(), encoding="utf-8")
