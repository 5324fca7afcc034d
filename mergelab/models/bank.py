"""Bank: the tensors that live models of one set of sources share.

Tensors lie under the key of what they depend on (``Step.key``), whoever asked for them and wherever in a model they
stand. What no model needs any more is *retired*: undo finds it again, and what needs storage writes over it, the oldest
first.
"""

from __future__ import annotations

import math
import sys
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
from mergelab.models.residence import Residence
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
        seconds: it took in all.
        reading: of these, to get tensors of sources.
    """

    tensors: Mapping[Key, torch.Tensor]
    held: tuple[Key, ...]
    computed: tuple[Key, ...]
    bytes_read: int
    bytes_written: int
    seconds: float
    reading: float


class Bank:
    """Tensors of live models, by what they depend on. Assemblies on one bank share every tensor that is the same.

    May be used from several threads. Once the last of its assemblies is closed it holds nothing.

    Attributes:
        checkpoints: its opened sources.
        device: where its tensors are.
        findings: what was found out about task vectors.
        made: bytes of all tensors that were made, retired ones included. What is mapped from disk does not count.
        retired: bytes of those that no model needs.
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
            AssemblyError: this machine does not have the device.
        """
        self.checkpoints: dict[Source, Checkpoint] = dict(checkpoints or {})
        self.findings = Findings()
        self.made = self.retired = 0
        self._auto = device == "auto"
        self._live_on(devices.pick(device))
        self._budgets = (spare, resident)
        self._spare = spare or 0
        self._largest = -1
        self._entries: dict[Key, _Entry] = {}
        self._unheld: dict[Key, None] = {}  # the retired ones, the oldest first
        self._assemblies = 0
        self._lock = threading.RLock()

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
            self.release(held)
            for key in held:
                if key in self._unheld:
                    self._drop(key)
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
        self._spare = max(self._spare, room.spare) if spare is None else spare
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
        started = time.perf_counter()
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
        seconds = time.perf_counter() - started
        return Made(tensors, held, computed, work.bytes_read, work.bytes_written, seconds, work.reading)

    def release(self, held: Iterable[Key]) -> None:
        """Tensors that ``make`` held are needed no more: they retire, unless somebody else holds them."""
        with self._lock:
            for key in held:
                entry = self._entries[key]
                entry.holders -= 1
                if entry.holders:
                    continue
                if entry.cost:
                    self._unheld[key] = None
                    self.retired += entry.cost
                else:
                    del self._entries[key]
            while self.retired > self._spare:
                self._drop(next(iter(self._unheld)))

    def shrink(self) -> None:
        """Let go of what can be made again: retired tensors, findings, sources on the device."""
        with self._lock:
            for key in tuple(self._unheld):
                self._drop(key)
            self.findings = Findings()
            self._residence.release()

    def _settle(self) -> None:
        """Wait until the device has done what it was given to do."""
        if self._work.type == "cuda":
            torch.cuda.synchronize(self._work)

    def _drop(self, key: Key) -> torch.Tensor:
        """Let go of a retired tensor."""
        del self._unheld[key]
        entry = self._entries.pop(key)
        self.made -= entry.cost
        self.retired -= entry.cost
        return entry.tensor


class _Entry:
    """A tensor of the bank.

    Attributes:
        cost: its bytes; 0 where they are those of a file.
        holders: how many hold it: assemblies, and calls of ``make``.

    Only the bank has this very object: what it hands out are others that share its storage, so that the number of
    users of the storage tells whether anybody still has it.
    """

    __slots__ = ("cost", "holders", "tensor")

    def __init__(self, tensor: torch.Tensor, cost: int) -> None:
        self.tensor = tensor.detach()
        self.cost = cost
        self.holders = 1

    @property
    def alone(self) -> bool:
        """Whether nothing outside of the bank shares the tensor's storage: no parameter, view, array or storage."""
        return _users(self.tensor) == _users(torch.empty(0, device=self.tensor.device))


def _users(tensor: torch.Tensor) -> tuple[int, int]:
    """How many tensors, and how many Python objects, have a tensor's storage."""
    storage = tensor.untyped_storage()
    return torch._C._storage_Use_Count(storage._cdata), sys.getrefcount(storage)


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
            self._ceiling = bank.made - bank.retired + bank._spare
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
            found = self._hold(step.key) or self._keep(step.key, made, mapped=self._mapped(step))
        return found.tensor.detach()

    def read(self, given: Input) -> torch.Tensor:
        bank = self._bank
        found = self.find(given.key) if bank._work == bank.device else None  # a model of its own may have it there
        return bank._residence.tensor(bank.checkpoints[given.source], given.name) if found is None else found

    def find(self, key: Key) -> torch.Tensor | None:
        entry = self._hold(key)
        return None if entry is None else entry.tensor.detach().to(self._bank._work)

    def keep(self, key: Key, made: torch.Tensor) -> None:
        self._keep(key, made, mapped=False)
        self.computed.append(key)

    def storage(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor | None:
        """A retired tensor of this kind, where there is no room for one more; where none fits, others make room."""
        bank = self._bank
        if bank._work != bank.device:
            return None
        size = math.prod(shape) * dtype.itemsize
        if bank.made + size <= self._ceiling:
            return None
        for key in bank._unheld:
            entry = bank._entries[key]
            if entry.tensor.shape == shape and entry.tensor.dtype == dtype and entry.alone:
                return bank._drop(key)
        while bank._unheld and bank.made + size > self._ceiling:
            bank._drop(next(iter(bank._unheld)))
        return None

    def _mapped(self, step: Step) -> bool:
        """Whether a tensor that was not made, but is a source's own, is used where it lies."""
        given = step.maker.inputs[0]
        adapter = self._bank.checkpoints[given.source].adapter if isinstance(given, Input) else None
        folded = isinstance(given, Input) and adapter is not None and given.name in adapter.changes
        return self._bank.device.type == "cpu" and not folded

    def _hold(self, key: Key) -> _Entry | None:
        bank = self._bank
        entry = bank._entries.get(key)
        if entry is not None and key not in self.held:
            if not entry.holders:
                del bank._unheld[key]
                bank.retired -= entry.cost
            entry.holders += 1
            self.held[key] = None
        return entry

    def _keep(self, key: Key, made: torch.Tensor, *, mapped: bool) -> _Entry:
        bank = self._bank
        made = made.to(bank.device)
        entry = bank._entries[key] = _Entry(made, 0 if mapped else made.nbytes)
        bank.made += entry.cost
        self.held[key] = None
        return entry


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
