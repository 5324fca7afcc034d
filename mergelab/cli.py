"""The door: ``mergelab lab | check | show | merge | verify | extract-lora | methods | demo``.

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
from mergelab.errors import MergelabError, OutputError, Problem

if TYPE_CHECKING:
    from mergelab.forge.digests import Digests
    from mergelab.models.progress import Progress
    from mergelab.recipes.plan import Plan
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
  mergelab check recipe.yml          will this work? answered from headers, before anything is downloaded
  mergelab show recipe.yml           the recipe worked out: which layer comes from where, and how it is made
  mergelab merge recipe.yml merged   write the merged model to the folder 'merged'
  mergelab verify merged             is it still what was written, and what its sources give?
  mergelab extract-lora tuned base a a fine-tune as a LoRA adapter, in the folder 'a'
  mergelab methods ties              what a merge method does, its numbers, and where it comes from
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
        "Say whether a recipe will work, and why not. Reads headers and some thousand weights, writes nothing.",
        "mergelab check recipe.yml",
    )
    show = verb(
        "show",
        "Print a recipe worked out: every layer with its source, its method and the numbers that it really gets.",
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
        "--force", action="store_true", help="replace OUT where it is an earlier merge, and nothing else lies in it"
    )
    merge.add_argument(
        "--device", default="cpu", help="where the arithmetic is done: cpu (default), cuda, cuda:1, mps, or auto"
    )
    merge.add_argument(
        "--shard-size", type=_bytes, default=5_000_000_000, metavar="SIZE", help="most bytes of one file (default: 5GB)"
    )
    merge.add_argument(
        "--prove",
        action=argparse.BooleanOptionalAction,
        help="hold what was written against the live model before it is put in place (default: for small models)",
    )

    verify = verb(
        "verify",
        "Say what has changed since a model was merged: its files, its sources, and every tensor worked out again. "
        "Exit code 0: nothing; 2: something; 3: nothing, as far as it could be seen.",
        "mergelab verify merged",
    )
    verify.add_argument("out", type=Path, metavar="OUT", help="a folder that 'mergelab merge' wrote")

    extract = verb(
        "extract-lora",
        "Write what a fine-tune learned beyond its base as a LoRA adapter, and say how much of it the rank keeps.",
        "mergelab extract-lora fine_tune base adapter --rank 32",
    )
    extract.add_argument("fine_tune", metavar="FINE_TUNE", help="a folder, or an id of the hub")
    extract.add_argument("base", metavar="BASE", help="the model it was tuned from")
    extract.add_argument("out", type=Path, metavar="OUT", help="the folder to write; it appears whole or not at all")
    extract.add_argument("--rank", type=int, default=32, help="of each matrix (default: 32)")
    extract.add_argument(
        "--whole",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep what no pair of matrices holds (norms, embeddings, head) as it is",
    )

    methods = verb(
        "methods",
        "Print a table of all merge methods, or one of them in full.",
        "mergelab methods ties",
    )
    methods.add_argument("name", nargs="?", metavar="NAME", help="a method (default: all, in a table)")

    demo = verb(
        "demo",
        "Graft and merge small trained models that ship with mergelab; print what each says, and its scores.",
        "mergelab demo",
    )
    demo.add_argument("--device", default="auto", help="where the models run: auto (default), cpu, cuda, cuda:1 or mps")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; ``arguments`` defaults to the process's own.

    Returns:
        The exit code: 0, or 2 where something given was wrong or no verb was given, or 130 after Ctrl-C. ``verify`` has
        2 for what changed, and 3 where nothing did as far as it could be seen.
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
        case "verify":
            return _verify(given.out)
        case "extract-lora":
            _extract(given.fine_tune, given.base, given.out, rank=given.rank, whole=given.whole)
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


def _verify(out: Path) -> int:
    """The exit code: 0, 2 where something changed, 3 where not all could be looked at."""
    from mergelab.forge.verify import verify

    with _progress(0, str(out)) as tell:
        found = verify(out, progress=tell)
    print(found)
    return 2 if found.changed else 3 if found.unseen else 0


def _extract(fine_tune: str, base: str, out: Path, *, rank: int, whole: bool) -> None:
    from mergelab.forge.extraction import extract_lora

    print(extract_lora(fine_tune, base, out, rank=rank, whole=whole))


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


def _bytes(text: str) -> int:
    """A size as people write it: 5GB, 500 MB, 20000."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    size = 0
    if found is not None:
        size = round(float(found[1]) * (1024 if found[3] else 1000) ** " kmgt".index(found[2].lower() or " "))
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write 5GB, 500MB, or a number of bytes")
    return size


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
