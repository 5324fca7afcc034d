"""The tiny random models of the floor below."""

from __future__ import annotations

from tests.models.conftest import family, llamas

__all__ = ["family", "llamas"]
