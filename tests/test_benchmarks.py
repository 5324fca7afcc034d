"""The live benchmark runs, prints what it promises, and its figures mean what they say. No test is judged by time."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

import mergelab as ml
from tests.benchmarks import bench_live, random_models
from tests.benchmarks.figures import Row, Turned, drawn, row, table

TURNS = {"weight, one layer": 6, "weight, all layers": 1, "undo all layers": 1}  # how often each is timed
TRIMS = {"density, first time": 1, "density, then": 1}
MOVES = ("graft", "repeat", "reorder", "undo")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What a quick run prints and records."""
    record = tmp_path_factory.mktemp("bench") / "figures.json"
    printed = io.StringIO()
    threads = torch.get_num_threads()
    with contextlib.redirect_stdout(printed):
        others = "2" if threads == 1 else "1"
        bench_live.main(["--quick", "--methods", "linear", "ties", "--threads", others, "--json", str(record)])
    assert torch.get_num_threads() == threads, "the tests that follow have their threads again"
    return printed.getvalue(), json.loads(record.read_text())


def test_a_quick_run_has_every_row(run: tuple[str, dict[str, Any]]) -> None:
    text, record = run
    rows = {(one["method"], one["what"]): one for one in record["rows"]}
    timed = {("linear", what): count for what, count in TURNS.items()}
    timed |= {("ties", what): count for what, count in (TURNS | TRIMS).items()}
    assert {where: one["timed"] for where, one in rows.items() if where[0] != "passthrough"} == timed
    assert [what for method, what in rows if method == "passthrough"] == list(MOVES)
    for one in record["rows"]:
        assert 0 < one["turn"] <= one["table"] <= one["late"]
        assert any(line.startswith(one["method"]) and one["what"] in line for line in text.splitlines())
    assert [one["what"] for one in record["curves"]["ties"]] == ["1", "2", "4", "6"]
    assert len(record["places"]["linear"]) == 6


def test_what_is_moved_copies_no_byte_and_what_is_blended_moves_all(run: tuple[str, dict[str, Any]]) -> None:
    _, record = run
    moved = {(one["method"], one["what"]): one["moved"] for one in record["rows"]}
    assert all(moved["passthrough", what] == 0 for what in MOVES)
    sizes = record["shape"]
    size = 2 * parameters(sizes["layers"], sizes["width"], sizes["feed_forward"], sizes["vocabulary"])
    assert moved["linear", "weight, all layers"] == 3 * size, "two models read, one written"
    assert moved["ties", "weight, all layers"] == 4 * size, "and a base"
    layer = 2 * parameters(1, sizes["width"], sizes["feed_forward"], 0) - 2 * sizes["width"]
    assert moved["linear", "weight, one layer"] == 3 * layer
    assert moved["ties", "undo all layers"] == 0
    assert [one["moved"] for one in record["curves"]["ties"]] == [4 * layer, 8 * layer, 16 * layer, 4 * size]


def parameters(layers: int, width: int, feed_forward: int, vocabulary: int) -> int:
    """Of a Llama with as many key/value heads as heads, and a head of its own."""
    return layers * (4 * width**2 + 3 * width * feed_forward + 2 * width) + width + 2 * vocabulary * width


def test_what_is_not_measured_is_not_shown(run: tuple[str, dict[str, Any]]) -> None:
    """The reference seconds belong to one shape; no other is compared with them."""
    text, record = run
    assert record["mergekit_seconds"] == {}
    assert "mergekit: not asked for" in text
    assert "ANOTHER MACHINE" not in text
    heading = next(line for line in text.splitlines() if line.startswith("method"))
    assert "x folder" in heading
    assert "x mergekit" not in heading


STAND_IN = {
    "__init__.py": "",
    "config.py": """\
class MergeConfiguration:
    @classmethod
    def model_validate(cls, data):
        assert data["merge_method"] == "linear" and "layers" not in data
        made = cls()
        made.data = data
        return made
""",
    "merge.py": """\
import yaml

class MergeOptions:
    def __init__(self, cuda, copy_tokenizer):
        assert cuda is False and copy_tokenizer is False

def run_merge(configuration, out_path, options):
    import mergelab
    mergelab.merge(mergelab.Recipe.load(yaml.safe_dump(configuration.data)), out_path)
""",
}


def test_mergekit_is_measured_in_its_own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its documented calls, here a stand-in's; what goes wrong there is told."""
    for name, text in STAND_IN.items():
        (tmp_path / "site" / "mergekit").mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / "mergekit" / name).write_text(text)
    options = bench_live.arguments(["--quick", "--mergekit", sys.executable])
    random_models.write(tmp_path / "models", options.shape)
    recipe = bench_live.Dials("linear", tmp_path / "models", options.layers).recipe()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    assert 0 < bench_live.by_mergekit(recipe, tmp_path / "models", options) < 60
    (tmp_path / "site" / "mergekit" / "merge.py").write_text("1 / 0")
    with pytest.raises(SystemExit, match="ZeroDivisionError"):
        bench_live.by_mergekit(recipe, tmp_path / "models", options)


def test_figures_of_a_row() -> None:
    turned = [Turned(turn=0.001 * at, table=0.002 * at, moved=at) for at in range(1, 42)]
    one = row("ties", "all", turned)
    assert one == Row("ties", "all", 0.021, 0.042, 0.078, 21, 41)
    text = table([one], 1000.0, {"ties": 4.2}, {"ties": 8.4})
    assert text.splitlines()[-1].split()[2:] == ["21.0", "42.0", "78.0", "100.0", "200.0", "0.0", "21.0", "1.0"]
    nothing = table([row("ties", "undo", [Turned(0.5, 1.0, 0)])], 1000.0, {"ties": 4.0}, {})
    assert nothing.splitlines()[-1].split()[2:] == ["500.0", "1000.0", "1000.0", "4.0", "0", "0.0", "-"]
    bars = drawn([row("ties", str(table), [Turned(0.001, table, 0)]) for table in (0.5, 1.0)], "layers")
    assert [line.count("#") for line in bars.splitlines()] == [0, 0, 20, 40]


def test_random_models_are_a_family(tmp_path: Path) -> None:
    """Every tensor of a model lies a tenth as far from the base as the base from nothing; the tokenizer reads words."""
    shape = random_models.llama(2, 128)
    count = random_models.write(tmp_path / "models", shape)
    base, a, b = (load_file(tmp_path / "models" / name / "model.safetensors") for name in random_models.NAMES)
    assert sum(tensor.numel() for tensor in a.values()) == count == ml.open(tmp_path / "models" / "a").parameters
    name = "model.layers.1.mlp.down_proj.weight"
    change, other = (model[name].float() - base[name].float() for model in (a, b))
    assert float(base[name].float().std()) == pytest.approx(0.02, rel=0.02)
    assert float(change.std()) == pytest.approx(0.002, rel=0.05)
    assert abs(float(torch.corrcoef(torch.stack([change.flatten(), other.flatten()]))[0, 1])) < 0.05
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "models" / "a")
    lines = random_models.prompts(8, 64)
    assert {len(ids) for ids in tokenizer(lines)["input_ids"]} == {64}
    assert len({*lines}) == 8


def test_large_models_are_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = random_models.llama(2, 64)
    random_models.write(tmp_path / "whole", shape)
    monkeypatch.setattr(random_models, "SHARD", 200_000)
    random_models.write(tmp_path / "parts", shape)
    assert len(list((tmp_path / "parts" / "a").glob("*.safetensors"))) > 2
    whole, parts = (ml.open(tmp_path / kind / "a") for kind in ("whole", "parts"))
    assert whole.specs.keys() == parts.specs.keys()
    with ml.assemble(ml.graft(parts, parts, (0, 1))) as live, ml.assemble(ml.graft(whole, whole, (0, 1))) as alike:
        prompt = random_models.prompts(1, 5)[0]
        assert live.say(prompt, max_new_tokens=4) == alike.say(prompt, max_new_tokens=4)
