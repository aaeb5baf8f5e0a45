"""A file is replaced whole or not at all, and what it was stays beside it."""

from __future__ import annotations

import os
import stat
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from luma_mcp.install.errors import Changed, InstallError, NotWritable
from luma_mcp.install.files import copies_with, is_read_by_others, read, replace

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 11, 22, 12, 30, 5, tzinfo=UTC)
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="modes and links as POSIX has them")


def files(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.is_file()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_copy_of_what_it_was_stays_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("old", encoding="utf-8")
    backup = replace(read(path), "new ключ\r\n", NOON)
    assert backup == tmp_path / "mcp.json.luma-backup-20261122-123005"
    assert path.read_bytes() == "new ключ\r\n".encode()
    assert files(tmp_path).keys() == {"mcp.json", backup.name}
    assert backup.read_text(encoding="utf-8") == "old"


def test_a_new_file_comes_with_its_folders_and_without_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "Claude" / "deep" / "config.json"
    assert replace(read(path), "{}", NOON) is None
    assert files(path.parent) == {"config.json": "{}"}


@on_posix
def test_modes_stay_and_what_is_new_or_copied_is_private(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o640)
    backup = replace(read(path), "new", NOON)
    assert backup
    assert (mode(path), mode(backup)) == (0o640, 0o600)
    other = tmp_path / "other.json"
    replace(read(other), "new", NOON)
    assert mode(other) == 0o600


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("old", encoding="utf-8")
    os.chown(path, 12345, 23456)
    replace(read(path), "new", NOON)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


def test_the_latest_copies_are_kept_and_nothing_else_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    mine = {"mcp.json.luma-backup-of-mine": "x", "other.json.luma-backup-20200101-000000": "x", "mcp.json.bak": "x"}
    for name in mine:
        (tmp_path / name).write_text("x", encoding="utf-8")
    for number in range(6):
        path.write_text(f"state {number}", encoding="utf-8")
        replace(read(path), "new", NOON + timedelta(seconds=number // 2))
    kept = {name: text for name, text in files(tmp_path).items() if name not in mine}
    assert kept == {
        "mcp.json": "new",
        "mcp.json.luma-backup-20261122-123006-2": "state 3",
        "mcp.json.luma-backup-20261122-123007": "state 4",
        "mcp.json.luma-backup-20261122-123007-2": "state 5",
    }
    assert mine.keys() <= files(tmp_path).keys()


@on_posix
def test_a_link_stays_a_link_and_the_copy_is_beside_it(tmp_path: Path) -> None:
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    (dotfiles / "cursor.json").write_text("old", encoding="utf-8")
    home = tmp_path / ".cursor"
    home.mkdir()
    link = home / "mcp.json"
    link.symlink_to("../dotfiles/cursor.json")
    backup = replace(read(link), "new", NOON)
    assert link.is_symlink()
    assert str(link.readlink()) == "../dotfiles/cursor.json"
    assert files(dotfiles) == {"cursor.json": "new"}
    assert backup
    assert backup.parent == home


@on_posix
def test_a_link_to_nothing_yet_gets_its_file(tmp_path: Path) -> None:
    link = tmp_path / "mcp.json"
    link.symlink_to("real.json")
    replace(read(link), "new", NOON)
    assert link.is_symlink()
    assert (tmp_path / "real.json").read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("meanwhile", ["newer", None])
def test_what_was_changed_meanwhile_is_not_overwritten(tmp_path: Path, meanwhile: str | None) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("old", encoding="utf-8")
    seen = read(path)
    path.unlink()
    if meanwhile:
        path.write_text(meanwhile, encoding="utf-8")
    with pytest.raises(Changed):
        replace(seen, "ours", NOON)
    assert files(tmp_path) == ({"mcp.json": meanwhile} if meanwhile else {})


def test_a_file_that_came_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    seen = read(path)
    path.write_text("somebody's", encoding="utf-8")
    with pytest.raises(Changed):
        replace(seen, "ours", NOON)
    assert files(tmp_path) == {"mcp.json": "somebody's"}


@on_posix
@pytest.mark.parametrize("protected", ["file", "folder"])
def test_what_is_read_only_is_left_alone(tmp_path: Path, protected: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "mcp.json"
    path.write_text("old", encoding="utf-8")
    seen = read(path)
    place = path if protected == "file" else folder
    place.chmod(mode(place) & ~0o222)
    with pytest.raises(NotWritable, match="read-only") as caught:
        replace(seen, "new", NOON)
    place.chmod(0o755)
    assert str(place) in caught.value.mend
    assert files(folder) == {"mcp.json": "old"}


def test_a_folder_in_its_place_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "mcp.json").mkdir()
    with pytest.raises(InstallError, match="this is a folder"):
        read(tmp_path / "mcp.json")


def test_a_file_where_a_folder_should_be_is_a_fault_and_stays(tmp_path: Path) -> None:
    (tmp_path / ".cursor").write_text("mine", encoding="utf-8")
    with pytest.raises(NotWritable):
        replace(read(tmp_path / ".cursor" / "mcp.json"), "new", NOON)
    assert files(tmp_path) == {".cursor": "mine"}


@on_posix
def test_a_link_in_a_circle_and_a_pipe_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe")
    for name in ("circle", "pipe"):
        with pytest.raises(InstallError, match=r"circle|no file"):
            read(tmp_path / name)


@on_posix
@pytest.mark.parametrize(("rights", "read_by_others"), [(0o600, False), (0o640, True), (0o604, True), (0o700, False)])
def test_it_is_known_who_may_read_a_file(tmp_path: Path, rights: int, *, read_by_others: bool) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("x", encoding="utf-8")
    path.chmod(rights)
    assert is_read_by_others(path) == read_by_others
    assert not is_read_by_others(tmp_path / "none")


def test_the_copies_that_hold_a_secret_are_found(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    copies = []
    for text in ("none", "with user:1-x in it", "none", "user:1-x"):
        path.write_text(text, encoding="utf-8")
        copies.append(replace(read(path), "new", NOON))
    assert copies_with(path, "user:1-x") == [copies[1], copies[3]]
    assert copies_with(tmp_path / "none" / "mcp.json", "user:1-x") == []
