"""Reopened: what lies in a folder, read as somebody would who knows nothing of how it came to be.

The model is built by ``build_shell`` and not by transformers' ``from_pretrained``, which patches transformers and torch
for the whole process while it runs (see there): a proof may run beside a live preview. It is as strict, being the same
code of transformers from the loading report on; tests/models/test_proof.py holds both against each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from mergelab.models.config import in_words
from mergelab.models.shell import build_shell
from mergelab.weights.files import INDEX, WEIGHTS


@dataclass(frozen=True)
class Stored:
    """The weight files of a folder.

    Attributes:
        tensors: by name, mapped from disk.
        faults: what is wrong with the files themselves, a sentence each.
        metadata: what the header of each file says beside its tensors, by the file's name.
    """

    tensors: Mapping[str, torch.Tensor]
    faults: tuple[str, ...]
    metadata: Mapping[str, Mapping[str, str]]


def stored(folder: Path) -> Stored:
    """Map every tensor of every weight file, and hold the index against them."""
    tensors: dict[str, torch.Tensor] = {}
    homes: dict[str, str] = {}
    metadata: dict[str, Mapping[str, str]] = {}
    faults: list[str] = []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                metadata[path.name] = file.metadata() or {}
                names = list(file.keys())
                if not names:
                    faults.append(f"{path.name} holds no tensor")
                for name in names:
                    if name in homes:
                        faults.append(f"{name} is stored twice, in {homes[name]} and {path.name}")
                    tensors[name], homes[name] = file.get_tensor(name), path.name
        except (SafetensorError, OSError) as error:
            faults.append(f"{path.name} cannot be read ({in_words(error)})")
    faults += _index_faults(folder, homes, sum(one.nbytes for one in tensors.values()))
    return Stored(tensors, tuple(faults), metadata)


def _index_faults(folder: Path, homes: Mapping[str, str], size: int) -> list[str]:
    """What a reader that goes by the index would miss."""
    if not (folder / INDEX).is_file():
        strays = sorted({*homes.values()} - {WEIGHTS})
        return [f"{name} is named by no index" for name in strays]
    try:
        index = json.loads((folder / INDEX).read_bytes())
        named, total = dict(index["weight_map"]), index["metadata"]["total_size"]
    except (ValueError, KeyError, TypeError) as error:
        return [f"{INDEX} cannot be read ({in_words(error)})"]
    faults = [f"the index has {name} in {named.get(name)}, it lies in {home}" for name, home in homes.items()
              if named.get(name) != home]  # fmt: skip
    faults += [f"the index names {name}, which is in no file" for name in named if name not in homes]
    return faults if total == size else [*faults, f"the index counts {total:,} bytes, there are {size:,}"]


def reopened(folder: Path, tensors: Mapping[str, torch.Tensor]) -> tuple[Any, list[str]]:
    """The causal language model of a folder, of its own config.json and these tensors.

    Args:
        tensors: what ``stored`` found, on the device where the model is to be.

    Returns:
        The model in evaluation mode, or None where transformers cannot build it; and what transformers would make up,
        leave aside, or not build at all.
    """
    from transformers import GenerationConfig

    try:
        config = json.loads((folder / "config.json").read_bytes())
        model, report = build_shell(config, dict(tensors), _dtype(config, tensors))
        model.generation_config = (
            GenerationConfig.from_pretrained(folder)
            if (folder / "generation_config.json").is_file()
            else GenerationConfig.from_model_config(model.config)
        )
    except Exception as error:  # noqa: BLE001 - whatever transformers raises is a no
        return None, [f"it cannot be built: {in_words(error)}"]
    faults = [f"{name} is missing and would be made up" for name in sorted(report.missing_keys)]
    faults += [f"{name} has no place in the model" for name in sorted(report.unexpected_keys)]
    faults += [f"{found[0]} is not of the shape that the config asks for" for found in sorted(report.mismatched_keys)]
    return (None if faults else model.eval()), faults


def tied(model: Any) -> list[tuple[str, ...]]:
    """The names of a model's parameters that are one and the same, group by group."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return sorted(tuple(sorted(group)) for group in names.values() if len(group) > 1)


def _dtype(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> torch.dtype:
    """Of the model: what the config says, else that of the first tensor of numbers, as transformers has it."""
    said = config.get("dtype") or config.get("torch_dtype")
    if said is not None:
        return getattr(torch, str(said))
    return next((one.dtype for one in tensors.values() if one.is_floating_point()), torch.float32)
