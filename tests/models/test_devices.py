"""Devices: which one is taken, what is free and needed there, and what happens when memory runs out.

No GPU is needed: what torch says of one is put in its mouth.
"""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mergelab.errors import AssemblyError
from mergelab.models import devices
from mergelab.models.assembly import assemble
from mergelab.models.devices import Need, Room, admit, arithmetic, free, need, pick, ran_out, share, sheltered
from mergelab.recipes.plan import Plan, plan
from mergelab.recipes.presets import graft, repeat, stack
from mergelab.weights import open_checkpoint
from tests.models.families import DEPTH
from tests.models.small import linear, runs, small
from tests.weights.folders import pair, save_adapter

CPU, GPU, APPLE = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps", 0)
GB = 10**9


def machine(monkeypatch: pytest.MonkeyPatch, *, cuda: bool | None = None, mps: bool | None = None) -> None:
    """A machine on which torch says that it has such a device; False: and then it cannot be used."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps is not None)
    works = [kind for kind, usable in (("cuda", cuda), ("mps", mps)) if usable]
    real = torch.empty

    class Made:
        def __init__(self, kind: str) -> None:
            self.device = torch.device(kind, 0)

    def empty(*size: int, device: torch.device) -> Made | torch.Tensor:
        return Made(device.type) if device.type in works else real(*size, device=device)

    monkeypatch.setattr(torch, "empty", empty)


def memory(monkeypatch: pytest.MonkeyPatch, size: int | None) -> None:
    """A machine with so many bytes free, wherever one looks."""
    monkeypatch.setattr(devices, "free", lambda _: size)


# ---------------------------------------------------------------------------------------------- which device


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [
        (None, None, CPU),
        (True, None, GPU),
        (True, True, GPU),
        (None, True, APPLE),
        (False, True, APPLE),
        (False, False, CPU),
    ],
)
def test_auto_is_the_best_device_that_can_be_used(
    cuda: bool | None, mps: bool | None, expected: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, cuda=cuda, mps=mps)
    assert pick() == pick("auto") == expected


def test_a_device_may_be_named_or_given_and_comes_with_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick("cpu") == pick(CPU) == CPU
    machine(monkeypatch, cuda=True)
    assert pick("cuda") == pick(torch.device("cuda")) == GPU


def test_arithmetic_of_apples_gpu_is_done_on_the_cpu() -> None:
    """It has no float64."""
    assert [arithmetic(device) for device in (CPU, GPU, APPLE)] == [CPU, GPU, CPU]


# ---------------------------------------------------------------------------------------------- what is free


def files(root: Path, **texts: str) -> Path:
    """Files of a machine: ``proc__meminfo="..."`` for proc/meminfo."""
    for name, text in texts.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = "MemTotal:       32000 kB\nMemFree:         1000 kB\nMemAvailable:   20000 kB\n"


def test_the_cpu_has_what_the_machine_says_is_available(tmp_path: Path) -> None:
    assert devices._free_here(files(tmp_path, proc__meminfo=MEMINFO)) == 20_000 * 1024
    assert 0 < (free(CPU) or 0) < 10**15


def test_without_a_word_of_the_machine_it_is_all_of_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(devices.os, "sysconf", sizes.__getitem__)
    assert devices._free_here(tmp_path) == 4_096_000

    def unknown(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(devices.os, "sysconf", unknown)
    assert devices._free_here(tmp_path) is None
    monkeypatch.delattr(devices.os, "sysconf")
    assert devices._free_here(tmp_path) is None


def test_a_container_has_what_its_group_leaves_it_pages_of_files_included(tmp_path: Path) -> None:
    files(tmp_path, proc__meminfo=MEMINFO, proc__self__cgroup="0::/box/inner\n")
    files(tmp_path / "sys/fs/cgroup/box/inner", **{"memory.max": "max\n", "memory.current": "10\n"})
    assert devices._free_here(tmp_path) == 20_000 * 1024
    stat = "anon 1\ninactive_file 300\nactive_file 40\nfile 9\n"
    files(tmp_path / "sys/fs/cgroup/box", **{"memory.max": "5000\n", "memory.current": "1000\n", "memory.stat": stat})
    assert devices._free_here(tmp_path) == 4340
    files(tmp_path / "sys/fs/cgroup/box/inner", **{"memory.max": "100\n", "memory.current": "110\n"})
    assert devices._free_here(tmp_path) == 0


def test_a_container_of_the_older_kind_too_whose_own_path_it_cannot_see(tmp_path: Path) -> None:
    files(tmp_path, proc__meminfo=MEMINFO, proc__self__cgroup="9:name=systemd:/\n4:cpu,memory:/docker/abc\n0::/\n")
    group = {"memory.limit_in_bytes": f"{2**63 - 4096}\n", "memory.usage_in_bytes": "1000\n"}
    files(tmp_path / "sys/fs/cgroup/memory", **group)
    assert devices._free_here(tmp_path) == 20_000 * 1024
    stat = "cache 5\ntotal_inactive_file 30\ntotal_active_file 4\ninactive_file 7\n"
    files(tmp_path / "sys/fs/cgroup/memory", **{"memory.limit_in_bytes": "2000\n", "memory.stat": stat})
    assert devices._free_here(tmp_path) == 1034


def test_a_gpu_has_what_the_driver_says_and_what_torch_keeps_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (700, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 200)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 150)
    assert free(GPU) == 750
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 900)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 100)
    assert free(APPLE) == 800
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 1000)
    assert free(APPLE) == 0
    assert free(torch.device("xpu")) is None


# -------------------------------------------------------------------------------------------- what is needed


def sizes(planned: Plan, device: torch.device) -> tuple[int, int]:
    found = need(planned, device)
    return found.model, found.sources


def test_on_the_cpu_what_is_mapped_is_not_needed_elsewhere_it_is(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a"), small(tmp_path / "b", seed=2)
    size = open_checkpoint(a).bytes
    layer = sum(spec.bytes for name, spec in open_checkpoint(a).specs.items() if ".layers.1." in name)
    assert sizes(plan(graft(a, b, (1, 2))), CPU) == (0, size)
    assert sizes(plan(graft(a, b, (1, 2))), GPU) == (size, 0)
    assert sizes(plan(repeat(a, (1, 3), times=4)), CPU) == (0, size)
    assert sizes(plan(repeat(a, (1, 3), times=4)), GPU) == (size, 0)  # a repeated layer is there once
    assert sizes(plan(linear(a, b)), CPU) == sizes(plan(linear(a, b)), GPU) == (size, 2 * size)
    tasks = plan(stack([(b, 0, 3)], base=a, method="task_arithmetic", coefficient=0.5))
    assert sizes(tasks, GPU) == (size, 2 * size)
    blended = replace(runs((a, 0, 1), ("first", 1, 2), (a, 2, 3)), stages=(linear(a, b, name="first"),))
    assert sizes(plan(blended), CPU) == (layer, size + layer)
    assert sizes(plan(blended), GPU) == (size, 2 * layer)


def test_a_turn_needs_what_it_has_to_make(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a"), small(tmp_path / "b", seed=2)
    planned = plan(linear(a, b))
    fresh = planned.steps[:2]
    found = need(planned, CPU, fresh)
    assert found.model == sum(step.bytes for step in fresh)
    assert found.sources == 2 * found.model
    assert need(planned, GPU, ()) == Need(GPU, 0, 0, 0, need(planned, GPU).cache)


def test_what_an_adapter_changes_stays_in_memory(tmp_path: Path) -> None:
    folder = small(tmp_path / "a")
    lora = save_adapter(tmp_path / "lora", pair("model.layers.1.self_attn.q_proj", 8, 8))
    whole = open_checkpoint(folder)
    changed = whole.specs["model.layers.1.self_attn.q_proj.weight"].bytes
    planned = plan(repeat(f"{folder}+{lora}", (1, 3)))
    assert sizes(planned, CPU) == (changed, whole.bytes - changed)
    assert sizes(planned, GPU) == (whole.bytes, 0)


def test_working_space_is_that_of_the_widest_step(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a"), small(tmp_path / "b", seed=2)
    widest = 13 * 8
    assert need(plan(linear(a, b)), CPU).scratch == widest * 3 * 4  # two models and the result
    assert need(plan(linear(a, b, dtype="F64")), CPU).scratch == widest * 3 * 8
    assert need(plan(graft(a, b, (1, 2))), CPU).scratch == 0
    tasks = plan(stack([(b, 0, 3)], base=a, method="task_arithmetic", coefficient=0.5))
    assert need(tasks, CPU).scratch == max(step.elements for step in tasks.steps if not step.copies) * 3 * 4
    staged = replace(runs(("first", 0, 1), (b, 1, 3)), stages=(linear(a, b, b, name="first"),))
    assert need(plan(staged), CPU).scratch == widest * 4 * 4


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma2", "gpt2"])
def test_keys_and_values_are_those_of_the_live_model(kind: str, family: Callable[[str, int], Path]) -> None:
    planned = plan(stack([(family(kind, 1), 0, DEPTH)], base=family(kind, 1)))
    with assemble(planned, device="cpu") as live, torch.inference_mode():
        cache = live.model(torch.tensor([[1, 2, 3]]), use_cache=True).past_key_values
        per_token = sum(
            tensor.nbytes / tensor.shape[-2] for layer in cache.layers for tensor in (layer.keys, layer.values)
        )
    assert need(planned, CPU).cache == per_token * devices.TOKENS


def test_apples_gpu_is_told_no_float64_before_anything_is_read(tmp_path: Path) -> None:
    a, b = small(tmp_path / "a"), small(tmp_path / "b", seed=2)
    with pytest.raises(AssemblyError, match=r"mps:0 has no float64.*'dtype: float32'"):
        need(plan(linear(a, b, dtype="F64")), APPLE)
    assert need(plan(linear(a, b)), APPLE).model == open_checkpoint(a).bytes


# ---------------------------------------------------------------------------------------------- does it fit


def test_what_cannot_fit_is_refused_with_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    memory(monkeypatch, 7_900_000_000)
    with pytest.raises(AssemblyError) as refused:
        admit(Need(GPU, 14_200_000_000, GB, GB, GB))
    assert str(refused.value) == (
        "memory: the model needs 14.2 GB on cuda:0, 7.9 GB are free. "
        "Use device='cpu', or merge to disk (ml.merge), which holds one tensor at a time."
    )
    with pytest.raises(AssemblyError, match=r"14.2 GB on cpu, 7.9 GB are free. Close other models, or merge to disk"):
        admit(Need(CPU, 14_200_000_000, GB, GB, GB))
    assert admit(Need(GPU, 14_200_000_000, GB, 0, 0), releasable=6_300_000_000) == ""


def test_only_the_models_own_tensors_are_a_reason_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    memory(monkeypatch, 5 * GB)
    assert admit(Need(GPU, 3 * GB, 100 * GB, GB, GB)) == ""
    assert admit(Need(GPU, 5 * GB, 100 * GB, GB, GB)) == (
        "Memory may run out: up to 7 GB are needed on cuda:0, 5 GB are free."
    )
    memory(monkeypatch, None)
    assert admit(Need(CPU, 10**18, 0, 0, 0)) == ""


def test_the_memory_left_over_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    memory(monkeypatch, 120 * GB)
    assert share(Need(GPU, 15 * GB, 45 * GB, 2 * GB, 3 * GB)) == Room(75 * GB, 15 * GB)
    memory(monkeypatch, 80 * GB)
    assert share(Need(GPU, 15 * GB, 45 * GB, 2 * GB, 3 * GB)) == Room(45 * GB, 9 * GB)
    memory(monkeypatch, 40 * GB)
    assert share(Need(GPU, 15 * GB, 45 * GB, 2 * GB, 3 * GB)) == Room(18 * GB, 0)
    memory(monkeypatch, 10 * GB)
    assert share(Need(GPU, 15 * GB, 45 * GB, 2 * GB, 3 * GB)) == share(Need(CPU, 15 * GB, 45 * GB, 0, 0)) == Room(0, 0)
    memory(monkeypatch, 60 * GB)
    assert share(Need(CPU, 20 * GB, 60 * GB, 0, 0)) == Room(9 * GB, 18 * GB) == share(Need(CPU, 20 * GB, GB, 0, 0))
    memory(monkeypatch, None)
    assert share(Need(CPU, 20 * GB, 60 * GB, 0, 0)) == Room(60 * GB, 20 * GB)


# ------------------------------------------------------------------------------------------ memory runs out


def full(words: str = "CUDA out of memory. Tried to allocate 20.00 MiB.\nMore of it") -> Exception:
    return torch.OutOfMemoryError(words)


class Work:
    """Work that fails so many times."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls: list[str] = []

    def __call__(self) -> str:
        self.calls.append("work")
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    def release(self) -> None:
        self.calls.append("release")

    def fall_back(self) -> str:
        self.calls.append("fall back")
        return "done otherwise"


def test_work_that_fits_is_done_once() -> None:
    work = Work()
    assert sheltered(work, release=work.release, fall_back=work.fall_back, device=CPU) == "done"
    assert work.calls == ["work"]


def test_where_memory_runs_out_what_can_be_is_released_and_it_is_tried_again() -> None:
    work = Work(full())
    assert sheltered(work, release=work.release, fall_back=work.fall_back, device=CPU) == "done"
    assert work.calls == ["work", "release", "work"]


def test_then_it_falls_back_and_without_that_says_so_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(full(), full())
    assert sheltered(work, release=work.release, fall_back=work.fall_back, device=CPU) == "done otherwise"
    assert work.calls == ["work", "release", "work", "fall back"]
    memory(monkeypatch, 1_500_000)
    monkeypatch.setattr(devices, "trim", lambda _: None)
    with pytest.raises(AssemblyError) as refused:
        sheltered(Work(full(), full()), release=lambda: None, device=GPU)
    assert str(refused.value) == (
        "memory: ran out on cuda:0, 1.5 MB are free (CUDA out of memory. Tried to allocate 20.00 MiB.). "
        "Use device='cpu', or merge to disk (ml.merge), which holds one tensor at a time."
    )
    work = Work(full(), full(), full(""))
    with pytest.raises(AssemblyError, match="ran out on cpu"):
        sheltered(work, release=lambda: None, fall_back=work, device=CPU)
    assert work.calls == ["work"] * 3


def test_what_failed_work_had_made_is_gone_when_it_is_tried_again() -> None:
    made: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def work() -> None:
        gc.disable()
        alive.append(sum(one() is not None for one in made))
        tensor = torch.zeros(3)
        made.append(weakref.ref(tensor))
        raise full()

    try:
        with pytest.raises(AssemblyError):
            sheltered(work, release=lambda: alive.append(sum(one() is not None for one in made)), device=CPU)
    finally:
        gc.enable()
    assert alive == [0, 0, 0]


def test_other_errors_are_not_swallowed() -> None:
    for error in (
        RuntimeError("shapes differ"),
        ValueError("out of memory"),
        AssemblyError(*[devices.Problem("", "x")]),
    ):
        work = Work(error)
        with pytest.raises(type(error)) as raised:
            sheltered(work, release=work.release, fall_back=work.fall_back, device=CPU)
        assert raised.value is error
        assert work.calls == ["work"]


def test_memory_that_ran_out_is_known_by_every_name_it_has() -> None:
    with pytest.raises(RuntimeError) as real:
        torch.empty(math.prod([10**6, 10**8]))
    assert ran_out(real.value)
    for error in (
        full(), MemoryError(), RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ):  # fmt: skip
        assert ran_out(error)
    assert not ran_out(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not ran_out(ValueError("not enough memory"))


def test_memory_is_given_back_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: told.append("cuda"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: told.append("mps"))
    for device in (CPU, GPU, APPLE):
        devices.trim(device)
    assert told == ["cuda", "mps"]
