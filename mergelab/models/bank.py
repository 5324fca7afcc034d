"""Bank: the tensors that live models of one set of sources share.

Tensors lie under the key of what they depend on (``Step.key``), whoever asked for them and wherever in a model they
stand. What no model needs any more stays in the stock for a while: undo finds it again.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from mergelab.errors import AssemblyError, Problem
from mergelab.methods import fused
from mergelab.models import devices
from mergelab.models.findings import Findings
from mergelab.models.pour import Pouring
from mergelab.models.residence import Residence, read_from_disk
from mergelab.models.stock import Stock
from mergelab.recipes.plan import Plan
from mergelab.recipes.step import Aligned, Given, Input, Key, Padded, Repeated, Step, made_of
from mergelab.weights import Checkpoint, Source

_COPIED = 32 << 20  # bytes that are copied to learn how fast that is: more than caches hold


@dataclass(frozen=True)
class Made:
    """What a plan's steps came to.

    Attributes:
        tensors: one for each key of its steps.
        held: keys of those that are not retired until ``Bank.release`` is told.
        computed: keys of those that were not there already.
        bytes_read, bytes_written: bytes of the tensors that went into that arithmetic, and that came out.
        from_disk: bytes that came from disk meanwhile.
        seconds: it took in all.
        reading: of these, to get tensors of sources.
    """

    tensors: Mapping[Key, torch.Tensor]
    held: tuple[Key, ...]
    computed: tuple[Key, ...]
    bytes_read: int
    bytes_written: int
    from_disk: int
    seconds: float
    reading: float


class Bank:
    """Tensors of live models, by what they depend on. Assemblies on one bank share every tensor that is the same.

    May be used from several threads. Once the last of its assemblies is closed it holds nothing.

    Attributes:
        checkpoints: its opened sources.
        device: where its tensors are.
        findings: what was found out about task vectors.
    """

    def __init__(
        self,
        checkpoints: Mapping[Source, Checkpoint] | None = None,
        *,
        device: str | torch.device = "auto",
        spare: int | None = None,
        resident: int | None = None,
    ) -> None:
        """An empty bank.

        Args:
            checkpoints: sources that are open already.
            device: a name or a device of torch's; "auto": a GPU where there is one that can hold the first model.
            spare: most bytes of retired tensors; None: as many as the largest plan makes, where there is room.
            resident: most bytes of sources that are kept on a device other than the CPU; None: what there is room for.

        Raises:
            AssemblyError: this machine does not have the device, or a number of bytes is none.
        """
        for name, size in (("spare", spare), ("resident", resident)):
            if size is not None and not _is_size(size):
                hint = "Give 0 or more, or None for what there is room for."
                raise AssemblyError(Problem(name, f"{size!r} is no number of bytes.", hint))
        self.checkpoints: dict[Source, Checkpoint] = dict(checkpoints or {})
        self.findings = Findings()
        self._auto = device == "auto"
        self._live_on(devices.pick(device))
        self._budgets = (spare, resident)
        self._stock = Stock(spare or 0)
        self._largest = -1
        self._assemblies = 0
        self._lock = threading.RLock()

    @property
    def made(self) -> int:
        """Bytes of all tensors that were made, retired ones included. What is mapped from disk does not count."""
        return self._stock.made

    @property
    def retired(self) -> int:
        """Bytes of those that no model needs."""
        return self._stock.retired

    @property
    def budget(self) -> int:
        """Most bytes of sources that are kept on the device. On the CPU they are mapped: there, of what adapters
        change.
        """
        return self._residence.budget

    @property
    def streamed(self) -> int:
        """Bytes of sources that the last turn sent to the device, because there was no room to keep them there."""
        return self._residence.streamed

    @cached_property
    def copy_speed(self) -> float:
        """Bytes per second, read and written ones counted together, at which the device copies a tensor."""
        source = torch.zeros(_COPIED // 4, dtype=torch.float32, device=self._work)
        target = torch.zeros_like(source)
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            target.copy_(source)
            self._settle()
            seconds.append(time.perf_counter() - started)
        return 2 * _COPIED / min(seconds)

    def join(self, planned: Plan) -> str:
        """An assembly begins: as ``admit``."""
        with self._lock:
            warning = self.admit(planned)
            self._assemblies += 1
            return warning

    def give_up(self) -> None:
        """An assembly that has joined does not come about. What it made is retired, for another try."""
        with self._lock:
            self._assemblies -= 1

    def leave(self, held: Sequence[Key]) -> None:
        """An assembly ends, and what only it held goes. The last one takes everything along."""
        with self._lock:
            self._stock.release(held)
            self._stock.drop(held)
            self._assemblies -= 1
            self.close()

    def close(self) -> None:
        """Let go of everything, if no assembly is left: also of what one made that did not come about."""
        with self._lock:
            if not self._assemblies:
                self.shrink()
                self._residence.close()
                self._largest = -1  # the next one divides the memory anew

    def admit(self, planned: Plan) -> str:
        """Take the sources of a plan, and divide the memory where it makes more than any plan before.

        Returns:
            A line that warns where memory may run out, else "".

        Raises:
            AssemblyError: the model does not fit on the device, or a source has changed since it was opened here.
        """
        with self._lock:
            for source, opened in planned.checkpoints.items():
                known = self.checkpoints.setdefault(source, opened)
                if known is not opened and known != opened:
                    what = "has changed since other live models were made of it."
                    raise AssemblyError(Problem(str(source), what, "Close them, and assemble again."))
            here = self.device.type == "cpu"
            size = sum({step.key: step.bytes for step in planned.steps if not (here and step.maker.copies)}.values())
            between = sum(_between(planned.steps).values())
            if size + between <= self._largest:
                return ""
            warning = self._divide(planned, between)
            self._largest = size + between
            return warning

    def _live_on(self, device: torch.device) -> None:
        self.device, self._work = device, devices.arithmetic(device)
        fused.prepare(self._work)
        self._residence = Residence(self._work)

    def _divide(self, planned: Plan, between: int) -> str:
        if self._auto and not self._assemblies:
            self._live_on(devices.roomy(planned, devices.pick()))
        needed = devices.need(planned, self.device)
        warning = devices.admit(needed, releasable=self.made + self._residence.resident)
        room = devices.share(replace(needed, model=needed.model + between))
        spare, resident = self._budgets
        self._stock.spare = max(self._stock.spare, room.spare) if spare is None else spare
        self._residence.budget = max(self._residence.budget, room.sources) if resident is None else resident
        return warning

    def make(self, steps: Sequence[Step], heed: Callable[[], None] = lambda: None) -> Made:
        """The tensors of a plan's steps: those that are there already, and the others made.

        Args:
            heed: called often; what it raises ends the work. What was made by then is retired: the next call finds it.

        Raises:
            SourceError: an input cannot be read any more.
            MethodError: a method refuses its inputs.
        """
        started, disk = time.perf_counter(), read_from_disk()
        outputs = dict.fromkeys(step.key for step in steps)
        order = _Order(self, (*outputs, *_between(steps)))
        tensors: dict[Key, torch.Tensor] = {}
        try:
            # Storage is used again and again, inside torch's inference mode and outside: it must not belong to it.
            with torch.inference_mode(mode=False), torch.no_grad(), Pouring(order, heed) as work:
                for step in steps:
                    if step.key not in tensors:
                        heed()
                        with self._lock:
                            tensors[step.key] = order.output(step, work)
        except BaseException:
            self.release(order.held)
            raise
        self._settle()
        self.release(key for key in order.held if key not in outputs)
        held = tuple(key for key in order.held if key in outputs)
        computed = tuple(key for key in order.computed if key in outputs)
        disk, seconds = read_from_disk() - disk, time.perf_counter() - started
        return Made(tensors, held, computed, work.bytes_read, work.bytes_written, disk, seconds, work.reading)

    def release(self, held: Iterable[Key]) -> None:
        """Tensors that ``make`` held are needed no more: they retire, unless somebody else holds them."""
        with self._lock:
            self._stock.release(held)

    def shrink(self) -> None:
        """Let go of what can be made again: retired tensors, findings, sources on the device."""
        with self._lock:
            self._stock.drop()
            self.findings = Findings()
            self._residence.release()

    def _settle(self) -> None:
        """Wait until the device has done what it was given to do."""
        if self._work.type == "cuda":
            torch.cuda.synchronize(self._work)


class _Order:
    """One call of ``Bank.make``: the shelf that its steps are poured from and onto.

    Attributes:
        held: keys of everything that it found or made. None of that is written over before it is released.
        computed: keys of what it made.
    """

    def __init__(self, bank: Bank, wanted: Iterable[Key]) -> None:
        self._bank = bank
        self.held: dict[Key, None] = {}
        self.computed: list[Key] = []
        with bank._lock:
            self._ceiling = bank.made - bank.retired + bank._stock.spare
            bank._residence.begin()
            for key in wanted:
                self._hold(key)

    @property
    def findings(self) -> Findings:
        return self._bank.findings

    def output(self, step: Step, work: Pouring) -> torch.Tensor:
        """The tensor of a step, on the device of the model."""
        found = self._hold(step.key)
        if found is None:
            made = work.tensor(step)
            found = self._hold(step.key)
            if found is None:
                found = self._keep(step.key, made, mapped=self._mapped(step))
        return found

    def read(self, given: Input) -> torch.Tensor:
        bank = self._bank
        found = self.find(given.key) if bank._work == bank.device else None  # a model of its own may have it there
        return bank._residence.tensor(bank.checkpoints[given.source], given.name) if found is None else found

    def find(self, key: Key) -> torch.Tensor | None:
        found = self._hold(key)
        return None if found is None else found.to(self._bank._work)

    def keep(self, key: Key, made: torch.Tensor) -> None:
        self._keep(key, made, mapped=False)
        self.computed.append(key)

    def storage(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor | None:
        """Retired storage to write over, where there is no room for more."""
        bank = self._bank
        return bank._stock.storage(shape, dtype, self._ceiling) if bank._work == bank.device else None

    def _mapped(self, step: Step) -> bool:
        """Whether a tensor that was not made, but is a source's own, is used where it lies."""
        given = step.maker.inputs[0]
        adapter = self._bank.checkpoints[given.source].adapter if isinstance(given, Input) else None
        folded = isinstance(given, Input) and adapter is not None and given.name in adapter.changes
        return self._bank.device.type == "cpu" and not folded

    def _hold(self, key: Key) -> torch.Tensor | None:
        stock = self._bank._stock
        if key in self.held:
            return stock.look(key)
        found = stock.hold(key)
        if found is not None:
            self.held[key] = None
        return found

    def _keep(self, key: Key, made: torch.Tensor, *, mapped: bool) -> torch.Tensor:
        made = made.to(self._bank.device)
        self.held[key] = None
        return self._bank._stock.keep(key, made, 0 if mapped else made.nbytes)


def _is_size(given: object) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and given >= 0


def _between(steps: Iterable[Given]) -> dict[Key, int]:
    """What is made on the way to these steps, by key, with its bytes: tensors of earlier stages, and those brought to
    another shape.
    """
    found: dict[Key, int] = {}
    waiting = [one for step in steps for one in made_of(step)]
    while waiting:
        given = waiting.pop()
        if isinstance(given, Input) or given.key in found:
            continue
        waiting += made_of(given)
        if not (isinstance(given, Step) and given.copies):
            found[given.key] = _size(given)
    return found


def _size(given: Given) -> int:
    """Bytes of what is made on the way."""
    match given:
        case Step():
            return given.bytes
        case Aligned() | Padded():
            return math.prod(given.shape) * 4
        case Repeated():
            return given.given.bytes * given.times
        case Input():
            return 0
