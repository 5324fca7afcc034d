"""Place: the folder that a merge writes to. It appears whole or not at all, and what was there before is never lost.

While a merge goes on, all of it lies in one hidden folder beside NAME, the folder to be::

    .NAME.partial/lock            held by the process that writes (`lock`)
    .NAME.partial/journal.json    what the bytes depend on, and every weight file that is finished (`journal`)
    .NAME.partial/model/          NAME, as far as it has come; a weight file that is being written ends with .part

`Place.commit` syncs ``model/`` and renames it to NAME. Where an earlier NAME is replaced, the two trade names at one
stroke (`exchange`). Where the system or the filesystem cannot do that, the earlier one is moved aside first. A process
can be killed at any moment. What stands then, and what the next run into the same place makes of it:

===============================  =========  ==============  ====================  ===================================
killed                           NAME       .NAME.replaced  .NAME.partial         the next run
===============================  =========  ==============  ====================  ===================================
before a file of weights is      as it was  -               model/                begins anew, and says so
finished
after one is finished            as it was  -               journal, model/       goes on after what is finished; with
                                                                                  another key as above, and why
the new one is in place          new        -               journal, no model/    removes what is left
with force: the two have traded  new        -               journal, model/: old  removes the old one
the old one is being removed     new        -               remnants, no model/   removes them
-------------------------------  ---------  --------------  --------------------  -----------------------------------
with force, no such call: NAME   -          old             journal, model/       brings the old one back, then goes on
moved aside                                                                       after what is finished
the new one is in place          new        old             journal, no model/    removes the old one
===============================  =========  ==============  ====================  ===================================

So NAME is without a folder at no moment where the system can let two trade names, and where it cannot, between two
renames. The journal knows the inode of what was ``model/``, which a folder keeps under any name: that tells whether
NAME is the new one. What is removed is moved or renamed within ``.NAME.partial`` first, so ``.NAME.replaced`` is always
whole. Where it stands beside a NAME that is not the new one, somebody else has made NAME: nothing is touched, and both
are named.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from mergelab.columns import in_bytes
from mergelab.errors import MergelabError, OutputError, Problem, SourceError, raise_all
from mergelab.forge import journal
from mergelab.forge.exchange import exchanged
from mergelab.forge.journal import Journal, inode, is_in_place, sync
from mergelab.forge.lock import Lock
from mergelab.forge.obstacles import beside, followed, in_the_way, is_empty, precious, room
from mergelab.forge.watch import Watch
from mergelab.models.progress import Progress, Stopped
from mergelab.recipes.plan import Plan, Staged
from mergelab.recipes.vocabulary import lexicon


class Place:
    """The folder of a merge, while it is written. On an error or interrupt within its block the folder is as it was.

    Weight files that are finished by then stay, and the error has a note that says so; else nothing stays.

    Attributes:
        folder: where the model goes. Links are followed: what one points to is written or replaced, the link stays.
        partial: where its files are written until then.
        finished: weight files in ``partial`` that an earlier run finished, by name, with their SHA-256 (hexadecimal).
        remark: what was found of earlier runs, in sentences; or "".
    """

    def __init__(
        self,
        folder: Path,
        *,
        key: str,
        bytes: int,  # noqa: A002 - a size is said so
        force: bool,
        mended: str = "",
        progress: Callable[[Progress], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        """Nothing is touched before the block begins.

        Args:
            folder: where the model goes.
            key: what the bytes of the weight files depend on: ``key_of``.
            bytes: those of all weight files, to be named.
            force: replace an earlier merge.
            mended: what ``check`` had to say; the remark begins with it.
            progress: called while what an earlier run finished is hashed, as the stage "checking".
            stop: asked meanwhile; True ends that with ``Stopped``.
        """
        self.folder = followed(folder)
        self._hidden, self._aside = beside(self.folder)
        self.partial = self._hidden / journal.MODEL
        self.finished: Mapping[str, str] = {}
        self.remark = ""
        self._bytes = bytes
        self._force = force
        self._mended = mended
        self._watch = Watch(progress, stop, stage="checking")
        self._journal = Journal(self._hidden, key)
        self._made = [parent for parent in self.folder.parents if not os.path.lexists(parent)]
        self._placed = False

    @staticmethod
    def check(planned: Plan, folder: Path, *, force: bool) -> str:
        """Everything that can be refused before a byte is written.

        What a run that was killed at its end has left is put in order first.

        Returns:
            What that came to, in a sentence, or "".

        Raises:
            OutputError: all that is wrong with the place at once; or another merge is writing there.
            SourceError: weight files changed since they were opened.
        """
        place = Place(folder, key="", bytes=0, force=force)
        folder = place.folder
        mended = ""
        if os.path.isdir(place._aside) or is_in_place(place._hidden, folder):  # no: of a name that is too long
            with place._held():
                mended = _mend(folder)
        problems = [*in_the_way(folder, force=force), *precious(planned, folder), *room(planned, folder)]
        try:
            raise_all(OutputError, problems)
            unchanged(planned)
        except MergelabError as error:
            if mended:
                error.add_note(mended)
            raise
        return mended

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context(self._held())
            mended = _mend(self.folder)
            raise_all(OutputError, in_the_way(self.folder, force=self._force))  # others may have been quicker
            found = self._taken_up()
            self.partial.mkdir(exist_ok=True)
            self._inode = inode(self.partial)
            self._letting_go = stack.pop_all()
        alone = "" if lock.holds else "This filesystem knows no locks: see that no other merge writes here."
        self.finished = {name: one.sha256 for name, one in self._journal.finished.items()}
        self.remark = " ".join(filter(None, (self._mended, mended, found, alone)))
        return self

    def _taken_up(self) -> str:
        """What was found of an earlier run. An interrupt meanwhile touches nothing of it."""
        try:
            return self._journal.take_up(self._bytes, self._watch)
        except (Stopped, KeyboardInterrupt) as error:
            if (self._hidden / journal.FILE).is_file():
                error.add_note(f"What an earlier run had finished is kept in {self._hidden}.")
            raise

    def finish(self, name: str, sha256: str) -> None:
        """The weight file ``name``, written under this name with ``.part`` behind it, is complete: no run with the same
        key writes it again, even if this process is killed.

        Raises:
            OSError: it cannot be synced, renamed or entered.
        """
        path = self.partial / name
        part = path.with_name(f"{name}.part")
        sync(part)
        part.rename(path)
        sync(self.partial)
        self._journal.enter(name, sha256)

    def forget(self) -> None:
        """What is finished is not to be used by a later run: it was found to be wrong."""
        self._journal.forget()

    def commit(self) -> None:
        """Sync everything and put the folder in place. An earlier merge is removed once the new one stands.

        Raises:
            OutputError: something came in the way since the block began.
            OSError: the disk refuses.
        """
        raise_all(OutputError, in_the_way(self.folder, force=self._force))
        for path in [*self.partial.rglob("*"), self.partial]:
            sync(path)
        traded = False
        try:
            traded = self._put()
        finally:  # also where an interrupt came between
            gone = not self.partial.is_dir()
            # Some network filesystems give a folder another inode at any time: it is asked where nothing else tells.
            self._placed = self.folder.is_dir() and (traded or gone or inode(self.folder) == self._inode)
            if not self._placed and self._aside.is_dir():
                self._aside.rename(self.folder)
        sync(self._hidden)
        sync(self.folder.parent)

    def _put(self) -> bool:
        """Give the new folder its name, which an empty folder or an earlier merge may have; say whether it traded."""
        empty = is_empty(self.folder)
        if self._force and self.folder.is_dir() and not empty:
            if exchanged(self.partial, self.folder):
                return True
            self.folder.rename(self._aside)
            sync(self.folder.parent)
        if empty and sys.platform == "win32":  # elsewhere a rename replaces an empty folder, and no other one
            self.folder.rmdir()
        self.partial.rename(self.folder)
        return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        kept = bool(self._journal.finished) and not self._placed
        with self._letting_go:
            try:
                self._tidy(kept=kept)
            except KeyboardInterrupt as interrupt:  # heeded once all is in order: that takes but a moment
                self._tidy(kept=kept)
                if error is None:
                    interrupt.add_note(self._left(kept=kept))
                    raise
            if error is not None:
                refusal = self._as_refusal(error)
                refusal.add_note(self._left(kept=kept))
                if refusal is not error:
                    raise refusal from error

    def _tidy(self, *, kept: bool) -> None:
        """Remove what no later run uses."""
        with contextlib.suppress(OSError):  # what cannot be removed now, the next run removes
            if kept:
                self._journal.prune()
            else:
                _sweep(self.folder)

    def _left(self, *, kept: bool) -> str:
        """What an error leaves behind, in words."""
        if self._placed:
            return f"{self.folder} was in place by then, and is whole."
        if not kept:
            return "Nothing was left behind."
        have, all_of_it = in_bytes(self._journal.weights), in_bytes(self._bytes)
        return (
            f"What was finished ({have} of {all_of_it}) is kept in {self._hidden}: the same merge goes on from there. "
            "Delete that folder to be rid of it."
        )

    def _as_refusal(self, error: BaseException) -> BaseException:
        """What the system refused, as an error of ours; any other error as it is."""
        if not isinstance(error, OSError) or isinstance(error, ConnectionError):  # who listens to us has hung up
            return error
        why = error.strerror or str(error)
        where = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else self._hidden
        ours = {self._hidden, self._aside, self.folder} & {where, *where.parents} or where in self.folder.parents
        if not ours:
            return SourceError(Problem(str(where), f"cannot be read ({why}).", "Put it back, and merge again."))
        return OutputError(
            Problem(str(self.folder), f"cannot be written ({why}).", "Free space or choose another place.")
        )

    @contextlib.contextmanager
    def _held(self) -> Iterator[Lock]:
        """Nobody else writes here. In the end no empty folder is left."""
        try:
            lock = Lock(self._hidden, str(self.folder))
            try:
                yield lock
            finally:
                lock.release()
        except OSError as error:
            raise self._as_refusal(error) from error
        finally:
            _remove_empty([self._hidden, *self._made])


def unchanged(planned: Plan) -> None:
    """See that what was planned with is still there: weight files, configs, and tokenizers where tokens are aligned.

    Raises:
        SourceError: files that changed or vanished, all of them.
    """
    problems = [problem for one in planned.checkpoints.values() for problem in one.changes()]
    for one in (*(stage.plan for stage in planned.stages), planned):
        problems += _other_tokens(one)
    raise_all(SourceError, list(dict.fromkeys(problems)))


def _other_tokens(planned: Plan) -> Iterator[Problem]:
    """Tokenizers that have other tokens than those that were aligned."""
    aligned = planned.alignment.lexicons if planned.alignment else {}
    for source, before in aligned.items():
        origin = planned.origins[source]
        if isinstance(origin, Staged) and origin.lexicon is not None:  # chosen by a recipe, not read from files
            continue
        now = lexicon(origin)
        if isinstance(now, Problem):
            yield now
        elif now.ids != before.ids:
            what = "its tokenizer changed after it was opened."
            yield Problem(str(source), what, "Open the model again to use what is there now.")


def _mend(folder: Path) -> str:
    """End what a commit began that was killed. The lock is held.

    Returns:
        What was done, in a sentence, or "".

    Raises:
        OutputError: it cannot be told what is to be kept.
    """
    hidden, aside = beside(folder)
    if is_in_place(hidden, folder):
        replaced = aside.is_dir() or (hidden / journal.MODEL).is_dir()
        _sweep(folder)
        done = "Removed an earlier merge that had been replaced, by a run that was killed before it could do so."
        return done if replaced else ""
    if not aside.is_dir():
        return ""
    if os.path.lexists(folder):
        what = f"stands beside {aside}, the earlier merge that was moved aside by a run that was killed."
        raise OutputError(Problem(str(folder), what, "Decide which of the two to keep, and move or delete the other."))
    aside.rename(folder)
    sync(folder.parent)
    return f"Brought back {folder}, which a run that was killed had moved aside."


def _sweep(folder: Path) -> None:
    """Remove what is left of a merge that is in place, or of one that is nowhere. The lock is held."""
    hidden, aside = beside(folder)
    for gone in (aside, hidden / journal.MODEL):
        if gone.is_dir():
            gone.rename(hidden / "replaced")
    journal.clear(hidden)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, inner ones first, as far as they are empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
