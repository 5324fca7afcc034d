"""Addresses: what is a folder, what can be a hub id, what is neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergelab.errors import SourceError
from mergelab.weights import Source


@pytest.mark.parametrize(
    ("text", "path", "revision"),
    [
        ("org/name", "org/name", None),
        ("name", "name", None),
        ("org/name@v1", "org/name", "v1"),
        ("org/name@refs/pr/1", "org/name", "refs/pr/1"),
        ("./models/a", "./models/a", None),
        ("./models/a@b", "./models/a", "b"),
    ],
)
def test_an_address_is_a_path_and_perhaps_a_revision(text: str, path: str, revision: str | None) -> None:
    source = Source.parse(text)
    assert source == Source(path, revision)
    assert str(source) == text
    assert Source.parse(source) is source


@pytest.mark.parametrize("text", ["", "@", "@v1", "org/name@", "a@b@c"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match=r"is not an address. Write a folder, or 'org/name' or 'org/name@revision'"):
        Source.parse(text)


@pytest.mark.parametrize(
    ("text", "model", "adapter"),
    [
        ("org/model+org/adapter", Source("org/model"), Source("org/adapter")),
        ("org/model+adapter", Source("org/model"), Source("adapter")),
        ("./model+./lora/one", Source("./model"), Source("./lora/one")),
        ("org/model@v1+./adapter", Source("org/model", "v1"), Source("./adapter")),
        ("model+adapter@v2", Source("model"), Source("adapter", "v2")),
        ("org/model@v1+org/adapter@refs/pr/2", Source("org/model", "v1"), Source("org/adapter", "refs/pr/2")),
    ],
)
def test_an_adapter_stands_behind_a_plus(text: str, model: Source, adapter: Source) -> None:
    source = Source.parse(text)
    assert source == Source(model.path, model.revision, adapter)
    assert source != model
    assert str(source) == text
    assert source.label == f"{model.label}+{adapter.label}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("+", "'' is not an address"), ("a+", "'' is not an address"), ("+a", "'' is not an address"),
        ("a@b@c+d", "'a@b@c' is not an address"), ("a+b@c@d", "'b@c@d' is not an address"),
        ("a+b@", "'b@' is not an address"), ("a+@b", "'@b' is not an address"),
        ("a+b+c", r"has more than one '\+', and not one way"), ("a++b", r"has more than one '\+'"),
    ],
)  # fmt: skip
def test_a_part_that_is_no_address_is_refused(text: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        Source.parse(text)
    assert caught.value.problems[0].where == f"source {text!r}"
    assert "behind a '+'" in caught.value.problems[0].hint


def test_an_adapter_takes_no_adapter() -> None:
    with pytest.raises(SourceError, match=r"source 'a\+b\+c': 'b\+c' is an adapter on an adapter. A model takes one"):
        Source("a", adapter=Source("b", adapter=Source("c")))


@pytest.mark.parametrize("model", ["c++", "m", "a+b@c"])
@pytest.mark.parametrize("adapter", ["l+ra", "l", "l@2"])
def test_folders_with_signs_in_their_names_keep_them_beside_an_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, adapter: str
) -> None:
    (tmp_path / model).mkdir()
    (tmp_path / adapter).mkdir()
    monkeypatch.chdir(tmp_path)
    source = Source.parse(f"{model}+{adapter}")
    assert source == Source(model, None, Source(adapter))
    assert Source.parse(str(source)) == source


def test_folders_that_can_be_parted_in_two_ways_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "a+b", "b+c", "c"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"not one way to part it"):
        Source.parse("a+b+c")


@pytest.mark.parametrize("name", ["a@b", "c++", "model+adapter", "@", "ü ñ", "with space"])
def test_a_folder_that_exists_is_taken_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    for address in (name, f"./{name}", str(tmp_path / name)):
        source = Source.parse(address)
        assert (source.path, source.revision) == (address, None)
        assert source.folder == Path(address)
        assert source.label == name


def test_a_folder_with_a_revision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a folder, which has no revision 'v1'"):
        assert Source.parse(f"{tmp_path}@v1").folder


@pytest.mark.parametrize("address", ["./none", "../none", "/none/here", "~/none-here", "a/b/c", "a\\b", "~nobody/x"])
def test_what_is_written_as_a_path_is_never_asked_of_the_hub(address: str) -> None:
    with pytest.raises(SourceError, match="there is no such folder"):
        assert Source.parse(address).folder


@pytest.mark.parametrize("address", ["org/name", "name", "x" * 5000, "a\0b", "\ud800"])
def test_anything_else_can_only_be_a_hub_id(address: str) -> None:
    assert Source.parse(address).folder is None


def test_home_is_where_the_tilde_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m").mkdir()
    assert Source.parse("~/m").folder == tmp_path / "m"


def test_relative_folders_can_be_counted_from_another_root(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert Source("./a").under(tmp_path).folder == tmp_path / "a"
    assert Source("a").under(tmp_path).folder == tmp_path / "a"
    assert Source("org/name", "v1").under(tmp_path) == Source("org/name", "v1")
    assert Source(str(tmp_path / "a")).under("elsewhere") == Source(str(tmp_path / "a"))


def test_model_and_adapter_are_counted_from_the_root_each_for_itself(tmp_path: Path) -> None:
    for name in ("a", "lora", "x+y", "x@1"):
        (tmp_path / name).mkdir()
    assert Source.parse("a+lora").under(tmp_path) == Source.parse(f"{tmp_path}/a+{tmp_path}/lora")
    assert Source.parse("org/a@v1+./lora").under(tmp_path) == Source("org/a", "v1", Source(str(tmp_path / "lora")))
    assert Source.parse("a+org/lora@v1").under(tmp_path) == Source(str(tmp_path / "a"), None, Source("org/lora", "v1"))
    assert Source.parse("org/a+org/b").under(tmp_path) == Source.parse("org/a+org/b")
    for name in ("x+y", "x@1"):  # not there when it was read, but there it is
        assert Source.parse(name).under(tmp_path) == Source(str(tmp_path / name))
