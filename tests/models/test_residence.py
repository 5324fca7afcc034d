"""Residence: tensors of sources on a device, within a budget. The device is the CPU, told to copy."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab.errors import SourceError
from mergelab.models import residence
from mergelab.models.residence import Residence, read_from_disk
from mergelab.weights import Checkpoint, open_checkpoint
from mergelab.weights.adapters import Adapter
from tests.models.small import small
from tests.weights import folders
from tests.weights.folders import pair, save_adapter

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
BYTES = 4 * 10  # of one of the tensors below
CHANGED = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Six tensors of one size, and what a Llama needs beside them."""
    shapes = folders.shapes(2) | {f"model.layers.{layer}.{name}": (10,) for layer in range(2) for name in "abc"}
    return open_checkpoint(folders.save(tmp_path_factory.mktemp("source") / "a", folders.tensors(shapes)))


NAMES = [f"model.layers.{layer}.{name}" for layer in range(2) for name in "abc"]


def asked(place: Residence, checkpoint: Checkpoint, names: list[str]) -> int:
    """Bytes sent in a turn that uses these tensors, and not kept."""
    place.begin()
    for name in names:
        found = place.tensor(checkpoint, name)
        assert torch.equal(found, checkpoint.tensor(name))
        assert found.data_ptr() != checkpoint.tensor(name).data_ptr()
    return place.streamed


def test_what_is_read_from_disk_is_as_much_as_the_system_says(tmp_path: Path) -> None:
    def told() -> int:
        return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["read_bytes"])

    file = tmp_path / "cold"
    file.write_bytes(bytes(1 << 20))
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        before = told(), read_from_disk()
        with mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert not any(mapped[::4096])
        after = told(), read_from_disk()
    system, ours = (end - start for start, end in zip(before, after, strict=True))
    assert ours == system  # 1 MiB where the folder is on a disk, and nothing where it is in memory


def test_on_the_cpu_tensors_are_the_mapped_ones(checkpoint: Checkpoint) -> None:
    place = Residence(CPU, 10**9)
    for name in checkpoint.specs:
        assert place.tensor(checkpoint, name) is checkpoint.tensor(name)
    assert (place.resident, place.streamed) == (0, 0)


def test_elsewhere_they_are_sent_once_as_far_as_the_budget_goes(checkpoint: Checkpoint) -> None:
    place = Residence(CPU, 4 * BYTES, copied=True)
    assert asked(place, checkpoint, NAMES) == 2 * BYTES
    assert place.resident == 4 * BYTES
    kept = [place.tensor(checkpoint, name) for name in NAMES[:4]]
    # A turn of everything comes round in the same order: what is kept stays, only the rest is sent again.
    for _ in range(3):
        assert asked(place, checkpoint, NAMES) == 2 * BYTES
    assert all(place.tensor(checkpoint, name) is tensor for name, tensor in zip(NAMES, kept, strict=False))


def test_what_two_turns_did_not_use_makes_room(checkpoint: Checkpoint) -> None:
    place = Residence(CPU, 4 * BYTES, copied=True)

    def kept() -> list[int]:
        return [at for at, name in enumerate(NAMES) if (checkpoint.source, name) in place._kept]

    asked(place, checkpoint, NAMES[:4])
    assert asked(place, checkpoint, [NAMES[0], NAMES[5]]) == BYTES
    assert kept() == [0, 1, 2, 3]  # used in this turn or in the last: they stay
    assert asked(place, checkpoint, [NAMES[5]]) == 0
    assert kept() == [0, 2, 3, 5]
    asked(place, checkpoint, [NAMES[2]])
    asked(place, checkpoint, [NAMES[2]])
    assert asked(place, checkpoint, [NAMES[4]]) == 0
    assert kept() == [0, 2, 4, 5]  # the one that was used longest ago went, and no more than had to
    assert place.resident == 4 * BYTES


def test_without_a_budget_everything_is_sent_each_time(checkpoint: Checkpoint) -> None:
    place = Residence(CPU, copied=True)
    for _ in range(2):
        assert asked(place, checkpoint, NAMES * 2) == 12 * BYTES
    assert place.resident == 0


@given(
    st.integers(0, 500),
    st.lists(st.one_of(st.none(), st.just(-1), st.sampled_from(range(11))), max_size=40),
)
def test_whatever_is_asked_the_answer_is_right_and_the_budget_holds(
    checkpoint: Checkpoint, budget: int, asks: list[int | None]
) -> None:
    names = sorted(checkpoint.specs)
    place = Residence(CPU, budget, copied=True)
    for ask in asks:
        if ask is None:
            place.begin()
        elif ask < 0:
            place.release()
            assert place.resident == 0
        else:
            assert torch.equal(place.tensor(checkpoint, names[ask]), checkpoint.tensor(names[ask]))
        assert place.resident == sum(kept.tensor.nbytes for kept in place._kept.values()) <= max(place.budget, 0)


def test_tensors_keep_the_dtype_that_they_are_stored_in(tmp_path: Path) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        folder = folders.save(tmp_path / str(dtype), folders.tensors(folders.shapes(), dtype=dtype))
        opened = open_checkpoint(folder)
        place = Residence(CPU, 10**9, copied=True)
        for name, spec in opened.specs.items():
            found = place.tensor(opened, name)
            assert (found.dtype, found.nbytes) == (dtype, spec.bytes)


def test_a_source_that_was_opened_again_is_not_mixed_with_what_it_was(tmp_path: Path) -> None:
    old = open_checkpoint(small(tmp_path / "a", seed=1))
    place = Residence(CPU, 10**9, copied=True)
    before = place.tensor(old, CHANGED).clone()
    new = open_checkpoint(small(tmp_path / "a", seed=2))
    assert not torch.equal(place.tensor(new, CHANGED), before)
    assert torch.equal(place.tensor(new, CHANGED), new.tensor(CHANGED))
    assert place.resident == before.nbytes
    with pytest.raises(SourceError, match="changed after it was opened"):
        place.tensor(old, CHANGED)


def test_a_tensor_that_an_adapter_changes_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small(tmp_path / "a")
    lora = save_adapter(tmp_path / "lora", pair("model.layers.1.self_attn.q_proj", 8, 8))
    adapted = open_checkpoint(f"{folder}+{lora}")
    expected = adapted.tensor(CHANGED).clone()
    folded: list[str] = []
    fold = Adapter.fold

    def counted(adapter: Adapter, name: str, stored: torch.Tensor) -> torch.Tensor:
        folded.append(name)
        return fold(adapter, name, stored)

    monkeypatch.setattr(Adapter, "fold", counted)
    for copied in (False, True):
        place = Residence(CPU, 10**9, copied=copied)
        folded.clear()
        for _ in range(3):
            assert torch.equal(place.tensor(adapted, CHANGED), expected)
        assert folded == [CHANGED]
        assert (place.resident, place.streamed) == (expected.nbytes, 0)
    place = Residence(CPU)
    folded.clear()
    for _ in range(3):
        assert torch.equal(place.tensor(adapted, CHANGED), expected)
    assert len(folded) == 3


def test_where_memory_ran_out_less_is_kept_from_then_on(checkpoint: Checkpoint) -> None:
    place = Residence(CPU, 50 * BYTES, copied=True)
    assert (place.release(), place.budget) == (0, 50 * BYTES)
    asked(place, checkpoint, NAMES[:4])
    assert place.release() == 4 * BYTES
    assert (place.resident, place.budget) == (0, 2 * BYTES)
    asked(place, checkpoint, NAMES)
    place.budget = BYTES
    assert place.release() == 2 * BYTES
    assert place.budget == BYTES // 2
    place.budget = 2 * BYTES
    asked(place, checkpoint, NAMES)
    assert place.resident == 2 * BYTES
    place.close()
    assert asked(place, checkpoint, NAMES) == 6 * BYTES
    assert place.resident == 0
    place.budget = BYTES
    assert asked(place, checkpoint, NAMES) == 5 * BYTES


# ----------------------------------------------------------------------------------- the way to a GPU, simulated


class Stream:
    """Copies that are told not to block are only done when somebody waits for them, as late as a GPU may do them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queue: list[Callable[[], object]] = []
        self.done = self.waits = 0
        copy, empty, stream = torch.Tensor.copy_, torch.empty, self

        class Event:
            def __init__(self) -> None:
                self.after = 0

            def record(self, where: object) -> None:
                assert where is stream
                self.after = len(stream.queue)

            def synchronize(self) -> None:
                stream.waits += stream.done < self.after
                stream.run(self.after)

        def copied(target: torch.Tensor, source: torch.Tensor, *, non_blocking: bool = False) -> torch.Tensor:
            if not non_blocking:
                return copy(target, source)
            assert source.untyped_storage().data_ptr() in self.pinned
            self.queue.append(lambda: copy(target, source))
            return target

        def made(*size: Any, pin_memory: bool = False, device: torch.device = CPU, dtype: torch.dtype) -> torch.Tensor:
            found = empty(*size, dtype=dtype)
            self.pinned += [found.untyped_storage().data_ptr()] if pin_memory else []
            return found

        self.pinned: list[int] = []
        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: self)
        monkeypatch.setattr(torch.Tensor, "copy_", copied)
        monkeypatch.setattr(torch, "empty", made)

    def run(self, end: int | None = None) -> None:
        end = len(self.queue) if end is None else end
        while self.done < end:
            self.queue[self.done]()
            self.done += 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool, torch.float8_e4m3fn, torch.int64])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (16,), (17,), (5, 7), (40, 3)])
def test_bytes_of_any_tensor_arrive_whole_and_in_order(
    shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = (torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 4).to(dtype)
    stream = Stream(monkeypatch)
    lane = residence._Lane(GPU, chunk=16)
    sent = [lane.send(stored) for _ in range(3)]
    stream.run()
    for one in sent:
        assert (one.shape, one.dtype) == (stored.shape, stored.dtype)
        assert torch.equal(one.reshape(-1).view(torch.uint8), stored.reshape(-1).view(torch.uint8))
    assert len(stream.pinned) == 2


def test_nothing_waits_but_for_the_piece_it_wants_to_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(monkeypatch)
    lane = residence._Lane(GPU, chunk=16)
    lane.send(torch.zeros(32, dtype=torch.uint8))
    assert (stream.waits, stream.done) == (0, 0)
    lane.send(torch.zeros(16, dtype=torch.uint8))
    assert (stream.waits, stream.done) == (1, 1)


def test_a_transposed_tensor_arrives_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = torch.arange(12).reshape(3, 4).T
    stream = Stream(monkeypatch)
    sent = residence._Lane(GPU, chunk=16).send(stored)
    stream.run()
    assert torch.equal(sent, stored)


def test_pinned_memory_made_in_inference_mode_serves_outside_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stored, stream = torch.arange(5.0), Stream(monkeypatch)
    lane = residence._Lane(GPU, chunk=16)
    with torch.inference_mode():
        lane.send(stored)
        stream.run()
    sent = lane.send(stored)
    stream.run()
    assert torch.equal(sent, stored)


def test_a_gpu_is_sent_to_through_the_lane(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, place = Stream(monkeypatch), Residence(GPU, 10**9)
    found = [place.tensor(checkpoint, name) for name in NAMES * 2]
    place.close()
    place.budget = 10**9
    found += [place.tensor(checkpoint, name) for name in NAMES]
    stream.run()
    assert len(stream.queue) == 2 * len(NAMES)
    assert all(torch.equal(one, checkpoint.tensor(name)) for one, name in zip(found, NAMES * 3, strict=True))
