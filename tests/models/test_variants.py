"""Variants: each with its past, together no larger than what tells them apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergelab.errors import AssemblyError, MergelabError
from mergelab.models import assemble
from mergelab.models.answers import Prompt
from mergelab.models.speak import Stopped
from mergelab.models.variants import Variants
from mergelab.recipes import Recipe, graft, plan, stack

Trio = tuple[Path, Path, Path]


def blend(llamas: Trio, *amounts: float) -> Recipe:
    """One amount for all six layers, or six."""
    return stack([(llamas[1], 0, 6)], base=llamas[0], method="slerp", coefficient=list(amounts * (6 // len(amounts))))


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(model: torch.nn.Module, expected: dict[str, torch.Tensor]) -> bool:
    state = model.state_dict()
    return state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in state)


@pytest.fixture
def variants(llamas: Trio):
    with Variants(blend(llamas, 0.5), device="cpu") as made:
        yield made


def fresh(recipe: Recipe) -> dict[str, torch.Tensor]:
    with assemble(recipe) as assembly:
        return weights(assembly.model)


@pytest.fixture(scope="session")
def four(llamas: Trio) -> list[tuple[Recipe, dict[str, torch.Tensor]]]:
    """Recipes, and the weights of models made of them alone: two blends, one of another layer, one of other layers."""
    recipes = (
        blend(llamas, 0.5),
        blend(llamas, 0.25),
        blend(llamas, 0.5, 0.5, 0.75, 0.5, 0.5, 0.5),
        graft(host=llamas[1], donor=llamas[2], layers=(2, 4)),
    )
    return [(recipe, fresh(recipe)) for recipe in recipes]


VERBS = ("turn", "undo", "redo", "keep", "switch", "drop")


@given(moves=st.lists(st.tuples(st.sampled_from(VERBS), st.integers(0, 3)), min_size=4, max_size=12))
@settings(max_examples=15, deadline=None)
def test_any_sequence_is_as_lists_of_recipes_would_have_it(
    four: list[tuple[Recipe, dict[str, torch.Tensor]]], moves: list[tuple[str, int]]
) -> None:
    """Against plain lists: names, recipes and weights after every move, and refusals that change nothing."""
    recipes, expected = zip(*four, strict=True)
    lists, at, current = {"first": [0]}, {"first": 0}, "first"
    with Variants(recipes[0], device="cpu") as variants:
        for verb, number in moves:
            names = list(lists)
            name = names[number % len(names)]
            if verb == "turn":
                variants.turn(recipes[number])
                if lists[current][at[current]] != number:
                    lists[current] = [*lists[current][: at[current] + 1], number]
                    at[current] += 1
            elif verb in ("undo", "redo"):
                by = number if verb == "redo" else -number
                if number and 0 <= at[current] + by < len(lists[current]):
                    getattr(variants, verb)(number)
                    at[current] += by
                else:
                    with pytest.raises(AssemblyError, match=verb):
                        getattr(variants, verb)(number)
            elif verb == "keep":
                name = f"kept {number}"
                if name in lists:
                    with pytest.raises(AssemblyError, match="already"):
                        variants.keep(name)
                else:
                    variants.keep(name)
                    lists[name], at[name] = lists[current], at[current]
            elif verb == "switch":
                variants.switch(name)
                current = name
            elif name == current:
                with pytest.raises(AssemblyError, match="current"):
                    variants.drop(name)
            else:
                variants.drop(name)
                del lists[name], at[name]
            assert (variants.names, variants.current) == (tuple(lists), current)
            assert variants.recipe == recipes[lists[current][at[current]]]
            assert len(variants.history.rows) == len(lists[current])
        for name in variants.names:
            variants.switch(name)
            assert same(variants.assembly.model, expected[lists[name][at[name]]])


def test_a_kept_one_shares_every_tensor(variants: Variants, llamas: Trio) -> None:
    variants.keep("kept")
    first = variants.assembly
    variants.switch("kept")
    second = variants.assembly
    assert second.model is not first.model
    ours = {name: value.data_ptr() for name, value in first.model.state_dict().items()}
    assert {name: value.data_ptr() for name, value in second.model.state_dict().items()} == ours
    before = weights(first.model)
    variants.turn(blend(llamas, 0.1))
    assert same(first.model, before), "a turn of one leaves the other alone"
    variants.switch("first")
    variants.drop("kept")
    assert same(first.model, before)
    assert first.say("hello", max_new_tokens=2) == first.say("hello", max_new_tokens=2)


def test_a_variant_costs_what_tells_it_apart(variants: Variants, llamas: Trio) -> None:
    bank = variants.assembly.bank

    def live() -> int:
        """Bytes of the tensors that some variant needs."""
        return bank.made - bank.retired

    model = variants.assembly.model
    whole, layer = (sum(value.nbytes for value in part.parameters()) for part in (model, model.model.layers[1]))
    count = len(list(model.model.layers[1].parameters()))
    assert live() == whole
    amounts = [0.5] * 6
    for place in range(1, 5):
        variants.keep(f"before {place}")
        assert live() == whole + (place - 1) * layer, "a copy costs nothing"
        amounts[place] = 0.25
        changes = variants.turn(blend(llamas, *amounts))
        assert (changes.redone, changes.bytes_written) == (count, layer)
        assert live() == whole + place * layer
    variants.switch("before 2")
    assert variants.recipe == blend(llamas, 0.5, 0.25, 0.5, 0.5, 0.5, 0.5)
    variants.drop("before 1")
    assert live() == whole + 3 * layer, "its layer 1 was its own"
    variants.drop("before 4")
    assert live() == whole + 3 * layer, "it had nothing of its own"
    variants.drop("first")
    variants.drop("before 3")
    assert live() == whole
    variants.close()
    assert bank.made == 0


def test_history_says_what_changed(variants: Variants, llamas: Trio) -> None:
    variants.turn(blend(llamas, 0.25))
    variants.turn(blend(llamas, 0.25))
    variants.undo()
    assert variants.history.title == "Variant first"
    rows = variants.history.rows
    assert [row[:2] for row in rows] == [("*", 0), ("redo", 1)]
    assert [row[2] for row in rows] == [blend(llamas, amount).fingerprint for amount in (0.5, 0.25)]
    assert rows[0][3] == ""
    assert rows[1][3] == "t: 0.5 -> 0.25"
    assert "t: 0.5 -&gt; 0.25" in variants.history._repr_html_()
    assert repr(variants) == f"<Variants: first {variants.recipe.fingerprint} (current)>"


def test_a_turn_after_an_undo_leaves_nothing_to_redo(variants: Variants, llamas: Trio) -> None:
    for amount in (0.1, 0.2, 0.3):
        variants.turn(blend(llamas, amount))
    variants.undo(2)
    variants.keep("kept")
    variants.turn(blend(llamas, 0.4))
    assert [row[:2] for row in variants.history.rows] == [("", 0), ("", 1), ("*", 2)]
    with pytest.raises(AssemblyError, match="there is nothing to redo"):
        variants.redo()
    variants.switch("kept")
    variants.redo(2)
    assert variants.recipe == blend(llamas, 0.3), "the past of another variant is its own"


def test_only_so_many_turns_are_remembered(llamas: Trio) -> None:
    with Variants(blend(llamas, 0.5), device="cpu", undo=2) as variants:
        for amount in (0.1, 0.2, 0.3):
            variants.turn(blend(llamas, amount))
        assert [row[1] for row in variants.history.rows] == [1, 2, 3]
        variants.undo(2)
        assert variants.recipe == blend(llamas, 0.1)
        with pytest.raises(AssemblyError, match="there is nothing to undo"):
            variants.undo()
        with pytest.raises(AssemblyError, match="3 of 2 turns cannot be redone"):
            variants.redo(3)
    with pytest.raises(AssemblyError, match="-1 is no number of turns"):
        Variants(blend(llamas, 0.5), undo=-1)


def test_a_turn_that_fails_leaves_everything(variants: Variants, llamas: Trio) -> None:
    variants.turn(blend(llamas, 0.25))
    variants.undo()
    before = weights(variants.assembly.model)
    with pytest.raises(MergelabError, match="nowhere"):
        variants.turn(graft(host=llamas[0], donor="./nowhere", layers=(1, 2)))
    with pytest.raises(Stopped):
        variants.turn(blend(llamas, 0.75), stop=lambda: True)
    assert same(variants.assembly.model, before)
    assert [row[0] for row in variants.history.rows] == ["*", "redo"]
    variants.redo()
    assert variants.recipe == blend(llamas, 0.25)


def test_names_that_are_not_there_taken_or_empty(variants: Variants) -> None:
    for wrong, words in (("frist", "Did you mean 'first'"), ("", "there is no variant ''")):
        for verb in (variants.switch, variants.drop):
            with pytest.raises(AssemblyError, match=words):
                verb(wrong)
        with pytest.raises(AssemblyError, match=words):
            variants.compare("hello", names=["first", wrong])
    with pytest.raises(AssemblyError, match="a variant 'first' already"):
        variants.keep("first")
    for odd in (" ", 3, None, ["first"]):
        with pytest.raises(AssemblyError, match=r"is no name\. Give a word or two"):
            variants.keep(odd)  # type: ignore[arg-type]
        with pytest.raises(AssemblyError, match="there is no variant"):
            variants.switch(odd)  # type: ignore[arg-type]
    with pytest.raises(AssemblyError, match=r"there is no variant 'odd'\. Known: first"):
        variants.compare("hello", names="odd")
    assert variants.compare("hello", names="first", max_new_tokens=1).names == ("first",)
    assert variants.names == ("first",)


@pytest.mark.parametrize("number", ["a", 1.0, 0, -1, True, None])
def test_what_is_no_number_of_turns(variants: Variants, number: int) -> None:
    for verb, go in (("undo", variants.undo), ("redo", variants.redo)):
        with pytest.raises(AssemblyError, match=rf"{verb}: {number!r} is no number of turns. Give 1 or more"):
            go(number)


def test_a_turn_takes_a_plan_or_a_text_as_well_as_a_recipe(variants: Variants, llamas: Trio) -> None:
    """And redoes no more for it, though a plan made elsewhere has sources of its own opening."""
    bent = blend(llamas, 0.5, 0.5, 0.5, 0.5, 0.25, 0.5)
    for wanted in (bent, plan(bent), bent.to_yaml()):
        changes = variants.turn(wanted)
        assert (changes.first, changes.redone + changes.rebound, changes.layers) == (4, 9, 6)
        assert variants.recipe == bent
        variants.undo()


def test_closed_variants_say_so(llamas: Trio) -> None:
    variants = Variants(blend(llamas, 0.5), device="cpu")
    assembly = variants.assembly
    variants.close()
    variants.close()
    assert repr(variants) == "<Variants, closed>"
    assert variants.names == ()
    for verb in (
        variants.undo,
        lambda: variants.turn(blend(llamas, 0.5)),
        lambda: variants.keep("x"),
        lambda: variants.compare("hello"),
        lambda: variants.recipe,
        lambda: assembly.model,
    ):
        with pytest.raises(AssemblyError, match="closed"):
            verb()


def test_compare_says_what_each_model_says_by_itself(variants: Variants, llamas: Trio) -> None:
    variants.keep("other")
    variants.turn(blend(llamas, 0.1))
    prompts = ("hello", Prompt("a cat", " sat"))
    comparison = variants.compare([*prompts, "hello"], max_new_tokens=5)
    assert [prompt.text for prompt in comparison.prompts] == ["hello", "a cat"]
    assert f"first ({variants.recipe.fingerprint})" in str(comparison)
    for name, recipe in (("first", blend(llamas, 0.1)), ("other", blend(llamas, 0.5))):
        with assemble(recipe) as alone, torch.inference_mode():
            for place, text in enumerate(("hello", "a cat")):
                said = comparison.said[name][place]
                assert said.text == alone.say(text, max_new_tokens=5)
                ids = alone.tokenizer(text, return_tensors="pt", return_token_type_ids=False)
                p = alone.model(**ids).logits[0, -1].double().softmax(-1)
                best = p.topk(3)
                assert [likely for _, likely in said.candidates] == pytest.approx(best.values.tolist(), rel=1e-5)
                assert [token for token, _ in said.candidates] == [
                    alone.tokenizer.decode([token]) for token in best.indices
                ]
                assert said.entropy == pytest.approx(float(-(p * p.log()).sum()), rel=1e-5)
                assert (said.loss == said.loss) == (place == 1), "NaN where nothing should follow"
    assert variants.compare("hello", names=["other"], max_new_tokens=5).said.keys() == {"other"}


def test_compare_needs_something_to_compare(variants: Variants) -> None:
    with pytest.raises(AssemblyError, match=r"compare: 1 variant, where a blind comparison needs 2\. Keep another one"):
        variants.compare("hello", blind=True)
    with pytest.raises(AssemblyError, match="0 variants, where it needs 1"):
        variants.compare("hello", names=[])
    with pytest.raises(AssemblyError, match="compare: there is no prompt"):
        variants.compare([])
    for odd in ([3], 3, None):
        with pytest.raises(AssemblyError, match=r"compare: (3|None) is no prompt. Give a text"):
            variants.compare(odd)  # type: ignore[arg-type]
    for length in (0, -1, 2.0, True):
        with pytest.raises(AssemblyError, match=f"max_new_tokens: {length} is no number of tokens"):
            variants.compare("hello", max_new_tokens=length)  # type: ignore[arg-type]
    with pytest.raises(AssemblyError, match="Shorten it"):
        variants.compare(Prompt("long " * 100), names=["first"])
