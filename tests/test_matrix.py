"""The table against the tests' own copy of it."""

from __future__ import annotations

from tests import table

from luma_mcp.catalog import rules, useapi
from luma_mcp.catalog.useapi import API_NAMES, CHOICES, IMAGES, allowed, combinations

ASSETS = dict.fromkeys(table.IMAGES, "u1-email:a@example.com-image:1")


def as_combination(request: dict[str, str]) -> useapi.Combination:
    return {n: request[n] for n in CHOICES} | {n: n in request for n in IMAGES}


def test_the_valid_combinations_are_those_of_the_page() -> None:
    every = table.full_product(ASSETS)
    valid = [as_combination(r) for r in every if table.is_valid(r)]
    assert (len(every), len(valid)) == (3456, 840)
    assert sorted(map(str, combinations())) == sorted(map(str, valid))


def test_the_choices_are_those_of_the_page() -> None:
    assert {n: c.values for n, c in CHOICES.items()} == {
        "model": table.MODELS,
        "resolution": table.RESOLUTIONS,
        "aspect_ratio": table.ASPECT_RATIOS,
        "duration": table.DURATIONS,
        "dynamic_range": table.DYNAMIC_RANGES,
    }


def test_the_defaults_are_the_documented_ones() -> None:
    assert {n: c.default for n, c in CHOICES.items()} == {
        "model": "ray-v3-flash",
        "resolution": "draft",
        "aspect_ratio": "16:9",
        "duration": "5s",
        "dynamic_range": "sdr",
    }


def test_names_are_translated_to_the_api_s_own() -> None:
    renamed = {name: api_name for name, api_name in API_NAMES.items() if name != api_name}
    assert renamed == {
        "image_start": "imageStart",
        "image_end": "imageEnd",
        "image_character": "imageCharacter",
        "reply_url": "replyUrl",
        "reply_ref": "replyRef",
    }


def test_leaving_an_image_away_never_makes_a_combination_invalid() -> None:
    for combination in combinations():
        for image in (n for n in IMAGES if combination[n]):
            assert combination | {image: False} in combinations()


def test_allowed_tells_what_still_goes_with_a_partial_choice() -> None:
    assert allowed({"model": "ray-v3-reasoning", "dynamic_range": "hdr_exr"}) == {
        "resolution": ("720p",),
        "aspect_ratio": table.ASPECT_RATIOS,
        "duration": ("5s",),
        "image_start": (False, True),
        "image_end": (False, True),
        "image_character": (False,),
    }


def test_allowed_takes_images_as_given_or_not() -> None:
    left = allowed({"image_character": True})
    assert left["model"] == ("ray-v3",)
    assert left["dynamic_range"] == ("sdr",)
    assert left["image_start"] == left["image_end"] == (False,)


def test_allowed_leaves_nothing_of_an_impossible_choice() -> None:
    assert set(allowed({"model": "ray-v3-reasoning", "resolution": "draft"}).values()) == {()}


def test_a_combination_is_valid_if_and_only_if_it_holds_every_rule() -> None:
    for request in table.full_product(ASSETS):
        chosen = as_combination(request)
        broken = [
            rule
            for rule in rules.implications()
            if useapi.fits(chosen, dict(rule.when)) and chosen[rule.name] not in (rule.values or (False,))
        ]
        assert (not broken) == table.is_valid(request), (request, broken)
