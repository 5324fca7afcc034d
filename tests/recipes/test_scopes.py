"""Which number a tensor gets: random recipes against a slow reading of what mergekit documents.

The reading works on the YAML's tables, tensor by tensor: a filter is a part of a name; the first rule that matches
wins; source before slice before module before recipe; a gradient spans its slice, and what is outside the layers takes
its first value.
"""

from __future__ import annotations

import re
from collections import defaultdict
from fractions import Fraction
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mergelab.errors import FitError
from mergelab.recipes import Recipe, plan
from tests.recipes.opened import family
from tests.recipes.test_plan import steps
from tests.weights import folders

LAYERS = 4
PER_MODEL = {"linear": ("weight",), "ties": ("weight", "density"), "slerp": ()}
SHARED = {"linear": ("normalize",), "ties": ("normalize", "lambda"), "slerp": ("t",)}
DEFAULTS = {
    ("linear", "normalize"): True,
    ("ties", "normalize"): True,
    ("ties", "lambda"): 1.0,
    ("ties", "density"): 1.0,
}
NEEDED = ("weight", "t")

Table = dict[str, Any]
NUMBER = st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.0])
FILTER = st.sampled_from(
    ["mlp", "self_attn.q", "layers.1.", "layers.3", "norm", "embed", "lm_head", "weight", "*", None]
)


def value(parameter: str) -> st.SearchStrategy[Any]:
    one: st.SearchStrategy[Any] = st.booleans() if parameter == "normalize" else NUMBER
    return one | st.lists(one, min_size=1, max_size=4)


def setting(parameter: str) -> st.SearchStrategy[Any]:
    rule = st.builds(
        lambda name, given: {"value": given} | ({} if name is None else {"filter": name}), FILTER, value(parameter)
    )
    return value(parameter) | rule | st.lists(rule, min_size=1, max_size=3).map(reached)


def reached(rules: list[Table]) -> list[Table]:
    """The rules that an earlier one does not make useless: those would be refused."""
    texts = [rule.get("filter", "").replace("*", "") for rule in rules]
    return [rule for at, rule in enumerate(rules) if not any(text in texts[at] for text in texts[:at])]


def parameters(names: tuple[str, ...]) -> st.SearchStrategy[Table]:
    return st.fixed_dictionaries({}, optional={name: setting(name) for name in names})


@st.composite
def recipes(draw: st.DrawFn) -> Table:
    """A recipe of one to three slices over a, b and the base c; each slice may have a method of its own."""
    method = draw(st.sampled_from(["linear", "ties", "slerp"]))
    used = [method]
    slices = []
    for _ in range(draw(st.integers(1, 3))):
        own = draw(st.sampled_from([None, None, "linear", "ties", "slerp"]))
        kind = own or method
        used.append(kind)
        count = draw(st.integers(1, LAYERS))
        sources = []
        for model in ["b", "c"] if kind == "slerp" else ["a", "b", "c"]:
            start = draw(st.integers(0, LAYERS - count))
            table: Table = {"model": model, "layer_range": [start, start + count]}
            if model != "c" or kind == "linear":
                table["parameters"] = draw(parameters(PER_MODEL[kind]))
            sources.append(table)
        piece = {"sources": sources, "parameters": draw(parameters((*PER_MODEL[kind], *SHARED[kind])))}
        slices.append(piece | ({"merge_method": own} if own else {}))
    read = tuple(dict.fromkeys(name for kind in used[1:] for name in (*PER_MODEL[kind], *SHARED[kind])))
    top = draw(parameters(read))
    for name in NEEDED:
        if name in read and (name not in top or draw(st.booleans())):
            top[name] = draw(value(name))
    tree: Table = {"merge_method": method, "base_model": "c", "parameters": top}
    if draw(st.booleans()):
        return tree | {"modules": {"default": {"slices": slices, "parameters": draw(parameters(read))}}}
    return tree | {"slices": slices}


def number(tree: Table, at: int, parameter: str, name: str, model: Table | None, u: Fraction) -> Any:
    """The slow reading of one number, u from 0 to 1 through its slice."""
    module = tree.get("modules", {}).get("default", {})
    piece = (module or tree)["slices"][at]
    for scope in (model or {}, piece, module, tree):
        said = scope.get("parameters", {}).get(parameter)
        if said is None:
            continue
        rules = said if isinstance(said, list) and isinstance(said[0], dict) else [said]
        for rule in rules:
            found = rule if isinstance(rule, dict) else {"value": rule}
            part = found.get("filter")
            if part is None or part == "*" or part in name:
                points = found["value"] if isinstance(found["value"], list) else [found["value"]]
                place = u * (len(points) - 1)
                below = int(place)
                if isinstance(points[0], bool) or place == below:
                    return points[below]
                return points[below] + (points[below + 1] - points[below]) * float(place - below)
    method = piece.get("merge_method", tree["merge_method"])
    return DEFAULTS.get((method, parameter))  # None: it must be given


def tensors(tree: Table) -> list[tuple[int, Fraction, str, list[str]]]:
    """Slice, place in it, name in the merge and name in each source of every tensor."""
    slices = tree.get("modules", {}).get("default", tree)["slices"]
    found = []

    def outside(at: int, name: str) -> None:
        found.append((at, Fraction(0), name, [name] * len(slices[at]["sources"])))

    outside(0, "model.embed_tokens.weight")
    stems = [name[len("model.layers.0.") :] for name in folders.shapes(1) if ".layers." in name]
    output = 0
    for at, piece in enumerate(slices):
        starts = [source["layer_range"][0] for source in piece["sources"]]
        count = piece["sources"][0]["layer_range"][1] - starts[0]
        for index in range(count):
            u = Fraction(index, count - 1) if count > 1 else Fraction(1)
            for stem in stems:
                names = [f"model.layers.{start + index}.{stem}" for start in starts]
                found.append((at, u, f"model.layers.{output}.{stem}", names))
            output += 1
    for name in ("model.norm.weight", "lm_head.weight"):
        outside(len(slices) - 1, name)
    return found


def reading(tree: Table) -> dict[str, Table]:
    """Every number of every tensor."""
    slices = tree.get("modules", {}).get("default", tree)["slices"]
    found = {}
    for at, u, output, names in tensors(tree):
        method = slices[at].get("merge_method", tree["merge_method"])
        sources = slices[at]["sources"]
        merged = [
            (source, name)
            for source, name in zip(sources, names, strict=True)
            if method == "linear" or source["model"] != "c"
        ]
        found[output] = {
            parameter: tuple(number(tree, at, parameter, name, source, u) for source, name in merged)
            for parameter in PER_MODEL[method]
        } | {parameter: number(tree, at, parameter, output, None, u) for parameter in SHARED[method]}
    return found


def filters_without_a_tensor(tree: Table) -> list[str]:
    """Filters of which no tensor, that the parameter is looked up for in that scope, has a part."""
    module = tree.get("modules", {}).get("default", {})
    slices = (module or tree)["slices"]
    asked: list[tuple[Table, str, int, str]] = []  # scope, parameter, its identity, name
    for at, _, output, names in tensors(tree):
        method = slices[at].get("merge_method", tree["merge_method"])
        wider = (slices[at], module, tree)
        for source, name in zip(slices[at]["sources"], names, strict=True):
            if method == "linear" or source["model"] != "c":
                asked += [(scope, one, id(scope), name) for scope in (source, *wider) for one in PER_MODEL[method]]
        asked += [(scope, one, id(scope), output) for scope in wider for one in SHARED[method]]
    lost: dict[tuple[int, str, str], str] = {}
    scopes = {identity: scope for scope, _, identity, _ in asked}
    for identity, scope in scopes.items():
        for parameter, said in scope.get("parameters", {}).items():
            names = [name for _, one, whose, name in asked if (whose, one) == (identity, parameter)]
            for rule in said if isinstance(said, list) else [said]:
                part = rule.get("filter") if isinstance(rule, dict) else None
                if part not in (None, "*") and not any(part in name for name in names):
                    lost[identity, parameter, part] = part
    return list(lost.values())


def without_a_number(tree: Table) -> dict[tuple[str, str], list[str]]:
    """The tensors to which a parameter that must be given is not, by parameter and model (empty: one for all)."""
    lacking: dict[tuple[str, str], list[str]] = defaultdict(list)
    slices = tree.get("modules", {}).get("default", tree)["slices"]
    for (at, _, output, _), numbers in zip(tensors(tree), reading(tree).values(), strict=True):
        method = slices[at].get("merge_method", tree["merge_method"])
        merged = [source["model"] for source in slices[at]["sources"] if method == "linear" or source["model"] != "c"]
        for parameter, wanted in numbers.items():
            values = zip(merged, wanted, strict=True) if isinstance(wanted, tuple) else [("", wanted)]
            for model, found in values:
                if found is None:
                    lacking[parameter, model].append(output)
    return lacking


UNRULED = re.compile(r"no rule gives (\w+) for '([\w.]+)'(?: and (\d+) more)?(?: of '(\w+)')?\.")


@settings(max_examples=60)
@given(recipes())
def test_every_number_is_what_mergekits_rules_give(tree: Table) -> None:
    recipe, expected = Recipe.load(yaml.safe_dump(tree)), reading(tree)
    lost = [f"filter {part!r} matches no tensor." for part in filters_without_a_tensor(tree)]
    unruled = without_a_number(tree)
    if lost or unruled:
        with pytest.raises(FitError) as caught:
            plan(recipe, family())
        said = [problem.what for problem in caught.value.problems]
        assert sorted(what for what in said if what.startswith("filter")) == sorted(lost)
        counts: dict[tuple[str, str], int] = defaultdict(int)
        for parameter, tensor, more, model in (match.groups("") for what in said if (match := UNRULED.match(what))):
            assert tensor in unruled[parameter, model]
            counts[parameter, model] += 1 + int(more or 0)
        assert counts == {key: len(names) for key, names in unruled.items() if names}
        return
    found = {name: dict(step.numbers) for name, step in steps(plan(recipe, family())).items()}
    assert list(found) == list(expected)
    for name, numbers in expected.items():
        for parameter, wanted in numbers.items():
            assert found[name][parameter] == pytest.approx(wanted, abs=1e-12), (name, parameter)
