"""Validate requests, and find the closest valid request for an invalid one.

`validate` finds every problem at once, so that one rejection is enough, and completes the params to a request in which
every choice is explicit.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations as subsets
from itertools import filterfalse
from operator import ge, ne
from typing import Any

from luma_mcp.catalog.models import Catalog, Choice, Combination, Flag, Input, KeyframesInput, Text, conflicts
from luma_mcp.catalog.suggest import find_feature, is_count, is_described, is_off, nearest_name, nearest_value
from luma_mcp.errors import Alternative, Problem, ProblemCode, format_choices

# Hosts cut long results, and the caller has the whole value.
MAX_SHOWN = 80
_MAX_EXAMINED = 10_000
_SURROGATE = re.compile("[\ud800-\udfff]")
# In a link these can be secret: a user name and a password, and what follows the path.
# Also where what is examined ends before it does.
_USERINFO = re.compile(rf"^(\s*[A-Za-z][\w+.-]*://)([^/?#\s]*@|[^/?#\s]{{{MAX_SHOWN * 4},}}$)")
_QUERY = re.compile(r"^(\s*[A-Za-z][\w+.-]*://[^?#]*)[?#].*", re.DOTALL)
# More would be a list of everything that can be made, which `list_options` has.
MAX_ALTERNATIVES = 2
# Of more than these, a caller needs only their number.
MAX_KEYFRAME_PROBLEMS = 5
_KEYFRAME_IMAGE = Text("image", "Keyframe", "an image, as for the first frame")


@dataclass(frozen=True, slots=True)
class Validation:
    """`problems` is empty if and only if the request is valid.

    `nearest` is the closest complete request that is valid: the caller's own, completed, if nothing is wrong. It is
    None where it would need an invented text, or would drop a text or an image that cannot be used. `alternatives`: the
    next best ways to solve the conflicts, best first; each keeps something that `nearest` gives up.
    """

    problems: tuple[Problem, ...]
    nearest: dict[str, Any] | None
    alternatives: tuple[Alternative, ...] = ()


def validate(catalog: Catalog, params: Mapping[str, Any]) -> Validation:
    """Validate a caller's params, and complete them.

    Choices that were left out get the documented default if it fits what was stated, else the cheapest value that does.
    """
    problems: list[Problem] = []
    if "prompt" not in params:
        problems.append(Problem("prompt", "missing", expected=catalog.texts["prompt"].expects))
    usable: dict[str, Any] = {}
    for name, value in params.items():
        row = catalog.params.get(name)
        if row is None:
            problems.append(unknown_parameter(catalog, name, value, catalog.params))
        elif found := value_problems(catalog, name, value, row):
            problems += found
        else:
            usable[name] = value
    # The stated choices, and for every image and input whether it is given.
    stated: dict[str, Any] = {name: params[name] for name in catalog.choices if name in params}
    stated |= {name: catalog.is_given(params, name) for name in catalog.switches}
    possible = _with_room_for_keyframes(catalog, usable)
    meant = _resolve_values(catalog, stated)
    best, *others = _nearest_combinations(catalog, meant, possible)
    if not stated.items() <= best.items():
        problems += _choice_problems(catalog, params, stated, best, possible)
    describe = partial(_describe_alternative, catalog, stated, meant, best)
    alternatives = tuple(map(describe, others[:MAX_ALTERNATIVES]))
    # A suggestion that drops a text, an image or another input would make another video than the caller wanted.
    for name in catalog.params.keys() - usable.keys():
        if name == "prompt" or (name in params and (name in catalog.texts or name in catalog.inputs or best.get(name))):
            return Validation(tuple(problems), None, alternatives)
    return Validation(tuple(problems), _merge(catalog, params, best), alternatives)


def _resolve_values(catalog: Catalog, stated: Mapping[str, Any]) -> dict[str, Any]:
    """Replace what is not offered by the nearest value that is, so that as much as possible is kept of it as well."""
    meant = dict(stated)
    for name, choice in catalog.choices.items():
        if name in stated and stated[name] not in choice.values:
            meant[name] = nearest_value(catalog, name, str(stated[name])) or stated[name]
    return meant


def validate_options(catalog: Catalog, partial: Mapping[str, Any]) -> Validation:
    """Validate choices alone, for questions about what goes with them. `nearest` has the same params."""
    validation = validate(catalog, {"prompt": "any", **partial})
    nearest = validation.nearest or {}
    named = {name: nearest[name] for name in partial if name in nearest}
    return Validation(validation.problems, named, validation.alternatives)


def find_cheaper(catalog: Catalog, params: Mapping[str, Any], limit: float) -> dict[str, Any] | None:
    """Find the closest valid request with the same images and inputs that costs at most `limit` dollars.

    `params`: a valid request. None if there is none, or if its prices are not known.
    """
    wanted: dict[str, Any] = {name: params[name] for name in catalog.choices}
    given = {name: catalog.is_given(params, name) for name in catalog.switches}
    affordable: list[Combination] = []
    for combination in _with_room_for_keyframes(catalog, params):
        price = catalog.price(combination)
        if given.items() <= combination.items() and price is not None and price <= limit:
            affordable.append(combination)
    if not affordable:
        return None
    return _merge(catalog, params, min(affordable, key=partial(_preference, catalog, wanted | given)))


def unknown_parameter(catalog: Catalog, name: str, value: Any, known: Iterable[str]) -> Problem:
    """Build the problem of a parameter that does not exist."""
    names = tuple(known)
    shown, shown_value = shorten(name), shorten(value)
    if feature := find_feature(catalog, name):
        code: ProblemCode = "not_needed" if is_off(name, value) else "no_such_feature"
        instead = catalog.instead.get(feature, "")
        return Problem(shown, code, shown_value, allowed=tuple(catalog.not_offered), reason=instead)
    meant = nearest_name(name, names)
    if meant is None and "takes" in names and is_count(name):
        meant = "takes"
    if meant:
        expected = ""
        if meant in catalog.choices:
            expected = format_choices(catalog.choices[meant].values)
        elif meant in catalog.inputs:
            expected = catalog.inputs[meant].expects
        return Problem(shown, "unknown_parameter", shown_value, allowed=names, did_you_mean=meant, expected=expected)
    reason = ""
    if "prompt" in names and is_described(name):
        reason = "describe it in the prompt instead"
    return Problem(shown, "unknown_parameter", shown_value, allowed=names, reason=reason)


def value_problems(catalog: Catalog, name: str, value: Any, row: Choice | Text | Input) -> list[Problem]:
    """Get the problems of a value that no other value of the request could solve; the values of choices have none."""
    found: list[Problem] = []
    if isinstance(row, KeyframesInput):
        longest = max(map(count_seconds, catalog.choices["duration"].values))
        found = _keyframes_problems(name, value, row, longest)
    elif isinstance(row, Flag):
        if not isinstance(value, bool):
            found.append(Problem(name, "wrong_format", shorten(value), expected=row.expects))
    elif isinstance(row, Text) and (problem := text_problem(name, value, row)):
        found.append(problem)
    return found


def _keyframes_problems(name: str, value: Any, row: KeyframesInput, longest: int) -> list[Problem]:
    """Get the problems of a list of keyframes, one by one; their images are read later. `longest`: seconds."""
    if not isinstance(value, list) or not 1 <= len(value) <= row.max_items:
        # Without the value: it can contain links, and what can be secret in them is recognized only at their start.
        return [Problem(name, "wrong_format", expected=row.expects)]
    found: list[Problem] = []
    indexes: set[int] = set()
    for place, keyframe in enumerate(value):
        field = f"{name}[{place}]"
        if not isinstance(keyframe, dict) or keyframe.keys() != {"image", "seconds"}:
            found.append(Problem(field, "wrong_format", expected='{"image": …, "seconds": …}'))
            continue
        image, seconds = keyframe["image"], keyframe["seconds"]
        if problem := text_problem(f"{field}.image", image, _KEYFRAME_IMAGE):
            found.append(problem)
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not is_number or not 0 <= seconds <= longest:
            expected = f"a number of seconds from 0 to {longest}, within the clip"
            found.append(Problem(f"{field}.seconds", "out_of_range", shorten(seconds), expected=expected))
            continue
        index = round(seconds * row.per_second)
        if index in indexes:
            expected = f"a time that differs from the others by more than 1/{row.per_second} s"
            found.append(Problem(f"{field}.seconds", "out_of_range", seconds, expected=expected))
        indexes.add(index)
    if len(found) > MAX_KEYFRAME_PROBLEMS:
        rest = len(found) - MAX_KEYFRAME_PROBLEMS
        found[MAX_KEYFRAME_PROBLEMS:] = [Problem(found[MAX_KEYFRAME_PROBLEMS].field, "more", rest)]
    return found


def _with_room_for_keyframes(catalog: Catalog, params: Mapping[str, Any]) -> Sequence[Combination]:
    """Get the valid combinations in which no keyframe of a request is later than the clip's end."""
    possible: Sequence[Combination] = catalog.combinations
    for name in params.keys() & set(catalog.inputs):
        if isinstance(catalog.inputs[name], KeyframesInput):
            latest = max(keyframe["seconds"] for keyframe in params[name])
            possible = [each for each in possible if not each[name] or latest <= count_seconds(str(each["duration"]))]
    return possible


def count_seconds(duration: str) -> int:
    """Get the seconds of a duration such as `10s`."""
    return int(duration.removesuffix("s"))


def text_problem(name: str, value: Any, row: Text) -> Problem | None:
    """Get the problem of a text or image, if its value cannot be sent."""
    code: ProblemCode
    reason = ""
    if not isinstance(value, str):
        code = "wrong_type"
    elif not value.strip():
        code = "empty"
    elif _SURROGATE.search(value):
        # JSON can carry a lone surrogate, UTF-8 cannot.
        code = "invalid_text"
    elif row.max_length and len(value) > row.max_length:
        code = "too_long"
        reason = f"has {len(value)} characters"
    elif not re.search(row.pattern, value):
        code = "wrong_format"
    else:
        return None
    return Problem(name, code, shorten(value), expected=row.expects, reason=reason)


def shorten(value: Any) -> Any:
    """Cut a caller's value to `MAX_SHOWN` characters if it is longer, and remove what can be secret from a link."""
    try:
        # What is looked at is longer than what is shown, so that what can be secret is recognized.
        text = str(value)[:_MAX_EXAMINED]
    except ValueError:
        # Python writes no number of thousands of digits.
        text = "a number" + "…" * MAX_SHOWN
    text = _QUERY.sub(r"\1?…", _USERINFO.sub(r"\1", text))
    if len(text) > MAX_SHOWN:
        return f"{text[:MAX_SHOWN]}…"
    return text if isinstance(value, str) else value


def _merge(catalog: Catalog, params: Mapping[str, Any], combination: Combination) -> dict[str, Any]:
    """Get the caller's texts, the images and inputs of the combination, and all its choices."""
    request: dict[str, Any] = {}
    for name, row in catalog.params.items():
        if isinstance(row, Choice):
            request[name] = str(combination[name])
        # The combination decides about images and inputs; texts are not in it. A flag that is off is left out.
        elif combination.get(name, True) and params.get(name, False) is not False:
            request[name] = params[name]
    return request


def _nearest_combinations(
    catalog: Catalog, wanted: Mapping[str, Any], possible: Iterable[Combination]
) -> list[Combination]:
    """Get the combinations that give up as little as possible of what is wanted and add no image, best first.

    No two give up the same params, and none gives up more than another one does. See `_preference`.
    """
    left_out = dict.fromkeys(filterfalse(wanted.get, catalog.switches), False)
    # Every aspect ratio goes with everything else, so what was stated is kept.
    ratio = wanted.get("aspect_ratio")
    if ratio not in catalog.choices["aspect_ratio"].values:
        ratio = catalog.choices["aspect_ratio"].default
    by_changes: defaultdict[tuple[bool, ...], list[Combination]] = defaultdict(list)
    for combination in possible:
        if combination["aspect_ratio"] == ratio and left_out.items() <= combination.items():
            by_changes[tuple(map(ne, map(combination.get, wanted), wanted.values()))].append(combination)
    preference = partial(_preference, catalog, wanted)
    found: dict[tuple[bool, ...], Combination] = {}
    for changes in sorted(by_changes, key=sum):
        # Skip a combination that changes everything that another one changes, and more.
        if not any(all(map(ge, changes, fewer)) for fewer in found):
            found[changes] = min(by_changes[changes], key=preference)
    return sorted(found.values(), key=preference)


def _preference(catalog: Catalog, wanted: Mapping[str, Any], combination: Combination) -> tuple[Any, ...]:
    """Sort key: the fewest changes of what the video shows, then of the rest; the smallest steps; the lowest price.

    Among equally many params, an image or input is kept before a choice, and an earlier param of the catalog before a
    later one.
    """
    shown = [wanted.get(name, False) != combination[name] for name in catalog.switches]
    adjusted: list[bool] = []
    steps = 0
    for name, choice in catalog.choices.items():
        value = str(combination[name])
        is_changed = name in wanted and wanted[name] != value
        (adjusted if choice.adjustable else shown).append(is_changed)
        # What cannot be interpreted is equally far from every value.
        if is_changed and wanted[name] in choice.values:
            steps += abs(choice.values.index(wanted[name]) - choice.values.index(value))
    price: list[tuple[bool, int]] = []
    for name, choice in catalog.choices.items():
        value = str(combination[name])
        price.append((value != choice.default, choice.values.index(value)))
    return sum(shown), shown, sum(adjusted), adjusted, steps, price


def _describe_alternative(
    catalog: Catalog, stated: Mapping[str, Any], meant: Mapping[str, Any], best: Combination, other: Combination
) -> Alternative:
    """Describe a combination by what it keeps that the best one gives up, and by how it differs from the request."""
    keeps: Combination = {}
    change: dict[str, str] = {}
    leave_out: list[str] = []
    for name, value in other.items():
        if value == meant.get(name) != best[name]:
            keeps[name] = value
        if name not in stated or value == stated[name]:
            continue
        if name in catalog.switches:
            leave_out.append(name)
        else:
            change[name] = str(value)
    return Alternative(keeps, change, tuple(leave_out))


def _choice_problems(
    catalog: Catalog,
    params: Mapping[str, Any],
    stated: Mapping[str, Any],
    best: Combination,
    possible: Sequence[Combination],
) -> Iterator[Problem]:
    """Yield a problem for each stated value that the best one of the possible combinations gives up."""
    kept = {name: value for name, value in stated.items() if value == best[name]}
    # What fits the params that stay: the values that solve this problem without causing another.
    remaining = catalog.remaining_values(kept, possible)
    for name, value in stated.items():
        if name in kept:
            continue
        shown = shorten(params.get(name, value))
        allowed: tuple[str, ...] = ()
        if name in catalog.choices:
            allowed = tuple(map(str, remaining[name]))
            if value not in catalog.choices[name].values:
                yield Problem(name, "not_offered", shown, allowed=allowed)
                continue
        described = _describe_conflicts(catalog, stated, name)
        if len(possible) < len(catalog.combinations):
            described |= _describe_late_keyframes(catalog, stated, name, possible, is_explained=bool(described))
        yield Problem(name, "conflict", shown, allowed=allowed, conflicts_with=tuple(described))


def _describe_conflicts(catalog: Catalog, stated: Mapping[str, Any], name: str) -> dict[str, None]:
    """Describe the stated params that exclude one of them, as a sentence names them."""
    others: Combination = {}
    for conflict in conflicts(catalog):
        if name in conflict and conflict.items() <= stated.items():
            others |= conflict
    others.pop(name, None)
    described: dict[str, None] = {}
    for other, value in others.items():
        described[_describe_value(catalog, other, value)] = None
    return described


def _describe_late_keyframes(
    catalog: Catalog, stated: Mapping[str, Any], name: str, possible: Iterable[Combination], *, is_explained: bool
) -> dict[str, None]:
    """Describe the stated params that exclude one of them only because of the keyframes' times.

    `is_explained`: whether something else excludes it as well. Then sets of several params are not looked for.
    """
    given = {other: value for other, value in stated.items() if value is not False and other != name}
    described: dict[str, None] = {}
    for size in range(1, 2 if is_explained else len(given) + 1):
        for others in subsets(given, size):
            partial = dict(zip((name, *others), (stated[name], *map(given.__getitem__, others)), strict=True)).items()
            valid = [each for each in catalog.combinations if partial <= each.items()]
            if not valid or any(map(partial.__le__, map(dict.items, possible))):
                continue
            longest = 0
            for each in valid:
                longest = max(longest, count_seconds(str(each["duration"])))
            for other in others:
                description = _describe_value(catalog, other, given[other])
                if isinstance(catalog.params[other], KeyframesInput):
                    description += f" after {longest} s"
                described[description] = None
        if described:
            break
    return described


def _describe_value(catalog: Catalog, name: str, value: str | bool) -> str:
    if name in catalog.switches:
        return name
    return f'{name} "{value}"'
