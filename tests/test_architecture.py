"""The arrows of the house: who may know whom. CONTRIBUTING.md draws them."""

from __future__ import annotations

import ast
from pathlib import Path

import luma_mcp

ROOT = Path(luma_mcp.__file__).parent
TABLE = {"hosts", "nearest", "matrix", "rules", "check", "errors", "settings", "tables"}
MAY_KNOW = {
    "matrix": set(),
    "errors": set(),
    "settings": set(),
    "hosts": set(),
    "rules": {"matrix"},
    "nearest": set(),
    "check": {"matrix", "rules", "errors", "nearest"},
    "tables": {"matrix"},
    "luma": {"matrix", "check", "errors", "settings", "luma"},
    "media": {"media"},
    "journal": {"luma", "journal"},
    "studio": {"matrix", "check", "errors", "settings", "luma", "media", "journal", "studio"},
    "server": TABLE | {"luma", "media", "studio", "server", "__init__"},
    "install": {"hosts", "install"},
    "simulator": {"matrix", "check", "simulator"},
    "diagnosis": TABLE | {"luma", "media", "journal", "studio", "server", "install", "diagnosis", "__init__"},
    "cli": TABLE
    | {"luma", "media", "journal", "studio", "server", "simulator", "install", "diagnosis", "cli", "__init__"},
    "__init__": {"luma"},
    "__main__": {"cli"},
}
ONLY_THERE = {
    "httpx2": {"luma", "media"},
    "PIL": {"media"},
    "pillow_heif": {"media"},
    "sqlite3": {"journal"},
    "platformdirs": {"studio"},
    "mcp": {"server", "diagnosis", "cli"},
    "opentelemetry": {"luma", "cli"},
    "starlette": {"simulator"},
    "uvicorn": {"simulator", "cli"},
    "click": {"cli"},
    "tomlkit": {"install"},
}
TYPES_ONLY = {("server", "httpx2"), ("studio", "httpx2"), ("diagnosis", "httpx2")}
"""`build_server`, `Studio` and `Surroundings` name the transport's type that they pass on."""


def room(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_room_knows_only_the_rooms_it_may_know() -> None:
    for path in ROOT.rglob("*.py"):
        for name in (n for n in imported(path) if n.split(".")[0] == "luma_mcp"):
            known = name.split(".")[1]
            is_module = (ROOT / known).is_dir() or (ROOT / f"{known}.py").exists()
            assert (known if is_module else "__init__") in MAY_KNOW[room(path)], f"{path} imports {name}"


def test_each_foreign_package_has_its_one_place() -> None:
    for path in ROOT.rglob("*.py"):
        for package in {name.split(".")[0] for name in imported(path)} & ONLY_THERE.keys():
            allowed = room(path) in ONLY_THERE[package] or (room(path), package) in TYPES_ONLY
            assert allowed, f"{path} imports {package}"


def test_no_source_file_outgrows_its_room() -> None:
    lengths = {
        path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in ROOT.rglob("*.py")
    }
    assert {path: n for path, n in lengths.items() if n > 250} == {}
