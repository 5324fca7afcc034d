"""Sabotage: whatever is done to a merged folder is caught, by the check that is named for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from mergelab.forge.proof import Proof, prove
from mergelab.forge.reopened import reopened, stored
from tests.models.talking import ANSWERS, SILENT, Trio, broken, in_table, merged, said, talkers


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Trio:
    return talkers(tmp_path_factory.mktemp("talkers"))


@pytest.fixture(scope="module")
def out(trio: Trio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return merged(trio, tmp_path_factory.mktemp("proof") / "merged")


def in_weights(edit: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    """Change the tensors, and write them into one file."""

    def change(folder: Path) -> None:
        tensors: dict[str, torch.Tensor] = {}
        metadata: dict[str, str] = {}
        for path in sorted(folder.glob("*.safetensors")):
            tensors, metadata = tensors | load_file(path), header(path)
            path.unlink()
        (folder / INDEX).unlink()
        edit(tensors)
        save_file({name: one.contiguous() for name, one in tensors.items()}, folder / "model.safetensors", metadata)

    return change


def header(path: Path) -> dict[str, str]:
    """What a weight file says of itself."""
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def in_header(edit: Callable[[dict[str, str]], object]) -> Callable[[Path], None]:
    """Change what the last weight file says of itself."""

    def change(folder: Path) -> None:
        path = max(folder.glob("*.safetensors"))
        said = header(path)
        edit(said)
        save_file(load_file(path), path, said)

    return change


def beside(name: str, text: str = "{}") -> Callable[[Path], None]:
    """Add a file."""

    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    return change


INDEX = "model.safetensors.index.json"
NORM, HEAD, QUERY = "model.norm.weight", "lm_head.weight", "model.layers.1.self_attn.q_proj.weight"


def flip_a_bit(tensors: dict[str, torch.Tensor]) -> None:
    tensors[QUERY].view(torch.int32)[3, 5] ^= 1


def flip_the_sign_of_a_zero(tensors: dict[str, torch.Tensor]) -> None:
    tensors[SILENT].view(torch.int32)[1, 1] = -(2**31)


def swap_two_letters(table: dict[str, Any]) -> None:
    words = table["model"]["vocab"]
    words["a"], words["e"] = words["e"], words["a"]


def truncate(folder: Path) -> None:
    path = max(folder.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-9])


def add_a_stray_file(folder: Path) -> None:
    path = folder / "stray.safetensors"
    save_file({"model.extra": torch.zeros(2)}, path, header(min(folder.glob("*.safetensors"))))


def add_a_file_of_nothing(folder: Path) -> None:
    save_file({}, folder / "adapter_model.safetensors", header(min(folder.glob("*.safetensors"))))


_ADAPTER = '{"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}'
UNOPENED = ("opening", *ANSWERS, "ending")

SABOTAGE: dict[str, tuple[Callable[[Path], None], tuple[str, ...], str]] = {
    "an adapter is added": (beside("adapter_config.json", _ADAPTER), ("files",), "adapter_config.json is not of"),
    "a pickle is added": (beside("pytorch_model.bin"), ("files",), "pytorch_model.bin is not of the merge"),
    "code is added": (
        beside("custom_generate/generate.py"),
        ("files",),
        "custom_generate is not of the merge; custom_generate/generate.py is not of the merge.",
    ),
    "weights are added in a folder": (beside("more/a.safetensors"), ("files",), "more/a.safetensors is not of"),
    "a file of no tensors is added": (add_a_file_of_nothing, ("tensors",), "adapter_model.safetensors holds no tensor"),
    "weights name no format": (in_header(lambda t: t.pop("format")), ("files",), "says format: None of itself, not pt"),
    "weights name another recipe": (
        in_header(lambda t: t.update(mergelab="deadbeef")),
        ("files",),
        "model-00003-of-00003.safetensors says mergelab: deadbeef of itself, not ",
    ),
    "weights say more": (in_header(lambda t: t.update(more="x")), ("files",), "says more: x of itself, not None"),
    "the config is of another dtype": (
        in_table("config.json", lambda t: t.update(dtype="bfloat16")),
        ("config", *ANSWERS),
        "are bfloat16 [24, 290], the live model's float32 [24, 290]",
    ),
    "the model is of another type": (
        in_table("config.json", lambda t: t.update(model_type="llama")),
        ("config", *ANSWERS, "ending"),
        "the model cannot be run: ",
    ),
    "the end of text is a word": (
        in_table("generation_config.json", lambda t: t.update(eos_token_id="x")),
        ("config", "ending"),
        "its ends of text cannot be read: ",
    ),
    "a tensor is dropped": (in_weights(lambda t: t.pop(NORM)), ("tensors", *UNOPENED), f"{NORM} is missing"),
    "a tensor is renamed": (
        in_weights(lambda t: t.update({"model.norm.scale": t.pop(NORM)})),
        ("tensors", *UNOPENED),
        "model.norm.scale is left over",
    ),
    "a tensor is added": (
        in_weights(lambda t: t.update({"model.extra": t[NORM].clone()})),
        ("tensors", *UNOPENED),
        "model.extra is left over",
    ),
    "a tensor is of another dtype": (
        in_weights(lambda t: t.update({NORM: t[NORM].bfloat16().double()})),
        ("tensors", *ANSWERS),
        "float64 [24], not F32 [24]",
    ),
    "a tensor is of another shape": (
        in_weights(lambda t: t.update({NORM: t[NORM][:-1].clone()})),
        ("tensors", *UNOPENED),
        "float32 [23], not F32 [24]",
    ),
    "a bit is flipped": (in_weights(flip_a_bit), ("values", *ANSWERS), f"{QUERY} differs in 1 of 576 values"),
    "a zero gets a sign": (in_weights(flip_the_sign_of_a_zero), ("values",), f"{SILENT} differs in 1 of 576 values"),
    "the head is made anew": (
        in_weights(lambda t: t.update({HEAD: torch.randn_like(t[HEAD])})),
        ("values", *ANSWERS),
        f"{HEAD} differs in",
    ),
    "two layers are exchanged": (
        in_weights(lambda t: t.update({QUERY: t[QUERY.replace("1", "2")], QUERY.replace("1", "2"): t[QUERY]})),
        ("values", *ANSWERS),
        f"{QUERY} differs in",
    ),
    "a value is no number": (
        in_weights(lambda t: t[NORM].__setitem__(2, torch.nan)),
        ("values", "finite", *ANSWERS),
        f"{NORM} differs in 1 of 24",
    ),
    "a file is truncated": (truncate, ("tensors", *UNOPENED), "cannot be read"),
    "a file is there that nobody names": (
        add_a_stray_file,
        ("tensors", *UNOPENED),
        "the index has model.extra in None",
    ),
    "the index names another file": (
        in_table(INDEX, lambda t: t["weight_map"].update({NORM: "model-00001-of-00003.safetensors"})),
        ("tensors",),
        f"the index has {NORM} in",
    ),
    "the index counts wrong": (
        in_table(INDEX, lambda t: t["metadata"].update(total_size=3)),
        ("tensors",),
        "counts 3 bytes",
    ),
    "the tie flag is flipped": (
        in_table("config.json", lambda t: t.update(tie_word_embeddings=True)),
        ("config",),
        "tie_word_embeddings of the config is True",
    ),
    "rope's theta is another": (
        in_table("config.json", lambda t: t["rope_parameters"].update(rope_theta=3.0)),
        ("config", *ANSWERS),
        "rope_parameters of the config is {'rope_theta': 3.0",
    ),
    "types of layers are exchanged": (
        in_table("config.json", lambda t: t.update(layer_types=t["layer_types"][::-1])),
        ("config", *ANSWERS),
        "layer_types of the config is",
    ),
    "layers turn their heads elsewhere": (
        in_table("config.json", lambda t: t.update(no_rope_layers=t["no_rope_layers"][::-1])),
        ("config", *ANSWERS),
        "no_rope_layers of the config is",
    ),
    "a layer is left out": (
        in_table(
            "config.json",
            lambda t: t.update(
                num_hidden_layers=4, layer_types=t["layer_types"][:4], no_rope_layers=t["no_rope_layers"][:4]
            ),
        ),
        ("opening", "config", *ANSWERS, "ending"),
        "model.layers.4.input_layernorm.weight has no place",
    ),
    "there is no config": (
        lambda path: (path / "config.json").unlink(),
        ("opening", "config", *UNOPENED[1:]),
        "cannot be built",
    ),
    "the end of text is another": (
        in_table("generation_config.json", lambda t: t.update(eos_token_id=7)),
        ("config", "ending"),
        "generation ends at [7], the live model's at [2]",
    ),
    "there is no end of text": (
        in_table("generation_config.json", lambda t: t.pop("eos_token_id")),
        ("config", "ending"),
        "generation ends at no token, the live model's at [2]",
    ),
    "two tokens are exchanged": (in_table("tokenizer.json", swap_two_letters), ("tokenizer",), "token 'e' has the id"),
    "text does not come back": (
        in_table(
            "tokenizer.json", lambda t: t.update(decoder={"type": "Strip", "content": "s", "start": 0, "stop": 1})
        ),
        ("tokenizer", "round trip"),
        "'Yes' comes back as",
    ),
    "the tokenizer ends elsewhere": (
        in_table("tokenizer_config.json", lambda t: t.update(eos_token="<unk>")),
        ("tokenizer", "ending"),
        "the tokenizer's end of text is 0, the live model's 2",
    ),
    "there is no tokenizer": (
        lambda path: [one.unlink() for one in path.glob("*token*")],
        ("tokenizer",),
        "cannot be opened",
    ),
    "the chat template is another": (
        lambda path: (path / "chat_template.jinja").write_text("{{ messages }}"),
        ("chat template",),
        "not the live model's",
    ),
}


def assert_as_strict(folder: Path, proof: Proof) -> None:
    """What transformers' own loading makes up, leaves aside or refuses, the proof does not let through either."""
    loadable = "files" not in broken(proof) and not any(
        "cannot be" in said(proof, name) for name in ("tensors", "opening", "logits")
    )
    if not loadable or "the index" in said(proof, "tensors"):
        return
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, ignore_mismatched_sizes=True)
    odd = any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert odd == ("opening" in broken(proof))
    if not odd:
        ours, faults = reopened(folder, stored(folder).tensors)
        assert not faults
        ids = torch.tensor([[5, 9, 33, 7, 20, 41, 3, 60, 11, 19]])
        assert torch.equal(ours(ids).logits.nan_to_num(), model(ids).logits.nan_to_num())
        assert ours.generation_config.eos_token_id == model.generation_config.eos_token_id
        assert ours.config.to_dict() == model.config.to_dict() | {"_name_or_path": ""}


@pytest.mark.parametrize("kind", SABOTAGE)
def test_what_is_done_to_a_folder_is_caught_by_name(kind: str, out: Path, tmp_path: Path) -> None:
    change, expected, text = SABOTAGE[kind]
    folder = Path(shutil.copytree(out, tmp_path / "out"))
    change(folder)
    proof = prove(folder)
    assert broken(proof) == expected, str(proof)
    assert text in str(proof)
    assert not proof.holds
    assert str(proof).startswith(f"Not proven: {len(expected)} of ")
    assert_as_strict(folder, proof)


def test_what_is_laid_beside_a_model_to_publish_it_is_nobodys_concern(out: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(out, tmp_path / "out"))
    beside("LICENSE", "Everybody may.")(folder)
    beside(".gitattributes", "*.safetensors filter=lfs")(folder)
    beside(".git/config", "")(folder)
    assert prove(folder).holds
