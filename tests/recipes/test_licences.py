"""Licences: what parents ask together, which of them clash, and which line the merge may bear."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergelab.recipes.card import Card
from mergelab.recipes.licence_table import TABLE, known
from mergelab.recipes.licences import Line, Parent, Terms, terms

CREATIVE = [
    f"cc-by{money}{how}-4.0" for money in ("", "-nc") for how in ("", "-sa", "-nd")
]  # fmt: skip
IDS = [*TABLE, *CREATIVE, "made-up-1.0"]


def of(*licences: str, hub: bool = True, bases: tuple[str, ...] = (), link: str | None = None) -> Terms:
    """Terms of models a, b, c ... with one licence each; an empty one is none."""
    return terms(
        [
            Parent("abcdefgh"[at], f"org/{'abcdefgh'[at]}", hub, Card((one,) if one else (), link, bases))
            for at, one in enumerate(licences)
        ]
    )


def found(of: Terms) -> list[tuple[str, str]]:
    return [(one.grade, one.what) for one in of.findings]


@pytest.mark.parametrize(
    ("parents", "line"),
    [
        (("mit", "mit"), "mit"), (("mit", "apache-2.0"), "apache-2.0"), (("cc0-1.0", "isc"), "isc"),
        (("apache-2.0", "cc-by-4.0", "mit"), "cc-by-4.0"), (("llama3", "mit"), "llama3"),
        (("Apache-2.0",), "apache-2.0"),
        (("gemma", "apache-2.0"), "gemma"), (("cc-by-nc-4.0", "apache-2.0"), "cc-by-nc-4.0"),
        (("cc-by-sa-4.0", "mit"), "cc-by-sa-4.0"), (("cc-by-nc-sa-4.0", "cc-by-nc-4.0"), "cc-by-nc-sa-4.0"),
        (("gpl-3.0", "apache-2.0", "lgpl-3.0"), "gpl-3.0"), (("agpl-3.0", "gpl-3.0"), "agpl-3.0"),
        (("llama3.1", "llama3.1"), "llama3.1"),
        (("GPL-3.0", "gpl-3.0"), "gpl-3.0"), (("LLAMA3.1", "llama3.1"), "llama3.1"), (("Llama3", "mit"), "llama3"),
        (("Apache-2.0", "apache-2.0"), "apache-2.0"), (("gpl", "apache-2.0"), "gpl"),
    ],
)  # fmt: skip
def test_the_strictest_stands_over_the_whole_where_it_holds_the_others(parents: tuple[str, ...], line: str) -> None:
    for order in permutations(parents):
        assert of(*order).line == Line(line)
        assert "they clash" not in [what for _, what in found(of(*order))]


@pytest.mark.parametrize(
    ("parents", "name"),
    [
        (("llama3.1", "gemma"), "llama3.1-and-gemma"), (("llama3.1", "cc-by-nc-4.0"), "llama3.1-and-cc-by-nc-4.0"),
        (("qwen-research", "apache-2.0"), "qwen-research"), (("My Licence: v2!", "mit"), "my-licence-v2"),
        (("made-up-1.0", "gemma"), "made-up-1.0-and-gemma"), (("cc-by",), "cc-by"), (("\n---\n",), "unnamed"),
    ],
)  # fmt: skip
def test_what_the_hub_has_no_id_for_is_named(parents: tuple[str, ...], name: str) -> None:
    assert of(*parents).line == Line("other", name)


def test_the_place_of_the_terms_goes_along() -> None:
    made = of("qwen-research", "qwen-research", link="https://x.example/LICENSE")
    assert made.line == Line("other", "qwen-research", "https://x.example/LICENSE")
    assert ("note", "licence link") not in found(made)
    assert of("qwen-research", "gemma", link="https://x.example").line == Line("other", "qwen-research-and-gemma")
    assert str(Line("other", "qwen-research")) == "qwen-research"
    assert str(Line("mit")) == "mit"


@pytest.mark.parametrize("link", ["LICENSE", "javascript:alert(1)", "http://a\n---\nlicense: mit", "https://"])
def test_a_link_that_leads_nowhere_is_left_out_and_said(link: str) -> None:
    made = of("my-own", "mit", link=link)
    assert made.line == Line("other", "my-own")
    assert [(one.about, one.evidence) for one in made.findings if one.what == "licence link"] == [("a", link)]
    assert ("note", "licence link") not in found(of("mit", link=link)), "its card has no place for it"


def test_a_licence_is_the_same_in_capitals() -> None:
    assert found(of("Apache-2.0", "apache-2.0")) == found(of("mit", "MIT")) == []
    assert found(of("Mine", "mine")) == [("note", "unknown licence")]
    assert found(of("Other")) == [("warning", "licence")]


@pytest.mark.parametrize("unknown", ["made-up-1.0", "Mine"])
def test_an_unknown_licence_beside_one_that_wants_the_whole_is_a_doubt(unknown: str) -> None:
    for pair in permutations(("gpl-3.0", unknown)):
        made = of(*pair)
        assert made.line is None
        assert ("warning", "they may clash") in found(made)
        assert ("warning", "they clash") not in found(made)
    assert of("gemma", unknown).line is not None
    assert of(unknown, "made-up-2.0").line is not None


@pytest.mark.parametrize(
    "parents",
    [
        ("gpl-2.0", "apache-2.0"), ("gpl-2.0", "apache-2.0", "cc-by-4.0"),
        ("cc-by-sa-4.0", "llama3.1"), ("gpl-3.0", "gemma"), ("cc-by-sa-4.0", "cc-by-nc-4.0"), ("gpl-2.0", "gpl-3.0"),
        ("cc-by-nc-sa-4.0", "cc-by-sa-4.0"), ("cc-by-nc-sa-4.0", "llama3.1", "mit"),
    ],
)  # fmt: skip
def test_those_that_cannot_both_be_kept_clash_and_no_line_is_true(parents: tuple[str, ...]) -> None:
    for order in permutations(parents):
        made = of(*order)
        assert made.line is None
        assert ("warning", "they clash") in found(made)
    clash = next(one for one in of(*parents).findings if one.what == "they clash")
    assert "mit" not in clash.evidence
    assert "whole merge under that licence" in clash.evidence


def test_none_is_no_permission_and_graver_for_a_model_of_somebody_else() -> None:
    for empty in ("", "other", "unknown", "none"):
        assert of("mit", empty).line is None
        assert found(of("mit", empty)) == [("warning", "licence")]
    assert found(of("", hub=False)) == [("note", "licence")]
    assert found(of("other", hub=False)) == [("warning", "licence")]
    silent = of("", "mit", "").findings[0]
    assert (silent.about, silent.evidence) == ("a, c", "none stated")
    assert silent.remedy.startswith("No licence is no permission")
    assert of("other").findings[0].evidence == "none stated but 'other'"


def test_no_derivatives_means_no_merge_to_publish() -> None:
    made = of("cc-by-nd-4.0", "mit")
    fixed = made.findings[0]
    assert (fixed.grade, fixed.about, fixed.what, fixed.evidence) == (
        "warning", "a", "forbids to publish the merge",
        "a cc-by-nd-4.0: nothing that is made from it may be passed on",
    )  # fmt: skip
    assert fixed.remedy.startswith("The merge cannot be published")
    assert made.line is None
    assert of("cc-by-nd-4.0").line is of("cc-by-nc-nd-4.0", "cc-by-nc-4.0").line is None
    assert "forbids to publish the merge" not in [what for _, what in found(of("cc-by-sa-4.0"))]


def test_non_commercial_reaches_the_whole() -> None:
    assert ("warning", "non-commercial") in found(of("cc-by-nc-4.0", "llama3.1"))
    assert ("note", "non-commercial") in found(of("cc-by-nc-4.0", "qwen-research"))
    assert "non-commercial" not in [what for _, what in found(of("gemma", "llama3.1"))]


def test_llamas_among_others_and_the_name_of_the_merge() -> None:
    assert ("warning", "Llama among others") in found(of("llama3", "deepseek"))
    assert "Llama among others" not in [what for _, what in found(of("llama3", "llama3.1"))]
    assert "Llama among others" not in [what for _, what in found(of("llama3.1", "mit"))]
    remedies = {one.evidence: one.remedy for one in of("llama3", "llama3.1", "gemma").findings if one.what == "terms"}
    assert remedies["llama3"].endswith("Its name has to begin with 'Llama 3'.")
    assert remedies["llama3.1"].endswith("Its name has to begin with 'Llama'.")
    assert "Prohibited Use Policy" in remedies["gemma"]
    assert "name has to begin" not in remedies["gemma"]


@pytest.mark.parametrize(
    ("licence", "base", "family"),
    [
        ("apache-2.0", "meta-llama/Meta-Llama-3-8B", "Llama"), ("llama3", "meta-llama/Meta-Llama-3-8B", ""),
        ("mit", "google/gemma-2-9b-it", "Gemma"), ("mit", "google/gemma-7b", "Gemma"), ("gemma", "google/gemma-7b", ""),
        ("apache-2.0", "google/gemma-4-E2B", ""), ("apache-2.0", "Qwen/Qwen3-8B", ""), ("mit", "me/meta-llama", ""),
    ],
)  # fmt: skip
def test_a_card_cannot_lift_the_terms_of_its_base(licence: str, base: str, family: str) -> None:
    made = of(licence, bases=(base,))
    told = [one for one in made.findings if one.what == "licence of its base"]
    assert (made.line is None) == bool(family)
    assert [one.evidence for one in told] == [f"its card says {licence}, and that it comes from {base}"] * bool(family)
    assert all(f"terms of {family} reach" in one.remedy for one in told)


def test_a_model_whose_name_says_what_it_is_made_from() -> None:
    def distilled(*licences: str) -> Terms:
        return terms([Parent("r1", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", True, Card(licences))])

    (told,) = distilled("mit").findings
    assert distilled("mit").line is None
    assert (told.what, told.evidence) == ("licence of its base", "its card says mit, and it is made from Llama")
    assert "licence of its base" not in [what for _, what in found(distilled("mit", "llama3.1"))]
    assert [what for _, what in found(distilled())] == ["licence"]


def test_what_the_table_does_not_have_is_said() -> None:
    assert found(of("made-up-1.0")) == [("note", "unknown licence")]
    assert found(of("made-up-1.0", "mit")) == [("note", "they differ"), ("note", "unknown licence")]
    assert known("made-up-1.0") is None
    assert known("cc-by-nc-99") is None


def test_duties_are_listed_once_for_each_licence() -> None:
    made = of("mit", "llama3.1", "mit", "made-up-1.0")
    assert list(made.duties) == ["mit", "llama3.1"]
    assert "Built with Llama" in made.duties["llama3.1"]
    asks = known("cc-by-nc-sa-4.0")
    assert asks is not None
    assert asks.asks == (
        "Name the authors, link the licence, say what was changed, put the merge under the same licence and make no "
        "money with it."
    )


def test_two_licences_of_one_card_both_count() -> None:
    made = terms([Parent("a", "org/a", True, Card(("mit", "cc-by-nc-4.0")))])
    assert made.line == Line("cc-by-nc-4.0")
    assert made.findings[0].evidence == "a cc-by-nc-4.0"
    assert made.findings[1].evidence == "a mit + cc-by-nc-4.0"


@given(st.lists(st.sampled_from(IDS), min_size=1, max_size=4))
def test_laws(licences: list[str]) -> None:
    made = of(*licences)
    untrue = ("they clash", "they may clash", "forbids to publish the merge")
    clash = any(what in untrue for _, what in found(made))
    assert (made.line is None) == clash
    grades = [one.grade for one in made.findings]
    assert "error" not in grades  # nothing is refused: a merge on one's own disk is no publication
    for order in permutations(licences):
        again = of(*order)
        assert (again.line is None) == clash
        assert sorted(found(again)) == sorted(found(made))
    if len(dict.fromkeys(licences)) == 1:
        assert "they clash" not in [what for _, what in found(made)]
        assert "they differ" not in [what for _, what in found(made)]
    if made.line is not None and made.line.licence != "other":
        # The line asks no less than any parent: in kind, in money, in changes.
        over = known(made.line.licence)
        assert over is not None
        for one in map(known, licences):
            assert one is not None
            assert over.commercial <= one.commercial
            assert over.kind != "free" or one.kind == "free"
    for one in made.findings:
        assert one.remedy.endswith((".", "'."))
