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
    ],
)
def test_an_address_is_a_path_and_perhaps_a_revision(text: str, path: str, revision: str | None) -> None:
    source = Source.parse(text)
    assert source == Source(path, revision)
    assert str(source) == text
    assert Source.parse(source) is source


@pytest.mark.parametrize("text", ["", "@", "@v1", "org/name@", "a@b@c"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match=r"is not an address. Write a folder, or 'org/name' or 'org/name@revision'."):
        Source.parse(text)


@pytest.mark.parametrize("text", ["org/model+org/adapter", "org/model+adapter", "./model+adapter", "model+adapter@v1"])
def test_an_adapter_is_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(SourceError, match=r"adapters \(model\+adapter\) are not supported yet. Merge the adapter"):
        Source.parse(text)


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
