"""Place: the folder that a merge writes to. It appears whole or not at all, and what was there before is never lost.

While a merge goes on, all of it lies in one hidden folder beside NAME, the folder to be::

    .NAME.partial/lock            held by the process that writes (`lock`)
    .NAME.partial/journal.json    what the bytes depend on, and every weight file that is finished (`journal`)
    .NAME.partial/model/          NAME, as far as it has come; a weight file that is being written ends with .part

`Place.commit` syncs ``model/``, moves an earlier NAME aside, and renames ``model/`` to NAME. A process can be killed at
any moment. What stands then, and what the next run into the same place makes of it:

===============================  =========  ==============  ====================  ===================================
killed                           NAME       .NAME.replaced  .NAME.partial         the next run
===============================  =========  ==============  ====================  ===================================
before a file of weights is      as it was  -               model/                begins anew, and says so
finished
after one is finished            as it was  -               journal, model/       goes on after what is finished; with
                                                                                  another key as above, and why
with force: NAME moved aside     -          old             journal, model/       brings the old one back, then as
                                                                                  above
the new one is in place          new        old, if any     journal, no model/    removes the old one
the old one is being removed     new        -               remnants, no model/   removes them
===============================  =========  ==============  ====================  ===================================

What is removed moves into ``.NAME.partial`` first, so ``.NAME.replaced`` is always whole. Where it stands beside NAME
and no journal tells that the new one is in place, somebody else has made NAME: nothing is touched, and both are named.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from mergelab import methods
from mergelab.columns import in_bytes
from mergelab.errors import OutputError, Problem, SourceError, raise_all
from mergelab.forge import journal
from mergelab.forge.journal import Journal, sync
from mergelab.forge.lock import Lock
from mergelab.forge.obstacles import beside, followed, in_the_way, precious, room
from mergelab.models.progress import Stopped
from mergelab.recipes.plan import Plan, Staged
from mergelab.recipes.vocabulary import lexicon
from mergelab.weights.shards import Shard

_CODE = ("methods", "weights", "recipes", "models", "forge")  # the floors that the bytes of a merge depend on


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
        stop: Callable[[], bool] | None = None,
    ) -> None:
        """Nothing is touched before the block begins.

        Args:
            folder: where the model goes.
            key: what the bytes of the weight files depend on: ``key_of``.
            bytes: those of all weight files, to be named.
            force: replace an earlier merge.
            stop: asked while what an earlier run finished is hashed; True ends that with ``Stopped``.
        """
        self.folder = followed(folder)
        self._hidden, self._aside = beside(self.folder)
        self.partial = self._hidden / journal.MODEL
        self.finished: Mapping[str, str] = {}
        self.remark = ""
        self._bytes = bytes
        self._force = force
        self._stop = stop
        self._journal = Journal(self._hidden, key)
        self._made = [parent for parent in self.folder.parents if not os.path.lexists(parent)]
        self._placed = False

    @staticmethod
    def check(planned: Plan, folder: Path, *, force: bool) -> None:
        """Everything that can be refused before a byte is written.

        An earlier merge that a killed run had moved aside is brought back first.

        Raises:
            OutputError: all that is wrong with the place at once; or another merge is writing there.
            SourceError: weight files changed since they were opened.
        """
        place = Place(folder, key="", bytes=0, force=force)
        folder = place.folder
        if os.path.isdir(place._aside):  # which says no of a name that is too long
            with place._held():
                _mend(folder)
        raise_all(OutputError, [*in_the_way(folder, force=force), *precious(planned, folder), *room(planned, folder)])
        unchanged(planned)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context(self._held())
            mended = _mend(self.folder)
            raise_all(OutputError, in_the_way(self.folder, force=self._force))  # others may have been quicker
            found = self._taken_up()
            self.partial.mkdir(exist_ok=True)
            self._letting_go = stack.pop_all()
        alone = "" if lock.holds else "This filesystem knows no locks: see that no other merge writes here."
        self.finished = {name: one.sha256 for name, one in self._journal.finished.items()}
        self.remark = " ".join(filter(None, (mended, found, alone)))
        return self

    def _taken_up(self) -> str:
        """What was found of an earlier run. An interrupt meanwhile touches nothing of it."""
        try:
            return self._journal.take_up(self._bytes, self._heed)
        except (Stopped, KeyboardInterrupt) as error:
            if (self._hidden / journal.FILE).is_file():
                error.add_note(f"What an earlier run had finished is kept in {self._hidden}.")
            raise

    def _heed(self) -> None:
        if self._stop is not None and self._stop():
            raise Stopped

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
        try:
            if self.folder.is_dir():
                self.folder.rename(self._aside)
                sync(self.folder.parent)
            self.partial.rename(self.folder)
        finally:  # also where an interrupt came between
            self._placed = self.folder.is_dir() and not self.partial.is_dir()
            if not self._placed and self._aside.is_dir():
                self._aside.rename(self.folder)
        sync(self._hidden)
        sync(self.folder.parent)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        kept = bool(self._journal.finished) and self.partial.is_dir()
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


def key_of(planned: Plan, device: torch.device, shards: Sequence[Shard]) -> str:
    """What the bytes of a merge's weight files depend on: a line for each aspect, with a digest of it.

    Files are known by what the system says of them (inode, size, times), hub files by their commit. The time of the
    last change of a file counts too, which nobody can set back: between two runs nobody watched. Where a method comes
    from outside mergelab, no two keys are equal: what it computes cannot be known from its name.

    Args:
        planned: the plan, its sources open.
        device: where the arithmetic is done.
        shards: the weight files to be.
    """
    plans = [*(stage.plan for stage in planned.stages), planned]
    named = [methods.get(name) for one in plans for name in one.methods]
    own = [method.name for method in named if not method.function.__module__.startswith("mergelab.")]
    code = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(path for floor in _CODE for path in (package / floor).glob("*.py")):
        code.update(path.read_bytes())
    on_gpu = device.type == "cuda"
    processor = torch.cuda.get_device_name(device) if on_gpu else torch.backends.cpu.get_cpu_capability()
    aspects: Mapping[str, object] = {
        "recipe": (planned.recipe.to_yaml(), [(step.name, step.shape, step.key) for step in planned.steps]),
        "methods": [secrets.token_hex() for _ in own],
        "sources": [
            (
                str(source),
                (one.commit, one.adapter and (one.adapter.commit, list(one.adapter.changes.items()))),
                [(path.name, stamp, _changed(path)) for path, stamp in one.stamps.items()],
            )
            for source, one in planned.checkpoints.items()
        ],
        "code": (code.hexdigest(), torch.__version__),
        "device": (device.type, processor),
        "files": [(shard.name, list(shard.specs.values())) for shard in shards],
    }
    digests = {aspect: hashlib.sha256(repr(what).encode()).hexdigest()[:32] for aspect, what in aspects.items()}
    return "\n".join(f"{aspect} {digest}" for aspect, digest in digests.items())


def _changed(path: Path) -> int:
    """When a file or what is said of it was changed last, in nanoseconds; 0 where it is gone: ``unchanged`` says so."""
    try:
        return os.stat(path).st_ctime_ns
    except OSError:
        return 0


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
    if not aside.is_dir():
        return ""
    if not os.path.lexists(folder):
        aside.rename(folder)
        sync(folder.parent)
        return f"Brought back {folder}, which a run that was killed had moved aside."
    if not (hidden / journal.FILE).is_file() or (hidden / journal.MODEL).is_dir():
        what = f"stands beside {aside}, the earlier merge that was moved aside by a run that was killed."
        raise OutputError(Problem(str(folder), what, "Decide which of the two to keep, and move or delete the other."))
    _sweep(folder)
    return "Removed an earlier merge that had been replaced, by a run that was killed before it could do so."


def _sweep(folder: Path) -> None:
    """Remove what is left of a merge that is in place, or of one that is nowhere. The lock is held."""
    hidden, aside = beside(folder)
    if aside.is_dir():
        aside.rename(hidden / "replaced")
    journal.clear(hidden)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, inner ones first, as far as they are empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
