"""What goes together: how each source suits the base, which sources can be blended, what a layer weighs.

From headers and configs alone. What a config leaves out is not known here: the preview, which asks transformers, may
find more.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from mergelab.recipes.fit import WORDS, modern
from mergelab.recipes.preflight import preflight
from mergelab.recipes.recipe import Part, Recipe, Setting, Slice
from mergelab.recipes.report import Finding
from mergelab.views.guests import Guest
from mergelab.weights import Checkpoint

_SETTINGS: Final = (
    "intermediate_size", "n_inner", "ffn_dim", "num_attention_heads", "n_head", "num_key_value_heads", "head_dim",
    "hidden_act", "activation_function", "rope_parameters.rope_theta", "rope_parameters.rope_type", "rms_norm_eps",
    "layer_norm_eps", "layer_norm_epsilon",
)  # fmt: skip
_ATTENTION: Final = re.compile(r"(?:self_)?attn|(?:self_)?attention")
_FEED_FORWARD: Final = re.compile(r"mlp|ffn|feed_forward|block_sparse_moe")


def fits(guests: Sequence[Guest], base: int | None) -> list[dict[str, Any]]:
    """Whether layers of each source can stand among those of the base, a place among ``guests``; None: the first.

    Grade ``"fits"``: one config holds them together; ``"preview"``: they run in this process, each with its own model's
    settings; ``"no"``: they make no model. ``widen``: bringing all layers to one size makes it one that fits. ``why``
    and ``facts`` set theirs against the base's.
    """
    host = guests[base or 0].checkpoint
    return [_fit(guest.checkpoint, host) for guest in guests]


def blends(guests: Sequence[Guest]) -> list[list[str]]:
    """For every two sources why they cannot be parts of one slice, theirs (the second's) first; "" where they can."""
    opened = [guest.checkpoint for guest in guests]
    clashes = [[_clash(ours, theirs) for theirs in opened] for ours in opened]
    # Tensors that only one of them has show from one side alone.
    return [
        [clashes[ours][theirs] or clashes[theirs][ours] for theirs in range(len(opened))] for ours in range(len(opened))
    ]


def kinds(guests: Sequence[Guest], base: int | None) -> dict[str, str] | None:
    """What stands in the names of attention's and of feed-forward's tensors and in no others, in the base's family.

    None where that is not one word for each: then a number cannot be told apart for the two.
    """
    family = guests[base or 0].checkpoint.config["model_type"]
    kin = [guest.checkpoint for guest in guests if guest.checkpoint.config["model_type"] == family]
    layers = [stems for checkpoint in kin for stems in checkpoint.anatomy.layers]
    found = {}
    for kind, pattern in (("attention", _ATTENTION), ("feed_forward", _FEED_FORWARD)):
        heads = [list(dict.fromkeys(stem.partition(".")[0] for stem in stems)) for stems in layers]
        words = list(dict.fromkeys(tuple(filter(pattern.fullmatch, names)) for names in heads))
        if len(words) != 1 or len(words[0]) != 1:
            return None
        (word,) = words[0]
        alone = all(stem.startswith(f"{word}.") for stems in layers for stem in stems if word in stem)
        found[kind] = word if alone else f"{word}."
    return found


def sizes(checkpoint: Checkpoint) -> dict[str, Any]:
    """Parameters and bytes on disk of each layer, and of what stands outside the layers."""
    parts = checkpoint.anatomy
    layers = [[checkpoint.specs[parts.name(index, stem)] for stem in stems] for index, stems in enumerate(parts.layers)]
    rest = [checkpoint.specs[name] for name in (*parts.before, *parts.after)]
    return {
        "layers": checkpoint.layers,
        "parameters": [sum(spec.elements for spec in layer) for layer in layers],
        "bytes": [sum(spec.bytes for spec in layer) for layer in layers],
        "rest": {"parameters": sum(spec.elements for spec in rest), "bytes": sum(spec.bytes for spec in rest)},
    }


def _fit(theirs: Checkpoint, ours: Checkpoint) -> dict[str, Any]:
    found = _among(theirs, ours, widen=False)
    grade = "fits" if not found else "preview" if all(one.one_config for one in found) else "no"
    return {
        "grade": grade,
        "why": _sentence(found) or "Same shapes and settings.",
        "facts": list(_facts(theirs, ours, found)),
        "widen": grade == "preview" and not _among(theirs, ours, widen=True),
    }


def _among(theirs: Checkpoint, ours: Checkpoint, *, widen: bool) -> tuple[Finding, ...]:
    """What is wrong with all layers of a model among those of a host."""
    if theirs.source == ours.source:
        return ()
    runs = [Part(ours.source, (0, 1)), Part(theirs.source, (0, theirs.layers)), Part(ours.source, (0, 1))]
    recipe = Recipe("passthrough", tuple(Slice((part,)) for part in runs), ours.source, widen=widen)
    return preflight(recipe, {one.source: one for one in (ours, theirs)})


def _clash(ours: Checkpoint, theirs: Checkpoint) -> str:
    """Why two models cannot be blended, layer by layer as deep as both go."""
    if theirs.source == ours.source:
        return ""
    run = (0, min(ours.layers, theirs.layers))
    first, last = (Slice((Part(ours.source, (0, 1)),)) for _ in range(2))
    blend = Slice((Part(ours.source, run), Part(theirs.source, run)))
    weight = (("weight", Setting.of(1.0)),)
    recipe = Recipe("linear", (first, blend, last), ours.source, weight)
    return _sentence(preflight(recipe, {one.source: one for one in (ours, theirs)}))


def _sentence(findings: Sequence[Finding]) -> str:
    """``Feed-forward size 96 against 128, norm epsilon 1e-06 against 1e-05.``"""
    said = ", ".join(f"{one.what} {one.evidence}" for one in findings)
    return f"{said[:1].upper()}{said[1:]}." if said else ""


def _facts(theirs: Checkpoint, ours: Checkpoint, findings: Sequence[Finding]) -> Iterator[dict[str, Any]]:
    """The figures of two models side by side: the usual ones, and whatever else keeps one config from holding both."""
    mine, other = dict(_figures(ours)), dict(_figures(theirs))
    for what in dict.fromkeys((*mine, *other)):
        differs = what in other and what in mine and other[what] != mine[what]
        figures = (table.get(what, "not stated") for table in (other, mine))
        hinders = any(one.what == what for one in findings)
        yield {
            "what": what,
            **dict(zip(("theirs", "ours"), figures, strict=True)),
            "differs": differs,
            "hinders": hinders,
        }
    for one in findings:
        if one.what not in mine and one.what not in other:
            first, _, second = one.evidence.partition(" against ")
            yield {"what": one.what, "theirs": first, "ours": second, "differs": True, "hinders": True}


def _figures(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    yield "kind of model", str(checkpoint.config["model_type"])
    yield "layers", f"{checkpoint.layers}"
    yield "width", f"{checkpoint.width:,}"
    config = modern(checkpoint.config)
    for path in _SETTINGS:
        table, _, key = path.rpartition(".")
        value = (config.get(table) or {} if table else config).get(key)
        if value is not None:
            yield WORDS.get(path, path), _figure(value)
    embedding = next((spec for name in checkpoint.anatomy.before if (spec := checkpoint.specs[name]).shape), None)
    if embedding:
        yield "vocabulary", f"{embedding.shape[0]:,}"
    dtypes = Counter(spec.dtype for spec in checkpoint.specs.values())
    yield "stored as", dtypes.most_common(1)[0][0]


def _figure(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
