"""Malformed recipes, each with the whole message it gets: faults.txt, changes of the recipes below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LINEAR = """merge_method: linear
models:
  - model: a
    parameters: {weight: 1}
  - model: b
    parameters: {weight: 0.5}
"""
SLERP = """merge_method: slerp
base_model: a
slices:
  - sources:
      - {model: a, layer_range: [0, 4]}
      - {model: b, layer_range: [0, 4]}
    parameters: {t: 0.5}
"""
TIES = """merge_method: ties
base_model: a
models:
  - model: b
    parameters: {weight: 1, density: 0.5}
parameters: {normalize: true}
"""
STACK = """merge_method: passthrough
slices:
  - sources: [{model: a, layer_range: [0, 4]}]
  - sources: [{model: b, layer_range: [2, 4]}]
"""
MODULE = """merge_method: linear
modules:
  default:
    models:
      - {model: a, parameters: {weight: 1}}
    parameters: {normalize: false}
"""
MIXED = """merge_method: slerp
base_model: a
slices:
  - sources: [{model: a, layer_range: [0, 4]}, {model: b, layer_range: [0, 4]}]
  - merge_method: ties
    sources: [{model: a, layer_range: [4, 5]}, {model: b, layer_range: [4, 5]}]
    parameters: {weight: 1}
parameters: {t: 0.5, density: 0.5}
"""
WORDS = """merge_method: passthrough
slices: [{sources: [{model: a, layer_range: [0, 1]}]}]
tokenizer:
  source: union
  pad_to_multiple_of: 64
  tokens:
    <s>: {source: b, force: true}
    "[/INST]": {source: {kind: model_token, model: b, token: x}}
    pad: {source: {kind: zero}}
chat_template: chatml
"""
STAGES = """name: one
merge_method: linear
models:
  - {model: a, parameters: {weight: 1}}
---
name: two
merge_method: slerp
base_model: one
models: [{model: one}, {model: b}]
parameters: {t: 0.5}
---
merge_method: passthrough
slices:
  - sources: [{model: two, layer_range: [0, 4]}]
"""
RIGHT: Mapping[str, str] = {
    "linear": LINEAR,
    "slerp": SLERP,
    "ties": TIES,
    "stack": STACK,
    "module": MODULE,
    "mixed": MIXED,
    "words": WORDS,
    "stages": STAGES,
}


@dataclass(frozen=True)
class Fault:
    """A change of a right recipe, and what is said of it.

    Attributes:
        name: what is wrong, in words.
        right: the recipe before.
        text: the recipe after.
        message: the one problem, as it is shown.
    """

    name: str
    right: str
    text: str
    message: str


def faults() -> Iterator[Fault]:
    """All of faults.txt: a right recipe and the fault's name, lines taken out (-) and put in (+), the message (=)."""
    for block in Path(__file__).with_name("faults.txt").read_text(encoding="utf-8").split("\n\n"):
        head, *rest = block.strip("\n").split("\n")
        if head.startswith("#"):
            continue
        recipe, name = head.split(": ", 1)
        out, put = ("".join(f"{line[1:]}\n" for line in rest if line[0] == sign) for sign in "-+")
        before, found, after = RIGHT[recipe].rpartition(out)
        assert found, f"{name}: these lines are not in {recipe}"
        yield Fault(name, RIGHT[recipe], f"{before}{put}{after}", rest[-1].removeprefix("= "))
