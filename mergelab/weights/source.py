"""Source: the address of a model, before anything is opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mergelab.errors import Problem, SourceError

_FORM = "Write a folder, or 'org/name' or 'org/name@revision'; for a LoRA on it, its address behind a '+'."


@dataclass(frozen=True, order=True)
class Source:
    """Where a model lives: a local folder, or a hub id with an optional revision; perhaps with a LoRA adapter on it.

    Attributes:
        path: a folder, or a hub id such as ``"org/name"``.
        revision: a branch, tag or commit of the hub repository; None means its default branch.
        adapter: where the adapter lives that is folded into the model; None means the model as it is.

    Raises:
        SourceError: the adapter has an adapter itself.
    """

    path: str
    revision: str | None = None
    adapter: Source | None = None

    def __post_init__(self) -> None:
        if self.adapter and self.adapter.adapter:
            what = f"{str(self.adapter)!r} is an adapter on an adapter."
            raise SourceError(Problem(f"source {str(self)!r}", what, "A model takes one adapter: merge the others."))

    @classmethod
    def parse(cls, text: Source | str | os.PathLike[str]) -> Source:
        """Read ``path_or_id[@revision][+adapter_path_or_id[@revision]]``, as mergekit writes it.

        A folder that exists is taken as it is, whatever characters its name has.

        Raises:
            SourceError: a part is empty or has more than one ``@``, or there is more than one ``+``.
        """
        if isinstance(text, Source):
            return text
        address = os.fspath(text)
        if _is_folder(address) or "+" not in address:
            return cls(*_place(address, address))
        halves = [(address[:at], address[at + 1 :]) for at, sign in enumerate(address) if sign == "+"]
        clear = [pair for pair in halves if all("+" not in half or _is_folder(half) for half in pair)]
        if len(clear) != 1:
            what = "has more than one '+', and not one way to part it into folders that exist."
            raise SourceError(Problem(f"source {address!r}", what, _FORM))
        model, adapter = clear[0]
        return cls(*_place(model, address), cls(*_place(adapter, address)))

    def under(self, root: str | os.PathLike[str]) -> Source:
        """This address with relative folders taken from ``root``; hub ids and absolute folders are left alone."""
        whole = str(Path(root) / str(self))
        if not os.path.isabs(self.path) and _is_folder(whole):  # a folder with '+' or '@' in its name, seen from here
            return Source(whole)
        folder = str(Path(root) / self.path)
        path = folder if not os.path.isabs(self.path) and _is_folder(folder) else self.path
        return Source(path, self.revision, self.adapter and self.adapter.under(root))

    @property
    def folder(self) -> Path | None:
        """The model's local folder, or None when this can only be a hub id.

        Raises:
            SourceError: the address is written as a path, and there is no folder at it; or there is one, and a revision
                is named all the same.
        """
        folder = os.path.expanduser(self.path)
        if os.path.isdir(folder):
            if self.revision:
                what = f"is a folder, which has no revision {self.revision!r}."
                raise SourceError(Problem(f"source {str(self)!r}", what, f"Write {self.path!r}."))
            return Path(folder)
        exists = os.path.exists(folder)
        if exists or _looks_like_path(self.path):
            place = os.path.abspath(folder)
            what = "is a file, not a folder." if exists else f"there is no such folder ({place})."
            raise SourceError(
                Problem(f"source {self.path!r}", what, "Name the folder that holds config.json and *.safetensors.")
            )
        return None

    @property
    def folders(self) -> tuple[Path, ...]:
        """The local folders that it reads: the model's and the adapter's, as far as they are local."""
        return tuple(place.folder for place in (self, self.adapter) if place and place.folder)

    @property
    def label(self) -> str:
        """A short name to show: the last part of the path, and of the adapter's."""
        name = Path(self.path).name or self.path
        return f"{name}+{self.adapter.label}" if self.adapter else name

    def __str__(self) -> str:
        model = f"{self.path}@{self.revision}" if self.revision else self.path
        return f"{model}+{self.adapter}" if self.adapter else model


def _place(text: str, address: str) -> tuple[str, str | None]:
    """Path and revision of one part of an address."""
    if text and _is_folder(text):
        return text, None
    path, at, revision = text.partition("@")
    if not path or (at and not revision) or "@" in revision:
        what = "is not an address." if text == address else f"{text!r} is not an address."
        raise SourceError(Problem(f"source {address!r}", what, _FORM))
    return path, revision or None


def _is_folder(text: str) -> bool:
    # os.path answers False where pathlib raises: names too long for the system, users that do not exist.
    return os.path.isdir(os.path.expanduser(text))


def _looks_like_path(address: str) -> bool:
    return address.startswith((".", "~", os.sep)) or "\\" in address or address.count("/") > 1
