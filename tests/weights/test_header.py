"""Headers: as safetensors' own reader reads them, and every lie refused in one clear message."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file

from mergelab.errors import Problem
from mergelab.weights.header import ITEM_BITS, read_header
from tests.weights.folders import entry, raw_file

FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "U16": torch.uint16, "I16": torch.int16,
    "U32": torch.uint32, "I32": torch.int32, "U64": torch.uint64, "I64": torch.int64, "F16": torch.float16,
    "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64, "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}  # fmt: skip
REMEDY = "The file is truncated or damaged: download or save it again."


def blank(dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Zeros of any dtype, also of those that torch cannot fill."""
    return torch.zeros(math.prod(shape) * ITEM_BITS[dtype] // 8, dtype=torch.uint8).view(DTYPES[dtype]).reshape(shape)


def only(problems: list[Problem], path: Path) -> Problem:
    """The one problem there is: it names the file and the remedy."""
    assert len(problems) == 1, problems
    assert problems[0].where == str(path)
    assert problems[0].hint == REMEDY
    return problems[0]


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda name: name != "__metadata__")
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@FIXTURE
@given(named=st.dictionaries(names, st.tuples(st.sampled_from(sorted(DTYPES)), shapes), max_size=6))
def test_a_header_is_read_as_safetensors_reads_it(
    tmp_path_factory: pytest.TempPathFactory, named: dict[str, tuple[str, tuple[int, ...]]]
) -> None:
    path = tmp_path_factory.mktemp("h") / "x.safetensors"
    save_file({name: blank(dtype, shape) for name, (dtype, shape) in named.items()}, path)
    specs, problems = read_header(path)
    assert problems == []
    assert sorted(specs) == sorted(named)
    with safe_open(path, framework="pt") as theirs:
        assert sorted(theirs.keys()) == sorted(specs)
        for name, spec in specs.items():
            assert (spec.dtype, spec.shape) == named[name]
            view = theirs.get_slice(name)
            assert (view.get_dtype(), tuple(view.get_shape())) == (spec.dtype, spec.shape)
            assert spec.name == name
            assert spec.file == "x.safetensors"
            assert spec.elements == math.prod(spec.shape)
            assert spec.bytes == spec.elements * ITEM_BITS[spec.dtype] // 8
    ends = [(spec.begin, spec.end) for spec in specs.values()]
    assert ends == sorted(ends), "specs come in file order"


def test_the_bytes_of_a_tensor_lie_where_its_spec_says(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(6, dtype=torch.int16).reshape(2, 3), "a": torch.tensor(2.5), "e": torch.empty(0, 4)}
    path = tmp_path / "x.safetensors"
    save_file(tensors, path)
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    specs, _ = read_header(path)
    for name, tensor in tensors.items():
        piece = raw[start + specs[name].begin : start + specs[name].end]
        assert piece == tensor.numpy().tobytes()


WHOLE = save(
    {"w": torch.arange(12.0).reshape(3, 4), "b": torch.ones(5, dtype=torch.bfloat16)}, metadata={"format": "pt"}
)


@FIXTURE
@given(kept=st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, kept: int) -> None:
    path = tmp_path_factory.mktemp("h") / "x.safetensors"
    path.write_bytes(WHOLE[:kept])
    _, problems = read_header(path)
    only(problems, path)


def test_a_file_with_bytes_to_spare_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(WHOLE + b"\0")
    assert "its tensors need 58 bytes of data, the file holds 59" in only(read_header(path)[1], path).what


@pytest.mark.parametrize("length", [57, 2**40, 2**63, 2**64 - 1])
def test_a_header_longer_than_its_file_is_refused_unread(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b" " * 56)
    assert f"the file has 64 bytes, its header claims {length:,}." in only(read_header(path)[1], path).what


def test_a_header_of_a_length_no_reader_takes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:  # a hole on disk: 200 MB that take no space
        file.write((150_000_000).to_bytes(8, "little"))
        file.truncate(200_000_000)
    assert "claims 150,000,000" in only(read_header(path)[1], path).what


LIES: dict[str, tuple[object, int, str]] = {
    "not JSON": (b"{nope", 0, "the header is not JSON"),
    "not UTF-8": (b'{"\xff": 1}', 0, "the header is not JSON"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), 0, "the header is not JSON"),
    "a list": ([1], 0, "the header is not a table of tensors."),
    "nested deeply": (b"[" * 100_000, 0, "nested too deeply"),
    "a number of 5,000 digits": (b'{"a": ' + b"9" * 5000 + b"}", 0, "the header is not JSON"),
    "NaN": (b'{"a": NaN}', 0, "NaN is no JSON"),
    "a tensor written twice": (
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        1, "'a' is written twice",
    ),
    "entry that is a number": ({"a": 5}, 0, "tensor 'a': its entry lacks dtype, shape or data_offsets."),
    "entry without dtype": ({"a": {"shape": [1], "data_offsets": [0, 4]}}, 4, "lacks dtype"),
    "entry without shape": ({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, 4, "lacks dtype"),
    "one offset": ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4]}}, 4, "lacks dtype"),
    "shape that is a number": ({"a": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}}, 4, "lacks dtype"),
    "unknown dtype": ({"a": entry([1], 0, 4, "F31")}, 4, "tensor 'a': unknown dtype 'F31'."),
    "dtype that is a list": ({"a": entry([1], 0, 4, ["F32"])}, 4, "unknown dtype ['F32']"),
    "negative size": ({"a": entry([-1, -1], 0, 4)}, 4, "its shape or offsets are not counts."),
    "negative offset": ({"a": entry([1], -4, 0)}, 0, "its shape or offsets are not counts."),
    "size that is a boolean": ({"a": entry([True], 0, 4)}, 4, "its shape or offsets are not counts."),
    "size with a point": ({"a": entry([1.0], 0, 4)}, 4, "its shape or offsets are not counts."),
    "size in quotes": ({"a": entry(["1"], 0, 4)}, 4, "its shape or offsets are not counts."),
    "size beyond every file": ({"a": entry([2**63], 0, 4)}, 4, "its shape or offsets are not counts."),
    "sizes beyond printing": ({"a": entry([10**18] * 400, 0, 4)}, 4, "tensor 'a': F32 of shape [1000000"),
    "half a byte": ({"a": entry([3], 0, 1, "F4")}, 1, "F4 of shape [3] is not a possible number of bytes."),
    "end before begin": ({"a": entry([1], 4, 0)}, 4, "needs 4 bytes, its offsets give -4."),
    "too few bytes": ({"a": entry([3], 0, 8)}, 8, "F32 of shape [3] needs 12 bytes, its offsets give 8."),
    "overlap": ({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, 12, "tensor 'b' starts at byte 4, expected 8."),
    "the same bytes twice": ({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, 8, "starts at byte 0, expected 8."),
    "gap": ({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, 12, "tensor 'b' starts at byte 8, expected 4."),
    "gap at the start": ({"a": entry([1], 4, 8)}, 8, "tensor 'a' starts at byte 4, expected 0."),
    "beyond the file": ({"a": entry([2], 0, 8)}, 4, "its tensors need 8 bytes of data, the file holds 4."),
    "metadata that is a number": ({"__metadata__": 5}, 0, "__metadata__ is not a table of texts."),
    "metadata of numbers": ({"__metadata__": {"a": 5}}, 0, "__metadata__ is not a table of texts."),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_in_a_header_is_refused_in_one_message(tmp_path: Path, lie: str) -> None:
    header, size, said = LIES[lie]
    path = raw_file(tmp_path / "x.safetensors", header, b"\0" * size)
    problem = only(read_header(path)[1], path)
    assert said in problem.what
    assert len(problem.what) < 600


def test_all_lies_of_a_header_are_told_at_once(tmp_path: Path) -> None:
    header = {"a": entry([1], 0, 4, "F31"), "b": entry([-1], 4, 8), "c": entry([3], 8, 12), "d": entry([1], 12, 16)}
    path = raw_file(tmp_path / "x.safetensors", header, b"\0" * 16)
    _, problems = read_header(path)
    assert [problem.what.split(":")[0] for problem in problems] == ["tensor 'a'", "tensor 'b'", "tensor 'c'"]


def test_order_of_the_header_does_not_matter_and_file_order_is_kept(tmp_path: Path) -> None:
    header = {"z": entry([2], 4, 12), "__metadata__": {"format": "pt"}, "y": entry([0], 4, 4), "a": entry([1], 0, 4)}
    specs, problems = read_header(raw_file(tmp_path / "x.safetensors", header, b"\0" * 12))
    assert problems == []
    assert list(specs) == ["a", "y", "z"]


small = st.integers(-2, 9) | st.sampled_from([True, 1.0, None, "1", [], 2**70])
fields = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "U8", "BOOL", "F4", "BF16", "C64", "f32", None]),
        "shape": st.lists(small, max_size=3) | small,
        "data_offsets": st.lists(small, min_size=1, max_size=3) | small,
        "more": st.none() | st.integers(),
    },
)
headers = st.dictionaries(st.sampled_from(["a", "b", "__metadata__", ""]), fields | small, max_size=3)
honest = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(
    lambda sizes: {
        f"t{at}": entry([size], sum(sizes[:at]), sum(sizes[: at + 1]), "U8") for at, size in enumerate(sizes)
    }
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=headers | honest, size=st.integers(0, 9))
def test_whatever_passes_here_can_be_opened_by_safetensors(
    tmp_path_factory: pytest.TempPathFactory, header: Any, size: int
) -> None:
    path = raw_file(tmp_path_factory.mktemp("h") / "x.safetensors", header, b"\0" * size)
    specs, problems = read_header(path)
    try:
        with safe_open(path, framework="pt") as theirs:
            read = {name: tuple(theirs.get_slice(name).get_shape()) for name in theirs.keys()}  # noqa: SIM118
    except SafetensorError:
        assert problems, f"safetensors refuses {json.dumps(header)}"
    else:
        if not problems:
            assert read == {name: spec.shape for name, spec in specs.items()}
