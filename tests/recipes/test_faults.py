"""Faults of recipes: each refused with its line, its column, its place and a remedy, and all of them at once."""

from __future__ import annotations

import pytest

from mergelab import methods
from mergelab.errors import Problem, RecipeError
from mergelab.recipes import Part, Recipe, Rule, Setting, Slice, check, numbers
from mergelab.weights import Source
from tests.recipes.faults import LINEAR, STACK, TIES, Fault, faults


def problems(text: str) -> tuple[Problem, ...]:
    """What reading this text complains about; a text may be indented."""
    with pytest.raises(RecipeError) as caught:
        Recipe.load(text if "\n" in text else f"{text}\n")
    return caught.value.problems


def test_there_are_faults_of_all_kinds() -> None:
    assert len(list(faults())) >= 100


@pytest.mark.parametrize("fault", list(faults()), ids=lambda fault: fault.name)
def test_a_fault_is_refused_with_this_message_and_no_other(fault: Fault) -> None:
    assert Recipe.load(fault.right), "the recipe is right before"
    found = problems(fault.text)
    assert [str(problem) for problem in found] == [fault.message]
    assert found[0].what.endswith(".")
    assert found[0].hint.endswith((".", "?"))


@pytest.mark.parametrize(("digits", "said"), [(400, "is beyond every float. Give a number."),
    (5000, "cannot be read. Put it in quotes if it is text.")])  # fmt: skip
def test_a_number_of_many_digits_is_refused_in_few(digits: int, said: str) -> None:
    (problem,) = problems(LINEAR.replace("weight: 0.5", f"weight: {'9' * digits}"))
    assert problem.where == "recipe line 6, column 18, models[1].parameters.weight"
    assert str(problem).endswith(said)
    assert len(str(problem)) < 250


def test_a_number_that_few_other_methods_have_is_said_to_be_theirs() -> None:
    (problem,) = problems(LINEAR.replace("{weight: 0.5}", "{weight: 0.5, t: 1}"))
    others = [name for name in methods.names() if "t" in methods.get(name).parameters]
    assert str(problem) == (
        "recipe line 6, column 31, models[1].parameters.t: linear has no parameter 't'. "
        f"Known: weight, normalize. It is a number of {', '.join(others)}."
    )


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
        ("recipe line 13, column 9, slices[1].sources[1].parametres", "is not a key that means anything here."),
        ("recipe line 14, column 14, parameters.normalise", "ties has no parameter 'normalise'."),
        ("recipe line 15, column 1, dtype", "'int64'"),
        ("recipe line 7, column 9, slices[0].sources[1].layer_range", "[4, 0]"),
        ("recipe line 8, column 33, slices[0].sources[1].parameters.density", "density 50"),
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
        "recipe line 4, column 18, models[0].parameters.wieght",
        "recipe line 5, column 5, models[1]",
        "recipe line 7, column 18, models[2].parameters.weight",
        "recipe line 15, column 5, models[10]",
    ]


def test_an_unreadable_number_hides_no_fault_of_one_whose_name_begins_alike() -> None:
    text = TIES.replace("{normalize: true}", "{lambda: x, lambdas: 1}")
    assert [problem.where.split(", ")[2] for problem in problems(text)] == ["parameters.lambda", "parameters.lambdas"]


def test_an_unknown_method_does_not_hide_what_is_wrong_besides() -> None:
    text = STACK.replace("passthrough", "passtrough").replace("[2, 4]", "[4, 2]")
    assert [problem.where for problem in problems(text)] == [
        "recipe line 1, column 1, merge_method",
        "recipe line 4, column 26, slices[1].sources[0].layer_range",
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
            "Give method, base and numbers to the recipe."),
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
