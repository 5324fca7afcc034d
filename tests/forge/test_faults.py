"""Merges that end before their end: whatever happens, the folder is as it was or whole, and the next run goes on."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mergelab import cli
from mergelab.__main__ import door
from tests.forge.nursery import Nursery, Order, Outcome
from tests.forge.placing import may_exchange

_MOUNT = 'mount -t tmpfs -o size=300k none {disk} && mount -t tmpfs -o size=300k,ro none {fixed} && exec "$@"'


def _may_mount() -> bool:
    """Whether a process may have disks of its own here, as root may, and many a user."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    words = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


MAY_MOUNT = _may_mount()


@dataclass(frozen=True)
class Scene:
    """A merge that is cut short again and again.

    Attributes:
        nursery: runs it.
        old: an order for another merge, to be replaced.
        new: the order for the merge.
        events: what it does to the disk, by the way that it comes into place (``WAYS``).
        made: its files, after a run that nothing happened to.
        earlier: the files of the other.
        seconds: how long it takes.
        disk: where the processes have a small disk, if they may.
        fixed: where they have a disk that is read-only.
    """

    nursery: Nursery
    old: Order
    new: Order
    events: dict[str, list[str]]
    made: dict[str, str]
    earlier: dict[str, str]
    seconds: float
    disk: Path
    fixed: Path

    def begin(self, *, way: str) -> Order:
        """The order, where nothing is there, or the other merge."""
        shutil.rmtree(self.new.root)
        Path(self.new.root).mkdir()
        if way != "new":
            shutil.copytree(Path(self.new.root).with_name("earlier"), Path(self.new.root) / "out")
        return replace(self.new, force=way != "new", renames=way == "renamed")

    def is_whole(self, found: Outcome, *, way: str) -> None:
        """The folder is as it was, or new."""
        out = found.within("out")
        if way == "renamed" and not out:  # killed between two renames
            assert found.within(".out.replaced") == self.earlier
        else:
            assert out in ({} if way == "new" else self.earlier, self.made)

    def ends(self, order: Order) -> Outcome:
        """The next run ends well, and leaves nothing but the folder."""
        found = self.nursery.run(order)
        assert (found.code, found.said) == (0, "")
        assert found.within("out") == self.made
        assert len(found.left) == len(self.made)
        return found


def _may_trade() -> bool:
    with TemporaryDirectory() as folder:
        return may_exchange(Path(folder))


WAYS = ("new", *(["traded"] if _may_trade() else []), "renamed")
"""Nothing is there; the other merge is, and they trade names; it steps aside, where the system lets no two trade."""


def recipe(a: Path, b: Path, weight: float) -> str:
    """A small merge of two models."""
    return f"""
merge_method: linear
dtype: bfloat16
slices:
- sources:
  - {{model: {a}, layer_range: [0, 2], parameters: {{weight: {weight}}}}}
  - {{model: {b}, layer_range: [1, 3], parameters: {{weight: 0.6}}}}
"""


@pytest.fixture(scope="module")
def scene(llamas: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    notes, root, disk, fixed = (tmp_path_factory.mktemp(name) for name in ("notes", "root", "disk", "fixed"))
    old, new = (Order(recipe(*llamas[:2], weight), str(root)) for weight in (0.1, 0.4))
    with_disks = ["unshare", "-rm", "sh", "-c", _MOUNT.format(disk=disk, fixed=fixed), "sh"]
    nursery = Nursery(new.recipe, notes, with_disks if MAY_MOUNT else ())
    made = nursery.run(new)
    shutil.rmtree(root / "out")
    earlier = nursery.run(old)
    shutil.copytree(root / "out", root.with_name("earlier"))
    traded = nursery.run(replace(new, force=True))
    shutil.rmtree(root / "out")
    shutil.copytree(root.with_name("earlier"), root / "out")
    renamed = nursery.run(replace(new, force=True, renames=True))
    assert [one.said for one in (made, earlier, traded, renamed)] == [""] * 4
    assert earlier.left != made.left == traded.left == renamed.left
    ran = {"new": made, "traded": traded, "renamed": renamed}
    events = {way: ran[way].events for way in WAYS}
    yield Scene(nursery, old, new, events, made.within("out"), earlier.within("out"), made.seconds, disk, fixed)
    nursery.close()
    shutil.rmtree(root.with_name("earlier"))


# ------------------------------------------------------------------------------------------- killed


def first(events: list[str], name: str) -> int:
    """Number of the event, from 1."""
    return events.index(name) + 1


@pytest.mark.parametrize("way", WAYS)
def test_killed_at_any_step_of_coming_into_place(way: str, scene: Scene) -> None:
    events = scene.events[way]
    force = way != "new"
    begin = first(events, "open README.md") + 1
    verbs = ["", *(event.split()[0] for event in events)]
    for number in range(begin, len(events) + 1):
        if verbs[number] in ("sync", "remove") and verbs[number - 1] == verbs[number]:
            continue  # several in a row: one kill before them tells as much as many
        order = scene.begin(way=way)
        killed = scene.nursery.run(replace(order, event=number))
        assert killed.code == -signal.SIGKILL, events[number - 1]
        scene.is_whole(killed, way=way)
        if not killed.within("out"):
            refused = scene.nursery.run(replace(order, force=False)) if force else None
            assert refused is None or (refused.code, refused.within("out")) == (2, scene.earlier)
        again = scene.ends(replace(order, force=True))
        left = killed.within(".out.partial/model")
        if left == scene.earlier:
            assert way == "traded"
            assert again.remark.startswith("Removed an earlier merge that had been replaced, by a run that was killed")
        elif left:
            assert again.remark.endswith("27.9 kB of 27.9 kB are there.")
            assert "open model-00001-of-00004.safetensors.part" not in again.events


def test_nothing_is_entered_or_renamed_before_it_is_on_the_disk(scene: Scene) -> None:
    """What a killed process cannot show: only a machine that loses its power can."""
    root = Path(scene.new.root).name
    for way, events in scene.events.items():
        placed = first(events, "exchange" if way == "traded" else "rename model")
        for name in [*scene.made, "model"]:
            assert f"sync {name}" in events[:placed], name
        assert f"sync {root}" in events[placed:]
        assert way != "renamed" or events[first(events, "rename out")] == f"sync {root}"
        for name in [name for name in scene.made if name.endswith(".safetensors")]:
            begin = first(events, f"sync {name}.part")
            own = [event for event in events[begin:] if event.split()[0] in ("rename", "sync")]
            entered = ["sync model", "sync journal.json.part", "rename journal.json.part", "sync .out.partial"]
            assert own[:5] == [f"rename {name}.part", *entered]


def test_killed_again_and_again_at_random_steps(scene: Scene) -> None:
    drawn = random.Random(5)
    for way in WAYS:
        order = scene.begin(way=way)
        resumed = 0
        for _ in range(5):
            killed = scene.nursery.run(replace(order, event=drawn.randint(4, 60)))
            scene.is_whole(killed, way=way)
            if killed.code == 0:  # it had less to do, and ended
                break
            assert killed.code == -signal.SIGKILL
            resumed += "journal.json" in str(killed.left)
        assert resumed
        scene.ends(replace(order, force=True))


def test_killed_at_random_moments(scene: Scene) -> None:
    drawn = random.Random(6)
    ends: list[int] = []
    for number in range(8):
        way = WAYS[number % len(WAYS)]
        order = scene.begin(way=way)
        killed = scene.nursery.run(replace(order, seconds=scene.seconds * drawn.random()))
        ends.append(killed.code)
        assert killed.code in (0, -signal.SIGKILL)
        scene.is_whole(killed, way=way)
        scene.ends(replace(order, force=True))
    assert -signal.SIGKILL in ends


@pytest.mark.parametrize("change", ["recipe", "source"])
def test_a_run_with_something_else_does_not_use_what_was_left(change: str, scene: Scene, tmp_path: Path) -> None:
    order = scene.begin(way="new")
    number = first(scene.events["new"], "open README.md")
    killed = scene.nursery.run(replace(order, event=number))
    assert len(killed.within(".out.partial/model")) > 4
    if change == "recipe":
        other = scene.nursery.run(replace(scene.old, event=0))
        assert other.within("out") == scene.earlier
        assert "another recipe" in other.remark
    else:
        source = Path(order.recipe.split("model: ")[1].split(",")[0]) / "model.safetensors"
        source.touch()
        again = scene.ends(order)
        assert "Removed what an earlier run had left, which did not end" in again.remark
        assert again.remark.endswith("it was made with sources that have changed since.")


# ------------------------------------------------------------------------------------------- interrupted


def test_an_interrupt_ends_the_command_with_a_word(scene: Scene) -> None:
    drawn = random.Random(7)
    whole = scene.nursery.run(replace(scene.begin(way="new"), prove=None))
    assert whole.code == 0
    made = whole.within("out")
    for number in range(10):
        order = replace(scene.begin(way="new"), prove=None, deed=str(int(signal.SIGINT)))
        at = (
            {"event": drawn.randint(1, len(whole.events))}
            if number % 2
            else {"seconds": whole.seconds * drawn.random()}
        )
        found = scene.nursery.run(replace(order, **at))
        assert found.code in (130, 0), found.said
        assert "Traceback" not in found.said
        assert found.within("out") in ({}, made)
        if found.code == 130:
            assert "stopped." in found.said
            assert ("is kept in" in found.said) == (".out.partial/journal.json" in found.left)
            assert not [name for name in found.left if name.endswith(".part")]


@pytest.mark.parametrize("interrupted", [True, False])
def test_an_interrupt_that_a_library_made_another_error_of_is_an_interrupt(
    interrupted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> int:
        if interrupted:
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        raise ValueError("could not determine the shape")

    monkeypatch.setattr(cli, "main", main)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if interrupted:
            assert door() == 130
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        else:
            with pytest.raises(ValueError, match="the shape"):
                door()
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == ("mergelab: stopped.\n" if interrupted else "")


# ------------------------------------------------------------------------------------------- no room, no right


def test_a_file_that_may_grow_no_further_is_an_error(scene: Scene) -> None:
    for way in WAYS:
        order = scene.begin(way=way)
        found = scene.nursery.run(replace(order, limit=5_000))
        assert found.code == 2
        assert "OutputError" in found.said
        assert "cannot be written (File too large). Free space or choose another place.\nNothing was left" in found.said
        assert found.left == {f"out/{name}": sha for name, sha in ({} if way == "new" else scene.earlier).items()}
        scene.ends(replace(order, force=True))


if MAY_MOUNT:  # elsewhere only the limit above tells how a write that fails is taken

    def test_a_full_disk_is_an_error_and_what_is_finished_waits_for_room(scene: Scene) -> None:
        nursery, disk = scene.nursery, scene.disk
        order = replace(scene.new, root=str(disk))
        events = nursery.run(order).events
        earlier = nursery.run(replace(scene.old, root=str(disk), force=True)).left
        kept = 0
        for name in ("open model-00001-of-00004.safetensors.part", "sync journal.json.part", "open config.json"):
            for number in [number for number, event in enumerate(events, start=1) if event == name][:2]:
                found = nursery.run(replace(order, force=True, event=number, deed="fill"))
                assert found.code == 2, (name, found.said)
                assert "cannot be written (No space left on device)" in found.said
                assert found.within("out") == {name.removeprefix("out/"): sha for name, sha in earlier.items()}
                kept += "is kept in" in found.said
                again = nursery.run(replace(order, force=True))
                assert (again.code, again.within("out")) == (0, scene.made)
                assert bool(again.remark) == ("is kept in" in found.said)
                nursery.run(replace(scene.old, root=str(disk), force=True))
        assert kept >= 2

    def test_too_little_room_is_an_error_before_anything_is_written(scene: Scene) -> None:
        nursery, disk = scene.nursery, scene.disk
        before = nursery.run(replace(scene.old, root=str(disk), force=True)).left
        head, slices = scene.new.recipe.replace("bfloat16", "float32").split("slices:\n")
        found = nursery.run(replace(scene.new, root=str(disk), recipe=f"{head}slices:\n{slices * 20}", force=True))
        assert found.code == 2
        assert f"{disk} has " in found.said
        assert (found.events, found.left) == ([], before)

    def test_a_disk_that_is_read_only_is_an_error(scene: Scene) -> None:
        nursery, fixed = scene.nursery, scene.fixed
        found = nursery.run(replace(scene.new, root=str(fixed)))
        assert found.code == 2
        assert f"{fixed} is on a filesystem that is read-only. Choose another place." in found.said


# ------------------------------------------------------------------------------------------- sources


@pytest.mark.parametrize("deed", ["truncate", "replace", "delete"])
def test_a_source_that_is_not_what_it_was_is_named(
    deed: str, scene: Scene, llamas: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    drawn = random.Random(8)
    model = tmp_path / "model"
    shutil.copytree(llamas[1], model)
    weights = model / "model.safetensors"
    events = scene.events[WAYS[-1]]
    while_read = first(events, "open model-00001-of-00004.safetensors.part"), first(events, "open mergelab.json") - 1
    for _ in range(3):
        order = replace(scene.begin(way=WAYS[-1]), recipe=recipe(llamas[0], model, 0.4))
        found = scene.nursery.run(replace(order, event=drawn.randint(*while_read), deed=deed, victim=str(weights)))
        assert found.code == 2
        # Whoever needs the file first says it: who opens it, or who reads on.
        named = [f"{weights}: cannot be read", f"{model}: weight file {weights.name!r} is gone"]
        named = named if deed == "delete" else [f"{weights}: changed"]
        assert any(f"SourceError\n{one}" in found.said for one in named)
        assert found.within("out") == scene.earlier
        if deed == "truncate":
            found = scene.nursery.run(order)
            assert (found.code, found.events) == (2, [])
            assert "The file is truncated or damaged" in found.said
        shutil.copyfile(llamas[1] / "model.safetensors", weights)
        again = scene.nursery.run(order)
        assert (again.code, again.within("out").keys()) == (0, scene.made.keys())
        assert (
            again.within("out")["model-00001-of-00004.safetensors"] != scene.earlier["model-00001-of-00004.safetensors"]
        )
        assert len(again.left) == len(scene.made)
