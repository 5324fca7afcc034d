"""What the texts of common licences ask of whoever passes a changed model on, in a sentence each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Licence:
    """What one licence asks.

    Attributes:
        asks: what whoever passes a changed model on has to do, as a sentence.
        kind: "free": any licence may stand over the whole as long as notices are kept; "same": the whole has to be
            under this licence; "own": its terms go along with the weights.
        commercial: the model may be put to commercial use.
        changes: a changed model may be passed on.
        family: whose terms they are, where several versions belong together.
        title: how the name of a changed model has to begin.
        rank: of two free ones, the one that asks more has the higher.
        takes: other licences that ask no more than this one.
        bars: free ones that ask what this one does not let anybody ask.
        listed: the hub has this id in its list; else it is written as "other" with a name.
    """

    asks: str
    kind: Literal["free", "same", "own"]
    commercial: bool = True
    changes: bool = True
    family: str = ""
    title: str = ""
    rank: int = 0
    takes: tuple[str, ...] = ()
    bars: tuple[str, ...] = ()
    listed: bool = True


_NOTICES = "Keep its copyright notices and its text."
_LGPL = ("lgpl", "lgpl-2.1", "lgpl-3.0")
_RAIL = "Pass its restrictions of use on with the weights, word for word."
_RESEARCH = "Research and other non-commercial use only; pass its text on."


def _llama(title: str, built: str) -> Licence:
    asks = (
        f"Pass a copy of the agreement and its acceptable use policy on, with its line in a file called Notice{built}. "
        "Above 700 million users a month it needs a licence from Meta."
    )
    return Licence(asks, "own", family="Llama", title=title)


TABLE: Mapping[str, Licence] = {
    **dict.fromkeys(("cc0-1.0", "unlicense", "wtfpl", "pddl"), Licence("Nothing.", "free")),
    **dict.fromkeys(
        ("mit", "isc", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "zlib", "ncsa", "postgresql",
            "afl-3.0", "bsl-1.0", "ms-pl", "openmdw-1.0"),
        Licence(_NOTICES, "free", rank=1),
    ),
    "apache-2.0": Licence("Keep its notices and its text, and state what was changed.", "free", rank=2),
    **dict.fromkeys(_LGPL, Licence("Put the changed model under the same licence.", "same")),
    "gpl": Licence("Put the whole under the same licence.", "same", takes=_LGPL),
    "gpl-2.0": Licence("Put the whole under the same licence.", "same", takes=_LGPL, bars=("apache-2.0",)),
    "gpl-3.0": Licence("Put the whole under the same licence.", "same", takes=_LGPL),
    "agpl-3.0": Licence(
        "Put the whole under the same licence, where it is only served over a network too.", "same",
        takes=("gpl-3.0", "lgpl-3.0"),
    ),
    "llama2": _llama("", ""),
    "llama3": _llama("Llama 3", ", and show 'Built with Meta Llama 3'"),
    **dict.fromkeys(
        ("llama3.1", "llama3.2", "llama3.3", "llama4"), _llama("Llama", ", and show 'Built with Llama'")
    ),
    "gemma": Licence("Pass the Gemma Terms of Use and its Prohibited Use Policy on, and say what was changed.", "own",
        family="Gemma"),
    **dict.fromkeys(
        ("openrail", "openrail++", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0",
            "bigcode-openrail-m"),
        Licence(_RAIL, "own"),
    ),
    **dict.fromkeys(("deepseek", "deepseek-license"), Licence(_RAIL, "own", family="DeepSeek", listed=False)),
    **dict.fromkeys(
        ("qwen", "qwen-license", "tongyi-qianwen"),
        Licence("Pass its text on and keep its notice; it limits large commercial use.", "own", family="Qwen",
            listed=False),
    ),
    **dict.fromkeys(
        ("qwen-research", "qwen-research-license", "tongyi-qianwen-research", "mrl", "mnpl",
            "microsoft-research-license"),
        Licence(_RESEARCH, "own", commercial=False, listed=False),
    ),
    **dict.fromkeys(
        ("apple-amlr", "h-research", "intel-research", "fair-noncommercial-research-license"),
        Licence(_RESEARCH, "own", commercial=False),
    ),
    "falcon-180b-license": Licence("Pass its text on; it limits hosting for others.", "own", listed=False),
}  # fmt: skip
_CREATIVE = re.compile(r"cc-by(?P<nc>-nc)?(?P<how>-sa|-nd)?(?P<version>-\d\.\d)?")


def known(licence: str) -> Licence | None:
    """What a licence asks, by its id on the hub or its usual name in small letters; None: it is not in the table."""
    found = _CREATIVE.fullmatch(licence)
    if found is None:
        return TABLE.get(licence)
    alike, fixed = found["how"] == "-sa", found["how"] == "-nd"
    asks = ["Name the authors", "link the licence", "say what was changed"]
    asks += ["put the merge under the same licence"] * alike + ["make no money with it"] * bool(found["nc"])
    sentence = f"{', '.join(asks[:-1])} and {asks[-1]}."
    return Licence(
        "Nothing made from it may be passed on." if fixed else sentence,
        "same" if alike else "own" if found["nc"] or fixed else "free",
        commercial=not found["nc"],
        changes=not fixed,
        rank=3,
        takes=(f"cc-by-nc{found['version'] or ''}",) if alike and found["nc"] else (),
        listed=found["version"] is not None,
    )
