"""Training: what a batch holds, how the rate goes, that a run can be repeated, and that the command writes a family."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mergelab.sample import members, text
from mergelab.sample.runs import ROW, RUNS, Run, Shape
from mergelab.sample.tokens import tokenizer
from mergelab.sample.train import IGNORED, batches, build, main, rate, train

TOKENIZER = tokenizer()
TINY = Run("tiny", "", None, text.BASE, seed=3, steps=40, learning_rate=5e-3, rows=8, shape=Shape(2, 24, 1))


def test_only_answers_have_targets() -> None:
    ids, targets = next(batches(((text.reverse, 1.0), (text.story, 1.0)), TOKENIZER, rows=6, seed=0))
    assert ids.shape == targets.shape == (6, ROW)
    for row, wanted in zip(ids, targets, strict=True):
        assert all(row[at + 1] == wanted[at] for at in range(ROW - 1) if wanted[at] != IGNORED)
        documents = [part for part in TOKENIZER.decode(row).replace("<pad>", "").split("<s>") if part]
        assert all(document.endswith("</s>") for document in documents)
        answers = "".join(document.split(" :")[-1] for document in documents)
        assert TOKENIZER.decode(wanted[wanted != IGNORED]) == answers


def test_batches_hold_the_training_side_only_and_repeat() -> None:
    one, again = (batches(text.BASE, TOKENIZER, rows=4, seed=9) for _ in range(2))
    for _ in range(5):
        ids, _ = next(one)
        assert torch.equal(ids, next(again)[0])
        for row in ids:
            for document in TOKENIZER.decode(row).replace("<pad>", "").replace("</s>", "").split("<s>"):
                if document.startswith("Once"):
                    assert not text.held_out(document)


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rates = [rate(step, 100, 2.0) for step in range(100)]
    top = rates.index(max(rates))
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) == pytest.approx(2.0)
    assert rates[0] == pytest.approx(0.2)
    assert 0 <= rates[-1] < 0.001


def test_training_lowers_the_loss_and_can_be_repeated() -> None:
    models = [build(TINY.shape, TOKENIZER, TINY.seed) for _ in range(2)]
    first, second = (train(model, TINY, TOKENIZER) for model in models)
    assert first == second
    assert sum(first[-5:]) < 0.8 * sum(first[:5])
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)
    moved = train(build(TINY.shape, TOKENIZER, 4), replace(TINY, steps=5), TOKENIZER)
    assert moved != first[:5]


def test_the_command_writes_a_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mergelab.sample.train.RUNS", [replace(run, rows=4, shape=TINY.shape) for run in RUNS])
    monkeypatch.setattr("mergelab.sample.train.SCORED", 20)
    main(["--quick", "--out", str(tmp_path), "--only", "base", "--only", "sort"])
    main(["--quick", "--out", str(tmp_path), "--only", "pirate"])
    assert list(json.loads((tmp_path / "figures.json").read_text())) == ["base", "sort", "pirate"]
    for name in ("base", "sort", "pirate"):
        assert {file.name for file in (tmp_path / name).iterdir()} >= {
            "README.md", "config.json", "generation_config.json", "model.safetensors",
            "tokenizer.json", "tokenizer_config.json",
        }  # fmt: skip
        assert f"| {name} |" in (tmp_path / "README.md").read_text()
    base, sort = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "sort"))
    assert base.keys() == sort.keys()
    assert any(not torch.equal(base[key], sort[key]) for key in base)


def test_a_command_that_cannot_go_well_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--quick"])
    assert "--quick needs --out DIR" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--quick", "--out", str(tmp_path / "new"), "--only", "sort"])
    assert "sort is fine-tuned from base, which is not in" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_the_members_have_names_and_seeds_of_their_own_and_parents_before_them() -> None:
    assert len({run.name for run in RUNS}) == len({run.seed for run in RUNS}) == len(RUNS) == len(members())
    for at, run in enumerate(RUNS):
        assert run.parent is None or run.parent in {earlier.name for earlier in RUNS[:at]}
