"""Whether a request can be made, and if not, the closest one that can.

`validate` finds every problem at once, so that one rejection is enough, and completes the params to a request in which
every choice is explicit.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import filterfalse
from operator import ne
from typing import Any

from luma_mcp.catalog.models import Catalog, Choice, Combination, Text, conflicts
from luma_mcp.catalog.suggest import is_not_offered, nearest_name, nearest_value
from luma_mcp.errors import Problem, ProblemCode, format_choices

# Hosts cut long results, and the caller has the whole value.
MAX_SHOWN = 80
_SURROGATE = re.compile("[\ud800-\udfff]")
# Where several corrections change equally few params, these are kept rather than what follows them (and resolution).
_KEEP_FIRST = ("image_start", "image_end", "image_character", "model", "dynamic_range", "aspect_ratio", "duration")


@dataclass(frozen=True, slots=True)
class Validation:
    """`problems` is empty if and only if the request is valid.

    `nearest` is the closest complete request that is valid: the caller's own, completed, if nothing is wrong. It is
    None where it would need an invented text, or would drop a text or an image that cannot be used.
    """

    problems: tuple[Problem, ...]
    nearest: dict[str, str] | None


def validate(catalog: Catalog, params: Mapping[str, Any]) -> Validation:
    """Validate a caller's params, and complete them.

    Choices that were left out get the documented default if it fits what was stated, else the cheapest value that does.
    """
    problems: list[Problem] = []
    if "prompt" not in params:
        problems.append(Problem("prompt", "missing", expected=catalog.texts["prompt"].expects))
    for name, value in params.items():
        row = catalog.params.get(name)
        if row is None:
            problems.append(unknown_parameter(catalog, name, value, catalog.params))
        elif not isinstance(row, Choice) and (problem := text_problem(name, value, row)):
            problems.append(problem)
    # The stated choices, and for every image whether it is given.
    stated: dict[str, Any] = {name: params[name] for name in catalog.choices if name in params}
    stated |= {name: name in params for name in catalog.images}
    best = _nearest_combination(catalog, stated)
    if not stated.items() <= best.items():
        problems += _choice_problems(catalog, params, stated, best)
    # A suggestion that drops a text or an image would make another video than the caller wanted.
    for problem in problems:
        if problem.field in catalog.texts or best.get(problem.field) is True:
            return Validation(tuple(problems), None)
    return Validation(tuple(problems), _merge(catalog, params, best))


def validate_options(catalog: Catalog, partial: Mapping[str, Any]) -> Validation:
    """Validate choices alone, for questions about what goes with them. `nearest` has the same params."""
    validation = validate(catalog, {"prompt": "any", **partial})
    nearest = validation.nearest or {}
    return Validation(validation.problems, {name: nearest[name] for name in partial if name in nearest})


NOT_OFFERED = "is not offered: there is no sound, frame rate, seed or negative prompt"


def unknown_parameter(catalog: Catalog | None, name: str, value: Any, known: Iterable[str]) -> Problem:
    """Build the problem of a parameter that does not exist. Without a catalog, values are not described."""
    names = tuple(known)
    meant = nearest_name(name, names)
    expected = ""
    if catalog is not None and meant is not None and meant in catalog.choices:
        expected = format_choices(catalog.choices[meant].values)
    reason = NOT_OFFERED if is_not_offered(name) else ""
    return Problem(
        shorten(name),
        "unknown_parameter",
        shorten(value),
        allowed=names,
        did_you_mean=meant,
        expected=expected,
        reason=reason,
    )


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
    """Cut a caller's value to `MAX_SHOWN` characters if it is longer."""
    text = str(value)
    if len(text) <= MAX_SHOWN:
        return value
    return f"{text[:MAX_SHOWN]}…"


def _merge(catalog: Catalog, params: Mapping[str, Any], combination: Combination) -> dict[str, str]:
    """Get the caller's texts, the images of the combination, and all its choices."""
    request: dict[str, str] = {}
    for name, row in catalog.params.items():
        if isinstance(row, Choice):
            request[name] = str(combination[name])
        # The combination decides about images; texts are not in it.
        elif name in params and combination.get(name, True):
            request[name] = params[name]
    return request


def _nearest_combination(catalog: Catalog, stated: Mapping[str, Any]) -> Combination:
    """Get the valid combination that differs least from what was stated and adds no image.

    Among combinations that change equally many params: the one to suggest, see `_preference`.
    """
    left_out = dict.fromkeys(filterfalse(stated.get, catalog.images), False)
    by_changes: defaultdict[int, list[Combination]] = defaultdict(list)
    for combination in catalog.combinations:
        if left_out.items() <= combination.items():
            changes = sum(map(ne, map(combination.get, stated), stated.values()))
            by_changes[changes].append(combination)
    return min(by_changes[min(by_changes)], key=partial(_preference, catalog, stated))


def _preference(catalog: Catalog, stated: Mapping[str, Any], combination: Combination) -> tuple[Any, ...]:
    """Sort key: changes the least important params first, then by the smallest steps, then has the lowest price."""
    changed: set[str] = set()
    steps = 0
    for name, value in stated.items():
        if value != combination[name]:
            changed.add(name)
            if name in catalog.choices:
                steps += _count_steps(catalog, name, value, str(combination[name]))
    importance = list(map(changed.__contains__, _KEEP_FIRST))
    price: list[tuple[bool, int]] = []
    for name, choice in catalog.choices.items():
        value = str(combination[name])
        price.append((value != choice.default, choice.values.index(value)))
    return importance, steps, price


def _count_steps(catalog: Catalog, name: str, stated: Any, value: str) -> int:
    """Get how far apart two values are in the catalog's order; an unknown one counts as the nearest known."""
    values = catalog.choices[name].values
    wanted = stated
    if stated not in values:
        wanted = nearest_value(catalog, name, str(stated))
    if wanted is None:
        return 0
    return abs(values.index(wanted) - values.index(value))


def _choice_problems(
    catalog: Catalog, params: Mapping[str, Any], stated: Mapping[str, Any], best: Combination
) -> Iterator[Problem]:
    kept = {name: value for name, value in stated.items() if value == best[name]}
    # What fits the params that stay: the values that solve this problem without causing another.
    remaining = catalog.remaining_values(kept)
    for name, value in stated.items():
        if name in kept:
            continue
        shown = shorten(params[name])
        allowed: tuple[str, ...] = ()
        if name in catalog.choices:
            allowed = tuple(map(str, remaining[name]))
            if value not in catalog.choices[name].values:
                yield Problem(name, "not_offered", shown, allowed=allowed)
                continue
        # The stated params that exclude this one, as a sentence names them.
        others: Combination = {}
        for conflict in conflicts(catalog):
            if conflict.get(name) == value and conflict.items() <= stated.items():
                others |= conflict
        others.pop(name, None)
        described: list[str] = []
        for other, other_value in others.items():
            if other in catalog.images:
                described.append(other)
            else:
                described.append(f'{other} "{other_value}"')
        yield Problem(name, "conflict", shown, allowed=allowed, conflicts_with=tuple(described))
