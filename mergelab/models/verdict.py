"""Will this recipe work? Asked of headers, configs and cards, and of a model without weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from mergelab.columns import Table, in_bytes, in_count
from mergelab.errors import AssemblyError, FitError, MergelabError
from mergelab.recipes.card import licence_of, read_cards
from mergelab.recipes.fit import in_a_stage, unfit
from mergelab.recipes.plan import Plan, open_sources, plan, well_formed
from mergelab.recipes.preflight import short_names
from mergelab.recipes.recipe import Recipe
from mergelab.recipes.remarks import donor, on_plan, on_sources
from mergelab.recipes.report import REFUSED, Finding, Report, graded
from mergelab.recipes.step import Origin
from mergelab.weights import FLOATS, Checkpoint, Source

Say = Callable[[Source], str]

LONGEST_NAME = 34


def check(recipe: Recipe | str | os.PathLike[str], checkpoints: Mapping[Source, Checkpoint] | None = None) -> Report:
    """Say whether a recipe will work, before anything heavy: no weights are downloaded, nothing is written.

    Configs, headers and model cards are read; of a model on the hub a few kilobytes. Of models that lie on this machine
    some thousand weights are compared, which tells relatives from strangers. Where it can run, the
    merged model is built once without its weights, so that transformers itself says whether it loads.

    Args:
        recipe: a recipe, or what ``Recipe.load`` reads.
        checkpoints: sources that are open already; the others are opened, from headers alone.

    Raises:
        RecipeError: the recipe itself is wrong, with all problems.
        SourceError: sources cannot be opened, all of them at once.
    """
    loaded = well_formed(recipe)
    opened = open_sources(loaded, checkpoints or {})
    say = short_names(tuple(opened))
    findings: list[Finding] = []
    for document in (*loaded.stages, loaded):
        if all(source in opened for source in document.named):
            found = unfit(document, opened, say)
            findings += found if document is loaded else in_a_stage(found)
    planned: Plan | None = None
    written: dict[str, Any] = {}
    if all(one.grade != "error" or one.one_config for one in findings):
        try:
            planned = plan(loaded, opened)
        except FitError as error:
            findings += _refused(error)
    if planned is not None:
        configs: dict[Source, dict[str, Any]] = {}
        # Now with what stages make, and with what configs leave out.
        origins, refusals = _filled(planned, configs)
        findings += refusals
        for document in (*loaded.stages, loaded):
            found = unfit(document, origins, say)
            findings += found if document is loaded else in_a_stage(found)
        if all(one.grade != "error" or one.one_config for one in findings):
            written, refusals = _loads(planned, configs)
            findings += refusals
        findings += on_plan(planned, configs, written, say)
    findings += on_sources(loaded, opened, say)
    report = Report(graded(findings), _table(opened, say))
    return replace(report, merged=_merged(planned, written, say)) if planned and report.runs else report


def _refused(error: MergelabError) -> list[Finding]:
    return [Finding("error", one.where, REFUSED, one.what.rstrip("."), one.hint) for one in error.problems]


def _filled(planned: Plan, configs: dict[Source, dict[str, Any]]) -> tuple[Mapping[Source, Origin], list[Finding]]:
    """What the plan names, with configs that leave nothing out; as they are, where transformers refuses one."""
    from mergelab.models.agreement import filled

    try:
        return filled(planned, configs), []
    except MergelabError as error:
        return planned.origins, _refused(error)


def _loads(planned: Plan, configs: dict[Source, dict[str, Any]]) -> tuple[dict[str, Any], list[Finding]]:
    """Build the merged model without weights, as it will be built with them: its config, or why it cannot be."""
    from mergelab.models.assembly import rehearse
    from mergelab.models.config import expanded_config

    try:
        written = rehearse(planned, configs)
        for source, checkpoint in planned.checkpoints.items():
            configs.setdefault(source, expanded_config(checkpoint))
    except MergelabError as error:
        return {}, _refused(error)
    return written, []


def _table(checkpoints: Mapping[Source, Checkpoint], say: Say) -> Table:
    heading = ("model", "layers", "width", "tokens", "parameters", "on disk", "dtype", "licence")
    rows = []
    for source, one in checkpoints.items():
        name = say(source)
        kinds = [kind for kind in FLOATS if any(spec.dtype == kind for spec in one.specs.values())]
        tokens = one.config.get("vocab_size")
        rows.append((
            name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}...",
            one.layers, f"{one.width:,}", f"{tokens:,}" if isinstance(tokens, int) else "", in_count(one.parameters),
            in_bytes(one.bytes), ", ".join(kinds), licence_of(read_cards(one)) or "not stated",
        ))  # fmt: skip
    return Table(heading, tuple(rows))


def _merged(planned: Plan, written: Mapping[str, Any], say: Say) -> tuple[str, ...]:
    from mergelab.models.devices import TOKENS, admit, need, pick
    from mergelab.models.untouched import only_read

    live = need(planned, pick("cpu"))
    remark, though = "", "Not live, though"
    try:
        only_read(written)
        though = "Not on this machine, though"
        remark = admit(live)
    except AssemblyError as error:
        remark = f"{though}: {error}"
    host = donor(planned.recipe)
    why = "the base model" if planned.recipe.base else "without base_model the first model in reading order"
    size = f"{planned.parameters:,} parameters, {in_bytes(planned.bytes)}{'' if planned.apart else ' on disk'}"
    needs = f"{in_bytes(live.sources)} of the sources, mapped from disk, and {in_bytes(live.model)} made"
    beside = f"{in_bytes(live.cache)} for keys and values of {TOKENS:,} tokens and {in_bytes(live.scratch)} to work in"
    words = f"Config and tokenizer: those of {say(host)}, {why}."
    if planned.alignment is not None:
        words = f"Config: that of {say(host)}, {why}. Vocabulary: {planned.alignment.count:,} rows, as the recipe asks."
    return (
        f"The merged model: {len(planned.layers)} layers, {size} ({planned.recipe.method}, {planned.dtype}).",
        words,
        f"Memory for a live preview: {needs}, beside {beside}.",
        *([remark] if remark else ()),
    )
