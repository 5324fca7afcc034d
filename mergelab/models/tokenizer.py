"""The tokenizer of a source. transformers loads it; nothing that a model brings is ever run as code."""

from __future__ import annotations

from typing import Any

from mergelab.errors import Problem, SourceError
from mergelab.weights import Checkpoint

FILES: tuple[str, ...] = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model", "vocab.json", "merges.txt",
    "added_tokens.json", "vocab.txt", "spiece.model", "chat_template.jinja",
)  # fmt: skip


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The transformers tokenizer of a model.

    Raises:
        SourceError: it has none, or transformers cannot read it.
    """
    from transformers import AutoTokenizer

    found = [path for name in FILES if (path := checkpoint.path(name)) is not None]
    if not found:
        raise SourceError(
            Problem(
                str(checkpoint.source),
                "has no tokenizer files.",
                "Copy tokenizer.json and tokenizer_config.json beside its weights.",
            )
        )
    try:
        return AutoTokenizer.from_pretrained(found[0].parent, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(
            Problem(str(checkpoint.source), f"its tokenizer cannot be loaded ({error}).", "Save it again.")
        ) from error
