"""The card of a merge: README.md, made from its record alone. What models and recipes say stands in it as text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import yaml

from mergelab.columns import in_bytes, in_count
from mergelab.recipes.licences import ADVICE

FILE = "README.md"
_MARKS = re.compile(r"([\\`*_\[\]<>|&#~$@])")
_LINKS = re.compile(r"(?=://)|(?<=www)(?=\.)", re.IGNORECASE)  # within what becomes a link of itself
_LONGEST = 300  # characters of a word that somebody else chose
_BESIDE = re.compile(
    r"\.[^/]*(/.*)?|(LICEN[CS]E|NOTICE|USE_POLICY)(\.(txt|pdf))?|[^/]+\.(md|png|jpe?g|gif|svg|webp|pdf)", re.IGNORECASE
)

_Entry = Mapping[str, Any]


def is_beside(name: str) -> bool:
    """Whether a file or folder of this name is what people lay beside a model to publish it, and no library reads: its
    licence, texts, pictures, and what is hidden, such as git's.
    """
    return _BESIDE.fullmatch(name) is not None


def model_card(record: Mapping[str, object]) -> str:
    """README.md of a merge, with the front matter that the hub reads.

    Models of the hub are its ``base_model``; a folder of this machine is nothing that others could look up, and is
    named in the text. Where no licence line would be true, it has none, and says why.

    Args:
        record: as ``provenance.record`` makes it, or as it was read from ``mergelab.json``.
    """
    found: Any = record
    names = _names(found["sources"])
    blocks = [
        _front_matter(found),
        f"# A merge of {_listed([_shown(name) for name in names.values()])}",
        _about(found, names),
        *_sources(found, names),
        *_layers(found, names),
        *_recipe(found),
        *_loading(),
        *_proof(found),
        *_licences(found),
        *_provenance(found),
    ]
    return "\n\n".join(blocks) + "\n"


def _front_matter(record: _Entry) -> str:
    places = [place for one in record["sources"] for place in (one, one["adapter"]) if place is not None]
    bases = list(dict.fromkeys(_line(place["path"]) for place in places if place["hub"]))
    line = record["licence"]["line"] or {}
    written = {"license": "licence", "license_name": "name", "license_link": "link"}
    table: dict[str, object] = {
        **({"base_model": bases} if bases else {}),
        "base_model_relation": "merge",
        "library_name": "transformers",
        "tags": ["merge", "mergelab"],
        **{ours: _line(line[theirs]) for ours, theirs in written.items() if line.get(theirs)},
    }
    text = yaml.safe_dump(table, sort_keys=False, allow_unicode=True, width=10_000)
    return f"---\n{text}---"


def _about(record: _Entry, names: Mapping[str, str]) -> str:
    model = record["model"]
    size = f"{model['parameters']:,}; {in_bytes(model['bytes'])}, {_shown(model['dtype'])}"
    words = [
        f"This language model was merged by mergelab {_shown(record['versions']['mergelab'])}, without any training.",
        f"It has {model['layers']} layers and {in_count(model['parameters'])} parameters ({size}).",
        f"Methods: {_listed([_shown(name) for name in model['methods']])}.",
        f"Config and tokenizer are those of {_shown(names.get(model['config'], model['config']))}.",
    ]
    if model["vocabulary"] is not None:
        words.append("Its vocabulary was put together as the recipe says.")
    return " ".join(words)


def _sources(record: _Entry, names: Mapping[str, str]) -> Iterator[str]:
    rows = []
    for one in record["sources"]:
        for place, role in ((one, ""), (one["adapter"], "adapter")):
            if place is not None:
                lives = place["path"] if place["hub"] else "a folder"
                called = names[one["address"]] if place is one else _last(place["path"])
                version = (place["commit"] or place["revision"] or "")[:12]
                said = ", ".join(place["licences"]) or "none stated"
                rows.append((called, role, lives, version, said, ", ".join(place["ancestors"])))
    yield "## Made from"
    yield _table(("source", "", "where", "commit", "licence on its card", "made from, by its card"), rows)


def _layers(record: _Entry, names: Mapping[str, str]) -> Iterator[str]:
    stages = dict.fromkeys(one["stage"] for one in record["made"])
    yield "## Layers"
    for stage in stages:
        made = [one for one in record["made"] if one["stage"] == stage and isinstance(one["place"], int)]
        rows = []
        for run in _runs(made):
            places = _span(run[0]["place"], run[-1]["place"])
            bases = [one["base"] for one in run]
            base = "" if bases[0] is None else _home(bases, names)
            parts = [_home([one["from"][at] for one in run], names) for at in range(len(run[0]["from"]))]
            rows.append((places, ", ".join(parts), base, run[0]["method"], _numbers(run)))
        if stage is not None:
            yield f"Stage {_shown(stage)}, which is used as a model below:"
        yield _table(("layer", "from", "base", "made by", "numbers"), rows)


def _runs(made: Sequence[_Entry]) -> list[list[_Entry]]:
    """Layers that go on, each from the next layer of the same sources by the same method."""
    runs = [[made[0]]]
    for one, other in pairwise(made):
        if _follows(one, other):
            runs[-1].append(other)
        else:
            runs.append([other])
    return runs


def _follows(one: _Entry, other: _Entry) -> bool:
    def homes(entry: _Entry) -> list[tuple[str, int] | None]:
        return [home and (home[0], home[1]) for home in (*entry["from"], entry["base"])]

    after = [home and (home[0], home[1] + 1) for home in homes(one)]
    alike = one["method"] == other["method"] and list(one["numbers"]) == list(other["numbers"])
    return alike and after == homes(other)


def _home(homes: Sequence[Sequence[Any]], names: Mapping[str, str]) -> str:
    address = homes[0][0]
    return f"{names.get(address, address)} {_span(homes[0][1], homes[-1][1])}"


def _span(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def _numbers(run: Sequence[_Entry]) -> str:
    """The numbers of a run, from its first layer to its last where they change. Exact ones stand in the recipe."""
    told = []
    for name in run[0]["numbers"]:
        values = [one["numbers"][name] for one in run]
        same = all(value == values[0] for value in values)
        told.append(f"{name} {values[0] if same else f'{values[0]} ... {values[-1]}'}")
    return "; ".join(told)


def _recipe(record: _Entry) -> Iterator[str]:
    yield "## Recipe"
    yield f"Fingerprint {_shown(record['recipe']['fingerprint'])}. Numbers in lists run over the layers of a slice."
    yield _fenced(record["recipe"]["yaml"], "yaml")


def _loading() -> Iterator[str]:
    yield "## Use"
    yield "In `MODEL` goes the folder of this file, or its id on the hub."
    yield _fenced(
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained("MODEL", dtype="auto")\n'
        'tokenizer = AutoTokenizer.from_pretrained("MODEL")\n'
        'ids = tokenizer("Once upon a time", return_tensors="pt")\n'
        "print(tokenizer.decode(model.generate(**ids, max_new_tokens=50)[0], skip_special_tokens=True))\n",
        "python",
    )


def _proof(record: _Entry) -> Iterator[str]:
    yield "## Proof"
    proof = record["proof"]
    if proof is None:
        yield "The folder was not compared with the live model after it was written."
        return
    checks = proof["checks"]
    kept = sum(one["holds"] for one in checks)
    yield (
        f"After it was written, the folder was opened anew and compared with the live model of the recipe: "
        f"{kept} of {len(checks)} checks hold."
    )
    rows = [(one["name"], "holds" if one["holds"] else "fails", one["said"]) for one in checks]
    yield _table(("check", "verdict", "what was compared"), rows)


def _licences(record: _Entry) -> Iterator[str]:
    found = record["licence"]
    yield "## Licences"
    line = found["line"]
    if line is None:
        yield "No licence is stated above, because none would be true of all that went in:"
    else:
        yield f"From the cards of its sources: {_shown(line['name'] or line['licence'])}."
    told = [f"- **{_shown(licence)}**: {_shown(asks)}" for licence, asks in found["duties"].items()]
    told += [
        f"- {_shown(one['about'])}, {_shown(one['what'])}: {_shown(one['evidence'])}. {_shown(one['remedy'])}"
        for one in found["findings"]
    ]
    if told:
        yield "\n".join(told)
    yield ADVICE


def _provenance(record: _Entry) -> Iterator[str]:
    versions = ", ".join(f"{_shown(name)} {_shown(number)}" for name, number in record["versions"].items())
    seeds = ", ".join(f"{number}{f' ({_shown(name)})' if name else ''}" for name, number in _seeds(record))
    yield "## Provenance"
    yield (
        "`mergelab.json` beside this file has the SHA-256 of every file that was read and written, the recipe, and "
        "for each layer where it is from. `mergelab verify` on the folder says whether all of it still holds."
    )
    drawn = f" Random numbers were drawn with seed {seeds}." if seeds else ""
    yield f"Made on {_shown(record['model']['device'])}, with {versions}.{drawn}"


def _seeds(record: _Entry) -> list[tuple[str, int]]:
    return list(record["model"]["seeds"].items())


# ------------------------------------------------------------------------------------------------- words


def _names(sources: Sequence[_Entry]) -> dict[str, str]:
    """How sources are called, by their addresses: by the last part, since nobody needs to know where a folder lay.
    Those that are called alike are numbered.
    """
    labels = ["+".join(_last(place["path"]) for place in (one, one["adapter"]) if place) for one in sources]
    return {
        one["address"]: label if labels.count(label) == 1 else f"{label} ({labels[:at].count(label) + 1})"
        for at, (one, label) in enumerate(zip(sources, labels, strict=True))
    }


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or path


def _line(text: str) -> str:
    """On one line, without characters that nobody sees."""
    return "".join(one for one in " ".join(text.split()) if one.isprintable())[:_LONGEST]


def _shown(text: str) -> str:
    """A text of others in Markdown: no mark of it means anything."""
    return _LINKS.sub(r"\\", _MARKS.sub(r"\\\1", _line(text)))


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text of others under a heading; columns without any are left out."""
    kept = [at for at in range(len(heading)) if any(row[at] for row in rows)]
    lines = [[heading[at] for at in kept], ["---"] * len(kept), *([_shown(row[at]) for at in kept] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _fenced(text: str, language: str) -> str:
    """A block of code, fenced by more backticks than it has anywhere in a row."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
