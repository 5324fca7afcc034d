"""Writing: always the likeliest token, whatever a source's generation config asks for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mergelab.models import assemble
from mergelab.recipes import graft
from tests.models.asking import Trio

LENGTH = 8
ASKED: dict[str, dict[str, Any]] = {
    "beams": {"num_beams": 4},
    "penalty": {"repetition_penalty": 1.8},
    "no repeats": {"no_repeat_ngram_size": 1},
    "a dict": {"return_dict_in_generate": True},
    "two sequences": {"num_return_sequences": 2, "do_sample": True, "temperature": 0.6, "top_p": 0.9},
    "contrastive": {"penalty_alpha": 0.6},
    "dola": {"dola_layers": "high"},
    "prompt lookup": {"prompt_lookup_num_tokens": 3},
    "guidance": {"guidance_scale": 1.5},
    "stop strings": {"stop_strings": ["a"]},
    "time": {"max_time": 1e-6},
    "length": {"max_length": 5},
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_it_is_greedy_whatever_the_generation_config_says(asked: dict[str, Any], llamas: Trio, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(llamas[1], folder)
    settings = {"bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": 0} | asked
    (folder / "generation_config.json").write_text(json.dumps(settings))
    with assemble(graft(folder, folder, (0, 6)), device="cpu") as assembly:
        before = assembly.model.generation_config.to_dict()
        assert before.items() >= asked.items(), "the model itself has them"
        said = assembly.say("hello", max_new_tokens=LENGTH)
        assert assembly.model.generation_config.to_dict() == before
        ids = assembly.tokenizer("hello")["input_ids"]
        start = len(ids)
        with torch.inference_mode():
            while len(ids) < start + LENGTH and ids[-1] not in (2, 3):
                ids.append(int(assembly.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        assert said == assembly.tokenizer.decode(ids[start:], skip_special_tokens=True)


def test_it_ends_at_every_token_that_the_generation_config_names_as_an_end(llamas: Trio, tmp_path: Path) -> None:
    with assemble(graft(llamas[1], llamas[1], (0, 6)), device="cpu") as assembly:
        whole = assembly.say("hello", max_new_tokens=LENGTH)
        last = assembly.tokenizer(whole)["input_ids"][3]
    folder = tmp_path / "model"
    shutil.copytree(llamas[1], folder)
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": [2, last]}))
    with assemble(graft(folder, folder, (0, 6)), device="cpu") as assembly:
        said = assembly.say("hello", max_new_tokens=LENGTH)
    assert said == whole[: whole.index(whole[2]) + 1]
    assert len(said) < len(whole)
