"""Source: the address of a model, before anything is opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mergelab.errors import Problem, SourceError


@dataclass(frozen=True, order=True)
class Source:
    """Where a model lives: a local folder, or a hub id with an optional revision.

    Attributes:
        path: a folder, or a hub id such as ``"org/name"``.
        revision: a branch, tag or commit of the hub repository; None means its default branch.
    """

    path: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: Source | str | os.PathLike[str]) -> Source:
        """Read ``path_or_id[@revision]``. A folder that exists is taken as it is, whatever characters its name has.

        Raises:
            SourceError: the text is empty, has more than one ``@``, or names an adapter (``model+adapter``).
        """
        if isinstance(text, Source):
            return text
        address = os.fspath(text)
        if address and os.path.isdir(os.path.expanduser(address)):
            return cls(address)
        # A hub id has one slash at most, and no plus: "org/model+org/adapter" is one with an adapter.
        first, plus, _ = address.partition("+")
        if plus and ("+" in Path(address).name or not _looks_like_path(first)):
            raise SourceError(
                Problem(
                    f"source {address!r}",
                    "adapters (model+adapter) are not supported yet.",
                    "Merge the adapter into its model first (peft: merge_and_unload), and name that folder.",
                )
            )
        path, at, revision = address.partition("@")
        if not path or (at and not revision) or "@" in revision:
            raise SourceError(
                Problem(
                    f"source {address!r}",
                    "is not an address.",
                    "Write a folder, or 'org/name' or 'org/name@revision'.",
                )
            )
        return cls(path, revision or None)

    def under(self, root: str | os.PathLike[str]) -> Source:
        """This address with a relative folder taken from ``root``; hub ids and absolute folders are left alone."""
        folder = str(Path(root) / self.path)
        return Source(folder, self.revision) if not os.path.isabs(self.path) and os.path.isdir(folder) else self

    @property
    def folder(self) -> Path | None:
        """The local folder, or None when this can only be a hub id.

        Raises:
            SourceError: the address is written as a path, and there is no folder at it; or there is one, and a revision
                is named all the same.
        """
        # os.path answers False where pathlib raises: names too long for the system, users that do not exist.
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
    def label(self) -> str:
        """A short name to show: the last part of the path."""
        return Path(self.path).name or self.path

    def __str__(self) -> str:
        return f"{self.path}@{self.revision}" if self.revision else self.path


def _looks_like_path(address: str) -> bool:
    return address.startswith((".", "~", os.sep)) or "\\" in address or address.count("/") > 1
