"""Devices: where a model lives, what it needs there, and what happens when that is not to be had.

For who makes models (``Bank``, ``Assembly``)::

    device = pick("auto")                   # where the model lives; arithmetic(device): where its steps are computed
    what = need(planned, device)            # from headers; steps=... for what a turn has to make
    remark = admit(what, releasable=spare)  # AssemblyError before a weight is read, or a line that warns, or ""
    room = share(what)                      # bytes for sources kept on the device (Residence), and for what undo needs
    sheltered(work, release=..., fall_back=..., device=device)   # memory runs out: release, again, then fall back
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from mergelab.columns import in_bytes
from mergelab.errors import AssemblyError, Problem
from mergelab.recipes.plan import Plan
from mergelab.recipes.step import Given, Input, Step, made_of
from mergelab.weights import FLOATS, ITEM_BITS

TOKENS = 1024  # of a text whose keys and values are counted in
_FILLED = 0.9  # share of the memory left over that is used: allocators round up, and other programs live too

Result = TypeVar("Result")


# ------------------------------------------------------------------------------------------------ which device


def pick(device: str | torch.device = "auto") -> torch.device:
    """The device of that name, with its number.

    Args:
        device: a name or a device of torch's; "auto" is a CUDA GPU where one can be used, else Apple's (mps), else the
            CPU.

    Raises:
        AssemblyError: there is no such device, or this machine does not have it.
    """
    if device == "auto":
        return next(found for found in map(_usable, map(torch.device, _present())) if found)
    try:
        asked = torch.device(device)
    except (RuntimeError, TypeError):  # torch's own words tell of hardware that nobody has
        what = f"{device!r} is unknown."
        raise AssemblyError(Problem("device", what, "Use 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.")) from None
    found = _usable(asked)
    if found is None:
        what = f"{str(device)!r} cannot be used here: {_why(asked)}."
        raise AssemblyError(Problem("device", what, "Use 'auto' or 'cpu'."))
    return found


def arithmetic(device: torch.device) -> torch.device:
    """Where the tensors of a model on ``device`` are computed: there, but for Apple's GPU, which has no float64, and
    whose memory is the CPU's anyway.
    """
    return torch.device("cpu") if device.type == "mps" else device


def _present() -> Iterator[str]:
    if torch.cuda.is_available():
        yield "cuda"
    if torch.backends.mps.is_available():
        yield "mps"
    yield "cpu"


def _usable(device: torch.device) -> torch.device | None:
    """The device as its tensors name it; None where it cannot hold any."""
    try:
        found = torch.empty(1, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError):
        return None
    return None if found.type == "meta" else found


def _why(device: torch.device) -> str:
    """Why a device cannot be used."""
    backends = {"cuda": ("CUDA", torch.backends.cuda, torch.cuda), "mps": ("MPS", torch.backends.mps, torch.mps)}
    if device.type in backends:
        name, backend, module = backends[device.type]
        if not backend.is_built():
            return f"this PyTorch is built without {name}"
        count = module.device_count()
        if not count:
            return "this machine has no such GPU that PyTorch can use"
        if (device.index or 0) >= count:
            return f"this machine has {count}, counted from 0"
    return "it holds no values" if device.type == "meta" else "PyTorch can make no tensor on it"


# ------------------------------------------------------------------------------------------- how much is free


def free(device: torch.device) -> int | None:
    """Bytes that can be had on a device, what torch keeps there unused included; None where nothing tells."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return _free_here() if device.type == "cpu" else None


def trim(device: torch.device) -> None:
    """Give the memory of dead tensors back to the device."""
    gc.collect()  # a tensor may die late: in a cycle with the traceback of the error that it caused
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _free_here(root: Path = Path("/")) -> int | None:
    """Of the machine's memory, and of the container's where that is less."""
    limits = [*_machine(root / "proc/meminfo"), *_containers(root)]
    if limits:
        return max(0, min(limits))
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # all of it: what is free is not told
    except (AttributeError, ValueError, OSError):
        return None


def _machine(meminfo: Path) -> Iterator[int]:
    for line in _text(meminfo).splitlines():
        key, _, size = line.partition(":")
        if key == "MemAvailable":
            yield int(size.split()[0]) * 1024


def _containers(root: Path) -> Iterator[int]:
    """What is left in each control group that this process is in. Pages of files count as free: mapped sources are
    such pages, and are dropped and read again.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds == "":
            home, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "")
        elif "memory" in kinds.split(","):
            home, names = root / "sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        group = home / path.strip("/")
        for folder in (group, *group.parents):  # inside a container the path is the host's: the mount is its own
            most, used = (_text(folder / name).strip() for name in names[:2])
            if most.isdecimal() and used.isdecimal():
                pages = dict(pair.split() for pair in _text(folder / "memory.stat").splitlines())
                yield int(most) - int(used) + sum(int(pages.get(f"{names[2]}{kind}_file", 0)) for kind in _KINDS)
            if folder == home:
                break


_KINDS = ("active", "inactive")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


# ------------------------------------------------------------------------------------------ how much is needed


@dataclass(frozen=True)
class Need:
    """Bytes that a live model needs, known from headers before a weight is read.

    Attributes:
        device: where it lives.
        model: its tensors, each once. On the CPU without those that are mapped from disk.
        sources: tensors of the sources that steps read. On the CPU they are mapped; elsewhere they are kept as far as
            there is room, and what is not is sent again each time.
        scratch: working space of the widest step.
        cache: keys and values of a text of ``TOKENS`` tokens.
    """

    device: torch.device
    model: int
    sources: int
    scratch: int
    cache: int


@dataclass(frozen=True)
class Room:
    """Bytes that may be used beside the model: for ``sources`` kept on the device, and ``spare`` for tensors that turns
    left, which undo finds again.
    """

    sources: int
    spare: int


def need(planned: Plan, device: torch.device, steps: Iterable[Step] | None = None) -> Need:
    """What a plan needs on a device.

    Args:
        steps: those of the plan that have to be made; all of them if left out.

    Raises:
        AssemblyError: the model has a dtype that the device does not know.
    """
    steps = planned.steps if steps is None else tuple(steps)
    if device.type == "mps" and any(step.dtype == "F64" for step in steps):
        hint = "Say 'dtype: float32' in the recipe, or use device='cpu'."
        raise AssemblyError(Problem("device", f"{device} has no float64, which the merged model has.", hint))
    makers = {step.key: step.maker for step in steps}.values()  # of equal steps one is made
    mapped = [maker for maker in makers if _is_mapped(planned, maker)]
    # A live model has one dtype: tensors of another are cast when it is built.
    width = ITEM_BITS[planned.dtype] // 8
    cast = sum(step.elements * width for step in steps if step.dtype in FLOATS and step.dtype != planned.dtype)
    model = sum(maker.bytes for maker in makers) + cast
    parts = _parts(maker for maker in makers if not (maker.copies and isinstance(maker.inputs[0], Input)))
    read = {given.key: given for given in parts if isinstance(given, Input)}
    if device.type == "cpu":
        model -= sum(maker.bytes for maker in mapped)
        read |= {maker.key: given for maker in mapped for given in maker.inputs if isinstance(given, Input)}
    sources = sum(planned.checkpoints[given.source].specs[given.name].bytes for given in read.values())
    scratch = max((_scratch(given) for given in parts if isinstance(given, Step) and not given.copies), default=0)
    return Need(device, model, sources, scratch, _cache(planned))


def admit(needed: Need, *, releasable: int = 0) -> str:
    """Whether it fits, asked before a weight is read.

    Args:
        releasable: bytes in use on the device that will be given up for it.

    Returns:
        A line that warns where it may not, else "".

    Raises:
        AssemblyError: the model's own tensors alone are more than what is free.
    """
    there = free(needed.device)
    if there is None:
        return ""
    there += releasable
    if needed.model > there:
        what = f"the model needs {in_bytes(needed.model)} on {needed.device}, {in_bytes(there)} are free."
        raise AssemblyError(Problem("memory", what, _elsewhere(needed.device)))
    whole = needed.model + needed.scratch + needed.cache
    if whole > there:
        return f"Memory may run out: up to {in_bytes(whole)} are needed on {needed.device}, {in_bytes(there)} are free."
    return ""


def roomy(planned: Plan, device: torch.device) -> torch.device:
    """The device, or the CPU where a model does not fit there."""
    try:
        admit(need(planned, device))
    except AssemblyError:
        return torch.device("cpu")
    return device


def share(needed: Need) -> Room:
    """How the memory is divided that is left over beside the model.

    On the CPU sources are mapped, and the memory left over holds their pages: only part of it is used. Elsewhere
    sources come first, as far as this plan reads them; what undo does not need either is for those of plans to come.
    """
    there = free(needed.device)
    if there is None:
        return Room(needed.sources, needed.model)
    left = max(0, int((there - needed.model - needed.scratch - needed.cache) * _FILLED))
    if needed.device.type == "cpu":
        return Room(left // 4, min(needed.model, left // 2))
    spare = min(needed.model, left - min(needed.sources, left))
    return Room(left - spare, spare)


def _elsewhere(device: torch.device) -> str:
    disk = "merge to disk (ml.merge), which holds one tensor at a time."
    return f"Close other models, or {disk}" if device.type == "cpu" else f"Use device='cpu', or {disk}"


def _parts(made: Iterable[Given]) -> list[Given]:
    """These and everything that they are made of, each once."""
    found: dict[tuple[type, bytes], Given] = {}
    waiting = list(made)
    while waiting:
        given = waiting.pop()
        if (type(given), given.key) in found:  # a step that copies has the key of what it copies
            continue
        found[type(given), given.key] = given
        waiting += made_of(given)
    return list(found.values())


def _is_mapped(planned: Plan, maker: Step) -> bool:
    """Whether its tensor is one of a file as it is. What an adapter changes is none, nor is what is brought to another
    vocabulary or width.
    """
    given = maker.inputs[0]
    if not maker.copies or not isinstance(given, Input):
        return False
    adapter = planned.checkpoints[given.source].adapter
    return adapter is None or given.name not in adapter.changes


def _scratch(step: Step) -> int:
    """Every input and the result in the working precision, at most."""
    return step.elements * (len(step.inputs) + bool(step.base) + 1) * (8 if step.dtype == "F64" else 4)


def _cache(planned: Plan) -> int:
    """Two vectors for each token and layer: of every key/value head, or as wide as the model where it has no such."""
    width = ITEM_BITS[planned.dtype] // 8
    return sum(2 * TOKENS * _keys(planned.origins[layer.home.source].config) * width for layer in planned.layers)


def _keys(config: Mapping[str, Any]) -> int:
    """Width of a layer's keys."""
    wide = _whole(config, "hidden_size", "n_embd", "d_model")
    heads = _whole(config, "num_attention_heads", "n_head") or 1
    size = _whole(config, "head_dim") or wide // heads
    return size * (_whole(config, "num_key_value_heads") or heads)


def _whole(config: Mapping[str, Any], *keys: str) -> int:
    return next((config[key] for key in keys if isinstance(config.get(key), int)), 0)


# ----------------------------------------------------------------------------------------- when memory runs out


def ran_out(error: BaseException) -> bool:
    """Whether an error means that there was no memory left, on whatever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in words for sign in _SIGNS)


_SIGNS = (  # what torch says of it without the error of its own: mps, the CPU (Linux, Windows), CUDA's libraries
    "out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "alloc_failed",
)  # fmt: skip


def sheltered(
    work: Callable[[], Result],
    *,
    device: torch.device,
    release: Callable[[], object] = lambda: None,
    fall_back: Callable[[], Result] | None = None,
    hint: str = "",
) -> Result:
    """What ``work`` returns. Where memory runs out in it: release, try once more, then fall back.

    Args:
        work: may be run twice: what it changes it changes at its end.
        device: where the memory is.
        release: gives up what can be made again.
        fall_back: does it otherwise, on another device for instance.
        hint: what may help the user; by default another device, or the disk.

    Raises:
        AssemblyError: memory ran out each time.
    """
    tries = [work, work, *([fall_back] if fall_back else [])]
    why = ""
    for number, attempt in enumerate(tries):
        try:
            return attempt()
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            why = (str(error).splitlines() or ["out of memory"])[0]
        # Only here the error is gone, and with it the frames that held what had been made.
        if number == 0:
            release()
        trim(device)
    there = free(device)
    what = f"ran out on {device}{f', {in_bytes(there)} are free' if there is not None else ''} ({why})."
    raise AssemblyError(Problem("memory", what, hint or _elsewhere(device)))
