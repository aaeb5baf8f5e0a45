"""Dependencies point down and have no cycles. CONTRIBUTING.md shows the layers."""

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


def get_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def get_package(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def nodes_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Iterate over the nodes that run on import, without functions and code for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_type_checking(child):
            continue
        yield child
        yield from nodes_at_import(child)


def nodes_at_runtime(node: ast.AST) -> Iterator[ast.AST]:
    """Iterate over all nodes, without code for type checkers."""
    for child in ast.iter_child_nodes(node):
        if not is_type_checking(child):
            yield child
            yield from nodes_at_runtime(child)


def list_imports(nodes: Iterator[ast.AST]) -> set[str]:
    """List the dotted names that these nodes import."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def find_module(imported_name: str) -> str | None:
    """Find the module of this package that contains an imported name. Returns its path, or None."""
    parts = imported_name.split(".")
    if parts[0] != "luma_mcp":
        return None
    for end in (len(parts), len(parts) - 1):
        path = ROOT.joinpath(*parts[1:end])
        if path.with_suffix(".py").exists():
            return get_name(path.with_suffix(".py"))
        if (path / "__init__.py").exists():
            return get_name(path / "__init__.py")
    return None


def find_cycle(graph: Mapping[str, AbstractSet[str]]) -> list[str]:
    """Find one cycle. Returns its modules in order, or an empty list."""
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


def test_packages_import_only_lower_layers() -> None:
    found = []
    for path in FILES:
        for name in list_imports(ast.walk(parse(path))):
            module = find_module(name)
            if module is None:
                continue
            package = module.split("/")[0].removesuffix(".py")
            below = BELOW["cli" if get_name(path) in COMMANDS else get_package(path)]
            if package not in {get_package(path), *below}:
                found.append(f"{get_name(path)} imports {name}")
    assert found == []


def test_imports_have_no_cycles() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        modules = {find_module(name) for name in list_imports(nodes_at_import(parse(path)))}
        graph[get_name(path)] = {module for module in modules if module} - {get_name(path)}
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
def test_find_cycle(graph: dict[str, set[str]], cycle: list[str]) -> None:
    assert find_cycle(graph) == cycle


def test_third_party_packages_are_used_only_where_allowed() -> None:
    found = []
    for path in FILES:
        package = get_package(path)
        at_runtime = {name.split(".")[0] for name in list_imports(nodes_at_runtime(parse(path)))}
        anywhere = {name.split(".")[0] for name in list_imports(ast.walk(parse(path)))}
        for name in anywhere & ONLY_IN.keys():
            only_types = (package, name) in TYPES_ONLY and name not in at_runtime
            if package not in ONLY_IN[name] and not only_types:
                found.append(f"{get_name(path)} imports {name}")
    assert found == []


def test_only_composition_roots_import_a_catalog() -> None:
    found = []
    for path in FILES:
        if get_name(path) in COMPOSITION_ROOTS or get_package(path) in COMPOSITION_ROOTS | {"catalog"}:
            continue
        names = {name for name in list_imports(ast.walk(parse(path))) if name.startswith(CATALOGS)}
        tables = {name for name in names if name.split(".")[-1] not in LITERAL_TYPES}
        found += [f"{get_name(path)} imports {name}" for name in tables]
    assert found == []


def test_no_forbidden_name_is_used() -> None:
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
