"""Passages: texts to read models with, where nobody gave any."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mergelab import sample
from mergelab.weights import Source

# Prose, a question, a sum, steps, code, a letter, a fact, a tale.
ENGLISH = (
    "The river rises in the hills and turns east before it meets the sea. In winter its valley is under snow.",
    "What is the capital of France? The capital of France is Paris, which lies on the Seine.",
    "Twelve boxes hold seven apples each. Twelve times seven is eighty-four, so there are eighty-four apples.",
    "First wash the rice. Then boil twice as much water, add salt, and let it simmer for fifteen minutes.",
    "def area(width, height):\n    return width * height\n\nprint(area(3, 4))",
    "Dear Anna, thank you for your letter. We were glad to hear that the children are well and that the house is sold.",
    "A whale is not a fish: it breathes air, feeds its young with milk, and has to come up every few minutes.",
    "Once upon a time there was a miller who had three sons, a donkey, and a cat.",
)


def passages(sources: Iterable[Source]) -> tuple[str, ...]:
    """Texts that come with mergelab and that models of these sources can be expected to know the like of.

    Stories that training never saw, where all are of the sample family; else ENGLISH.
    """
    if all(Path(source.path).parent == sample.FAMILY for source in sources):
        return tuple(story.answer for story in sample.SKILLS["stories"].documents(4))
    return ENGLISH
