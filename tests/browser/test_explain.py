"""The explainer under a real pointer and a real keyboard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from mergelab.views.explain import Explain
from tests.browser.conftest import Watched
from tests.browser.harness import hosting


@pytest.fixture
def shown(watched: Watched) -> Iterator[tuple[Page, Explain]]:
    """An explainer on a page; afterwards nothing may have gone wrong or left the machine."""
    with hosting() as host:
        widget = Explain()
        host.add("explain", widget)
        watched.page.goto(host.address)
        watched.page.wait_for_function("window.ready")
        watched.page.evaluate("show('explain')")
        yield watched.page, widget
        widget.close()
    assert watched.errors == []
    assert watched.strays == []


def test_a_slider_changes_the_steps(shown: tuple[Page, Explain]) -> None:
    page, widget = shown
    trim = page.get_by_role("img", name="trim.")
    before = trim.get_attribute("aria-label")
    slider = page.get_by_label("density of B")
    slider.focus()
    page.keyboard.press("End")
    expect(page.locator("label", has=slider).locator("output")).to_have_text("1")
    expect(trim).not_to_have_attribute("aria-label", str(before))
    assert widget.numbers["density"] == [0.5, 1.0, 0.5]
    box = slider.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 7, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 2, box["y"] + box["height"] / 2, steps=15)
    page.mouse.up()
    expect(page.get_by_role("img", name="trim. A")).to_have_attribute("aria-label", text_of("B", widget, [0.0] * 10))
    assert widget.numbers["density"] == [0.5, 0.0, 0.5]


def text_of(name: str, widget: Explain, values: list[float]) -> object:
    import re

    return re.compile(f"{name}: {', '.join(f'{value:g}' for value in values)};")


def test_another_method_brings_its_own_dials(shown: tuple[Page, Explain]) -> None:
    page, widget = shown
    page.get_by_label("Method", exact=True).select_option("lines")
    expect(page.get_by_label("depth")).to_be_visible()
    expect(page.get_by_label("density of A")).to_have_count(0)
    assert widget.numbers == {"weight": [1.0] * 3}
    page.get_by_label("depth").fill("1")
    expect(page.get_by_role("img", name="scale. merged")).to_be_visible()
    page.get_by_label("Method", exact=True).select_option("dare_ties")
    page.get_by_label("rescale_by").select_option("probability")
    page.get_by_label("normalize").check()
    expect(page.get_by_role("img", name="disjoint mean. merged")).to_be_visible()
    assert widget.numbers["rescale_by"] == "probability"
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_label("normalize")).not_to_be_checked()


def test_what_cannot_be_is_said_and_the_picture_stays(shown: tuple[Page, Explain]) -> None:
    page, widget = shown
    page.get_by_label("Method", exact=True).select_option("linear")
    expect(page.get_by_label("weight of C")).to_be_visible()
    for name in "ABC":
        page.get_by_label(f"weight of {name}").fill("0")
    expect(page.get_by_role("alert")).to_contain_text("the weights sum to zero")
    expect(page.locator(".ml-stage")).to_have_count(2)
    page.get_by_label("weight of A").fill("0.5")
    expect(page.get_by_role("alert")).to_be_hidden()
    assert widget.numbers["weight"] == [0.5, 0.0, 0.0]


def test_python_turns_the_dials_too(shown: tuple[Page, Explain]) -> None:
    page, widget = shown
    widget.method = "iso_c"
    expect(page.get_by_role("img", name="flatten spectrum. merged")).to_be_visible()
    expect(page.get_by_label("Method", exact=True)).to_have_value("iso_c")
    widget.numbers = {"lambda": 0.25}
    expect(page.get_by_label("lambda")).to_have_value("0.25")


def test_two_views_of_one_explainer_show_the_same(shown: tuple[Page, Explain]) -> None:
    page, _ = shown
    page.evaluate("show('explain')")
    page.get_by_label("Method", exact=True).first.select_option("knots")
    expect(page.get_by_role("img", name="rebuild. merged")).to_have_count(2)
