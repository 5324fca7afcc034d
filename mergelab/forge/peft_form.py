"""What a LoRA adapter of peft can hold of a model: which parameters get a pair of matrices, which are kept whole.

peft puts a pair beside a linear layer. Anything else is kept whole: biases of linear layers under their own names
(``bias="all"``), a small module such as a norm or an embedding as ``modules_to_save``. A parameter of a module that
has others inside, or one that transformers fuses with others on loading (experts), has no place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.pytorch_utils import Conv1D

from mergelab.errors import AssemblyError, Problem
from mergelab.models.hollow import hollow
from mergelab.weights.anatomy import HEADS

_IN_LAYERS = re.compile(r"\.\d+\.")


@dataclass(frozen=True)
class Form:
    """How peft holds one parameter.

    Attributes:
        kind: ``"pair"``, ``"bias"`` (of a linear layer) or ``"module"`` (its whole module is kept).
        module: name of its module in the model.
        parameter: its name within the module.
        transposed: the module stores its matrix as (in, out).
    """

    kind: str
    module: str
    parameter: str
    transposed: bool = False


@dataclass(frozen=True)
class Forms:
    """A model as peft sees it.

    Attributes:
        modules: names of all modules.
        found: the form of every parameter that has one, by its name in the model.
        embeddings, head: names of the modules that turn tokens into vectors and back; None: it has none.
    """

    modules: tuple[str, ...]
    found: Mapping[str, Form]
    embeddings: str | None
    head: str | None

    def of(self, stored: str) -> Form | None:
        """The form of a stored tensor; None where peft has no place for it. A checkpoint may store one word less
        before a name than the model has, and call its head as older versions did.
        """
        if stored in self.found:
            return self.found[stored]
        if stored in HEADS:
            return next((self.found[head] for head in HEADS if head in self.found), None)
        return next((form for name, form in self.found.items() if name.partition(".")[2] == stored), None)

    def named(self, wanted: Iterable[str]) -> list[str]:
        """The fewest words by which peft finds these modules and no others: the last part of their names, where all
        modules of that name are meant, else whole names.
        """
        listed = list(dict.fromkeys(wanted))
        last = dict.fromkeys(name.rpartition(".")[2] for name in listed)
        alike = {word: [name for name in self.modules if name == word or name.endswith(f".{word}")] for word in last}
        meant = frozenset(listed)
        short = [word for word in last if meant.issuperset(alike[word])]
        covered = frozenset(name for word in short for name in alike[word])
        return short + [name for name in listed if name not in covered]


def forms(config: Mapping[str, Any]) -> Forms:
    """What peft can hold of the causal language model of a config.

    Raises:
        AssemblyError: transformers has no causal language model of that type.
    """
    kind = config["model_type"]
    settings: Any = CONFIG_MAPPING[kind].from_dict(dict(config)) if kind in CONFIG_MAPPING else None
    if type(settings) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        what = f"transformers has no causal language model for {kind!r}."
        raise AssemblyError(Problem("config", what, "mergelab works on decoder-only language models."))
    with hollow():
        made: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(settings)]
        model = made(settings)
    found: dict[str, Form] = {}
    for module, one in model.named_modules():
        for parameter, _ in one.named_parameters(recurse=False):
            form = _form(module, one, parameter)
            if form is not None:
                found[f"{module}.{parameter}"] = form
    names = {one: name for name, one in model.named_modules() if name}
    ends = (names.get(one) for one in (model.get_input_embeddings(), model.get_output_embeddings()))
    return Forms(tuple(names.values()), found, *ends)


def _form(module: str, one: torch.nn.Module, parameter: str) -> Form | None:
    if isinstance(one, torch.nn.Linear | Conv1D) and _IN_LAYERS.search(module):
        return Form("pair" if parameter == "weight" else "bias", module, parameter, isinstance(one, Conv1D))
    return None if any(True for _ in one.children()) else Form("module", module, parameter)
