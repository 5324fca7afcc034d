"""Files of a local model: found by name, their headers read, their tensors mapped when asked for."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergelab.errors import Problem, SourceError
from mergelab.weights.header import TensorSpec, read_header

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER: tuple[str, ...] = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model", "vocab.json", "merges.txt",
    "added_tokens.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tekken.json", "chat_template.jinja",
    "chat_template.json", "additional_chat_templates/tool_use.jinja", "additional_chat_templates/rag.jinja",
)  # fmt: skip


class Folder:
    """The files of a local model. ``Repository`` is its counterpart on the hub."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def commit(self) -> None:
        """The hub's commit that the files come from: a folder has none."""

    def file(self, name: str) -> Path | None:
        """Path of a file, None where the folder has none of that name."""
        path = self.path / name
        return path if path.is_file() else None

    def kept(self, name: str) -> Path | None:
        """As ``file``: everything is here already."""
        return self.file(name)

    def fingerprint(self, name: str) -> None:
        """The hub's own hash of a file's content: a folder has none."""

    def has(self, name: str) -> bool:
        """Whether the folder has a file of that name."""
        return self.file(name) is not None

    def header(self, name: str) -> tuple[dict[str, TensorSpec], list[Problem]]:
        """Specs of a weight file, and everything that is wrong with it."""
        path = self.file(name)
        if path is None:
            hint = "The checkpoint is incomplete: download or save it again."
            return {}, [Problem(str(self.path), f"the index names {name!r}, which is missing.", hint)]
        return read_header(path)

    def weights(self) -> str | None:
        """Name of the file that holds all weights, None where an index or nothing does."""
        if self.has(WEIGHTS) or self.has(INDEX):
            return WEIGHTS if self.has(WEIGHTS) else None
        names = sorted(path.name for path in self.path.glob("*.safetensors"))
        return names[0] if len(names) == 1 else None

    def stamps(self) -> dict[Path, tuple[int, ...]]:
        """What tells each weight file from a later one in its place."""
        return {path: stamped(path) for path in sorted(self.path.glob("*.safetensors"))}


class Mapped:
    """Weight files mapped into memory, each once. A file that changes under us is an error, never mixed weights."""

    def __init__(self, stamps: Mapping[Path, tuple[int, ...]]) -> None:
        self._stamps = dict(stamps)
        self._files: dict[Path, Any] = {}
        self._tensors: dict[tuple[Path, str], torch.Tensor] = {}
        self._lock = threading.Lock()

    def again(self) -> Mapped:
        """The same files in memory of its own: what is written to that, neither these tensors nor the files show."""
        with self._lock:
            return Mapped(self._stamps)

    def stamps(self, names: Collection[str]) -> dict[Path, tuple[int, ...]]:
        """The files of these names, each with what told it from a later one in its place when it was opened. Those of
        the hub count from their first tensor that was read.
        """
        with self._lock:
            return {path: stamp for path, stamp in self._stamps.items() if path.name in names}

    def tensor(self, path: Path, name: str) -> torch.Tensor:
        """A tensor of a file, the same one whoever asks.

        Raises:
            SourceError: the file is not the one it was, or cannot be read.
        """
        from safetensors import SafetensorError, safe_open

        with self._lock:
            self._see(path)
            try:
                if path not in self._files:
                    self._files[path] = safe_open(path, framework="pt")
                if (path, name) not in self._tensors:
                    self._tensors[path, name] = self._files[path].get_tensor(name)
            except SafetensorError as error:
                what = f"tensor {name!r} cannot be read ({error})."
                raise SourceError(Problem(str(path), what, "Download or save it again.")) from error
            return self._tensors[path, name]

    def see(self, path: Path) -> None:
        """See that a file is the one that it was.

        Raises:
            SourceError: it is not.
        """
        with self._lock:
            self._see(path)

    def _see(self, path: Path) -> None:
        stamp = stamped(path)
        if self._stamps.setdefault(path, stamp) != stamp:
            raise SourceError(_changed(path))


def changes(stamps: Mapping[Path, tuple[int, ...]]) -> list[Problem]:
    """What is wrong with files that were stamped: they are gone, or others by now."""
    problems = []
    for path, stamp in stamps.items():
        try:
            if stamped(path) != stamp:
                problems.append(_changed(path))
        except OSError as error:
            problems.append(_gone(path, error))
    return problems


def altered(settings: Mapping[Path, Any]) -> list[Problem]:
    """What is wrong with JSON files that held these values: they are gone, or say something else by now."""
    problems = []
    for path, before in settings.items():
        try:
            if _spelt(json.loads(path.read_bytes())) != _spelt(before):
                problems.append(_changed(path))
        except OSError as error:
            problems.append(_gone(path, error))
        except (ValueError, RecursionError):
            problems.append(_changed(path))
    return problems


def _spelt(value: Any) -> str:
    """The same for the same JSON, in whatever order its names are; also for NaN, which equals nothing."""
    return json.dumps(value, sort_keys=True)


def _changed(path: Path) -> Problem:
    return Problem(str(path), "changed after it was opened.", "Open the model again to use what is there now.")


def _gone(path: Path, error: OSError) -> Problem:
    what = f"cannot be read any more ({error.strerror or error})."
    return Problem(str(path), what, "Put it back, and open the model again.")


def stamped(path: Path) -> tuple[int, ...]:
    """What tells a file from a later one in its place."""
    stat = os.stat(path)
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
