"""Usage: what the command line takes, and the words in which it says so."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from mergelab.errors import did_you_mean

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
  mergelab prove merged              is it the model that its recipe says?
  mergelab verify merged             is it still what was written, and what its sources give?
  mergelab extract-lora tuned base a a fine-tune as a LoRA adapter, in the folder 'a'
  mergelab methods ties              what a merge method does, its numbers, and where it comes from
"""


class _Parser(argparse.ArgumentParser):
    """The parser of the verbs, which knows what a misspelt one means."""

    def _check_value(self, action: argparse.Action, value: object) -> None:
        known = list(action.choices or ())
        if known and value not in known:
            self.error(f"{value!r} is no verb. {did_you_mean(str(value), known)}")


def parser() -> argparse.ArgumentParser:
    """The whole command line, as argparse sees it."""
    top = _Parser(
        prog="mergelab",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", parser_class=argparse.ArgumentParser)

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

    prove = verb(
        "prove",
        "Open a merged model anew and hold it against the live model of its recipe: every tensor, and what it says. "
        "Exit code 0: proven; 2: not the same, or something given was wrong; 3: it cannot be told on this machine.",
        "mergelab prove merged --write",
    )
    prove.add_argument("out", type=Path, metavar="OUT", help="a folder that 'mergelab merge' wrote")
    prove.add_argument(
        "--device", default="cpu", help="where the model was merged: cpu (default), cuda, cuda:1, mps, or auto"
    )
    prove.add_argument(
        "--write", action="store_true", help="put a verdict that holds into the record and onto the card of OUT"
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
        "--device", default="cpu", help="where the arithmetic is done: cpu (default), cuda, cuda:1, mps, or auto"
    )
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


def _bytes(text: str) -> int:
    """A size as people write it: 5GB, 500 MB, 20000."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    size = 0
    if found is not None:
        size = round(float(found[1]) * (1024 if found[3] else 1000) ** " kmgt".index(found[2].lower() or " "))
    if found is not None and size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} holds nothing: write at least 1, such as 5GB or 500MB")
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write 5GB, 500MB, or a number of bytes")
    return size
