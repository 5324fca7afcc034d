"""Checkpoint: a model opened from its headers and configs alone; its tensors are mapped when asked for."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergelab.errors import Problem, SourceError, did_you_mean, raise_all
from mergelab.weights.anatomy import Anatomy, anatomy, layer_count_key
from mergelab.weights.header import TensorSpec, read_header
from mergelab.weights.hub import Repository
from mergelab.weights.source import Source

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


class _Folder:
    """The files of a local model. ``Repository`` is its counterpart on the hub."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, name: str) -> Path | None:
        path = self.path / name
        return path if path.is_file() else None

    def header(self, name: str) -> tuple[dict[str, TensorSpec], list[Problem]]:
        path = self.file(name)
        if path is None:
            hint = "The checkpoint is incomplete: download or save it again."
            return {}, [Problem(str(self.path), f"the index names {name!r}, which is missing.", hint)]
        return read_header(path)

    def weights(self) -> str | None:
        """Name of the file that holds all weights, None where an index or nothing does."""
        if self.file(WEIGHTS) or self.file(INDEX):
            return WEIGHTS if self.file(WEIGHTS) else None
        names = sorted(path.name for path in self.path.glob("*.safetensors"))
        return names[0] if len(names) == 1 else None


@dataclass(frozen=True)
class Checkpoint:
    """An opened model.

    Attributes:
        source: its address.
        config: its config.json, as read.
        specs: header entry of every tensor by name, in file order.
        anatomy: which tensor belongs to which layer.
    """

    source: Source
    config: Mapping[str, Any]
    specs: Mapping[str, TensorSpec]
    anatomy: Anatomy
    _files: _Folder | Repository = field(repr=False, compare=False)
    _mapped: _Mapped = field(repr=False, compare=False)

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
        """Bytes of weights on disk."""
        return sum(spec.bytes for spec in self.specs.values())

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor, mapped from disk: shape and dtype as in ``specs``, memory shared by all who ask. Never write to
        it.

        Raises:
            SourceError: no such tensor, or its file changed since the checkpoint was opened.
        """
        spec = self.specs.get(name)
        if spec is None:
            raise SourceError(
                Problem(str(self.source), f"has no tensor {name!r}.", did_you_mean(name, list(self.specs)))
            )
        return self._mapped.tensor(self._path(spec.file), name)

    def path(self, file: str) -> Path | None:
        """Local path of one of the model's files (tokenizer, generation config ...), or None where it has none."""
        return self._files.file(file)

    def _path(self, file: str) -> Path:
        path = self._files.file(file)
        if path is None:
            hint = "It vanished after the model was opened: put it back, and open the model again."
            raise SourceError(Problem(str(self.source), f"weight file {file!r} is gone.", hint))
        return path


class _Mapped:
    """Weight files mapped into memory, each once. A file that changes under us is an error, never mixed weights."""

    def __init__(self, stamps: Mapping[Path, tuple[int, ...]]) -> None:
        self._stamps = dict(stamps)
        self._files: dict[Path, Any] = {}
        self._tensors: dict[tuple[Path, str], torch.Tensor] = {}
        self._lock = threading.Lock()

    def tensor(self, path: Path, name: str) -> torch.Tensor:
        from safetensors import SafetensorError, safe_open

        with self._lock:
            stamp = _stamp(path)
            if self._stamps.setdefault(path, stamp) != stamp:
                what = "changed after it was opened."
                raise SourceError(Problem(str(path), what, "Open the model again to use what is there now."))
            try:
                if path not in self._files:
                    self._files[path] = safe_open(path, framework="pt")
                if (path, name) not in self._tensors:
                    self._tensors[path, name] = self._files[path].get_tensor(name)
            except SafetensorError as error:
                what = f"tensor {name!r} cannot be read ({error})."
                raise SourceError(Problem(str(path), what, "Download or save it again.")) from error
            return self._tensors[path, name]


def _stamp(path: Path) -> tuple[int, ...]:
    stat = os.stat(path)
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def open_checkpoint(source: Checkpoint | Source | str | os.PathLike[str]) -> Checkpoint:
    """Open a model from its config and headers; no weights are read. A checkpoint is returned as it is.

    Args:
        source: a folder, a hub id ``org/name[@revision]``, or a Source.

    Raises:
        SourceError: the folder is missing; the hub cannot be reached; config.json or the weights are missing, truncated
            or contradict each other. All problems at once.
    """
    if isinstance(source, Checkpoint):
        return source
    source = Source.parse(source)
    folder = source.folder
    files = Repository(source) if folder is None else _Folder(folder)
    try:
        stamps = {} if folder is None else {path: _stamp(path) for path in sorted(folder.glob("*.safetensors"))}
        config, problems = _config(files, source)
        specs, broken = _specs(files, source)
    except OSError as error:
        what = f"cannot be read ({error})."
        raise SourceError(Problem(str(source), what, "Mend its files or their permissions.")) from error
    raise_all(SourceError, problems + broken)
    parts = anatomy(specs, str(source))
    key = layer_count_key(config)
    if key is None or config[key] != len(parts.layers):
        claims = "does not say how many layers there are" if key is None else f"says {key} = {config[key]}"
        raise SourceError(
            Problem(str(source), f"config.json {claims}, the weights hold {len(parts.layers)} layers.",
                    "Config and weights are of different models: mend or download the folder again.")
        )  # fmt: skip
    return Checkpoint(source, config, specs, parts, files, _Mapped(stamps))


def _config(files: _Folder | Repository, source: Source) -> tuple[dict[str, Any], list[Problem]]:
    path = files.file("config.json")
    if path is None:
        return {}, [
            Problem(
                str(source),
                "has no config.json.",
                "Name the folder that holds config.json and *.safetensors.",
            )
        ]
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


def _specs(files: _Folder | Repository, source: Source) -> tuple[dict[str, TensorSpec], list[Problem]]:
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
