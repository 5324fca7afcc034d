"""Visible: what others wrote, with all that steers it: a name cannot turn around the sentence it stands in."""

from __future__ import annotations

import re
from typing import Final

# Control characters but tab and line feed, marks that change the direction of what follows, halves of characters.
_UNSEEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""``text`` with what steers and is not seen written out: ``"\u202e"``; tabs, line feeds and all letters stay."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """A name as it is shown: visible, and on one line."""
    return " ".join(visible(text).split())
