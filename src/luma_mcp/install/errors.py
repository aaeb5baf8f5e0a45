"""What can be wrong with a host's configuration file.

InstallError        the file is left as it is; the message names the file, the place in it, and what to do
├── Unparsable      it is not what the host could read, or not text
├── WrongShape      it can be read, but the place of our entry is taken by something else, or is there twice
├── Changed         somebody wrote to it while we looked
└── NotWritable     the system does not let us
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ParseError(Exception):
    """What is wrong with a text, and at which character of it; it has not heard of files."""

    def __init__(self, what: str, at: int, *, parsed: bool = False) -> None:
        """`parsed`: the text can be read, and says something that does not fit."""
        super().__init__(what)
        self.what = what
        self.at = at
        self.parsed = parsed


def bounded(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """The same function; a text that is nested deeper than Python goes is a `ParseError` to it."""

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return function(*args, **kwargs)
        except RecursionError as error:
            raise ParseError("this is nested too deeply to be read.", 0) from error

    return call


class InstallError(Exception):
    """Base of all. `path`: the file; `line` and `column`, from 1, where there is such a place."""

    def __init__(self, path: Path, what: str, mend: str, *, line: int | None = None, column: int | None = None) -> None:
        place = f", line {line}, column {column}" if line else ""
        super().__init__(f"{path}{place}: {what}\n{mend}")
        self.path = path
        self.what = what
        self.mend = mend
        self.line = line
        self.column = column


class Unparsable(InstallError):
    """Not what the host could read, or not text."""


class WrongShape(InstallError):
    """The place of our entry is taken by something else, or is there twice."""


class Changed(InstallError):
    """Somebody wrote to it meanwhile."""


class NotWritable(InstallError):
    """The system does not let us."""
