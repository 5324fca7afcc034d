"""Tiny random models as folders, made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from mergelab.models.preview import Preview
from tests.models.asking import Listener
from tests.models.families import save

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """``family(kind, seed)``: folder of a tiny random model of that kind."""
    root = tmp_path_factory.mktemp("families")

    def folder(kind: str, seed: int) -> Path:
        path = root / f"{kind}-{seed}"
        return path if path.exists() else save(kind, path, seed=seed)

    return folder


@pytest.fixture(scope="session")
def llamas(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A base and two others of the same shape, with a tokenizer of single characters."""
    root = tmp_path_factory.mktemp("llamas")
    base, a, b = (save("llama", root / f"llama-{seed}", seed=seed) for seed in (1, 2, 3))
    for path in (base, a, b):
        _characters().save_pretrained(path)
    return base, a, b


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def preview(llamas: tuple[Path, Path, Path], listener: Listener) -> Iterator[Preview]:
    """A preview of a base and two others that writes six tokens."""
    made = Preview(dict(zip(("base", "a", "b"), llamas, strict=True)), listener, max_new_tokens=6)
    yield made
    made.close()


def _characters():  # a transformers tokenizer
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = ["<pad>", "<s>", "</s>", "<unk>", *(chr(code) for code in range(32, 124))]
    tokenizer = Tokenizer(
        models.WordLevel({letter: number for number, letter in enumerate(letters)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
