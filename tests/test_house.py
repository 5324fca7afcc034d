"""The house holds: every file keeps the rules of tests/house.py, and every rule can be broken."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mergelab
from tests import house

ROOT = Path(__file__).resolve().parents[1]
TEXT = {
    ".py",
    ".js",
    ".mjs",
    ".ts",
    ".css",
    ".md",
    ".json",
    ".toml",
    ".txt",
    ".yml",
    ".yaml",
    ".sh",
    ".ipynb",
    ".html",
    "",
}


def _files() -> list[Path]:
    """The files of the repository, as git sees them: committed, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in sorted(listed.split("\0")) if name and (ROOT / name).is_file()]


FILES = _files()


def _in(folder: str, *endings: str) -> list[Path]:
    return [path for path in FILES if path.is_relative_to(ROOT / folder) and path.suffix in endings]


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


PACKAGE = _in("mergelab", ".py")
FRONT = [ROOT / "mergelab" / "__init__.py"]
TESTS = _in("tests", ".py")
BROWSER = [path for path in _in("widgets", ".js", ".mjs", ".css") if "node_modules" not in path.parts]
BUNDLES = _in("mergelab/static", ".js", ".css")


def _report(found: dict[str, list[str]]) -> str:
    return "\n".join(f"{path}:{message}" for path, messages in found.items() for message in messages)


def _hold(paths: list[Path], rule: object) -> None:
    """Every file keeps the rule; the failure lists all that do not."""
    assert paths, "the rule is held against no file at all"
    found = {str(path.relative_to(ROOT)): rule(path.read_text(encoding="utf-8")) for path in paths}  # type: ignore[operator]
    text = _report(found)
    assert not text, f"\n{text}"


# ------------------------------------------------------------------------------------- the rules, held


def test_a_floor_imports_only_floors_below() -> None:
    rooms = [path for path in PACKAGE if path not in FRONT]
    found = {str(path.relative_to(ROOT)): house.floors(path.read_text(), _module(path)) for path in rooms}
    text = _report(found)
    assert not text, f"\n{text}"


def _module(path: Path) -> str:
    """The dotted name, with ``__init__`` kept: relative imports in it start from its own package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_every_module_stands_on_a_floor() -> None:
    loose = sorted({_dotted(path).split(".")[1] for path in PACKAGE if path not in FRONT} - set(house.HEIGHTS))
    assert not loose, f"{loose} stand on no floor: give them a height in tests/house.py"


def test_names_say_what_is_inside() -> None:
    text = _report({name: house.banned_name(name) for name in (str(path.relative_to(ROOT)) for path in FILES)})
    assert not text, f"\n{text}"


def test_files_are_short() -> None:
    _hold(PACKAGE + TESTS + [path for path in BROWSER if path.suffix != ".css"], house.too_long)


def test_no_file_names_a_machine_or_a_registry() -> None:
    _hold(
        [path for path in FILES if path.suffix in TEXT and path.stat().st_size < 2_000_000],
        house.machine_paths,
    )


def test_bundles_reach_for_nothing() -> None:
    _hold(BUNDLES, house.addresses)


def test_text_never_becomes_html() -> None:
    _hold(
        [path for path in BROWSER if path.is_relative_to(ROOT / "widgets" / "src") and path.suffix == ".js"],
        house.raw_html,
    )


def test_nothing_loads_code() -> None:
    _hold(PACKAGE, house.unsafe_loading)


def test_everything_public_is_explained() -> None:
    _hold(PACKAGE, house.docstrings)


def test_habits() -> None:
    _hold(PACKAGE, house.habits)


def test_classes_are_interfaces_or_final() -> None:
    found = house.finality({str(path.relative_to(ROOT)): path.read_text() for path in PACKAGE})
    assert not found, "\n" + "\n".join(found)


def test_no_test_is_skipped() -> None:
    _hold(TESTS, house.skipped)


def test_notebooks_are_stripped() -> None:
    _hold(_in("notebooks", ".ipynb"), house.stripped)


def test_every_package_is_pinned_and_the_torch_of_the_house_is_there() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(line.count("==") == 1 and "://" not in line for line in lines)
    pins = dict(line.split("==") for line in lines)
    assert pins["torch"] == "2.13.0"
    assert list(pins) == sorted(pins, key=str.lower)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + [one for extra in project["optional-dependencies"].values() for one in extra]
    names = {one.split(">=")[0].split("[")[0] for one in asked} - {"mergelab"}
    assert not names - set(pins), f"not pinned: {sorted(names - set(pins))}"
    assert project["version"] == mergelab.__version__


# --------------------------------------------------------------------------------- the front of the house


def _fresh(code: str) -> str:
    """Run ``code`` in a Python of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = ("torch", "transformers", "plotly", "sklearn", "anywidget", "ipywidgets", "numpy", "pandas")


@pytest.mark.parametrize(
    "code", ["import mergelab; dir(mergelab)", "from mergelab import cli; cli.parser().format_help()"]
)
def test_importing_is_light(code: str) -> None:
    loaded = _fresh(f"{code}\nimport sys; print([name for name in {HEAVY!r} if name in sys.modules])")
    assert loaded.strip() == "[]"


def test_importing_takes_under_0_3_seconds() -> None:
    code = "import time; start = time.perf_counter(); import mergelab; print(time.perf_counter() - start)"
    best = min(
        float(_fresh(code)) for _ in range(5)
    )  # the best of five: other work on the machine is not the import's fault
    assert best < 0.3, f"import mergelab took {best:.2f} s"


def test_every_public_name_is_there() -> None:
    assert sorted(mergelab.__all__) == list(mergelab.__all__)
    assert set(mergelab.__all__) == {*mergelab._HOMES, *mergelab._ROOMS}
    for name in mergelab.__all__:
        assert getattr(mergelab, name) is not None
        assert name in dir(mergelab)


def test_type_checkers_see_the_same_names() -> None:
    [guard] = [node for node in ast.parse(FRONT[0].read_text()).body if isinstance(node, ast.If)]
    typed = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in guard.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lazy = {name: home if ":" in home else f"{home}:{name}" for name, home in mergelab._HOMES.items()}
    expected = {name: f"mergelab.{home}" for name, home in lazy.items()}
    assert typed == expected | {room: f"mergelab:{room}" for room in mergelab._ROOMS}


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'mergelab' has no attribute 'frankenstein'"):
        mergelab.frankenstein  # noqa: B018


# ------------------------------------------------------------------------------- every rule can be broken

BROKEN = {
    "upward": (
        lambda text: house.floors(text, "mergelab.recipes.plan"),
        "from mergelab.forge.merge import merge",
    ),
    "upward, relative": (
        lambda text: house.floors(text, "mergelab.recipes.plan"),
        "from ..views import workbench",
    ),
    "upward, lazily": (
        lambda text: house.floors(text, "mergelab.weights.shards"),
        "def f():\n    import mergelab.recipes.plan",
    ),
    "upward, by name": (
        lambda text: house.floors(text, "mergelab.weights.shards"),
        "import importlib\nimportlib.import_module('mergelab.models')",
    ),
    "sideways": (lambda text: house.floors(text, "mergelab.methods.blend"), "from mergelab import measures"),
    "front door": (lambda text: house.floors(text, "mergelab.forge.merge"), "from mergelab import Recipe"),
    "front door, whole": (lambda text: house.floors(text, "mergelab.forge.merge"), "import mergelab as ml"),
    "no floor": (lambda text: house.floors(text, "mergelab.forge.merge"), "import mergelab.attic"),
    "library": (lambda text: house.floors(text, "mergelab.recipes.recipe"), "import torch.nn"),
    "library above": (
        lambda text: house.floors(text, "mergelab.weights.checkpoint"),
        "from transformers import AutoModel",
    ),
    "name": (house.banned_name, "mergelab/models/utils.py"),
    "folder name": (house.banned_name, "widgets/src/helpers/dial.js"),
    "long": (house.too_long, "x = 1\n" * 401),
    "machine path": (house.machine_paths, "open('/" + "home/someone/model')"),
    "registry": (house.machine_paths, "index = 'https://pypi" + ".org/simple'"),
    "address": (house.addresses, 'import "https://cdn.example/x.js"'),
    "html": (house.raw_html, "cell.innerHTML = token"),
    "code from text": (house.raw_html, "eval(answer)"),
    "dynamic import": (house.raw_html, "await import(address)"),
    "html after a comment": (house.raw_html, "/* innerHTML is banned */ cell.innerHTML = token"),
    "pickle": (house.unsafe_loading, "import pickle"),
    "pickle, from": (house.unsafe_loading, "from joblib import load"),
    "torch.load": (house.unsafe_loading, "import torch\ntorch.load('x')"),
    "remote code": (house.unsafe_loading, "load(name, trust_remote_code=True)"),
    "remote code, named": (house.unsafe_loading, "load(name, trust_remote_code=trust)"),
    "no docstring": (house.docstrings, '"""Module."""\ndef public():\n    return 1'),
    "no method docstring": (
        house.docstrings,
        '"""Module."""\nclass A:\n    """A."""\n    def public(self):\n        return 1',
    ),
    "no module docstring": (house.docstrings, "x = 1"),
    "not frozen": (house.habits, "@dataclass\nclass A:\n    x: int"),
    "not frozen, called": (house.habits, "@dataclasses.dataclass(slots=True)\nclass A:\n    x: int"),
    "kwargs": (house.habits, "def f(**kwargs):\n    return g(**kwargs)"),
    "global": (house.habits, "def f():\n    global x\n    x = 1"),
    "warning": (house.habits, "import warnings\nwarnings.warn('density is large')"),
    "walks a set": (house.habits, "for x in {1, 2}:\n    print(x)"),
    "lists a set": (house.habits, "list(set(names) - set(others))"),
    "joins a set": (house.habits, "', '.join({x for x in names})"),
    "subclass": (
        lambda text: house.finality({"a.py": text}),
        "class A:\n    def f(self): ...\nclass B(A):\n    def f(self): ...",
    ),
    "skip": (house.skipped, "@pytest.mark.skip\ndef test(): ..."),
    "skipif": (house.skipped, "@pytest.mark.skipif(True, reason='')\ndef test(): ..."),
    "xfail": (house.skipped, "def test():\n    pytest.xfail('later')"),
    "asserts a tuple": (house.skipped, "def test():\n    assert (x == 1, 'message')"),
    "output": (house.stripped, json.dumps({"cells": [{"outputs": [{"text": "1"}]}], "metadata": {}})),
    "count": (house.stripped, json.dumps({"cells": [{"outputs": [], "execution_count": 3}], "metadata": {}})),
    "widget state": (house.stripped, json.dumps({"cells": [], "metadata": {"widgets": {}}})),
}

KEPT = {
    "downward": (
        lambda text: house.floors(text, "mergelab.forge.merge"),
        "from mergelab.recipes.plan import Plan\nimport torch",
    ),
    "downward, relative": (
        lambda text: house.floors(text, "mergelab.forge.merge"),
        "from ..weights import shards\nfrom . import proof",
    ),
    "own package": (
        lambda text: house.floors(text, "mergelab.methods.__init__"),
        "from .registry import Method\nimport torch",
    ),
    "floor by name": (
        lambda text: house.floors(text, "mergelab.forge.merge"),
        "from mergelab import methods",
    ),
    "namespace": (house.addresses, 'createElementNS("http://www.w3.org/2000/svg", "g")'),
    "html in a comment": (
        house.raw_html,
        "/** @type {import('./x').X} never innerHTML */\nlet x; // eval(x)",
    ),
    "relative path": (house.machine_paths, "the folder shared/work/x and https://a.example/tmp/x"),
    "remote code refused": (house.unsafe_loading, "load(name, trust_remote_code=False)"),
    "frozen": (house.habits, "@dataclass(frozen=True)\nclass A:\n    x: int"),
    "sorted set": (house.habits, "for x in sorted({1, 2}):\n    print(x)"),
    "kwargs read": (house.habits, "def f(**kwargs):\n    return sorted(kwargs)"),
    "interface": (
        lambda text: house.finality({"a.py": text}),
        "class A(Protocol):\n    ...\nclass B(A):\n    ...",
    ),
    "interface, by its open method": (
        lambda text: house.finality({"a.py": text}),
        "class A:\n    def f(self):\n        raise NotImplementedError\nclass B(A):\n    def f(self): ...",
    ),
    "errors are a tree": (
        lambda text: house.finality({"a.py": text}),
        "class AError(Exception): ...\nclass BError(AError): ...",
    ),
    "private": (house.docstrings, '"""Module."""\ndef _private():\n    return 1'),
    "real check": (house.skipped, "def test():\n    assert x == 1, 'message'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_seen(name: str) -> None:
    rule, sample = BROKEN[name]
    assert len(rule(sample)) >= 1


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_rule_is_left_alone(name: str) -> None:
    rule, sample = KEPT[name]
    assert rule(sample) == []
