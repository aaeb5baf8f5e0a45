"""The types of a catalog: what one API can make, as a frozen value.

Schemas, defaults, rejections, suggestions, documentation tables, the simulator and the player are derived from it.
It is built from rows (`ModelRow`, `ResolutionRow`, `Output`), so that each fact is written down once. No rule between
parameters is written by hand.

Terms:
    params: a caller's mapping of parameter names to values; what the caller left out is not in it.
    combination: a value for every name in `choices`, and for every name in `images` whether it is given.
        Leaving an image out never makes a valid combination invalid.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations as subsets
from itertools import product
from operator import itemgetter
from types import MappingProxyType
from typing import Any

Combination = dict[str, str | bool]
Condition = tuple[tuple[str, str | bool], ...]

INHERITED = ("aspect_ratio", "dynamic_range", "resolution", "model")
"""What a clip takes over from the one that it continues, the most important first."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A parameter with a closed set of values, cheapest first.

    `default`: the one that the API documents. `adjustable`: a suggestion changes this parameter before those that are
    not, because the video still shows the same.
    """

    api_name: str
    about: str
    values: tuple[str, ...]
    default: str
    adjustable: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """A parameter with free text: at most `max_length` characters, somewhere matching the regex `pattern`."""

    api_name: str
    about: str
    expects: str
    pattern: str = r"\S"
    max_length: int | None = None


@dataclass(frozen=True, slots=True)
class ImageInput(Text):
    """A parameter that takes an image. `frames`: the outputs, best first, that an earlier job's jobid stands for."""

    frames: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ResolutionRow:
    """All about one resolution.

    Attributes:
        name: the value of the parameter `resolution`.
        dynamic_ranges: those in which it is offered.
        typical_seconds: the [10th, 90th] percentile of the time from submission to the end.
        models: the only models that offer it; None if all do that are not limited by their own row.
        expensive: whether `LUMA_MCP_CONFIRM=expensive` asks the user about it.
    """

    name: str
    dynamic_ranges: tuple[str, ...]
    typical_seconds: tuple[float, float]
    models: tuple[str, ...] | None = None
    expensive: bool = False


@dataclass(frozen=True, slots=True)
class ModelRow:
    """All about one model.

    Attributes:
        name: the value of the parameter `model`.
        about: a phrase for descriptions.
        durations: what it offers, by dynamic range; a range that is missing is not offered.
        smallest_resolution: it offers this resolution and all that come after it; None if it offers all.
        keyframes: whether it takes `image_start` and `image_end`, alone or together.
        character_ranges: the dynamic ranges in which it takes `image_character`, which excludes the keyframes.
    """

    name: str
    about: str
    durations: Mapping[str, tuple[str, ...]]
    smallest_resolution: str | None = None
    keyframes: bool = True
    character_ranges: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model offers in one dynamic range: each of these resolutions with each of these durations."""

    resolutions: tuple[str, ...]
    durations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A model with its limits by dynamic range; a range that is missing is not offered. See `ModelRow` for the rest."""

    name: str
    about: str
    ranges: Mapping[str, Limits]
    keyframes: bool = True
    character_ranges: tuple[str, ...] = ()


def build_model(row: ModelRow, resolutions: Iterable[ResolutionRow]) -> Model:
    """Combine a model's row with the rows of all resolutions, cheapest first."""
    offered = list(resolutions)
    if row.smallest_resolution is not None:
        # Not a list of names, so that a new resolution is offered without changing this model's row.
        names = [resolution.name for resolution in offered]
        offered = offered[names.index(row.smallest_resolution) :]
    ranges: dict[str, Limits] = {}
    for dynamic_range, durations in row.durations.items():
        found: list[str] = []
        for resolution in offered:
            offered_by_model = resolution.models is None or row.name in resolution.models
            if offered_by_model and dynamic_range in resolution.dynamic_ranges:
                found.append(resolution.name)
        if found:
            ranges[dynamic_range] = Limits(tuple(found), durations)
    return Model(row.name, row.about, MappingProxyType(ranges), row.keyframes, row.character_ranges)


@dataclass(frozen=True, slots=True)
class Output:
    """What one dynamic range delivers. `note`: where it plays."""

    format: str
    plays_in_browser: bool
    note: str


# Compared and hashed by identity: what is derived from a catalog is cached per catalog.
@dataclass(frozen=True, eq=False)
class Catalog:
    """What one API can make.

    Attributes:
        api: the API's short name.
        source, source_date: where the rows come from, and as of when.
        models: all models, cheapest first.
        choices: parameters with a closed set of values.
        images: parameters that take an image.
        texts: the other parameters.
        outputs: by dynamic range.
        typical_seconds: by resolution, the [10th, 90th] percentile of the time from submission to the end.
        expensive: the values that `LUMA_MCP_CONFIRM=expensive` asks about, by parameter.
        not_offered: what other generators have and this API does not, each with the parts of names that stand for it.
    """

    api: str
    source: str
    source_date: str
    models: tuple[Model, ...]
    choices: Mapping[str, Choice]
    images: Mapping[str, ImageInput]
    texts: Mapping[str, Text]
    outputs: Mapping[str, Output]
    typical_seconds: Mapping[str, tuple[float, float]]
    expensive: Mapping[str, tuple[str, ...]]
    not_offered: Mapping[str, tuple[str, ...]]

    @cached_property
    def params(self) -> Mapping[str, Choice | Text]:
        """All parameters of a request, by name."""
        return MappingProxyType({**self.texts, **self.choices, **self.images})

    @cached_property
    def combinations(self) -> tuple[Combination, ...]:
        """All valid combinations."""
        found: list[Combination] = []
        # Every aspect ratio goes with everything else, so no row lists any.
        ratios = self.choices["aspect_ratio"].values
        for model in self.models:
            for dynamic_range, limits in model.ranges.items():
                for images in self._image_inputs(model, dynamic_range):
                    for resolution, ratio, duration in product(limits.resolutions, ratios, limits.durations):
                        found.append(
                            {
                                "model": model.name,
                                "resolution": resolution,
                                "aspect_ratio": ratio,
                                "duration": duration,
                                "dynamic_range": dynamic_range,
                                **images,
                            }
                        )
        return tuple(found)

    def _image_inputs(self, model: Model, dynamic_range: str) -> Iterator[dict[str, bool]]:
        """Yield which images may be given together."""
        # Which images exclude each other is the same for all models; whether they are taken is in the rows.
        none = dict.fromkeys(self.images, False)
        yield none
        if model.keyframes:
            yield none | {"image_start": True}
            yield none | {"image_end": True}
            yield none | {"image_start": True, "image_end": True}
        if dynamic_range in model.character_ranges:
            yield none | {"image_character": True}

    def remaining_values(self, partial: Mapping[str, Any]) -> dict[str, tuple[str | bool, ...]]:
        """Get the values that every other parameter can still take, given some (images as True or False).

        Every tuple is empty if the partial choice is itself impossible.
        """
        fitting = [combination for combination in self.combinations if partial.items() <= combination.items()]
        remaining: dict[str, tuple[str | bool, ...]] = {}
        for name, values in self.all_values.items():
            if name not in partial:
                possible = set(map(itemgetter(name), fitting))
                remaining[name] = tuple(filter(possible.__contains__, values))
        return remaining

    @cached_property
    def all_values(self) -> Mapping[str, tuple[str | bool, ...]]:
        """Every value of every parameter of a combination, images as False and True."""
        choices = {name: choice.values for name, choice in self.choices.items()}
        return {**choices, **dict.fromkeys(self.images, (False, True))}


@dataclass(frozen=True, slots=True)
class Implication:
    """Where a request has all values of `when`, `name` must be one of `values`; no values: leave that image out."""

    when: Condition
    name: str
    values: tuple[str, ...]


@lru_cache(maxsize=8)
def conflicts(catalog: Catalog) -> tuple[Combination, ...]:
    """The smallest partial choices that no valid combination contains, the fewest values first.

    A request is valid if and only if it contains none of them. An image stands in them only as given.
    """
    # The parameters that are in some rule, each with its values: a list of pairs.
    pairs: dict[str, list[tuple[str, str | bool]]] = {}
    for name, values in catalog.all_values.items():
        # A parameter is free if every value goes with every way to choose the rest.
        get_rest = itemgetter(*catalog.all_values.keys() - {name})
        rests = set(map(get_rest, catalog.combinations))
        if len(rests) * len(values) != len(catalog.combinations):
            pairs[name] = list(product([name], values))
    valid = {tuple(map(combination.get, pairs)) for combination in catalog.combinations}
    combinations = [dict(zip(pairs, values, strict=True)) for values in valid]
    found: list[Combination] = []
    known: list[ItemsView[str, str | bool]] = []
    for size in range(1, len(pairs) + 1):
        for names in subsets(pairs, size):
            # Which values of these parameters go together. Looked up, because this runs at every start of a server.
            occurring = {tuple(map(combination.get, names)) for combination in combinations}
            for partial in map(dict, product(*map(pairs.__getitem__, names))):
                if tuple(partial.values()) in occurring or any(map(partial.items().__ge__, known)):
                    continue
                # No rule needs an image to be missing: leaving one out never makes a combination invalid.
                if False not in partial.values():
                    found.append(partial)
                    known.append(partial.items())
        # Done when the conflicts leave exactly what is valid. Larger ones would only repeat these.
        left = len(valid)
        for combination in map(dict, product(*pairs.values())):
            left -= not any(map(combination.items().__ge__, known))
        if left == 0:
            break
    return tuple(found)


# A rule reads better with these as its condition than as its consequence: "with image_end: resolution …".
_CONDITION_RANKS = {"image_character": 0, "image_end": 1, "image_start": 2, "model": 3, "dynamic_range": 4}


@lru_cache(maxsize=8)
def implications(catalog: Catalog) -> tuple[Implication, ...]:
    """The conflicts as rules: together they mean the same, in a form that schemas and descriptions can use."""
    excluded: dict[tuple[Condition, str], set[str | bool]] = {}
    for conflict in conflicts(catalog):
        *leading, last = sorted(conflict, key=lambda name: _CONDITION_RANKS.get(name, len(_CONDITION_RANKS)))
        when = tuple((name, conflict[name]) for name in leading)
        excluded.setdefault((when, last), set()).add(conflict[last])
    found: list[Implication] = []
    for (when, name), bad_values in excluded.items():
        # An image that must be left out has no allowed values.
        values: tuple[str, ...] = ()
        if name in catalog.choices:
            values = catalog.choices[name].values
        found.append(Implication(when, name, tuple(value for value in values if value not in bad_values)))
    return tuple(found)
