"""Remarks on sources that fit, or might: what will run and may disappoint, and what is good to know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from mergelab import methods
from mergelab.errors import Problem
from mergelab.recipes.card import Card, read_cards
from mergelab.recipes.licences import parents, terms
from mergelab.recipes.plan import Plan
from mergelab.recipes.recipe import Recipe
from mergelab.recipes.report import Finding
from mergelab.recipes.templates import template_of
from mergelab.recipes.vocabulary import lexicon
from mergelab.weights import FLOATS, Checkpoint, Source
from mergelab.weights.kinship import WIDTHS, kinship

Say = Callable[[Source], str]

RELATIVES = "Layers of models that did not start from the same weights do not understand each other: use a relative."


def on_sources(recipe: Recipe, checkpoints: Mapping[Source, Checkpoint], say: Say) -> Iterator[Finding]:
    """Remarks on each model beside the one that gives config and tokenizer: tokens, templates, kinship, licences."""
    host = checkpoints[donor(recipe)]
    cards = {source: read_cards(checkpoint)[0] for source, checkpoint in checkpoints.items()}
    for source, guest in checkpoints.items():
        if source != host.source:
            about = f"{say(source)} beside {say(host.source)}"
            yield from _tokens(recipe, guest, host, about, say)
            yield from _special_tokens(guest, host, about, say)
            yield from _template(recipe, guest, host, about, say)
            yield from _kin(guest, host, cards, about, say)
            yield from _storage(guest, host, about, say)
        if guest.adapter is not None and not _same_model(guest.adapter.base, source.path):
            trained = f"trained on {guest.adapter.base}, put on {source.path}"
            remedy = "An adapter belongs to the weights that it was trained on: make sure that these are the same."
            yield Finding("note", say(source), "base of the adapter", trained, remedy)
    yield from terms(parents(checkpoints, say)).findings


def on_plan(
    planned: Plan, configs: Mapping[Source, Mapping[str, Any]], written: Mapping[str, Any], say: Say
) -> Iterator[Finding]:
    """Remarks on a merge that was worked out: random draws, dtypes, layers that moved or repeat.

    Args:
        configs: config.json of each model with per-layer lists written out.
        written: config.json of the merge; empty where there is none.
    """
    documents = (*planned.recipe.stages, planned.recipe)
    unseeded = [one.method_of(piece) for one in documents if one.seed == 0 for piece in one.slices]
    drawn = [name for name in dict.fromkeys(unseeded) if "generator" in methods.get(name).extras]
    if drawn:
        remedy = "The same seed gives the same model; name another to draw anew."
        yield Finding("note", "the recipe", "random draws", f"{', '.join(drawn)} with seed 0", remedy)
    yield from _dtypes(planned, say)
    yield from _moved(planned, configs, written)
    yield from _repeats(planned)


def donor(recipe: Recipe) -> Source:
    """The model whose config and tokenizer the merge gets, through all stages."""
    stage = recipe.stage(recipe.donor)
    return recipe.donor if stage is None else donor(stage)


# -------------------------------------------------------------------------------------------- of two models


def _tokens(recipe: Recipe, guest: Checkpoint, host: Checkpoint, about: str, say: Say) -> Iterator[Finding]:
    """The same token with another id, by both tokenizers where they are at hand."""
    blended = any(
        part.source == guest.source for piece in (recipe.slices[0], recipe.slices[-1]) for part in piece.parts
    )
    files = [next((name for name in ("tokenizer.json", "vocab.json") if one.kept(name)), "") for one in (guest, host)]
    if not all(files):
        prints = [one.fingerprint("tokenizer.json") for one in (guest, host)]
        if prints[0] is None or prints[0] != prints[1]:
            unread = [say(one.source) for one, file in zip((guest, host), files, strict=True) if not file]
            sizes = [str(one.config.get("vocab_size")) for one in (guest, host)]
            rows = f"; {sizes[0]} rows against {sizes[1]}" if sizes[0] != sizes[1] else ""
            evidence = f"not compared: no tokenizer.json of {' and '.join(unread)} on this machine{rows}"
            yield Finding("note", about, "tokens", evidence, "Make sure that both use the same tokenizer.")
        return
    theirs, ours = lexicon(guest), lexicon(host)
    if isinstance(theirs, Problem) or isinstance(ours, Problem):
        what = "; ".join(one.what.rstrip(".") for one in (theirs, ours) if isinstance(one, Problem))
        yield Finding("note", about, "tokens", f"not compared: {what}", "Make sure that both use the same tokenizer.")
        return
    shared = [text for text in theirs.ids if text in ours.ids]
    moved = [text for text in shared if theirs.ids[text] != ours.ids[text]]
    extra = [len(theirs.ids) - len(shared), len(ours.ids) - len(shared)]
    said = []
    if moved:
        words = sorted(moved, key=lambda text: not text.strip("\u2581\u0120").isalpha())  # rather words than bytes
        shown = ", ".join(f"{text!r} {theirs.ids[text]} against {ours.ids[text]}" for text in words[:3])
        said.append(f"{len(moved):,} of {len(shared):,} that both have stand at another id: {shown}")
    if extra[0]:
        said.append(f"{extra[0]:,} only in {say(guest.source)}")
    if extra[1]:
        said.append(f"{extra[1]:,} only in {say(host.source)}")
    if not said:
        return
    if recipe.vocabulary is not None:
        yield Finding("note", about, "tokens", "; ".join(said), "The recipe's tokenizer: brings the rows together.")
    elif moved and blended:
        remedy = "Rows of different tokens are mixed: add 'tokenizer: {source: union}' to the recipe."
        yield Finding("warning", about, "tokens", "; ".join(said), remedy)
    else:
        remedy = f"The merge reads and writes with the tokenizer of {say(host.source)}."
        yield Finding("warning" if moved else "note", about, "tokens", "; ".join(said), remedy)


def _special_tokens(guest: Checkpoint, host: Checkpoint, about: str, say: Say) -> Iterator[Finding]:
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        theirs, ours = guest.config.get(key), host.config.get(key)
        if theirs is None or ours is None or theirs == ours:
            continue
        if key == "eos_token_id":
            remedy = f"The merge stops where {say(host.source)} stops, and may talk on where the other would not."
            yield Finding("warning", about, "end of text", f"token {theirs} against {ours}", remedy)
        else:
            what = "start of text" if key == "bos_token_id" else "padding"
            remedy = f"The merge has that of {say(host.source)}."
            yield Finding("note", about, what, f"token {theirs} against {ours}", remedy)


def _template(recipe: Recipe, guest: Checkpoint, host: Checkpoint, about: str, say: Say) -> Iterator[Finding]:
    try:
        theirs, ours = template_of(guest), template_of(host)
    except (ValueError, AttributeError):  # not JSON, not UTF-8, no table: the tokenizer itself will say so
        return
    if theirs == ours or recipe.chat_template is not None:
        return
    evidence = "they differ" if theirs and ours else f"only {say(guest.source if theirs else host.source)} has one"
    remedy = f"The merge has that of {say(host.source)}; chat_template: in the recipe chooses another."
    yield Finding("note", about, "chat template", evidence, remedy)


def _kin(guest: Checkpoint, host: Checkpoint, cards: Mapping[Source, Card], about: str, say: Say) -> Iterator[Finding]:
    """Whether they descend from one model: by their weights where those are here, and by their cards."""
    found = kinship(guest, host) if _here(guest) and _here(host) else None
    if found is not None and found.related:
        return
    if found is not None:
        evidence = (
            f"correlation {found.correlation:.3f} of {found.count:,} values of {found.tensors[0]} with the nearest "
            f"layer of {say(host.source)}; unrelated weights lie within ±{WIDTHS * found.band:.3f} of 0"
        )
        yield Finding("warning", about, "different ancestors", evidence, RELATIVES)
    theirs, ours = _ancestors(guest, cards[guest.source]), _ancestors(host, cards[host.source])
    if theirs and ours and not any(_same_model(one, other) for one in theirs for other in ours):
        evidence = f"by their cards {' and '.join(theirs)} against {' and '.join(ours)}"
        yield Finding("warning", about, "different ancestors", evidence, RELATIVES)


def _here(checkpoint: Checkpoint) -> bool:
    """Whether all its weights lie on this machine."""
    files = dict.fromkeys(spec.file for spec in checkpoint.specs.values())
    folded = checkpoint.adapter is None or checkpoint.adapter.source.folder is not None
    return folded and all(checkpoint.kept(file) for file in files)


def _ancestors(checkpoint: Checkpoint, card: Card) -> tuple[str, ...]:
    """What it comes from by its own word; a model of the hub at least from itself. None where nothing is said."""
    own = (checkpoint.source.path,)
    return (*card.bases, *own) if card.bases or checkpoint.source.folder is None else ()


def _same_model(one: str | None, other: str) -> bool:
    """Whether two names mean one model as far as names tell: the last part, however the first is spelt."""
    return one is None or one.rstrip("/").rpartition("/")[2].lower() == other.rstrip("/").rpartition("/")[2].lower()


def _storage(guest: Checkpoint, host: Checkpoint, about: str, say: Say) -> Iterator[Finding]:
    tied = [bool(one.config.get("tie_word_embeddings")) for one in (guest, host)]
    if "tie_word_embeddings" in guest.config and "tie_word_embeddings" in host.config and tied[0] != tied[1]:
        evidence = f"{say((guest if tied[0] else host).source)} uses its embeddings as head, the other has a head"
        remedy = "Where a head is needed, the embeddings stand in for the missing one."
        yield Finding("note", about, "tied embeddings", evidence, remedy)
    for key in ("max_position_embeddings", "n_positions"):
        theirs, ours = guest.config.get(key), host.config.get(key)
        if theirs is not None and ours is not None and theirs != ours:
            remedy = f"The merge states that of {say(host.source)}."
            yield Finding("note", about, "longest context", f"{theirs:,} against {ours:,} tokens", remedy)


# ------------------------------------------------------------------------------------------- of the merge


def _dtypes(planned: Plan, say: Say) -> Iterator[Finding]:
    kinds = {
        say(source): [kind for kind in FLOATS if any(spec.dtype == kind for spec in checkpoint.specs.values())]
        for source, checkpoint in planned.checkpoints.items()
    }
    if len(dict.fromkeys(kind for found in kinds.values() for kind in found)) > 1:
        listed = ", ".join(f"{name} {' and '.join(found)}" for name, found in kinds.items())
        remedy = f"The merge is written as {planned.dtype}; dtype: in the recipe chooses."
        yield Finding("note", "sources", "dtypes differ", listed, remedy)


def _moved(planned: Plan, configs: Mapping[Source, Mapping[str, Any]], written: Mapping[str, Any]) -> Iterator[Finding]:
    """Per-layer lists that had to move with the layers, and layers of two kinds that are blended."""
    host = planned.origins[planned.recipe.donor]
    table = configs.get(planned.recipe.donor, host.config)
    lists = [
        key
        for key, value in table.items()
        if isinstance(value, list) and len(value) == host.layers
        # Ids of tokens are other ones where the merge has another vocabulary.
        if written.get(key, value) != value and not key.endswith("_token_id")
    ]
    if lists:
        remedy = "Nothing to do: each layer keeps its own settings wherever it stands."
        yield Finding("note", "the merge", "settings per layer", f"{', '.join(lists)} moved along", remedy)
    mixed = [
        place
        for place, layer in enumerate(planned.layers)
        for kinds in [
            [
                configs[home.source]["layer_types"][home.index]
                for home in (*layer.parts, *([layer.base] if layer.base else []))
                if home.source in configs and "layer_types" in configs[home.source]
            ]
        ]
        if any(kind != kinds[0] for kind in kinds)
    ]
    if mixed:
        remedy = "Choose runs of layers that match; each blended layer runs as its first source's kind."
        evidence = f"layers {_runs(mixed)} blend layers of different attention types"
        yield Finding("warning", "the merge", "attention types", evidence, remedy)


def _repeats(planned: Plan) -> Iterator[Finding]:
    uses: dict[object, list[int]] = {}
    for place, layer in enumerate(planned.layers):
        uses.setdefault((layer.home, layer.parts, layer.base), []).append(place)
    repeated = [places for places in uses.values() if len(places) > 1]
    if repeated:
        where = _runs(sorted(place for places in repeated for place in places))
        evidence = f"{len(repeated)} layers occur more than once, at {where} of {len(planned.layers)}"
        remedy = (
            "They share memory; each keeps keys and values of its own, and positions reach all layers alike. Expect "
            "worse answers than the source's until it is trained on."
        )
        yield Finding("note", "the merge", "repeated layers", evidence, remedy)


def _runs(places: Sequence[int]) -> str:
    """``3-5, 8``"""
    found = []
    for _, run in groupby(enumerate(places), key=lambda pair: pair[1] - pair[0]):
        group = [place for _, place in run]
        found.append(f"{group[0]}-{group[-1]}" if len(group) > 1 else f"{group[0]}")
    return ", ".join(found)
