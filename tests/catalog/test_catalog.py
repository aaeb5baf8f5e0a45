"""Compare each catalog with the tests' own copy of its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest
from tests import table, table_agents

from luma_mcp.catalog import agents, useapi
from luma_mcp.catalog.agents import AGENTS
from luma_mcp.catalog.models import Combination, ModelRow, ModeRow, ResolutionRow, build_model, conflicts, implications
from luma_mcp.catalog.useapi import USEAPI

if TYPE_CHECKING:
    from types import ModuleType

    from luma_mcp.catalog.models import Catalog

APIS = [(USEAPI, table), (AGENTS, table_agents)]
of_each_api = pytest.mark.parametrize(("catalog", "page"), APIS, ids=["useapi", "agents"])
ASSETS = dict.fromkeys(table.IMAGES, "u1-email:a@example.com-image:1")
INPUTS = {"image_start": "a.png", "image_end": "b.png", "loop": True, "extend": "2f6c0c1a"}
INPUTS["keyframes"] = [{"image": "a.png", "seconds": 0}]


def list_requests(page: ModuleType) -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = page.full_product(ASSETS if page is table else INPUTS)
    return requests


def to_combination(catalog: Catalog, request: dict[str, Any]) -> Combination:
    combination: Combination = {name: request[name] for name in catalog.choices}
    combination |= {name: name in request for name in catalog.switches}
    return combination


@pytest.mark.parametrize(
    ("catalog", "page", "count"), [(USEAPI, table, (3456, 840)), (AGENTS, table_agents, (4608, 426))]
)
def test_combinations_match_the_page(catalog: Catalog, page: ModuleType, count: tuple[int, int]) -> None:
    every = list_requests(page)
    valid = [to_combination(catalog, request) for request in every if page.is_valid(request)]
    assert (len(every), len(valid)) == count
    assert sorted(map(str, catalog.combinations)) == sorted(map(str, valid))


@of_each_api
def test_choices_match_the_page(catalog: Catalog, page: ModuleType) -> None:
    assert {name: choice.values for name, choice in catalog.choices.items()} == {
        "model": page.MODELS,
        "resolution": page.RESOLUTIONS,
        "aspect_ratio": page.ASPECT_RATIOS,
        "duration": page.DURATIONS,
        "dynamic_range": page.DYNAMIC_RANGES,
    }


@pytest.mark.parametrize(("catalog", "types"), [(USEAPI, useapi), (AGENTS, agents)], ids=["useapi", "agents"])
def test_literal_types_match_the_choices(catalog: Catalog, types: ModuleType) -> None:
    assert {name: choice.values for name, choice in catalog.choices.items()} == {
        "model": get_args(types.ModelName),
        "resolution": get_args(types.Resolution),
        "aspect_ratio": get_args(types.AspectRatio),
        "duration": get_args(types.Duration),
        "dynamic_range": get_args(types.DynamicRange),
    }


def test_defaults_match_the_page() -> None:
    assert {name: choice.default for name, choice in USEAPI.choices.items()} == {
        "model": "ray-v3-flash",
        "resolution": "draft",
        "aspect_ratio": "16:9",
        "duration": "5s",
        "dynamic_range": "sdr",
    }


def test_typical_seconds_match_the_page() -> None:
    seconds = USEAPI.typical_seconds
    assert tuple(seconds) == table.RESOLUTIONS
    assert seconds["draft"] == (30, 60)
    assert sum(seconds["1080p"]) / 2 == 180
    assert sorted(seconds.values()) == list(seconds.values())


def test_outputs_match_the_page() -> None:
    assert tuple(USEAPI.outputs) == table.DYNAMIC_RANGES
    assert [name for name, output in USEAPI.outputs.items() if output.plays_in_browser] == ["sdr"]


@of_each_api
def test_expensive_values(catalog: Catalog, page: ModuleType) -> None:  # noqa: ARG001 - the same in both
    assert catalog.expensive == {
        "resolution": ("1080p",),
        "duration": ("10s",),
        "dynamic_range": ("hdr", "hdr_exr"),
    }


def test_api_names() -> None:
    renamed = {name: row.api_name for name, row in USEAPI.params.items() if name != row.api_name}
    assert renamed == {
        "image_start": "imageStart",
        "image_end": "imageEnd",
        "image_character": "imageCharacter",
        "reply_url": "replyUrl",
        "reply_ref": "replyRef",
    }


@of_each_api
def test_leaving_an_input_out_is_always_valid(catalog: Catalog, page: ModuleType) -> None:
    valid = {
        tuple(to_combination(catalog, request).items()) for request in list_requests(page) if page.is_valid(request)
    }
    for combination in catalog.combinations:
        for name in catalog.switches:
            assert tuple((combination | {name: False}).items()) in valid


def test_remaining_values_of_a_partial_choice() -> None:
    assert USEAPI.remaining_values({"model": "ray-v3-reasoning", "dynamic_range": "hdr_exr"}) == {
        "resolution": ("720p",),
        "aspect_ratio": table.ASPECT_RATIOS,
        "duration": ("5s",),
        "image_start": (False, True),
        "image_end": (False, True),
        "image_character": (False,),
    }


def test_remaining_values_with_an_image() -> None:
    remaining = USEAPI.remaining_values({"image_character": True})
    assert remaining["model"] == ("ray-v3",)
    assert remaining["dynamic_range"] == ("sdr",)
    assert remaining["image_start"] == remaining["image_end"] == (False,)


def test_impossible_choice_leaves_no_values() -> None:
    assert set(USEAPI.remaining_values({"model": "ray-v3-reasoning", "resolution": "draft"}).values()) == {()}


@of_each_api
def test_rules_match_the_page(catalog: Catalog, page: ModuleType) -> None:
    for request in list_requests(page):
        combination = to_combination(catalog, request)
        broken = []
        for rule in implications(catalog):
            applies = dict(rule.when).items() <= combination.items()
            if applies and combination[rule.name] not in (rule.values or (False,)):
                broken.append(rule)
        assert (not broken) == page.is_valid(request), (request, broken)


def test_rules_are_computed_once_per_catalog() -> None:
    other = useapi.build_catalog(models=useapi.MODELS[:1])
    assert conflicts(USEAPI) is conflicts(USEAPI)
    assert conflicts(other) is not conflicts(USEAPI)


def test_catalog_without_restrictions_has_no_rules() -> None:
    durations = {"sdr": ("5s", "10s"), "hdr": ("5s", "10s"), "hdr_exr": ("5s", "10s")}
    model = ModelRow("ray-v3-flash", "takes no images", (ModeRow(((),), durations),))
    resolution = ResolutionRow("draft", ("sdr", "hdr", "hdr_exr"), (30, 60))
    free = useapi.build_catalog(models=[model], resolutions=[resolution])
    # Its only rules are that the three images must be left out.
    assert conflicts(free) == tuple({name: True} for name in table.IMAGES)


@pytest.mark.parametrize(
    ("model", "resolution", "offered"),
    [
        ({}, {}, ("draft", "2160p")),
        ({"smallest_resolution": "2160p"}, {}, ("2160p",)),
        ({}, {"models": ("ray-v3",)}, ("draft",)),
        ({}, {"models": ("ray-v4",)}, ("draft", "2160p")),
        ({}, {"dynamic_ranges": ("hdr",)}, ("draft",)),
    ],
)
def test_model_and_resolution_rows_limit_each_other(
    model: dict[str, str], resolution: dict[str, tuple[str, ...]], offered: tuple[str, ...]
) -> None:
    mode = ModeRow(((),), {"sdr": ("5s",)})
    row = ModelRow("ray-v4", "newer", (mode,), smallest_resolution=model.get("smallest_resolution"))
    resolutions = [
        ResolutionRow("draft", ("sdr",), (30, 60)),
        ResolutionRow(
            "2160p", resolution.get("dynamic_ranges", ("sdr", "hdr")), (270, 450), models=resolution.get("models")
        ),
    ]
    limits = build_model(row, resolutions).ranges
    assert tuple(limits) == ("sdr",)
    assert (limits["sdr"].resolutions, limits["sdr"].durations) == (offered, ("5s",))


def test_range_without_resolutions_is_not_offered() -> None:
    row = ModelRow("ray-v4", "newer", (ModeRow(((),), {"sdr": ("5s",), "hdr": ("5s",)}),))
    assert tuple(build_model(row, [ResolutionRow("draft", ("sdr",), (30, 60))]).ranges) == ("sdr",)
