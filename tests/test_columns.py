"""Tables and figures in words."""

from __future__ import annotations

import pytest

from mergelab.columns import Table, in_bytes, in_count


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (1_640_000, "1.64 MB"), (235_500_000_000, "236 GB")],
)  # fmt: skip
def test_bytes(count: int, text: str) -> None:
    assert in_bytes(count) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0"), (999, "999"), (260_032, "260 k"), (8_030_261_248, "8.03 B")])
def test_counts(count: int, text: str) -> None:
    assert in_count(count) == text


def test_a_table_as_text_leaves_empty_columns_out() -> None:
    table = Table(("a", "b", "c"), ((1, "", "x"), (22, "", "")), "Title")
    assert str(table) == "Title\n\na   c\n--  -\n1   x\n22"


def test_a_table_in_a_notebook_escapes_every_word() -> None:
    shown = Table(("<h>", "empty"), (("<i>&", ""),), "<t>")._repr_html_()
    assert "&lt;h&gt;" in shown
    assert "&lt;i&gt;&amp;" in shown
    assert "&lt;t&gt;" in shown
    assert "empty" not in shown
    assert "<i>" not in shown


def test_a_title_is_as_wide_as_it_wants() -> None:
    shown = Table(
        ("a", "b"), ((1, 2),), "A sentence that is much wider than two columns of one figure each"
    )._repr_html_()
    assert shown.startswith("<p>A sentence that is")
    assert shown.index("</p>") < shown.index("<table>")
    assert "<p>" not in Table(("a",), ((1,),))._repr_html_()


def test_paragraphs_below_a_table_are_wrapped_in_text_and_escaped_in_a_notebook() -> None:
    table = Table(("a",), ((1,),), "Title", ("<b> " * 30, "short"))
    head, _, text = str(table).partition("1\n\n")
    assert head == "Title\n\na\n-\n"
    assert text.split() == ["<b>"] * 30 + ["short"]
    assert [len(line) for line in text.splitlines()] == [99, 2 + 4 * 5 - 1, 5]
    assert f"</table><p>{'&lt;b&gt; ' * 30}</p><p>short</p>" in table._repr_html_()
