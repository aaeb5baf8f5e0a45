"""A file is replaced completely or not at all, and a backup stays beside it."""

from __future__ import annotations

import os
import stat
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from luma_mcp.install.config import (
    Changed,
    InstallError,
    backups_with,
    is_readable_by_others,
    read,
    replace,
)

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 11, 22, 12, 30, 5, tzinfo=UTC)
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="modes and links as POSIX has them")


def files(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.is_file()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_backup_stays_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("old", encoding="utf-8")
    backup = replace(read(path), "new ключ\r\n", NOON)
    assert backup == tmp_path / "mcp.json.luma-backup-20261122-123005"
    assert path.read_bytes() == "new ключ\r\n".encode()
    assert files(tmp_path).keys() == {"mcp.json", backup.name}
    assert backup.read_text(encoding="utf-8") == "old"


def test_a_new_file_gets_folders_and_no_backup(tmp_path: Path) -> None:
    path = tmp_path / "Claude" / "deep" / "config.json"
    assert replace(read(path), "{}", NOON) is None
    assert files(path.parent) == {"config.json": "{}"}


@on_posix
def test_modes_stay_and_new_files_are_private(tmp_path: Path) -> None:
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


def test_the_latest_backups_are_kept_and_nothing_else_deleted(tmp_path: Path) -> None:
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
def test_a_link_stays_and_the_backup_is_beside_it(tmp_path: Path) -> None:
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
def test_a_dangling_link_gets_its_file(tmp_path: Path) -> None:
    link = tmp_path / "mcp.json"
    link.symlink_to("real.json")
    replace(read(link), "new", NOON)
    assert link.is_symlink()
    assert (tmp_path / "real.json").read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("meanwhile", ["newer", None])
def test_a_file_changed_meanwhile_is_not_overwritten(tmp_path: Path, meanwhile: str | None) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("old", encoding="utf-8")
    seen = read(path)
    path.unlink()
    if meanwhile:
        path.write_text(meanwhile, encoding="utf-8")
    with pytest.raises(Changed):
        replace(seen, "ours", NOON)
    assert files(tmp_path) == ({"mcp.json": meanwhile} if meanwhile else {})


def test_a_file_created_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    seen = read(path)
    path.write_text("somebody's", encoding="utf-8")
    with pytest.raises(Changed):
        replace(seen, "ours", NOON)
    assert files(tmp_path) == {"mcp.json": "somebody's"}


@on_posix
@pytest.mark.parametrize("protected", ["file", "folder"])
def test_read_only_files_and_folders_are_left_alone(tmp_path: Path, protected: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "mcp.json"
    path.write_text("old", encoding="utf-8")
    seen = read(path)
    place = path if protected == "file" else folder
    place.chmod(mode(place) & ~0o222)
    with pytest.raises(InstallError, match="read-only") as caught:
        replace(seen, "new", NOON)
    place.chmod(0o755)
    assert str(place) in caught.value.fix
    assert files(folder) == {"mcp.json": "old"}


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "mcp.json").mkdir()
    with pytest.raises(InstallError, match="a folder, not a file"):
        read(tmp_path / "mcp.json")


def test_a_file_in_place_of_the_folder_stays(tmp_path: Path) -> None:
    (tmp_path / ".cursor").write_text("mine", encoding="utf-8")
    with pytest.raises(InstallError):
        replace(read(tmp_path / ".cursor" / "mcp.json"), "new", NOON)
    assert files(tmp_path) == {".cursor": "mine"}


@on_posix
def test_a_circular_link_and_a_pipe_are_not_files(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe")
    for name in ("circle", "pipe"):
        with pytest.raises(InstallError, match=r"leads to itself|not a regular file"):
            read(tmp_path / name)


@on_posix
@pytest.mark.parametrize(("rights", "readable"), [(0o600, False), (0o640, True), (0o604, True), (0o700, False)])
def test_a_file_is_readable_by_others_by_its_mode(tmp_path: Path, rights: int, *, readable: bool) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("x", encoding="utf-8")
    path.chmod(rights)
    assert is_readable_by_others(path) == readable
    assert not is_readable_by_others(tmp_path / "none")


def test_backups_with_a_secret_are_found(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    copies = []
    for text in ("none", "with user:1-x in it", "none", "user:1-x"):
        path.write_text(text, encoding="utf-8")
        copies.append(replace(read(path), "new", NOON))
    assert backups_with(path, "user:1-x") == [copies[1], copies[3]]
    assert backups_with(tmp_path / "none" / "mcp.json", "user:1-x") == []
