"""The door: ``mergelab lab | check | show | merge | prove | verify | extract-lora | methods | demo``.

Heavy libraries load inside the verb that needs them, so that ``mergelab --help`` answers at once.
Errors raised on purpose are printed in words on standard error, with exit code 2; a traceback means a bug.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from mergelab.columns import in_bytes
from mergelab.errors import AssemblyError, MergelabError, OutputError, Problem
from mergelab.usage import parser

if TYPE_CHECKING:
    from mergelab.forge.digests import Digests
    from mergelab.models.progress import Progress
    from mergelab.recipes.plan import Plan
    from mergelab.recipes.recipe import Recipe

LESSON = "01_first_graft.ipynb"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; ``arguments`` defaults to the process's own.

    Returns:
        The exit code: 0, or 2 where something given was wrong or no verb was given, or 130 after Ctrl-C. ``verify`` has
        2 for what changed, and 3 where nothing did as far as it could be seen; ``prove`` has 2 for another model, and 3
        where it cannot be told here.
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
        return _run(given, passed)
    except MergelabError as error:
        print(f"mergelab {given.verb}: {error}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(f"mergelab {given.verb}: stopped.", *getattr(error, "__notes__", ()), file=sys.stderr)
        return 130
    except BrokenPipeError:  # who reads has read enough (| head): nothing is to be said, also not at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(given: argparse.Namespace, passed: Sequence[str]) -> int:
    match given.verb:
        case "lab":
            _lab(given.notebook, passed)
        case "check":
            return 0 if _check(given.recipe) else 2
        case "show":
            _show(given.recipe)
        case "merge":
            _merge(given)
        case "prove":
            return _prove(given.out, given.device, write=given.write)
        case "verify":
            return _verify(given.out)
        case "extract-lora":
            _extract(given)
        case "methods":
            _methods(given.name)
        case "demo":
            _demo(given.device)
    return 0


# ------------------------------------------------------------------------------------------------- verbs


def _check(path: Path) -> bool:
    from mergelab.models.verdict import check

    report = check(path)
    print(report)
    return report.works


def _show(path: Path) -> None:
    from mergelab.recipes.expansion import expand

    found = _plan(path)
    print(expand(found))
    print(f"\n{_size(found)}")


def _merge(given: argparse.Namespace) -> None:
    from mergelab.forge.digests import Digests

    with Digests() as digests:
        with suppress(OSError, ValueError):  # what is wrong is said where it is read
            digests.begin(_weights_named_in(given.recipe))  # on threads, while torch is loaded
        _poured(given, digests)


def _poured(given: argparse.Namespace, digests: Digests) -> None:
    from mergelab.forge.merge import merge

    found = _plan(given.recipe)
    with _progress(found.bytes, str(given.out)) as tell:
        folder = merge(
            found,
            given.out,
            force=given.force,
            device=given.device,
            shard_bytes=given.shard_size,
            prove=given.prove,
            progress=tell,
            digests=digests,
        )
    print(_size(found))
    print(_proven(folder))
    print(folder)


def _weights_named_in(recipe: Path) -> list[Path]:
    """Weight files of the folders that a recipe seems to name. A guess, made without reading it as what it is."""
    words = re.findall(r"[^\s\"'\[\]{},:+]+", recipe.read_bytes().decode("utf-8", errors="replace"))
    return [path for word in dict.fromkeys(words) for path in sorted(Path(word).glob("*.safetensors"))]


def _prove(out: Path, device: str, *, write: bool) -> int:
    """The exit code: 0, 2 where it is another model, 3 where the live model cannot be made or run here."""
    from mergelab.forge.proof import prove

    try:
        found = prove(out, device=device, write=write)
    except AssemblyError as error:
        print(f"mergelab prove: {error}", file=sys.stderr)
        return 3
    print(found)
    return 0 if found.holds else 2


def _verify(out: Path) -> int:
    """The exit code: 0, 2 where something changed, 3 where not all could be looked at."""
    from mergelab.forge.verify import verify

    with _progress(0, str(out)) as tell:
        found = verify(out, progress=tell)
    print(found)
    return 2 if found.changed else 3 if found.unseen else 0


def _extract(given: argparse.Namespace) -> None:
    from mergelab.forge.extraction import extract_lora

    print(extract_lora(given.fine_tune, given.base, given.out, rank=given.rank, whole=given.whole, device=given.device))


@contextmanager
def _progress(total: int, name: str) -> Iterator[Callable[[Progress], None]]:
    """Who listens to progress: a bar on standard error where that is a terminal; remarks are said in any case."""
    from tqdm import tqdm

    with tqdm(total=total, unit="B", unit_scale=True, desc=name, disable=None) as bar:

        def tell(now: Progress) -> None:
            if now.remark:
                bar.write(now.remark, file=sys.stderr)
            bar.total = now.total
            bar.set_description(f"{name}, {now.stage}", refresh=False)
            bar.update(now.done - bar.n)

        yield tell


def _methods(name: str | None) -> None:
    from mergelab.methods import get
    from mergelab.methods.handbook import index, page

    print(index() if name is None else page(get(name)))


def _demo(device: str) -> None:
    from mergelab.demo import run

    run(device)


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


def _proven(folder: Path) -> str:
    """What the record of a merge says of its proof, in a line."""
    from mergelab.forge.provenance import FILE, read_record

    proof = read_record(folder / FILE)["proof"]
    if proof is None:
        return "Not proven: that is done for small models, or when asked (--prove)."
    return f"Proven equal to the live model: {sum(one['holds'] for one in proof['checks'])} checks hold."


def _size(found: Plan) -> str:
    """The merged model in one line: layers, parameters, bytes on disk, whose config and tokenizer it has, and the seeds
    of random methods.
    """
    from mergelab import methods

    words = found.recipe.vocabulary
    has = f"config and tokenizer of {found.recipe.donor}"
    if words is not None:
        has = f"config of {found.recipe.donor} and the vocabulary of {words.source}"
    plans = [*(stage.plan for stage in found.stages), found]
    drawn = [one.recipe.seed for one in plans if any(methods.get(name).seeded for name in one.methods)]
    seeds = " and ".join(map(str, dict.fromkeys(drawn)))
    return (
        f"The merged model: {len(found.layers)} layers, {found.parameters:,} parameters, "
        f"{in_bytes(found.bytes)} on disk ({', '.join(found.methods)}, {found.dtype}), "
        f"with {has}{f', drawn with seed {seeds}' if drawn else ''}."
    )
