"""The methods in words: a table of all of them, and a page for each, made from what their functions declare.

``python -m mergelab.methods.handbook README.md`` writes the table between the marks of that file anew.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mergelab.columns import Table
from mergelab.methods.parameters import Parameter, Required
from mergelab.methods.registry import Method, get, names

HEADING = ("method", "base", "models", "numbers", "what it does", "from")
BEGIN, END = "<!-- methods -->", "<!-- /methods -->"


def handbook() -> Table:
    """All methods, one in a row, without the numbers that have no effect."""
    rows = (
        (name, _base(found), _models(found), _numbers(found), _sentence(found), source(found))
        for name, found in ((name, get(name)) for name in names())
    )
    return Table(HEADING, tuple(rows))


def index() -> Table:
    """The same in a few columns, for a terminal."""
    return Table(
        ("method", "base", "models", "what it does"),
        tuple((name, base, models, sentence) for name, base, models, _, sentence, _ in handbook().rows),
    )


def page(method: Method) -> str:
    """One method in full: its docstring, and its numbers with ranges and defaults."""
    doc = re.split(r"^Args:$", method.doc, maxsplit=1, flags=re.MULTILINE)[0].rstrip()
    rows = tuple(
        (one.name, "per model" if one.per_model else "", _range(one), _default(one), one.doc)
        for one in method.parameters.values()
    )
    numbers = Table(("number", "", "range", "default", "meaning"), rows)
    needs = f"Base model: {_base(method)}. Models{_besides(method)}: {_models(method)}."
    return f"{method.name}\n\n{doc}\n\n{needs}" + (f"\n\n{numbers}" if rows else "")


def markdown() -> str:
    """The table for a README, marks included. Numbers with their defaults; a star marks those per model."""
    lines = ["| " + " | ".join(HEADING) + " |", "|" + " --- |" * len(HEADING)]
    for name, base, models, numbers, sentence, origin in handbook().rows:
        listed = ", ".join(f"`{number}`" for number in str(numbers).split(", ") if number)
        lines.append("| " + " | ".join(map(str, (f"`{name}`", base, models, listed, sentence, origin))) + " |")
    return "\n".join([BEGIN, *lines, END])


def refreshed(text: str) -> str:
    """``text`` with the table between its marks as it is now.

    Raises:
        ValueError: the marks are not there, once each.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the text does not have {BEGIN} and {END} once each")
    before, rest = text.split(BEGIN)
    return before + markdown() + rest.split(END)[1]


def source(method: Method) -> str:
    """Where a method comes from, as its docstring says: the papers, or the year of a talk, or mergekit."""
    papers = dict.fromkeys(re.findall(r"arXiv:\d{4}\.\d{5}", method.doc))
    years = re.findall(r"\(((?:[A-Z]+ )?[12]\d{3})\)", method.doc)
    return ", ".join(papers) or ", ".join(years[:1]) or ("mergekit" if "no paper" in method.doc else "")


def _base(method: Method) -> str:
    return {"required": "needed", "optional": "may have one", "none": "none"}[method.base]


def _besides(method: Method) -> str:
    return "" if method.base == "none" else " besides it"


def _models(method: Method) -> str:
    fewest, most = method.inputs
    if most is None:
        return f"{fewest} or more"
    return str(fewest) if fewest == most else f"{fewest} to {most}"


def _numbers(method: Method) -> str:
    return ", ".join(
        f"{one.name}{'*' if one.per_model else ''}{'' if isinstance(one.default, Required) else f' = {_default(one)}'}"
        for one in method.parameters.values()
        if one.effect
    )


def _sentence(method: Method) -> str:
    """The summary without the name in front of it."""
    words = method.summary.split(": ", 1)[-1]
    return words[0].upper() + words[1:]


def _default(parameter: Parameter) -> str:
    if isinstance(parameter.default, Required):
        return "must be given"
    if parameter.default is None:
        return "of its own"
    return _word(parameter.default)


def _range(parameter: Parameter) -> str:
    if parameter.kind is bool:
        return "true or false"
    if parameter.choices:
        return " or ".join(parameter.choices)
    return parameter.expects.removeprefix("Give ").rstrip(".")


def _word(value: float | bool | str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else f"{value:g}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(refreshed(path.read_text(encoding="utf-8")), encoding="utf-8")
