"""Where mergekit's commands are: it is installed in an environment of its own, or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def command(name: str) -> Path | None:
    """A command of mergekit's, from the folder $MERGELAB_MERGEKIT or from the path; None: there is none."""
    found = shutil.which(name, path=os.environ.get("MERGELAB_MERGEKIT"))
    return None if found is None else Path(found)
