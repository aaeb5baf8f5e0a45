"""`validate`, the exact schema, the simulator and the tests' own table agree on every request."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from tests import table, table_agents
from tests.conftest import ALL, MIDNIGHT

from luma_mcp.catalog.agents import AGENTS
from luma_mcp.catalog.suggest import nearest_name, nearest_value, snake_case
from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.catalog.validate import shorten, unknown_parameter, validate, validate_options
from luma_mcp.errors import format_alternative, format_problem, format_problems
from luma_mcp.server.schemas import exact_request_schema, portable_schema
from luma_mcp.simulator.agents import AgentsService, SimulatedFile
from luma_mcp.simulator.state import Service

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from luma_mcp.catalog.models import Catalog
    from luma_mcp.catalog.validate import Validation
    from luma_mcp.errors import Alternative

EMAIL = "studio@example.com"
VIDEO_NAMES = (*USEAPI.params, "takes", "wait_seconds", "save", "new_take")
AGENTS_NAMES = (*AGENTS.params, "takes", "wait_seconds", "save", "new_take")
JOBID = "2f6c0c1a-5b7e-4d3c-9a41-0d1f3b6f7c55"
AGENTS_DEFAULTS = {name: choice.default for name, choice in AGENTS.choices.items()}
FILES = ("6c1f5e0e-0d5c-4c38-8e0e-2a3c6c6a5b01", "6c1f5e0e-0d5c-4c38-8e0e-2a3c6c6a5b02")


@dataclass(frozen=True, eq=False)
class Page:
    """The catalog of an API, with the tests' own copy of its source."""

    catalog: Catalog
    table: ModuleType
    given: Mapping[str, Any]
    costs: Mapping[str, int]
    """The cost of a change. An image or input costs more than a visible choice, which costs more than all choices that
    only adjust the video."""
    ratios: tuple[str, ...] = table.ASPECT_RATIOS
    """The aspect ratios of the requests. No rule depends on them."""

    def __str__(self) -> str:
        return " ".join([self.catalog.api, *self.given])

    def requests(self, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        every = self.table.full_product(given)
        return [request for request in every if request["aspect_ratio"] in self.ratios]


ADJUSTING = {"model": 1, "resolution": 1, "duration": 1}
USEAPI_COSTS = ADJUSTING | {"dynamic_range": 100, "aspect_ratio": 100} | dict.fromkeys(table.IMAGES, 110)
# With equal numbers of changes, the earlier input is kept, whatever adjustments that needs.
AGENTS_COSTS = ADJUSTING | {"dynamic_range": 10_000, "aspect_ratio": 10_005, "loop": 10_010, "extend": 10_020}
AGENTS_COSTS |= {"keyframes": 10_040, "image_end": 10_080, "image_start": 10_160}
FRAMES_AND_LOOP = {"image_start": FILES[0], "image_end": FILES[1], "loop": True}
EARLY = [{"image": FILES[0], "seconds": 0}, {"image": FILES[1], "seconds": 5}]
LATE = [{"image": FILES[0], "seconds": 0.5}, {"image": FILES[1], "seconds": 5.1}]
USEAPI_PAGE = Page(USEAPI, table, {name: f"u1:{name}" for name in table.IMAGES}, USEAPI_COSTS)
AGENTS_PAGE = Page(AGENTS, table_agents, FRAMES_AND_LOOP, AGENTS_COSTS)
AGENTS_EARLY = replace(AGENTS_PAGE, given={**FRAMES_AND_LOOP, "keyframes": EARLY, "extend": JOBID}, ratios=("1:1",))
AGENTS_LATE = replace(AGENTS_EARLY, given={**FRAMES_AND_LOOP, "keyframes": LATE, "extend": JOBID})


def list_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    """List the params whose values are missing from the other request."""
    return {name for name, value in before.items() if after.get(name) != value}


def get_cost(page: Page, names: Iterable[str]) -> int:
    return sum(map(page.costs.__getitem__, names))


def list_corrections(page: Page, request: dict[str, Any]) -> list[frozenset[str]]:
    """List the minimal corrections, cheapest first. Each is the set of params that it changes."""
    choices = {name: value for name, value in request.items() if name in page.catalog.choices}
    given = frozenset(request.keys() & page.given.keys())
    return find_corrections(page, tuple((choices | {"aspect_ratio": "1:1"}).items()), given)


@cache
def find_corrections(page: Page, choices: tuple[tuple[str, str], ...], given: frozenset[str]) -> list[frozenset[str]]:
    wanted = {**dict(choices), **{name: page.given[name] for name in given}}
    return find_least_changes(page, wanted, list_valid_requests(page, given))


def find_least_changes(page: Page, wanted: Mapping[str, Any], valid: list[dict[str, Any]]) -> list[frozenset[str]]:
    """Find the changes that lead to each valid request, without supersets of other changes."""
    every = {frozenset(list_changes(wanted, request)) for request in valid}
    least = (names for names in every if not any(other < names for other in every))
    return sorted(least, key=lambda names: get_cost(page, names))


@cache
def list_valid_requests(page: Page, given: frozenset[str]) -> list[dict[str, Any]]:
    """List the valid requests with at most these images and inputs, at one aspect ratio (no rule depends on it)."""
    found = []
    for request in page.requests(page.given):
        has_only_these = request.keys() & page.given.keys() <= given
        if request["aspect_ratio"] == "1:1" and has_only_these and page.table.is_valid(request):
            found.append(request)
    return found


def correct(request: dict[str, Any], way: Alternative) -> dict[str, Any]:
    """Apply an alternative to a request."""
    return {name: value for name, value in {**request, **way.change}.items() if name not in way.leave_out}


def assert_refusal(request: dict[str, Any], validation: Validation, ways: list[frozenset[str]], page: Page) -> None:
    """Assert that the suggestion is valid, changes as little as possible, and lists the next best alternatives."""
    nearest = validation.nearest
    assert nearest is not None
    assert page.table.is_valid(nearest), request
    # Each alternative is also valid and different, and the best ones are listed.
    others = [correct(request, way) for way in validation.alternatives]
    assert all(map(page.table.is_valid, others)), request
    costs = [get_cost(page, list_changes(request, other)) for other in (nearest, *others)]
    assert costs == [get_cost(page, way) for way in ways[:3]], request
    assert len({frozenset(list_changes(request, other)) for other in (nearest, *others)}) == len(costs), request
    for way in validation.alternatives:
        assert way.keeps, request
        assert way.keeps.keys() <= list_changes(request, nearest), request
    assert {problem.field for problem in validation.problems} == list_changes(request, nearest), request
    for problem in validation.problems:
        assert problem.conflicts_with, request
        assert nearest.get(problem.field) in (problem.allowed or (None,)), request


# By model and resolution, so that several workers share the 3,456 requests of one API and the 1,152 of the other,
# and the requests with keyframes (within 5 s or not) and an earlier clip to extend.
VALID_OF = [
    (USEAPI_PAGE, "ray-v3-flash", "draft", 48),
    (USEAPI_PAGE, "ray-v3-flash", "540p", 96),
    (USEAPI_PAGE, "ray-v3-flash", "720p", 96),
    (USEAPI_PAGE, "ray-v3-flash", "1080p", 72),
    (USEAPI_PAGE, "ray-v3", "draft", 60),
    (USEAPI_PAGE, "ray-v3", "540p", 108),
    (USEAPI_PAGE, "ray-v3", "720p", 108),
    (USEAPI_PAGE, "ray-v3", "1080p", 84),
    (USEAPI_PAGE, "ray-v3-reasoning", "draft", 0),
    (USEAPI_PAGE, "ray-v3-reasoning", "540p", 0),
    (USEAPI_PAGE, "ray-v3-reasoning", "720p", 96),
    (USEAPI_PAGE, "ray-v3-reasoning", "1080p", 72),
    (AGENTS_PAGE, "ray-3.2", "360p", 60),
    (AGENTS_PAGE, "ray-3.2", "540p", 60),
    (AGENTS_PAGE, "ray-3.2", "720p", 108),
    (AGENTS_PAGE, "ray-3.2", "1080p", 108),
    (AGENTS_EARLY, "ray-3.2", "360p", 12),
    (AGENTS_EARLY, "ray-3.2", "540p", 13),
    (AGENTS_EARLY, "ray-3.2", "720p", 23),
    (AGENTS_EARLY, "ray-3.2", "1080p", 23),
    (AGENTS_LATE, "ray-3.2", "360p", 11),
    (AGENTS_LATE, "ray-3.2", "540p", 12),
    (AGENTS_LATE, "ray-3.2", "720p", 20),
    (AGENTS_LATE, "ray-3.2", "1080p", 20),
]


@pytest.mark.parametrize(
    ("page", "every", "valid"),
    [(USEAPI_PAGE, 3456, 840), (AGENTS_PAGE, 1152, 336), (AGENTS_EARLY, 768, 71), (AGENTS_LATE, 768, 63)],
)
def test_all_requests_are_covered(page: Page, every: int, valid: int) -> None:
    assert len(page.requests(page.given)) == every
    assert sum(count for each, _, _, count in VALID_OF if each is page) == valid


@pytest.mark.sample(6)
@pytest.mark.parametrize(("page", "model", "resolution", "valid_requests_here"), VALID_OF, ids=str)
def test_all_validators_agree_on_every_request(
    page: Page, model: str, resolution: str, valid_requests_here: int
) -> None:
    accepts, given = build_simulated_api(page)
    exact = Draft202012Validator(exact_request_schema(page.catalog))
    portable = Draft202012Validator(portable_schema(page.catalog, 600))
    kind = {"model": model, "resolution": resolution}.items()
    requests = [request for request in page.requests(given) if kind <= request.items()]
    count = 0
    for request in requests:
        valid = page.table.is_valid(request)
        validation = validate(page.catalog, request)
        verdicts = (not validation.problems, exact.is_valid(request), accepts(request))
        assert verdicts == (valid, valid, valid), request
        count += valid
        if valid:
            assert portable.is_valid(request), request
            assert (validation.nearest, validation.alternatives) == (request, ())
        else:
            assert_refusal(request, validation, list_corrections(page, request), page)
    assert (count, len(requests)) == (valid_requests_here, len(page.ratios) * 3 * 2 * 2 ** len(page.given))


Accepts = Callable[[dict[str, Any]], bool]


def build_simulated_api(page: Page) -> tuple[Accepts, Mapping[str, Any]]:
    """Build a function that returns whether a simulated API accepts a request, and get the API's images and inputs."""
    if page.catalog is AGENTS:
        return build_simulated_agents(), page.given
    service = Service(page.catalog, clock=lambda: 0.0, rng=random.Random(1))
    service.add_account(EMAIL, concurrency=10_000)

    def accepts(request: dict[str, Any]) -> bool:
        status, _ = service.submit({page.catalog.params[name].api_name: value for name, value in request.items()})
        service.jobs.clear()
        assert status in (200, 400)
        return status == 200

    return accepts, {name: service.add_asset(EMAIL) for name in page.given}


def build_simulated_agents() -> Accepts:
    """Build the same function for the simulated second API, which has the files and the job in the requests."""
    service = AgentsService(AGENTS, clock=lambda: 0.0, rng=random.Random(1))
    service.add_account(EMAIL, concurrency=10_000)
    for file_id in FILES:
        service.files[file_id] = SimulatedFile(file_id, "image/png", 1, MIDNIGHT, checked_at=-1.0)
    earlier = service.start({"prompt": "A fox", **AGENTS_DEFAULTS}, EMAIL, webhook=False)
    earlier.begun = -1000.0

    def accepts(request: dict[str, Any]) -> bool:
        service.jobs = {JOBID: earlier}
        body = build_agents_body(request)
        status, _ = service.submit(body) if body else (422, {})
        assert status in (201, 400, 422)
        return status == 201

    return accepts


def build_agents_body(request: dict[str, Any]) -> dict[str, Any]:
    """Build the second API's body of a request by hand. It is empty if the API's fields cannot express the request."""
    dynamic_range, duration = request["dynamic_range"], request["duration"]
    video = {"resolution": request["resolution"], "duration": duration, "loop": request.get("loop", False)}
    video |= {"hdr": dynamic_range != "sdr", "exr_export": dynamic_range == "hdr_exr"}
    places = {frame["seconds"]: frame["image"] for frame in request.get("keyframes", ())}
    frames: dict[str, Any] = {}
    for name, field, seconds in (("image_start", "start_frame", 0), ("image_end", "end_frame", int(duration[:-1]))):
        if name in request and (dynamic_range, duration) == ("sdr", "5s"):
            frames[field] = {"file_id": request[name]}
        elif name in request and "keyframes" in request:
            return {}
        elif name in request:
            places[seconds] = request[name]
    if "extend" in request and "start_frame" in frames:
        return {}
    if "extend" in request:
        frames["start_frame"] = {"generation_id": request["extend"]}
    if places:
        frames["keyframes"] = [{"file_id": image} for image in places.values()]
        frames["keyframe_indexes"] = [round(seconds * 24) for seconds in places]
    about = {name: request[name] for name in ("model", "prompt", "aspect_ratio")}
    return {"type": "video", **about, "video": {**video, **frames}}


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


@pytest.mark.parametrize(("given_params", "completed"), COMPLETED)
def test_missing_choices_become_the_cheapest_valid_ones(
    given_params: dict[str, str], completed: dict[str, str]
) -> None:
    params = {"prompt": "A fox", **given_params}
    validation = validate(USEAPI, params)
    assert validation.problems == ()
    assert validation.nearest == {"aspect_ratio": "16:9", **params, **completed}


def test_all_problems_are_reported_together() -> None:
    validation = validate(
        USEAPI, {"prompt": "A fox", "dynamic_range": "hdr", "duration": "10s", "resolution": "8k", "email": "me"}
    )
    assert {(problem.field, problem.code, problem.allowed) for problem in validation.problems} == {
        ("email", "wrong_format", ()),
        ("resolution", "not_offered", ("540p", "720p", "1080p")),
        ("duration", "conflict", ("5s",)),
    }


def test_conflict_names_the_other_params() -> None:
    [problem] = validate(
        USEAPI, {"prompt": "A fox", "model": "ray-v3-reasoning", "resolution": "draft", "dynamic_range": "hdr"}
    ).problems
    assert (problem.field, problem.value, problem.allowed) == ("resolution", "draft", ("720p", "1080p"))
    assert problem.conflicts_with == ('model "ray-v3-reasoning"', 'dynamic_range "hdr"')
    assert format_problem(problem) == (
        'resolution "draft" cannot be combined with model "ray-v3-reasoning" or dynamic_range "hdr"; '
        'use "720p" or "1080p".'
    )


def test_conflicting_image_is_to_be_left_out() -> None:
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
def test_dissimilar_values_have_no_nearest_value(name: str, text: str) -> None:
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
    **dict.fromkeys(("n", "num_videos", "sample_count", "count", "batch_size", "variations", "quantity"), "takes"),
}
"""Names that other tools use for a parameter of ours, and misspelled ones."""
DISSIMILAR = """
audio sound generate_audio music fps frame_rate framesPerSecond seed negative_prompt negativePrompt
negative_text style style_reference style_image motion motion_strength motion_range motion_bucket_id strength
image_strength prompt_strength cfg cfg_scale guidance guidance_scale text_guidance steps num_inference_steps
sampler scheduler watermark upscale loop looping camera camera_motion camera_control mode fast_mode width height
weight weights image_size image_count frames num_frames start_time end_time output_format codec bitrate format
storage_uri video_url mask_image face_enhance person_generation enhance_prompt prompt_optimizer
prompt_upsampling user_id title preset effect concepts temperature stream rotation interpolate safety priority
zzz 焦点
"""
"""Names that other generators use for what none of our parameters is."""


@pytest.mark.parametrize(("name", "meant"), SIMILAR.items())
def test_similar_names_suggest_the_right_parameter(name: str, meant: str) -> None:
    assert unknown_parameter(USEAPI, name, "x", VIDEO_NAMES).did_you_mean == meant


@pytest.mark.parametrize("name", DISSIMILAR.split())
def test_dissimilar_names_suggest_nothing(name: str) -> None:
    problem = unknown_parameter(USEAPI, name, "x", VIDEO_NAMES)
    assert problem.did_you_mean is None
    assert "did you mean" not in format_problem(problem)


def test_missing_features_are_taken_from_the_catalog() -> None:
    silent = replace(USEAPI, not_offered={"loops": ("loop",)})
    assert unknown_parameter(silent, "loop", True, VIDEO_NAMES).allowed == ("loops",)
    assert unknown_parameter(silent, "audio", "x", VIDEO_NAMES).code == "unknown_parameter"


def test_catalog_defines_which_choices_are_adjusted_first() -> None:
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
    # A value that is not offered counts as the nearest one that is.
    (
        {"dynamic_range": "hdr", "duration": "20s", "resolution": "4K"},
        {"dynamic_range": "hdr", "duration": "5s", "resolution": "1080p"},
        ['duration "10s" with resolution "1080p" and dynamic_range "sdr"'],
    ),
    ({"resolution": "4K", "duration": "20s"}, {"resolution": "1080p", "duration": "10s"}, []),
]


@pytest.mark.parametrize(("given_params", "nearest", "others"), ALTERNATIVES)
def test_suggestion_keeps_the_intent(given_params: dict[str, str], nearest: dict[str, str], others: list[str]) -> None:
    validation = validate(USEAPI, {"prompt": "A fox", **given_params})
    assert validation.nearest is not None
    assert validation.nearest.items() >= nearest.items()
    assert list(map(format_alternative, validation.alternatives)) == others


def test_names_are_converted_to_snake_case() -> None:
    assert [snake_case(name) for name in ("imageStart", "image_start", "Prompt")] == [
        "image_start",
        "image_start",
        "prompt",
    ]


def test_problem_of_an_unknown_name_describes_the_right_one() -> None:
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
def test_prompt_is_never_invented_or_shortened(prompt: Any, code: str) -> None:
    params = {} if prompt is None else {"prompt": prompt}
    validation = validate(USEAPI, params)
    assert [(problem.field, problem.code) for problem in validation.problems] == [("prompt", code)]
    assert validation.nearest is None


@pytest.mark.parametrize(
    ("image", "code"),
    [("  ", "empty"), ("half a \ud83d", "invalid_text"), (7, "wrong_type"), (["a.png"], "wrong_type")],
    ids=repr,
)
def test_no_suggestion_drops_an_unusable_image(image: Any, code: str) -> None:
    validation = validate(USEAPI, {"prompt": "A fox", "image_start": image})
    assert [(problem.field, problem.code) for problem in validation.problems] == [("image_start", code)]
    assert validation.nearest is None


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [("email", "me", "wrong_format"), ("reply_url", "ftp://example.com", "wrong_format"), ("reply_ref", " ", "empty")],
)
def test_no_suggestion_drops_an_unusable_text(name: str, value: str, code: str) -> None:
    validation = validate(USEAPI, {"prompt": "A fox", name: value})
    assert [(problem.field, problem.code) for problem in validation.problems] == [(name, code)]
    assert validation.nearest is None


def test_options_are_validated_without_a_prompt() -> None:
    assert validate_options(USEAPI, {"model": "ray-v3-reasoning"}).problems == ()
    validation = validate_options(USEAPI, {"model": "ray-v3-reasoning", "resolution": "540p"})
    assert [problem.field for problem in validation.problems] == ["resolution"]
    assert validation.nearest == {"model": "ray-v3-reasoning", "resolution": "720p"}


odd = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.lists(st.text(max_size=2), max_size=2))


def choice_params(catalog: Catalog) -> dict[str, st.SearchStrategy[Any]]:
    return {name: st.one_of(st.sampled_from(choice.values), odd) for name, choice in catalog.choices.items()}


images = st.one_of(st.sampled_from(["u1:a", "x", "a:b\n", "https://x/y"]), odd)
useapi_params = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.one_of(st.text(max_size=2002), odd),
        **choice_params(USEAPI),
        **dict.fromkeys(table.IMAGES, images),
        "email": st.one_of(st.sampled_from(["a@example.com", "a b@c"]), odd),
        "reply_url": st.one_of(st.sampled_from(["https://example.com/hook", "ftp://x", "http://" + "x" * 1024]), odd),
        "reply_ref": odd,
        "lenght": odd,
    },
)
times = st.one_of(st.integers(0, 10), st.floats(0, 5), st.floats(), st.integers(), odd)
keyframe = st.fixed_dictionaries({"image": images, "seconds": times}, optional={"extra": odd})
good_keyframe = st.fixed_dictionaries(
    {"image": st.just("a.png"), "seconds": st.one_of(st.integers(0, 10), st.floats(0, 10.2))}
)
agents_params = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.one_of(st.sampled_from(["A fox", "x" * 6000, "x" * 6001]), odd),
        **choice_params(AGENTS),
        **dict.fromkeys(table_agents.IMAGES, images),
        "loop": st.one_of(st.booleans(), odd),
        "extend": st.one_of(st.just(JOBID), odd),
        "keyframes": st.one_of(
            st.lists(good_keyframe, max_size=4),
            st.lists(good_keyframe, min_size=60, max_size=66),
            st.lists(keyframe),
            odd,
        ),
        "image_character": images,
    },
)
# Mostly valid values, so that this checks the rules.
agents_requests = st.fixed_dictionaries(
    {"prompt": st.just("A fox")},
    optional={
        **{name: st.sampled_from(choice.values) for name, choice in AGENTS.choices.items()},
        **dict.fromkeys(table_agents.IMAGES, st.just("a.png")),
        "loop": st.booleans(),
        "extend": st.just(JOBID),
        "keyframes": st.lists(good_keyframe, min_size=1, max_size=3),
    },
)


def has_equal_times(params: dict[str, Any]) -> bool:
    """Whether two keyframes have the same frame number at 24 frames per second, which no schema can express."""
    keyframes = params.get("keyframes")
    if not isinstance(keyframes, list):
        return False
    places: list[int] = []
    for each in keyframes:
        seconds = each.get("seconds") if isinstance(each, dict) else None
        if isinstance(seconds, int | float) and 0 <= seconds <= 60:
            places.append(round(seconds * 24))
    return len(set(places)) < len(places)


def assert_exact_schema(catalog: Catalog, params: dict[str, Any]) -> None:
    schema = Draft202012Validator(exact_request_schema(catalog))
    validation = validate(catalog, params)
    if not has_equal_times(params):
        assert schema.is_valid(params) == (not validation.problems)
    if validation.nearest is not None:
        assert not validate(catalog, validation.nearest).problems
        assert schema.is_valid(validation.nearest)
    for problem in validation.problems:
        assert problem.expected or problem.allowed or problem.conflicts_with or problem.code == "more", problem


@given(useapi_params)
@settings(max_examples=500 if ALL else 100, deadline=None)
def test_exact_schema_and_validate_agree(params: dict[str, Any]) -> None:
    assert_exact_schema(USEAPI, params)


@given(st.one_of(agents_params, agents_requests))
@settings(max_examples=500 if ALL else 100, deadline=None)
def test_exact_schema_of_the_second_api_and_validate_agree(params: dict[str, Any]) -> None:
    assert_exact_schema(AGENTS, params)
