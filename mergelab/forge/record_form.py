"""The form of ``mergelab.json``: what has to be where, so that those who read it need not ask.

A form is a type; a list of one form, for any number of values; a tuple of forms, for as many; a table of forms, where
``*`` means any name; Perhaps, for nothing or that; or FILES.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Any


@dataclass(frozen=True)
class Perhaps:
    """None, or of this form."""

    form: object


@dataclass(frozen=True)
class _Files:
    """A table of SHA-256 by the names of files within a folder, at any depth: whoever reads a record looks at no other
    file, whatever it says.
    """


FILES = _Files()
_TEXT = Perhaps(str)
_HOME = (str, Perhaps(int))
_PLACE: dict[str, object] = {
    "address": str, "path": str, "hub": bool, "revision": _TEXT, "commit": _TEXT, "licences": [str],
    "licence link": _TEXT, "ancestors": [str], "files": FILES,
}  # fmt: skip
_FORM: dict[str, object] = {
    "format": int,
    "versions": {"*": str},
    "recipe": {"fingerprint": str, "sha256": str, "yaml": str},
    "model": {"layers": int, "parameters": int, "bytes": int, "dtype": str, "config": str, "vocabulary": Perhaps(dict),
        "methods": [str], "seeds": {"*": int}, "device": str},
    "sources": [{**_PLACE, "adapter": Perhaps({**_PLACE, "trained on": _TEXT})}],
    "licence": {
        "line": Perhaps({"licence": str, "name": _TEXT, "link": _TEXT}),
        "duties": {"*": str},
        "findings": [{"grade": str, "about": str, "what": str, "evidence": str, "remedy": str}],
    },
    "made": [{"stage": _TEXT, "place": object, "method": str, "from": [_HOME], "base": Perhaps(_HOME), "home": _HOME,
        "numbers": {"*": str}}],
    "tensors": {"*": str},
    "files": FILES,
    "proof": Perhaps({"holds": bool, "checks": [{"name": str, "holds": bool, "said": str}]}),
}  # fmt: skip


def misfits(record: object) -> list[str]:
    """What is missing in a record, or is of another kind than it has to be."""
    return list(_misfits(record, _FORM, ""))


def contradictions(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What in a record of this form cannot be true, whatever was merged: where, and what is the matter."""
    proof, recipe = record["proof"] or {"holds": True, "checks": []}, ("fingerprint", "sha256", "yaml")
    checks = proof["checks"]
    for place, table, keys in [
        ("", record, _FORM), ("recipe.", record["recipe"], recipe), ("proof.", proof, ("holds", "checks")),
        *((f"proof.checks[{at}].", one, ("name", "holds", "said")) for at, one in enumerate(checks)),
    ]:  # fmt: skip
        for name in table:
            if name not in keys:
                yield f"{place}{name}", "is nothing that mergelab writes."
    if proof["holds"] != all(one["holds"] for one in checks):
        broken = ", ".join(one["name"] for one in checks if not one["holds"]) or "none"
        yield "proof", f"says that it {'holds' if proof['holds'] else 'fails'}; checks of it that fail: {broken}."


def _misfits(found: object, form: object, place: str) -> Iterator[str]:
    match form:
        case Perhaps():
            if found is not None:
                yield from _misfits(found, form.form, place)
        case _Files():
            yield from _in_table(found, {"*": str}, place)
            for name in found if isinstance(found, dict) else ():
                path = PureWindowsPath(name)  # which knows every mark by which a name can lead elsewhere
                if path.anchor or ".." in path.parts:
                    yield f"{place} names {json.dumps(name)[:60]}, which leads out of the folder"
        case dict():
            yield from _in_table(found, form, place)
        case list() | tuple():
            yield from _in_list(found, form, place)
        case type():
            if not isinstance(found, form) or (form is int and isinstance(found, bool)):
                yield f"{place} is {json.dumps(found)[:60]}"


def _in_table(found: object, form: dict[str, object], place: str) -> Iterator[str]:
    if not isinstance(found, dict):
        yield f"{place or 'all of it'} is no table"
        return
    for name, inner in form.items():
        if name == "*":
            for key, value in found.items():
                yield from _misfits(value, inner, f"{place}[{key!r}]")
        elif name not in found:
            yield f"{place}{'.' * bool(place)}{name} is missing"
        else:
            yield from _misfits(found[name], inner, f"{place}{'.' * bool(place)}{name}")


def _in_list(found: object, form: list[object] | tuple[object, ...], place: str) -> Iterator[str]:
    if not isinstance(found, list) or (isinstance(form, tuple) and len(found) != len(form)):
        yield f"{place} is no list{f' of {len(form)}' if isinstance(form, tuple) else ''}"
        return
    forms = form if isinstance(form, tuple) else form * len(found)
    for at, (value, inner) in enumerate(zip(found, forms, strict=True)):
        yield from _misfits(value, inner, f"{place}[{at}]")
