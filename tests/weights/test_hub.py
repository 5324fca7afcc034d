"""The hub, as huggingface_hub speaks to it, against a hub on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.weights import folders
from tests.weights.fake_hub import FakeHub, serve

Answers = dict[str, dict[str, Any]]
ROOT = Path(__file__).parents[2]
# Large enough that a header request of 100 kB does not happen to fetch everything.
WIDE = {"inner": 4000, "vocabulary": 1100}
TENSOR = "model.norm.weight"
DOWN = "model.layers.1.mlp.down_proj"
PAIR = folders.pair(DOWN, folders.WIDTH, WIDE["inner"], rank=32, seed=4)


def ask(hub: str, home: Path, questions: list[list[Any]], *, offline: bool = False) -> Answers:
    """Answers of a process of its own with these settings of huggingface_hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    settings = {
        "HF_ENDPOINT": hub, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1", "HF_HUB_OFFLINE": "1" if offline else "0",
    }  # fmt: skip
    told = subprocess.run(
        [sys.executable, "-m", "tests.weights.ask"],
        input=json.dumps(questions), capture_output=True, text=True, cwd=ROOT, env=kept | settings, timeout=120,
        check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    found: Answers = json.loads(told.stdout)
    return found


def weights(seed: int, layers: int = 3) -> dict[str, Any]:
    return folders.tensors(folders.shapes(layers, **WIDE), seed=seed)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeHub]:
    place = tmp_path_factory.mktemp("hub")
    broken = folders.save(place / "broken")
    folders.raw_file(broken / "model.safetensors", b"{nope")
    lying = folders.save(place / "lying")
    folders.raw_file(lying / "model.safetensors", {"h.0.a": folders.entry([3], 0, 4)}, b"\0" * 4)
    pickled = folders.save(place / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    whole = folders.save(place / "a", weights(1))
    (place / "empty").mkdir()
    lora = folders.save_adapter(place / "lora", PAIR, r=32, lora_alpha=32)
    (lora / "tokenizer_config.json").write_text("{}")
    thawed = folders.save_adapter(place / "thawed", PAIR)
    (thawed / "adapter_model.safetensors").rename(thawed / "adapter_model.bin")
    with serve() as served:
        served.repositories.update({
            "org/single": {"main": whole, "v2": folders.save(place / "b", weights(2, 4))},
            "org/opened": {"main": whole},
            "org/sharded": {"main": folders.save(place / "c", weights(3), shards=3)},
            "org/lora": {"main": place / "empty", "v3": lora}, "org/opened-lora": {"main": lora},
            "org/thawed": {"main": thawed},
            "org/broken": {"main": broken}, "org/lying": {"main": lying}, "org/pickled": {"main": pickled},
        })  # fmt: skip
        served.closed.update({
            "org/gated": (403, "GatedRepo"), "org/gated-unknown": (401, "GatedRepo"),
            "org/private": (401, "RepoNotFound"), "org/forbidden": (403, ""),
        })  # fmt: skip
        yield served


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache that the online process fills and the others find."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def online(hub: FakeHub, home: Path) -> Answers:
    names = ("broken", "lying", "pickled", "missing", "gated", "gated-unknown", "private", "forbidden")
    tokenizer = ["tokenizer.json"]
    return ask(hub.address, home, [
        ["opened", "org/opened", [], []],
        ["opened with adapter", "org/single+org/opened-lora", [], []],
        ["single", "org/single", [TENSOR], tokenizer],
        ["v2", "org/single@v2", [TENSOR], []],
        ["commit", f"org/single@{hub.commit('org/single', 'v2')}", [TENSOR], []],
        ["sharded", "org/sharded", list(folders.shapes()), tokenizer],
        ["with adapter", "org/single+org/lora@v3", [f"{DOWN}.weight", TENSOR], tokenizer],
        ["no revision", "org/single@v9", [], []],
        ["no adapter", "org/single+org/lying", [], []],
        ["adapter missing", "org/single+org/missing@v1", [], []],
        ["adapter unpublished", "org/single+org/lora", [], []],
        ["pickled adapter", "org/single+org/thawed", [], []],
        ["adapter alone", "org/lora@v3", [], []],
        ["both missing", "org/missing+org/gated", [], []],
        ["no name", "x--y/z z", [], []],
        *([name, f"org/{name}", [], []] for name in names),
    ])  # fmt: skip


@pytest.fixture(scope="module")
def closed_port() -> str:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture(scope="module", params=["no network", "HF_HUB_OFFLINE"])
def away(
    request: pytest.FixtureRequest, hub: FakeHub, home: Path, online: Answers, closed_port: str
) -> tuple[Answers, int]:
    """What is answered without a network; and how many requests reached the hub all the same."""
    assert online
    before = len(hub.requests)
    offline = request.param == "HF_HUB_OFFLINE"
    answers = ask(hub.address if offline else closed_port, home, [
        ["single", "org/single", [], ["tokenizer.json", "model.safetensors"]],
        ["sharded", "org/sharded", [], ["model-00003-of-00003.safetensors"]],
        ["v2", "org/single@v2", [], ["model.safetensors"]],
        ["with adapter", "org/single+org/lora@v3", [f"{DOWN}.weight"], ["tokenizer.json", "generation_config.json"]],
        ["adapter never seen", "org/single+org/never", [], []],
        ["adapter half seen", "org/single+org/opened-lora", [], []],
        ["never seen", "org/never", [], []],
        ["half seen", "org/opened", [], []],
    ], offline=offline)  # fmt: skip
    return answers, len(hub.requests) - before


def first_values(seed: int, layers: int = 3) -> list[float]:
    values: list[float] = weights(seed, layers)[TENSOR].tolist()
    return values


def test_opening_downloads_the_config_and_only_headers(hub: FakeHub, online: Answers) -> None:
    opened = online["opened"]
    assert opened["error"] is None
    assert opened["specs"] == {name: ["F32", list(shape)] for name, shape in folders.shapes(**WIDE).items()}
    assert not opened["torch"]
    size = (hub.repositories["org/opened"]["main"] / "model.safetensors").stat().st_size
    assert size > 400_000
    assert 0 < hub.served("org/opened", ".safetensors") <= 100_001
    assert hub.served("org/opened", "config.json") > 0
    asked = [one for one in hub.requests if one.repository == "org/opened" and one.file == "model.safetensors"]
    assert [one.status for one in asked if one.verb == "GET"] == [206]


def test_a_tensor_that_is_read_is_downloaded(hub: FakeHub, online: Answers) -> None:
    assert online["single"]["tensors"][TENSOR] == first_values(1)
    size = (hub.repositories["org/single"]["main"] / "model.safetensors").stat().st_size
    assert hub.served("org/single", "model.safetensors") >= size


def test_a_file_that_a_model_lacks_is_absent_and_no_error(online: Answers) -> None:
    assert online["single"]["files"] == {"tokenizer.json": ""}


def test_a_revision_is_a_branch_or_a_commit(online: Answers) -> None:
    assert online["single"]["layers"] == 3
    assert online["v2"]["layers"] == online["commit"]["layers"] == 4
    assert online["v2"]["tensors"] == online["commit"]["tensors"] == {TENSOR: first_values(2, 4)}


def test_all_files_of_a_model_come_from_one_commit(hub: FakeHub, online: Answers) -> None:
    assert online["v2"]["error"] is None
    asked = [one for one in hub.requests if one.repository == "org/sharded"]
    assert asked[0].file == "config.json"
    assert asked[0].revision == "main"
    later = [one.revision for one in asked if one.file != "config.json"]
    assert len(later) > 5
    assert dict.fromkeys(later) == {hub.commit("org/sharded", "main"): None}


def test_a_sharded_model_opens_and_reads(online: Answers) -> None:
    assert online["sharded"]["error"] is None
    saved = weights(3)
    assert online["sharded"]["specs"] == {name: ["F32", list(tensor.shape)] for name, tensor in saved.items()}
    assert online["sharded"]["tensors"] == {name: tensor.flatten().tolist() for name, tensor in saved.items()}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", "source 'org/missing': there is no such folder here, and no such model on the hub. Check"),
        ("private", "source 'org/private': there is no such folder here, and no such model on the hub. Check"),
        ("no revision", "source 'org/single@v9': has no revision 'v9'. Name a branch, tag or commit of it."),
        ("gated", "source 'org/gated': is gated. Accept its terms on its page, then log in"),
        ("gated-unknown", "source 'org/gated-unknown': is gated. Accept its terms on its page, then log in"),
        ("forbidden", "source 'org/forbidden': the hub refuses it (HTTP 403). Log in"),
        ("no name", "source 'x--y/z z': there is no such folder here, and no model on the hub can have this name."),
        ("broken", "source 'org/broken': the header of its weights cannot be read. The file on the hub is damaged"),
        ("lying", "org/lying/model.safetensors: tensor 'h.0.a': F32 of shape [3] needs 12 bytes, its offsets give 4."),
        ("pickled", "org/pickled: has no model.safetensors and no index of shards. Other formats"),
        ("no adapter", "org/lying: has no adapter_config.json, so it is no adapter. Behind the '+' goes"),
        ("adapter missing", "source 'org/missing@v1': there is no such folder here, and no such model on the hub."),
        ("adapter unpublished", "org/lora: has no adapter_config.json, so it is no adapter."),
        ("pickled adapter", "org/thawed: its weights are a pickle (adapter_model.bin), which can run code"),
    ],
)  # fmt: skip
def test_a_door_that_stays_shut_is_one_clear_message(online: Answers, name: str, said: str) -> None:
    assert online[name]["error"].startswith(said)
    assert online[name]["problems"] == 1
    assert online[name]["seconds"] < 5


def test_an_adapter_of_the_hub_is_read_by_its_header_and_downloaded_when_needed(hub: FakeHub, online: Answers) -> None:
    opened, read = online["opened with adapter"], online["with adapter"]
    assert opened["error"] is read["error"] is None
    assert not opened["torch"]
    size = (hub.repositories["org/lora"]["v3"] / "adapter_model.safetensors").stat().st_size
    assert size > 400_000
    assert 0 < hub.served("org/opened-lora", ".safetensors") <= 100_001
    assert hub.served("org/lora", ".safetensors") >= size
    assert read["tensors"][TENSOR] == first_values(1)
    assert read["tensors"][f"{DOWN}.weight"] == folded()
    asked = [one.revision for one in hub.requests if one.repository == "org/lora" and one.file.endswith("safetensors")]
    assert hub.commit("org/lora", "v3") in asked
    assert "main" not in asked


def folded() -> list[float]:
    a, b = PAIR.values()
    values: list[float] = (weights(1)[f"{DOWN}.weight"] + b @ a).flatten().tolist()
    return values


def test_an_adapter_without_its_model_is_told_what_to_write(online: Answers) -> None:
    said = "org/lora@v3: has no config.json. It is an adapter: write its model before it, 'model+org/lora@v3'."
    assert said in online["adapter alone"]["error"]


def test_a_model_and_an_adapter_that_both_stay_shut_are_both_told(online: Answers) -> None:
    assert online["both missing"]["problems"] == 2
    assert "'org/missing'" in online["both missing"]["error"]
    assert "'org/gated': is gated." in online["both missing"]["error"]


def test_an_adapter_downloaded_before_opens_without_a_network(away: tuple[Answers, int]) -> None:
    answer = away[0]["with adapter"]
    assert answer["error"] is None
    assert answer["tensors"][f"{DOWN}.weight"] == folded()
    assert answer["files"] == {"tokenizer.json": "", "generation_config.json": ""}
    for name in ("adapter never seen", "adapter half seen"):
        assert "the hub cannot be reached" in away[0][name]["error"]
        assert away[0][name]["problems"] == 1


def test_a_model_downloaded_before_opens_without_a_network(away: tuple[Answers, int]) -> None:
    answers, reached = away
    for name, saved in (("single", weights(1)), ("sharded", weights(3)), ("v2", weights(2, 4))):
        assert answers[name]["error"] is None
        assert answers[name]["specs"] == {name: ["F32", list(tensor.shape)] for name, tensor in saved.items()}
        file = next(path for place, path in answers[name]["files"].items() if place.startswith("model"))
        stored = load_file(file)
        assert all(torch.equal(stored[name], saved[name]) for name in stored)
        assert TENSOR in stored
    assert answers["single"]["files"]["tokenizer.json"] == ""
    assert reached == 0


@pytest.mark.parametrize(("name", "address"), [("never seen", "org/never"), ("half seen", "org/opened")])
def test_any_other_model_is_refused_soon_and_in_words(away: tuple[Answers, int], name: str, address: str) -> None:
    answer = away[0][name]
    assert answer["error"].startswith(
        f"source '{address}': there is no such folder here, and the hub cannot be reached"
    )
    assert answer["error"].endswith("Go online, or name a local folder, or a model downloaded before.")
    assert answer["problems"] == 1
    assert answer["seconds"] < 5
