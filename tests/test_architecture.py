"""Dependencies point down and have no cycles. CONTRIBUTING.md draws the layers."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scripts.check_style import find_forbidden

import luma_mcp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

ROOT = Path(luma_mcp.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LEAVES = {"errors", "text", "settings", "hosts", "providers"}
"""Modules that import nothing of this package, or only another one of these."""
BELOW = {
    "errors": set(),
    "text": set(),
    "settings": {"providers"},
    "hosts": set(),
    "providers": {"errors"},
    "catalog": {"errors"},
    "api": {"catalog", "media", *LEAVES},
    "media": {*LEAVES},
    "journal": {"api", *LEAVES},
    "service": {"catalog", "api", "media", "journal", *LEAVES},
    "server": {"catalog", "api", "media", "service", "__init__", *LEAVES},
    "hosting": {"catalog", "api", "media", "journal", "service", "server", "__init__", *LEAVES},
    "simulator": {"catalog", "errors"},
    "install": {"service", "__init__", *LEAVES},
    "doctor": {
        "catalog",
        "api",
        "media",
        "journal",
        "service",
        "server",
        "install",
        "__init__",
        *LEAVES,
    },
    "cli": {
        "catalog",
        "api",
        "media",
        "journal",
        "service",
        "server",
        "hosting",
        "simulator",
        "install",
        "doctor",
        "__init__",
        *LEAVES,
    },
    "__init__": {"api", "errors"},
    "__main__": {"cli"},
}
"""What each package may import besides itself."""
COMMANDS = {"install/cli.py", "doctor/cli.py"}
"""The commands of these packages: they may import what the command line may."""
ONLY_IN = {
    "httpx2": {"api", "media", "hosting"},
    "PIL": {"media", "simulator"},
    "av": {"media", "simulator"},
    "pi_heif": {"media"},
    "sqlite3": {"journal"},
    "psycopg": {"journal"},
    "platformdirs": {"service"},
    "mcp": {"server", "hosting", "doctor", "cli"},
    "jwt": {"hosting"},
    "prometheus_client": {"hosting"},
    "obstore": {"media"},
    "opentelemetry": {"api", "hosting"},
    "starlette": {"simulator", "hosting"},
    "uvicorn": {"simulator", "hosting"},
    "click": {"cli", "install", "doctor"},
    "tomlkit": {"install"},
}
"""Third-party packages that only these packages may import."""
TYPES_ONLY = {("server", "httpx2"), ("service", "httpx2"), ("doctor", "httpx2")}
"""They name the type of the transport that they pass on."""
COMPOSITION_ROOTS = {"server/app.py", "api/useapi/client.py", "api/agents/client.py", "doctor", "cli"}
"""Files and packages that choose the catalog. Everything else receives it as a parameter."""
CATALOGS = ("luma_mcp.catalog.useapi", "luma_mcp.catalog.agents")
LITERAL_TYPES = {"ModelName", "Resolution", "AspectRatio", "Duration", "DynamicRange"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def nodes_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Everything that runs when the module is imported: nothing in functions, nothing for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_type_checking(child):
            continue
        yield child
        yield from nodes_at_import(child)


def nodes_at_runtime(node: ast.AST) -> Iterator[ast.AST]:
    """Everything but what is for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if not is_type_checking(child):
            yield child
            yield from nodes_at_runtime(child)


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """The dotted names that these nodes import."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_of(imported_name: str) -> str | None:
    """The module of this package that an imported name is or comes from, as a path without suffix."""
    parts = imported_name.split(".")
    if parts[0] != "luma_mcp":
        return None
    for end in (len(parts), len(parts) - 1):
        path = ROOT.joinpath(*parts[1:end])
        if path.with_suffix(".py").exists():
            return name_of(path.with_suffix(".py"))
        if (path / "__init__.py").exists():
            return name_of(path / "__init__.py")
    return None


def find_cycle(graph: Mapping[str, AbstractSet[str]]) -> list[str]:
    """The modules of one cycle, in order; empty if there is none."""
    finished: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in finished:
            return []
        for target in sorted(graph.get(module, ())):
            cycle = visit(target, [*path, module])
            if cycle:
                return cycle
        finished.add(module)
        return []

    for module in sorted(graph):
        cycle = visit(module, [])
        if cycle:
            return cycle
    return []


def test_packages_import_only_what_lies_below() -> None:
    found = []
    for path in FILES:
        for name in imported(ast.walk(parse(path))):
            module = module_of(name)
            if module is None:
                continue
            package = module.split("/")[0].removesuffix(".py")
            below = BELOW["cli" if name_of(path) in COMMANDS else package_of(path)]
            if package not in {package_of(path), *below}:
                found.append(f"{name_of(path)} imports {name}")
    assert found == []


def test_there_are_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        modules = {module_of(name) for name in imported(nodes_at_import(parse(path)))}
        graph[name_of(path)] = {module for module in modules if module} - {name_of(path)}
    assert find_cycle(graph) == []


@pytest.mark.parametrize(
    ("graph", "cycle"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b", "c"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, ["b", "c", "b"]),
        ({"a": {"a"}}, ["a", "a"]),
    ],
)
def test_the_cycle_finder(graph: dict[str, set[str]], cycle: list[str]) -> None:
    assert find_cycle(graph) == cycle


def test_third_party_packages_have_their_place() -> None:
    found = []
    for path in FILES:
        package = package_of(path)
        at_runtime = {name.split(".")[0] for name in imported(nodes_at_runtime(parse(path)))}
        anywhere = {name.split(".")[0] for name in imported(ast.walk(parse(path)))}
        for name in anywhere & ONLY_IN.keys():
            only_types = (package, name) in TYPES_ONLY and name not in at_runtime
            if package not in ONLY_IN[name] and not only_types:
                found.append(f"{name_of(path)} imports {name}")
    assert found == []


def test_only_composition_roots_name_a_catalog() -> None:
    found = []
    for path in FILES:
        if name_of(path) in COMPOSITION_ROOTS or package_of(path) in COMPOSITION_ROOTS | {"catalog"}:
            continue
        names = {name for name in imported(ast.walk(parse(path))) if name.startswith(CATALOGS)}
        tables = {name for name in names if name.split(".")[-1] not in LITERAL_TYPES}
        found += [f"{name_of(path)} imports {name}" for name in tables]
    assert found == []


def test_names_say_what_a_value_is() -> None:
    found = []
    for path in FILES:
        found += find_forbidden(path, parse(path))
    assert found == []


def test_forbidden_names_are_found_in_every_kind_of_name() -> None:
    source = "def said(told): asked_before = told.words\nimport a as _said\nclass Words: aforesaid = 'told'"
    found = find_forbidden(Path("a.py"), ast.parse(source))
    assert sorted(position.split()[1] for position in found) == [
        "Words",
        "_said",
        "asked_before",
        "said",
        "told",
        "told",
        "words",
    ]
