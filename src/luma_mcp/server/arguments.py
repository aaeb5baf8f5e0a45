"""From what a client sent to the words it meant: aliases, spellings, numbers as text. Nothing is dropped.

Agents and hosts write `imageStart` for `image_start`, `10` or `"10"` for `"10s"`, `720` for `"720p"`, `"SDR"` for
`"sdr"`, and null or `""` for what they leave out. That is accepted; whatever is not plainly meant is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luma_mcp.catalog.suggest import nearest_name, snake
from luma_mcp.catalog.useapi import CHOICES, IMAGES, TEXTS
from luma_mcp.catalog.validate import text_fault, unknown_name
from luma_mcp.errors import Problem
from luma_mcp.server.call_options import OWN, WAIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ALIASES = {"job_id": "jobid"}


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the client meant: known names only, in the spelling of the table; and what it cannot have meant.

    `lost`: something was said under an unknown name that no suggestion could carry.
    """

    words: dict[str, Any]
    problems: tuple[Problem, ...]
    lost: bool = False

    def wait_seconds(self, otherwise: float) -> float:
        """The wait that was asked for, if any was."""
        return float(self.words.get(WAIT, otherwise))

    def about_video(self) -> dict[str, Any]:
        """The words that are about the video."""
        return {name: value for name, value in self.words.items() if name not in OWN}

    def about_call(self) -> dict[str, Any]:
        """The words that are about the call."""
        return {name: value for name, value in self.words.items() if name in OWN}


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
    for name, own in OWN.items():
        if name in words and not _could_be(name, words[name]):
            problems.append(Problem(name, words[name], f"{name} takes {own.takes}.", own.allowed))
            words[name] = own.mend(words[name])
    return Arguments(words, tuple(problems), lost)


def _could_be(name: str, value: Any) -> bool:
    """Whether the value is one that the parameter takes, whatever else is said."""
    if name in CHOICES:
        return value in CHOICES[name].values
    if name in OWN:
        return bool(OWN[name].mend(value) == value)
    row = TEXTS.get(name) or IMAGES.get(name)
    return text_fault(value, row) is None if row else isinstance(value, str)


def _meant(name: str, value: Any) -> Any:
    """The value in the table's spelling where it is plainly one of the table's; None where it was left out."""
    if isinstance(value, str) and name not in ("prompt", "reply_ref"):
        value = value.strip()
    if value is None or value == "":
        return None
    if name in OWN:
        return OWN[name].read(value)
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return value
    if name in CHOICES:
        spelled = {_squash(v): v for v in CHOICES[name].values}
        spelled |= {number[1]: v for v in CHOICES[name].values if (number := re.fullmatch(r"(\d+)[sp]", v))}
        return spelled.get(_squash(value), value)
    if name == "jobid" and isinstance(value, str):
        return value.strip("\"'`")
    return str(value) if name == "reply_ref" else value


def _squash(value: str | float) -> str:
    """Case and separators aside: `10.0`, `10 s`, `10 seconds` and `10S` are one spelling, `16x9` is `16:9`.

    A hyphen is a separator beside a letter only: `-5` and `1-0` are nothing that a parameter takes.
    """
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    text = re.sub(r"(?<=[a-z])[\s_-]+|[\s_-]+(?=[a-z])", "", value.casefold())
    text = re.sub(r"(?<=\d)\s*[x/:]\s*(?=\d)", ":", text)
    return re.sub(r"(?<=\d)(sec|secs|second|seconds)$", "s", text)
