"""config.json as it is written: in the donor's own words wherever these still say the same.

transformers knows a setting under several names, and fills in what is left out. Others that read a folder (older
versions of transformers, inference servers, converters) know the names that the donor's author used: to them rope's
theta under a new name is rope's theta left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mergelab.models.config import NAMES, normal, stack_config
from mergelab.recipes.plan import Plan, Staged
from mergelab.weights import Source

_FOREIGN = ("_name_or_path", "auto_map")  # another model's name; code of the donor's, which is not run and not copied
_UNHEARD = (*_FOREIGN, "transformers_version", "architectures", "dtype", "torch_dtype")


def config_file(
    plan: Plan, config: Mapping[str, Any], known: dict[Source, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """What goes into the config.json of a merge.

    The donor's entries stay as they are, those included that transformers does not know, where the merge has the same
    setting; the others follow the merge. Beyond these stands only what transformers would not fill in by itself. Two
    entries go: ``_name_or_path``, and ``auto_map``, which names code.

    Args:
        config: of the whole merge, as ``stack_config`` gives it.
        known: as for ``stack_config``.

    Returns:
        A table that transformers reads as ``config``.

    Raises:
        AssemblyError: as ``stack_config``.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

    donor = plan.donor
    if isinstance(donor, Staged):
        whole = stack_config(donor.plan, known)
        own = config_file(donor.plan, whole, known)
    else:
        own = dict(donor.config)
        whole = normal(own)
    heard = normal(config)
    moved = [name for name in {**whole, **heard} if name not in _UNHEARD and whole.get(name) != heard.get(name)]
    kept = {name: heard.get(name, value) for name, value in own.items() if not _says(name, own, whole, moved)}
    written = in_the_donors_words(kept, NAMES[plan.dtype])
    kind = config["model_type"]
    if kind in CLASSES:
        written["architectures"] = [CLASSES[kind]]  # a donor may have been saved without its head, or with another
    found = normal(written)
    return written | {name: value for name, value in heard.items() if name not in _UNHEARD and found.get(name) != value}


def in_the_donors_words(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """A config with this dtype, under the name that it has for it, and without what is about another folder."""
    written = {name: value for name, value in config.items() if name not in _FOREIGN}
    spelt = [name for name in ("dtype", "torch_dtype") if name in written] or ["dtype"]
    return written | dict.fromkeys(spelt, dtype)


def _says(name: str, own: Mapping[str, Any], whole: Mapping[str, Any], moved: Sequence[str]) -> bool:
    """Whether a donor's entry says, under another name than today's, something that is otherwise in the merge."""
    if name in whole or name in _UNHEARD or not moved:
        return False
    without = normal({other: value for other, value in own.items() if other != name})
    return any(without.get(setting) != whole.get(setting) for setting in moved)
