"""What several tests of views begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.views.measured import Look


@pytest.fixture
def look() -> Iterator[Look]:
    """An inspector of three members of the family, once all is measured."""
    made = Look()
    made.settled()
    yield made
    made.widget.close()
