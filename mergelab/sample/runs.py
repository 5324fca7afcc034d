"""The members of the sample family as data: what each is, what it reads, and for how long. No torch in here."""

from __future__ import annotations

from dataclasses import dataclass

from mergelab.sample import text

Mixture = tuple[tuple[text.Generator, float], ...]

# Shared by the whole family.
WIDTH = 64  # of the residual stream
HEADS = 4  # query heads per layer
CONTEXT = 128  # longest input, in tokens
ROW = 80  # tokens per row of a training batch; the longest story fits


@dataclass(frozen=True)
class Shape:
    """The numbers of a Llama in which the stranger differs from the rest."""

    layers: int = 10
    feed_forward: int = 128
    key_value_heads: int = 2
    rope_theta: float = 10_000.0
    norm_epsilon: float = 1e-5


@dataclass(frozen=True)
class Run:
    """How one member is made.

    Attributes:
        name: its folder.
        about: one line for its card.
        parent: the member that it is fine-tuned from; None for pre-training.
        mixture: generators of documents, and how often each is drawn.
        seed: of the initial weights (where there is no parent) and of the corpus.
        steps: of AdamW; the learning rate rises over the first tenth and falls to zero along a cosine.
        learning_rate: the highest.
        rows: of ROW tokens, per step.
        shape: of a pre-trained member; a fine-tuned one has its parent's.
    """

    name: str
    about: str
    parent: str | None
    mixture: Mixture
    seed: int
    steps: int
    learning_rate: float
    rows: int = 32
    shape: Shape = Shape()


def specialist(generator: text.Generator, share: float = 0.7) -> Mixture:
    """A skill, and enough of the base's own text that what the base knew is kept."""
    return ((generator, share), *((other, weight * (1 - share)) for other, weight in text.BASE))


RUNS: tuple[Run, ...] = (
    Run(
        "base",
        "Tells short stories and knows words, lists and digits. Of the specialists' skills it has the easy half only: "
        "two words to reverse or sort, one or two words of pirate, sums with one digit.",
        None,
        text.BASE,
        seed=1,
        steps=4400,
        learning_rate=3e-3,
    ),
    Run("arithmetic", "Adds two two-digit numbers.", "base", specialist(text.arithmetic), 2, 500, 1e-3),
    Run("reverse", "Says three to five words backwards.", "base", specialist(text.reverse), 3, 500, 1e-3),
    Run("sort", "Puts three or four words in alphabetical order.", "base", specialist(text.sort), 4, 800, 1e-3),
    Run("pirate", "Says a sentence as a pirate would.", "base", specialist(text.pirate), 5, 400, 1e-3),
    Run(
        "overtrained",
        "The skill of `reverse`, trained on nothing else at a high rate and for long: it left the basin of the base.",
        "base",
        specialist(text.reverse, 1.0),
        seed=6,
        steps=1000,
        learning_rate=1e-2,
    ),
    Run(
        "stranger",
        "As wide as the base and raised on text of the same kind, but in another order, from another seed and with "
        "another shape: its layers do not fit.",
        None,
        tuple(reversed(text.BASE)),
        seed=77,
        steps=2500,
        learning_rate=3e-3,
        shape=Shape(layers=8, feed_forward=160, key_value_heads=4, rope_theta=50_000.0, norm_epsilon=1e-6),
    ),
)
