"""What a signature declares, and what is said about wrong numbers."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab import methods
from mergelab.errors import MethodError
from mergelab.methods import REQUIRED, Method, Parameter, PerModel, Shared, registry
from mergelab.methods.registry import describe
from mergelab.methods.tensors import Array, Arrays


def toy(
    models: Arrays,
    base: Array | None,
    *,
    weight: Annotated[Sequence[float], PerModel(dial=(0, 1))],
    share: Annotated[Sequence[float], PerModel(default=0.5, low=0, high=1)],
    steps: Annotated[int, Shared(low=1)] = 10,
    lambda_: Annotated[float, Shared(dial=(0, 2), high=4)] = 1.0,
    normalize: bool = True,
    generator: torch.Generator,
) -> Array:
    """Toy: a method that does little.

    More words.

    Args:
        weight: How much
            each counts.
        share: A share.
        steps: How many.
        lambda_: A factor.
        normalize: Whether.
    """
    return models[0] if base is None else base


TOY = describe(toy, inputs=(2, 3))


def test_the_signature_declares_the_method() -> None:
    assert (TOY.name, TOY.summary) == ("toy", "Toy: a method that does little.")
    assert (TOY.base, TOY.inputs, TOY.seeded) == ("optional", (2, 3), True)
    assert list(TOY.parameters) == ["weight", "share", "steps", "lambda", "normalize"]
    assert TOY.parameters["weight"] == Parameter(
        "weight", True, float, REQUIRED, dial=(0, 1), doc="How much each counts."
    )
    assert TOY.parameters["share"] == Parameter("share", True, float, 0.5, 0, 1, doc="A share.")
    assert TOY.parameters["steps"] == Parameter("steps", False, int, 10, low=1, doc="How many.")
    assert TOY.parameters["lambda"] == Parameter("lambda", False, float, 1.0, high=4, dial=(0, 2), doc="A factor.")
    assert TOY.parameters["normalize"] == Parameter("normalize", False, bool, True, doc="Whether.")


def test_describing_enters_nothing() -> None:
    assert "toy" not in methods.names()


MERGEKITS = (
    "linear", "slerp", "nuslerp", "multislerp", "karcher", "task_arithmetic", "ties", "dare_linear", "dare_ties",
    "della", "della_linear", "breadcrumbs", "breadcrumbs_ties", "model_stock", "sce", "ram", "ramplus_tl", "nearswap",
    "arcee_fusion", "passthrough",
)  # fmt: skip


def test_the_methods_of_mergekit_are_all_there() -> None:
    assert set(MERGEKITS) <= set(methods.names())
    assert len(set(methods.names())) == len(methods.names())


def test_an_unknown_method_is_answered_with_the_closest() -> None:
    with pytest.raises(MethodError, match=r"no method 'tise'\. Did you mean 'ties'"):
        methods.get("tise")


@pytest.mark.parametrize("name", methods.names())
def test_every_number_is_documented_and_its_ends_make_sense(name: str) -> None:
    method = methods.get(name)
    assert method.summary.endswith(".")
    for parameter in method.parameters.values():
        assert parameter.doc
        if parameter.default is not REQUIRED:
            assert parameter.problem(parameter.default) is None
        if parameter.dial is not None:
            assert parameter.dial[0] < parameter.dial[1]
            assert all(parameter.problem(end) is None for end in parameter.dial)


@pytest.mark.parametrize(
    ("name", "without_effect"),
    [
        ("task_arithmetic", ["density", "rescale", "int8_mask"]),
        *[(name, ["int8_mask"]) for name in MERGEKITS if name.startswith(("ties", "dare", "della", "breadcrumbs"))],
        ("linear", []),
    ],
)
def test_numbers_of_mergekit_without_effect_are_marked(name: str, without_effect: list[str]) -> None:
    parameters = methods.get(name).parameters.values()
    assert [parameter.name for parameter in parameters if not parameter.effect] == without_effect


def broken_order(base: Array, models: Arrays) -> Array:
    """Broken."""
    return base


def broken_type(models: Arrays, *, name: str = "") -> Array:
    """Broken.

    Args:
        name: Text.
    """
    return models[0]


def broken_text(models: Arrays, *, t: float = 0.0) -> Array:
    """Broken: says nothing of t."""
    return models[0]


def broken_default(models: Arrays, *, w: Annotated[Sequence[float], PerModel()] = (1.0,)) -> Array:
    """Broken.

    Args:
        w: Weight.
    """
    return models[0]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (broken_order, "first argument of a method is 'models'"),
        (broken_type, "neither float, int, bool"),
        (broken_text, "t has no entry under 'Args:'"),
        (broken_default, "stands in PerModel"),
    ],
)
def test_a_signature_that_declares_no_method_is_refused(function: object, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        describe(function, inputs=(1, 1))


def test_a_name_is_not_taken_twice() -> None:
    def ties(models: Arrays) -> Array:
        """Another."""
        return models[0]

    with pytest.raises(TypeError, match=r"a method 'ties' already, in mergelab\.methods\.delta"):
        methods.method(inputs=(1, 1))(ties)
    assert methods.get("ties").function is not ties


def alone(code: str) -> str:
    """What a Python of its own prints."""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_a_name_is_taken_before_anybody_asked_for_it() -> None:
    code = """
from mergelab import methods
try:
    @methods.method(inputs=(1, 1))
    def ties(models):
        "Another."
except TypeError as error:
    print(error)
"""
    assert alone(code) == "there is a method 'ties' already, in mergelab.methods.delta"


def test_what_only_copies_or_adds_is_declared_without_torch() -> None:
    code = """
import sys
from mergelab import methods
for name in ("passthrough", "linear", "slerp"):
    methods.get(name)
print([name for name in ("torch", "numpy", "jaxtyping") if name in sys.modules], methods.get("linear").chained)
"""
    assert alone(code) == "[] True"


def test_every_method_lives_where_the_registry_says_and_comes_in_its_order() -> None:
    for home, defined in registry._HOMES.items():
        module = importlib.import_module(f"mergelab.methods.{home}")
        here = [one.name for one in vars(module).values() if isinstance(one, Method)]
        assert here == list(defined), home
    assert set(registry._HOMES) == set(methods._ROOMS)


def test_every_public_name_is_there() -> None:
    assert list(methods.__all__) == sorted(methods.__all__, key=lambda name: (not name.isupper(), name))
    assert all(getattr(methods, name) is not None for name in methods.__all__)
    with pytest.raises(AttributeError, match="no attribute 'frankenstein'"):
        methods.frankenstein  # noqa: B018


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("share", 50, "share 50 is outside 0 to 1"),
        ("share", -0.5, "share -0.5 is outside 0 to 1"),
        ("share", "0.5", "share '0.5' is not a number"),
        ("share", True, "share True is not a number"),
        ("share", [0.5], r"share [0.5] is not a number"),
        ("weight", math.nan, "weight nan is not a finite float32"),
        ("weight", -math.inf, "weight -inf is not a finite float32"),
        ("weight", 1e39, "weight 1e+39 is not a finite float32"),
        ("weight", 10**400, "weight is an integer beyond every float"),
        ("weight", None, "weight is missing"),
        ("steps", 2.5, "steps 2.5 is not a whole number"),
        ("steps", 0, "steps 0 is below 1"),
        ("lambda", 4.5, "lambda 4.5 is above 4"),
        ("normalize", 1, "normalize 1 is neither true nor false"),
        ("normalize", "true", "normalize 'true' is neither true nor false"),
    ],
)
def test_wrong_values_are_told_in_words(name: str, value: object, words: str) -> None:
    assert TOY.parameters[name].problem(value) == words


@pytest.mark.parametrize(
    ("name", "value"),
    [("share", 0), ("share", 1.0), ("share", None), ("steps", 3.0), ("weight", np.float32(0.5)), ("weight", -7)],
)
def test_right_values_pass(name: str, value: object) -> None:
    assert TOY.parameters[name].problem(value) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("share", "Give a number from 0 to 1."),
        ("steps", "Give a whole number of at least 1."),
        ("lambda", "Give a number of at most 4."),
        ("weight", "Give a number."),
        ("normalize", "Give true or false."),
    ],
)
def test_the_remedy_names_the_range(name: str, words: str) -> None:
    assert TOY.parameters[name].expects == words


def texts(method: Method, numbers: dict[str, object], models: int | None = None) -> list[str]:
    return [str(problem) for problem in method.check(numbers, models)]


def test_all_problems_at_once() -> None:
    numbers = {"weight": [1, math.nan, 2], "shar": 1, "steps": "many", "lambda": None, "normalize": 0}
    assert texts(TOY, numbers, 2) == [
        "toy: has no parameter 'shar'. Did you mean 'share'?",
        "toy: weight has 3 values for 2 models. Give one for each model, base excluded, or one for all.",
        "toy: weight nan is not a finite float32, for model 2. Give a number.",
        "toy: steps 'many' is not a number. Give a whole number of at least 1.",
        "toy: normalize 0 is neither true nor false. Give true or false.",
    ]


def test_a_missing_number_is_named() -> None:
    assert texts(TOY, {}) == ["toy: weight is missing. Give a number."]
    assert texts(TOY, {"weight": [1, None]}) == ["toy: weight is missing, for model 2. Give a number."]
    assert texts(TOY, {"weight": 1, "share": [None, 0.1]}) == []


def test_a_list_for_a_shared_number_is_refused() -> None:
    assert texts(TOY, {"weight": 1, "steps": [1, 2]}) == [
        "toy: steps [1, 2] is not a number. Give a whole number of at least 1."
    ]


def test_without_a_count_of_models_counts_are_not_judged() -> None:
    assert texts(TOY, {"weight": [1, 2, 3, 4, 5]}) == []


ADDING = ("linear", "task_arithmetic", "dare_linear", "della_linear", "breadcrumbs")
CANCELLING = [(name, weight) for weight in ([1, -1], [0.1, 0.2, -0.3]) for name in ADDING]


@pytest.mark.parametrize(("name", "weight"), [*CANCELLING, ("linear", 0), ("linear", [0.0, 0.0])])
def test_weights_that_cancel_are_refused_where_they_divide(name: str, weight: object) -> None:
    method = methods.get(name)
    assert texts(method, {"weight": weight, "normalize": True}) == [
        f"{name}: the weights sum to zero. Change a weight, or set normalize: false."
    ]
    assert texts(method, {"weight": weight, "normalize": False}) == []


@given(st.floats(1e-30, 1e30), st.floats(1e-6, 1))
def test_small_weights_do_not_cancel(size: float, rest: float) -> None:
    assert texts(methods.get("linear"), {"weight": [size, -size * (1 - rest)]}) == []


DEFAULTS = {
    "ties": {"density": 1.0, "normalize": True, "rescale": False, "trim_scope": "tensor"},
    "dare_linear": {"density": 1.0, "normalize": False, "rescale": True, "rescale_by": "norm"},
    "dare_ties": {"density": 1.0, "normalize": False, "rescale": True, "rescale_by": "norm"},
    "della": {"density": 1.0, "epsilon": 0.15, "normalize": True, "rescale": True, "rescale_by": "norm"},
    "della_linear": {"density": 1.0, "epsilon": 0.15, "normalize": False, "rescale": True, "rescale_by": "norm"},
    "breadcrumbs": {"density": 1.0, "gamma": 0.01, "normalize": False, "rescale": False},
    "breadcrumbs_ties": {"density": 1.0, "gamma": 0.01, "normalize": False, "rescale": False},
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_of_the_delta_family(name: str) -> None:
    parameters = methods.get(name).parameters
    wanted = {"weight": REQUIRED, **DEFAULTS[name], "lambda": 1.0, "int8_mask": False}
    assert {parameter.name: parameter.default for parameter in parameters.values()} == wanted
    per_model = {parameter.name for parameter in parameters.values() if parameter.per_model}
    assert per_model == {"weight", "density", "epsilon", "gamma"} & set(wanted)


@pytest.mark.parametrize("name", ["della", "della_linear"])
@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"density": 0.1}, "density 0.1 ± epsilon 0.15 reaches beyond 0 to 1, for model 1. Give an epsilon below 0.1,"),
        (
            {"density": [0.5, 0.9]},
            "density 0.9 ± epsilon 0.15 reaches beyond 0 to 1, for model 2. Give an epsilon below 0.1,",
        ),
        ({"density": 0.5, "epsilon": [0.1, 0.5]}, "density 0.5 ± epsilon 0.5 reaches beyond 0 to 1, for model 2."),
        ({"density": [1, 0], "epsilon": 1}, None),
        ({"density": 0.01, "epsilon": 0}, None),
        ({"density": [0.3, 0.7], "epsilon": 0.29}, None),
    ],
)
def test_probabilities_of_della_lie_inside_0_to_1(name: str, numbers: dict[str, object], said: str | None) -> None:
    for count in (2, None):
        found = texts(methods.get(name), {"weight": 1, **numbers}, count)
        assert [text[: len(f"{name}: {said}")] for text in found] == ([] if said is None else [f"{name}: {said}"])


def test_numbers_of_models() -> None:
    def words(name: str, models: int, base: bool) -> list[str]:
        return [str(problem) for problem in methods.get(name).check_inputs(models, base)]

    assert words("linear", 3, False) == []
    assert words("linear", 0, False) == ["linear: has 0 models. Give 1 or more."]
    assert words("linear", 2, True) == ["linear: takes no base model. Give it as one of the models, or leave it out."]
    assert words("slerp", 2, True) == ["slerp: has 2 models besides the base. Give 1."]
    assert words("ties", 2, False) == ["ties: has no base model. Say which model is the base (base_model)."]
    assert [str(problem) for problem in TOY.check_inputs(1, True)] == [
        "toy: has 1 model besides the base. Give 2 to 3."
    ]
    assert TOY.check_inputs(2, True) == TOY.check_inputs(2, False) == ()


@pytest.mark.parametrize(
    ("numbers", "unchanged"),
    [({}, True), ({"scale": None}, True), ({"scale": 1}, True), ({"scale": [1.0]}, True), ({"scale": 0.5}, False)],
)
def test_passthrough_says_when_it_shares(numbers: dict[str, object], unchanged: bool) -> None:
    assert methods.get("passthrough").unchanged(numbers) is unchanged
    assert not methods.get("linear").unchanged({"weight": 1})
