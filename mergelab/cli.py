"""The door: ``mergelab lab | check | show | merge | demo``.

Heavy libraries load inside the verb that needs them, so that ``mergelab --help`` answers at once.
Errors raised on purpose are printed in words on standard error, with exit code 2; a traceback means a bug.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from mergelab.columns import columns
from mergelab.errors import MergelabError, OutputError, Problem

if TYPE_CHECKING:
    from mergelab.recipes.plan import Number, Plan, Step
    from mergelab.recipes.recipe import Recipe

LESSON = "01_first_graft.ipynb"

_ABOUT = """\
Merge language models: blend weights, graft layers, and see what the result says.

A recipe is a YAML file in the dialect of mergekit. Sources in it are folders or ids of the Hugging Face hub.
"""

_EXAMPLES = """\
examples:
  mergelab demo                      graft layers between two small trained models, and score the result
  mergelab lab                       open the first lesson in JupyterLab
  mergelab check recipe.yml          would these models fit together? reads headers only, writes nothing
  mergelab show recipe.yml           the recipe worked out: which layer comes from where, and how it is made
  mergelab merge recipe.yml merged   write the merged model to the folder 'merged'
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line, as argparse sees it."""
    top = argparse.ArgumentParser(
        prog="mergelab",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    verbs = top.add_subparsers(dest="verb", metavar="VERB")

    def verb(name: str, what: str, example: str) -> argparse.ArgumentParser:
        return verbs.add_parser(
            name,
            help=what[0].lower() + what[1:].rstrip("."),
            description=what,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    lab = verb(
        "lab",
        "Open JupyterLab on the first lesson, or on a notebook of yours. What follows -- goes to JupyterLab.",
        "mergelab lab -- --no-browser --port 9000",
    )
    lab.add_argument("notebook", nargs="?", type=Path, help="a notebook (default: the first lesson)")

    check = verb(
        "check",
        "Say whether the models of a recipe fit together. Reads headers only, writes nothing.",
        "mergelab check recipe.yml",
    )
    show = verb(
        "show",
        "Print a recipe worked out: every output layer with its source, method and numbers.",
        "mergelab show recipe.yml",
    )
    merge = verb(
        "merge",
        "Write the merged model to a folder that transformers can load.",
        "mergelab merge recipe.yml merged --force",
    )
    for one in (check, show, merge):
        one.add_argument("recipe", type=Path, metavar="RECIPE", help="a YAML file")
    merge.add_argument("out", type=Path, metavar="OUT", help="the folder to write; it appears whole or not at all")
    merge.add_argument(
        "--force", action="store_true", help="replace OUT where it is an earlier merge; everything in it is deleted"
    )

    verb(
        "demo",
        "Graft and merge small trained models that ship with mergelab; print what each says, and its scores.",
        "mergelab demo",
    )
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; ``arguments`` defaults to the process's own.

    Returns:
        The exit code: 0, or 2 where something given was wrong or no verb was given, or 130 after Ctrl-C.
        ``lab`` does not return: JupyterLab takes the place of this process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    cut = words.index("--") if "--" in words else len(words)
    given, passed = parser().parse_args(words[:cut]), words[cut + 1 :]
    if given.version:
        print(f"mergelab {metadata.version('mergelab')}")
        return 0
    if given.verb is None:
        parser().print_help(sys.stderr)
        return 2
    if passed and given.verb != "lab":
        parser().error(f"'{given.verb}' passes nothing on: leave '-- {' '.join(passed)}' out")
    try:
        match given.verb:
            case "lab":
                _lab(given.notebook, passed)
            case "check":
                _check(given.recipe)
            case "show":
                _show(given.recipe)
            case "merge":
                _merge(given.recipe, given.out, given.force)
            case "demo":
                _demo()
    except MergelabError as error:
        print(f"mergelab {given.verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"mergelab {given.verb}: stopped.", file=sys.stderr)
        return 130
    return 0


# ------------------------------------------------------------------------------------------------- verbs


def _check(path: Path) -> None:
    found = _plan(path)
    rows = [("source", "layers", "width", "parameters", "on disk")]
    rows += [
        (str(source), str(one.layers), str(one.width), f"{one.parameters:,}", _bytes(one.bytes))
        for source, one in found.checkpoints.items()
    ]
    print(columns(rows))
    print(f"\nThey fit. {_size(found)}")


def _show(path: Path) -> None:
    found = _plan(path)
    print(columns(_layers(found)))
    print(f"\n{_size(found)}")


def _merge(path: Path, out: Path, force: bool) -> None:
    from tqdm import tqdm

    from mergelab.models.forge import merge

    found = _plan(path)
    with tqdm(total=len(found.steps), unit=" tensors", desc=str(out), disable=None) as bar:

        def advance(done: int, _: int) -> None:
            bar.update(done - bar.n)

        folder = merge(found, out, force=force, progress=advance)
    print(_size(found))
    print(folder)


def _demo() -> None:
    from mergelab.demo import run

    run()


def _lab(notebook: Path | None, options: Sequence[str]) -> None:
    if importlib.util.find_spec("jupyterlab") is None:
        raise OutputError(
            Problem("mergelab lab", "JupyterLab is not installed.", "Install it with: pip install 'mergelab[lab]'")
        )
    chosen = notebook if notebook is not None else _lesson(Path.cwd())
    if not chosen.is_file():
        raise OutputError(
            Problem(str(chosen), "there is no such notebook.", "Leave the name out to open the first lesson.")
        )
    command = [sys.executable, "-m", "jupyterlab", str(chosen), *options]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container one often is; Jupyter asks to be told
        command.append("--allow-root")
    # Jupyter takes the place of this process, so that Ctrl-C and every other signal reach it, and nothing outlives it.
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606 - no shell is meant: the words are Jupyter's as they are


def _lesson(here: Path) -> Path:
    """The first lesson: the clone's, or a copy in ``here`` of the installed one (never overwritten)."""
    package = Path(__file__).resolve().parent
    clone = package.parent / "notebooks" / LESSON
    if clone.is_file():
        return clone
    copy = here / LESSON
    if not copy.exists():
        shutil.copyfile(package / "notebooks" / LESSON, copy)
    return copy


# ------------------------------------------------------------------------------------------ what is printed


def _recipe(path: Path) -> Recipe:
    from mergelab.recipes.recipe import Recipe

    return Recipe.load(path)


def _plan(path: Path) -> Plan:
    from mergelab.recipes.plan import plan

    return plan(_recipe(path))


def _size(found: Plan) -> str:
    """The merged model in one line: layers, parameters, bytes on disk."""
    return (
        f"The merged model: {len(found.layers)} layers, {found.parameters:,} parameters, "
        f"{_bytes(found.bytes)} on disk ({found.recipe.method}, {found.dtype})."
    )


def _layers(found: Plan) -> list[tuple[str, ...]]:
    """One row for each output layer, and for each tensor outside them: where from, how, which numbers."""
    prefix = found.donor.anatomy.prefix
    steps: dict[str, list[Step]] = {}
    for step in found.steps:
        index = step.name.removeprefix(prefix).split(".")[0] if step.name.startswith(prefix) else ""
        steps.setdefault(index if index.isdigit() else step.name, []).append(step)
    rows: list[tuple[str, ...]] = [("layer", "from", "base", "made by", "numbers")]
    for key, made in steps.items():
        if key.isdigit():
            layer = found.layers[int(key)]
            parts = ", ".join(f"{home.source.label} {home.index}" for home in layer.parts)
            base = f"{layer.base.source.label} {layer.base.index}" if layer.base else ""
        else:
            parts = ", ".join(one.source.label for one in made[0].inputs)
            base = made[0].base.source.label if made[0].base else ""
        method = "copy" if all(step.copies for step in made) else made[0].method
        rows.append((key, parts, base, method, _numbers(made)))
    return rows


def _numbers(steps: Sequence[Step]) -> str:
    """``weight 0.3, 0.7; density 0.2``: numbers that are not the method's default; where they differ
    between the tensors of a layer, each that occurs.
    """
    from mergelab import methods

    shown = []
    for name, parameter in methods.get(steps[0].method).parameters.items():
        values = [dict(step.numbers)[name] for step in steps]
        usual = [
            all(one == parameter.default for one in (value if isinstance(value, tuple) else (value,)))
            for value in values
        ]
        if not all(usual):
            shown.append(f"{name} {' or '.join(dict.fromkeys(map(_number, values)))}")
    return "; ".join(shown)


def _number(value: Number) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_number, value))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:.4g}"


def _bytes(count: int) -> str:
    """Bytes in the largest decimal unit that leaves at least one: 1.6 MB."""
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}" if unit != "bytes" else f"{count} bytes"
