"""What every test stands on: no network, cheap tests first, the folder of real models where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.forge.mergekits import command

# Before anything loads a library that reads them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")

ROOT = Path(__file__).resolve().parents[1]

# From the ground up: where a lower floor is broken, its tests say so first.
ORDER = (
    "test_house", "methods", "measures", "weights", "recipes", "models", "forge", "inspection", "studies", "sample",
    "test_cli", "views", "test_notebooks", "browser",
)  # fmt: skip

# Cores are shared, so no test is judged by time. What fails in CI fails again when repeated.
# Recipes are drawn wide, and those that ``check`` refuses are drawn again: a run of these is no fault.
WIDE = [HealthCheck.filter_too_much]
settings.register_profile("house", deadline=None, print_blob=True, suppress_health_check=WIDE)
settings.register_profile("ci", settings.get_profile("house"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "house")


def _shared() -> Path | None:
    """The folder with real small models: $MERGELAB_SHARED, or ``shared`` beside the checkout."""
    named = os.environ.get("MERGELAB_SHARED")
    folder = Path(named) if named else ROOT.parent / "shared"
    return folder if (folder / "models").is_dir() else None


def pytest_report_header() -> list[str]:
    return [
        f"real models: {_shared() or 'none here, so the tests marked real are left out'}",
        f"mergekit: {command('mergekit-yaml') or 'none here, so only the texts written for it are compared'}",
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _shared() is None:
        absent = [item for item in items if item.get_closest_marker("real")]
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if not item.get_closest_marker("real")]
    items.sort(key=_rank)  # stable: the order inside a file stays


def _rank(item: pytest.Item) -> int:
    parts = item.path.relative_to(ROOT / "tests").with_suffix("").parts
    return ORDER.index(parts[0]) if parts[0] in ORDER else len(ORDER) - 2


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real small models. Tests that ask for it carry ``@pytest.mark.real``."""
    folder = _shared()
    assert folder is not None, "mark the test with @pytest.mark.real"
    return folder
