"""Provenance: what a merge was made of and how, as data. The same merge gives the same bytes, whenever it is run.

``mergelab.json`` lies beside the weights. It has no time of day, no name of a user, and no path but those that the
recipe itself has.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from mergelab import methods
from mergelab.errors import Problem, SourceError, raise_all
from mergelab.forge.digests import Digests
from mergelab.forge.record_form import misfits
from mergelab.models.progress import Stopped
from mergelab.recipes.card import Card, read_cards
from mergelab.recipes.licences import parents, terms
from mergelab.recipes.plan import Plan, Staged
from mergelab.recipes.preflight import short_names
from mergelab.recipes.recipe import Recipe
from mergelab.recipes.slice_map import slice_map
from mergelab.recipes.step import Given, Input, Step, made_of
from mergelab.weights import Checkpoint, Source
from mergelab.weights.adapters import CONFIG as ADAPTER_CONFIG
from mergelab.weights.adapters import WEIGHTS as ADAPTER_WEIGHTS
from mergelab.weights.files import INDEX, TOKENIZER, changes, stamped

FILE = "mergelab.json"
FORMAT = 1
_OFTEN = 0.02  # seconds between two looks at whether to stop
_CONTENT = re.compile(r"[0-9a-f]{64}")
_LIBRARIES = ("mergelab", "torch", "transformers", "safetensors", "tokenizers")
_WIDTH = 120  # characters of a line of mergelab.json, where its values are not longer

_COPIED = (*TOKENIZER, "generation_config.json")
ADAPTER_FILES = (ADAPTER_WEIGHTS, ADAPTER_CONFIG)

Hashes = Mapping[Source, Mapping[str, str]]


class Verdict(Protocol):
    """What ``models/proof.py`` gives."""

    def as_record(self) -> dict[str, object]:
        """As plain data."""


class Hashing:
    """SHA-256 of every file that a merge reads of its sources, beside the merge.

    A large file of the hub is stored under its SHA-256 in the hub's cache, and is not read. Any other is, once.
    """

    def __init__(self, planned: Plan, digests: Digests, stop: Callable[[], bool] | None = None) -> None:
        """Begin.

        Args:
            digests: does the work; what it has begun with and the plan does not read is left off.
            stop: asked while ``result`` waits; once it says True, that raises Stopped.

        Raises:
            SourceError: a file is gone, or the hub cannot be reached.
        """
        self._stop = stop
        self._known: dict[Path, str] = {}
        self._running: dict[Path, Future[str]] = {}
        self._files = files_read(planned)
        for source, files in self._files.items():
            for path in files.values():
                content = content_name(path) if source.folder is None else None
                if content is not None:
                    self._known[path] = content
        wanted = dict.fromkeys(path for files in self._files.values() for path in files.values())
        # Weight files and configs were opened, and are watched from then on.
        watched = {path for files in self._files.values() for name, path in files.items() if name in _COPIED}
        self._stamps = {path: stamped(path) for path in sorted(watched)}
        digests.only([path for path in wanted if path not in self._known])
        self._running = {path: digests.of(path) for path in wanted if path not in self._known}

    def unchanged(self) -> None:
        """See that tokenizers and generation configs are still those that were there in the beginning.

        Raises:
            SourceError: files that changed or vanished, all of them.
        """
        raise_all(SourceError, changes(self._stamps))

    def result(self) -> dict[Source, dict[str, str]]:
        """Wait for the hashes: file name -> SHA-256, for each source and each adapter.

        Raises:
            SourceError: a file is gone, cannot be read, or changed while it was.
            Stopped: ``stop`` said so.
        """
        while wait(self._running.values(), _OFTEN, FIRST_EXCEPTION).not_done:
            if self._stop is not None and self._stop():
                raise Stopped
        return {
            source: {name: self._known.get(path) or self._digest(path) for name, path in files.items()}
            for source, files in self._files.items()
        }

    def _digest(self, path: Path) -> str:
        try:
            return self._running[path].result()
        except OSError as error:
            what = f"cannot be read ({error.strerror or error})."
            raise SourceError(Problem(str(path), what, "Put it back, and merge again.")) from error


def content_name(path: Path) -> str | None:
    """The SHA-256 by which the hub's cache calls a large file; None for a file that it calls otherwise."""
    blob = path.resolve()
    return blob.name if blob.parent.name == "blobs" and _CONTENT.fullmatch(blob.name) else None


def files_read(planned: Plan) -> dict[Source, dict[str, Path]]:
    """Every file that a merge reads of its sources, by its name there; those of an adapter under its own address.

    These are the weight files that hold a tensor of the merge (a model on the hub may have others, which are not
    downloaded), the config, and of models whose tokenizer is asked for their tokenizer and generation config.

    Raises:
        SourceError: a weight file is gone, or the hub cannot be reached.
    """
    found: dict[Source, dict[str, Path]] = {}
    for source, (certain, perhaps) in names_read(planned).items():
        checkpoint = planned.checkpoints[source]
        for name in (*certain, *perhaps):
            path = checkpoint.path(name)
            if path is not None:
                found.setdefault(source, {})[name] = path
            elif name in certain:
                what = f"file {name!r} is gone."
                raise SourceError(Problem(str(source), what, "Put it back, and open the model again."))
        if source.adapter is not None and checkpoint.adapter is not None:
            for name in ADAPTER_FILES:
                path = checkpoint.adapter.path(name)
                if path is not None:
                    found.setdefault(source.adapter, {})[name] = path
    return found


def names_read(planned: Plan) -> dict[Source, tuple[tuple[str, ...], tuple[str, ...]]]:
    """The names of the files that a merge reads of each model: those that it has to have, and those that it may have.

    Nothing is looked up or downloaded. An adapter on a model always has ``ADAPTER_FILES``.
    """
    weights = _weight_files(planned)
    speakers = _speakers(planned)
    return {
        source: (
            (*weights.get(source, ()), *((INDEX,) if checkpoint.sharded else ()), "config.json"),
            ("generation_config.json", *TOKENIZER) if source in speakers else (),
        )
        for source, checkpoint in planned.checkpoints.items()
    }


def _weight_files(planned: Plan) -> dict[Source, tuple[str, ...]]:
    """The weight files that the plan reads, in the order of its steps."""
    found: dict[Source, dict[str, None]] = {}
    for given in inputs(planned.steps):
        file = planned.checkpoints[given.source].specs[given.name].file
        found.setdefault(given.source, {})[file] = None
    return {source: tuple(files) for source, files in found.items()}


def inputs(steps: Sequence[Given]) -> Iterator[Input]:
    """Every tensor of a source that goes into these, each once; those too that only thresholds depend on."""
    seen: dict[int, Given] = {}
    left = list(reversed(steps))
    while left:
        given = left.pop()
        if id(given) in seen:
            continue
        seen[id(given)] = given
        if isinstance(given, Input):
            yield given
            continue
        peers = given.peers if isinstance(given, Step) else ()
        beside = [one for each in peers for vector in each.vectors for one in (vector.tuned, vector.base)]
        left += reversed([*made_of(given), *beside])


def _speakers(planned: Plan) -> tuple[Source, ...]:
    """The models whose tokenizers the merge reads, through all stages."""
    aligned, recipe = planned.alignment, planned.recipe
    named = [recipe.donor, *(aligned.readers if aligned else ()), *(recipe.named if recipe.chat_template else ())]
    found: dict[Source, None] = {}
    for source in named:
        origin = planned.origins[source]
        found |= dict.fromkeys(_speakers(origin.plan) if isinstance(origin, Staged) else (source,))
    return tuple(found)


# ------------------------------------------------------------------------------------------------ the record


def record(
    planned: Plan,
    *,
    device: str,
    hashes: Hashes,
    outputs: Mapping[str, str],
    proof: Verdict | None,
) -> dict[str, object]:
    """What ``mergelab.json`` holds: plain data that JSON can write, the same for the same merge.

    Args:
        planned: what was merged.
        device: where the arithmetic was done: the kind of device, such as "cuda".
        hashes: of the sources' files, as ``Hashing`` gives them.
        outputs: SHA-256 of every file that was written, by its name.
        proof: how the folder compared with the live model, where that was asked for.

    Raises:
        SourceError: the hub cannot be reached.
    """
    said = terms(parents(planned.checkpoints, short_names(tuple(planned.checkpoints))))
    return {
        "format": FORMAT,
        "versions": versions(),
        "recipe": {"fingerprint": planned.recipe.fingerprint, "sha256": recipe_hash(planned.recipe),
            "yaml": planned.recipe.bare.to_yaml()},
        "model": {
            "layers": len(planned.layers), "parameters": planned.parameters, "bytes": planned.bytes,
            "dtype": planned.dtype, "config": str(_model_behind(planned, planned.recipe.donor)),
            "vocabulary": _vocabulary(planned), "methods": _methods(planned),
            "seeds": _seeds(planned), "device": device,
        },
        "sources": [
            _source(source, checkpoint, hashes) for source, checkpoint in planned.checkpoints.items()
        ],
        "licence": {
            "line": None if said.line is None else asdict(said.line),
            "duties": dict(said.duties),
            "findings": [
                {"grade": one.grade, "about": one.about, "what": one.what, "evidence": one.evidence,
                    "remedy": one.remedy}
                for one in said.findings
            ],
        },
        "made": list(slice_map(planned)),
        "tensors": {step.name: tensor_line(step.dtype, step.shape) for step in planned.steps},
        "files": {name: outputs[name] for name in sorted(outputs)},
        "proof": None if proof is None else proof.as_record(),
    }  # fmt: skip


def as_json(made: Mapping[str, object]) -> str:
    """A record as the text of ``mergelab.json``."""
    return _lines(made, 0) + "\n"


def _lines(value: object, depth: int) -> str:
    """JSON with everything on one line that fits there."""
    line = json.dumps(value, ensure_ascii=False)
    if (depth and len(line) + depth <= _WIDTH) or not isinstance(value, dict | list) or not value:
        return line
    margin = "\n" + " " * (depth + 1)
    if isinstance(value, list):
        return f"[{margin}{f',{margin}'.join(_lines(one, depth + 1) for one in value)}{margin[:-1]}]"
    named = (f"{json.dumps(key, ensure_ascii=False)}: {_lines(one, depth + 1)}" for key, one in value.items())
    return f"{{{margin}{f',{margin}'.join(named)}{margin[:-1]}}}"


def read_record(path: Path) -> dict[str, Any]:
    """The record in a ``mergelab.json``, with everything in it that ``record`` puts there.

    Raises:
        SourceError: there is no such file, or it is none that this mergelab wrote.
    """
    hint = "Merge again, from its recipe."
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        what = f"has no {path.name}, so that nobody wrote down what it was made of."
        raise SourceError(
            Problem(str(path.parent), what, "Name a folder that this version of mergelab has written.")
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(Problem(str(path), f"is damaged: it is not JSON ({error}).", hint)) from None
    if isinstance(found, dict) and found.get("format") not in (None, FORMAT):
        what = f"has the format {found['format']!r}, this mergelab knows {FORMAT}."
        raise SourceError(Problem(str(path), what, "Upgrade mergelab."))
    wrong = misfits(found)
    if wrong:
        what = f"is damaged: {wrong[0]}{f' ({len(wrong)} such)' if len(wrong) > 1 else ''}."
        raise SourceError(Problem(str(path), what, hint))
    whole: dict[str, Any] = found
    return whole


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of a recipe's YAML without comments; its fingerprint is the beginning of it."""
    return hashlib.sha256(recipe.bare.to_yaml().encode()).hexdigest()


def versions() -> dict[str, str]:
    """The versions of what a merge's bytes depend on."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in _LIBRARIES}


def tensor_line(dtype: str, shape: Sequence[int]) -> str:
    """A tensor's dtype and shape in a word: ``BF16 [32, 24]``."""
    return f"{dtype} {list(shape)}"


def _source(source: Source, checkpoint: Checkpoint, hashes: Hashes) -> dict[str, object]:
    card, *cards = read_cards(checkpoint)
    found = _place(source, checkpoint.commit, card, hashes.get(source, {})) | {"adapter": None}
    if checkpoint.adapter is not None and source.adapter is not None:
        fitted = checkpoint.adapter
        adapter = _place(source.adapter, fitted.commit, cards[0], hashes.get(source.adapter, {}))
        found["adapter"] = {**adapter, "trained on": fitted.base}
    return found


def _place(source: Source, commit: str | None, card: Card, hashes: Mapping[str, str]) -> dict[str, Any]:
    """A model or an adapter where it lives."""
    return {
        "address": str(source),
        "path": source.path,
        "hub": source.folder is None,
        "revision": source.revision,
        "commit": commit,
        "licences": list(card.licences),
        "licence link": card.link,
        "ancestors": list(card.bases),
        "files": {name: hashes[name] for name in sorted(hashes)},
    }


def _vocabulary(planned: Plan) -> dict[str, object] | None:
    aligned, donor = planned.alignment, planned.donor
    if aligned is None and isinstance(donor, Staged):
        return _vocabulary(donor.plan)
    return None if aligned is None else {"rows": aligned.count, "tokenizer": str(_model_behind(planned, aligned.home))}


def _model_behind(planned: Plan, source: Source) -> Source:
    """The model whose config a stage has, through all stages; of a model, itself."""
    origin = planned.origins[source]
    return _model_behind(origin.plan, origin.plan.recipe.donor) if isinstance(origin, Staged) else source


def _methods(planned: Plan) -> list[str]:
    """The methods of all documents, in their order."""
    plans = [*(stage.plan for stage in planned.stages), planned]
    return list(dict.fromkeys(name for one in plans for name in one.methods))


def _seeds(planned: Plan) -> dict[str, int]:
    """The seed of each document that draws random numbers, by its name; that of the merge has none."""
    plans = [*(stage.plan for stage in planned.stages), planned]
    drawn = [one for one in plans if any(methods.get(name).seeded for name in one.methods)]
    return {"" if one is planned else one.recipe.name or "": one.recipe.seed for one in drawn}
