"""What lesson 6 says in words about writing to disk, held against what it prints."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from tests.lessons import LESSONS, complaints, executed, rows_of, shown_by, text_of

pytestmark = pytest.mark.slow


@functools.cache
def parts() -> tuple[str, str]:
    """What the lesson prints, and what its exercises print."""
    lesson, _, exercises = text_of(executed(LESSONS[5])).partition("exercises\n")
    return lesson, exercises


@pytest.mark.parametrize("path", LESSONS[5:], ids=lambda path: path.stem)
def test_a_lesson_runs_without_complaints(path: Path) -> None:
    assert complaints(path) == ""


def test_the_blend_does_both_and_nothing_speaks_against_it() -> None:
    text = parts()[0]
    assert "is in the house : -> ahoy me matey be in the cabin" in text
    assert re.search(r"^27\+35= -> 62$", text, re.MULTILINE)
    assert "This will load and run." in text


def test_the_widget_is_shown_and_the_folder_has_what_the_text_names() -> None:
    [shown] = [data for data in shown_by(executed(LESSONS[5])) if "application/vnd.jupyter.widget-view+json" in data]
    assert "Merging into" in shown["text/plain"]
    assert "mergelab-still" in shown["text/html"]
    assert [row[0] for row in rows_of(parts()[0], "file  ")] == [
        "README.md",
        "config.json",
        "generation_config.json",
        "mergelab.json",
        "mergelab_recipe.yml",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_it_is_proven_and_the_reader_finds_the_same() -> None:
    text = parts()[0]
    assert re.search(r"Proven: all \d+ checks hold\.", text)
    assert text.count("the same to the bit: True") == 2
    assert "False" not in text.partition("the folder is there: False")[0]


def test_what_was_finished_is_kept_and_gone_on_from() -> None:
    text = parts()[0]
    kept = re.search(r"What was finished \(([\d.]+ MB) of ([\d.]+ MB)\) is kept in .*\.deep\.partial", text)
    assert kept
    assert "the folder is there: False" in text
    assert f"Goes on from an earlier run, which did not end: {kept[1]} of {kept[2]} are there." in text
    assert re.search(r"^7 files$", text, re.MULTILINE)


def test_the_record_and_the_card_say_where_it_came_from() -> None:
    text = parts()[0]
    assert "layer 4: " in text
    assert re.search(r"^pirate's weights: [0-9a-f]{64}$", text, re.MULTILINE)
    assert "base_model_relation: merge" in text
    assert "license: apache-2.0" in text


def test_one_bit_is_found_and_named_and_merging_again_mends_it() -> None:
    text = parts()[0]
    whole, _, damaged = text.partition(" holds:\n")[2].partition("has changed, or its sources have:")
    assert "changed" not in whole
    changed = re.findall(r"^ +changed +(.*)$", damaged.partition("rank ")[0], re.MULTILINE)
    assert len(changed) == 2
    assert changed[0].startswith("model.safetensors: its SHA-256 is ")
    assert ": 1 of " in changed[1]
    assert re.search(r"^True$", damaged, re.MULTILINE)


def test_energy_is_not_skill() -> None:
    """A quarter of the change is lost at rank 8 and no answer; more than half at rank 2, and a third stays right."""
    rows = {row[0]: row[1:] for row in rows_of(parts()[0], "rank  ")}
    kept = {rank: float(row[1].rstrip("%")) for rank, row in rows.items()}
    exact = {rank: float(row[2].rstrip(" %")) for rank, row in rows.items()}
    assert 70 < kept["8"] < 80
    assert exact["8"] >= exact["whole"] - 1
    assert kept["2"] < 50
    assert 26 < exact["2"] < 46
    sizes = {rank: float(row[0].split()[0]) for rank, row in rows.items() if row[0].endswith("kB")}
    assert sizes["1"] > sizes["2"] / 1.3, "what no pair holds keeps it from shrinking"


def test_the_adapter_is_a_source_like_any_other() -> None:
    found = re.search(r"^pirate ([\d.]+) % arithmetic ([\d.]+) %$", parts()[0], re.MULTILINE)
    assert found
    assert float(found[1]) > 90
    assert float(found[2]) > 60


def test_mergekit_reads_the_same_recipe() -> None:
    assert parts()[0].rstrip().endswith("dtype: bfloat16")


def test_the_exercises_come_out_as_they_ask() -> None:
    text = parts()[1]
    assert "| 2 to 3 | arithmetic 2 to 3 | copy |" in text
    verified, _, proven = text.partition("Not proven")
    assert "changed  config.json" in verified
    assert re.search(r"FAILS +config: .*rope", proven)
    assert re.search(r"FAILS +logits", proven)
    exact = [float(one) for one in re.findall(r"^rank \d+ \d+% ([\d.]+) %$", text, re.MULTILINE)]
    assert len(exact) == 3
    assert exact[0] < 20
    assert exact[1] > 60
    assert exact[2] > 95
