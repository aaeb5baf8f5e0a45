"""Dependencies point down. CONTRIBUTING.md draws the layers."""

from __future__ import annotations

import ast
from pathlib import Path

import luma_mcp

ROOT = Path(luma_mcp.__file__).parent
BELOW = {
    "errors": set(),
    "settings": set(),
    "hosts": set(),
    "catalog": {"errors"},
    "api": {"catalog", "errors", "settings"},
    "media": set(),
    "journal": {"api"},
    "service": {"catalog", "api", "media", "journal", "errors", "settings"},
    "server": {"catalog", "api", "media", "service", "errors", "settings", "hosts", "__init__"},
    "install": {"hosts"},
    "simulator": {"catalog"},
    "doctor": {"catalog", "api", "media", "journal", "service", "server", "install", "errors", "settings", "hosts"}
    | {"__init__"},
    "cli": {"catalog", "api", "media", "journal", "service", "server", "simulator", "install", "doctor", "errors"}
    | {"settings", "hosts", "__init__"},
    "__init__": {"api"},
    "__main__": {"cli"},
}
"""What each package may import beside itself."""
ONLY_THERE = {
    "httpx2": {"api", "media"},
    "PIL": {"media"},
    "pillow_heif": {"media"},
    "sqlite3": {"journal"},
    "platformdirs": {"service"},
    "mcp": {"server", "doctor", "cli"},
    "opentelemetry": {"api", "cli"},
    "starlette": {"simulator"},
    "uvicorn": {"simulator", "cli"},
    "click": {"cli"},
    "tomlkit": {"install"},
}
TYPES_ONLY = {("server", "httpx2"), ("service", "httpx2"), ("doctor", "httpx2")}
"""`build_server`, `VideoService` and `Environment` name the transport's type that they pass on."""


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_each_package_imports_only_what_lies_below() -> None:
    for path in ROOT.rglob("*.py"):
        for name in (n for n in imported(path) if n.split(".")[0] == "luma_mcp"):
            known = name.split(".")[1]
            is_module = (ROOT / known).is_dir() or (ROOT / f"{known}.py").exists()
            assert (known if is_module else "__init__") in BELOW[package_of(path)] | {package_of(path)}, (
                f"{path} imports {name}"
            )


def test_each_third_party_package_has_its_place() -> None:
    for path in ROOT.rglob("*.py"):
        for package in {name.split(".")[0] for name in imported(path)} & ONLY_THERE.keys():
            allowed = package_of(path) in ONLY_THERE[package] or (package_of(path), package) in TYPES_ONLY
            assert allowed, f"{path} imports {package}"
