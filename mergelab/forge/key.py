"""The key of a merge: what the bytes of its weight files depend on. A run goes on from files of the same key alone."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from mergelab import methods
from mergelab.models.copies import computes
from mergelab.recipes.plan import Plan
from mergelab.weights.shards import Shard

_CODE = ("methods", "weights", "recipes", "models", "forge")  # the floors that the bytes of a merge depend on


def key_of(planned: Plan, device: str, shards: Sequence[Shard]) -> str:
    """What the bytes of a merge's weight files depend on: a line for each aspect, with a digest of it.

    Files are known by what the system says of them (inode, size, times), hub files by their commit. The time of the
    last change of a file counts too, which nobody can set back: between two runs nobody watched. Where a method comes
    from outside mergelab, no two keys are equal: what it computes cannot be known from its name.

    Args:
        planned: the plan, its sources open.
        device: where the arithmetic is done, by its name; where nothing is computed it does not count.
        shards: the weight files to be.
    """
    plans = [*(stage.plan for stage in planned.stages), planned]
    named = [methods.get(name) for one in plans for name in one.methods]
    own = [method.name for method in named if not method.function.__module__.startswith("mergelab.")]
    code = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(path for floor in _CODE for path in (package / floor).glob("*.py")):
        code.update(path.read_bytes())
    aspects: Mapping[str, object] = {
        "recipe": (planned.recipe.to_yaml(), [(step.name, step.shape, step.key) for step in planned.steps]),
        "methods": [secrets.token_hex() for _ in own],
        "sources": [
            (
                str(source),
                (one.commit, one.adapter and (one.adapter.commit, list(one.adapter.changes.items()))),
                [(path.name, stamp, _changed(path)) for path, stamp in one.stamps.items()],
            )
            for source, one in planned.checkpoints.items()
        ],
        "code": (code.hexdigest(), metadata.version("torch")),
        "device": _processor(device) if computes(planned) else None,
        "files": [(shard.name, list(shard.specs.values())) for shard in shards],
    }
    digests = {aspect: hashlib.sha256(repr(what).encode()).hexdigest()[:32] for aspect, what in aspects.items()}
    return "\n".join(f"{aspect} {digest}" for aspect, digest in digests.items())


def _processor(device: str) -> tuple[str, str]:
    """A device as far as bits depend on it."""
    import torch  # for what is only copied nobody asks

    where = torch.device(device)
    on_gpu = where.type == "cuda"
    return where.type, torch.cuda.get_device_name(where) if on_gpu else torch.backends.cpu.get_cpu_capability()


def _changed(path: Path) -> int:
    """When a file or what is said of it was changed last, in nanoseconds; 0 where it is gone: ``unchanged`` says so."""
    try:
        return os.stat(path).st_ctime_ns
    except OSError:
        return 0
