"""Faults of recipes: each refused with its line, its place and a suggestion, and all of them at once."""

from __future__ import annotations

import pytest

from mergelab.errors import Problem, RecipeError
from mergelab.recipes import Part, Recipe, Rule, Setting, Slice, check, numbers
from mergelab.weights import Source


def problems(text: str) -> tuple[Problem, ...]:
    """What reading this text complains about; a text may be indented."""
    with pytest.raises(RecipeError) as caught:
        Recipe.load(text if "\n" in text else f"{text}\n")
    return caught.value.problems


LINEAR = """merge_method: linear
models:
  - model: a
    parameters: {weight: 1}
  - model: b
    parameters: {weight: 0.5}
"""
SLERP = """merge_method: slerp
base_model: a
slices:
  - sources:
      - {model: a, layer_range: [0, 4]}
      - {model: b, layer_range: [0, 4]}
    parameters: {t: 0.5}
"""
TIES = """merge_method: ties
base_model: a
models:
  - model: b
    parameters: {weight: 1, density: 0.5}
parameters: {normalize: true}
"""
STACK = """merge_method: passthrough
slices:
  - sources: [{model: a, layer_range: [0, 4]}]
  - sources: [{model: b, layer_range: [2, 4]}]
"""

# name -> (a right recipe, what is replaced, by what, line, place, what is said)
FAULTS: dict[str, tuple[str, str, str, int, str, str]] = {
    # keys
    "misspelt key at the top": (
        LINEAR, "models:", "mdoels:", 2, "mdoels", "is not a key that means anything here. Did you mean 'models'?",
    ),
    "misspelt merge_method": (LINEAR, "merge_method", "merge_metod", 1, "merge_metod", "Did you mean 'merge_method'?"),
    "misspelt key of a model": (LINEAR, "- model: b", "- modell: b", 5, "models[1].modell", "Did you mean 'model'?"),
    "misspelt parameters of a model": (
        LINEAR, "    parameters: {weight: 0.5}", "    paramters: {weight: 0.5}", 6, "models[1].paramters",
        "Did you mean 'parameters'?",
    ),
    "misspelt key of a slice": (
        SLERP, "    parameters", "    parameter", 7, "slices[0].parameter", "Did you mean 'parameters'?",
    ),
    "misspelt key of a source": (
        SLERP, "{model: b, layer_range:", "{model: b, layer_rnge:", 6, "slices[0].sources[1].layer_rnge",
        "Did you mean 'layer_range'?",
    ),
    "misspelt key of a rule": (
        LINEAR, "weight: 0.5", "weight: {fitler: mlp, value: 1}", 6, "models[1].parameters.weight.fitler",
        "Did you mean 'filter'?",
    ),
    "layer_range in a whole model": (
        LINEAR, "- model: b", "- model: b\n    layer_range: [0, 1]", 6, "models[1].layer_range",
        "is not a key that means anything here.",
    ),
    "residual_weight, which nothing uses": (
        SLERP, "    parameters", "    residual_weight: 1\n    parameters", 7, "slices[0].residual_weight",
        "is not a key that means anything here. Known: sources, base_model, parameters.",
    ),
    "a key that comes later": (LINEAR, "models:", "tokenizer_source: union\nmodels:", 2, "tokenizer_source",
        "cannot be used."),
    "an adapter in a table": (
        LINEAR, "model: b", "model: {model: b, lora: c}", 5, "models[1].model.lora",
            "merge the adapter into its model first",
    ),
    "an adapter in an address": (LINEAR, "model: b", "model: b+c", 5, "models[1].model", "adapters (model+adapter)"),
    "an address with two @": (LINEAR, "model: b", "model: b@c@d", 5, "models[1].model", "'b@c@d': is not an address."),
    "a key written twice": (
        LINEAR, "models:", "merge_method: slerp\nmodels:", 1, "merge_method", "is written twice, again in line 2.",
    ),
    "a number written twice": (
        LINEAR, "{weight: 0.5}", "{weight: 0.5, weight: 1}", 6, "models[1].parameters.weight", "is written twice",
    ),
    # what is missing
    "no method": (LINEAR, "merge_method: linear\n", "", 0, "", "merge_method is missing. Say how to merge"),
    "no models": (LINEAR, LINEAR[LINEAR.index("models") :], "dtype: float16\n", 0, "",
        "has neither models: nor slices:."),
    "both models and slices": (
        SLERP, "slices:", "models: [{model: a}, {model: b}]\nslices:", 0, "",
            "has both models: and slices:. Write exactly one",
    ),
    "an empty list of models": (LINEAR, LINEAR[LINEAR.index("models") :], "models: []\n", 2, "models",
        "is an empty list."),
    "an empty list of slices": (STACK, STACK[STACK.index("slices") :], "slices: []\n", 2, "slices",
        "is an empty list."),
    "an empty list of sources": (
        STACK, "[{model: b, layer_range: [2, 4]}]", "[]", 4, "slices[1].sources", "is an empty list.",
    ),
    "a slice without sources": (SLERP, "  - sources:\n" + SLERP[SLERP.index("      -") :],
        "  - {parameters: {t: 1}}\n", 4,
                                "slices[0]", "has no sources:."),
    "a source without a range": (
        STACK, "{model: b, layer_range: [2, 4]}", "{model: b}", 4, "slices[1].sources[0]", "has no layer_range:.",
    ),
    "a source without a model": (
        STACK, "{model: b, layer_range: [2, 4]}", "{layer_range: [2, 4]}", 4, "slices[1].sources[0]", "has no model:.",
    ),
    "a rule without a value": (
        LINEAR, "weight: 0.5", "weight: [{filter: mlp}]", 6, "models[1].parameters.weight[0]", "has no value:.",
    ),
    "a missing number of a model": (
        LINEAR, "    parameters: {weight: 0.5}\n", "", 5, "models[1]",
        "'b' has no weight, which linear needs for each model. Add weight: under its parameters:.",
    ),
    "a missing shared number": (
        SLERP, "    parameters: {t: 0.5}\n", "", 4, "slices[0]", "slerp needs t. Add t: under parameters:.",
    ),
    "no base": (TIES, "base_model: a\n", "", 2, "models", "ties needs a base model. Add base_model: at the top."),
    "a base that is not in the slice": (
        SLERP, "base_model: a", "base_model: c", 4, "slices[0].sources",
        "lacks the base model 'c'. slerp needs it in every slice: add it with its layer_range.",
    ),
    "a base named twice": (
        SLERP, "{model: b, ", "{model: a, ", 4, "slices[0].sources",
            "names the base model 'a' more than once. Keep one",
    ),
    # methods and numbers
    "unknown method": (LINEAR, "linear", "liner", 1, "merge_method",
        "there is no method 'liner'. Did you mean 'linear'?"),
    "unknown number": (
        LINEAR, "weight: 0.5", "wieght: 0.5", 6, "models[1].parameters.wieght",
        "linear has no parameter 'wieght'. Did you mean 'weight'?",
    ),
    "a number of another method": (
        LINEAR, "{weight: 0.5}", "{weight: 0.5, density: 0.5}", 6, "models[1].parameters.density",
        "linear has no parameter 'density'. Known: weight, normalize.",
    ),
    "a shared number under a source": (
        TIES, "density: 0.5}", "density: 0.5, lambda: 2}", 5, "models[0].parameters.lambda",
        "'lambda' is one number for all models of ties. Move it",
    ),
    "density 50": (
        TIES, "density: 0.5", "density: 50", 5, "models[0].parameters.density",
        "density 50 is outside 0 to 1. Give a number from 0 to 1.",
    ),
    "a density out of range in a gradient": (
        TIES, "density: 0.5", "density: [0, 1.5]", 5, "models[0].parameters.density", "density 1.5 is outside 0 to 1.",
    ),
    "weights that cancel": (LINEAR, "weight: 0.5", "weight: -1", 2, "models", "the weights sum to zero."),
    "a number in place of a switch": (
        TIES, "normalize: true", "normalize: 1.0", 6, "parameters.normalize",
            "normalize 1.0 is neither true nor false.",
    ),
    "a switch in place of a number": (
        TIES, "density: 0.5", "density: true", 5, "models[0].parameters.density", "density True is not a number.",
    ),
    "a word in place of a number": (
        LINEAR, "weight: 0.5", "weight: heavy", 6, "models[1].parameters.weight", "'heavy' is not a number.",
    ),
    "nothing in place of a number": (
        LINEAR, "weight: 0.5", "weight:", 6, "models[1].parameters.weight", "None is not a number.",
    ),
    "an empty gradient": (LINEAR, "weight: 0.5", "weight: []", 6, "models[1].parameters.weight", "is an empty list."),
    "a gradient in a gradient": (
        LINEAR, "weight: 0.5", "weight: [[1]]", 6, "models[1].parameters.weight[0]", "is a list, one value is wanted.",
    ),
    "not a number": (LINEAR, "weight: 0.5", "weight: .nan", 6, "models[1].parameters.weight",
        "is not a finite float32."),
    "beyond every float": (
        LINEAR, "weight: 0.5", "weight: 1e999", 6, "models[1].parameters.weight", "is not a finite float32.",
    ),
    "a whole number beyond every float": (
        LINEAR, "weight: 0.5", f"weight: {'9' * 400}", 6, "models[1].parameters.weight", "a whole number of 400 digits",
    ),
    "a whole number beyond reading": (
        LINEAR, "weight: 0.5", f"weight: {'9' * 5000}", 6, "models[1].parameters.weight", "cannot be read.",
    ),
    # types
    "a method that is a number": (LINEAR, "linear", "5", 1, "merge_method", "5 is not text."),
    "a base that is nothing": (TIES, "base_model: a", "base_model:", 2, "base_model", "None is not text."),
    "a model that is a number": (LINEAR, "model: b", "model: 1", 5, "models[1].model",
        "1 is not text. Write a name, in quotes"),
    "a model that is a list": (LINEAR, "model: b", "model: [b]", 5, "models[1].model",
        "is a list, one value is wanted."),
    "a model that is empty": (LINEAR, "model: b", "model: ''", 5, "models[1].model",
        "is empty. Write a folder or a hub id."),
    "models that are no list": (LINEAR, LINEAR[LINEAR.index("models") :], "models: a\n", 2, "models", "is not a list."),
    "a slice that is no table": (
        STACK, "- sources: [{model: b, layer_range: [2, 4]}]", "- 5", 4, "slices[1]", "is not a table of keys.",
    ),
    "parameters that are a list": (LINEAR, "{weight: 0.5}", "[weight]", 6, "models[1].parameters",
        "is not a table of keys."),
    "parameters that are nothing": (LINEAR, "{weight: 0.5}", "", 6, "models[1].parameters", "is not a table of keys."),
    "an integer dtype": (
        LINEAR, "models:", "out_dtype: int8\nmodels:", 2, "out_dtype",
        "'int8' is not a dtype to merge in. Known: float16, bfloat16, float32, float64.",
    ),
    "int64, which mergekit takes": (LINEAR, "models:", "dtype: int64\nmodels:", 2, "dtype",
        "'int64' is not a dtype to merge in."),
    "a misspelt dtype": (LINEAR, "models:", "dtype: blfoat16\nmodels:", 2, "dtype", "Did you mean 'bfloat16'?"),
    "a dtype that is a number": (LINEAR, "models:", "dtype: 16\nmodels:", 2, "dtype", "16 is not text."),
    "a seed that is text": (LINEAR, "models:", "seed: lucky\nmodels:", 2, "seed", "'lucky' is not a whole number."),
    "a seed that is a switch": (LINEAR, "models:", "seed: true\nmodels:", 2, "seed", "True is not a whole number."),
    # ranges
    "a reversed range": (
        STACK, "[2, 4]", "[4, 2]", 4, "slices[1].sources[0].layer_range",
            "[4, 2] is no run of layers. Write [start, end)",
    ),
    "an empty range": (STACK, "[2, 4]", "[2, 2]", 4, "slices[1].sources[0].layer_range", "[2, 2] is no run of layers."),
    "a negative range": (STACK, "[2, 4]", "[-4, -2]", 4, "slices[1].sources[0].layer_range",
        "[-4, -2] is no run of layers."),
    "a range of one number": (STACK, "[2, 4]", "[2]", 4, "slices[1].sources[0].layer_range", "has 1 numbers."),
    "a range of three numbers": (STACK, "[2, 4]", "[2, 3, 4]", 4, "slices[1].sources[0].layer_range", "has 3 numbers."),
    "a range of fractions": (
        STACK, "[2, 4]", "[2, 4.5]", 4, "slices[1].sources[0].layer_range[1]", "4.5 is not a whole number.",
    ),
    "a range that is a number": (STACK, "[2, 4]", "4", 4, "slices[1].sources[0].layer_range", "is not a list."),
    "runs of unequal length": (
        SLERP, "b, layer_range: [0, 4]", "b, layer_range: [0, 3]", 4, "slices[0].sources",
        "its sources have 4, 3 layers. Sources that are merged layer by layer need runs of equal length.",
    ),
    # numbers of models
    "two models in passthrough": (
        STACK, "{model: b, layer_range: [2, 4]}", "{model: a, layer_range: [2, 4]}, {model: b, layer_range: [2, 4]}", 4,
        "slices[1].sources", "passthrough takes 1 model, here are 2.",
    ),
    "three models in slerp": (
        SLERP, "    parameters", "      - {model: c, layer_range: [0, 4]}\n    parameters", 4, "slices[0].sources",
        "slerp takes 1 model beside the base, here are 2.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_once_with_line_place_and_remedy(fault: str) -> None:
    right, old, new, line, place, said = FAULTS[fault]
    assert Recipe.load(right), "the recipe is right before"
    assert right.count(old) >= 1
    start = right.rindex(old)
    found = problems(right[:start] + new + right[start + len(old) :])
    assert len(found) == 1, found
    assert found[0].where == ", ".join(filter(None, (f"recipe line {line}" if line else "recipe", place)))
    assert said in f"{found[0].what} {found[0].hint}"
    assert found[0].what.endswith(".")
    assert found[0].hint or "takes" in found[0].what or "wanted" in found[0].what


def test_all_faults_of_a_text_are_told_at_once_each_with_its_line() -> None:
    found = problems("""merge_method: ties
base_model: a
slices:
  - sources:
      - {model: a, layer_range: [0, 4]}
      - model: b
        layer_range: [4, 0]
        parameters: {weight: 1, density: 50}
  - sources:
      - {model: a, layer_range: [4, 6]}
      - model: b
        layer_range: [4, 6]
        parametres: {weight: 1}
parameters: {normalise: true}
dtype: int64
""")
    assert sorted((problem.where, problem.what.split(" is ")[0]) for problem in found) == [
        ("recipe line 13, slices[1].sources[1].parametres", "is not a key that means anything here."),
        ("recipe line 14, parameters.normalise", "ties has no parameter 'normalise'."),
        ("recipe line 15, dtype", "'int64'"),
        ("recipe line 7, slices[0].sources[1].layer_range", "[4, 0]"),
        ("recipe line 8, slices[0].sources[1].parameters.density", "density 50"),
    ]


def test_an_unreadable_part_hides_no_fault_of_the_others() -> None:
    right = "".join(f"  - {{model: m{at}, parameters: {{weight: 1}}}}\n" for at in range(7))
    found = problems(f"""merge_method: linear
models:
  - model: b
    parameters: {{wieght: 1}}
  - parameters: {{weight: 1}}
  - model: c
    parameters: {{weight: x}}
{right}  - {{model: z}}
""")
    assert [problem.where for problem in found] == [
        "recipe line 4, models[0].parameters.wieght",
        "recipe line 5, models[1]",
        "recipe line 7, models[2].parameters.weight",
        "recipe line 15, models[10]",
    ]


def test_an_unreadable_number_hides_no_fault_of_one_whose_name_begins_alike() -> None:
    text = TIES.replace("{normalize: true}", "{lambda: x, lambdas: 1}")
    assert [problem.where.split(", ")[1] for problem in problems(text)] == ["parameters.lambda", "parameters.lambdas"]


def test_an_unknown_method_does_not_hide_what_is_wrong_besides() -> None:
    text = STACK.replace("passthrough", "passtrough").replace("[2, 4]", "[4, 2]")
    assert [problem.where for problem in problems(text)] == [
        "recipe line 1, merge_method",
        "recipe line 4, slices[1].sources[0].layer_range",
    ]


# ------------------------------------------------------------------------------ recipes made without a text

A, B = Source("a"), Source("b")


@pytest.mark.parametrize(
    ("recipe", "where", "said"),
    [
        (Recipe("passthrough", ()), "slices", "is empty."),
        (Recipe("passthrough", (Slice(()),)), "slices[0].sources", "names no model."),
        (Recipe("passthrough", (Slice((Part(A),)),), dtype="I64"), "dtype", "'I64' is not a dtype to merge in."),
        (Recipe("passthrough", (Slice((Part(A),)),), out_dtype="float16"), "out_dtype", "Known: F16, BF16, F32, F64."),
        (Recipe("passthrough", (Slice((Part(A),)), Slice((Part(A, (0, 1)),)))), "slices[0].sources[0]",
            "has no layer_range."),
        (Recipe("slerp", (Slice((Part(A), Part(B)), A, numbers({"t": 1})),)), "slices[0]",
            "Give base and numbers to the recipe."),
        (Recipe("linear", (Slice((Part(A, None, numbers({"weight": []})),)),)), "models[0].parameters.weight",
            "has no value."),
        (Recipe("linear", (Slice((Part(A, None, (("weight", Setting(())),)),)),)), "models[0].parameters.weight",
            "has no value."),
        (
            Recipe("linear", (Slice((Part(A, (0, 1), numbers({"weight": 1})), Part(B, (0, 1),
                numbers({"weight": -1})))),)),
            "slices[0]", "the weights sum to zero.",
        ),
    ],
)  # fmt: skip
def test_a_recipe_made_in_code_is_checked_as_well(recipe: Recipe, where: str, said: str) -> None:
    (problem,) = check(recipe)
    assert problem.where == where
    assert said in f"{problem.what} {problem.hint}"


def test_weights_that_cancel_without_normalize_are_right() -> None:
    parts = (Part(A, None, numbers({"weight": 1})), Part(B, None, numbers({"weight": -1})))
    assert check(Recipe("linear", (Slice(parts),), numbers=numbers({"normalize": False}))) == ()
    ruled = (Part(A, None, (("weight", Setting((Rule(1.0, "mlp"), Rule(2.0)))),)), parts[1])
    assert check(Recipe("linear", (Slice(ruled),))) == (), "what differs by tensor is for the plan to see"
