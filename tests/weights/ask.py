"""Opens models in a process of its own, because huggingface_hub reads its settings when it is imported.

    python -m tests.weights.ask < questions.json > answers.json

A question is ``[name, address, [tensor, ...], [file, ...]]``; its answer says what was opened or the error in words.
"""

from __future__ import annotations

import json
import sys
import time

from mergelab.errors import SourceError
from mergelab.weights import open_checkpoint


def answer(address: str, tensors: list[str], files: list[str]) -> dict[str, object]:
    """Open, read these tensors, ask for these files."""
    start = time.monotonic()
    try:
        model = open_checkpoint(address)
        found: dict[str, object] = {
            "error": None,
            "layers": model.layers,
            "specs": {name: [spec.dtype, list(spec.shape)] for name, spec in model.specs.items()},
            "torch": "torch" in sys.modules,
            "tensors": {name: model.tensor(name).flatten().tolist() for name in tensors},
            "files": {name: str(model.path(name) or "") for name in files},
        }
    except SourceError as error:
        found = {"error": str(error), "problems": len(error.problems)}
    return found | {"seconds": time.monotonic() - start}


if __name__ == "__main__":
    questions = json.load(sys.stdin)
    json.dump({name: answer(*rest) for name, *rest in questions}, sys.stdout)
