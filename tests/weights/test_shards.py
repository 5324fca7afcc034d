"""The writer: header first, one tensor at a time, and files that safetensors reads."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mergelab.errors import OutputError
from mergelab.weights import ITEM_BITS, open_checkpoint
from mergelab.weights.header import read_header
from mergelab.weights.shards import ShardWriter, index, layout
from tests.weights import folders
from tests.weights.test_header import DTYPES, blank

planned = st.lists(
    st.tuples(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 4), max_size=3).map(tuple)), max_size=8
).map(lambda kinds: [(f"t{at}", dtype, shape) for at, (dtype, shape) in enumerate(kinds)])


def write(folder: Path, tensors: dict[str, torch.Tensor], kinds: list, shard_bytes: int = 10**9) -> None:
    shards = layout(kinds, shard_bytes=shard_bytes)
    for shard in shards:
        with ShardWriter(folder, shard) as writer:
            for name in shard.specs:
                writer.write(name, tensors[name])
    if len(shards) > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps(index(shards)))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=planned, fill=st.integers(0, 255))
def test_what_is_written_is_what_safetensors_reads(
    tmp_path_factory: pytest.TempPathFactory, kinds: list, fill: int
) -> None:
    folder = tmp_path_factory.mktemp("s")
    tensors = {name: blank(dtype, shape) for name, dtype, shape in kinds}
    for tensor in tensors.values():
        if tensor.numel() and tensor.dtype != torch.bool:
            tensor.view(-1).view(torch.uint8).fill_(fill)
    write(folder, tensors, kinds)
    path = folder / "model.safetensors"
    specs, problems = read_header(path)
    assert problems == []
    assert list(specs) == [name for name, _, _ in kinds] or not all(spec.bytes for spec in specs.values())
    save_file(tensors, folder / "theirs.safetensors", metadata={"format": "pt"})
    with safe_open(path, "pt") as ours, safe_open(folder / "theirs.safetensors", "pt") as theirs:
        assert sorted(ours.keys()) == sorted(theirs.keys())
        assert ours.metadata() == theirs.metadata() == {"format": "pt"}
        for name in tensors:
            one, other = ours.get_tensor(name), theirs.get_tensor(name)
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            assert bytes(one.view(-1).view(torch.uint8)) == bytes(other.view(-1).view(torch.uint8))


@given(kinds=planned, limit=st.integers(1, 200))
def test_no_shard_is_larger_than_its_limit_unless_one_tensor_is(kinds: list, limit: int) -> None:
    shards = layout(kinds, shard_bytes=limit)
    assert [name for shard in shards for name in shard.specs] == [name for name, _, _ in kinds]
    for number, shard in enumerate(shards, start=1):
        assert shard.bytes <= limit or len([spec for spec in shard.specs.values() if spec.bytes]) == 1
        assert shard.bytes == sum(math.prod(spec.shape) * ITEM_BITS[spec.dtype] // 8 for spec in shard.specs.values())
        assert shard.name == (
            "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        )
        reached = 0
        for name, spec in shard.specs.items():
            assert (spec.name, spec.file, spec.begin) == (name, shard.name, reached)
            reached = spec.end
    for shard, after in pairwise(shards):
        assert shard.bytes + next(iter(after.specs.values())).bytes > limit, "a shard ends only when it is full"


@pytest.mark.parametrize("limit", [1, 300, 500, 10**6])
def test_a_folder_of_shards_opens_as_it_was_written(tmp_path: Path, limit: int) -> None:
    tensors = folders.tensors(folders.shapes(), seed=4)
    write(tmp_path, tensors, [(name, "F32", tuple(tensor.shape)) for name, tensor in tensors.items()], limit)
    (tmp_path / "config.json").write_text(json.dumps(folders.config()))
    model = open_checkpoint(tmp_path)
    assert all(torch.equal(model.tensor(name), tensor) for name, tensor in tensors.items())
    table = tmp_path / "model.safetensors.index.json"
    if limit == 10**6:
        assert not table.exists()
    else:
        read = json.loads(table.read_text())
        assert read["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors.values())
        assert list(read["weight_map"]) == list(tensors)
        for name, file in read["weight_map"].items():
            assert torch.equal(load_file(tmp_path / file)[name], tensors[name])


def test_a_tensor_that_is_not_contiguous_is_written_in_its_own_order(tmp_path: Path) -> None:
    tensor = torch.arange(12.0).reshape(3, 4).T
    write(tmp_path, {"a": tensor}, [("a", "F32", (4, 3))])
    assert torch.equal(load_file(tmp_path / "model.safetensors")["a"], tensor)


def test_the_bytes_of_a_small_file_are_pinned(tmp_path: Path) -> None:
    tensors = {
        "layer.norm.w": torch.tensor([[1.0, -2.0, 0.5]]),
        "a": torch.tensor(3, dtype=torch.int16),
        "é": torch.empty(0, 2),
    }
    write(tmp_path, tensors, [("layer.norm.w", "F32", (1, 3)), ("a", "I16", ()), ("é", "F32", (0, 2))])
    header = (
        b'{"__metadata__":{"format":"pt"},"layer.norm.w":{"dtype":"F32","shape":[1,3],"data_offsets":[0,12]},'
        b'"a":{"dtype":"I16","shape":[],"data_offsets":[12,14]},'
        b'"\xc3\xa9":{"dtype":"F32","shape":[0,2],"data_offsets":[14,14]}}'
    )
    assert len(header) % 8 == 3
    header += b" " * 5
    data = bytes.fromhex("0000803f 000000c0 0000003f 0300")
    content = (tmp_path / "model.safetensors").read_bytes()
    assert content == len(header).to_bytes(8, "little") + header + data


KINDS = [("a", "F16", (2, 3)), ("b", "F16", (3,))]


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("b", torch.ones(3, dtype=torch.float16)),
        ("c", torch.ones(2, 3, dtype=torch.float16)),
        ("a", torch.ones(3, 2, dtype=torch.float16)),
        ("a", torch.ones(6, dtype=torch.float16)),
        ("a", torch.ones(2, 3)),
        ("a", torch.ones(2, 3, dtype=torch.bfloat16)),
        ("a", torch.ones(2, 3, dtype=torch.int16)),
    ],
    ids=["order", "name", "transposed", "flat", "wider", "bfloat16", "integer"],
)
def test_a_tensor_that_was_not_planned_here_is_refused(tmp_path: Path, name: str, tensor: torch.Tensor) -> None:
    (shard,) = layout(KINDS)
    with (
        pytest.raises(OutputError, match=f"tensor '{name}' .* is not the one planned here"),
        ShardWriter(tmp_path, shard) as writer,
    ):
        writer.write(name, tensor)


def test_one_tensor_too_many_is_refused(tmp_path: Path) -> None:
    (shard,) = layout(KINDS[:1])
    tensor = torch.ones(2, 3, dtype=torch.float16)
    with ShardWriter(tmp_path, shard) as writer:
        writer.write("a", tensor)
        with pytest.raises(OutputError, match="not the one planned here"):
            writer.write("a", tensor)


def test_a_tensor_too_few_is_refused(tmp_path: Path) -> None:
    (shard,) = layout(KINDS)
    with pytest.raises(OutputError, match="1 tensors were never written, 'b' first"), ShardWriter(tmp_path, shard) as w:
        w.write("a", torch.ones(2, 3, dtype=torch.float16))


def test_an_error_inside_is_not_hidden_by_the_writer(tmp_path: Path) -> None:
    (shard,) = layout(KINDS)
    with pytest.raises(KeyError, match="mine"), ShardWriter(tmp_path, shard):
        raise KeyError("mine")


def test_a_file_that_exists_is_never_written_over(tmp_path: Path) -> None:
    (shard,) = layout(KINDS)
    (tmp_path / shard.name).write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        ShardWriter(tmp_path, shard)
    assert (tmp_path / shard.name).read_bytes() == b"precious"
