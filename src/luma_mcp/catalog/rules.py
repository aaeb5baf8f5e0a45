"""The table as rules between parameters: for refusals, schemas and descriptions. Nothing here is written by hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations as subsets
from itertools import count, product
from typing import TYPE_CHECKING, Any

from luma_mcp.catalog.useapi import CHOICES, IMAGES, Combination, combinations, fits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@cache
def conflicts() -> tuple[Combination, ...]:
    """The smallest partial choices that no valid combination contains, the fewest values first.

    A request is valid if and only if it contains none of them. An image stands in them only as given.
    """
    values = _bound_values()
    given = {n: tuple(v for v in vs if v) for n, vs in values.items()}
    valid = {tuple(c[n] for n in values) for c in combinations()}
    found: list[Combination] = []
    for size in count(1):
        # Done when what contains none of the conflicts is as much as what is valid.
        every = (dict(picks).items() for picks in _picks(values, values))
        if sum(not any(known.items() <= items for known in found) for items in every) == len(valid):
            return tuple(found)
        partials = (dict(picks) for names in subsets(values, size) for picks in _picks(names, given))
        new = (p for p in partials if not any(known.items() <= p.items() for known in found))
        found += [p for p in new if not any(fits(c, p) for c in combinations())]
    raise AssertionError("the sizes never end")


def _bound_values() -> dict[str, tuple[str | bool, ...]]:
    """The values of every parameter that is bound to others: where leaving it out leaves fewer combinations apart."""
    every: dict[str, tuple[str | bool, ...]] = {n: c.values for n, c in CHOICES.items()}
    every |= dict.fromkeys(IMAGES, (False, True))
    rest = {n: {tuple(v for m, v in c.items() if m != n) for c in combinations()} for n in every}
    return {n: vs for n, vs in every.items() if len(rest[n]) * len(vs) != len(combinations())}


def _picks(names: Iterable[str], values: Mapping[str, tuple[str | bool, ...]]) -> Iterator[Any]:
    return product(*([(n, v) for v in values[n]] for n in names))


@dataclass(frozen=True, slots=True)
class Implication:
    """Where `when` is chosen, `name` must be one of `values`; no values: that image must be left out."""

    when: tuple[tuple[str, str | bool], ...]
    name: str
    values: tuple[str, ...]


_LEADING = ("image_character", "image_end", "image_start", "model", "dynamic_range")
"""Told as a condition rather than as what follows from one."""


@cache
def implications() -> tuple[Implication, ...]:
    """The conflicts as rules: together they say the same, in words that a schema and a person can use."""
    forbidden: dict[tuple[tuple[tuple[str, str | bool], ...], str], set[str | bool]] = {}
    for conflict in conflicts():
        *leading, last = sorted(conflict, key=lambda n: _LEADING.index(n) if n in _LEADING else len(_LEADING))
        when = tuple((n, conflict[n]) for n in leading)
        forbidden.setdefault((when, last), set()).add(conflict[last])
    return tuple(
        Implication(when, name, tuple(v for v in CHOICES[name].values if v not in bad) if name in CHOICES else ())
        for (when, name), bad in forbidden.items()
    )
