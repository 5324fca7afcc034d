"""What a preview is given: models to show, and requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mergelab.errors import Problem, SourceError
from mergelab.models.answers import MERGED, Prompt
from mergelab.recipes.recipe import Recipe
from mergelab.weights import Checkpoint, open_checkpoint


@dataclass(frozen=True)
class Request:
    """What a preview is asked.

    Attributes:
        generation: its number; the newest wins.
        only_measures: what the models say is known already.
    """

    generation: int
    recipe: Recipe
    prompts: tuple[Prompt, ...]
    only_measures: bool


def opened(sources: object) -> dict[str, Checkpoint]:
    """The sources of a preview by name, opened.

    Raises:
        SourceError: there is none, or one cannot be opened, has no name, or is called "merged".
    """
    if not isinstance(sources, Mapping) or not sources:
        what = "there is no source." if sources == {} else f"a {type(sources).__name__} has no names for sources."
        raise SourceError(Problem("preview", what, 'Give a dict: {"base": folder, "other": folder}.'))
    if MERGED in sources:
        what = f"no source can be called {MERGED!r}."
        raise SourceError(Problem("preview", what, "That is what the merged model is called."))
    return {str(name): open_checkpoint(source) for name, source in sources.items()}
