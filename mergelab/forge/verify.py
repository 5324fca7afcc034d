"""Verify: whether the folder of a merge is still what was written, and still what its sources give.

Everything in ``mergelab.json`` that can be found out again is: files are hashed, the recipe is worked out anew, and
tensors are made once more from their sources and compared bit by bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mergelab.errors import MergelabError, Problem, RecipeError, SourceError
from mergelab.forge import card
from mergelab.forge.anew import Anew, listed
from mergelab.forge.digests import sha256_of
from mergelab.forge.discrepancy import differences, told, unlisted
from mergelab.forge.entries import Entry, held, pinned, placed, stated
from mergelab.forge.obstacles import RECIPE_FILE
from mergelab.forge.provenance import (
    ADAPTER_FILES,
    FILE,
    as_json,
    content_name,
    names_read,
    read_record,
    recipe_hash,
    record,
    versions,
)
from mergelab.forge.record_form import contradictions
from mergelab.forge.rehearsal import begun
from mergelab.forge.reopened import stored
from mergelab.forge.verification import Sighting, Verification
from mergelab.forge.watch import Watch
from mergelab.models.agreement import agreed
from mergelab.models.progress import Progress
from mergelab.recipes.difference import difference
from mergelab.recipes.plan import Plan, plan, standard
from mergelab.recipes.recipe import Recipe
from mergelab.weights import Checkpoint, Source, open_checkpoint

_OTHERS = (FILE, card.FILE)  # the record cannot hold its own hash, and the card is there to be written on
_PARTS = ("format", "model", "made", "tensors", "licence")  # what the recipe and its sources alone decide


def verify(
    out: str | os.PathLike[str],
    *,
    tensors: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Verification:
    """Look at a merge again: its files, its recipe, its sources, its config, and its tensors made anew.

    The versions and the proof that are written down cannot be found out again: only whether they make sense. Nothing
    is written and nothing large is downloaded: what cannot be looked at here is said. Relative addresses of sources
    count from the current folder, as they did when the merge was made.

    Args:
        out: a folder that ``merge`` wrote.
        tensors: most tensors to make anew, spread evenly over the model; None: all of them.
        progress: called as bytes are hashed and compared.
        stop: asked often; once it says True, the work is abandoned.

    Raises:
        SourceError: the folder is not there, or its ``mergelab.json`` is not or is damaged.
        Stopped: ``stop`` said so.
    """
    folder = Path(out).expanduser().absolute()
    if not folder.is_dir():
        raise SourceError(Problem(str(folder), "is no folder.", "Name a folder that mergelab has written."))
    written = read_record(folder / FILE)
    return Verification(folder, tuple(_Verifying(folder, written, tensors, Watch(progress, stop)).findings()))


class _Verifying:
    """One look at a folder. What the sources are found to be decides what can be said of tensors and config."""

    def __init__(self, folder: Path, written: Entry, limit: int | None, watch: Watch) -> None:
        self.folder = folder
        self.written = written
        self.limit = limit
        self.watch = watch
        self.opened: dict[Source, Checkpoint] = {}
        self.stale: dict[tuple[str, str], None] = {}  # address and file of what is not there as it was
        self.odd: dict[str, None] = {}  # addresses of sources of which something is the matter

    def findings(self) -> Iterator[Sighting]:
        names = self.written["files"]
        here = {name: self.folder / name for name in names if (self.folder / name).is_file()}
        self.watch.expect(sum(path.stat().st_size for path in here.values()))
        for place, said in contradictions(self.written):
            yield Sighting("changed", f"{place} in {FILE}", said)
        recipe, news = self._recipe()
        yield from news
        if recipe is not None:
            yield from self._sources(recipe)
        planned: Plan | None = None
        if recipe is not None and len(self.opened) == len(recipe.sources):
            try:
                planned = standard(agreed(plan(recipe, self.opened)))
            except MergelabError as error:
                yield Sighting("unseen", "the plan", f"cannot be worked out here any more: {error}")
        if planned is not None:
            yield from self._files_read(planned)
        same = [source for source in self.opened if str(source) not in self.odd]
        if recipe is not None and same:
            said = f"{len(same)} of {len(recipe.sources)} have the files that were merged."
            yield Sighting("same", "sources", said)
        files = stored(self.folder)
        yield from self._files(here, planned)
        yield from self._described()
        yield from listed(files, self.written)
        if planned is not None:
            yield from self._worked_out(planned)
            yield from Anew(planned, files, self.written, self.stale, self.watch).findings(self.limit)
        else:
            yield Sighting("unseen", "tensors", "not made anew: that takes the recipe and all its sources.")

    # ------------------------------------------------------------------------------------------- the recipe

    def _recipe(self) -> tuple[Recipe | None, list[Sighting]]:
        """The recipe that was merged, where one of the two that are written down still is it."""
        said = self.written["recipe"]
        was = said["sha256"]
        ours, theirs = _loaded(said["yaml"]), _loaded(_text(self.folder / RECIPE_FILE))
        whole = [one for one in (ours, theirs) if one is not None and recipe_hash(one) == was]
        news = []
        what = ""
        if ours is None:
            what = "cannot be read"
        elif recipe_hash(ours) != was:
            what = f"its SHA-256 is {recipe_hash(ours)[:12]}, it says {was[:12]}"
            what += f" ({difference(whole[0], ours)})" if whole else ""
        elif said["fingerprint"] != was[:8]:
            what = f"its fingerprint is {was[:8]}, it says {said['fingerprint'][:12]!r}"
        if what:
            news.append(Sighting("changed", f"the recipe in {FILE}", f"{what}."))
        if not whole:
            news.append(Sighting("unseen", "sources", "not looked at: no recipe here is the one that was merged."))
            return None, news
        if not news:
            news.append(Sighting("same", "recipe", f"{was[:8]}, as it was merged."))
        return whole[0], news

    # -------------------------------------------------------------------------------------------- sources

    def _sources(self, recipe: Recipe) -> Iterator[Sighting]:
        addresses = [one["address"] for one in self.written["sources"]]
        entries = dict(zip(addresses, self.written["sources"], strict=True))
        for address in entries:
            if address not in map(str, recipe.sources):
                yield Sighting("changed", address, f"{FILE} has it among the sources, though it is not in the recipe.")
            elif addresses.count(address) > 1:
                yield Sighting("changed", address, f"{FILE} has it {addresses.count(address)} times.")
        for source in recipe.sources:
            entry = entries.get(str(source))
            if entry is None:
                yield Sighting("changed", str(source), f"{FILE} tells nothing of it, though it is in the recipe.")
                continue
            try:
                checkpoint = open_checkpoint(pinned(source, entry))
            except SourceError as error:
                yield Sighting("unseen", str(source), f"cannot be opened: {error}")
                continue
            self.opened[source] = replace(checkpoint, source=source)
            news = list(self._source_files(str(source), source, entry["files"], checkpoint.kept))
            if entry["adapter"] is not None and checkpoint.adapter is not None and source.adapter is not None:
                files = entry["adapter"]["files"]
                news += self._source_files(str(source), source.adapter, files, checkpoint.adapter.path)
            yield from news
            if news or not entry["files"]:
                self.odd[str(source)] = None

    def _source_files(
        self, address: str, place: Source, files: Mapping[str, str], find: Callable[[str], Path | None]
    ) -> Iterator[Sighting]:
        local = place.folder is not None
        for name, was in files.items():
            self.watch.heed()
            path = find(name)
            if path is None:
                self.stale[address, name] = None
                yield Sighting("unseen", f"{place}, {name}", "is gone." if local else "is not on this machine.")
                continue
            now = None if local else content_name(path)
            if now is None:
                self.watch.expect(path.stat().st_size)
                now = self.watch.sha256(path)
            if now != was:
                self.stale[address, name] = None
                said = f"is not the file that was merged: its SHA-256 is {now[:12]}, was {was[:12]}."
                yield Sighting("changed", f"{place}, {name}", said)

    def _files_read(self, planned: Plan) -> Iterator[Sighting]:
        """Whether the files of each source that are written down are those that the merge reads."""
        entries = {one["address"]: one for one in self.written["sources"]}
        for source, (certain, perhaps) in names_read(planned).items():
            entry, checkpoint = entries[str(source)], planned.checkpoints[source]
            there = (*certain, *(name for name in perhaps if checkpoint.kept(name) is not None))
            news = list(held(source, entry["files"], there, perhaps))
            if entry["adapter"] is not None and checkpoint.adapter is not None and source.adapter is not None:
                news += held(source.adapter, entry["adapter"]["files"], ADAPTER_FILES, ())
            yield from news
            if news:
                self.odd[str(source)] = None

    # ---------------------------------------------------------------------------------------------- files

    def _files(self, here: Mapping[str, Path], planned: Plan | None) -> Iterator[Sighting]:
        same = 0
        for name, was in self.written["files"].items():
            if name not in here:
                yield Sighting("changed", name, "is gone.")
                continue
            now = self.watch.sha256(here[name])
            if now == was:
                same += 1
                continue
            more = self._config_said(here[name], planned) if name == "config.json" else ""
            yield Sighting("changed", name, f"its SHA-256 is {now[:12]}, was {was[:12]}{more}.")
        for name, said in unlisted(self.folder, (*self.written["files"], *_OTHERS)):
            yield Sighting("note" if card.is_beside(name.rstrip("/")) else "changed", name, said)
        if same:
            yield Sighting("same", "files", f"{same} of {len(self.written['files'])} as they were written.")

    def _described(self) -> Iterator[Sighting]:
        """Whether the card is the one that the record gives: whoever publishes it may well write on it."""
        was, now = self.written["versions"].get("mergelab"), versions()["mergelab"]
        try:
            if not (self.folder / card.FILE).is_file():
                yield Sighting("note", card.FILE, "is gone.")
            elif card.model_card(self.written) != _text(self.folder / card.FILE) and was == now:
                yield Sighting("note", card.FILE, f"edited since: it is not the card that {FILE} gives.")
        except (LookupError, TypeError):
            yield Sighting("changed", FILE, "has what no merge has: no card can be made of it.")

    def _config_said(self, path: Path, planned: Plan | None) -> str:
        """What is in a changed config that would not be there."""
        try:
            found = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return "; it is not JSON any more"
        if planned is None or self.stale:
            return ""
        return f" ({told(differences(found, self._config(planned)), 'is', 'would be')})"

    def _config(self, planned: Plan) -> Any:
        return json.loads(json.dumps(begun(planned).result().config))

    # ------------------------------------------------------------------------------------------- the plan

    def _worked_out(self, planned: Plan) -> Iterator[Sighting]:
        """Whether the recipe comes to the same layers, tensors and config as it did."""
        device, known = _device(self.written["model"]["device"])
        made = record(planned, device=device.type, hashes={}, outputs={}, proof=None)
        fresh = json.loads(as_json(made))
        found = []
        if not known:
            was = fresh["model"]["device"] = self.written["model"]["device"]
            found.append(Sighting("changed", f"model in {FILE}", f"was made on {was[:20]!r}, which is no device."))
        found += [*self._parts(fresh), *self._entries(fresh)]
        yield from found
        if not found:
            yield Sighting(
                "same", "plan", "the recipe comes to the layers, tensors and licences that are written down."
            )
        path = self.folder / "config.json"
        if not self.stale and path.is_file() and sha256_of(path) == self.written["files"].get(path.name):
            differing = differences(json.loads(path.read_bytes()), self._config(planned))
            if differing:
                said = f"is as it was written; now it would be another: {told(differing, 'is', 'would be')}."
                yield Sighting("unseen", path.name, said)

    def _parts(self, fresh: Entry) -> Iterator[Sighting]:
        for part in _PARTS:
            differing = differences(self.written[part], fresh[part])
            if differing:
                said = f"is not what the recipe comes to: {told(differing, 'is', 'would be')}."
                yield Sighting("changed", f"{part} in {FILE}", said)

        differing = differences(sorted(self.written["versions"]), sorted(fresh["versions"]))
        if differing:
            yield Sighting(
                "changed", f"versions in {FILE}", f"are of other things: {told(differing, 'is', 'would be')}."
            )

    def _entries(self, fresh: Entry) -> Iterator[Sighting]:
        was, now = ({one["address"]: one for one in each["sources"]} for each in (self.written, fresh))
        for address, entry in now.items():
            differing = differences(placed(was[address]), placed(entry))
            if differing:
                said = f"is not what the recipe comes to: {told(differing, 'is', 'would be')}."
                yield Sighting("changed", f"{address} in {FILE}", said)
            differing = differences(stated(was[address]), stated(entry))
            if differing:
                yield Sighting("changed", f"the card of {address}", f"{told(differing, 'was', 'is')}.")


def _device(name: str) -> tuple[torch.device, bool]:
    """The device of that name and True; where torch knows none, the CPU and False."""
    try:
        return torch.device(name), True
    except RuntimeError:
        return torch.device("cpu"), False


def _loaded(text: str) -> Recipe | None:
    try:
        return Recipe.load(text if "\n" in text else f"{text}\n")
    except RecipeError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
