"""The rules of the house, as functions from a file's text to what is wrong with it.

Each returns messages of the form ``line: what``, none when the file is in order. tests/test_house.py
holds every file of the repository against them, and shows by samples that each can be broken.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

# A floor imports only floors below it. Two floors of one height know nothing of each other.
HEIGHTS = {
    "errors": 0,
    "columns": 0,
    "methods": 1,
    "measures": 1,
    "weights": 2,
    "recipes": 3,
    "models": 4,
    "forge": 5,
    "inspection": 5,
    "sample": 6,
    "studies": 7,
    "views": 8,
    "cli": 9,
    "demo": 8,
    "usage": 8,
    "__main__": 10,
}

# Libraries that only some floors may know, so that the floors below stay light and testable without them.
LIBRARIES = {
    "torch": {"methods", "measures", "weights", "models", "forge", "inspection", "studies", "sample", "views"},
    "safetensors": {"weights", "models", "forge", "inspection", "studies", "sample"},
    "huggingface_hub": {"weights"},
    "yaml": {"weights", "recipes", "models", "forge", "studies"},
    "tokenizers": {"models", "forge", "sample"},
    "transformers": {"models", "forge", "inspection", "studies", "sample"},
    "sklearn": {"inspection", "studies"},
    "pandas": {"inspection", "studies", "views"},
    "anywidget": {"views"},
    "ipywidgets": {"views"},
    "traitlets": {"views"},
    "plotly": {"views"},
    "IPython": {"views"},
}

BANNED_NAMES = ("utils", "util", "common", "helpers", "helper", "manager", "misc")
LONGEST = 400

PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"}

_MACHINE = re.compile(r"(?<![\w.~])/(?:work|tmp|root|home/[a-z]\w*|Users/\w+)/")
_REGISTRIES = re.compile(
    "|".join(
        re.escape(host)
        for host in (
            "pypi" + ".org",
            "files.pythonhosted" + ".org",
            "registry.npmjs" + ".org",
            "registry.yarnpkg" + ".com",
            "download.pytorch" + ".org",
            "deb.debian" + ".org",
        )
    )
)
_URL = re.compile(r"(?:https?|wss?|ftp)://[^\s\"'`)>]*")
# Names of XML vocabularies: identifiers that look like addresses and that nothing ever fetches.
_NAMESPACES = ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml", "http://www.w3.org/1999/xlink")
_RAW_HTML = re.compile(
    r"\b(?:innerHTML|outerHTML|insertAdjacentHTML|document\s*\.\s*write(?:ln)?|srcdoc|DOMParser|createContextualFragment)\b"
)
_REMOTE_CODE = re.compile(r"\beval\s*\(|\bnew Function\b|\bimport\s*\(")

_COMMENT = re.compile(r"/\*.*?\*/|(?<![:\w'\"])//[^\n]*", re.DOTALL)


def floors(text: str, module: str) -> list[str]:
    """Imports of ``module`` (dotted) that reach a floor which is not below its own; lazy imports count."""
    floor = _floor(module)
    found = []
    for line, name in _imported(text, module):
        if name.split(".")[0] == "mergelab":
            other = _floor(name)
            if other == "":
                found.append(f"{line}: imports mergelab itself; import the module that holds the name")
            elif other not in HEIGHTS:
                found.append(f"{line}: imports {name}, which is on no floor")
            elif other != floor and HEIGHTS[other] >= HEIGHTS[floor]:
                found.append(f"{line}: {floor} imports {name}, which is not below it")
        else:
            library = name.split(".")[0]
            if floor not in LIBRARIES.get(library, {floor}):
                found.append(f"{line}: {floor} imports {library}; only {', '.join(sorted(LIBRARIES[library]))} may")
    return found


def banned_name(path: str) -> list[str]:
    """Files and folders whose name says nothing."""
    parts = re.split(r"[/.]", path)
    return [f"0: {part!r} says nothing about what is inside" for part in parts if part.strip("_") in BANNED_NAMES]


def too_long(text: str) -> list[str]:
    """A file that wants more than LONGEST lines is two ideas."""
    lines = text.count("\n") + (not text.endswith("\n"))
    return [f"{lines}: {lines} lines, more than {LONGEST}"] if lines > LONGEST else []


def machine_paths(text: str) -> list[str]:
    """Folders of somebody's machine, and hosts of package registries."""
    return _matches(text, _MACHINE, "names a machine's folder") + _matches(
        text, _REGISTRIES, "names a package registry"
    )


def addresses(text: str) -> list[str]:
    """Addresses in a bundle: nothing a notebook shows may reach out of it."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        found += [f"{number}: holds the address {url}" for url in _URL.findall(line) if url not in _NAMESPACES]
    return found


def raw_html(text: str) -> list[str]:
    """Ways by which text of a model could become HTML, or be run, in the browser."""
    code = _COMMENT.sub(lambda comment: "\n" * comment.group().count("\n"), text)
    return _matches(code, _RAW_HTML, "turns text into HTML") + _matches(code, _REMOTE_CODE, "runs text as code")


def unsafe_loading(text: str) -> list[str]:
    """Loading that can run somebody else's code: pickle and its relatives, torch.load, trust_remote_code."""
    found = []
    tree = ast.parse(text)
    for line, name in _imported(text, "mergelab.x"):
        if name.split(".")[0] in PICKLES:
            found.append(f"{line}: imports {name}, which runs code when it loads")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"torch.load", "torch.save", "eval", "exec", "np.load", "numpy.load"}:
                found.append(f"{node.lineno}: calls {called}")
            for keyword in node.keywords:
                refused = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in {"trust_remote_code", "allow_pickle"} and not refused:
                    found.append(f"{node.lineno}: sets {keyword.arg}")
    return found


def docstrings(text: str) -> list[str]:
    """Public modules, classes, functions and methods without a docstring."""
    found = []

    def visit(node: ast.Module | ast.ClassDef, prefix: str) -> None:
        for child in node.body:
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                decorators = {ast.unparse(one) for one in child.decorator_list}
                spared = child.name.startswith("_") or any(
                    one.endswith((".setter", "overload", "override")) for one in decorators
                )
                if not spared and not ast.get_docstring(child):
                    found.append(f"{child.lineno}: {prefix}{child.name} has no docstring")
                if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
                    visit(child, f"{child.name}.")

    tree = ast.parse(text)
    if not ast.get_docstring(tree):
        found.append("1: the module has no docstring")
    visit(tree, "")
    return found


def habits(text: str) -> list[str]:
    """Habits of the house that a syntax tree shows.

    Data is frozen; keyword arguments are not passed through unread; no global state; nothing is walked in the
    order of a set; wrong input is an error and not a warning.
    """
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            for decorator in map(ast.unparse, node.decorator_list):
                if re.match(r"(dataclasses\.)?dataclass\b", decorator) and "frozen=True" not in decorator:
                    found.append(f"{node.lineno}: {node.name} is a dataclass that is not frozen")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and node.args.kwarg:
            passed = f"**{node.args.kwarg.arg}"
            for call in ast.walk(node):
                if isinstance(call, ast.Call):
                    for keyword in call.keywords:
                        if keyword.arg is None and f"**{ast.unparse(keyword.value)}" == passed:
                            found.append(f"{call.lineno}: passes {passed} through")
        if isinstance(node, ast.Global):
            found.append(f"{node.lineno}: keeps global state ({', '.join(node.names)})")
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"warnings.warn", "warn"}:
            found.append(f"{node.lineno}: warns; wrong input is an error")
        for walked in _walked(node):
            if _is_set(walked):
                found.append(f"{walked.lineno}: walks a set, whose order is not fixed; sort it")
    return found


def finality(texts: dict[str, str]) -> list[str]:
    """Classes that extend a concrete class of ours: a class is an interface or final. Errors are a tree.

    An interface is a Protocol or an ABC, or leaves a method to others by raising NotImplementedError.
    """
    ours: dict[str, bool] = {}
    classes: list[tuple[str, ast.ClassDef]] = []
    for path, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
                abstract = any(word in ast.unparse(node) for word in ("abstractmethod", "raise NotImplementedError"))
                ours[node.name] = bool(bases & {"Protocol", "ABC"}) or abstract or node.name.endswith("Error")
                classes.append((path, node))
    return [
        f"{path}:{node.lineno}: {node.name} extends {name}, which is not an interface"
        for path, node in classes
        for name in (ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases)
        if ours.get(name) is False
    ]


def skipped(text: str) -> list[str]:
    """Tests that do not run, and tests that may fail unseen."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {
            "pytest.skip",
            "pytest.xfail",
            "pytest.importorskip",
            "pytest.mark.skip",
            "pytest.mark.skipif",
            "pytest.mark.xfail",
            "unittest.skip",
            "unittest.skipIf",
        }:
            found.append(f"{node.lineno}: {ast.unparse(node)}: a test runs, or is deselected by name, or is not there")
        if (
            isinstance(node, ast.Assert)
            and isinstance(node.test, ast.Constant | ast.Tuple)
            and ast.unparse(node.test) != "False"
        ):
            found.append(f"{node.lineno}: a check that cannot fail")
    return found


def stripped(text: str) -> list[str]:
    """Outputs left in a notebook: the tests make them anew."""
    notebook = json.loads(text)
    found = [
        f"{number}: cell {number} has outputs" for number, cell in enumerate(notebook["cells"]) if cell.get("outputs")
    ]
    found += [
        f"{number}: cell {number} has a count"
        for number, cell in enumerate(notebook["cells"])
        if cell.get("execution_count")
    ]
    if "widgets" in notebook.get("metadata", {}):
        found.append("0: the notebook holds the state of widgets")
    return found


# ---------------------------------------------------------------------------------------------- pieces

_IMPORTERS = ("importlib.import_module", "import_module", "__import__")


def _floor(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def _imported(text: str, module: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported anywhere in the file; relative imports are resolved."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(module.split(".")[: -node.level]) if node.level else ""
            start = ".".join(part for part in (package, node.module or "") if part)
            if start == "mergelab":  # from mergelab import methods: the name itself is the floor, or is none
                for alias in node.names:
                    yield node.lineno, f"mergelab.{alias.name}" if alias.name in HEIGHTS else "mergelab"
            else:
                yield node.lineno, start
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in _IMPORTERS:
            yield from ((node.lineno, str(one.value)) for one in node.args[:1] if isinstance(one, ast.Constant))


def _matches(text: str, pattern: re.Pattern[str], what: str) -> list[str]:
    return [
        f"{number}: {what}: {match.group().strip()}"
        for number, line in enumerate(text.splitlines(), start=1)
        for match in pattern.finditer(line)
    ]


def _walked(node: ast.AST) -> list[ast.expr]:
    """The expressions whose order ``node`` takes over."""
    if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
        return [node.iter]
    if isinstance(node, ast.Call) and node.args:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        if name in {"list", "tuple", "enumerate", "join", "iter", "next", "zip", "map"}:
            return [one for one in node.args if isinstance(one, ast.expr)]
    return []


def _is_set(node: ast.expr) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub):
        return _is_set(node.left) or _is_set(node.right)
    return isinstance(node, ast.Call) and ast.unparse(node.func) in {"set", "frozenset"}
