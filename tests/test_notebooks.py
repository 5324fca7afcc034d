"""Every lesson runs from top to bottom in a fresh kernel, and the first five lines of the README do what it says."""

from __future__ import annotations

import functools
import math
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from mergelab import cli, sample
from mergelab.models.comparison import chance
from mergelab.views.explain import Explain

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MINUTES = 8  # far above what a lesson takes; only a hang is stopped


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Run all cells with ``folder`` as the current one; a cell that raises fails the test with its traceback."""
    client = NotebookClient(
        notebook,
        timeout=60 * MINUTES,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
    )
    return client.execute()


def printed(cell: NotebookNode) -> str:
    return "".join(output["text"] for output in cell["outputs"] if output["output_type"] == "stream")


@functools.cache
def executed(path: Path) -> NotebookNode:
    """A lesson, executed once for all tests of this file. It runs where a reader runs it, beside its file."""
    lesson = nbformat.read(path, as_version=4)
    if path == LESSONS[2]:
        lesson["cells"][-1:-1] = exercises_of_the_third(lesson)
    return execute(lesson, path.parent)


def exercises_of_the_third(lesson: NotebookNode) -> list[NotebookNode]:
    """What its reader does at the end: cells that stand above, changed as the exercises say, in their order."""

    def again(marker: str, old: str = "", new: str = "") -> str:
        [source] = [cell["source"] for cell in code_cells(lesson) if marker in cell["source"]]
        assert old in source
        return str(source).replace(old, new) if old else str(source)

    density = "live.turn(blend(now, density=0.5 + next(values) / 10000))"
    upscaled = "rows[1:] = [(*report('upscaled', live.turn(ml.upscale(pirate, drop=2))), '')]\nprint(columns(rows))"
    thinner = [again("units = 96", "units = 96", "units = 16"), again("ml.widen(slim)"), again("SURPRISE")]
    table = f"rows = [(*HEADING, '')]\n{upscaled}"
    sources = [again("turns.append(live.turn(blend(now)))", "live.turn(blend(now))", density), table, *thinner]
    return [nbformat.v4.new_code_cell(source) for source in sources]


@pytest.fixture
def lesson() -> NotebookNode:
    """The first one."""
    return executed(LESSONS[0])


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def text_of(notebook: NotebookNode) -> str:
    return "\n".join(map(printed, code_cells(notebook)))


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_without_complaints(path: Path) -> None:
    cells = code_cells(executed(path))
    assert cells
    for cell in cells:
        wrong = "".join(one["text"] for one in cell["outputs"] if one.get("name") == "stderr")
        assert not wrong, f"a cell complains:\n{cell['source']}\n\n{wrong}"


@pytest.mark.slow
def test_the_first_lesson_shows_what_it_promises(lesson: NotebookNode) -> None:
    text = text_of(lesson)
    assert "does not fit" in text, "the stranger is refused"
    assert "live and written are equal" in text
    shown = [data for cell in code_cells(lesson) for one in cell["outputs"] if (data := one.get("data"))]
    assert any(
        "application/vnd.jupyter.widget-view+json" in data and "<svg" in data.get("text/html", "") for data in shown
    )


@pytest.mark.slow
@pytest.mark.real
def test_the_first_lesson_merges_models_that_are_not_ours(lesson: NotebookNode, shared: Path) -> None:
    assert (shared / "models").is_dir()
    rows = [re.split(r"  +", line) for line in text_of(lesson).splitlines()]
    table = {row[0]: row[1:] for row in rows if len(row) == 4}
    graft, skip = table["graft: st-bible 1-3 in stories260K"], table["control: skip 1-3"]
    host, donor = table["stories260K"], table["st-bible"]
    stories, bible = 0, 1
    assert float(donor[bible]) < float(graft[bible]) < float(host[bible]), "it learned something of the Bible"
    assert float(host[stories]) < float(graft[stories]) < float(donor[stories]), "and kept most of the stories"
    assert float(skip[stories]) > float(donor[stories]), "leaving the layers out is worse than either parent"


@pytest.mark.slow
@pytest.mark.real
def test_nats_come_before_exact_sums(lesson: NotebookNode, shared: Path) -> None:
    """Section 9: half of the vector brings most of the nats, and hardly a right answer."""
    assert (shared / "models").is_dir()
    table = text_of(lesson).split("share of st-arith")[1]
    rows = [row for line in table.splitlines() if len(row := re.findall(r"[\d.]+", line)) == 3]
    nats, exact = ({float(row[0]): float(row[column]) for row in rows} for column in (1, 2))
    assert (nats[0.0] - nats[0.5]) / (nats[0.0] - nats[1.0]) > 0.75
    assert exact[0.5] < 10
    assert exact[1.0] - exact[0.8] > exact[0.8] - exact[0.0], "most answers come with the last fifth"


@pytest.mark.slow
def test_the_first_lesson_reads_its_figures_right(lesson: NotebookNode) -> None:
    """What sections 5 and 7 say in words about the tables above them; 7 points: the noise of a difference."""
    lines = text_of(lesson).splitlines()
    cut = lines.index(next(line for line in lines if line.startswith("coefficient on 4-5")))
    bent = {row[0]: float(row[1]) for line in lines[cut + 2 : cut + 7] if (row := re.findall(r"[\d.]+", line))}
    assert bent["0.0"] - bent["0.25"] < 7
    assert 10 < bent["0.0"] - bent["0.5"] < 20
    assert bent["0.75"] < bent["0.5"] - 20
    rows = [
        found.groups()
        for line in lines
        if (found := re.match(r"(\d-\d)  +([\d.]+) %[ #]+([\d.]+) % +([\d.]+) %", line))
    ]
    depth = {where: tuple(map(float, values)) for where, *values in rows}
    assert len(depth) == 5
    for where, (graft, plain, skip) in depth.items():
        assert (plain - graft > 7) == (where == "6-7"), "only there do the donor's layers cost more than the base's"
        assert (skip > 50) == (where == "6-7"), "the host needs these least"
        assert (graft < 20) == (where in ("0-1", "4-5"))


@pytest.mark.slow
def test_the_second_lesson_shows_what_it_promises() -> None:
    """What it says in words about the figures above, and the picture that a saved notebook keeps."""
    lesson = executed(LESSONS[1])
    text = text_of(lesson)
    shown = [data for cell in code_cells(lesson) for one in cell["outputs"] if (data := one.get("data"))]
    assert any("<svg" in data.get("text/html", "") for data in shown)
    ties = re.search(r"disjoint mean: .*\n +=(.*)", text)
    assert ties, "the steps of TIES are printed"
    merged = [float(word) for word in ties.group(1).split()]
    assert merged[5] == pytest.approx((-0.7 - 0.6) / 2), "C is outvoted at place 6"
    assert merged[4] == pytest.approx(0.9), "B keeps all of place 5"
    unlearned = {
        float(row[0]): (float(row[1]), float(row[2]))
        for row in re.findall(r"(-?[\d.]+) +([\d.]+) nats +([\d.]+) nats", text)
    }
    assert unlearned[-0.5][0] > unlearned[0.0][0] + 3
    assert unlearned[0.0][0] == pytest.approx(14, abs=0.5), "the base never talked pirate"
    assert unlearned[0.0][0] > math.log(528)
    assert unlearned[-0.5][1] == pytest.approx(unlearned[0.0][1], abs=0.05)
    strengths = {
        row[0]: (float(row[1]), float(row[2])) for row in re.findall(r"^(\w+) +([\d.]+)  ([\d.]+)$", text, re.MULTILINE)
    }
    assert strengths["iso_c"][0] == strengths["iso_c"][1]
    assert strengths["task_arithmetic"][0] == pytest.approx(1.8 * strengths["task_arithmetic"][1], rel=0.02)
    alone = re.findall(r"^model [ABC] +([\d.]+)  ([\d.]+)$", text, re.MULTILINE)
    assert len(alone) == 3
    assert 1.5 < max(float(strong) / float(weak) for strong, weak in alone) < 1.6
    assert strengths["tsv_merge"][0] < max(float(strong) for strong, _ in alone)
    assert "-0.00" not in text
    assert text.count("gives that model: True") == 7
    assert "gives that model: False" not in text


def test_what_the_second_lesson_asks_to_find_is_there_and_not_at_the_start() -> None:
    """Its three exercises, in the picture that it shows; with whom each place is shared after the election."""

    def kept(widget: Explain, step: str, place: int) -> list[bool]:
        [rows] = [stage["rows"] for stage in widget._shown["stages"] if stage["name"] == step]
        return [row[place - 1] != 0 for row in rows]

    widget = Explain("ties")
    a, b, c = [True, False, False], [False, True, False], [False, False, True]
    assert kept(widget, "elect sign", 10) == c
    widget.numbers = {"density": 0.7}
    assert kept(widget, "trim", 10) == [True, False, True]
    assert kept(widget, "elect sign", 10) == c, "A is outvoted as soon as it has a say"
    widget.numbers = {"density": 0.9}
    assert kept(widget, "elect sign", 10) == [False, True, True]
    widget.numbers = {}
    assert kept(widget, "elect sign", 7) == a
    widget.numbers = {"weight": [1.0, 1.2, 1.0]}
    assert kept(widget, "elect sign", 7) == b
    widget.method = "dare_linear"
    keeps_b = []
    for seed in range(8):
        widget.seed = seed
        keeps_b.append(kept(widget, "drop", 5)[1])
    assert keeps_b == [False, False, True, False, True, True, False, True]
    widget.close()


def rows_of(text: str, heading: str) -> list[list[str]]:
    """The cells of the table whose heading begins so, without heading and rule."""
    lines = text.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(heading)) + 2
    end = next(place for place in range(start, len(lines) + 1) if place == len(lines) or not lines[place].strip())
    return [re.split(r"  +", line) for line in lines[start:end]]


@pytest.mark.slow
def test_the_third_lesson_shows_what_it_promises() -> None:
    """Counts and bytes, which do not differ between machines, and what it says in words about its figures."""
    lesson = executed(LESSONS[2])
    text = text_of(lesson)
    shown = [data for cell in code_cells(lesson) for one in cell["outputs"] if (data := one.get("data"))]
    assert any(
        "application/vnd.jupyter.widget-view+json" in data and "<svg" in data.get("text/html", "") for data in shown
    ), "a workbench"
    assert re.search(r"^recipe [0-9a-f]{8}: 92 of 92 tensors computed; it writes 69$", text, re.MULTILINE)
    assert re.search(r"^layer 4 +9 of 92 +0 ", text, re.MULTILINE)
    assert "92 of 92 tensors are equal to a fresh assembly's" in text
    costs = {int(row[0]): int(row[1]) for row in rows_of(text, "layers turned")}
    assert costs == {1: 9, 2: 18, 4: 36, 6: 54, 8: 72, 10: 92}
    [chart] = [data["application/vnd.plotly.v1+json"] for data in shown if "application/vnd.plotly.v1+json" in data]
    assert chart["data"][0]["x"] == list(costs)
    assert chart["layout"]["xaxis"]["title"]["text"] == "layers turned, of 10"
    assert "milliseconds" in chart["layout"]["yaxis"]["title"]["text"]
    assert re.search(r"^and back +0 of 92 +92 +0 bytes +0 bytes ", text, re.MULTILINE)
    assert [row[1:] for row in rows_of(text, "strength turned")] == [
        ["0", "10 of 10"], ["3", "7 of 10"], ["6", "4 of 10"], ["9", "1 of 10"],
    ]  # fmt: skip
    assert "the last thing heard, Done, belongs to question 200 of 200" in text
    moved = [line for line in text.splitlines() if line.startswith(("graft of", "pirate, 6-7"))]
    assert len(moved) == 6
    assert all(re.search(r" 0 of \d+ +\d+ +0 bytes +0 bytes ", line) for line in moved)
    whole, strange, without = (float(row[1]) for row in rows_of(text, "stack "))
    assert whole < without < strange, "worse than leaving the layers out"
    refused = text.split("stories, nats per token")[1]
    assert "norm epsilon: 1e-06 against 1e-05\n    rope theta: 50,000 against 10,000" in refused
    assert "feed-forward size: 160" not in refused, "that could be widened"
    assert "feed-forward size: 96 against 128" in refused
    apart = re.search(r"ahoy me matey be in the cabin \| largest difference of a logit: (\S+)", text)
    assert apart
    assert float(apart[1]) < 1e-4
    votes = {row[0]: int(row[1]) for row in rows_of(text, "variant ")}
    assert votes == {"first": 0, "strong": 7}
    assert "p = 0.0156" in text
    assert chance([5, 0]) == pytest.approx(0.06, abs=0.003)
    losses = re.search(r"loss on '62', nats a token +([\d.]+) +([\d.]+)", text)
    assert losses
    assert float(losses[1]) > 5 > 0.1 > float(losses[2]), "only the strong one expects the right sum"
    assert [(row[0], *row[-2:]) for row in rows_of(text, "after ")] == [
        ("two variants", "3.23 MB", "0 bytes"),
        ("keep and switch", "3.23 MB", "0 bytes"),
        ("turn to 0.5", "3.38 MB", "0 bytes"),
        ("turn to 0.2", "3.38 MB", "148 kB"),
        ("undo", "3.38 MB", "148 kB"),
        ("redo", "3.38 MB", "148 kB"),
    ]
    assert len(re.findall(r"^(?:undo|redo) +0 of 92 ", text, re.MULTILINE)) == 2
    assert text.endswith("closed: 0 bytes\n")


@pytest.mark.slow
def test_the_exercises_of_the_third_lesson_can_be_done_and_show_what_they_ask_for() -> None:
    text = text_of(executed(LESSONS[2]))
    _, strength, density = text.split("layers turned")
    assert {row[1] for row in rows_of(f"layers turned{density}", "layers turned")} == {"92"}, "it has no depth"
    assert {row[1] for row in rows_of(f"layers turned{strength}", "layers turned")} == {
        "9",
        "18",
        "36",
        "54",
        "72",
        "92",
    }
    assert re.search(r"^upscaled +0 of 146 +\d+ +0 bytes +0 bytes ", text, re.MULTILINE)
    scores = {
        (row[0], place): (float(row[1].removesuffix(" %")), float(row[2].removesuffix(" nats")))
        for place, part in enumerate(text.split("pirate's layers 4-7")[1:])
        for row in rows_of(f"pirate's layers 4-7{part}", "pirate's layers 4-7")
    }
    assert scores["thin", 0] == pytest.approx((100, 0), abs=0.01), "96 of 128 units are enough"
    assert scores["thin", 1][0] < 95, "16 are not quite"
    assert scores["thin", 1][1] > 0.02
    assert scores["left out", 0] == scores["left out", 1]
    assert scores["left out", 0][0] == 0
    assert text.count(" ahoy me matey be in the cabin | largest difference") == 2, "and one answer does not tell"


def test_there_are_lessons() -> None:
    assert [path.stem for path in LESSONS][:3] == ["01_first_graft", "02_methods", "03_feel_a_merge"]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_is_stored_without_outputs(path: Path) -> None:
    for cell in code_cells(nbformat.read(path, as_version=4)):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


def five_lines() -> str:
    """The first block of Python in the README."""
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)[:1]
    return str(code)


def test_the_first_five_lines_of_the_readme(tmp_path: Path) -> None:
    code = five_lines()
    assert len(list(filter(None, code.splitlines()))) == 5
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    [cell] = execute(notebook, tmp_path)["cells"]
    expected = re.search(r"# -> (.*)", code)
    assert expected, "the README says what the fourth line prints"
    assert printed(cell).strip() == expected.group(1).strip()
    assert "application/vnd.jupyter.widget-view+json" in cell["outputs"][-1]["data"]
    assert list(tmp_path.iterdir()) == [], "nothing is written to disk"


WRONG = """\
merge_method: ties
base_model: org/base
models:
  - model: org/model-a
    parameters: {wieght: 1, density: 50}
"""


STRANGER = """\
merge_method: passthrough
slices:
  - sources: [{model: base, layer_range: [0, 4]}]
  - sources: [{model: stranger, layer_range: [4, 8]}]
"""


def test_the_readme_shows_what_check_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report, errors = re.findall(
        r"\$ mergelab check recipe.yml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    for name in ("base", "stranger"):
        Path(name).symlink_to(sample.path(name))
    Path("recipe.yml").write_text(STRANGER)
    assert cli.main(["check", "recipe.yml"]) == 2
    assert capsys.readouterr().out == report
    Path("recipe.yml").write_text(WRONG)
    assert cli.main(["check", "recipe.yml"]) == 2
    assert capsys.readouterr().err == errors


def test_the_readme_shows_a_picture_that_exists() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).read_bytes().startswith(b"\x89PNG"), picture


def test_links_of_the_documents_lead_somewhere() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
            assert (ROOT / link).exists(), f"{page} links to {link}"


@pytest.mark.slow
def test_the_fourth_lesson_shows_what_it_promises() -> None:
    """What it says in words about the figures above them."""
    text = text_of(lesson := executed(LESSONS[3]))
    shown = [data for cell in code_cells(lesson) for one in cell["outputs"] if (data := one.get("data"))]
    html = [data.get("text/html", "") for data in shown]
    assert any("widget-view+json" in kind for data in shown for kind in data)
    cosines = {title: dict_of(text, title)["median"] for title in ("pirate against base", "stranger against base")}
    assert min(cosines["pirate against base"]) > 0.9
    assert max(map(abs, cosines["stranger against base"])) < 0.15
    drifts = [max(max(row) for row in dict_of(text, f"Norm drift, {name}").values()) for name in ("pirate", "stranger")]
    assert drifts[1] > 10 * drifts[0]
    conflicts = dict_of(text, "Sign conflict, pirate with arithmetic, density 1 ")
    assert all(0.85 < value < 1.1 for name, row in conflicts.items() if "norm" not in name for value in row)
    assert any("stranger 3" in one and "Another basis" in one for one in html)
    assert any("put in its place" in one for one in html)


def dict_of(text: str, title: str) -> dict[str, list[float]]:
    """The rows of the printed grid with this in its title; NaN and marks left out."""
    lines = text.splitlines()
    start = next(place for place, line in enumerate(lines) if title in line) + 4
    end = next(place for place in range(start, len(lines) + 1) if place == len(lines) or not lines[place].strip())
    rows = (re.split(r"  +", line) for line in lines[start:end])
    return {name: [float(one) for one in re.findall(r"-?[\d.]+", " ".join(values))] for name, *values in rows}
