"""Merging: a merge on its way to disk, on a thread of its own, with its progress and a button that stops it."""

from __future__ import annotations

import html
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import Dict

from mergelab.columns import in_bytes
from mergelab.errors import MergelabError, OutputError, Problem
from mergelab.forge.merge import merge
from mergelab.forge.provenance import FILE, read_record
from mergelab.models.speak import Stopped
from mergelab.models.worker import Worker
from mergelab.recipes.plan import Plan, plan
from mergelab.recipes.recipe import Recipe
from mergelab.views._base import LabWidget, bundle, log

if TYPE_CHECKING:
    import torch

    from mergelab.models.progress import Progress

PAUSE = 1 / 10  # seconds between two messages of progress
_WORDS = {
    "starting": "Getting ready",
    "checking": "Checking what an earlier run has finished",
    "writing": "Writing",
    "proving": "Proving",
    "done": "Written",
    "stopped": "Stopped",
    "failed": "Not written",
}


class Merging(LabWidget):
    """Write a merge to a folder while the notebook goes on: cells run, live models answer, and a button stops it.

    ::

        merging = ml.Merging(recipe, "merged")   # or ml.Merging(bench.recipe, "merged")
        merging                                  # shows how far it is
        merging.wait()                           # the folder, once it stands

    Attributes:
        out: the folder to be.
        error: why it was not written, in words, or empty.
    """

    _esm = bundle("merging.js")
    _css = bundle("merging.css")

    _shown: Any = Dict(help="how far it is, in plain JSON").tag(sync=True)

    def __init__(
        self,
        recipe: Recipe | Plan | str | os.PathLike[str],
        out: str | os.PathLike[str],
        *,
        force: bool = False,
        device: str | torch.device = "cpu",
        shard_bytes: int = 5_000_000_000,
        prove: bool | None = None,
    ) -> None:
        """Begin at once. Arguments as for ``ml.merge``.

        Raises:
            MergelabError: the recipe cannot be planned. What goes wrong later is in ``error``, and raised by ``wait``.
        """
        planned = recipe if isinstance(recipe, Plan) else plan(recipe)
        self.out = Path(out).expanduser().absolute()
        self._halt = threading.Event()
        self._raised: BaseException | None = None
        self._folder: Path | None = None
        self._told = 0.0
        super().__init__()
        self.on_msg(self._hear)
        self._show("starting", bytes=in_bytes(planned.bytes), recipe=planned.recipe.fingerprint)

        def work() -> None:
            try:
                self._folder = merge(
                    planned,
                    self.out,
                    force=force,
                    device=device,
                    shard_bytes=shard_bytes,
                    prove=prove,
                    progress=self._tell,
                    stop=self._halt.is_set,
                )
                self._show("done", share=1.0, left="", **_verdict(self._folder))
            except Stopped as error:
                self._raised = error
                self._show("stopped", left="", remark=" ".join(getattr(error, "__notes__", ())))
            except Exception as error:  # noqa: BLE001 - of a thread nobody sees it: ``wait`` raises it again
                self._raised = error
                if not isinstance(error, MergelabError):
                    log.exception("a merge failed")
                notes = getattr(error, "__notes__", ())
                self._show("failed", error="\n".join([_said(error), *notes]), left="", remark="")

        self._thread = Worker(work, "mergelab-merging", self._forgotten, patience=None)
        self._thread.start()

    @property
    def state(self) -> str:
        """One of "starting", "writing", "proving", "done", "stopped" and "failed"."""
        return str(self._shown["state"])

    def stop(self) -> None:
        """Stop it. The folder then is as it was before; shards that were finished stay beside it, for a next time."""
        self._halt.set()

    def wait(self, timeout: float | None = None) -> Path:
        """Wait for the folder. An interrupt stops the merge.

        Raises:
            MergelabError: why it was not written.
            Stopped: it was stopped.
            TimeoutError: ``timeout`` seconds were not enough; the merge goes on.
        """
        try:
            self._thread.join(timeout)
        except KeyboardInterrupt:
            self.stop()
            self._thread.join()
            raise
        if self._thread.is_alive():
            raise TimeoutError(f"{self.out} is not written yet: {self._shown['words']}.")
        if self._raised is not None:
            raise self._raised
        if self._folder is None:
            raise OutputError(Problem(str(self.out), "the merge ended without a folder.", "Merge again."))
        return self._folder

    def close(self) -> None:
        """Stop what is not written yet, and close the widget."""
        if not self._closed:
            self.stop()
            self._thread.join()
        super().close()

    def _forgotten(self) -> None:
        """The program ends: stop, and say so where nobody looks at a widget."""
        stopped = self._halt.is_set()
        self.stop()
        self._thread.join()
        if isinstance(self._raised, Stopped) and not stopped:
            said = f"{self.out} is not written: the program ended before the merge. wait() waits for it."
            sys.stderr.write(f"{said} {self._shown['remark']}".strip() + "\n")

    def still(self) -> str:
        """How far it is, as HTML without scripts."""
        shown = self._shown
        lines = [f"<b>{html.escape(shown['words'])}</b> <code>{html.escape(shown['out'])}</code>"]
        lines += [html.escape(shown[key]) for key in ("detail", "left", "remark", "verdict") if shown[key]]
        lines += [f"<pre>{html.escape(shown['error'])}</pre>"] if shown["error"] else []
        body = "<br>".join(lines)
        return f'<div class="mergelab-still" style="font:13px/1.45 system-ui,sans-serif;max-width:760px">{body}</div>'

    def __repr__(self) -> str:
        more = ", ".join(filter(None, (self._shown["detail"], self._shown["left"])))
        return f"<Merging into {self.out}: {self._shown['words'].lower()}{more and f', {more}'}>"

    def _hear(self, _widget: object, content: object, _buffers: object) -> None:
        if isinstance(content, dict) and content.get("type") == "stop":
            self.stop()

    def _tell(self, now: Progress) -> None:
        at = time.monotonic()
        if now.stage == self.state and not now.remark and at - self._told < PAUSE and now.done < now.total:
            return
        self._told = at
        remark = {"remark": now.remark} if now.remark else {}
        detail = f"{in_bytes(now.done)} of {in_bytes(now.total)}"
        if now.rate:
            detail += f", {in_bytes(round(now.rate))} a second"
        share = now.done / now.total if now.total else 1.0
        if now.stage in ("checking", "writing", "proving"):
            self._show(now.stage, share=share, detail=detail, left=now.left_in_words, **remark)

    def _show(self, state: str, **values: object) -> None:
        blank = {"share": 0.0, "detail": "", "left": "", "remark": "", "verdict": "", "checks": [], "error": ""}
        shown = {**blank, **self._shown, "state": state, "words": _WORDS[state], "out": str(self.out), **values}
        self.write(_shown=shown, error=str(shown["error"]))


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, MergelabError) else f"{type(error).__name__}: {error}"


def _verdict(folder: Path) -> dict[str, object]:
    """What the folder's own record says of its proof."""
    proof = read_record(folder / FILE).get("proof")
    if not isinstance(proof, dict):
        return {"verdict": "Not proven: that is done for small models, or when asked (prove=True).", "checks": []}
    checks = [{"name": one["name"], "holds": one["holds"], "said": one["said"]} for one in proof["checks"]]
    held = sum(one["holds"] for one in checks)
    return {"verdict": f"Proven equal to the live model: {held} of {len(checks)} checks hold.", "checks": checks}
