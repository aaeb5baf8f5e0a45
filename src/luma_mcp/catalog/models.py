"""The types of a catalog: what one API can make, as a frozen value.

Schemas, defaults, rejections, suggestions, documentation tables, the simulator and the player are derived from it.
It is built from rows (`ModelRow`, `ResolutionRow`, `Output`), so that each fact is written down once. No rule between
parameters is written by hand.

Terms:
    params: a caller's mapping of parameter names to values; what the caller left out is not in it.
    combination: a value for every name in `choices`, and for every name in `images` and `inputs` whether it is given.
        Leaving one of those out never makes a valid combination invalid.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import combinations as subsets
from itertools import product
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Literal

# Those of both APIs. The types of the other choices are written by `make docs` beside each API's rows.
AspectRatio = Literal["9:16", "3:4", "1:1", "4:3", "16:9", "21:9"]
Duration = Literal["5s", "10s"]

Combination = dict[str, str | bool]
Condition = tuple[tuple[str, str | bool], ...]

FRAME_IMAGES = ("image_start", "image_end")
"""The images that become frames of a clip, and get its shape."""
INHERITED = ("aspect_ratio", "dynamic_range", "resolution", "model")
"""The choices that a clip takes over from the one that it continues, the most important first."""


# One of the ways to give an image, where the server may read files for its callers.
LOCAL_PATH = "an absolute path (~ works), "
# Reported as not offered where the server must not write files.
_SAVING = "saving of files"
# What other generators call it. A name with an underscore stands for names that have all of its parts.
NEVER_OFFERED = {
    "sound": ("audio", "sound", "soundtrack", "music", "voice", "voiceover", "speech", "narration", "mute", "muted"),
    "frame rate": ("fps", "framerate", "frame_rate", "frames_per_second"),
    "seed": ("seed", "seeds"),
    "negative prompt": ("negative",),
}


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
class Flag:
    """A parameter that is on or off, and off if it is left out."""

    api_name: str
    about: str
    expects: str = "true or false"


@dataclass(frozen=True, slots=True)
class ClipInput(Text):
    """A parameter that takes the jobid of an earlier clip, whose video goes on in the new one.

    `seconds`: how much longer the clip becomes; `max_seconds`: how long it may become in all.
    """

    seconds: int = 0
    max_seconds: int = 0


@dataclass(frozen=True, slots=True)
class KeyframesInput:
    """A parameter that takes a list of images, each with its time in seconds from the clip's beginning.

    `max_items`: the most images; `per_second`: how many different times a second has.
    """

    api_name: str
    about: str
    expects: str
    max_items: int
    per_second: int


Input = Flag | ClipInput | KeyframesInput


@dataclass(frozen=True, slots=True)
class ResolutionRow:
    """All about one resolution.

    Attributes:
        name: the value of the parameter `resolution`.
        dynamic_ranges: those in which it is offered.
        typical_seconds: the [10th, 90th] percentile of the time from submission to the end.
        models: the only models that offer it; None if all do that are not limited by their own row.
        expensive: whether `LUMA_MCP_CONFIRM=expensive` asks the user about it.
        dollars: the price of 5 s in SDR; None if it is not known in advance.
    """

    name: str
    dynamic_ranges: tuple[str, ...]
    typical_seconds: tuple[float, float]
    models: tuple[str, ...] | None = None
    expensive: bool = False
    dollars: float | None = None


@dataclass(frozen=True, slots=True)
class ModeRow:
    """What a model offers with certain images and inputs.

    Attributes:
        inputs: those that may be given together, one group per way; an empty group: none.
        durations: what is offered with them, by dynamic range; a range that is missing is not offered.
        smallest_resolution: this resolution and all that come after it are offered; None for all.
    """

    inputs: tuple[tuple[str, ...], ...]
    durations: Mapping[str, tuple[str, ...]]
    smallest_resolution: str | None = None


@dataclass(frozen=True, slots=True)
class ModelRow:
    """All about one model.

    Attributes:
        name: the value of the parameter `model`.
        about: a phrase for descriptions.
        modes: what it offers; the first one includes the empty group.
        smallest_resolution: it offers this resolution and all that come after it; None if it offers all.
    """

    name: str
    about: str
    modes: tuple[ModeRow, ...]
    smallest_resolution: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model offers in one dynamic range: each of these resolutions with each of these durations."""

    resolutions: tuple[str, ...]
    durations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mode:
    """What a model offers if exactly the images and inputs of `inputs` are given, by dynamic range."""

    inputs: tuple[str, ...]
    ranges: Mapping[str, Limits]


@dataclass(frozen=True, slots=True)
class Model:
    """A model with what it offers; the first mode is the one without any image or input."""

    name: str
    about: str
    modes: tuple[Mode, ...]

    @property
    def ranges(self) -> Mapping[str, Limits]:
        """What it offers from a prompt alone, by dynamic range; a range that is missing is not offered."""
        return self.modes[0].ranges

    def ranges_with(self, name: str) -> tuple[str, ...]:
        """Get the dynamic ranges in which an image or input may be given; empty if it may never be."""
        found: dict[str, None] = {}
        for mode in self.modes:
            if name in mode.inputs:
                found |= dict.fromkeys(mode.ranges)
        return tuple(found)


def build_model(row: ModelRow, resolutions: Iterable[ResolutionRow]) -> Model:
    """Combine a model's row with the rows of all resolutions, cheapest first."""
    offered = _from_smallest(list(resolutions), row.smallest_resolution)
    modes: list[Mode] = []
    for mode in row.modes:
        ranges: dict[str, Limits] = {}
        for dynamic_range, durations in mode.durations.items():
            found: list[str] = []
            for resolution in _from_smallest(offered, mode.smallest_resolution):
                offered_by_model = resolution.models is None or row.name in resolution.models
                if offered_by_model and dynamic_range in resolution.dynamic_ranges:
                    found.append(resolution.name)
            if found:
                ranges[dynamic_range] = Limits(tuple(found), durations)
        modes += [Mode(inputs, MappingProxyType(ranges)) for inputs in mode.inputs]
    return Model(row.name, row.about, tuple(modes))


def _from_smallest(resolutions: list[ResolutionRow], smallest: str | None) -> list[ResolutionRow]:
    """Get this resolution and all that come after it. Not a list of names, so that new ones need no other change."""
    names = [resolution.name for resolution in resolutions]
    return resolutions[names.index(smallest) :] if smallest in names else resolutions


def list_expensive(
    choices: Mapping[str, Choice], resolutions: Iterable[ResolutionRow]
) -> Mapping[str, tuple[str, ...]]:
    """List the values that cost more: resolutions as their rows say, lengths and ranges above the default."""
    expensive: dict[str, tuple[str, ...]] = {"resolution": tuple(row.name for row in resolutions if row.expensive)}
    for name in ("duration", "dynamic_range"):
        values, default = choices[name].values, choices[name].default
        expensive[name] = values[values.index(default) + 1 :]
    return MappingProxyType(expensive)


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
        not_offered: features that other generators have and this API lacks, each with the parts of names that mean it.
        instead: the alternative to some of these features, as a clause.
        inputs: the other parameters for which a combination states whether they are given.
        aliases: other names of values, by parameter.
        prices: in dollars for one video, by the values of `price_factors`; empty if they are not known in advance.
        price_source, price_date: where the prices come from, and as of when.
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
    inputs: Mapping[str, Input] = field(default_factory=dict)
    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    prices: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    instead: Mapping[str, str] = field(default_factory=dict)
    price_factors: tuple[str, ...] = ()
    price_source: str = ""
    price_date: str = ""

    @cached_property
    def params(self) -> Mapping[str, Choice | Text | Input]:
        """All parameters of a request, by name."""
        return MappingProxyType({**self.texts, **self.choices, **self.images, **self.inputs})

    @cached_property
    def switches(self) -> tuple[str, ...]:
        """The names for which a combination states whether they are given."""
        return (*self.images, *self.inputs)

    def is_given(self, params: Mapping[str, Any], name: str) -> bool:
        """Whether a request has an image or input; a flag that is off counts as left out."""
        if isinstance(self.params[name], Flag):
            return params.get(name) is True
        return name in params

    def price(self, params: Mapping[str, Any]) -> float | None:
        """Get the price of one video in dollars; None if it is not known in advance."""
        return self.prices.get(tuple(params.get(name, "") for name in self.price_factors))

    def remaining_prices(self, partial: Mapping[str, Any]) -> dict[tuple[str, ...], float]:
        """Get the prices of what can still be made, given some values; cheapest first."""
        found: dict[tuple[str, ...], float] = {}
        for combination in self.combinations:
            key = tuple(str(combination[name]) for name in self.price_factors)
            if key in self.prices and partial.items() <= combination.items():
                found[key] = self.prices[key]
        return dict(sorted(found.items(), key=itemgetter(1)))

    @cached_property
    def combinations(self) -> tuple[Combination, ...]:
        """All valid combinations."""
        found: list[Combination] = []
        # Every aspect ratio goes with everything else, so no row lists any.
        ratios = self.choices["aspect_ratio"].values
        for model in self.models:
            for mode in model.modes:
                given = dict.fromkeys(self.switches, False) | dict.fromkeys(mode.inputs, True)
                for dynamic_range, limits in mode.ranges.items():
                    for resolution, ratio, duration in product(limits.resolutions, ratios, limits.durations):
                        found.append(
                            {
                                "model": model.name,
                                "resolution": resolution,
                                "aspect_ratio": ratio,
                                "duration": duration,
                                "dynamic_range": dynamic_range,
                                **given,
                            }
                        )
        return tuple(found)

    def remaining_values(
        self, partial: Mapping[str, Any], possible: Iterable[Combination] | None = None
    ) -> dict[str, tuple[str | bool, ...]]:
        """Get the values that every other parameter can still take, given some (images and inputs as True or False).

        Every tuple is empty if the partial choice is itself impossible. `possible`: the valid combinations to choose
        from, if something else excludes some.
        """
        combinations = self.combinations if possible is None else possible
        given = partial.items()
        fitting = [combination for combination in combinations if given <= combination.items()]
        remaining: dict[str, tuple[str | bool, ...]] = {}
        for name, values in self.all_values.items():
            if name not in partial:
                possible = set(map(itemgetter(name), fitting))
                remaining[name] = tuple(filter(possible.__contains__, values))
        return remaining

    @cached_property
    def all_values(self) -> Mapping[str, tuple[str | bool, ...]]:
        """Every value of every parameter of a combination, images and inputs as False and True."""
        choices = {name: choice.values for name, choice in self.choices.items()}
        return {**choices, **dict.fromkeys(self.switches, (False, True))}


def without_local_files(catalog: Catalog) -> Catalog:
    """Build the catalog of a server whose callers are elsewhere: it neither reads nor writes files for them."""
    images: dict[str, ImageInput] = {}
    for name, image in catalog.images.items():
        images[name] = replace(image, expects=image.expects.replace(LOCAL_PATH, ""))
    return replace(
        catalog,
        images=MappingProxyType(images),
        not_offered=MappingProxyType({**catalog.not_offered, _SAVING: ("save", "download")}),
        instead=MappingProxyType({**catalog.instead, _SAVING: "download the video from the link in the result"}),
    )


@dataclass(frozen=True, slots=True)
class Implication:
    """Where a request has all values of `when`, `name` must be one of `values`; no values: leave it out."""

    when: Condition
    name: str
    values: tuple[str, ...]


@lru_cache(maxsize=8)
def conflicts(catalog: Catalog) -> tuple[Combination, ...]:
    """The smallest partial choices that no valid combination contains, the fewest values first.

    A request is valid if and only if it contains none of them. Images and inputs stand in them only as given.
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
                # No rule needs one to be missing: leaving an image or input out never makes a combination invalid.
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
_CONDITION_RANKS = {
    name: rank
    for rank, name in enumerate(
        ("image_character", "extend", "keyframes", "loop", "image_end", "image_start", "model", "dynamic_range")
    )
}


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
        # What must be left out has no allowed values.
        values: tuple[str, ...] = ()
        if name in catalog.choices:
            values = catalog.choices[name].values
        found.append(Implication(when, name, tuple(value for value in values if value not in bad_values)))
    return tuple(found)
