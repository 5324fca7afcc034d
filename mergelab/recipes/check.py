"""What can be wrong with a recipe before any model is opened. Pure: a recipe in, problems out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from mergelab import methods
from mergelab.errors import MethodError, Problem, closest, did_you_mean
from mergelab.methods import REQUIRED, Method
from mergelab.recipes.recipe import Numbers, Part, Recipe, Rule, Scalar, Slice
from mergelab.recipes.templates import TEMPLATES, jinja_error
from mergelab.recipes.yaml_text import step
from mergelab.weights import Source

DTYPES: Final[Mapping[str, str]] = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}
_AT_THE_TOP: Final = (
    "dtype", "out_dtype", "base_model", "merge_method", "tokenizer_source", "chat_template", "seed", "widen",
)  # fmt: skip
MOST_PADDING: Final = 65536
"""Rows that a vocabulary may be rounded up to a multiple of: far more than any hardware gains by."""
SHORTEST_TEMPLATE: Final = 20
"""Characters of a jinja text, as mergekit counts: anything shorter is a misspelt name."""


def check(recipe: Recipe) -> tuple[Problem, ...]:
    """Every problem that shows without opening a source: methods, number of sources, ranges, names and values of
    numbers, tokens, stages.

    Places are written as a path into the recipe: ``slices[1].sources[0].parameters.weight``; those of an earlier stage
    begin with its name.
    """
    *stages, own = check_documents(recipe)
    found = [
        Problem(f"stage {stage.name!r}, {problem.where}", problem.what, problem.hint)
        for stage, problems in zip(recipe.stages, stages, strict=True)
        for problem in problems
    ]
    return (*found, *own)


def check_documents(recipe: Recipe) -> tuple[tuple[Problem, ...], ...]:
    """The problems of each earlier stage, and then those of the recipe itself."""
    documents = (*recipe.stages, recipe)
    return tuple((*_document(document), *_stage(documents, place)) for place, document in enumerate(documents))


def _document(recipe: Recipe) -> tuple[Problem, ...]:
    body = _body(recipe)
    found = [*_method(recipe.method, "merge_method")]
    for index, piece in enumerate(recipe.slices):
        if piece.method is not None:
            found += _method(piece.method, f"{body}slices[{index}].merge_method")
    for key, dtype in (("dtype", recipe.dtype), ("out_dtype", recipe.out_dtype)):
        if dtype is not None and dtype not in DTYPES.values():
            found.append(
                Problem(key, f"{dtype!r} is not a dtype to merge in.", f"Known: {', '.join(DTYPES.values())}.")
            )
    found += _plain(recipe.seed, recipe.widen)
    readers = [_known(name) for name in dict.fromkeys(map(recipe.method_of, recipe.slices))]
    found += _numbers(recipe.numbers, "parameters", readers)
    found += _numbers(recipe.module_numbers, f"{body}parameters", readers)
    if recipe.module not in (None, "default") or (recipe.module_numbers and not recipe.module):
        what = f"{recipe.module!r} is not the module of a decoder-only model."
        found.append(Problem("modules", what, "Name it 'default', or give its numbers to the recipe."))
    found += _vocabulary(recipe)
    if not recipe.slices:
        found.append(Problem(f"{body}slices", "is empty.", "Give at least one slice."))
    for index, piece in enumerate(recipe.slices):
        found += _slice(recipe, piece, _known(recipe.method_of(piece)), f"{body}slices[{index}]")
    if not found:
        for index, piece in enumerate(recipe.slices):
            found += _together(recipe, piece, methods.get(recipe.method_of(piece)), f"{body}slices[{index}]")
    return tuple(found)


def _plain(seed: object, widen: object) -> Iterator[Problem]:
    """The two values that belong to no method; a recipe made in code may say anything."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        yield Problem("seed", f"{seed!r} is not a whole number.", "Give a whole number from 0.")
    elif seed < 0:
        yield Problem("seed", f"{seed} is below 0.", "Give a whole number from 0.")
    if not isinstance(widen, bool):
        yield Problem("widen", f"{widen!r} is neither true nor false.", "Give one of them.")


def _method(name: str, where: str) -> Iterator[Problem]:
    try:
        methods.get(name)
    except MethodError as error:
        yield from (Problem(where, problem.what, problem.hint) for problem in error.problems)


def _known(name: str) -> Method | None:
    """The method, or the one that a misspelt name means, so that one slip does not hide others."""
    meant = closest(name, methods.names())
    return methods.get(meant) if meant else None


def _body(recipe: Recipe) -> str:
    """What stands before ``models`` and ``slices`` in paths."""
    return f"modules.{recipe.module}." if recipe.module else ""


def _stage(documents: Sequence[Recipe], place: int) -> Iterator[Problem]:
    """What is wrong with a document among the others: its name, the names it uses, its use."""
    recipe, before, after = documents[place], documents[:place], documents[place + 1 :]
    if after and not recipe.name:
        yield Problem("name", "is missing.", "Every document but the last has a name:, by which later ones use it.")
    again = any(recipe.name == other.name for other in before if recipe.name)
    if again:
        yield Problem("name", f"{recipe.name!r} is the name of an earlier document.", "Give each its own name.")
    if after and recipe.stages:
        yield Problem("", "has stages of its own.", "List all stages in the last recipe, in order.")
    later = {Source(other.name) for other in after if other.name}
    for path, source in _mentions(recipe) if len(documents) > 1 else ():
        if recipe.name and source == Source(recipe.name) and not again:
            yield Problem(path, f"{str(source)!r} is also the name of this document.", "Rename the document.")
        elif source in later:
            what = f"{str(source)!r} is a document that comes later."
            yield Problem(path, what, "Move that document before this one.")
    used = [source for other in after for _, source in _mentions(other)]
    if after and recipe.name and Source(recipe.name) not in used:
        close = closest(recipe.name, [str(source) for source in used])
        what = f"no later document uses {recipe.name!r} as a model{f', but {close!r}' if close else ''}."
        yield Problem("name", what, "Use it, or delete the document.")


def _mentions(recipe: Recipe) -> Iterator[tuple[str, Source]]:
    """Every model or stage that a document names, with its path."""
    body = _body(recipe)
    if recipe.base:
        yield "base_model", recipe.base
    for index, piece in enumerate(recipe.slices):
        if piece.base:
            yield f"{body}slices[{index}].base_model", piece.base
        place = f"{body}models" if is_whole(recipe) else f"{body}slices[{index}].sources"
        yield from ((f"{place}[{at}].model", part.source) for at, part in enumerate(piece.parts))
    if recipe.vocabulary:
        if isinstance(recipe.vocabulary.source, Source):
            yield "tokenizer_source" if recipe.vocabulary.legacy else "tokenizer.source", recipe.vocabulary.source
        for text, token in recipe.vocabulary.tokens:
            if token.source:
                yield f"{step('tokenizer.tokens', text)}.source", token.source


def _vocabulary(recipe: Recipe) -> Iterator[Problem]:
    asked, words = recipe.chat_template, recipe.vocabulary
    names = ("auto", *TEMPLATES)
    if asked is not None and asked not in names and ("{" not in asked or len(asked) < SHORTEST_TEMPLATE):
        hint = did_you_mean(asked, names)
        yield Problem("chat_template", f"{_short(asked)!r} is no known template, and no jinja text.", hint)
    elif asked is not None and asked not in names and (why := jinja_error(asked)):
        yield Problem("chat_template", f"is no jinja: {why}.", "Mend it: transformers would refuse it as well.")
    if words is None:
        return
    if isinstance(words.source, str) and words.source not in ("union", "base"):
        where = "tokenizer_source" if words.legacy else "tokenizer.source"
        yield Problem(where, f"{words.source!r} is not text for a tokenizer.", "Give union, base or a model.")
    if words.pad_to_multiple_of is not None and not 1 <= words.pad_to_multiple_of <= MOST_PADDING:
        what = f"{words.pad_to_multiple_of} is no number of rows to pad to."
        yield Problem(
            "tokenizer.pad_to_multiple_of", what, f"Give a whole number from 1 to {MOST_PADDING}, such as 64."
        )
    if words.legacy and (words.pad_to_multiple_of is not None or words.tokens):
        yield Problem("tokenizer_source", "says a source only.", "Write tokenizer: for padding and single tokens.")
    for text, token in words.tokens:
        where = step("tokenizer.tokens", text)
        if not text:
            yield Problem(where, "is an empty token.", "Name a token by its text.")
        if (token.zero and token.source) or (token.token is not None and not token.source):
            yield Problem(f"{where}.source", "contradicts itself.", "Give a model, with or without a token, or zero.")
        if isinstance(token.token, int) and token.token < 0:
            yield Problem(f"{where}.source.token_id", f"{token.token} is no id of a token.", "Ids count from 0.")


def models_of(recipe: Recipe, piece: Slice, method: Method) -> tuple[tuple[Part, ...], Part | None]:
    """The parts that are merged, and the part that is their base (None where the method takes the base as any other).

    In the ``models:`` form a base that is not listed takes part all the same, as in mergekit.
    """
    base = piece.base or recipe.base
    parts = piece.parts
    if base and not any(part.source == base for part in parts) and all(part.layers is None for part in parts):
        parts = (*parts, Part(base))
    if method.base == "none" or base is None:
        return parts, None
    return (
        tuple(part for part in parts if part.source != base),
        next((part for part in parts if part.source == base), None),
    )


def is_whole(recipe: Recipe) -> bool:
    """Whether it merges whole models, as the ``models:`` form does."""
    parts = recipe.slices[0].parts if len(recipe.slices) == 1 else ()
    return bool(parts) and all(part.layers is None for part in parts)


def _slice(recipe: Recipe, piece: Slice, method: Method | None, where: str) -> Iterator[Problem]:
    whole_recipe = is_whole(recipe)
    models = f"{_body(recipe)}models"
    place = models if whole_recipe else f"{where}.sources"
    if whole_recipe and (piece.base or piece.numbers or piece.method):
        what = "a recipe of whole models has one method, one base and one set of numbers, its slice has its own."
        yield Problem(where, what, "Give method, base and numbers to the recipe.")
    yield from _numbers(piece.numbers, f"{where}.parameters", [method])
    if not piece.parts:
        yield Problem(place, "names no model.", "Give at least one.")
        return
    for index, part in enumerate(piece.parts):
        yield from _numbers(part.numbers, f"{place}[{index}].parameters", [method], own=True)
        if part.layers is None:
            if not whole_recipe:
                yield Problem(
                    f"{place}[{index}]",
                    "has no layer_range.",
                    "Give [start, end) for every source of every slice.",
                )
        elif not 0 <= part.layers[0] < part.layers[1]:
            hint = "Write [start, end) with 0 <= start < end; the end is not included."
            yield Problem(f"{place}[{index}].layer_range", f"{list(part.layers)} is no run of layers.", hint)
    runs = [part.layers for part in piece.parts if part.layers]
    lengths = [end - start for start, end in runs if start < end]
    if any(length != lengths[0] for length in lengths):
        what = f"its sources have {', '.join(map(str, lengths))} layers."
        yield Problem(place, what, "Sources that are merged layer by layer need runs of equal length.")
    if method is not None:
        yield from _sources(recipe, piece, method, models if whole_recipe else where, place)


def _sources(recipe: Recipe, piece: Slice, method: Method, where: str, place: str) -> Iterator[Problem]:
    models, base = models_of(recipe, piece, method)
    if base and sum(part.source == base.source for part in piece.parts) > 1:
        yield Problem(place, f"names the base model {str(base.source)!r} more than once.", "Keep one of them.")
        return
    least, most = method.inputs
    if method.base == "required" and base is None:
        if piece.base or recipe.base:
            yield Problem(place, f"lacks the base model {str(piece.base or recipe.base)!r}.",
                          f"{method.name} needs it in every slice: add it with its layer_range.")  # fmt: skip
        else:
            yield Problem(where, f"{method.name} needs a base model.", "Add base_model: at the top.")
    elif len(models) < least or (most is not None and len(models) > most):
        want = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        beside = " beside the base" if base else ""
        unlisted = next((part for part in models if part not in piece.parts), None)
        counted = f", base_model {str(unlisted.source)!r} among them" if unlisted else ""
        yield Problem(
            place,
            f"{method.name} takes {want} model{'' if want == '1' else 's'}{beside}, here are {len(models)}{counted}.",
            f"Name {'more' if len(models) < least else 'fewer'}, or choose another method.",
        )
    for name, parameter in method.parameters.items():
        if parameter.default is not REQUIRED:
            continue
        shared = (piece.numbers, recipe.module_numbers, recipe.numbers)
        if not parameter.per_model and not _said(name, (*shared, *(part.numbers for part in piece.parts)), method):
            yield Problem(where, f"{method.name} needs {name}.", f"Add {name}: under parameters:.")
        elif parameter.per_model:
            for part in models:
                if not _said(name, (part.numbers, *shared), method):
                    index = piece.parts.index(part) if part in piece.parts else None
                    spot = place if index is None else f"{place}[{index}]"
                    what = f"{str(part.source)!r} has no {name}, which {method.name} needs for each model."
                    hint = f"Add {name}: under its parameters:."
                    if index is None:
                        hint = f"{method.name} takes base_model as one of its models: list it, with its {name}."
                    yield Problem(spot, what, hint)


def _said(name: str, scopes: Sequence[Numbers], method: Method) -> bool:
    """Whether a scope gives this number, if under a misspelt name or in a wrong scope: that is said elsewhere."""
    known = list(method.parameters)
    return any(name in (said, closest(said, known)) for scope in scopes for said, _ in scope)


def _together(recipe: Recipe, piece: Slice, method: Method, where: str) -> Iterator[Problem]:
    """Numbers that are wrong only together (weights that cancel), where they are the same for every tensor."""
    models, _ = models_of(recipe, piece, method)
    shared = (piece.numbers, recipe.module_numbers, recipe.numbers)
    values: dict[str, Scalar | list[Scalar | None] | None] = {}
    try:
        for name, parameter in method.parameters.items():
            if parameter.per_model:
                values[name] = [_constant(name, (part.numbers, *shared)) for part in models]
            else:
                values[name] = _constant(name, shared)
    except LookupError:
        return  # the plan looks at each tensor
    for problem in method.check(values, len(models)):
        yield Problem(f"{_body(recipe)}models" if is_whole(recipe) else where, problem.what, problem.hint)


def _constant(name: str, scopes: Sequence[Numbers]) -> Scalar | None:
    for setting in (setting for scope in scopes for said, setting in scope if said == name):
        rule = setting.rules[0]
        if rule.filter is not None or isinstance(rule.value, tuple):
            raise LookupError(name)
        return rule.value
    return None


def _numbers(numbers: Numbers, where: str, readers: Sequence[Method | None], *, own: bool = False) -> Iterator[Problem]:
    """Problems of one ``parameters:`` table.

    Args:
        readers: the methods it is for, one of which must read each parameter; None: a method that is not known.
        own: it belongs to one source.
    """
    known = [method for method in readers if method is not None]
    for name, setting in numbers:
        place = step(where, name)
        if not setting.rules or any(rule.value == () for rule in setting.rules):
            yield Problem(place, "has no value.", "Give one value, or several to spread over the layers.")
            continue
        for index, rule in enumerate(setting.rules):
            if (first := next((one for one in setting.rules[:index] if one.covers(rule)), None)) is not None:
                what = (
                    f"the rule {_of(rule)} is never reached: the one {_of(first)} before it wins wherever it matches."
                )
                yield Problem(place, what, "Put it before that one, or delete it.")
        taken = [(method, method.parameters[name]) for method in known if name in method.parameters]
        if not taken and known and len(known) == len(readers):
            yield Problem(place, f"{_nobody(known)} parameter {name!r}.", _instead(name, known))
        for method, parameter in taken:
            if own and not parameter.per_model:
                hint = "Move it to the parameters: of the slice or of the recipe."
                yield Problem(place, f"{name!r} is one number for all models of {method.name}.", hint)
        wrong = [
            Problem(place, f"{said}.", parameter.expects)
            for _, parameter in taken
            for rule in setting.rules
            for value in (rule.value if isinstance(rule.value, tuple) else (rule.value,))
            if (said := parameter.problem(value)) is not None
        ]
        yield from dict.fromkeys(wrong)


def _nobody(known: Sequence[Method]) -> str:
    names = [method.name for method in known]
    return f"{names[0]} has no" if len(names) == 1 else f"none of {', '.join(names)} has a"


def _instead(name: str, known: Sequence[Method]) -> str:
    """What to do about a parameter that no method reads."""
    if name in _AT_THE_TOP:
        return f"Write {name}: at the top of the recipe."
    words = list(dict.fromkeys(word for method in known for word in method.parameters))
    if closest(name, words):
        return did_you_mean(name, words)
    others = [other for other in methods.names() if name in methods.get(other).parameters]
    if others and not any(methods.get(other).parameters[name].effect for other in others):
        return "It changes no result in mergekit: delete it."
    hint = did_you_mean(name, words) if words else "It has none."
    return f"{hint} It is a number of {', '.join(others)}." if others and len(others) < 5 else hint


def _of(rule: Rule) -> str:
    return f"for {rule.filter!r}" if rule.text else "for all tensors"


def _short(text: str) -> str:
    return text if len(text) < 60 else f"{text[:60]} ..."
