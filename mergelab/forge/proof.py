"""Proof: a folder that was written, held against the live model of its recipe."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mergelab.errors import AssemblyError, MergelabError, Problem, SourceError
from mergelab.forge.answering import Answers, answers, fixed_prompts
from mergelab.forge.card import FILE as CARD
from mergelab.forge.checks import (
    UNOPENED,
    Check,
    accounted,
    alone,
    end_ids,
    ending,
    found,
    opening,
    same_answers,
    settings,
    values,
)  # fmt: skip
from mergelab.forge.entered import enter, record_of
from mergelab.forge.obstacles import RECIPE_FILE
from mergelab.forge.provenance import FILE as RECORD
from mergelab.forge.reopened import reopened, stored, tied
from mergelab.forge.wording import same_words
from mergelab.models.assembly import Assembly
from mergelab.models.config import in_words
from mergelab.models.devices import sheltered
from mergelab.models.speak import Stopped
from mergelab.recipes.plan import Plan, plan, standard
from mergelab.recipes.recipe import Recipe
from mergelab.weights.files import INDEX

_WRITTEN = ("config.json", "generation_config.json", INDEX, RECIPE_FILE, RECORD, CARD)  # beside weights and tokenizer


@dataclass(frozen=True)
class Proof:
    """What a comparison of a folder with the live model of its recipe came to.

    Attributes:
        checks: each with what it found.
        entered: where the verdict was written down, in a sentence; or "".
    """

    checks: tuple[Check, ...]
    entered: str = ""

    @property
    def holds(self) -> bool:
        """Whether every check does."""
        return all(check.holds for check in self.checks)

    @property
    def broken(self) -> tuple[Check, ...]:
        """The checks that fail."""
        return tuple(check for check in self.checks if not check.holds)

    def __str__(self) -> str:
        whole = len(self.checks)
        verdict = (
            f"Proven: all {whole} checks hold." if self.holds else f"Not proven: {len(self.broken)} of {whole} fail."
        )
        return "\n".join((verdict, *(f"  {check}" for check in self.checks), *filter(None, [self.entered])))

    def as_record(self) -> dict[str, object]:
        """As plain data, for JSON."""
        return {"holds": self.holds, "checks": [asdict(check) for check in self.checks]}

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """What a notebook shows."""
        printer.text(str(self))


def prove(
    out: str | os.PathLike[str],
    recipe: Recipe | Plan | str | os.PathLike[str] | None = None,
    *,
    device: str | torch.device = "cpu",
    write: bool = False,
    stop: Callable[[], bool] | None = None,
) -> Proof:
    """Open a merged model's folder anew and hold it against the live model of its recipe.

    Compared are the files (none but a merge's, hidden ones aside, each of whose weight files names the recipe), the
    tensors (none missing, left over, made up or of another shape or dtype; every bit of every value), the config and
    generation config, the tokenizer and its chat template (byte by byte where its files are a source's, else all that
    they hold), the logits on fixed prompts with and without cache and in a batch padded on the left, and where
    generation stops. Nothing in ``out`` is written to, unless ``write`` says so.

    The two models are live one after the other, so that memory for one suffices: what a live preview needs (``check``
    says how much), beside a few MB of logits.

    Args:
        out: the folder.
        recipe: what it was merged from: a recipe, a plan of one, or what ``Recipe.load`` reads; None: the recipe that
            lies in the folder.
        device: where the model was merged, and where both are made and run. The CPU unless told.
        write: put a verdict that holds where the merge's own would be: into mergelab.json, and onto the card where
            nobody has written on it.
        stop: asked again and again; once it says True the proof is abandoned.

    Raises:
        MergelabError: as ``plan``; SourceError where the folder or its recipe is not there, or ``write`` is asked of
            one whose record is not there or of another recipe; OutputError where it cannot be written to;
            AssemblyError where the
            live model cannot be made or run: it does not fit, writes to its own weights, or needs what this machine
            cannot compute.
        Stopped: ``stop`` said so.
    """
    folder = Path(out).expanduser().absolute()
    if not folder.is_dir():
        raise SourceError(Problem(str(folder), "is no folder.", "Give the folder of a merged model."))

    planned = standard(recipe if isinstance(recipe, Plan) else plan(_recipe(folder) if recipe is None else recipe))
    record = record_of(folder, planned.recipe) if write else None
    found = Proof(_checks(folder, planned, device, stop))
    if record is not None and found.holds:
        return replace(found, entered=enter(folder, record, found))
    return found


def _checks(
    folder: Path, planned: Plan, device: str | torch.device, stop: Callable[[], bool] | None
) -> tuple[Check, ...]:
    def heed() -> None:
        if stop is not None and stop():
            raise Stopped

    files = stored(folder)
    with Assembly(planned, device=device, stop=stop) as live:
        where = live.bank.device
        metadata = {"format": "pt", "mergelab": planned.recipe.fingerprint}
        checks = [accounted(files, live.plan.steps), *values(files, live, heed)]
        config, generation = live.model.config.to_dict(), live.model.generation_config.to_dict()
        ties, ends = tied(live.model), end_ids(live.model)
        tokenizer, words, named = same_words(folder, live)
        checks.insert(0, alone(folder, files, (*_WRITTEN, *named), metadata))
        own = None if tokenizer is None else live.tokenizer.eos_token_id
        prompts, pad = _prompts(live.model, tokenizer)
        # On a GPU sums may come in another order each time: how far the model is from itself tells what counts.
        times = 1 if where.type == "cpu" else 2
        try:
            said = [_said(live.model, prompts, pad, heed) for _ in range(times)]
        except (MergelabError, Stopped):
            raise
        except Exception as error:  # the machine's fault or transformers', whatever it raises
            what = f"could not be run here ({in_words(error)}), so that nothing can be proven."
            hint = "Merge with prove=False (--no-prove)."
            raise AssemblyError(Problem(type(live.model).__name__, what, hint)) from error
    model, faults = reopened(folder, {name: tensor.to(where) for name, tensor in files.tensors.items()})
    checks += [
        opening(faults, model, ties, [] if model is None else tied(model)),
        settings(folder, config, generation),
        *words,
    ]
    if model is None:
        return (*checks, *_unanswered(UNOPENED))
    try:
        again = _said(model, prompts, pad, heed)
    except (MergelabError, Stopped):
        raise
    except Exception as error:  # noqa: BLE001 - the live model could be run: that this one cannot be is a no
        return (*checks, *_unanswered(f"the model cannot be run: {in_words(error)}"))
    word = None if tokenizer is None else tokenizer.eos_token_id
    return (*checks, *same_answers(said, again), ending(model, prompts[0], ends, word, own))


def _unanswered(why: str) -> list[Check]:
    """The checks of what a model says, of one that says nothing."""
    return [found(name, [why]) for name in ("logits", "cache", "padding", "ending")]


def _recipe(folder: Path) -> Recipe:
    path = folder / RECIPE_FILE
    if not path.is_file():
        what = f"has no {RECIPE_FILE}, from which it was merged."
        hint = "Give a folder that a merge wrote, or in Python the recipe too: prove(out, recipe)."
        raise SourceError(Problem(str(folder), what, hint))
    return Recipe.load(path)


def _prompts(model: Any, tokenizer: Any) -> tuple[tuple[tuple[int, ...], ...], int]:
    """What is asked, and the token that fills a batch up: the tokenizer's, else the end of text, else the first one;
    it is masked.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    prompts = fixed_prompts(rows, getattr(model.config, "max_position_embeddings", None), tokenizer)
    own = [] if tokenizer is None else [tokenizer.pad_token_id, tokenizer.eos_token_id]
    return prompts, next((one for one in own if one is not None and one < rows), 0)


def _said(model: Any, prompts: Sequence[tuple[int, ...]], pad: int, heed: Callable[[], None]) -> Answers:
    return sheltered(lambda: answers(model, prompts, pad=pad, heed=heed), device=model.device)
