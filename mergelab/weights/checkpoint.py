"""Checkpoint: a model opened from its headers and configs alone; its tensors are mapped when asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergelab.errors import Problem, SourceError, did_you_mean, raise_all
from mergelab.weights.adapters import CONFIG, Adapter, read_adapter
from mergelab.weights.anatomy import Anatomy, anatomy, is_leftover, layer_count_key
from mergelab.weights.files import INDEX, TOKENIZER, Folder, Mapped, altered, changes
from mergelab.weights.header import TensorSpec
from mergelab.weights.hub import Repository
from mergelab.weights.source import Source

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Checkpoint:
    """An opened model.

    Attributes:
        source: its address.
        config: its config.json, as read.
        specs: header entry of every tensor by name, in file order; tables left over in old files are no tensors here.
        anatomy: which tensor belongs to which layer.
        adapter: the adapter that is folded into its tensors, or None.
    """

    source: Source
    config: Mapping[str, Any]
    specs: Mapping[str, TensorSpec]
    anatomy: Anatomy
    _files: Folder | Repository = field(repr=False, compare=False)
    _mapped: Mapped = field(repr=False, compare=False)
    _settings: Mapping[Path, Mapping[str, Any]] = field(repr=False, compare=False)  # what its JSON files said
    adapter: Adapter | None = None

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return len(self.anatomy.layers)

    @cached_property
    def width(self) -> int:
        """Width of the residual stream."""
        for key in ("hidden_size", "n_embd", "d_model"):
            if isinstance(self.config.get(key), int):
                return int(self.config[key])
        return self.specs[self.anatomy.before[0]].shape[-1]

    @property
    def parameters(self) -> int:
        """Number of stored values."""
        return sum(spec.elements for spec in self.specs.values())

    @property
    def bytes(self) -> int:
        """Bytes of weights on disk, without the tables that old files hold beside them."""
        return sum(spec.bytes for spec in self.specs.values())

    @property
    def sharded(self) -> bool:
        """Whether an index says which file holds which tensor."""
        return self._files.weights() is None

    @property
    def commit(self) -> str | None:
        """The commit of the hub's repository that its files come from; None for a folder."""
        return self._files.commit

    @property
    def stamps(self) -> dict[Path, tuple[int, ...]]:
        """Its weight files and its adapter's, each with what told it from a later one in its place when the model was
        opened. Files of the hub count from their first tensor that was read.
        """
        own = self._mapped.stamps({spec.file for spec in self.specs.values()})
        return own | (self.adapter.stamps if self.adapter else {})

    def changes(self) -> list[Problem]:
        """What is wrong with its files by now: weight files that are gone or others than those that were opened, and
        configs (an adapter's too) that say something else than they did.
        """
        return changes(self.stamps) + altered(self._settings)

    def apart(self) -> Checkpoint:
        """The same checkpoint in memory of its own, for one who may write to its tensors: nobody else sees it, and the
        files stay as they are. What is only read is still in memory once, as pages of the files.
        """
        adapter = self.adapter and self.adapter.apart()
        return replace(self, _mapped=self._mapped.again(), adapter=adapter)

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor, mapped from disk: shape and dtype as in ``specs``, memory shared by all who ask. Never write to
        it. One that an adapter changes is computed, and shared as long as somebody holds it.

        Raises:
            SourceError: no such tensor, or its file changed since the checkpoint was opened.
        """
        stored = self._stored(name)
        return self.adapter.fold(name, stored) if self.adapter else stored

    def rows(self, name: str, first: int, stop: int) -> torch.Tensor:
        """Rows ``first`` to ``stop`` of ``tensor(name)``, to the bit; if an adapter changes them they are computed, and
        no others. Never write to them.

        Raises:
            SourceError: as ``tensor``.
        """
        stored = self._stored(name)
        return self.adapter.rows(name, stored, first, stop) if self.adapter else stored[first:stop]

    def file(self, name: str) -> Path:
        """The file that a tensor is stored in, seen to be the one that was opened: for one who reads it himself.

        Raises:
            SourceError: as ``tensor``.
        """
        path = self._path(self._spec(name).file)
        self._mapped.see(path)
        return path

    def _stored(self, name: str) -> torch.Tensor:
        spec = self._spec(name)
        return self._mapped.tensor(self._path(spec.file), spec.name)

    def _spec(self, name: str) -> TensorSpec:
        spec = self.specs.get(name)
        if spec is None:
            raise SourceError(
                Problem(str(self.source), f"has no tensor {name!r}.", did_you_mean(name, list(self.specs)))
            )
        return spec

    def path(self, file: str) -> Path | None:
        """Local path of one of the model's files (tokenizer, generation config ...), or None where it has none.

        A tokenizer that was saved with the adapter goes before the model's own, as a whole: files are never mixed.
        """
        if self.adapter and file in TOKENIZER and self.adapter.path("tokenizer_config.json"):
            return self.adapter.path(file)
        return self._files.file(file)

    def kept(self, file: str) -> Path | None:
        """Like ``path`` for a file that lies on this machine already; None where it would have to be downloaded."""
        if self.adapter and file in TOKENIZER and self.adapter.path("tokenizer_config.json"):
            return self.adapter.path(file)
        return self._files.kept(file)

    def fingerprint(self, file: str) -> str | None:
        """The hub's own hash of the content of one of the model's files; None for folders, or where it is not told."""
        return self._files.fingerprint(file)

    def _path(self, file: str) -> Path:
        path = self._files.file(file)
        if path is None:
            hint = "It vanished after the model was opened: put it back, and open the model again."
            raise SourceError(Problem(str(self.source), f"weight file {file!r} is gone.", hint))
        return path


def open_checkpoint(source: Checkpoint | Source | str | os.PathLike[str]) -> Checkpoint:
    """Open a model from its config and headers; no weights are read. A checkpoint is returned as it is.

    Args:
        source: a folder, a hub id ``org/name[@revision]``, either with ``+adapter`` behind it, or a Source.

    Raises:
        SourceError: the folder is missing; the hub cannot be reached; config.json or the weights are missing, truncated
            or contradict each other; the adapter is none that can be read, or does not fit. All problems at once.
    """
    if isinstance(source, Checkpoint):
        return source
    source = Source.parse(source)
    return _open(source) if source.adapter is None else _open_with(source.adapter, source)


def _open_with(address: Source, source: Source) -> Checkpoint:
    """Open a model with the adapter at ``address``."""
    loose, problems = read_adapter(address)
    try:
        base = _open(replace(source, adapter=None))
    except SourceError as error:
        raise SourceError(*error.problems, *problems) from error
    if loose is None:
        raise SourceError(*problems)
    adapter, fitted = loose.onto(base.specs, base.anatomy, base.config)
    told = adapter.path(CONFIG)
    return replace(
        base,
        source=source,
        config={**base.config, **fitted.settings},
        specs=fitted.specs,
        anatomy=anatomy(fitted.specs, str(source)),
        adapter=adapter,
        _settings={**base._settings, **({told: json.loads(told.read_bytes())} if told else {})},
    )


def _open(source: Source) -> Checkpoint:
    folder = source.folder
    files = Repository(source) if folder is None else Folder(folder)
    try:
        stamps = files.stamps() if isinstance(files, Folder) else {}
        config, problems = _config(files, source)
        specs, broken = _specs(files, source)
    except OSError as error:
        what = f"cannot be read ({error})."
        raise SourceError(Problem(str(source), what, "Mend its files or their permissions.")) from error
    raise_all(SourceError, problems + broken)
    specs = {name: spec for name, spec in specs.items() if not is_leftover(name, spec.shape)}
    parts = anatomy(specs, str(source))
    key = layer_count_key(config)
    if key is None or config[key] != len(parts.layers):
        claims = "does not say how many layers there are" if key is None else f"says {key} = {config[key]}"
        raise SourceError(
            Problem(str(source), f"config.json {claims}, the weights hold {len(parts.layers)} layers.",
                    "Config and weights are of different models: mend or download the folder again.")
        )  # fmt: skip
    path = files.file("config.json")
    return Checkpoint(source, config, specs, parts, files, Mapped(stamps), {path: config} if path else {})


def _config(files: Folder | Repository, source: Source) -> tuple[dict[str, Any], list[Problem]]:
    path = files.file("config.json")
    if path is None:
        hint = "Name the folder that holds config.json and *.safetensors."
        if files.has(CONFIG):
            hint = f"It is an adapter: write its model before it, 'model+{source}'."
        return {}, [Problem(str(source), "has no config.json.", hint)]
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        return {}, [Problem(str(path), f"is not JSON ({error}).", "Download or save it again.")]
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        return {}, [
            Problem(
                str(path),
                "does not name a model_type.",
                "It is not a transformers config: save the model again.",
            )
        ]
    return config, []


def _specs(files: Folder | Repository, source: Source) -> tuple[dict[str, TensorSpec], list[Problem]]:
    # One file before an index, as in transformers: an index beside it was left by an older save.
    name = files.weights()
    if name is not None:
        return files.header(name)
    index = files.file(INDEX)
    if index is None:
        what = "has no model.safetensors and no index of shards."
        hint = "Other formats (.bin, .gguf) are not read: convert it to safetensors first."
        return {}, [Problem(str(source), what, hint)]
    try:
        places = json.loads(index.read_bytes())["weight_map"]
        if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}, [Problem(str(index), "is not an index with a weight_map.", "Download or save it again.")]
    specs: dict[str, TensorSpec] = {}
    problems: list[Problem] = []
    hint = "Index and shards are of different models: download it again."
    for shard in dict.fromkeys(places.values()):
        if Path(shard).name != shard or shard == "..":
            problems.append(
                Problem(str(index), f"names a file outside the folder: {shard!r}.", "Do not use this checkpoint.")
            )
            continue
        found, broken = files.header(shard)
        problems += broken
        twice = [name for name in found if name in specs]
        if twice:
            what = f"{twice[0]!r} lies in {specs[twice[0]].file!r} and in {shard!r} ({len(twice)} such)."
            problems.append(Problem(str(index), what, hint))
        specs |= found
        lost = [] if broken else [name for name, place in places.items() if place == shard and name not in found]
        if lost:
            what = f"says {shard!r} holds {lost[0]!r}, it does not ({len(lost)} such)."
            problems.append(Problem(str(index), what, hint))
    return specs, problems
