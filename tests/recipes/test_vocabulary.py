"""Which tokens a merge has, and where its rows come from: against a slow reading of the rules, token by token."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from mergelab.errors import FitError
from mergelab.recipes import Part, Recipe, Slice, numbers, plan
from mergelab.recipes.recipe import Token, Vocabulary
from mergelab.recipes.step import ALL_ROWS, Aligned, Input, Rows
from mergelab.recipes.vocabulary import Alignment, Lexicon, Reader, join
from mergelab.weights import Source
from tests.weights import folders

A, B, C = (Source(name) for name in "abc")
TEXTS = "stuvwxyz"
Terms = list[tuple[Source, int]]


@st.composite
def lexicons(draw: st.DrawFn) -> Lexicon:
    """Tokens in any order, with holes, with padding rows, and with ids beyond the rows."""
    texts = draw(st.lists(st.sampled_from(TEXTS), unique=True, max_size=6))
    if draw(st.booleans()):
        return Lexicon({text: number for number, text in enumerate(texts)}, len(texts))
    ids = draw(st.lists(st.integers(0, 9), unique=True, min_size=len(texts), max_size=len(texts)))
    return Lexicon(dict(zip(texts, ids, strict=True)), draw(st.integers(6, 12)))


@st.composite
def questions(draw: st.DrawFn) -> tuple[Vocabulary, tuple[Reader, ...]]:
    readers = tuple(
        Reader(source, draw(lexicons()), source == A or draw(st.booleans()))
        for source in (A, B, C)[: draw(st.integers(1, 3))]
    )
    told = []
    lenders = [reader for reader in readers if reader.lends and reader.lexicon.owned]
    for text in draw(st.lists(st.sampled_from(f"{TEXTS}!?"), unique=True, max_size=3)):
        force = draw(st.booleans())
        if lenders and draw(st.booleans()):
            reader = draw(st.sampled_from(lenders))
            itself = [None] if text in reader.lexicon.owned else []
            row = draw(st.sampled_from([*itself, *reader.lexicon.owned, *range(reader.lexicon.rows)]))
            told.append((text, Token(reader.source, row, force=force)))
        else:
            told.append((text, Token(zero=draw(st.booleans()), force=force)))
    kind = draw(st.sampled_from(["base", "union", *(reader.source for reader in readers)]))
    return Vocabulary(kind, draw(st.sampled_from([None, 1, 4, 7])), tuple(told)), readers


def slow(words: Vocabulary, readers: tuple[Reader, ...]) -> tuple[dict[str, int], int, dict[Source, list[Terms]]]:
    """The rules of notes/mergekit.md 2.7 as they are written: ids, number of rows, and each model's rows."""
    by_source = {reader.source: reader for reader in readers}

    def has(source: Source, text: str) -> bool:
        lexicon = by_source[source].lexicon
        return text in lexicon.ids and lexicon.ids[text] < lexicon.rows

    base = readers[0]
    if isinstance(words.source, Source):
        ids = dict(by_source[words.source].lexicon.ids)
    else:
        ids = {text: number for text, number in base.lexicon.ids.items() if number < base.lexicon.rows}
    if words.source == "union":
        for reader in readers[1:]:
            for number in range(reader.lexicon.rows):
                for text, own in reader.lexicon.ids.items():
                    if own == number and text not in ids:
                        ids[text] = max(ids.values(), default=-1) + 1
    for text, _ in words.tokens:
        if text not in ids:
            ids[text] = max(ids.values(), default=-1) + 1
    count = max(ids.values(), default=-1) + 1
    while words.pad_to_multiple_of and count % words.pad_to_multiple_of:
        count += 1
    told = dict(words.tokens)
    rows: dict[Source, list[Terms]] = {}
    for reader in readers:
        rows[reader.source] = []
        for number in range(count):
            text = next((text for text, own in ids.items() if own == number), None)
            if text is None:
                rows[reader.source].append([(reader.source, ALL_ROWS)])
                continue
            token = told.get(text, Token())
            if has(reader.source, text) and not token.force:
                terms = [(reader.source, reader.lexicon.ids[text])]
            elif token.zero:
                terms = []
            elif token.source is not None:
                named = text if token.token is None else token.token
                terms = [
                    (token.source, named if isinstance(named, int) else by_source[token.source].lexicon.ids[named])
                ]
            elif has(base.source, text):
                terms = [(base.source, base.lexicon.ids[text])]
            else:
                owners = [one.source for one in readers if one.lends and has(one.source, text)]
                terms = [(owner, by_source[owner].lexicon.ids[text]) for owner in owners]
            rows[reader.source].append(terms)
    return ids, count, rows


def read(rows: Rows) -> list[Terms]:
    counts, lender, row = (array("i", part) for part in (rows.counts, rows.lender, rows.row))
    terms = iter([(rows.lenders[index], number) for index, number in zip(lender, row, strict=True)])
    return [[next(terms) for _ in range(count)] for count in counts]


def joined(words: Vocabulary, *readers: Reader) -> Alignment:
    found, problems = join(words, readers)
    assert found is not None
    assert not problems
    return found


@settings(max_examples=400)
@given(questions())
def test_every_row_comes_from_where_the_rules_say(asked: tuple[Vocabulary, tuple[Reader, ...]]) -> None:
    words, readers = asked
    found = joined(words, *readers)
    ids, count, rows = slow(words, readers)
    assert dict(found.ids) == ids
    assert list(found.ids.values()) == list(ids.values())
    assert found.count == count
    assert list(found.rows) == [reader.source for reader in readers]
    for reader in readers:
        as_it_is = [[(reader.source, number)] for number in range(reader.lexicon.rows)]
        made = found.rows[reader.source]
        assert (made is None) == (rows[reader.source] == as_it_is)
        if made is not None:
            assert made.lenders[0] == reader.source
            assert made.count == count
            assert read(made) == rows[reader.source]


@given(questions())
def test_the_ids_of_the_base_are_kept_and_the_order_is_that_of_reading(
    asked: tuple[Vocabulary, tuple[Reader, ...]],
) -> None:
    _, readers = asked
    found = joined(Vocabulary("union"), *readers)
    kept = readers[0].lexicon.owned
    assert {text: found.ids[text] for text in kept} == kept
    appended = [text for text in sorted(found.ids, key=found.ids.__getitem__) if text not in kept]
    expected: dict[str, None] = {}
    for reader in readers[1:]:
        expected |= dict.fromkeys(sorted(reader.lexicon.owned, key=reader.lexicon.owned.__getitem__))
    assert appended == [text for text in expected if text not in kept]


def test_a_row_that_is_the_models_own_whatever_is_said_needs_no_change() -> None:
    forced = Vocabulary("base", None, (("x", Token(force=True)), ("y", Token(A, "y", force=True))))
    found = joined(forced, Reader(A, Lexicon({"x": 0, "y": 1}, 2)), Reader(B, Lexicon({"x": 0, "y": 1}, 2)))
    assert found.rows[A] is None
    assert found.rows[B] is not None
    assert read(found.rows[B]) == [[(A, 0)], [(A, 1)]]


def test_equal_questions_give_equal_rows_that_hash_alike() -> None:
    words = Vocabulary("union")
    one, other = (
        joined(words, Reader(A, Lexicon({"x": 0}, 1)), Reader(B, Lexicon({"y": 0}, 1))).rows[A] for _ in range(2)
    )
    assert one is not other
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (Token(B, "nope"), "tokenizer.tokens.new.source: 'b' has no token 'nope'."),
        (Token(B), "tokenizer.tokens.new.source: 'b' has no token 'new'."),
        (Token(B, "yess"), "tokenizer.tokens.new.source: 'b' has no token 'yess'. Did you mean 'yes'?"),
        (Token(B, 5), "tokenizer.tokens.new.source: 'b' has no token_id 5. Its ids are 0 to 4."),
        (Token(B, -1), "tokenizer.tokens.new.source: 'b' has no token_id -1."),
        (Token(B, "pad"), "tokenizer.tokens.new.source: 'b' has no embedding of 'pad': its id is 9, there are 5 rows."),
        (Token(C, "yes"), "tokenizer.tokens.new.source: no row of 'c' fits the merge"),
    ],
)
def test_a_token_that_cannot_be_taken_is_an_error_in_words(token: Token, expected: str) -> None:
    lexicon = Lexicon({"yes": 1, "pad": 9}, 5)
    readers = (Reader(A, lexicon), Reader(B, lexicon), Reader(C, lexicon, lends=False))
    found, problems = join(Vocabulary("union", None, (("new", token), ("good", Token(zero=True)))), readers)
    assert found is None
    assert [str(problem).startswith(expected) for problem in problems] == [True], problems


# ------------------------------------------------------------------------------------------------ files and plans


def tokenizer(vocabulary: dict[str, int] | list[list[Any]], *added: tuple[int, str]) -> dict[str, Any]:
    return {"model": {"vocab": vocabulary}, "added_tokens": [{"id": number, "content": text} for number, text in added]}


def model(
    folder: Path, files: dict[str, Any], rows: int = 5, *, seed: int = 0, head: bool = True, width: int = 8
) -> Source:
    """A checkpoint with so many rows, and tokenizer files."""
    shapes = folders.shapes(vocabulary=rows, head=head, width=width)
    folders.save(folder, folders.tensors(shapes, seed=seed), vocab_size=rows, hidden_size=width)
    for name, table in files.items():
        (folder / name).write_text(json.dumps(table))
    return Source(str(folder))


def linear(*sources: Source, words: Vocabulary, base: Source | None = None) -> Recipe:
    parts = tuple(Part(source, None, numbers({"weight": 1.0})) for source in sources)
    return Recipe("linear", (Slice(parts),), base, vocabulary=words)


PLAIN = {"tokenizer.json": tokenizer({"a": 0, "b": 1, "c": 2}, (3, "<s>"))}


@pytest.mark.parametrize(
    "files",
    [
        PLAIN,
        {"tokenizer.json": tokenizer([["a", -1.0], ["b", -2.0], ["c", -3.5]], (3, "<s>"))},
        {"tokenizer.json": tokenizer({"a": 0, "b": 1, "c": 2, "<s>": 3}, (3, "<s>"))},
        {"vocab.json": {"a": 0, "b": 1, "c": 2}, "added_tokens.json": {"<s>": 3}},
        {
            "tokenizer.json": tokenizer({"a": 0, "b": 1, "c": 2}),
            "tokenizer_config.json": {"added_tokens_decoder": {"3": {"content": "<s>"}}},
        },
    ],
)
def test_tokens_are_read_from_every_kind_of_file(files: dict[str, Any], tmp_path: Path) -> None:
    planned = plan(linear(model(tmp_path / "m", files), words=Vocabulary("base")))
    assert planned.alignment is not None
    assert dict(planned.alignment.ids) == {"a": 0, "b": 1, "c": 2, "<s>": 3}
    assert planned.alignment.count == 4  # the fifth row was padding


def test_a_tokenizer_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    recipe = linear(model(tmp_path / "m", PLAIN), words=Vocabulary("base"))
    assert plan(recipe).alignment.count == 4
    (tmp_path / "m" / "tokenizer.json").write_text(json.dumps(tokenizer({"a": 0, "longer": 1})))
    assert dict(plan(recipe).alignment.ids) == {"a": 0, "longer": 1}


def test_every_model_without_a_readable_tokenizer_is_named_at_once(tmp_path: Path) -> None:
    fine = model(tmp_path / "fine", PLAIN)
    none = model(tmp_path / "none", {})
    broken = model(tmp_path / "broken", {"tokenizer.json": {"model": 3}})
    odd = model(tmp_path / "odd", {"tokenizer.json": tokenizer({"a": -1})})
    with pytest.raises(FitError) as caught:
        plan(linear(fine, none, broken, odd, words=Vocabulary("union")))
    lines = [str(problem).removeprefix(str(tmp_path)) for problem in caught.value.problems]
    assert [line.split(" ")[0] for line in lines] == ["/none:", "/broken:", "/odd:"]
    assert "has no tokenizer.json" in lines[0]
    assert all("its tokenizer cannot be read" in line for line in lines[1:])


def test_without_a_word_on_tokens_no_tokenizer_is_read(tmp_path: Path) -> None:
    broken = model(tmp_path / "broken", {"tokenizer.json": {"model": 3}})
    planned = plan(Recipe("linear", linear(broken, words=Vocabulary()).slices))
    assert planned.alignment is None
    assert all(isinstance(given, Input) for step in planned.steps for given in step.inputs)


def test_models_of_one_vocabulary_stay_as_they_are(tmp_path: Path) -> None:
    a, b = (model(tmp_path / name, PLAIN, rows=4) for name in "ab")
    recipe = linear(a, b, words=Vocabulary("union"))
    plain = plan(Recipe("linear", recipe.slices))
    assert plan(recipe).steps == plain.steps
    padded = plan(linear(a, b, words=Vocabulary("union", pad_to_multiple_of=4)))
    assert padded.steps == plain.steps


def test_only_what_has_a_row_for_each_token_is_aligned(tmp_path: Path) -> None:
    """Three tensors stand outside the layers here; the final norm has as many values as there are tokens."""
    a = model(tmp_path / "a", PLAIN, rows=8)
    b = model(tmp_path / "b", {"tokenizer.json": tokenizer({"a": 0, "z": 1})}, rows=2)
    planned = plan(linear(a, b, words=Vocabulary("union")))
    aligned = {step.name: step for step in planned.steps if any(isinstance(one, Aligned) for one in step.inputs)}
    assert list(aligned) == ["model.embed_tokens.weight", "lm_head.weight"]
    assert {step.shape for step in aligned.values()} == {(5, 8)}
    assert not any(step.copies for step in aligned.values())
    assert aligned["lm_head.weight"].inputs[0].matrices == (Input(a, "lm_head.weight"), Input(b, "lm_head.weight"))


def test_a_tied_model_lends_its_embedding_and_borrows_from_heads_for_its_head(tmp_path: Path) -> None:
    tied = model(tmp_path / "tied", PLAIN, head=False)
    free = model(tmp_path / "free", {"tokenizer.json": tokenizer({"a": 0, "z": 1})}, rows=2)
    planned = plan(linear(tied, free, words=Vocabulary("union")))
    steps = {step.name: step for step in planned.steps}
    embedding, head = (Input(free, name) for name in ("model.embed_tokens.weight", "lm_head.weight"))
    own = Input(tied, "model.embed_tokens.weight")
    assert steps["model.embed_tokens.weight"].inputs[0].matrices == (own, embedding)
    assert steps["lm_head.weight"].inputs[0].matrices == (own, head)
    assert steps["lm_head.weight"].inputs[1].matrices == (head, own)


def test_a_model_that_gives_only_layers_or_only_a_tokenizer_takes_part(tmp_path: Path) -> None:
    a = model(tmp_path / "a", PLAIN, rows=4)
    b = model(tmp_path / "b", {"tokenizer.json": tokenizer({"a": 0, "z": 1})}, rows=2)
    one, two = Slice((Part(a, (0, 2)),)), Slice((Part(b, (1, 2)),))
    three = Slice((Part(a, (2, 3)),))
    planned = plan(Recipe("passthrough", (one, two, three), vocabulary=Vocabulary("union")))
    assert list(planned.alignment.ids) == ["a", "b", "c", "<s>", "z"]
    assert planned.steps[0].inputs[0].rows.lenders == (a, b)
    wide = model(tmp_path / "wide", {"tokenizer.json": tokenizer({"w": 1, "a": 0})}, rows=2, width=16)
    planned = plan(Recipe("passthrough", (one, three), vocabulary=Vocabulary(wide)))
    assert planned.alignment.home == wide
    assert dict(planned.alignment.ids) == {"w": 1, "a": 0}
    assert read(planned.steps[0].inputs[0].rows) == [[(a, 0)], []]  # w is only in a model whose rows do not fit
    other = model(tmp_path / "other", {"tokenizer.json": tokenizer({"w": 1, "a": 0})}, rows=2)
    weights = load_file(Path(other.path) / "model.safetensors")
    save_file(
        {name.replace("embed_tokens", "wte"): one for name, one in weights.items()}, other.path + "/model.safetensors"
    )
    planned = plan(Recipe("passthrough", (one, three), vocabulary=Vocabulary(other)))
    assert read(planned.steps[0].inputs[0].rows) == [[(a, 0)], []]


def test_a_stage_lends_the_vocabulary_that_it_was_given(tmp_path: Path) -> None:
    a = model(tmp_path / "a", PLAIN, rows=4)
    b = model(tmp_path / "b", {"tokenizer.json": tokenizer({"a": 0, "z": 1})}, rows=2)
    c = model(tmp_path / "c", {"tokenizer.json": tokenizer({"a": 0, "y": 1})}, rows=2)
    one = linear(a, b, words=Vocabulary("union"))
    first = Recipe("linear", one.slices, vocabulary=one.vocabulary, name="first")
    stage = Source("first")
    last = linear(stage, c, words=Vocabulary("union"))
    planned = plan(Recipe("linear", last.slices, vocabulary=last.vocabulary, stages=(first,)))
    assert list(planned.alignment.ids) == ["a", "b", "c", "<s>", "z", "y"]
    assert planned.alignment.home == stage
    assert read(planned.steps[0].inputs[0].rows)[4:] == [[(stage, 4)], [(c, 1)]]
    assert planned.steps[0].shape == (6, 8)
    # The stage alone, named by a stage that says nothing of tokens: its vocabulary goes along.
    second = Recipe("passthrough", (Slice((Part(stage),)),), name="second")
    again = linear(Source("second"), c, words=Vocabulary("union"))
    planned = plan(Recipe("linear", again.slices, vocabulary=again.vocabulary, stages=(first, second)))
    assert list(planned.alignment.ids) == ["a", "b", "c", "<s>", "z", "y"]
