"""Recipes drawn at random: right ones, with everything that a recipe can say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from hypothesis import assume
from hypothesis import strategies as st

from mergelab import methods
from mergelab.methods import REQUIRED, Method, Parameter
from mergelab.recipes import Part, Recipe, Rule, Setting, Slice, check
from mergelab.recipes.recipe import Numbers, Scalar, Token, Vocabulary
from mergelab.weights import Source

TRICKY = ["1", "null", "yes", "0.5", "~", "true", "a: b", "a #b", "- a", "2024-01-01", "1e5", "é", "模型", "'", '"',
    "{", "[a]", "&a", "*a", "!x", "%a", "`", "a\nb", "a\n", "\n", " \n a", "\t", " a ", "|", ">", "?", "x" * 150,
    "x y " * 60, "\x85", "\u2028", "=", "<<", "0x10", "010", "1_0", ".", "---", "...", "union", "base", "a.b", "a[0]",
    "a@b", "a+b", "@", "+", "[/INST]", "<|im_end|>"]  # fmt: skip
words = st.sampled_from(TRICKY) | st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Co", "Cn")), max_size=12
)
texts = words.filter(bool)
names = texts.filter(lambda word: "\0" not in word)
plain = st.builds(Source, names, st.none() | names)
sources = plain | st.builds(Source, names, st.none() | names, plain)
finite = st.floats(-1e30, 1e30, allow_nan=False) | st.sampled_from([1e-5, 1e20, 0.1, 1.0, 2.0, -0.0, 1e-30])
templates = st.sampled_from(["auto", "chatml", "llama3"]) | st.lists(words, max_size=4).map(
    lambda lines: "\n".join(["{{ bos_token }}{% for message in messages %}", *lines])
)


filters = st.none() | words.filter(lambda word: word != "*")


def values(parameters: tuple[Parameter, ...]) -> st.SearchStrategy[Scalar]:
    """Right values of a number that several methods may read."""
    first = parameters[0]
    if first.choices:
        return st.sampled_from(first.choices)
    if first.kind is bool:
        return st.booleans()
    if first.kind is int:
        low = max(first.low, -3)
        return st.integers(int(low), int(min(first.high, low + 9))).map(float)
    low, high = max(one.low for one in parameters), min(one.high for one in parameters)
    near = st.floats(max(low, -2), min(high, 2))
    return near | finite.filter(lambda value: all(one.problem(value) is None for one in parameters))


@cache  # making a strategy takes longer than drawing from it
def settings_of(parameters: tuple[Parameter, ...]) -> st.SearchStrategy[Setting]:
    """One value, a gradient, or rules with filters."""
    value = values(parameters) | st.lists(values(parameters), min_size=1, max_size=4).map(tuple)
    return st.lists(st.builds(Rule, value, filters), min_size=1, max_size=3).map(reached)


def reached(rules: list[Rule]) -> Setting:
    """The rules that an earlier one does not make useless."""
    texts = [rule.filter or "" for rule in rules]
    alone = (all(text not in texts[at] for text in texts[:at]) for at in range(len(rules)))
    return Setting(tuple(rule for rule, kept in zip(rules, alone, strict=True) if kept))


@st.composite
def tables(draw: st.DrawFn, used: Sequence[Method], *, needed: bool, per_model: bool, chance: int = 3) -> Numbers:
    """Numbers that methods read: those that they need, and some others."""
    known: dict[str, list[Parameter]] = {}
    for method in used:
        for parameter in method.parameters.values():
            if parameter.per_model or not per_model:
                known.setdefault(parameter.name, []).append(parameter)
    chosen = {
        name: said
        for name, said in known.items()
        if (needed and any(one.default is REQUIRED for one in said)) or not draw(st.integers(0, chance))
    }
    return tuple((name, draw(settings_of(tuple(said)))) for name, said in chosen.items())


some_sources = st.lists(sources, min_size=1, max_size=4, unique=True)
tokens = st.one_of(
    st.builds(Token, st.none() | sources, force=st.booleans()),
    st.builds(Token, sources, texts | st.integers(0, 9), force=st.booleans()),
    st.builds(Token, zero=st.just(True), force=st.booleans()),
)

listed_tokens = st.lists(st.tuples(texts, tokens), max_size=2, unique_by=lambda one: one[0])
rows = st.none() | st.integers(1, 128)


@st.composite
def vocabularies(draw: st.DrawFn, models: Sequence[Source]) -> Vocabulary | None:
    """A tokenizer, or none."""
    kind = draw(st.sampled_from(["none", "none", "table", "legacy"]))
    if kind == "none":
        return None
    source = draw(st.sampled_from(["union", "base", Source("union"), *models]))
    if kind == "legacy":
        return Vocabulary(source, legacy=True)
    return Vocabulary(source, draw(rows), tuple(draw(listed_tokens)))


@st.composite
def documents(draw: st.DrawFn, earlier: Sequence[str], *, last: bool, mixed: bool = True) -> Recipe:
    """One document, which uses the one before it.

    Args:
        earlier: names of the documents before it.
        last: it may go without a name.
        mixed: its slices may have methods of their own.
    """
    top = methods.get(draw(st.sampled_from(methods.names())))
    models = [*map(Source, earlier[-1:]), *draw(some_sources)]
    assume(len(set(models)) == len(models))
    based = top.base == "required" or (top.base == "optional" and draw(st.booleans()))
    base = models[0] if based else None
    whole = draw(st.booleans())
    slices, used = [], {}
    for _ in range(1 if whole else draw(st.integers(1, 3))):
        method = top
        if mixed and not whole and not draw(st.integers(0, 2)):
            method = methods.get(draw(st.sampled_from(methods.names())))
            assume(base or method.base != "required")
        used[method.name] = method
        least, most = method.inputs
        inputs = (models[1:] if method.base != "none" and base else models)[: most or len(models)]
        assume(len(inputs) >= least)
        listed = [base, *inputs] if method.base != "none" and base and not (whole and draw(st.booleans())) else inputs
        size, parts = draw(st.integers(1, 9)), []
        for source in listed:
            start = draw(st.integers(0, 99))
            own = () if source == base else draw(tables([method], needed=True, per_model=True))
            parts.append(Part(source, None if whole else (start, start + size), own))
        numbers = () if whole else draw(tables([method], needed=True, per_model=False))
        slices.append(Slice(tuple(parts), None, numbers, None if method == top else method.name))
    module = draw(st.booleans())
    recipe = Recipe(
        top.name, tuple(slices), base, draw(tables(list(used.values()), needed=whole, per_model=False)),
        *(draw(st.sampled_from([None, "F16", "BF16", "F32", "F64"])) for _ in range(2)),
        seed=draw(st.integers(0, 2**40)),
        module="default" if module else None,
        module_numbers=draw(tables(list(used.values()), needed=False, per_model=False)) if module else (),
        vocabulary=draw(vocabularies(models)),
        chat_template=draw(st.none() | templates),
        widen=draw(st.booleans()),
    )  # fmt: skip
    taken = {str(source) for source in (*recipe.sources, *recipe.named)} | {source.path for source in recipe.sources}
    name = texts.filter(lambda word: word not in taken and word not in earlier)
    return replace(recipe, name=draw(st.none() | name if last else name))


@st.composite
def recipes(draw: st.DrawFn, *, stages: int = 2, mixed: bool = True) -> Recipe:
    """Recipes of one to ``stages`` + 1 documents that check() has nothing against."""
    found: list[Recipe] = []
    count = draw(st.integers(0, stages))
    for place in range(count + 1):
        known = [stage.name or "" for stage in found]
        found.append(draw(documents(known, last=place == count, mixed=mixed)))
    recipe = replace(found[-1], stages=tuple(found[:-1]))
    # Weights that happen to cancel, models that happen to have the name of a stage, are refused by design.
    assume(not check(recipe))
    return recipe
