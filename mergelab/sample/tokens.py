"""The family's tokenizer: one token per word of the generators, bytes for all other text."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from mergelab.sample import text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # what Metaspace writes for a space
SPECIALS = ("<unk>", "<s>", "</s>", "<pad>")
PUNCTUATION = ".,!?:;+=-'\"()"


def vocabulary() -> list[str]:
    """Special tokens, bytes, digits and punctuation, then every word as the generators write it.

    A word after a space carries the marker, a word at the start of a line does not. The words are read off sample
    documents and sorted, so the same generators always give the same vocabulary.
    """
    rng = random.Random(0)
    pieces: dict[str, None] = {}
    generators = [generator for generator, _ in text.BASE] + [
        text.arithmetic,
        text.reverse,
        text.sort,
        text.pirate,
    ]
    for generator in generators:
        for _ in range(2000):
            document = generator(rng)
            for piece in re.findall(r" ?[A-Za-z]+", document.prompt + document.answer):
                pieces[piece.replace(" ", SPACE)] = None
    octets = [f"<0x{byte:02X}>" for byte in range(256)]
    return [*SPECIALS, *octets, SPACE, SPACE + ":", *"0123456789", *PUNCTUATION, *sorted(pieces)]


def tokenizer() -> PreTrainedTokenizerFast:
    """A Unigram tokenizer over `vocabulary()`: decoding an encoded text gives back that text, to the space.

    Two things are beyond it: U+2581, which stands for a space inside, and the four special tokens spelt out.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = vocabulary()
    # All words cost the same, so the cut with the fewest pieces wins.
    model = models.Unigram([(word, -1.0) for word in words], unk_id=0, byte_fallback=True)
    inner = Tokenizer(model)
    inner.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="never", split=True)
    inner.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(replacement=SPACE, prepend_scheme="never")]
    )
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", words.index("<s>"))]
    )
    unknown, begin, end, padding = SPECIALS
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token=unknown,
        bos_token=begin,
        eos_token=end,
        pad_token=padding,
        padding_side="left",
        model_max_length=128,
        clean_up_tokenization_spaces=False,
    )
