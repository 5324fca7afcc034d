"""The board: the answer to one request as far as it has come. Events go in, one payload for the browser comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from mergelab.models.answers import Answer
from mergelab.models.events import Merged
from mergelab.recipes.recipe import Recipe


@dataclass(frozen=True)
class Request:
    """What was asked: the recipe, the prompt, and the dials they came from.

    Attributes:
        turn: the last edit of the browser it contains.
        blocks: ``[source, start, end]`` of each slice.
        coefficient: one number per output layer.
    """

    recipe: Recipe
    prompt: str
    turn: int
    blocks: tuple[tuple[int, int, int], ...]
    coefficient: tuple[float, ...]
    method: str


@dataclass(frozen=True)
class Costs:
    """What the merged model weighs: layers, parameters, and bytes on disk.

    Attributes:
        unsaved: why it cannot be written to disk, else "".
    """

    layers: int
    parameters: int
    bytes: int
    unsaved: str = ""


@dataclass(frozen=True)
class Board:
    """The answer to one request, as far as it has come.

    Attributes:
        texts: what each speaker has written so far; None before its first word. The merged model comes first.
        written: whether that is all of it.
    """

    request: Request
    costs: Costs | None
    merged: Merged | None
    next_tokens: Answer | None
    texts: tuple[str | None, ...]
    written: tuple[bool, ...]

    @classmethod
    def of(cls, request: Request, speakers: int, before: Board | None) -> Board:
        """An empty board. What was written before for the same prompt stays until it is written anew."""
        kept = before.texts if before is not None and before.request.prompt == request.prompt else (None,) * speakers
        return cls(request, None, None, None, kept, (False,) * speakers)

    def with_text(self, speaker: int, text: str, *, done: bool) -> Board:
        """This board with the text so far of one speaker (0 is the merged model)."""
        texts, written = list(self.texts), list(self.written)
        texts[speaker], written[speaker] = text, done
        return replace(self, texts=tuple(texts), written=tuple(written))

    def finished(self) -> Board:
        """This board with nothing more to come."""
        return replace(self, written=(True,) * len(self.written))

    def payload(self) -> dict[str, Any] | None:
        """The `answer` trait: plain JSON. None until the next tokens are known.

        Lists of one entry per speaker begin with the merged model; a probability is None for a speaker whose
        vocabulary does not have the token, a KL (nats) where vocabularies cannot be compared.
        """
        if self.merged is None or self.next_tokens is None or self.costs is None:
            return None
        request, merged, tokens = self.request, self.merged, self.next_tokens
        return {
            "prompt": request.prompt,
            "recipe": request.recipe.fingerprint,
            "made": {
                "blocks": [list(block) for block in request.blocks],
                "coefficient": list(request.coefficient),
                "method": request.method,
            },
            "redone": merged.changes.redone,
            "steps": merged.changes.steps,
            "seconds": merged.seconds,
            "warning": " ".join(filter(None, (merged.changes.warning, self.costs.unsaved))),
            "layers": self.costs.layers,
            "parameters": self.costs.parameters,
            "bytes": self.costs.bytes,
            "candidates": [
                {"token": each.token, "probabilities": [_finite(value) for value in each.probabilities]}
                for each in tokens.candidates
            ],
            "kl": [_finite(value) for value in tokens.kl],
            "texts": list(self.texts),
            "written": list(self.written),
        }


def _finite(value: float) -> float | None:
    """JSON knows neither infinity nor NaN, which stands for what is not known."""
    return value if math.isfinite(value) else None
