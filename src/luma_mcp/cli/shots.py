"""The file that describes a film. It is checked strictly, and all its problems are reported at once.

docs/films.md documents the format.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Literal, get_args

from luma_mcp.catalog.models import Catalog, Text
from luma_mcp.catalog.validate import shorten, text_problem, unknown_parameter, value_problems
from luma_mcp.errors import InvalidArguments, Problem, ProblemCode, join
from luma_mcp.server.arguments import DEFAULT_CROSSFADE
from luma_mcp.service import FEWEST_VIDEOS, LONGEST_CROSSFADE, MAX_TAKES, MOST_VIDEOS, SHORTEST_CROSSFADE

Transition = Literal["cut", "crossfade"]
TRANSITIONS: tuple[Transition, ...] = get_args(Transition)
FILM_KEYS = ("title", "look", "character", "transition", "crossfade_seconds", "shots")
"""The keys at the top of the file, besides the choices of the API's catalog."""
SHOT_KEYS = ("name", "prompt", "takes", "keep", "continue_from", "transition")
"""The keys of a shot, besides the choices and the images of the API's catalog."""
_MAX_NAME = 80
_TITLE = Text("title", "Title", f"1 to {_MAX_NAME} characters of text", max_length=_MAX_NAME)
_NAME = replace(_TITLE, api_name="name")
_LOOK = Text("look", "Look", "text that is added to each prompt")


@dataclass(frozen=True, slots=True)
class Shot:
    """One shot of a film.

    Attributes:
        number: its place in the file, from 1.
        title: its name, or else its prompt.
        params: what is stated of its request, with the film's defaults; the frame that it continues is not among them.
        takes: how many videos are made of it.
        keep: which of them goes into the film, from 1.
        continues: the number of the earlier shot whose last frame it begins with.
        transition: how it follows the shot before it.
    """

    number: int
    title: str
    params: Mapping[str, Any]
    name: str | None = None
    takes: int = 1
    keep: int = 1
    continues: int | None = None
    transition: Transition = "cut"


@dataclass(frozen=True, slots=True)
class Script:
    """What the file says of a film. `crossfade_seconds`: how long each crossfade lasts."""

    title: str
    shots: tuple[Shot, ...]
    crossfade_seconds: float

    def get_overlap(self, shot: Shot) -> float:
        """Get the seconds for which a shot overlaps the one before it; 0 if it follows with a cut."""
        return self.crossfade_seconds * (shot.transition == "crossfade")


def parse_script(text: str, catalog: Catalog, resolve_image: Callable[[str], str], *, file_name: str) -> Script:
    """Parse the file of a film.

    Args:
        text: its content.
        catalog: what the API in use can make.
        resolve_image: makes the relative path of an image absolute; other images stay as they are.
        file_name: what errors call the file.

    Raises:
        InvalidArguments: with all problems. Whether the values of each request go together is not checked here.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = f"is not valid TOML: {str(error).rstrip('.')}"
        raise InvalidArguments([Problem(file_name, "unusable_film", reason=reason)], charged="no") from None
    parser = _Parser(catalog, resolve_image)
    script = parser.parse_film(table, default_title=file_name.rpartition(".")[0] or file_name)
    if parser.problems:
        raise InvalidArguments(combine_problems(parser.problems), charged="no")
    return script


def combine_problems(problems: Iterable[tuple[int, Problem]]) -> list[Problem]:
    """Name the shots of problems in their fields. One that several shots have in common becomes one problem.

    `problems`: each with the number of its shot, or 0 if it is one of the whole film.
    """
    numbers: dict[str, list[int]] = {}
    by_text: dict[str, Problem] = {}
    for number, problem in problems:
        # Not every value can be hashed.
        text = repr(problem)
        by_text[text] = problem
        numbers.setdefault(text, []).append(number)
    found: list[Problem] = []
    for text, problem in by_text.items():
        shots = list(map(str, filter(None, numbers[text])))
        name = problem.field
        if shots:
            name = f"shot{'s' * (len(shots) > 1)} {join(shots, 'and')}: {name}"
        found.append(replace(problem, field=name))
    return found


@dataclass(slots=True)
class _Parser:
    """Collects problems, each with the number of its shot or 0."""

    catalog: Catalog
    resolve_image: Callable[[str], str]
    problems: list[tuple[int, Problem]] = field(default_factory=list)

    def parse_film(self, table: Mapping[str, Any], default_title: str) -> Script:
        choices, images = self.catalog.choices, self.catalog.images
        self._check_names(0, table, [*FILM_KEYS, *choices], [*SHOT_KEYS, *images])
        title = self._get_text(0, table, _TITLE) or default_title
        look = self._get_text(0, table, _LOOK)
        transition = self._get_transition(0, table, "cut")
        defaults = self._get_choices(0, table)
        character = table.get("character")
        if character is not None and "image_character" not in images:
            self._add(0, unknown_parameter(self.catalog, "character", character, FILM_KEYS))
            character = None
        shots = table.get("shots")
        rows: list[dict[str, Any]] = []
        count = 0
        if isinstance(shots, list):
            count = len(shots)
            rows = [row for row in shots if isinstance(row, dict)]
        if not FEWEST_VIDEOS <= count <= MOST_VIDEOS or len(rows) < count:
            code: ProblemCode = "missing" if shots is None else "wrong_format"
            expected = f"{FEWEST_VIDEOS} to {MOST_VIDEOS} shots, each below a line [[shots]]"
            self._add(0, Problem("shots", code, expected=expected))
            rows = []
        parsed: list[Shot] = []
        for number, row in enumerate(rows, 1):
            shot = self._parse_shot(number, row, parsed, look, transition)
            params = {**defaults, **shot.params}
            # The picture of a character cannot be combined with frames, and a first frame shows the character already.
            has_frame = shot.continues or not images.keys().isdisjoint(params)
            if character is not None and not has_frame:
                params |= self._get_image(0, "character", character, "image_character")
            parsed.append(replace(shot, params=params))
        seconds = self._get_crossfade(table)
        if "crossfade_seconds" in table and parsed and all(shot.transition == "cut" for shot in parsed):
            reason = 'has no meaning here: no shot has the transition "crossfade"'
            self._add(0, Problem("crossfade_seconds", "unusable_film", reason=reason))
        return Script(title, tuple(parsed), seconds)

    def _parse_shot(
        self, number: int, row: Mapping[str, Any], earlier: list[Shot], look: str | None, transition: Transition
    ) -> Shot:
        choices, images = self.catalog.choices, self.catalog.images
        self._check_names(number, row, [*SHOT_KEYS, *choices, *images], FILM_KEYS)
        params: dict[str, Any] = {}
        prompt_row = self.catalog.texts["prompt"]
        prompt = self._get_text(number, row, prompt_row)
        if "prompt" not in row:
            self._add(number, Problem("prompt", "missing", expected=prompt_row.expects))
        params["prompt"] = " ".join(filter(None, (prompt, look)))
        if prompt and look and (problem := text_problem("prompt with look", params["prompt"], prompt_row)):
            self._add(number, problem)
        params |= self._get_choices(number, row)
        for name in images:
            if name in row:
                params |= self._get_image(number, name, row[name], name)
        shot_name = self._get_text(number, row, _NAME)
        if shot_name and any(shot.name == shot_name for shot in earlier):
            self._add(number, Problem("name", "wrong_format", expected="a name that no other shot has"))
        continues = self._find_source(number, row, earlier)
        if continues and "image_start" in row:
            problem = Problem("image_start", "conflict", conflicts_with=("continue_from",))
            self._add(number, problem)
        follows = self._get_transition(number, row, transition)
        if number == 1:
            follows = "cut"
        if number == 1 and "transition" in row:
            reason = "has no meaning here: no shot comes before the first one"
            self._add(number, Problem("transition", "unusable_film", reason=reason))
        takes = self._get_number(number, row, "takes", MAX_TAKES, "a whole number")
        return Shot(
            number,
            shot_name or prompt or f"shot {number}",
            params,
            shot_name,
            takes,
            self._get_number(number, row, "keep", takes, "the number of a take"),
            continues,
            follows,
        )

    def _check_names(
        self, number: int, table: Mapping[str, Any], known: Iterable[str], elsewhere: Iterable[str]
    ) -> None:
        """Report unknown keys. `elsewhere`: keys that are valid in the other part of the file."""
        names = tuple(known)
        place = "below a line [[shots]]"
        if number:
            place = "above the first [[shots]]"
        for name, value in table.items():
            if name in names:
                continue
            if name in elsewhere:
                problem = Problem(name, "unknown_parameter", shorten(value), reason=f"it belongs {place}")
            else:
                problem = unknown_parameter(self.catalog, name, value, names)
            self._add(number, problem)

    def _get_text(self, number: int, table: Mapping[str, Any], row: Text) -> str | None:
        """Get a text without the white space around it; None if there is none that can be used."""
        name = row.api_name
        if name not in table:
            return None
        if problem := text_problem(name, table[name], row):
            self._add(number, problem)
            return None
        return str(table[name]).strip()

    def _get_choices(self, number: int, table: Mapping[str, Any]) -> dict[str, str]:
        """Get the choices that are stated and offered."""
        found: dict[str, str] = {}
        for name, choice in self.catalog.choices.items():
            if name not in table:
                continue
            value = table[name]
            value = self.catalog.aliases.get(name, {}).get(str(value), value)
            if value in choice.values:
                found[name] = value
            else:
                self._add(number, Problem(name, "not_offered", shorten(value), allowed=choice.values))
        return found

    def _get_image(self, number: int, key: str, value: Any, name: str) -> dict[str, str]:
        """Get the parameter of an image. `key`: what it is called in the file."""
        if found := value_problems(self.catalog, key, value, self.catalog.images[name]):
            for problem in found:
                self._add(number, problem)
            return {}
        return {name: self.resolve_image(value)}

    def _get_transition(self, number: int, table: Mapping[str, Any], default: Transition) -> Transition:
        value = table.get("transition", default)
        for transition in TRANSITIONS:
            if transition == value:
                return transition
        self._add(number, Problem("transition", "not_offered", shorten(value), allowed=TRANSITIONS))
        return default

    def _get_crossfade(self, table: Mapping[str, Any]) -> float:
        value = table.get("crossfade_seconds", DEFAULT_CROSSFADE)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        if is_number and SHORTEST_CROSSFADE <= value <= LONGEST_CROSSFADE:
            return float(value)
        expected = f"a number of seconds from {SHORTEST_CROSSFADE:g} to {LONGEST_CROSSFADE:g}"
        self._add(0, Problem("crossfade_seconds", "out_of_range", shorten(value), expected=expected))
        return DEFAULT_CROSSFADE

    def _get_number(self, number: int, row: Mapping[str, Any], name: str, highest: int, noun: str) -> int:
        value = row.get(name, 1)
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= highest:
            return value
        expected = f"{noun} from 1 to {highest}"
        if highest == 1:
            expected = f"{noun}, and this shot has only one"
        self._add(number, Problem(name, "out_of_range", shorten(value), expected=expected))
        return 1

    def _find_source(self, number: int, row: Mapping[str, Any], earlier: list[Shot]) -> int | None:
        """Find the number of the shot that a shot continues."""
        value = row.get("continue_from", False)
        if value is False:
            return None
        if value is True and earlier:
            return earlier[-1].number
        for shot in earlier:
            if value == shot.name or (value == shot.number and value is not True):
                return shot.number
        shown = shorten(value)
        reason = "names no earlier shot: it takes true for the shot before, or the name or number of an earlier one"
        if value is True:
            shown, reason = None, "cannot be true here: no shot comes before the first one"
        self._add(number, Problem("continue_from", "unusable_film", shown, reason=reason))
        return None

    def _add(self, number: int, problem: Problem) -> None:
        self.problems.append((number, problem))
