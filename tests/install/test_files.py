"""A file is replaced completely or not at all, and a backup is kept beside it."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import starmap
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
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="file modes and links of POSIX")


def read_files(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.is_file()}


def get_mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_backup_is_kept_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("old", encoding="utf-8")
    backup = replace(read(path), "new ключ\r\n".encode(), NOON)
    assert backup == tmp_path / "mcp.json.luma-backup-20261122-123005"
    assert path.read_bytes() == "new ключ\r\n".encode()
    assert read_files(tmp_path).keys() == {"mcp.json", backup.name}
    assert backup.read_text(encoding="utf-8") == "old"


def test_new_file_gets_folders_and_no_backup(tmp_path: Path) -> None:
    path = tmp_path / "Claude" / "deep" / "config.json"
    assert replace(read(path), b"{}", NOON) is None
    assert read_files(path.parent) == {"config.json": "{}"}


@POSIX
def test_modes_are_kept_and_new_files_are_private(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o640)
    backup = replace(read(path), b"new", NOON)
    assert backup
    assert (get_mode(path), get_mode(backup)) == (0o640, 0o600)
    other = tmp_path / "other.json"
    replace(read(other), b"new", NOON)
    assert get_mode(other) == 0o600


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can change a file's owner")
def test_owner_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("old", encoding="utf-8")
    os.chown(path, 12345, 23456)
    replace(read(path), b"new", NOON)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


def test_only_older_backups_are_deleted(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    others = {"mcp.json.luma-backup-of-mine": "x", "other.json.luma-backup-20200101-000000": "x", "mcp.json.bak": "x"}
    for name in others:
        (tmp_path / name).write_text("x", encoding="utf-8")
    for number in range(6):
        path.write_text(f"state {number}", encoding="utf-8")
        replace(read(path), b"new", NOON + timedelta(seconds=number // 2))
    kept = {name: text for name, text in read_files(tmp_path).items() if name not in others}
    assert kept == {
        "mcp.json": "new",
        "mcp.json.luma-backup-20261122-123006-2": "state 3",
        "mcp.json.luma-backup-20261122-123007": "state 4",
        "mcp.json.luma-backup-20261122-123007-2": "state 5",
    }
    assert others.keys() <= read_files(tmp_path).keys()


@POSIX
def test_link_is_kept_and_the_backup_is_beside_it(tmp_path: Path) -> None:
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    (dotfiles / "cursor.json").write_text("old", encoding="utf-8")
    home = tmp_path / ".cursor"
    home.mkdir()
    link = home / "mcp.json"
    link.symlink_to("../dotfiles/cursor.json")
    backup = replace(read(link), b"new", NOON)
    assert link.is_symlink()
    assert str(link.readlink()) == "../dotfiles/cursor.json"
    assert read_files(dotfiles) == {"cursor.json": "new"}
    assert backup
    assert backup.parent == home


@POSIX
def test_target_of_a_dangling_link_is_created(tmp_path: Path) -> None:
    link = tmp_path / "mcp.json"
    link.symlink_to("real.json")
    replace(read(link), b"new", NOON)
    assert link.is_symlink()
    assert (tmp_path / "real.json").read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("meanwhile", ["newer", None])
def test_file_changed_meanwhile_is_not_overwritten(tmp_path: Path, meanwhile: str | None) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("old", encoding="utf-8")
    snapshot = read(path)
    path.unlink()
    if meanwhile:
        path.write_text(meanwhile, encoding="utf-8")
    with pytest.raises(Changed):
        replace(snapshot, b"ours", NOON)
    assert read_files(tmp_path) == ({"mcp.json": meanwhile} if meanwhile else {})


def test_file_created_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    snapshot = read(path)
    path.write_text("somebody's", encoding="utf-8")
    with pytest.raises(Changed):
        replace(snapshot, b"ours", NOON)
    assert read_files(tmp_path) == {"mcp.json": "somebody's"}


@POSIX
def test_read_only_file_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o444)
    with pytest.raises(InstallError, match="it is read-only") as caught:
        replace(read(path), b"new", NOON)
    assert str(path) in caught.value.fix
    assert read_files(tmp_path) == {"mcp.json": "old"}


@POSIX
def test_read_only_folder_gets_no_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(InstallError, match="its folder is read-only") as caught:
        replace(read(tmp_path / "mcp.json"), b"new", NOON)
    tmp_path.chmod(0o755)
    assert str(tmp_path) in caught.value.fix


@POSIX
def test_file_in_a_read_only_folder_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home" / "state"))
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "mcp.json"
    path.write_text("old, and longer", encoding="utf-8")
    inode = path.stat().st_ino
    folder.chmod(0o555)
    copies = [replace(read(path), content, NOON) for content in (b"new", b"newer", b"", b"last")]
    folder.chmod(0o755)
    assert path.stat().st_ino == inode
    assert read_files(folder) == {"mcp.json": "last"}
    # An empty file needs no backup.
    assert [copy and copy.read_text(encoding="utf-8") for copy in copies] == ["old, and longer", "new", "newer", None]
    assert all(copy is None or (tmp_path / "home" in copy.parents and get_mode(copy) == 0o600) for copy in copies)
    assert backups_with(path, "longer") == copies[:1]


@POSIX
def test_hard_links_of_a_file_get_the_new_content(tmp_path: Path) -> None:
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    path = tmp_path / "mcp.json"
    path.write_text("old, and longer", encoding="utf-8")
    path.chmod(0o640)
    (dotfiles / "cursor.json").hardlink_to(path)
    backup = replace(read(path), b"new", NOON)
    assert backup
    assert read_files(dotfiles) == {"cursor.json": "new"}
    assert read_files(tmp_path) == {"mcp.json": "new", backup.name: "old, and longer"}
    assert get_mode(path) == 0o640


@pytest.mark.skipif(sys.platform != "linux", reason="extended attributes of Linux")
@pytest.mark.parametrize("links", [1, 2])
def test_extended_attributes_are_kept(tmp_path: Path, links: int) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("old", encoding="utf-8")
    try:
        os.setxattr(path, "user.origin", b"dotfiles")
    except OSError as error:
        pytest.skip(f"no extended attributes in {tmp_path}: {error}")
    if links == 2:
        (tmp_path / "other").hardlink_to(path)
    replace(read(path), b"new", NOON)
    assert path.read_bytes() == b"new"
    assert os.getxattr(path, "user.origin") == b"dotfiles"


@pytest.mark.skipif(sys.platform != "linux", reason="access control lists of Linux")
def test_file_does_not_inherit_its_folders_access_list(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o640)
    # Version 2. For the owner, user 1234, the group, the mask and others: tag, permissions and ID.
    permissions = [(1, 6, -1), (2, 4, 1234), (4, 4, -1), (16, 4, -1), (32, 0, -1)]
    acl = struct.pack("<I", 2) + b"".join(starmap(partial(struct.pack, "<HHi"), permissions))
    try:
        os.setxattr(tmp_path, "system.posix_acl_default", acl)
    except OSError as error:
        pytest.skip(f"no access control lists in {tmp_path}: {error}")
    replace(read(path), b"new", NOON)
    assert (path.read_bytes(), get_mode(path)) == (b"new", 0o640)
    assert "system.posix_acl_access" not in os.listxattr(path)


WRITE_TO_FULL_DISK = """
import os, resource, sys
from datetime import datetime
from pathlib import Path
from luma_mcp.install.config import InstallError, read, replace
path = Path(sys.argv[1])
# Limits the size of files, like a full disk.
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
try:
    replace(read(path), b"new" * 5000, datetime(2026, 11, 22))
except InstallError as error:
    print(error)
"""


@POSIX
@pytest.mark.parametrize("links", [1, 2])
def test_failed_write_keeps_the_old_content(tmp_path: Path, links: int) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("old" * 1000, encoding="utf-8")
    if links == 2:
        (tmp_path / "other").hardlink_to(path)
    before = read_files(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", WRITE_TO_FULL_DISK, path], capture_output=True, encoding="utf-8", check=True
    )
    assert "it cannot be written: File too large" in done.stdout
    assert read_files(tmp_path) == before


@pytest.mark.skipif(sys.platform != "linux", reason="mounts of Linux")
def test_mounted_file_is_written_in_place(tmp_path: Path) -> None:
    outside, home = tmp_path / "outside.json", tmp_path / "home"
    (home / ".cursor").mkdir(parents=True)
    outside.write_text('{"a": 1}', encoding="utf-8")
    (home / ".cursor" / "mcp.json").write_text("", encoding="utf-8")
    separate = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*separate, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow mounts in a namespace")
    script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    command = [sys.executable, "-m", "luma_mcp", "install", "cursor", "--simulate", "--yes"]
    done = subprocess.run(
        [*separate, "sh", "-c", script, "sh", outside, home / ".cursor" / "mcp.json", *command],
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"luma"' in outside.read_text(encoding="utf-8")
    [backup] = (home / ".cursor").glob("*.luma-backup-*")
    assert backup.read_text(encoding="utf-8") == '{"a": 1}'


def test_folder_in_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mcp.json").mkdir()
    with pytest.raises(InstallError, match="a folder, not a file"):
        read(tmp_path / "mcp.json")


def test_file_in_place_of_the_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / ".cursor").write_text("mine", encoding="utf-8")
    with pytest.raises(InstallError):
        replace(read(tmp_path / ".cursor" / "mcp.json"), b"new", NOON)
    assert read_files(tmp_path) == {".cursor": "mine"}


@POSIX
def test_circular_link_and_pipe_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe")
    for name in ("circle", "pipe"):
        with pytest.raises(InstallError, match=r"leads to itself|not a regular file"):
            read(tmp_path / name)


@POSIX
@pytest.mark.parametrize(("permissions", "readable"), [(0o600, False), (0o640, True), (0o604, True), (0o700, False)])
def test_file_is_readable_by_others_if_its_mode_allows_it(tmp_path: Path, permissions: int, *, readable: bool) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("x", encoding="utf-8")
    path.chmod(permissions)
    assert is_readable_by_others(path) == readable
    assert not is_readable_by_others(tmp_path / "none")


def test_backups_with_a_secret_are_found(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    copies = []
    for text in ("none", "with user:1-x in it", "none", "user:1-x"):
        path.write_text(text, encoding="utf-8")
        copies.append(replace(read(path), b"new", NOON))
    assert backups_with(path, "user:1-x") == [copies[1], copies[3]]
    assert backups_with(tmp_path / "none" / "mcp.json", "user:1-x") == []
