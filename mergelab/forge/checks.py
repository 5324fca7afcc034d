"""Checks: single comparisons of a written model with the live one, each in a sentence with its numbers."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from mergelab.columns import in_bytes
from mergelab.forge.answering import STOPS_AFTER, WRITTEN, Answers, ends_at
from mergelab.forge.card import FILE as CARD
from mergelab.forge.card import is_beside
from mergelab.forge.reopened import Stored
from mergelab.models.assembly import Assembly
from mergelab.models.config import in_words
from mergelab.models.pour import DTYPES
from mergelab.recipes.plan import Plan
from mergelab.recipes.step import Given, Input, Step, made_of

UNOPENED = "the model cannot be opened, so that nothing was compared"
NAMED = 4  # faults that a check names; of more it says how many
_PIECE = 1 << 24  # values that are looked at in one go
_OF_THE_PLACE = ("_name_or_path", "transformers_version")  # settings that say nothing of the model


@dataclass(frozen=True)
class Check:
    """One thing that was compared.

    Attributes:
        name: what, in a word.
        holds: whether it is as it should be.
        said: a sentence with the numbers: what was compared, or what is wrong.
    """

    name: str
    holds: bool
    said: str

    def __str__(self) -> str:
        return f"{'holds' if self.holds else 'FAILS'}  {self.name}: {self.said}"


def found(name: str, faults: Sequence[str], said: str = "") -> Check:
    """A check that holds where there are no faults, and says what was compared; else it says what is wrong."""
    if not faults:
        return Check(name, holds=True, said=said)
    more = f", and {len(faults) - NAMED:,} more" if len(faults) > NAMED else ""
    return Check(name, holds=False, said=f"{'; '.join(faults[:NAMED])}{more}.")


# -------------------------------------------------------------------------------------------------------- files


def alone(folder: Path, files: Stored, expected: Sequence[str], metadata: Mapping[str, str]) -> Check:
    """Whether a folder holds nothing but a merge: what else lies there may be read in its stead, as an adapter is, or
    be run. What people lay beside a model to publish it is nobody's concern.

    Args:
        files: its weight files. Those that no index names, or that hold nothing, are faults of ``accounted``.
        expected: names of the other files that may be there.
        metadata: what every weight file says of itself.
    """
    found_there = [path.relative_to(folder) for path in sorted(folder.rglob("*"))]
    seen = [path.as_posix() for path in found_there if path.as_posix() == CARD or not is_beside(path.as_posix())]
    homes = {parent.as_posix() for name in expected for parent in PurePosixPath(name).parents}
    strays = [name for name in seen if name not in (*expected, *homes) and not name.endswith(".safetensors")]
    strays += [name for name in seen if name.endswith(".safetensors") and "/" in name]
    faults = [f"{name} is not of the merge" for name in strays]
    for name, said in files.metadata.items():
        faults += [f"{name} says {key}: {said.get(key)} of itself, not {metadata.get(key)}"
                   for key in dict.fromkeys((*metadata, *said)) if said.get(key) != metadata.get(key)]  # fmt: skip
    return found("files", faults, f"all {len(seen):,} are a merge's, and the weights' headers name this recipe.")


# ------------------------------------------------------------------------------------------------------ tensors


def accounted(files: Stored, steps: Sequence[Step]) -> Check:
    """Whether the files hold the plan's tensors and no others, each of its shape and dtype."""
    planned = {step.name: step for step in steps}
    faults = [*files.faults, *(f"{name} is missing" for name in planned if name not in files.tensors)]
    for name, tensor in files.tensors.items():
        step = planned.get(name)
        if step is None:
            faults.append(f"{name} is left over")
        elif (tuple(tensor.shape), tensor.dtype) != (tuple(step.shape), DTYPES[step.dtype]):
            meant = f"{step.dtype} {list(step.shape)}"
            faults.append(f"{name} is {_form(tensor)}, not {meant}")
    size = in_bytes(sum(tensor.nbytes for tensor in files.tensors.values()))
    return found("tensors", faults, f"all {len(planned):,} are there with shape and dtype, {size}, and no others.")


def values(files: Stored, live: Assembly, heed: Callable[[], None]) -> tuple[Check, Check]:
    """Whether every tensor is that of the live model bit for bit, and finite as far as what it is made of is."""
    plan, wrong, endless, copied = live.plan, [], [], 0
    count = compared = 0
    made = live.bank.make(plan.steps, heed)
    try:
        for step in plan.steps:
            heed()
            tensor = files.tensors.get(step.name)
            if tensor is None or (tensor.shape, tensor.dtype) != (step.shape, DTYPES[step.dtype]):
                continue
            other = _different(tensor, made.tensors[step.key].cpu())
            wrong += [f"{step.name} differs in {other:,} of {step.elements:,} values"] if other else []
            compared, count = compared + 1, count + step.elements
            odd = _endless(tensor)
            if odd and _sources_endless(step, plan):
                copied += odd
            elif odd:
                endless.append(f"{step.name} has {odd:,} values that are infinite or not a number")
    finally:
        live.bank.release(made.held)
    sure = f"all {count:,} values are finite" if not copied else f"{copied:,} of {count:,} are not, nor in the sources"
    return (
        found("values", wrong, f"{compared:,} tensors equal the live model's bit for bit, {count:,} values."),
        found("finite", endless, f"{sure}."),
    )


def _pieces(tensor: torch.Tensor) -> Iterable[torch.Tensor]:
    return tensor.contiguous().reshape(-1).split(_PIECE)


def _different(one: torch.Tensor, other: torch.Tensor) -> int:
    """How many values of two tensors of one shape and dtype differ in a bit: zeros of another sign do, NaNs of the same
    bits do not.
    """
    size = one.element_size()
    pairs = ((a.view(torch.uint8), b.view(torch.uint8)) for a, b in zip(_pieces(one), _pieces(other), strict=True))
    unlike = (a.view(-1, size).ne(b.view(-1, size)).any(1).sum() for a, b in pairs if not torch.equal(a, b))
    return sum(int(number) for number in unlike)


def _endless(tensor: torch.Tensor) -> int:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return 0
    small = tensor.dtype.itemsize == 1  # torch asks float8 only after a cast
    return sum(int((~(piece.float() if small else piece).isfinite()).sum()) for piece in _pieces(tensor))


def _sources_endless(step: Step, plan: Plan) -> bool:
    """Whether something that a tensor is made of is infinite or not a number somewhere, too."""
    waiting: list[Given] = [step]
    while waiting:
        given = waiting.pop()
        if isinstance(given, Input) and _endless(plan.checkpoints[given.source].tensor(given.name)):
            return True
        waiting += made_of(given)
    return False


# ------------------------------------------------------------------------------------------- the model as a whole


def opening(
    faults: Sequence[str], model: Any, ties: Sequence[tuple[str, ...]], tied: Sequence[tuple[str, ...]]
) -> Check:
    """Whether transformers opens the folder as it is.

    Args:
        faults: what it made up or left aside.
        ties: parameters that are one and the same in the live model, and ``tied`` in the opened one.
    """
    wrong = list(faults)
    if not wrong and tied != ties:
        wrong = [f"tied are {_groups(tied)}, in the live model {_groups(ties)}"]
    shared = f", {_groups(ties)} tied" if ties else ", nothing tied"
    kind = type(model).__name__
    return found("opening", wrong, f"opens as {kind} with nothing made up, left aside or misshapen{shared}.")


def _groups(ties: Sequence[tuple[str, ...]]) -> str:
    return " and ".join(" = ".join(group) for group in ties) or "none"


def settings(folder: Path, config: Mapping[str, Any], generation: Mapping[str, Any]) -> Check:
    """Whether config.json and generation_config.json say what the live model's do."""
    from transformers import AutoConfig, GenerationConfig

    try:
        written = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        given = (folder / "generation_config.json").is_file()
        generating = GenerationConfig.from_pretrained(folder) if given else GenerationConfig.from_model_config(written)
    except Exception as error:  # noqa: BLE001 - whatever transformers raises is a no
        return found("config", [f"it is refused: {in_words(error)}"])
    here, there = written.to_dict(), generating.to_dict()
    faults = [*_unlike("config", here, config), *_unlike("generation config", there, generation)]
    return found(
        "config", faults, f"all {len(config):,} settings and {len(generation):,} of generation are the live model's."
    )


def _unlike(what: str, here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    names = [name for name in dict.fromkeys((*there, *here)) if name not in _OF_THE_PLACE]
    if there.get("architectures") is None:  # a donor need not say it, a folder that is written does
        names = [name for name in names if name != "architectures"]
    return [
        f"{name} of the {what} is {reprlib.repr(here.get(name))}, the live model's {reprlib.repr(there.get(name))}"
        for name in names
        if _plain(here.get(name)) != _plain(there.get(name))
    ]


def _plain(value: object) -> str:
    """As JSON has it, in which a tuple is a list and every key a text."""
    return json.dumps(value, sort_keys=True, default=str)


# ------------------------------------------------------------------------------------------------------- answers


def same_answers(live: Sequence[Answers], again: Answers) -> list[Check]:
    """Whether two models answer the same.

    Args:
        live: what the live model answered; more than once on a device that may add up in another order each time, so
            that logits may differ by as much as the live model's own do.
    """
    kinds = (
        ("logits", "whole", "prompts read without cache"),
        ("cache", "cached", f"prompts gone on with for {WRITTEN} tokens, from the cache"),
        ("padding", "padded", f"prompts of unequal length in one batch, padded on the left, for {WRITTEN} tokens"),
    )
    checks = []
    for name, field, how in kinds:
        first, *others = (getattr(one, field) for one in live)
        here = getattr(again, field)
        forms = next(((_form(a), _form(b)) for a, b in zip(here, first, strict=True) if _form(a) != _form(b)), None)
        if forms is not None:
            checks.append(found(name, [f"logits of {len(first)} {how} are {forms[0]}, the live model's {forms[1]}"]))
            continue
        own = max((_furthest(first, other) for other in others), default=0.0)
        away = _furthest(first, here)
        same = all(_different(a, b) == 0 for a, b in zip(first, here, strict=True))
        bits = "equal the live model's bit for bit" if same else f"are within {own:.2g}, as of the live model twice"
        count = sum(one.numel() for one in first)
        worse = f"logits of {len(first)} {how} differ by up to {away:.3g} from the live model's"
        faults = [] if same or away <= own else [worse]
        checks.append(found(name, faults, f"{count:,} logits of {len(first)} {how} {bits}."))
    return checks


def _form(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _furthest(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    """The largest difference; infinite where one is no number."""
    gaps = (float((a.double() - b.double()).abs().max()) for a, b in zip(one, other, strict=True))
    return max((math.inf if math.isnan(gap) else gap for gap in gaps), default=0.0)


def ending(model: Any, prompt: Sequence[int], ends: Sequence[int], word: int | None, own: int | None) -> Check:
    """Whether generation ends at the tokens at which the live model's does.

    Args:
        ends: ids at which the live model ends.
        word: the end of text of the written tokenizer, ``own`` that of the live model's; None: none.
    """
    try:
        here = end_ids(model)
    except (TypeError, ValueError) as error:
        return found("ending", [f"its ends of text cannot be read: {in_words(error)}"])
    if here != list(ends):
        return found("ending", [f"generation ends at {here or 'no token'}, the live model's at {list(ends) or 'none'}"])
    faults = [f"the tokenizer's end of text is {word}, the live model's {own}"] if word != own else []
    rows = model.get_input_embeddings().weight.shape[0]
    tried = [end for end in ends if end < rows]
    for end in tried:
        length = ends_at(model, prompt, tried, end)
        if length != STOPS_AFTER:
            faults.append(f"made to say {end} as its token {STOPS_AFTER}, it wrote {length}")
    if not tried:
        return found("ending", faults, "no end of text is set, as in the live model.")
    agrees = (
        ""
        if word is None
        else ", the tokenizer's among them"
        if word in ends
        else f", the tokenizer's is {word}, as at home"
    )
    return found("ending", faults, f"generation ends at {', '.join(map(str, tried))}, tried for each{agrees}.")


def end_ids(model: Any) -> list[int]:
    """Ids of the tokens at which a model's generation ends."""
    said = model.generation_config.eos_token_id
    return [] if said is None else [int(one) for one in (said if isinstance(said, list | tuple) else [said])]
