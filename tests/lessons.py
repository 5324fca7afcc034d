"""The lessons, executed once for all tests, and what their cells print."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

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


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def text_of(notebook: NotebookNode) -> str:
    return "\n".join(map(printed, code_cells(notebook)))


def shown_by(notebook: NotebookNode) -> list[dict[str, Any]]:
    """What its cells show beside what they print, by MIME type."""
    return [data for cell in code_cells(notebook) for one in cell["outputs"] if (data := one.get("data"))]


def is_widget(data: dict[str, Any]) -> bool:
    """Whether it is a widget with a picture that needs none of it."""
    return "application/vnd.jupyter.widget-view+json" in data and "<svg" in data.get("text/html", "")


def complaints(path: Path) -> str:
    """What the cells of a lesson write to the error stream, each after its source; nothing where all is well."""
    cells = code_cells(executed(path))
    assert cells
    wrong = [
        (cell["source"], "".join(one["text"] for one in cell["outputs"] if one.get("name") == "stderr"))
        for cell in cells
    ]
    return "\n\n".join(f"{source}\n\n{said}" for source, said in wrong if said)


@functools.cache
def executed(path: Path) -> NotebookNode:
    """A lesson with its exercises, executed once. It runs where a reader runs it, beside its file."""
    lesson = nbformat.read(path, as_version=4)
    if path == LESSONS[2]:
        lesson["cells"][-1:-1] = exercises_of_the_third(lesson)
    if path == LESSONS[4]:
        lesson["cells"] += [nbformat.v4.new_code_cell(EXERCISES_OF_THE_FIFTH)]
    if path == LESSONS[5]:
        lesson["cells"][-1:-1] = [nbformat.v4.new_code_cell(EXERCISES_OF_THE_SIXTH)]
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


EXERCISES_OF_THE_FIFTH = """
print("exercises")
BELL = [0, 0.25, 0.75, 1, 0.75, 0.25, 0]
bench.prompt = "27+35="
for curves in ((BELL, 1), (1, BELL)):
    bench.sketch = blend(*curves)
    hear()
for donor in (arithmetic, base):
    bench.recipe = ml.graft(pirate, donor, (4, 6))
    hear()
bench.lay("goliath", {"one": 1, "other": 2})
hear()
[row] = [row for row in bench._scores["rows"] if row["name"] == "pirate"]
print(*(f"{one['name']}: {one['value']}, {one['note']}" for one in row["controls"]), sep="\\n")
"""

EXERCISES_OF_THE_SIXTH = """
print("exercises")
grafted = ml.merge(ml.graft(pirate, arithmetic, (2, 4)), folder / "grafted")
print((grafted / "README.md").read_text().partition("## Layers")[2].partition("## Recipe")[0])
config = out / "config.json"
config.write_text(config.read_text().replace('"rope_theta": 10000.0', '"rope_theta": 20000.0'))
print(ml.verify(out), ml.prove(out), sep="\\n")
for rank in (1, 4, 16):
    found = ml.extract_lora(pirate, base, folder / f"pirate{rank}", rank=rank)
    print("rank", rank, f"{found.pairs:.0%}", exact(f"{base}+{folder / f'pirate{rank}'}", "pirate"))
"""


def rows_of(text: str, heading: str) -> list[list[str]]:
    """The cells of the table whose heading begins so, without heading and rule."""
    lines = text.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(heading)) + 2
    end = next(place for place in range(start, len(lines) + 1) if place == len(lines) or not lines[place].strip())
    return [re.split(r"  +", line) for line in lines[start:end]]


def dict_of(text: str, title: str) -> dict[str, list[float]]:
    """The rows of the printed grid with this in its title; NaN and marks left out."""
    lines = text.splitlines()
    start = next(place for place, line in enumerate(lines) if title in line) + 4
    end = next(place for place in range(start, len(lines) + 1) if place == len(lines) or not lines[place].strip())
    rows = (re.split(r"  +", line) for line in lines[start:end])
    return {name: [float(one) for one in re.findall(r"-?[\d.]+", " ".join(values))] for name, *values in rows}
