"""A proof that comes after the merge: its verdict stands where the merge's own would."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from mergelab import cli
from mergelab.errors import OutputError, SourceError
from mergelab.forge.merge import merge
from mergelab.forge.obstacles import RECIPE_FILE
from mergelab.forge.proof import prove
from mergelab.forge.provenance import FILE
from mergelab.forge.verify import verify
from tests.forge.spoiling import edit, flip

TENSOR = "model.layers.2.mlp.up_proj.weight"


def held(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_a_later_verdict_is_what_the_merges_own_would_be(out: Path) -> None:
    merge(str(out / RECIPE_FILE), "proven", prove=True)
    before = held(out)
    assert prove(out).holds
    assert held(out) == before
    assert prove(out, write=True).holds
    after = held(out)
    assert {name for name in after if after[name] != before[name]} == {FILE, "README.md"}
    # The merge's own proof came before there was a record or a card: it has counted two files less.
    mine, theirs = (
        {name: data.replace(f"all {count} are a merge's".encode(), b"all are") for name, data in files.items()}
        for files, count in ((after, len(after)), (held(Path("proven")), len(after) - 2))
    )
    assert mine == theirs
    found = verify(out)
    assert (found.holds, found.unseen) == (True, ())
    assert "note" not in [one.grade for one in found.findings]
    assert prove(out, write=True).holds  # and once more
    assert held(out) == after


def test_a_card_that_somebody_wrote_on_stays(out: Path) -> None:
    mine = b"Mine, in Latin 1: \xe9."
    (out / "README.md").write_bytes(mine)
    found = prove(out, write=True)
    assert str(found).splitlines()[-1] == (
        "Written into mergelab.json; README.md is not as the merge wrote it, and stays."
    )
    assert (out / "README.md").read_bytes() == mine
    assert json.loads((out / FILE).read_bytes())["proof"]["holds"]
    assert verify(out).holds
    (out / "README.md").unlink()
    assert prove(out, write=True).entered == "Written into mergelab.json; there is no README.md."
    assert not (out / "README.md").exists()


@pytest.mark.parametrize("name", [FILE, "README.md"])
def test_a_write_that_fails_leaves_nothing_behind(name: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = held(out)
    plain = os.replace

    def full(part: Path, path: Path) -> None:
        if path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(part, path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OutputError, match=r"cannot be written \(No space left"):
            prove(out, write=True)
    after = held(out)
    assert after.keys() == before.keys()
    assert after[name] == before[name]
    assert prove(out, write=True).entered == "Written into mergelab.json and onto README.md."


def test_what_a_killed_write_left_is_no_obstacle(out: Path) -> None:
    for name in (".README.md.part", ".mergelab.json.part"):
        (out / name).write_text("half")
    merge(str(out / RECIPE_FILE), out, force=True, prove=False)
    assert not [name for name in held(out) if name.endswith(".part")]


def test_a_verdict_that_does_not_hold_is_not_written(out: Path) -> None:
    flip(out / "model.safetensors", TENSOR, 5)
    before = held(out)
    assert not prove(out, write=True).holds
    assert held(out) == before


def test_no_verdict_goes_into_the_record_of_another_merge(out: Path) -> None:
    edit(out / FILE, lambda found: found["recipe"].update(sha256="0" * 64))
    before = held(out)
    with pytest.raises(SourceError, match="is of another recipe"):
        prove(out, write=True)
    (out / FILE).unlink()
    with pytest.raises(SourceError, match=f"has no {FILE}"):
        prove(out, write=True)
    assert {**held(out), FILE: before[FILE]} == before


def test_the_command_says_the_verdict_with_its_exit_code(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = held(out)
    assert cli.main(["prove", "out"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Proven: all ")
    assert "Written" not in printed
    assert held(out) == before
    assert cli.main(["prove", "out", "--write"]) == 0
    assert capsys.readouterr().out.endswith("\nWritten into mergelab.json and onto README.md.\n")
    assert "checks hold" in (out / "README.md").read_text()
    flip(out / "model.safetensors", TENSOR, 5)
    capsys.readouterr()
    assert cli.main(["prove", "out"]) == 2
    assert capsys.readouterr().out.startswith("Not proven: ")
    assert cli.main(["prove", "nowhere"]) == 2
    assert cli.main(["prove", "out", "--device", "mps"]) == 3
    said = capsys.readouterr().err
    assert "mergelab prove: " in said
    shutil.rmtree("x")
    assert cli.main(["prove", "out"]) == 2
