"""Whether a request is one that Luma can make, and if not, the nearest one that is.

`check` finds every problem of a caller's words at once, so that one refusal is enough, and completes the
words to a request in which every value is explicit. It costs nothing and sends nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from operator import itemgetter, ne
from typing import TYPE_CHECKING, Any

from luma_mcp.catalog.rules import conflicts
from luma_mcp.catalog.suggest import nearest_name, nearest_value
from luma_mcp.catalog.useapi import API_NAMES, CHOICES, IMAGES, TEXTS, Combination, Text, combinations, fits
from luma_mcp.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LONGEST_ECHO = 80
"""Characters of a caller's value that a problem repeats."""

_HALF = re.compile("[\ud800-\udfff]")

_KEEP = ("image_start", "image_end", "image_character", "model", "dynamic_range", "aspect_ratio", "duration")
"""Where several mends change equally few words: what is kept rather than what follows it (and resolution)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`problems` is empty if and only if the request is valid.

    `nearest` is the nearest complete request that is valid: the caller's own, completed, where nothing is
    wrong; None where there is none without inventing or dropping: a text or an image that cannot be used.
    """

    problems: tuple[Problem, ...]
    nearest: dict[str, str] | None


def check(words: Mapping[str, Any]) -> Verdict:
    """Judges a caller's words: parameter names of `matrix.API_NAMES` to values; what is missing was left out.

    Left-out choices become the documented default where that fits what was said, else the cheapest that does.
    """
    problems = [unknown_name(n, v, API_NAMES) for n, v in words.items() if n not in API_NAMES]
    problems += _text_problems(words)
    stated = {n: words[n] for n in CHOICES if n in words} | {n: n in words for n in IMAGES}
    best = _nearest(stated)
    problems += _choice_problems(words, stated, best)
    wrong = {p.field for p in problems}
    if wrong & TEXTS.keys() or any(best[n] and n in wrong for n in IMAGES):
        return Verdict(tuple(problems), None)
    kept = {n: words[n] for n in (*TEXTS, *IMAGES) if n in words and n not in wrong}
    return Verdict(tuple(problems), kept | {n: str(best[n]) for n in CHOICES})


def check_options(partial: Mapping[str, Any]) -> Verdict:
    """Judges a partial choice of `CHOICES` alone, for asking what goes with it; there is no prompt yet."""
    verdict = check({"prompt": "any", **partial})
    nearest = {n: v for n, v in (verdict.nearest or {}).items() if n in partial}
    return Verdict(verdict.problems, nearest)


def unknown_name(name: str, value: Any, known: Iterable[str]) -> Problem:
    """The problem of a parameter that does not exist, with the nearest that does."""
    names = tuple(known)
    near = nearest_name(name, names)
    name = echo(name)
    takes = f" It takes {either(CHOICES[near].values)}." if near and near in CHOICES else ""
    hint = f'did you mean "{near}"?{takes}' if near else f"leave it out. The parameters are {', '.join(names)}."
    return Problem(name, echo(value), f'"{name}" is not a parameter: {hint}', names)


def _text_problems(words: Mapping[str, Any]) -> Iterator[Problem]:
    if "prompt" not in words:
        yield Problem("prompt", None, f"prompt is missing; it takes {TEXTS['prompt'].expects}.")
    for name, row in {**TEXTS, **IMAGES}.items():
        if name in words and (fault := text_fault(words[name], row)):
            yield Problem(name, echo(words[name]), f"{name} {fault}; it takes {row.expects}.")


def text_fault(value: Any, row: Text) -> str | None:
    """What keeps the value from being one that this parameter takes, in words; None if nothing does."""
    if not isinstance(value, str):
        return "is not a text"
    if not value.strip():
        return "is empty"
    if _HALF.search(value):
        return "has half a character that no text can carry (a lone surrogate)"
    if row.max_length and len(value) > row.max_length:
        return f"has {len(value)} characters"
    return None if re.search(row.pattern, value) else "does not fit"


def _nearest(stated: Mapping[str, Any]) -> Combination:
    """The valid combination with the fewest changed words that adds no image; among those the one to suggest."""
    candidates = _with_images(tuple(n for n in IMAGES if stated[n]))
    its_words, words = itemgetter(*stated), tuple(stated.values())
    changes = [sum(map(ne, words, its_words(c))) for c in candidates]
    fewest = min(changes)
    closest = (c for c, changed in zip(candidates, changes, strict=True) if changed == fewest)
    return min(closest, key=lambda c: _preference(stated, c))


@cache
def _with_images(images: tuple[str, ...]) -> tuple[Combination, ...]:
    """The valid combinations that have these images or fewer."""
    return tuple(c for c in combinations() if not any(c[n] for n in IMAGES if n not in images))


def _preference(stated: Mapping[str, Any], combination: Combination) -> tuple[Any, ...]:
    """First the least precious words change, then by the smallest steps, then for the lowest price."""
    changed = [n for n, v in stated.items() if combination[n] != v]
    precious = tuple(n in changed for n in _KEEP)
    steps = sum(_steps(n, stated[n], combination[n]) for n in changed if n in CHOICES)
    price = tuple((combination[n] != c.default, c.values.index(str(combination[n]))) for n, c in CHOICES.items())
    return precious, steps, price


def _steps(name: str, word: Any, value: str | bool) -> int:
    values = CHOICES[name].values
    wish = word if word in values else nearest_value(str(word), values)
    return abs(values.index(wish) - values.index(str(value))) if wish else 0


def _choice_problems(words: Mapping[str, Any], stated: Mapping[str, Any], best: Combination) -> Iterator[Problem]:
    kept = {n: v for n, v in stated.items() if best[n] == v}
    for name, value in stated.items():
        if name in kept:
            continue
        if name in IMAGES:
            yield Problem(name, echo(words[name]), f"{name} does not go with {_clashes(name, stated)}; leave it out.")
            continue
        fitting = {c[name] for c in combinations() if fits(c, kept)}
        possible = tuple(v for v in CHOICES[name].values if v in fitting)
        fault = f"does not go with {_clashes(name, stated)}" if value in CHOICES[name].values else "is not offered"
        yield Problem(name, echo(value), f'{name} "{echo(value)}" {fault}; use {either(possible)}.', possible)


def _clashes(name: str, stated: Mapping[str, Any]) -> str:
    """The stated words that cannot stand beside this one, in words."""
    clashing = [c for c in conflicts() if c.get(name) == stated[name] and fits({**dict.fromkeys(c), **stated}, c)]
    others = {n: v for c in clashing for n, v in c.items() if n != name}
    return " or ".join(n if n in IMAGES else f'{n} "{v}"' for n, v in others.items())


def either(values: Iterable[str]) -> str:
    """The values as words: `"a", "b" or "c"`."""
    *first, last = (f'"{v}"' for v in values)
    return f"{', '.join(first)} or {last}" if first else last


def echo(value: Any) -> Any:
    """A caller's value, shortened where it is long: hosts cut results, and the caller has it."""
    return value if len(str(value)) <= LONGEST_ECHO else f"{str(value)[:LONGEST_ECHO]}…"
