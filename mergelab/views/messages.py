"""Messages: what the page asks of a workbench in so many words. Each is a verb of the workbench."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mergelab.errors import AssemblyError, Problem

if TYPE_CHECKING:
    from mergelab.views.workbench import Workbench

Said: TypeAlias = Mapping[str, Any]

_VERBS: Final[Mapping[str, Callable[[Workbench, Said], object]]] = {
    "stop": lambda bench, _: bench.stop(),
    "ask": lambda bench, _: bench.ask(),
    "undo": lambda bench, _: bench.undo(),
    "redo": lambda bench, _: bench.redo(),
    "keep": lambda bench, said: bench.keep(str(said["name"])),
    "show": lambda bench, said: bench.show(str(said["name"])),
    "drop": lambda bench, said: bench.drop(str(said["name"])),
    "restore": lambda bench, said: bench.restore(int(said["turn"]) if "turn" in said else str(said["name"])),
    "preset": lambda bench, said: bench.lay(str(said["name"]), dict(said["numbers"])),
    "widen": lambda bench, _: bench.widen(),
    # A model of the hub takes a while to open.
    "add": lambda bench, said: bench.later(f"add {said['source']}", partial(bench.add, str(said["source"]))),
    "blind": lambda bench, said: bench.blind(*map(str, said["names"])) if said["names"] else bench.end_blind(),
    "vote": lambda bench, said: bench.vote(str(said["column"])),
    "reveal": lambda bench, _: bench.reveal(),
}


def heed(bench: Workbench, said: Said) -> None:
    """Do what a message says.

    Raises:
        MergelabError, TraitError: it cannot be done, or means nothing; in words.
    """
    try:
        verb = _VERBS[said["type"]]
        verb(bench, said)
    except (KeyError, TypeError, ValueError) as error:
        raise AssemblyError(Problem("message", f"{dict(said)!r} means nothing ({error!r}).")) from error
