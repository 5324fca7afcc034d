"""Small tokenizers of every kind, made from a few words; as transformers saves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<unk>", "<s>", "</s>")


def words(*known: str) -> Tokenizer:
    """Whole words, cut at spaces."""
    listed = [*SPECIAL, *known]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(listed)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def bytes_and_merges(*known: str) -> Tokenizer:
    """Byte-level BPE, in which each of the words becomes one token."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=10_000, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([f"{word} {word}" for word in known] * 2, trainer)
    return made


def pieces(*known: str) -> Tokenizer:
    """Unigram over the words and their letters, with a marked space."""
    letters = dict.fromkeys("".join(known))
    scored = [*((text, 0.0) for text in SPECIAL), *((f"\u2581{word}", -2.0) for word in known)]
    scored += [("\u2581", -5.0), *((letter, -9.0) for letter in letters)]
    made = Tokenizer(models.Unigram(scored, unk_id=0))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    return made


def save(
    made: Tokenizer, folder: Path, *, added: Sequence[str] = (), plain: Sequence[str] = (), **settings: Any
) -> int:
    """Write tokenizer files with special tokens, more of them in ``added``, and added ones that are not special.

    Returns:
        The number of tokens.
    """
    made.add_special_tokens([AddedToken(text, special=True) for text in (*SPECIAL, *added)])
    made.add_tokens([AddedToken(text, special=False, normalized=False) for text in plain])
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **names | settings).save_pretrained(folder)
    return int(made.get_vocab_size())
