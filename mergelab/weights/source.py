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
        if address and Path(address).expanduser().is_dir():
            return cls(address)
        if "+" in Path(address).name:
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
        folder = Path(root) / self.path
        return Source(str(folder), self.revision) if not Path(self.path).is_absolute() and folder.is_dir() else self

    @property
    def folder(self) -> Path | None:
        """The local folder, or None when this can only be a hub id.

        Raises:
            SourceError: the address is written as a path, and there is no folder at it.
        """
        folder = Path(self.path).expanduser()
        if folder.is_dir():
            return folder
        path_like = self.path.startswith((".", "~", os.sep)) or "\\" in self.path or self.path.count("/") > 1
        if path_like or folder.exists():
            what = "is a file, not a folder." if folder.exists() else "there is no such folder."
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
