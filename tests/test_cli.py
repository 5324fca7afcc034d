"""The command line: help that a person can follow, plans in words, errors in words, nothing half made."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mergelab
from mergelab import cli, sample
from tests.desk import INNER, VOCABULARY, WIDTH, laid, recipe


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models a, b and the stranger c, and the current folder of the test."""
    monkeypatch.chdir(tmp_path)
    return laid(tmp_path)


def test_help_names_every_verb_with_an_example() -> None:
    text = cli.parser().format_help()
    for verb in ("lab", "check", "show", "merge", "verify", "methods", "demo"):
        assert f"mergelab {verb}" in text


@pytest.mark.parametrize("verb", ["lab", "check", "show", "merge", "verify", "extract-lora", "methods", "demo"])
def test_help_of_a_verb_says_what_it_does_and_shows_it(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main([verb, "--help"])
    text = capsys.readouterr().out
    assert done.value.code == 0
    assert "example:" in text
    assert f"  mergelab {verb}" in text


def test_the_command_is_there() -> None:
    command = [sys.executable, "-m", "mergelab", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "mergelab demo" in done.stdout


def test_check_says_that_it_works_and_how_large_it_is(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(recipe(("a", 0, 2), ("b", 1, 3)))]) == 0
    text = capsys.readouterr().out
    layer = 2 * 8 * WIDTH + 2 * 4 * WIDTH + 3 * INNER * WIDTH + 2 * WIDTH
    assert text.startswith("This will load and run.\n")
    assert f"4 layers, {4 * layer + VOCABULARY * WIDTH + WIDTH:,} parameters" in text
    assert not (models / "merged").exists()


@pytest.mark.parametrize(
    ("name", "verdict", "word"),
    [
        ("stranger", "This runs here, but no standard config", "feed-forward size  20 against 12"),
        ("no layer", "This cannot work.", "[0, 9]"),
    ],
)
def test_check_prints_a_report_also_where_it_cannot_work(
    name: str, verdict: str, word: str, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, text, _ = CLASHES[name]
    Path(path).write_text(text or "")
    assert cli.main(["check", path]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith(verdict)
    assert word in printed.out
    assert max(map(len, printed.out.splitlines())) <= 100
    assert printed.err == ""


def test_show_lists_every_layer_with_its_source(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", str(recipe(("a", 0, 2), ("b", 1, 3)))]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    found = [row[:3] for row in rows if row and row[0].isdigit()]
    assert found == [["0", "a", "0"], ["1", "a", "1"], ["2", "b", "1"], ["3", "b", "2"]]


def test_show_gives_the_numbers_that_were_set(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("blend.yml").write_text(
        "merge_method: task_arithmetic\nbase_model: a\nmodels:\n"
        "  - {model: b, parameters: {weight: [{filter: mlp, value: [0, 1]}, {value: 0.25}]}}\n"
        "parameters: {lambda: 0.5}\n"
    )
    assert cli.main(["show", "blend.yml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.split(r"  +", lines[0]) == [
        "layer", "from", "base", "made by", "weight: mlp", "weight: others", "lambda"
    ]  # fmt: skip
    middle = next(line for line in lines if line.startswith("1 "))
    assert re.split(r"  +", middle) == ["1", "b 1", "a 1", "task_arithmetic", "0.5", "0.25", "0.5"]


def test_show_says_the_same_of_a_blend_as_the_plan(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("slerp.yml").write_text(
        "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\nparameters: {t: [0, 0.5, 1]}\n"
    )
    assert cli.main(["show", "slerp.yml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines if line[:1].isdigit()] == ["0", "0.5", "1"]


def test_merge_writes_the_folder_and_ends_with_its_path(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(recipe(("a", 0, 2), ("b", 1, 3)))
    assert cli.main(["merge", path, "merged"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("merged")
    assert json.loads(Path("merged/config.json").read_text())["num_hidden_layers"] == 4
    assert cli.main(["merge", path, "merged"]) == 2  # it is there already
    assert "merged" in capsys.readouterr().err
    assert cli.main(["merge", path, "merged", "--force"]) == 0


ALIEN = """
merge_method: passthrough
slices:
  - sources: [{model: a, layer_range: [0, 2]}]
  - sources: [{model: c, layer_range: [2, 3]}]
"""
DEEP = "merge_method: passthrough\nslices: [{sources: [{model: a, layer_range: [0, 9]}]}]\n"
CLASHES = {
    "no such file": ("missing.yml", None, "missing.yml"),
    "not YAML": ("recipe.yml", "merge_method: [", "recipe.yml"),
    "method": ("recipe.yml", "merge_method: slurp\nmodels: [{model: a}, {model: b}]\n", "slerp"),
    "key": ("recipe.yml", "merge_metod: linear\nmodels: [{model: a}]\n", "merge_method"),
    "no model": ("recipe.yml", "merge_method: passthrough\nmodels: [{model: ./nowhere}]\n", "nowhere"),
    "no layer": ("recipe.yml", DEEP, "9"),
    "stranger": ("recipe.yml", ALIEN, "20"),
}


# Its report says so, on standard output; and what cannot be saved can be looked at.
REPORTED = (("check", "no layer"), ("check", "stranger"), ("show", "stranger"))


WRONG = [(verb, name) for verb in ("check", "show", "merge") for name in CLASHES if (verb, name) not in REPORTED]


@pytest.mark.parametrize(("verb", "name"), WRONG)
def test_what_is_wrong_is_said_in_words(verb: str, name: str, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, text, word = CLASHES[name]
    if text is not None:
        Path(path).write_text(text)
    before = sorted(models.rglob("*"))
    given = [verb, path] + (["merged"] if verb == "merge" else [])
    assert cli.main(given) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"mergelab {verb}: ")
    assert word in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert sorted(models.rglob("*")) == before, "something half made was left behind"


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_demo", stopped)
    assert cli.main(["demo"]) == 130
    assert capsys.readouterr().err == "mergelab demo: stopped.\n"


class Replaced(Exception):  # noqa: N818 - an end, not an error
    """Stands for the end of this program: another one runs in its place."""


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(recipe(("a", 0, 2), ("b", 1, 3)))
    for arguments in (["merge", path, "merged"], ["demo"]):
        assert cli.main([*arguments, "--device", "warp"]) == 2
        printed = capsys.readouterr()
        assert "device: 'warp' is unknown" in printed.err
        assert printed.out.count("\n") == 0
    assert not (models / "merged").exists()


def test_a_merge_on_the_best_device_of_a_machine_without_a_gpu_is_that_of_the_cpu(models: Path) -> None:
    path = str(recipe(("a", 0, 2), ("b", 1, 3)))
    for device in ("auto", "cpu"):
        assert cli.main(["merge", path, device, "--device", device]) == 0
    assert Path("auto/model.safetensors").read_bytes() == Path("cpu/model.safetensors").read_bytes()


def test_lab_opens_the_lesson_of_the_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[list[str]] = []

    def execv(path: str, command: list[str]) -> None:
        assert path == command[0] == sys.executable
        opened.append(command)
        raise Replaced

    monkeypatch.setattr(cli.os, "execv", execv)
    for words in ([], [str(cli._lesson(Path.cwd())), "--", "--no-browser"], ["--", "--no-browser", "--port", "9000"]):
        with pytest.raises(Replaced):
            cli.main(["lab", *words])
    assert [Path(command[3]).name for command in opened] == [cli.LESSON] * 3
    assert Path(opened[0][3]).is_file()
    assert "--no-browser" not in opened[0]
    assert opened[1][4:5] == ["--no-browser"]
    assert opened[2][4:7] == ["--no-browser", "--port", "9000"]


FAKE_JUPYTER = """
import os, signal, sys, time

def ended(*_):
    print("ended in order", flush=True)
    sys.exit(3)

signal.signal(signal.SIGTERM, ended)
print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_signal_to_lab_reaches_jupyter_and_nothing_outlives_it(tmp_path: Path) -> None:
    fake = tmp_path / "jupyterlab"
    fake.mkdir()
    (fake / "__init__.py").touch()
    (fake / "__main__.py").write_text(FAKE_JUPYTER)
    paths = os.pathsep.join([str(tmp_path), str(Path(cli.__file__).parents[1])])
    command = [sys.executable, "-m", "mergelab", "lab"]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            assert int(running.stdout.readline()) == running.pid, "Jupyter runs in the place of the command"
            running.terminate()
            assert running.wait(20) == 3
            assert running.stdout.read() == "ended in order\n"
        finally:
            running.kill()


def test_without_a_verb_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    printed = capsys.readouterr()
    assert printed.err == cli.parser().format_help()
    assert printed.out == ""


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"mergelab {mergelab.__version__}\n"


def test_the_front_shows_its_names_and_nothing_else() -> None:
    assert [name for name in dir(mergelab) if not name.startswith("__")] == mergelab.__all__


def test_only_lab_passes_words_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(["demo", "--", "--fast"])
    assert done.value.code == 2
    assert "'demo' passes nothing on" in capsys.readouterr().err


def test_a_misspelt_verb_is_told_what_it_may_mean(capsys: pytest.CaptureFixture[str]) -> None:
    for word, told in (("merg", "Did you mean 'merge'?"), ("xyz", "Known: lab, check, show, merge, prove, verify, ")):
        with pytest.raises(SystemExit) as done:
            cli.main([word])
        assert done.value.code == 2
        assert f"mergelab: error: {word!r} is no verb. {told}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "told"), [("0", "at least 1"), ("0.4", "at least 1"), ("0GB", "at least 1"), ("five", "is no size")]
)
def test_a_size_that_holds_nothing_is_refused(size: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(["merge", "recipe.yml", "merged", "--shard-size", size])
    assert done.value.code == 2
    assert told in capsys.readouterr().err


def test_lab_without_such_a_notebook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lab", str(tmp_path / "no.ipynb")]) == 2
    assert "no.ipynb: there is no such notebook." in capsys.readouterr().err


def test_an_installed_package_copies_its_lesson_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lesson = tmp_path / "site" / "mergelab" / "notebooks" / cli.LESSON
    lesson.parent.mkdir(parents=True)
    lesson.write_text("the lesson")
    monkeypatch.setattr(cli, "__file__", str(lesson.parents[1] / "cli.py"))
    here = tmp_path / "here"
    here.mkdir()
    assert cli._lesson(here).read_text() == "the lesson"
    (here / cli.LESSON).write_text("the lesson, with notes of mine")
    assert cli._lesson(here).read_text() == "the lesson, with notes of mine"
    assert lesson.read_text() == "the lesson"


@pytest.mark.slow
def test_demo_prints_what_each_model_says_and_its_scores(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mergelab import demo

    monkeypatch.setattr(demo, "PROMPTS", 10)
    assert cli.main(["demo"]) == 0
    said, scores = capsys.readouterr().out.split("\nScores on 10 ")
    for name in demo.recipes():
        assert f"{name}\n" in said
        assert f"\n{name} " in scores
    table, closing = scores.split("\n\nIn short: ")
    rows = {row[0]: row[1:] for line in table.splitlines() if len(row := re.split(r"  +", line)) == 4}
    assert rows[demo.HOST] != rows["base"]
    (kept, carried), skip, blend = rows[demo.GRAFT][:2], rows[demo.SKIP][0], rows[demo.BLEND][:2]
    assert re.findall(r"[\d.]+ %", closing) == [kept, skip, carried, *blend], "the closing line is read off the table"


def test_a_reader_who_has_read_enough_is_no_error(tmp_path: Path) -> None:
    """What ``| head`` does: the pipe closes before all is printed."""
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(f"merge_method: linear\nmodels: [{{model: {sample.path('base')}, parameters: {{weight: 1}}}}]\n")
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run(
        [sys.executable, "-m", "mergelab", "show", str(recipe)], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (run.returncode, run.stderr) == (0, b"")
