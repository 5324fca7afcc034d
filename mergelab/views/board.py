"""The board: the answer to one request as far as it has come. Events go in, one payload for the browser comes out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mergelab.models.answers import Answer
from mergelab.models.events import Merged
from mergelab.models.shading import Shade
from mergelab.recipes.recipe import Recipe
from mergelab.views.sketch import Sketch


@dataclass(frozen=True)
class Request:
    """What was asked: the recipe and its picture, the prompts, and where in the work that was.

    Attributes:
        prompt: the prompt at hand.
        prompts: those to choose from, which measures read.
        edit: the last edit of the browser that it contains.
        turn: the number of the recipe in the history; of one under a hand the number it is going to have.
    """

    recipe: Recipe
    prompt: str
    prompts: tuple[str, ...]
    edit: int
    turn: int
    sketch: Sketch

    def same(self, other: Request | None) -> bool:
        """Whether both ask for one answer."""
        return other is not None and (self.recipe, self.prompt) == (other.recipe, other.prompt)


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
        before: what stands in their place until then: what was written last for the same prompt.
        written: whether that is all of it.
        shades: what each token of the prompt is to the models; None where that is not known.
    """

    request: Request
    costs: Costs | None
    merged: Merged | None
    next_tokens: Answer | None
    texts: tuple[str | None, ...]
    before: tuple[str | None, ...]
    written: tuple[bool, ...]
    shades: tuple[Shade, ...] | None = None

    @classmethod
    def of(cls, request: Request, speakers: int, before: Board | None) -> Board:
        """An empty board. What was written before for the same prompt stays until it is written anew."""
        same = before is not None and before.request.prompt == request.prompt and len(before.texts) == speakers
        none = (None,) * speakers
        kept = before.shown if before is not None and same else none
        return cls(request, None, None, None, none, kept, (False,) * speakers)

    @property
    def shown(self) -> tuple[str | None, ...]:
        """The texts as they are on screen."""
        pairs = zip(self.texts, self.before, strict=True)
        return tuple(before if text is None else text for text, before in pairs)

    def with_text(self, speaker: int, text: str, *, done: bool) -> Board:
        """This board with the text so far of one speaker (0 is the merged model)."""
        texts, written = list(self.texts), list(self.written)
        texts[speaker], written[speaker] = text, done
        return replace(self, texts=tuple(texts), written=tuple(written))

    def finished(self) -> Board:
        """This board with nothing more to come: what nobody has begun to write anew is gone."""
        return replace(self, before=(None,) * len(self.before), written=(True,) * len(self.written))

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
            "made": request.sketch,
            "redone": merged.changes.redone,
            "steps": merged.changes.steps,
            "seconds": merged.seconds,
            "warning": merged.changes.warning,
            "unsaved": self.costs.unsaved,
            "layers": self.costs.layers,
            "parameters": self.costs.parameters,
            "bytes": self.costs.bytes,
            "candidates": [
                {"token": each.token, "probabilities": _finite(each.probabilities)} for each in tokens.candidates
            ],
            "kl": _finite(tokens.kl),
            "entropy": _finite(tokens.entropy),
            "texts": list(self.shown),
            "written": list(self.written),
            "shading": None if self.shades is None else [_shade(one) for one in self.shades],
        }


def _shade(one: Shade) -> dict[str, Any]:
    (loss,) = _finite((one.loss,))
    return {"token": one.token, "loss": loss, "kl": _finite(one.kl)}


def _finite(values: Sequence[float]) -> list[float | None]:
    """JSON knows neither infinity nor NaN, which stands for what is not known."""
    return [value if math.isfinite(value) else None for value in values]
