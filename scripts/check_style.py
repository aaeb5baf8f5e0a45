"""Check the measures of readable code that this project keeps for `src/luma_mcp`.

    python scripts/check_style.py [FOLDER]

Prints each measure with its limit, the files with the densest code, and the position of every forbidden name. Fails if
a measure is outside its limit. The limits come from measurements of comparable projects.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
# The current values. Raise them only for features.
MAX_FILES = 125
MAX_LINES = 35_800
MIN_COMMENTS = 0.025
MAX_DENSE_PER_1000 = 30
# A name should say what a value is, not that somebody communicated it.
FORBIDDEN = frozenset({"told", "asked", "said", "words"})
DENSEST_SHOWN = 5
_DENSE = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.IfExp)
# Instructions for tools, not for readers.
_NOT_COMMENTS = ("# noqa", "# type:", "# mypy:", "# pragma:")


@dataclass(frozen=True, slots=True)
class FileMeasures:
    """The measures of one file.

    Attributes:
        lines: all lines, including blank ones.
        comments: lines with a comment for readers.
        dense: comprehensions, generator expressions and conditional expressions.
        forbidden: positions of forbidden names, as `path:line name`.
    """

    path: Path
    lines: int
    comments: int
    dense: int
    forbidden: tuple[str, ...]

    @property
    def density(self) -> float:
        """Dense expressions per 1,000 lines."""
        return 1_000 * self.dense / max(self.lines, 1)


def measure(path: Path) -> FileMeasures:
    """Measure one Python file."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    dense = sum(isinstance(node, _DENSE) for node in ast.walk(tree))
    return FileMeasures(path, source.count("\n"), count_comments(source), dense, tuple(find_forbidden(path, tree)))


def count_comments(source: str) -> int:
    """Count the comments for readers."""
    count = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith(_NOT_COMMENTS):
            count += 1
    return count


def find_forbidden(path: Path, tree: ast.AST) -> list[str]:
    """Find every name that has a forbidden part: variables, parameters, attributes, functions, classes, imports."""
    found: list[str] = []
    for node in ast.walk(tree):
        for attribute in ("id", "arg", "attr", "name", "asname"):
            name = getattr(node, attribute, None)
            if isinstance(name, str) and FORBIDDEN & set(name.lower().split("_")):
                found.append(f"{path}:{getattr(node, 'lineno', 0)} {name}")
    return found


def main() -> int:
    """Return 0 if every measure is within its limit."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "src" / "luma_mcp"
    files = [measure(path) for path in sorted(folder.rglob("*.py"))]
    lines = sum(file.lines for file in files)
    comments = sum(file.comments for file in files) / lines
    dense = 1_000 * sum(file.dense for file in files) / lines
    forbidden: list[str] = []
    for file in files:
        forbidden += file.forbidden
    measures = [
        (f"{len(files)} files (at most {MAX_FILES})", len(files) <= MAX_FILES),
        (f"{lines:,} lines (at most {MAX_LINES:,})", lines <= MAX_LINES),
        (f"{comments:.2%} comments (at least {MIN_COMMENTS:.1%})", comments >= MIN_COMMENTS),
        (
            f"{dense:.1f} comprehensions and conditional expressions per 1,000 lines (at most {MAX_DENSE_PER_1000})",
            dense <= MAX_DENSE_PER_1000,
        ),
        (f"{len(forbidden)} forbidden names ({', '.join(sorted(FORBIDDEN))})", not forbidden),
    ]
    for text, is_met in measures:
        print(text if is_met else f"NOT MET: {text}")
    for position in forbidden:
        print(position)
    for file in sorted(files, key=lambda file: file.density, reverse=True)[:DENSEST_SHOWN]:
        print(f"{file.density:6.1f} per 1,000 lines in {file.path.relative_to(folder)} ({file.lines} lines)")
    return 0 if all(is_met for _, is_met in measures) else 1


if __name__ == "__main__":
    sys.exit(main())
