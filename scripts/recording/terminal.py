"""What a terminal shows while a program writes to it: as much of one as `luma-ray-mcp demo` needs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_PIECE = re.compile(r"\x1b\[(\??[\d;]*)([a-zA-Z])|(\r)|(\n)|([^\x1b\r\n]+)")
STYLES = {"1": "bold", "33": "yellow", "32": "green", "31": "red"}
INDENT = 3
"""Columns by which a row that goes on begins later."""

Cell = tuple[str, str]
"""A character and the style that it is in."""


@dataclass(slots=True)
class Version:
    """What a row shows from one time until another; None: to the end."""

    cells: tuple[Cell, ...]
    since: float
    until: float | None = None

    @property
    def runs(self) -> list[tuple[int, str, str]]:
        """Column, text and style of each stretch in one style."""
        found: list[tuple[int, str, str]] = []
        for column, (character, style) in enumerate(self.cells):
            if found and found[-1][2] == style:
                found[-1] = (found[-1][0], found[-1][1] + character, style)
            else:
                found.append((column, character, style))
        return [(column, text.rstrip(), style) for column, text, style in found if text.strip()]


@dataclass(slots=True)
class Terminal:
    """Rows without end, each with all that it has shown. `columns`: where a line goes on in the next row."""

    columns: int
    rows: list[list[Version]] = field(default_factory=list)
    _cells: list[list[Cell]] = field(default_factory=lambda: [[]])
    _column: int = 0
    _style: str = ""

    def write(self, text: str, time: float) -> None:
        """Shows what a program writes, from that time on."""
        for match in _PIECE.finditer(text):
            codes, command, back, down, plain = match.groups()
            if command == "m":
                self._style = next((STYLES[code] for code in codes.split(";") if code in STYLES), "")
            elif back:
                self._column = 0
            elif down:
                self._cells.append([])
                self._column = 0
            elif plain:
                self._put(plain)
        self._note(time)

    def _put(self, plain: str) -> None:
        for character in plain:
            if self._column >= self.columns:
                self._wrap()
            row = self._cells[-1]
            row.extend([(" ", "")] * (self._column + 1 - len(row)))
            row[self._column] = (character, self._style)
            self._column += 1

    def _wrap(self) -> None:
        """Goes on in the next row, with the whole word: a terminal would tear it."""
        row = self._cells[-1]
        begins = max((n + 1 for n, (character, _) in enumerate(row) if character == " "), default=len(row))
        word, row[begins:] = row[begins:], []
        self._cells.append([(" ", "")] * INDENT + word)
        self._column = INDENT + len(word)

    def _note(self, time: float) -> None:
        for number, cells in enumerate(self._cells):
            if number == len(self.rows):
                self.rows.append([])
            shown = self.rows[number]
            if shown and shown[-1].cells == tuple(cells):
                continue
            if shown:
                shown[-1].until = time
            shown.append(Version(tuple(cells), time))
