"""From what a client sent to the words it meant: aliases, spellings, numbers as text. Nothing is dropped.

Agents and hosts write `imageStart` for `image_start`, `10` or `"10"` for `"10s"`, `720` for `"720p"`, `"SDR"` for
`"sdr"`, and null or `""` for what they leave out. That is accepted; whatever is not plainly meant is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luma_mcp.check import text_fault, unknown_name
from luma_mcp.errors import Problem
from luma_mcp.matrix import CHOICES, IMAGES, TEXTS
from luma_mcp.nearest import nearest_name, snake
from luma_mcp.settings import LONGEST_WAIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DEFAULT_WAIT = 45
WAIT = "wait_seconds"
_ALIASES = {"job_id": "jobid"}
_YES_OR_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the client meant: known names only, in the spelling of the table; and what it cannot have meant.

    `lost`: something was said under an unknown name that no suggestion could carry.
    """

    words: dict[str, Any]
    problems: tuple[Problem, ...]
    lost: bool = False

    @property
    def wait_seconds(self) -> float:
        """The wait that was asked for, or the default one."""
        return float(self.words.get(WAIT, DEFAULT_WAIT))

    def without_wait(self) -> dict[str, Any]:
        """The words that are about the video."""
        return {name: value for name, value in self.words.items() if name != WAIT}


def read(raw: Mapping[str, Any], known: Iterable[str]) -> Arguments:
    """Reads the arguments of a tool whose parameters are `known`.

    A name that does not exist is a problem; its value is still taken for the parameter it resembles, where
    that one is free, so that a suggestion can carry it.
    """
    names = tuple(known)
    words: dict[str, Any] = {}
    strays: dict[str, Any] = {}
    problems: list[Problem] = []
    for given, value in raw.items():
        name = _ALIASES.get(snake(given), snake(given))
        meant = _meant(name, value)
        if meant is None:
            continue
        if name not in names:
            strays[given] = meant
        elif name in words and words[name] != meant:
            problems.append(Problem(given, value, f'"{given}" and another spelling of {name} differ; send one.'))
        else:
            words[name] = meant
    lost = False
    for given, value in strays.items():
        problems.append(unknown_name(given, value, names))
        near = nearest_name(given, names)
        if near and near not in words:
            meant = _meant(near, value)
            if _could_be(near, meant):
                words[near] = meant
            else:
                lost = True
    if WAIT in words and not _could_be(WAIT, words[WAIT]):
        message = f"{WAIT} takes a number of seconds from 0 to {LONGEST_WAIT}."
        problems.append(Problem(WAIT, words[WAIT], message, ("0", str(LONGEST_WAIT))))
        words[WAIT] = _nearest_wait(words[WAIT])
    return Arguments(words, tuple(problems), lost)


def _nearest_wait(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
        return DEFAULT_WAIT
    return max(0, min(LONGEST_WAIT, value))


def _could_be(name: str, value: Any) -> bool:
    """Whether the value is one that the parameter takes, whatever else is said."""
    if name in CHOICES:
        return value in CHOICES[name].values
    if name == WAIT:
        return bool(_nearest_wait(value) == value)
    row = TEXTS.get(name) or IMAGES.get(name)
    return text_fault(value, row) is None if row else isinstance(value, str)


def _meant(name: str, value: Any) -> Any:
    """The value in the table's spelling where it is plainly one of the table's; None where it was left out."""
    if isinstance(value, str) and name not in ("prompt", "reply_ref"):
        value = value.strip()
    if value is None or value == "":
        return None
    if not isinstance(value, str | int | float) or (isinstance(value, bool) and name != "include_schema"):
        return value
    if name in CHOICES:
        spelled = {_squash(v): v for v in CHOICES[name].values}
        spelled |= {number[1]: v for v in CHOICES[name].values if (number := re.fullmatch(r"(\d+)[sp]", v))}
        return spelled.get(_squash(value), value)
    return _READERS[name](value) if name in _READERS else value


def _seconds(value: str | float) -> Any:
    return float(value.removesuffix("s")) if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?s?", value) else value


_READERS: dict[str, Callable[[Any], Any]] = {
    WAIT: _seconds,
    "include_schema": lambda value: _YES_OR_NO.get(str(value).casefold(), value),
    "jobid": lambda value: value.strip("\"'`") if isinstance(value, str) else value,
    "reply_ref": str,
}


def _squash(value: str | float) -> str:
    """Case and separators aside: `10.0`, `10 s`, `10 seconds` and `10S` are one spelling, `16x9` is `16:9`.

    A hyphen is a separator beside a letter only: `-5` and `1-0` are nothing that a parameter takes.
    """
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    text = re.sub(r"(?<=[a-z])[\s_-]+|[\s_-]+(?=[a-z])", "", value.casefold())
    text = re.sub(r"(?<=\d)\s*[x/:]\s*(?=\d)", ":", text)
    return re.sub(r"(?<=\d)(sec|secs|second|seconds)$", "s", text)
