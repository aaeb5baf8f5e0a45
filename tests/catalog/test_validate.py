"""`validate`, the exact schema, the simulator and the tests' own table must agree, request by request."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from tests import table
from tests.conftest import ALL

from luma_mcp.catalog.suggest import nearest_name, nearest_value, snake_case
from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.catalog.validate import shorten, unknown_parameter, validate, validate_options
from luma_mcp.errors import format_alternative, format_problem, format_problems
from luma_mcp.server.schemas import exact_request_schema
from luma_mcp.simulator.state import Service

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luma_mcp.errors import Alternative

EMAIL = "studio@example.com"
VIDEO_NAMES = (*USEAPI.params, "wait_seconds", "save", "new_take")


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """The caller's params that are not in the other request."""
    return {name for name, value in before.items() if after.get(name) != value}


@cache
def valid_requests(images: frozenset[str]) -> list[dict[str, str]]:
    """The table's valid requests with these images or fewer, at one aspect ratio: no rule is about that."""
    every = table.full_product({name: f"u1:{name}" for name in table.IMAGES})
    found = []
    for request in every:
        has_only_these = set(request) & set(table.IMAGES) <= images
        if request["aspect_ratio"] == "1:1" and has_only_these and table.is_valid(request):
            found.append(request)
    return found


# What a change costs: an image more than a choice that shows, and that more than all those that only adjust the video.
COSTS = {"model": 1, "resolution": 1, "duration": 1, "dynamic_range": 100, "aspect_ratio": 100}
COSTS |= dict.fromkeys(table.IMAGES, 110)


def cost_of(names: Iterable[str]) -> int:
    return sum(map(COSTS.__getitem__, names))


def ways_to_correct(request: dict[str, str]) -> list[frozenset[str]]:
    """The params that a correction changes, for every correction that changes none needlessly, the cheapest first."""
    choices = {name: value for name, value in request.items() if name in USEAPI.choices}
    given = frozenset(request.keys() & set(table.IMAGES))
    return find_ways(tuple((choices | {"aspect_ratio": "1:1"}).items()), given)


@cache
def find_ways(choices: tuple[tuple[str, str], ...], given: frozenset[str]) -> list[frozenset[str]]:
    wanted = {**dict(choices), **{name: f"u1:{name}" for name in given}}
    every = {frozenset(changed(wanted, valid)) for valid in valid_requests(given)}
    return sorted((names for names in every if not any(other < names for other in every)), key=cost_of)


def corrected(request: dict[str, str], way: Alternative) -> dict[str, str]:
    """The request as an alternative corrects it."""
    return {name: value for name, value in {**request, **way.change}.items() if name not in way.leave_out}


# By model and resolution, so that several workers share the 3,456 requests.
VALID_OF = {
    ("ray-v3-flash", "draft"): 48,
    ("ray-v3-flash", "540p"): 96,
    ("ray-v3-flash", "720p"): 96,
    ("ray-v3-flash", "1080p"): 72,
    ("ray-v3", "draft"): 60,
    ("ray-v3", "540p"): 108,
    ("ray-v3", "720p"): 108,
    ("ray-v3", "1080p"): 84,
    ("ray-v3-reasoning", "draft"): 0,
    ("ray-v3-reasoning", "540p"): 0,
    ("ray-v3-reasoning", "720p"): 96,
    ("ray-v3-reasoning", "1080p"): 72,
}


def test_all_3456_requests_are_covered() -> None:
    assert len(table.full_product(dict.fromkeys(table.IMAGES, "u1:a"))) == 3456
    assert sum(VALID_OF.values()) == 840


@pytest.mark.sample(4)
@pytest.mark.parametrize(("model", "resolution"), VALID_OF)
def test_every_request_gets_the_same_answer_everywhere(model: str, resolution: str) -> None:
    service = Service(USEAPI, clock=lambda: 0.0, rng=random.Random(1))
    service.add_account(EMAIL, concurrency=10_000)
    images = {name: service.add_asset(EMAIL) for name in table.IMAGES}
    exact = Draft202012Validator(exact_request_schema(USEAPI))
    counts = {True: 0, False: 0}

    def is_accepted(request: dict[str, str]) -> bool:
        status, _ = service.submit({USEAPI.params[name].api_name: value for name, value in request.items()})
        service.jobs.clear()
        assert status in (200, 400)
        return status == 200

    for request in table.full_product(images):
        if (request["model"], request["resolution"]) != (model, resolution):
            continue
        valid = table.is_valid(request)
        validation = validate(USEAPI, request)
        answers = (not validation.problems, exact.is_valid(request), is_accepted(request))
        assert answers == (valid, valid, valid), request
        counts[valid] += 1
        nearest = validation.nearest
        assert nearest is not None
        if valid:
            assert (nearest, validation.alternatives) == (request, ())
            continue
        # What is suggested is valid everywhere, and gives up as little as possible.
        assert table.is_valid(nearest), request
        ways = ways_to_correct(request)
        assert cost_of(changed(request, nearest)) == cost_of(ways[0]), request
        # So is each alternative, and it is another way; the best ones are named.
        others = [corrected(request, way) for way in validation.alternatives]
        assert all(map(table.is_valid, others)), request
        costs = [cost_of(changed(request, other)) for other in (nearest, *others)]
        assert costs == [cost_of(way) for way in ways[:3]], request
        assert len({frozenset(changed(request, other)) for other in (nearest, *others)}) == len(costs), request
        for way in validation.alternatives:
            assert way.keeps, request
            assert way.keeps.keys() <= changed(request, nearest), request
        assert {problem.field for problem in validation.problems} == changed(request, nearest), request
        for problem in validation.problems:
            assert nearest.get(problem.field) in (problem.allowed or (None,)), request
    valid_requests_here = VALID_OF[model, resolution]
    assert counts == {True: valid_requests_here, False: 288 - valid_requests_here}


COMPLETED = [
    ({}, {"model": "ray-v3-flash", "resolution": "draft", "duration": "5s", "dynamic_range": "sdr"}),
    ({"model": "ray-v3-reasoning"}, {"resolution": "720p", "dynamic_range": "sdr", "duration": "5s"}),
    ({"dynamic_range": "hdr"}, {"model": "ray-v3-flash", "resolution": "540p", "duration": "5s"}),
    ({"dynamic_range": "hdr_exr"}, {"model": "ray-v3-flash", "resolution": "540p", "duration": "5s"}),
    (
        {"image_character": "u1:a"},
        {"model": "ray-v3", "resolution": "draft", "duration": "5s", "dynamic_range": "sdr"},
    ),
    ({"duration": "10s", "resolution": "1080p"}, {"model": "ray-v3-flash", "dynamic_range": "sdr"}),
]


@pytest.mark.parametrize(("stated", "completed"), COMPLETED)
def test_missing_choices_become_the_cheapest_that_fit(stated: dict[str, str], completed: dict[str, str]) -> None:
    params = {"prompt": "A fox", **stated}
    validation = validate(USEAPI, params)
    assert validation.problems == ()
    assert validation.nearest == {"aspect_ratio": "16:9", **params, **completed}


def test_all_problems_are_found_at_once() -> None:
    validation = validate(
        USEAPI, {"prompt": "A fox", "dynamic_range": "hdr", "duration": "10s", "resolution": "8k", "email": "me"}
    )
    assert {(problem.field, problem.code, problem.allowed) for problem in validation.problems} == {
        ("email", "wrong_format", ()),
        ("resolution", "not_offered", ("540p", "720p", "1080p")),
        ("duration", "conflict", ("5s",)),
    }


def test_a_conflict_names_what_it_conflicts_with() -> None:
    [problem] = validate(
        USEAPI, {"prompt": "A fox", "model": "ray-v3-reasoning", "resolution": "draft", "dynamic_range": "hdr"}
    ).problems
    assert (problem.field, problem.value, problem.allowed) == ("resolution", "draft", ("720p", "1080p"))
    assert problem.conflicts_with == ('model "ray-v3-reasoning"', 'dynamic_range "hdr"')
    assert format_problem(problem) == (
        'resolution "draft" cannot be combined with model "ray-v3-reasoning" or dynamic_range "hdr"; '
        'use "720p" or "1080p".'
    )


def test_an_image_that_conflicts_is_to_be_left_out() -> None:
    validation = validate(
        USEAPI, {"prompt": "A fox", "model": "ray-v3", "image_start": "u1:a", "image_character": "u1:b"}
    )
    [problem] = validation.problems
    assert (problem.field, problem.code, problem.conflicts_with) == ("image_character", "conflict", ("image_start",))
    assert format_problem(problem) == "image_character cannot be combined with image_start; leave it out."
    assert validation.nearest is not None
    assert "image_character" not in validation.nearest


NEAREST_VALUES = [
    ("resolution", "480p", "540p"),
    ("resolution", "2160p", "1080p"),
    ("resolution", "8k", "1080p"),
    ("resolution", "4k", "1080p"),
    ("resolution", "2k", "1080p"),
    ("resolution", "UHD", "1080p"),
    ("resolution", "Full HD", "1080p"),
    ("resolution", "hd", "720p"),
    ("resolution", "sd", "540p"),
    ("resolution", "preview", "draft"),
    ("resolution", "1920x1080", "1080p"),
    ("duration", "8s", "10s"),
    ("duration", "6s", "5s"),
    ("model", "ray-v3-reason", "ray-v3-reasoning"),
    ("model", "reasoning", "ray-v3-reasoning"),
    ("model", "flash", "ray-v3-flash"),
    ("dynamic_range", "hdr-exr", "hdr_exr"),
    ("dynamic_range", "hdr10", "hdr"),
    ("dynamic_range", "EXR", "hdr_exr"),
    ("aspect_ratio", "2:1", "16:9"),
    ("aspect_ratio", "4:5", "3:4"),
    ("aspect_ratio", "1080x1920", "9:16"),
    ("aspect_ratio", "vertical", "9:16"),
    ("aspect_ratio", "cinematic", "21:9"),
    ("resolution", "best", "1080p"),
    ("resolution", "4K UHD", "1080p"),
    ("duration", "20s", "10s"),
    ("duration", "1 minute", "10s"),
    ("dynamic_range", "Dolby Vision", "hdr"),
]


@pytest.mark.parametrize(("name", "text", "nearest"), NEAREST_VALUES)
def test_unknown_text_suggests_the_nearest_value(name: str, text: str, nearest: str) -> None:
    validation = validate(USEAPI, {"prompt": "A fox", name: text})
    assert [problem.field for problem in validation.problems] == [name]
    assert validation.nearest is not None
    assert validation.nearest[name] == nearest


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("resolution", "?"),
        ("resolution", "x" * 5_000),
        ("resolution", "16:9"),
        ("resolution", "24fps"),
        ("resolution", "square"),
        ("aspect_ratio", "0:0"),
        ("aspect_ratio", "1080p"),
        ("model", "sora"),
        ("model", "kling-v2"),
        ("duration", "hd"),
        ("duration", "121 frames"),
        ("dynamic_range", "none"),
    ],
)
def test_text_that_is_near_to_nothing(name: str, text: str) -> None:
    assert nearest_value(USEAPI, name, text) is None


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("imageStart", "image_start"),
        ("lastFrame", "image_end"),
        ("face", "image_character"),
        ("photo", "image_start"),
        ("seconds", "duration"),
        ("durration", "duration"),
        ("webhook", "reply_url"),
        ("zzz", None),
        ("prompt" * 50, None),
    ],
)
def test_unknown_names_suggest_the_nearest_name(name: str, nearest: str | None) -> None:
    assert nearest_name(name, USEAPI.params) == nearest


SIMILAR = {
    "image_url": "image_start",
    "ref_image": "image_start",
    "first_frame_image": "image_start",
    "init_image": "image_start",
    "last_frame_image": "image_end",
    "image_tail": "image_end",
    "subject_reference": "image_character",
    "durationSeconds": "duration",
    "video_length": "duration",
    "model_version": "model",
    "quality": "resolution",
    "orientation": "aspect_ratio",
    "hdr": "dynamic_range",
    "text_prompt": "prompt",
    "webhook_url": "reply_url",
    "max_wait": "wait_seconds",
    "promt": "prompt",
}
"""Names that other tools use for a parameter of ours, and misspelled ones."""
DISSIMILAR = """
audio sound generate_audio music fps frame_rate framesPerSecond seed negative_prompt negativePrompt negative_text
style style_reference style_image motion motion_strength motion_range motion_bucket_id strength image_strength
prompt_strength cfg cfg_scale guidance guidance_scale text_guidance steps num_inference_steps sampler scheduler
watermark upscale loop looping camera camera_motion camera_control mode fast_mode n num_videos sample_count count
batch_size variations width height weight weights image_size image_count frames num_frames start_time end_time
output_format codec bitrate format storage_uri video_url mask_image face_enhance person_generation enhance_prompt
prompt_optimizer prompt_upsampling user_id title preset effect concepts temperature stream quantity rotation
interpolate safety priority zzz 焦点
"""
"""Names that other generators use for what none of our parameters is."""


@pytest.mark.parametrize(("name", "meant"), SIMILAR.items())
def test_similar_names_suggest_what_they_mean(name: str, meant: str) -> None:
    assert unknown_parameter(USEAPI, name, "x", VIDEO_NAMES).did_you_mean == meant


@pytest.mark.parametrize("name", DISSIMILAR.split())
def test_dissimilar_names_suggest_nothing(name: str) -> None:
    problem = unknown_parameter(USEAPI, name, "x", VIDEO_NAMES)
    assert problem.did_you_mean is None
    assert "did you mean" not in format_problem(problem)


def test_what_one_api_does_not_offer_is_in_its_catalog() -> None:
    silent = replace(USEAPI, not_offered={"loops": ("loop",)})
    assert unknown_parameter(silent, "loop", True, VIDEO_NAMES).allowed == ("loops",)
    assert unknown_parameter(silent, "audio", "x", VIDEO_NAMES).code == "unknown_parameter"


def test_the_catalog_says_which_choices_are_adjusted_first() -> None:
    params = {"prompt": "A fox", "dynamic_range": "hdr", "duration": "10s"}
    assert (validate(USEAPI, params).nearest or {}).items() >= {"dynamic_range": "hdr", "duration": "5s"}.items()
    length_first = dict(USEAPI.choices)
    length_first["duration"] = replace(length_first["duration"], adjustable=False)
    length_first["dynamic_range"] = replace(length_first["dynamic_range"], adjustable=True)
    nearest = validate(replace(USEAPI, choices=length_first), params).nearest or {}
    assert nearest.items() >= {"dynamic_range": "sdr", "duration": "10s"}.items()


ALTERNATIVES = [
    (
        {"dynamic_range": "hdr", "resolution": "draft", "duration": "10s"},
        {"dynamic_range": "hdr", "resolution": "540p", "duration": "5s"},
        ['resolution "draft" and duration "10s" with dynamic_range "sdr"'],
    ),
    (
        {"dynamic_range": "hdr_exr", "resolution": "1080p"},
        {"dynamic_range": "hdr_exr", "resolution": "720p"},
        ['resolution "1080p" with dynamic_range "hdr"'],
    ),
    (
        {"dynamic_range": "hdr", "image_character": "u1:a", "model": "ray-v3-flash"},
        {"dynamic_range": "sdr", "image_character": "u1:a", "model": "ray-v3"},
        ['model "ray-v3-flash" and dynamic_range "hdr" without image_character'],
    ),
    (
        {"image_start": "u1:a", "image_character": "u1:b", "aspect_ratio": "9:16"},
        {"image_start": "u1:a", "aspect_ratio": "9:16"},
        ["image_character without image_start"],
    ),
    (
        {"model": "ray-v3-reasoning", "resolution": "draft"},
        {"model": "ray-v3-reasoning", "resolution": "720p"},
        ['resolution "draft" with model "ray-v3"'],
    ),
    # What is not offered counts as the nearest that is.
    (
        {"dynamic_range": "hdr", "duration": "20s", "resolution": "4K"},
        {"dynamic_range": "hdr", "duration": "5s", "resolution": "1080p"},
        ['duration "10s" with resolution "1080p" and dynamic_range "sdr"'],
    ),
    ({"resolution": "4K", "duration": "20s"}, {"resolution": "1080p", "duration": "10s"}, []),
]


@pytest.mark.parametrize(("stated", "nearest", "others"), ALTERNATIVES)
def test_a_suggestion_keeps_the_intent(stated: dict[str, str], nearest: dict[str, str], others: list[str]) -> None:
    validation = validate(USEAPI, {"prompt": "A fox", **stated})
    assert validation.nearest is not None
    assert validation.nearest.items() >= nearest.items()
    assert list(map(format_alternative, validation.alternatives)) == others


def test_snake_case() -> None:
    assert [snake_case(name) for name in ("imageStart", "image_start", "Prompt")] == [
        "image_start",
        "image_start",
        "prompt",
    ]


def test_an_unknown_parameter_describes_what_was_meant() -> None:
    problem = unknown_parameter(USEAPI, "lenght", "5s", USEAPI.params)
    assert (problem.code, problem.did_you_mean, problem.expected) == ("unknown_parameter", "duration", '"5s" or "10s"')
    assert format_problem(problem) == '"lenght" is not a parameter: did you mean "duration"? It takes "5s" or "10s".'
    other = unknown_parameter(USEAPI, "zzz", "1", ("jobid",))
    assert (other.did_you_mean, other.expected, other.allowed) == (None, "", ("jobid",))
    assert format_problem(other) == '"zzz" is not a parameter: leave it out.'
    assert format_problems([other, other])[-1] == "The parameters are jobid."
    assert " ".join(format_problems([other, other])).count("The parameters") == 1


def test_long_values_are_shortened() -> None:
    [problem] = validate(USEAPI, {"prompt": "A fox", "model": "y" * 5_000}).problems
    assert problem.value == "y" * 80 + "…"
    assert shorten("y" * 80) == "y" * 80
    assert shorten(7) == 7


def test_secrets_in_a_link_are_not_repeated() -> None:
    assert shorten("https://me:pw@example.com/a.png?token=geheim#x") == "https://example.com/a.png?…"
    assert shorten("HTTP://example.com/a.png#geheim") == "HTTP://example.com/a.png?…"
    assert shorten("https://example.com/a.png") == "https://example.com/a.png"


@pytest.mark.parametrize(
    ("prompt", "code"),
    [(None, "missing"), ("", "empty"), ("   ", "empty"), ("x" * 2001, "too_long"), (7, "wrong_type")],
)
def test_a_prompt_is_never_invented_or_shortened(prompt: Any, code: str) -> None:
    params = {} if prompt is None else {"prompt": prompt}
    validation = validate(USEAPI, params)
    assert [(problem.field, problem.code) for problem in validation.problems] == [("prompt", code)]
    assert validation.nearest is None


@pytest.mark.parametrize(
    ("image", "code"),
    [("  ", "empty"), ("half a \ud83d", "invalid_text"), (7, "wrong_type"), (["a.png"], "wrong_type")],
    ids=repr,
)
def test_an_unusable_image_is_not_dropped_from_a_suggestion(image: Any, code: str) -> None:
    validation = validate(USEAPI, {"prompt": "A fox", "image_start": image})
    assert [(problem.field, problem.code) for problem in validation.problems] == [("image_start", code)]
    assert validation.nearest is None


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [("email", "me", "wrong_format"), ("reply_url", "ftp://example.com", "wrong_format"), ("reply_ref", " ", "empty")],
)
def test_an_unusable_text_is_not_dropped_from_a_suggestion(name: str, value: str, code: str) -> None:
    validation = validate(USEAPI, {"prompt": "A fox", name: value})
    assert [(problem.field, problem.code) for problem in validation.problems] == [(name, code)]
    assert validation.nearest is None


def test_options_are_validated_without_a_prompt() -> None:
    assert validate_options(USEAPI, {"model": "ray-v3-reasoning"}).problems == ()
    validation = validate_options(USEAPI, {"model": "ray-v3-reasoning", "resolution": "540p"})
    assert [problem.field for problem in validation.problems] == ["resolution"]
    assert validation.nearest == {"model": "ray-v3-reasoning", "resolution": "720p"}


odd = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.lists(st.text(max_size=2), max_size=2))
any_params = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.one_of(st.text(max_size=2002), odd),
        **{name: st.one_of(st.sampled_from(choice.values), odd) for name, choice in USEAPI.choices.items()},
        **{name: st.one_of(st.sampled_from(["u1:a", "x", "a:b\n", "https://x/y"]), odd) for name in USEAPI.images},
        "email": st.one_of(st.sampled_from(["a@example.com", "a b@c"]), odd),
        "reply_url": st.one_of(st.sampled_from(["https://example.com/hook", "ftp://x", "http://" + "x" * 1024]), odd),
        "reply_ref": odd,
        "lenght": odd,
    },
)


EXACT = Draft202012Validator(exact_request_schema(USEAPI))


@given(any_params)
@settings(max_examples=500 if ALL else 100, deadline=None)
def test_the_exact_schema_accepts_exactly_what_validate_accepts(params: dict[str, Any]) -> None:
    validation = validate(USEAPI, params)
    assert EXACT.is_valid(params) == (not validation.problems)
    if validation.nearest is not None:
        assert not validate(USEAPI, validation.nearest).problems
        assert EXACT.is_valid(validation.nearest)
