"""What the README shows of live models runs as it stands, and prints what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_lines_about_feeling_a_merge() -> None:
    first, second = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)[:2]
    names: dict[str, Any] = {}
    exec("\n".join(line for line in first.splitlines() if "print" not in line and "Workbench" not in line), names)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(second, names)
    variants = names["variants"]
    try:
        lines = said.getvalue().splitlines()
        assert lines[0] == re.search("# -> (.*)", second)[1]  # type: ignore[index]
        assert any(line.startswith("2  27+35=") for line in lines)
        assert any("loss on '62'" in line for line in lines)
        assert any(line.startswith("1 vote. ") for line in lines)
        assert variants.names == ("first", "three layers")
    finally:
        variants.close()
