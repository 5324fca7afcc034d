"""What ``to_mergekit`` writes, as it is kept here, and what mergekit itself makes of it.

The texts are compared always. mergekit needs an environment of its own: where its commands are on the path, or in the
folder that $MERGELAB_MERGEKIT names, they run, and their tensors are compared with ours; where they are not, these
tests do not exist, and the head of the test report says so.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from mergelab.models.assembly import rehearse
from mergelab.models.pour import pour
from mergelab.recipes import Recipe, plan
from mergelab.recipes.mergekit import METHODS
from tests.forge.mergekit_recipes import ALONE, RECIPES
from tests.forge.mergekits import command
from tests.models import tongues
from tests.models.families import save

TEXTS = Path(__file__).parent / "mergekit_texts"
FEW_ULPS = 8 * 2.0**-23  # of the largest value: 4.6 at most were seen, where norms are summed (multislerp)
HALF = 2.0**-8  # bfloat16, rounded once from values that differ by these few


def test_every_recipe_is_written_as_it_was_when_mergekit_ran_it() -> None:
    written = {name: Recipe.load(text).to_mergekit() for name, text in RECIPES.items()}
    assert written == {path.stem: path.read_text() for path in TEXTS.glob("*.yml")}
    said = {tree["merge_method"] for text in written.values() for tree in yaml.safe_load_all(text)}
    assert said == set(METHODS)


def test_no_document_ends_with_more_sources_than_it_begins_with() -> None:
    """mergekit would leave the last of them out of norm and head, without a word."""
    for path in TEXTS.glob("*.yml"):
        for tree in yaml.safe_load_all(path.read_text()):
            counts = [len(piece["sources"]) for piece in tree.get("slices", [])]
            assert not counts or counts[0] >= counts[-1], path.stem


def models(root: Path) -> None:
    """base, a, b, c: of one vocabulary; ext: of a larger one; lora: an adapter to a."""
    for seed, name in enumerate(("base", "a", "b", "c", "ext"), start=1):
        more = [] if name != "ext" else ["<extra>", "<more>"]
        words = tongues.words(*(f"w{number}" for number in range(40)))
        size = tongues.save(words, root / name, added=more)
        save("llama", root / name, seed=seed, vocab_size=size)
    ranks = torch.Generator().manual_seed(9)
    stem = "base_model.model.model.layers"
    pairs = {
        f"{stem}.{layer}.self_attn.q_proj.lora_{side}.weight": torch.randn(shape, generator=ranks) / 9
        for layer in range(6)
        for side, shape in (("A", (3, 24)), ("B", (24, 3)))
    }
    (root / "lora").mkdir()
    save_file(pairs, root / "lora" / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 3, "lora_alpha": 5, "target_modules": ["q_proj"]}
    (root / "lora" / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": "a"}))


def run(program: str, *words: str, root: Path) -> None:
    path = command(program)
    assert path is not None
    alone = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([path, *words], cwd=root, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-4000:]}"


def flags(text: str) -> list[str]:
    """What the head of a text asks of the command line."""
    said = [line.removeprefix("# mergekit: ") for line in text.splitlines() if line.startswith("# mergekit: ")]
    return [word.replace("FOLDER", "cache") for line in said for word in line.split()]


def assert_same(name: str, folder: Path, root: Path) -> None:
    """mergekit's folder holds what our merge makes, within the last places of float32."""
    planned = plan(Recipe.load(RECIPES[name], root=root))
    ours = {step.name: pour(step, planned.checkpoints) for step in planned.steps}
    theirs: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        theirs |= load_file(path)
    assert ours.keys() == theirs.keys(), name
    config, other = rehearse(planned), json.loads((folder / "config.json").read_text())
    for key in ("num_hidden_layers", "vocab_size", "dtype", "tie_word_embeddings", "hidden_size"):
        assert config[key] == other[key], (name, key)
    if planned.alignment is not None:
        ours, theirs = _by_token(ours, planned.alignment.ids), _by_token(theirs, _ids(folder))
    for tensor, values in theirs.items():
        mine = ours[tensor]
        assert (mine.dtype, mine.shape) == (values.dtype, values.shape), (name, tensor)
        bound = FEW_ULPS if values.dtype == torch.float32 else HALF
        worst = float((mine.double() - values.double()).abs().max())
        assert worst <= bound * float(values.abs().max()), (name, tensor, worst)
        assert float(values.abs().max()) > 0


def _ids(folder: Path) -> Mapping[str, int]:
    return dict(AutoTokenizer.from_pretrained(folder).get_vocab())


def _by_token(tensors: Mapping[str, torch.Tensor], ids: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """With the rows of vocabularies in the order of their tokens: mergekit's ids come in the order of a hash."""
    order = torch.tensor([ids[text] for text in sorted(ids)])
    ends = ("embed_tokens.weight", "lm_head.weight")
    return {name: tensor[order] if name.endswith(ends) else tensor for name, tensor in tensors.items()}


if command("mergekit-yaml"):

    @pytest.fixture(scope="module")
    def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
        made = tmp_path_factory.mktemp("mergekit")
        models(made)
        return made

    def test_mergekit_makes_the_same_tensors_of_every_text(root: Path) -> None:
        """One process for all of them, each the last of the documents that it is written in."""
        documents, words = [], []
        for name in RECIPES:
            if name in ALONE:
                continue
            text = (TEXTS / f"{name}.yml").read_text()
            trees = list(yaml.safe_load_all(text))
            trees[-1] = {"name": f"whole-{name}"} | trees[-1]
            renamed = {tree["name"]: f"{name}-{tree['name']}" for tree in trees[:-1]}
            documents += [_renamed(tree, renamed) for tree in trees]
            words += [word for word in flags(text) if word not in words]
        first = {"model": f"whole-{next(iter(RECIPES))}", "parameters": {"weight": 1.0}}
        end = {"merge_method": "linear", "models": [first], "base_model": first["model"]}
        (root / "all.yml").write_text(yaml.safe_dump_all([*documents, end], sort_keys=False))
        run("mergekit-multi", "all.yml", "--out-path", str(root / "end"), "-I", str(root / "made"), *words, root=root)
        for name in RECIPES:
            if name not in ALONE:
                assert_same(name, root / "made" / f"whole-{name}", root)

    @pytest.mark.parametrize("name", ALONE)
    def test_mergekit_runs_the_text_itself(name: str, root: Path) -> None:
        text = TEXTS / f"{name}.yml"
        out, stages = str(root / name), str(root / f"{name}-stages")
        several = len(list(yaml.safe_load_all(text.read_text()))) > 1
        places = ["--out-path", out, "-I", stages] if several else [out]
        program = "mergekit-multi" if several else "mergekit-yaml"
        run(program, str(text), *places, *flags(text.read_text()), root=root)
        assert_same(name, root / name, root)


def _renamed(tree: object, names: Mapping[str, str]) -> object:
    """A document in which stages have other names, so that those of several texts can stand together."""
    if isinstance(tree, dict):
        return {key: _renamed(value, names) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_renamed(one, names) for one in tree]
    return names.get(tree, tree) if isinstance(tree, str) else tree
