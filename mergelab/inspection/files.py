"""Files: measures of weights alone read them from disk, and from nowhere else."""

from __future__ import annotations

import os
from typing import Any

from mergelab.errors import InspectionError, Problem, raise_all
from mergelab.weights import Checkpoint, Source, open_checkpoint


def open_files(measure: str, *sources: Any) -> list[Checkpoint]:
    """Open what a measure is to read.

    Args:
        measure: its name, for messages.
        sources: folders, hub ids, Sources or Checkpoints.

    Raises:
        InspectionError: a source is no file: a recipe, an assembly, a live model; all of them at once.
        SourceError: a source cannot be opened.
    """
    raise_all(
        InspectionError,
        [
            Problem(
                measure,
                f"reads weights from disk, and argument {number}, a {type(source).__name__}, is not there.",
                "Write it to a folder first, as by merge(recipe, folder), and name the folder.",
            )
            for number, source in enumerate(sources, start=1)
            if not isinstance(source, Checkpoint | Source | str | os.PathLike)
        ],
    )
    return [open_checkpoint(source) for source in sources]
