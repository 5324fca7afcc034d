"""Records that somebody wrote in: what cannot be true of them is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mergelab.errors import SourceError
from mergelab.forge.obstacles import RECIPE_FILE
from mergelab.forge.provenance import FILE
from mergelab.forge.verification import Sighting
from mergelab.forge.verify import verify
from tests.forge.spoiling import changed, edit


def entry(**values: object) -> Callable[[Any], object]:
    return lambda found: found["sources"][1].update(values)


@pytest.mark.parametrize(
    ("change", "about", "said"),
    [
        (entry(files={}), "./y, model.safetensors", "is read by the merge"),
        (lambda it: it["sources"][1]["files"].pop("model.safetensors"), "./y, model.safetensors", "has no SHA-256"),
        (lambda it: it["sources"][0]["files"].pop("tokenizer.json"), "./x, tokenizer.json", "has no SHA-256"),
        (lambda it: it["sources"][1]["files"].update({"other": "0"}), "./y, other", "is not read by the merge"),
        (entry(hub=True), f"./y in {FILE}", "hub is true, would be false"),
        (entry(commit="0" * 40), f"./y in {FILE}", "commit is"),
        (entry(revision="main"), f"./y in {FILE}", "revision is"),
        (entry(path="google/gemma"), f"./y in {FILE}", "path is"),
        (entry(author="Eve"), f"./y in {FILE}", "author is"),
        (lambda it: it["sources"].append(it["sources"][1]), "./y", f"{FILE} has it 2 times."),
        (lambda it: it["sources"].append({**it["sources"][1], "address": "./q"}), "./q", "not in the recipe"),
        (lambda it: it["sources"].pop(), "./z", "tells nothing of it"),
        (lambda it: it.update(author="Eve"), f"author in {FILE}", "is nothing that mergelab writes."),
        (lambda it: it["recipe"].update(author="Eve"), f"recipe.author in {FILE}", "is nothing that mergelab writes."),
        (lambda it: it["versions"].update(word="6"), f"versions in {FILE}", "are of other things"),
        (lambda it: it.update(format=1.0), None, "format is 1.0"),
        (lambda it: it["files"].pop(RECIPE_FILE), RECIPE_FILE, "is not among the files that the merge wrote"),
        (lambda it: it["recipe"].update(fingerprint="0" * 8), f"the recipe in {FILE}", "it says '00000000'"),
        (
            lambda it: it.update(proof={"holds": True, "checks": [{"name": "cache", "holds": False, "said": ""}]}),
            f"proof in {FILE}", "says that it holds; checks of it that fail: cache.",
        ),
        (lambda it: it["model"].update(methods=[]), FILE, "no card can be made of it"),
    ],
)  # fmt: skip
def test_what_was_written_into_the_record_by_hand(
    out: Path, change: Callable[[Any], object], about: str | None, said: str
) -> None:
    edit(out / FILE, change)
    if about is None:  # no number of a form that anybody wrote
        with pytest.raises(SourceError, match=said):
            verify(out)
        return
    found = verify(out)
    told = [one for one in found.changed if one.about == about]
    assert len(told) == 1
    assert said in told[0].said
    if "SHA-256" in said or "read by" in said:
        assert Sighting("same", "sources", "2 of 3 have the files that were merged.") in found.findings


@pytest.mark.parametrize("name", ["../x/model.safetensors", "a/../../secret", "..", "/etc/passwd", "..\\secret", "c:x"])
@pytest.mark.parametrize("whose", ["the merge's", "a source's"])
def test_no_file_outside_is_looked_at_for_a_record(
    whose: str, name: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(found: Any) -> None:
        (found if whose == "the merge's" else found["sources"][0])["files"][name] = "0" * 64

    edit(out / FILE, write)
    monkeypatch.setattr("mergelab.forge.watch.sha256_of", lambda path, _: pytest.fail(f"{path} was read"))
    with pytest.raises(SourceError, match=r"is damaged: .*files names .*, which leads out of the folder"):
        verify(out)


@pytest.mark.parametrize("device", ["zzz", "auto", ""])
def test_a_device_that_is_none(out: Path, device: str) -> None:
    edit(out / FILE, lambda found: found["model"].update(device=device))
    found = verify(out)
    assert changed(found) == [f"model in {FILE}"]
    assert "which is no device" in found.changed[0].said
