"""Parse the arguments that a client sends. Nothing is dropped.

Agents and hosts write `imageStart` for `image_start`, `10` or `"10"` for `"10s"`, `720` for `"720p"`, `"SDR"` for
`"sdr"`, and null or `""` for what they leave out. Those spellings are accepted; everything else is a problem.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from luma_mcp.api.protocol import FEATURES, ListedState
from luma_mcp.catalog.models import Catalog, Choice, ClipInput, Flag, KeyframesInput
from luma_mcp.catalog.suggest import is_described, is_off, snake_case
from luma_mcp.catalog.validate import MAX_SHOWN, shorten, unknown_parameter, value_problems
from luma_mcp.errors import Problem
from luma_mcp.hosts import DEFAULT_WAIT
from luma_mcp.service import LONGEST_CROSSFADE, MAX_LISTED, MAX_TAKES, MOST_FRAMES, SHORTEST_CROSSFADE, parse_moment
from luma_mcp.settings import LONGEST_WAIT

# Enough to find a recent job, and short enough for an agent to read.
DEFAULT_LIMIT = 10
# Arguments that are reported one by one. Of more, a caller needs only their number.
MAX_PROBLEMS = 7
# Transitions between the videos of a film.
TRANSITIONS = ("cut", "crossfade")
DEFAULT_CROSSFADE = 0.5
LONGEST_SPELLING, MAX_NUMBER = 4_000, 10**18
STATES: tuple[str, ...] = get_args(ListedState)
# The states of jobs where an API cannot delete.
_UNDELETED = tuple(state for state in STATES if state != "deleted")
_ALIASES = {
    "job_id": "jobid",
    **dict.fromkeys(("job_ids", "jobs", "ids"), "jobids"),
    "query": "text",
    "search": "text",
    "after": "since",
    "until": "before",
    "crossfade_duration": "crossfade_seconds",
}
# Arguments that take a list of texts.
_LISTS = ("jobids", "videos")
# Other names that agents use for the videos of a film.
_VIDEOS_ALIASES = ("jobids", "clips", "files", "paths")
# Names that other tools use for the parts of a keyframe.
_KEYFRAME_ALIASES = {
    **dict.fromkeys(("image", "image_url", "url", "picture", "frame", "src", "path"), "image"),
    **dict.fromkeys(("seconds", "second", "time", "at", "t", "time_seconds", "timestamp", "position"), "seconds"),
}
# Limit of the characters of a list that is written as text, and of the items of a list, that are parsed.
LONGEST_LIST = 100_000
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
# Their white space is part of what the user wrote.
_VERBATIM = ("prompt", "reply_ref")


@dataclass(frozen=True, slots=True)
class ParsedArguments:
    """The arguments by their real names, in the catalog's spelling."""

    # Those about a video or a job.
    params: dict[str, Any]
    # Those about the call, see `OPTIONS`; where one is invalid, the nearest valid value.
    options: dict[str, Any]
    problems: tuple[Problem, ...]
    # Whether an unknown argument had a value that no suggestion can carry.
    incomplete: bool


@dataclass(frozen=True, slots=True)
class Option:
    """An argument about the call. An integer or a number is within `low` and `high`; `parse_moment` reads a time."""

    type: Literal["number", "integer", "boolean", "string", "text", "time"]
    # What it takes, as a noun phrase.
    expected: str
    # What is suggested for a value that cannot be corrected.
    default: float | str
    low: float = 0
    high: float = 0
    # What it takes, if that is a closed set.
    values: tuple[str, ...] = ()

    def parse(self, value: Any) -> Any:
        """Parse a spelling of a value; anything else is returned as it is."""
        if self.type == "text" and isinstance(value, int | float):
            return str(value)
        if not isinstance(value, str) or self.type in ("text", "time"):
            return value
        if self.type == "string":
            return value.casefold()
        if self.type == "boolean":
            return _FLAGS.get(value.casefold(), value)
        if number := re.fullmatch(r"(\d+(?:\.\d+)?)s?", value):
            return float(number[1])
        return value

    def nearest(self, value: Any) -> Any:
        """Get the nearest valid value: the same one if it is valid."""
        if self.type == "boolean":
            return value is True or value == 1
        if self.type == "string":
            return value if value in self.values else self.default
        if self.type == "text":
            return value if isinstance(value, str) else self.default
        if self.type == "time":
            is_time = isinstance(value, str) and parse_moment(value, datetime.now(UTC))
            return value if is_time else self.default
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # NaN is the only number that differs from itself.
        if not is_number or value != value:  # noqa: PLR0124
            return self.default
        bounded = max(self.low, min(self.high, value))
        return int(bounded) if self.type == "integer" else bounded


_FLAG = Option("boolean", "true or false", False, values=("true", "false"))
_TIME = Option(
    "time", "a date (2026-11-21), a UTC time (2026-11-21T18:30Z), yesterday, or an age such as 2h or 3d", "7d"
)


def _build_state(states: tuple[str, ...]) -> Option:
    return Option("string", f"one of {', '.join(states)}", states[0], values=states)


OPTIONS = {
    "wait_seconds": Option("number", f"a number of seconds from 0 to {LONGEST_WAIT}", DEFAULT_WAIT, high=LONGEST_WAIT),
    "save": _FLAG,
    "new_take": _FLAG,
    "takes": Option("integer", f"a whole number from 1 to {MAX_TAKES}", 1, low=1, high=MAX_TAKES),
    "limit": Option("integer", f"a whole number from 1 to {MAX_LISTED}", DEFAULT_LIMIT, low=1, high=MAX_LISTED),
    "state": _build_state(STATES),
    "text": Option("text", "part of a prompt", "fox"),
    "since": _TIME,
    "before": _TIME,
    "include_schema": _FLAG,
    "frames": Option("integer", f"a whole number from 1 to {MOST_FRAMES}", 6, low=1, high=MOST_FRAMES),
    "transition": Option("string", "cut or crossfade", TRANSITIONS[0], values=TRANSITIONS),
    "crossfade_seconds": Option(
        "number",
        f"a number of seconds from {SHORTEST_CROSSFADE:g} to {LONGEST_CROSSFADE:g}",
        DEFAULT_CROSSFADE,
        low=SHORTEST_CROSSFADE,
        high=LONGEST_CROSSFADE,
    ),
    "title": Option("text", "the film's title", "film"),
}

# Those of `generate_video`, which takes all parameters of the catalog as well.
VIDEO_OPTIONS = ("takes", "wait_seconds", "save", "new_take")


def offered_options(names: Iterable[str], *, has_local_files: bool) -> list[str]:
    """Filter these arguments about a call by availability: `save` exists only where a caller's files can be saved."""
    return [name for name in names if name != "save" or has_local_files]


def get_option(catalog: Catalog, name: str) -> Option:
    """Get an argument about the call, as it is with the API of a catalog."""
    if name == "state" and not FEATURES[catalog.api].delete:
        return _build_state(_UNDELETED)
    return OPTIONS[name]


def parse_arguments(catalog: Catalog, raw: Mapping[str, Any], known: Iterable[str]) -> ParsedArguments:
    """Parse the arguments of a tool that takes those in `known`.

    An unknown name is a problem. Its value still counts for the parameter that it resembles, if that one was left out,
    so that a suggestion can carry it.
    """
    names = tuple(known)
    values: dict[str, Any] = {}
    unknown: list[tuple[str, Any]] = []
    problems: list[Problem] = []
    more: list[str] = []
    for given, raw_value in raw.items():
        name = given if given in names else _resolve_name(given, names)
        value = _parse_value(catalog, name, raw_value)
        if value is None:
            continue
        if name in names and (name not in values or values[name] == value):
            values[name] = value
        elif len(problems) + len(unknown) >= MAX_PROBLEMS:
            more.append(given)
        elif name in names:
            problems.append(Problem(shorten(given), "spellings_differ", shorten(raw_value)))
        else:
            unknown.append((shorten(given), value))

    # The unexamined rest may contain values that a suggestion would have to repeat.
    incomplete = bool(more)
    for given, raw_value in unknown:
        problem = unknown_parameter(catalog, given, raw_value, names)
        problems.append(problem)
        incomplete |= not _keep_value(catalog, given, raw_value, problem.did_you_mean, values)
    if more:
        problems.append(Problem(shorten(more[0]), "more", len(more)))

    options: dict[str, Any] = {}
    for name in [name for name in OPTIONS if name in values]:
        option, value = get_option(catalog, name), values.pop(name)
        options[name] = option.nearest(value)
        if options[name] != value:
            shown = shorten(value)
            problems.append(Problem(name, "out_of_range", shown, allowed=option.values, expected=option.expected))
    return ParsedArguments(values, options, tuple(problems), incomplete)


def _keep_value(catalog: Catalog, given: str, raw_value: Any, meant: str | None, values: dict[str, Any]) -> bool:
    """Set the parameter that was meant to the value of an unknown one. Return False if a suggestion would lose it."""
    if meant is None:
        # Only the caller can move such a description into the prompt.
        return not is_described(given) or is_off(given, raw_value)
    if meant in values:
        return True
    # The spelling is that of the parameter that was meant: `ratio: 16x9` is 16:9.
    value = _parse_value(catalog, meant, raw_value)
    if not _is_valid(catalog, meant, value):
        return False
    values[meant] = value
    return True


def _resolve_name(given: str, names: Collection[str]) -> str:
    if len(given) > MAX_SHOWN:
        # Nothing this long is another spelling.
        return given
    name = snake_case(given)
    name = _ALIASES.get(name, name)
    return "videos" if name in _VIDEOS_ALIASES and "videos" in names else name


def _is_valid(catalog: Catalog, name: str, value: Any) -> bool:
    """Whether a parameter takes the value, whatever the rest of the request is."""
    if name in OPTIONS:
        return bool(get_option(catalog, name).nearest(value) == value)
    row = catalog.params.get(name)
    if row is None:
        return isinstance(value, str)
    if isinstance(row, Choice):
        return value in row.values
    return not value_problems(catalog, name, value, row)


def _parse_value(catalog: Catalog, name: str, value: Any) -> Any:  # noqa: C901 - a case per kind of argument
    """Get the value in the catalog's spelling, if it is clearly one of its values; None if it was left out."""
    if isinstance(value, str) and name not in _VERBATIM:
        # At the end of a path, white space may belong to the name.
        value = value.lstrip() if name in catalog.images else value.strip()
    if value is None or value == "":
        return None
    if name in OPTIONS:
        return value if isinstance(value, str) and len(value) > MAX_SHOWN else OPTIONS[name].parse(value)
    if name in _LISTS:
        return _parse_list(value)
    row = catalog.params.get(name)
    if isinstance(row, KeyframesInput):
        value = _parse_keyframes(value)
    elif not _is_spelling(value):
        return value
    elif isinstance(row, Flag):
        value = _FLAGS.get(str(value).casefold(), value)
    elif isinstance(row, Choice):
        value = _parse_choice(row, value, catalog.aliases.get(name, {}))
    elif name == "reply_ref":
        value = str(value)
    elif (name == "jobid" or isinstance(row, ClipInput)) and isinstance(value, str):
        # Agents sometimes keep the quotes of the JSON or Markdown that they copied it from.
        value = value.strip("\"'`")
    return value


def _parse_choice(choice: Choice, value: str | float, aliases: Mapping[str, str]) -> str | float:
    """Get the value of a choice that this is a spelling of; else return it as it is."""
    spelling = _normalize_spelling(value)
    spelling = aliases.get(spelling, spelling)
    for allowed in choice.values:
        # `5` is `5s`, and `720` is `720p`.
        number = re.fullmatch(r"(\d+)[sp]", allowed)
        if value == allowed or spelling == _normalize_spelling(allowed) or (number and spelling == number[1]):
            return allowed
    return value


def _parse_list(value: Any) -> Any:
    """Get a list of texts, which some agents write as JSON within a string; one text is a list of one."""
    if isinstance(value, str) and len(value) <= LONGEST_LIST:
        parsed: Any = value
        with suppress(ValueError, RecursionError):
            parsed = json.loads(value)
        value = parsed if isinstance(parsed, list) else [value]
    if not isinstance(value, list):
        return value
    return [each.strip().strip("\"'`") if isinstance(each, str) else each for each in value[:LONGEST_LIST]]


def _parse_keyframes(value: Any) -> Any:
    """Get a list of keyframes with the right names and numbers, as far as it is clear what was meant."""
    if isinstance(value, str) and len(value) <= LONGEST_LIST:
        # Some agents write a list as JSON within a string.
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if not isinstance(value, list):
        return value
    keyframes: list[Any] = []
    for given in value[:LONGEST_LIST]:
        keyframe = given
        if isinstance(given, dict) and len(given) <= len(_KEYFRAME_ALIASES):
            keyframe = {_KEYFRAME_ALIASES.get(snake_case(str(name)), name): each for name, each in given.items()}
            seconds = keyframe.get("seconds")
            if isinstance(seconds, str) and (number := re.fullmatch(r"\s*(\d{1,4}(?:\.\d{1,6})?)\s*s?\s*", seconds)):
                keyframe["seconds"] = float(number[1])
        keyframes.append(keyframe)
    return keyframes


def _is_spelling(value: Any) -> bool:
    """Whether it can be another spelling of a value; Python would not even write a number of thousands of digits."""
    if isinstance(value, str):
        return len(value) <= LONGEST_SPELLING
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and value <= MAX_NUMBER)


def _normalize_spelling(value: str | float) -> str:
    """Remove case and separators: `10.0`, `10 s`, `10 seconds` and `10S` are the same, `16x9` is `16:9`."""
    text = f"{value:g}" if isinstance(value, float) else str(value).casefold()
    # A hyphen is a separator only beside a letter: no parameter takes `-5` or `1-0`.
    text = re.sub(r"(?<=[a-z])[\s_-]+|[\s_-]+(?=[a-z])", "", text)
    text = re.sub(r"(?<=\d)\s*[x/:]\s*(?=\d)", ":", text)
    return re.sub(r"(?<=\d)(sec|secs|second|seconds)$", "s", text)
