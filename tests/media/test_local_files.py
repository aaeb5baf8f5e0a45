"""Local files: which ones are read, and more than sixty attempts to read others."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from tests.media.child import run_restricted

from luma_mcp.media.sources import (
    LARGEST_INPUT,
    ImageError,
    SourceKind,
    home_folders,
    open_without_following,
    parse_source,
    read_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="it makes links, pipes and devices as POSIX does")

SECRET = "swordfish"
# fmt: off - one per line they would fill pages
ATTACKS = (
    # Outside
    *("{r}/outside/secret.png", "{r}/outside", "{r}/outside/secret.png/", "{r}", "/", "/etc/passwd", "/etc/hostname"),
    *("{r}/home-secret/a.png", "{r}/hom", "{h}", "{h}/", "{h}/.", "/etc/ssh/ssh_host_rsa_key"),
    # Traversal
    *("{h}/../outside/secret.png", "{h}/pics/../../outside/secret.png", "{h}/./../outside/./secret.png"),
    *("{h}//..//outside//secret.png", "{h}/missing/../../outside/secret.png", "{h}/../home-secret/a.png"),
    *("{h}/pics/a.png/../../../outside/secret.png", "{h}/..", "{h}/../home/../outside/secret.png", "/../../etc/passwd"),
    *("{h}/.../outside/secret.png", "{h}/..\\outside\\secret.png", "{h}/../outside/secret.png/."),
    *("~/../outside/secret.png",),
    *("{h}/%2e%2e/outside/secret.png", "{h}/..%2foutside%2fsecret.png", "{h}/../outside/secret.png.", "~/.."),
    # The same in file: URIs
    *("file://{r}/outside/secret.png", "FILE://{r}/outside/secret.png", "file:{r}/outside/secret.png"),
    *("file://{h}/../outside/secret.png", "file://{h}/%2e%2e/outside/secret.png"),
    *("file://{h}%2f..%2foutside/secret.png",),
    *("file://{h}/%2E./outside/secret.png", "file://{h}/.%2e/outside%2Fsecret.png"),
    *("fIlE://localhost{r}/outside/secret.png",),
    *("file://{h}/%252e%252e/outside/secret.png", "file://{h}/..%5Coutside%5Csecret.png", "file:///etc/passwd"),
    *("file://{r}/home%2dsecret/a.png", "file://{h}/to_file?x=a.png", "file://{r}/outside/secret.png#{h}/a.png"),
    *("file://server{h}/a.png", "file://127.0.0.1{h}/a.png", "file://user@localhost{h}/a.png"),
    *("file:////server/share/a.png",),
    *("file:relative.png", "file:", "file://", "file:///", "file://[{h}/a.png", "file:~/../outside/secret.png"),
    *("file:///%5c%5cserver/share/a.png", "file:%2f%2fserver/share/a.png"),
    # Links
    *("{h}/to_file", "{h}/to_file_relative", "{h}/to_folder/secret.png", "{h}/chain", "{h}/to_up/outside/secret.png"),
    *("{h}/to_hidden/key.png", "{h}/to_hidden_file", "{h}/dangling_out", "{h}/dangling_in", "{h}/loop", "{h}/loop_a"),
    *("{h}/to_zero", "{h}/to_proc/{r}/outside/secret.png", "{h}/to_folder/../outside/secret.png", "~/to_file"),
    # Hidden
    *("{h}/.ssh/key.png", "{h}/.face.png", "{h}/pics/.cache/deep/a.png", "~/.ssh/key.png", "{h}/.ssh/../.ssh/key.png"),
    *("file://{h}/%2essh/key.png", "{h}/pics/../.ssh/key.png", "file:~/.ssh/key.png", "{h}/./.ssh/./key.png"),
    # Not files
    *("{h}/fifo", "{h}/socket", "{h}/pics", "{h}/pics/", "{h}/missing.png", "{h}/pics/a.png/x", "{h}/" + "x" * 300),
    *("/dev/zero", "/dev/null", "/dev/stdin", "/dev/tty", "/dev/fd/0", "/dev/random", "/proc/self/environ"),
    *("/proc/self/mem", "/proc/self/root{r}/outside/secret.png", "/proc/self/cwd/pyproject.toml", "/proc/self/fd/0"),
    *("/proc/self/maps", "/proc/1/environ", "/proc/1/cwd/etc/passwd", "/sys/kernel/notes", "/dev/../etc/passwd"),
    # Other machines and homes, and what only a shell or Windows expands
    *("//server/share/a.png", r"\\server\share\a.png", r"\\?\C:\a.png", r"\\.\pipe\x", r"\/server/a.png"),
    *(r"/\server\a.png",),
    *("~root/.ssh/id_rsa", "~root/../etc/passwd", "~nobody/a.png", "~no-such-user/a.png", "$HOME/a.png"),
    *("${{HOME}}/a.png",),
    *(r"%USERPROFILE%\a.png", "%HOME%/a.png", "`cat /etc/passwd`", "$(cat /etc/passwd)", "|cat /etc/passwd"),
    *("{h}/*.png",),
    *("outside/secret.png", "./a.png", "../outside/secret.png", "a.png", ".", "..", "", " ", "-", "~", "~/"),
    *(r"C:\Users\me\a.png", "C:a.png", "c:/a.png", r"\Users\me\a.png", "file:///C:/Windows/win.ini", "file://C:/a.png"),
    # Null bytes and odd text
    *("{h}/a.png\0.jpg", "{r}/outside/secret.png\0{h}/a.png", "file://{h}/a.png%00.jpg", "\0", "{h}/\udcff.png"),
    *("{h}/a.png\n{r}/outside/secret.png", "{h}/\u2024\u2024/outside/secret.png"),
    *("{h}/\uff0e\uff0e/outside/secret.png",),
    # Other schemes
    *("netdoc:{r}/outside/secret.png", "netdoc://{r}/outside/secret.png", "jar:file:{r}/outside/secret.png!/a.png"),
    *("view-source:file://{r}/outside/secret.png", "url:file://{r}/outside/secret.png", "php://filter/resource=a.png"),
    *("ftp://localhost/a.png", "gopher://localhost/a.png", "dict://localhost:11/a", "smb://server/share/a.png"),
)
WINDOWS_ATTACKS = (
    *("C:secret.png", "C:", "NUL", "nul.png", r"C:\NUL", r"C:\x\CON.png", r"C:\x\COM1", r"C:\x\aux.tar.png"),
    *("C:/x/LPT9",),
    *(r"C:\x\CON .png", r"C:\x\PRN\a.png", r"C:\x\CONIN$", r"C:\x\conout$.png", "C:\\x\\COM\u00b9.png", r"C:\x\COM0"),
    *(r"C:\x\a.png:stream", r"C:\x\a.png::$DATA", r"C:\x:hidden\a.png", "file:///C:/x/a.png%3Astream"),
    *("file:///C:/x/NUL",),
    *(r"\\server\share\a.png", "//server/share/a.png", r"\\?\C:\x\a.png", r"\\.\pipe\x", r"\\localhost\c$\a.png"),
    *(
        "file://server/C:/a.png",
        "file:////server/share/a.png",
        r"\Users\me\a.png",
        "/Photos/me/a.png",
        r"..\secret.png",
    ),
    *(r"%USERPROFILE%\a.png", r"file:\\server\share\a.png", r"\??\C:\a.png", "C:\\a\0.png"),
    *("file:///%5C%5C?%5CC:%5Ca.png",),
)
READ = (
    "{h}/a.png",
    "{h}/pics/a.png",
    "{h}/my holiday.png",
    "{h}/größe 写真.png",
    "{h}/100% #1?.png",
    "'{h}/my holiday.png'",
    "file://{h}/my%20holiday.png",
    "file://{h}/my holiday.png",
    "file://localhost{h}/gr%C3%B6%C3%9Fe%20%E5%86%99%E7%9C%9F.png",
    "file://{h}/100%25%20%231%3F.png",
    "FILE:{h}/a.png",
    "~/a.png",
    "~/pics/../my holiday.png",
    "{h}/to_inside",
    "{h}/to_up/home/a.png",
    "{h}/../home/a.png",
    "{r}/linked_home/a.png",
    "{h}//pics/./a.png",
)
TWINS = (
    ("{r}/outside/secret.png", "{r}/outside/missing.png"),
    ("{r}/outside", "{r}/missing"),
    ("{r}/outside/secret.png/x", "{r}/missing/x"),
    ("{h}/to_folder/secret.png", "{h}/to_folder/missing.png"),
    ("{h}/to_file", "{h}/dangling_out"),
    ("{h}/.ssh/key.png", "{h}/.ssh/missing.png"),
    ("{h}/.ssh", "{h}/.missing"),
    ("file://{r}/outside/secret.png", "file://{r}/outside/missing.png"),
    ("/dev/zero", "/dev/missing"),
    ("/proc/self/mem", "/proc/self/missing"),
    ("{r}/outside/loop", "{r}/outside/missing.png"),
    ("{r}/outside/loop/x", "{r}/outside/missing.png"),
    ("~root/a.png", "~no-such-user/a.png"),
)
# fmt: on


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Create a home folder with pictures and links to forbidden files, next to those files."""
    root = tmp_path_factory.mktemp("world").resolve()
    home = root / "home"
    for folder in ("home/pics/.cache/deep", "home/.ssh", "outside", "home-secret", "other"):
        (root / folder).mkdir(parents=True)
    for name in ("a.png", "pics/a.png", "my holiday.png", "größe 写真.png", "100% #1?.png"):
        Image.new("RGB", (2, 2), "red").save(home / name, "PNG")
    secrets = ("outside/secret.png", "home-secret/a.png", "home/.ssh/key.png", "home/.face.png")
    for name in (*secrets, "home/pics/.cache/deep/a.png"):
        (root / name).write_text(SECRET)
    # fmt: off
    links: dict[str, str | Path] = {
        "to_file": root / "outside/secret.png", "to_file_relative": "../outside/secret.png",
        "to_folder": root / "outside", "chain": "chain_2", "chain_2": "to_file_relative", "to_up": "..",
        "to_hidden": ".ssh", "to_hidden_file": ".face.png", "dangling_out": root / "outside/missing.png",
        "dangling_in": "missing.png", "loop": "loop", "loop_a": "loop_b", "loop_b": "loop_a", "to_zero": "/dev/zero",
        "to_proc": "/proc/self/root", "to_inside": "pics/a.png", "../outside/loop": "loop", "../linked_home": "home",
    }
    # fmt: on
    for name, target in links.items():
        (home / name).symlink_to(target)
    os.mkfifo(home / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "socket"))
        yield root
    shutil.rmtree(root)


@pytest.fixture(autouse=True)
def at_home(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root / "home"))


def read(text: str, root: Path, *folders: str, windows: bool = False) -> bytes:
    source = parse_source(text.format(h=root / "home", r=root), windows=windows)
    if source.kind is not SourceKind.FILE:
        pytest.fail(f"parsed as {source.kind.value}")
    return read_file(source.text, [root / folder for folder in folders or ("home",)])


def get_refusal(text: str, root: Path, *, windows: bool = False) -> str:
    with pytest.raises(ImageError) as refused:
        read(text, root, windows=windows)
    return str(refused.value)


@pytest.mark.parametrize("attack", ATTACKS, ids=ascii)
def test_file_outside_the_folders_is_not_read(attack: str, root: Path) -> None:
    reason = get_refusal(attack, root)
    assert SECRET not in reason
    assert "root:" not in reason


@pytest.mark.parametrize("attack", WINDOWS_ATTACKS, ids=ascii)
def test_windows_devices_streams_and_network_paths_are_rejected(attack: str) -> None:
    with pytest.raises(ImageError):
        parse_source(attack, windows=True)


@pytest.mark.parametrize("attack", [r"C:\x\..\..\secret.png", r"C:\..\secret.png", "C:/x/../../secret.png"], ids=repr)
def test_windows_path_does_not_escape(attack: str, root: Path) -> None:
    assert SECRET not in get_refusal(attack, root, windows=True)


@pytest.mark.parametrize(("existing", "missing"), TWINS, ids=repr)
def test_refusal_does_not_reveal_whether_a_file_exists(existing: str, missing: str, root: Path) -> None:
    assert get_refusal(existing, root) == get_refusal(missing, root)


@pytest.mark.parametrize("text", READ, ids=ascii)
def test_file_in_an_allowed_folder_is_read(text: str, root: Path) -> None:
    assert read(text, root) == (root / "home/a.png").read_bytes()


@pytest.mark.parametrize("folders", [("home/.ssh",), ("home", "home/.ssh"), ("home/to_hidden",)], ids=repr)
def test_hidden_folder_can_be_allowed(folders: tuple[str, ...], root: Path) -> None:
    assert read("{h}/.ssh/key.png", root, *folders) == SECRET.encode()


def test_allowed_folder_may_be_a_link(root: Path) -> None:
    assert read("{h}/a.png", root, "linked_home")


def test_folder_above_an_allowed_one_is_not_read(root: Path) -> None:
    with pytest.raises(ImageError):
        read("{h}/a.png", root, "home/pics")


def test_no_file_is_read_without_allowed_folders(root: Path) -> None:
    with pytest.raises(ImageError, match="LUMA_MCP_INPUT_DIRS"):
        read_file(str(root / "home/a.png"), [])


def test_home_is_the_default_folder(root: Path) -> None:
    assert home_folders() == (root / "home",)


def test_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(LARGEST_INPUT + 1)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="100 MB"):
            read_file(str(tmp_path / "large.png"), [tmp_path])
        assert tracemalloc.get_traced_memory()[1] < LARGEST_INPUT / 10
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["pics", "fifo", "socket", "missing.png", "a.png"], ids=repr)
def test_no_file_stays_open(name: str, root: Path) -> None:
    before = get_next_descriptor()
    for _ in range(3):
        try:
            read("{h}/" + name, root)
        except ImageError:
            continue
    assert get_next_descriptor() == before


def get_next_descriptor() -> int:
    """Get the lowest free file descriptor."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


def test_folder_is_not_a_file(root: Path) -> None:
    assert "is not a file" in get_refusal("{h}/pics", root)


@pytest.mark.parametrize("uri", ["file://{h}" + "/a" * 5000, "file://{h}/" + "x" * 5000], ids=["parts", "name"])
def test_endless_path_is_refused_by_the_parser(uri: str, root: Path) -> None:
    # Resolving a path takes time that grows with the square of the number of its parts.
    with pytest.raises(ImageError):
        parse_source(uri.format(h=root / "home"))


def test_refusal_of_an_invalid_name_can_be_encoded(root: Path) -> None:
    assert get_refusal("{h}/\ud800.png", root).encode()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Create a file in an allowed folder, next to a folder that is not allowed."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret.png").write_text(SECRET)
    picture = tmp_path / "allowed/a.png"
    picture.parent.mkdir()
    picture.write_bytes(b"a picture")
    return picture


def build_opener(change: Callable[[], object], opened: list[int]) -> Callable[[str, int], int]:
    """Build an opener that first calls `change`, as if another program changed the files."""

    def opener(path: str, flags: int) -> int:
        change()
        descriptor = open_without_following(path, flags)
        opened.append(descriptor)
        return descriptor

    return opener


def test_link_that_replaced_the_file_is_not_opened(picture: Path) -> None:
    opened: list[int] = []

    def change() -> None:
        picture.unlink()
        picture.symlink_to("../outside/secret.png")

    with pytest.raises(ImageError) as refused:
        read_file(str(picture), [picture.parent], opener=build_opener(change, opened))
    assert SECRET not in str(refused.value)
    # It is not even opened, because opening a pipe or a device can have effects.
    assert opened == []


def test_file_that_replaced_the_checked_one_is_not_read(picture: Path) -> None:
    opened: list[int] = []

    def change() -> None:
        (picture.parent.parent / "outside/secret.png").rename(picture)

    with pytest.raises(ImageError, match="changed"):
        read_file(str(picture), [picture.parent], opener=build_opener(change, opened))
    assert len(opened) == 1


def test_folder_that_replaced_the_checked_one_is_not_read(picture: Path) -> None:
    opened: list[int] = []

    def change() -> None:
        os.link(picture, picture.parent.parent / "outside/a.png")
        shutil.rmtree(picture.parent)
        picture.parent.symlink_to("outside")

    with pytest.raises(ImageError, match="changed"):
        read_file(str(picture), [picture.parent], opener=build_opener(change, opened))
    assert opened == []


@pytest.mark.parametrize("swapped", ["allowed/inner", "allowed"])
def test_no_file_is_read_while_a_folder_is_being_swapped(tmp_path: Path, swapped: str) -> None:
    for folder, content in (("allowed", "a picture"), ("outside", SECRET)):
        (tmp_path / folder / "inner/deep").mkdir(parents=True)
        (tmp_path / folder / "inner/deep/a.png").write_text(content)
    allowed, place, aside, link = (tmp_path / name for name in ("allowed", swapped, "aside", "link"))
    # The first read is before the folder is replaced, as at the start of a server.
    contents = {read_file(f"{allowed}/inner/deep/a.png", [allowed])}
    ended = threading.Event()

    def swap() -> None:
        outside = tmp_path / swapped.replace("allowed", "outside")
        while not ended.is_set():
            link.symlink_to(outside)
            place.rename(aside)
            link.rename(place)
            place.unlink()
            aside.rename(place)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(2000):
            with suppress(ImageError):
                contents.add(read_file(f"{allowed}/inner/deep/a.png", [allowed]))
    finally:
        ended.set()
        thread.join()
    assert contents == {b"a picture"}


def test_unchanged_file_is_read(picture: Path) -> None:
    opened: list[int] = []
    assert read_file(str(picture), [picture.parent], opener=build_opener(lambda: None, opened)) == b"a picture"
    assert len(opened) == 1


def test_file_in_an_unreadable_folder_is_reported(picture: Path) -> None:
    picture.parent.chmod(0)
    try:
        reason = run_restricted("read", picture)
    finally:
        picture.parent.chmod(0o700)
    assert reason == "names a file that this server may not read\n"
