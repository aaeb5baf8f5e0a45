"""Features of the second API only: prices, keyframes, extended clips and loops, and names that it lacks."""

from __future__ import annotations

from typing import Any

import pytest
from tests import table_agents

from luma_mcp.catalog.agents import AGENTS
from luma_mcp.catalog.validate import unknown_parameter, validate
from luma_mcp.errors import format_alternative, format_problem, format_problems
from luma_mcp.server.arguments import parse_arguments

NAMES = (*AGENTS.params, "wait_seconds", "save", "new_take")
DEFAULTS = {
    "model": "ray-3.2",
    "resolution": "360p",
    "aspect_ratio": "16:9",
    "duration": "5s",
    "dynamic_range": "sdr",
}


def build_keyframes(*seconds: Any) -> list[dict[str, Any]]:
    return [{"image": f"{place}.png", "seconds": each} for place, each in enumerate(seconds)]


def list_problems(**params: Any) -> list[str]:
    return format_problems(validate(AGENTS, {"prompt": "A fox", **params}).problems)


def complete(**params: Any) -> dict[str, Any]:
    validation = validate(AGENTS, {"prompt": "A fox", **params})
    assert validation.problems == ()
    return validation.nearest or {}


def test_defaults_match_the_page() -> None:
    assert {name: choice.default for name, choice in AGENTS.choices.items()} == DEFAULTS
    assert complete() == {"prompt": "A fox", **DEFAULTS}


def test_limits_match_the_page() -> None:
    assert complete(prompt="x" * table_agents.PROMPT_LENGTH)
    assert list_problems(prompt="x" * (table_agents.PROMPT_LENGTH + 1)) == [
        "prompt has 6001 characters; it takes 1 to 6000 characters of text."
    ]
    assert list(AGENTS.params) == [
        "prompt",
        "model",
        "resolution",
        "aspect_ratio",
        "duration",
        "dynamic_range",
        "image_start",
        "image_end",
        "keyframes",
        "extend",
        "loop",
    ]


def test_every_valid_request_has_the_price_of_the_page() -> None:
    every = table_agents.full_product({"image_start": "a.png", "image_end": "b.png", "loop": True})
    valid = list(filter(table_agents.is_valid, every))
    assert len(valid) == 336
    for request in valid:
        price = table_agents.PRICES[request["resolution"]][request["dynamic_range"], request["duration"]]
        assert AGENTS.price(request) == price, request
    assert len(AGENTS.prices) == sum(map(len, table_agents.PRICES.values()))


def test_prices_have_a_date_and_a_source() -> None:
    assert AGENTS.price_date == "2026-10-08"
    assert AGENTS.price_source


def test_extension_costs_as_much_as_a_clip() -> None:
    assert AGENTS.price(complete(extend="2f6c0c1a", resolution="1080p")) == 1.20


def test_draft_is_an_alias_of_the_lowest_resolution() -> None:
    for spelling in ("draft", "Draft", "360", "360p"):
        assert parse_arguments(AGENTS, {"resolution": spelling}, NAMES).params == {"resolution": "360p"}
    [problem] = validate(AGENTS, {"prompt": "A fox", "resolution": "draft", "extend": "2f6c0c1a"}).problems
    assert problem.allowed == ("540p", "720p", "1080p")


def test_loop_false_is_left_out() -> None:
    assert complete(loop=False) == complete()


@pytest.mark.parametrize(
    "others", [{"duration": "10s"}, {"image_end": "b.png"}, {"keyframes": build_keyframes(0)}, {"extend": "j"}]
)
def test_loop_false_conflicts_with_nothing(others: dict[str, Any]) -> None:
    assert complete(loop=False, **others) == complete(**others)
    assert list_problems(loop=True, **others)


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, {"duration": "5s", "resolution": "360p"}),
        ({"keyframes": build_keyframes(0, 5)}, {"duration": "5s", "resolution": "360p"}),
        ({"keyframes": build_keyframes(5.04)}, {"duration": "10s", "dynamic_range": "sdr"}),
        ({"keyframes": build_keyframes(10, 0)}, {"duration": "10s"}),
        ({"keyframes": build_keyframes(1, 2), "dynamic_range": "hdr"}, {"duration": "5s", "resolution": "720p"}),
        ({"keyframes": build_keyframes(0), "duration": "10s"}, {"duration": "10s"}),
        ({"extend": "2f6c0c1a"}, {"duration": "5s", "resolution": "540p", "dynamic_range": "sdr"}),
        ({"loop": True}, {"duration": "5s", "resolution": "360p", "dynamic_range": "sdr"}),
        ({"dynamic_range": "hdr_exr"}, {"duration": "5s", "resolution": "720p"}),
        ({"image_start": "a.png", "image_end": "b.png", "duration": "10s"}, {"resolution": "360p"}),
    ],
)
def test_missing_choices_become_the_cheapest_valid_ones(given: dict[str, Any], chosen: dict[str, str]) -> None:
    assert complete(**given) == {"prompt": "A fox", **DEFAULTS, **given, **chosen}


@pytest.mark.parametrize(
    ("keyframes", "text"),
    [
        ([], "keyframes is not valid; it takes 1 to 64 objects, each with an image and its time in seconds."),
        (
            build_keyframes(*range(65)),
            "keyframes is not valid; it takes 1 to 64 objects, each with an image and its time in seconds.",
        ),
        ("a.png", "keyframes is not valid; it takes 1 to 64 objects, each with an image and its time in seconds."),
        (["a.png"], 'keyframes[0] is not valid; it takes {"image": …, "seconds": …}.'),
        ([{"image": "a.png"}], 'keyframes[0] is not valid; it takes {"image": …, "seconds": …}.'),
        ([{**build_keyframes(0)[0], "strength": 1}], 'keyframes[0] is not valid; it takes {"image": …, "seconds": …}.'),
        (
            [*build_keyframes(0), {"image": " ", "seconds": 1}],
            "keyframes[1].image is empty; it takes an image, as for the first frame.",
        ),
        (
            build_keyframes(0, -0.5),
            "keyframes[1].seconds is not valid; it takes a number of seconds from 0 to 10, within the clip.",
        ),
        (
            build_keyframes(10.01),
            "keyframes[0].seconds is not valid; it takes a number of seconds from 0 to 10, within the clip.",
        ),
        (
            build_keyframes(True),
            "keyframes[0].seconds is not valid; it takes a number of seconds from 0 to 10, within the clip.",
        ),
        (
            build_keyframes("1"),
            "keyframes[0].seconds is not valid; it takes a number of seconds from 0 to 10, within the clip.",
        ),
        (
            build_keyframes(float("nan")),
            "keyframes[0].seconds is not valid; it takes a number of seconds from 0 to 10, within the clip.",
        ),
        (
            build_keyframes(1, 2, 1.01),
            "keyframes[2].seconds is not valid; it takes a time that differs from the others by more than 1/24 s.",
        ),
    ],
)
def test_invalid_keyframe_is_named(keyframes: Any, text: str) -> None:
    assert list_problems(keyframes=keyframes) == [text]
    assert validate(AGENTS, {"prompt": "A fox", "keyframes": keyframes}).nearest is None


def test_largest_number_of_keyframes_is_accepted() -> None:
    times = [place / 24 for place in range(table_agents.MOST_KEYFRAMES)]
    assert complete(keyframes=build_keyframes(*times))["duration"] == "5s"


def test_only_the_first_of_many_wrong_keyframes_are_named() -> None:
    sentences = list_problems(keyframes=build_keyframes(*range(20, 84)))
    assert len(sentences) == 6
    assert sentences[-1] == 'Besides these, 59 more arguments are wrong, from "keyframes[5].seconds" on.'


def test_link_in_keyframes_is_not_repeated() -> None:
    wrong = [{"image": "https://example.com/a.png?token=geheim"}]
    assert "geheim" not in repr(validate(AGENTS, {"prompt": "A fox", "keyframes": wrong}))
    assert "geheim" not in repr(validate(AGENTS, {"prompt": "A fox", "keyframes": {"0": wrong}}))


REFUSALS = [
    (
        {"keyframes": build_keyframes(0, 7), "duration": "5s"},
        {"duration": 'duration "5s" cannot be combined with keyframes after 5 s; use "10s".'},
        {"keyframes": build_keyframes(0, 7), "duration": "10s"},
        ['duration "5s" without keyframes'],
    ),
    (
        {"keyframes": build_keyframes(0, 7), "dynamic_range": "hdr", "resolution": "1080p"},
        {"dynamic_range": 'dynamic_range "hdr" cannot be combined with keyframes after 5 s; use "sdr".'},
        {"keyframes": build_keyframes(0, 7), "dynamic_range": "sdr", "resolution": "1080p", "duration": "10s"},
        ['dynamic_range "hdr" without keyframes'],
    ),
    # Once the keyframes are dropped, so are the changes that only they need.
    (
        {"keyframes": build_keyframes(0, 7), "image_start": "a.png"},
        {"keyframes": "keyframes cannot be combined with image_start; leave it out."},
        {"image_start": "a.png", "duration": "5s"},
        ["keyframes without image_start"],
    ),
    (
        {"keyframes": build_keyframes(0, 7), "image_start": "a.png", "duration": "5s"},
        {"keyframes": 'keyframes cannot be combined with image_start or duration "5s"; leave it out.'},
        {"image_start": "a.png", "duration": "5s"},
        ['keyframes with duration "10s" without image_start'],
    ),
    (
        {"keyframes": build_keyframes(0, 7), "loop": True},
        {"loop": "loop cannot be combined with keyframes; leave it out."},
        {"keyframes": build_keyframes(0, 7), "duration": "10s"},
        ["loop without keyframes"],
    ),
    (
        {"extend": "2f6c0c1a", "resolution": "360p", "duration": "10s"},
        {
            "resolution": 'resolution "360p" cannot be combined with extend; use "540p", "720p" or "1080p".',
            "duration": 'duration "10s" cannot be combined with extend; use "5s".',
        },
        {"extend": "2f6c0c1a", "resolution": "540p", "duration": "5s"},
        ['resolution "360p" and duration "10s" without extend'],
    ),
    (
        {"extend": "2f6c0c1a", "keyframes": build_keyframes(0), "loop": True},
        {
            "extend": "extend cannot be combined with keyframes or loop; leave it out.",
            "loop": "loop cannot be combined with keyframes or extend; leave it out.",
        },
        {"keyframes": build_keyframes(0)},
        ["extend without keyframes and loop", "loop without keyframes and extend"],
    ),
]


@pytest.mark.parametrize(("given", "texts", "nearest", "others"), REFUSALS)
def test_conflicts_of_keyframes_and_clips(
    given: dict[str, Any], texts: dict[str, str], nearest: dict[str, Any], others: list[str]
) -> None:
    validation = validate(AGENTS, {"prompt": "A fox", **given})
    assert {problem.field: format_problem(problem) for problem in validation.problems} == texts
    assert validation.nearest == {"prompt": "A fox", **DEFAULTS, **nearest}
    assert list(map(format_alternative, validation.alternatives)) == others


def test_late_keyframes_are_considered_with_other_problems() -> None:
    params = {"prompt": "A fox", "keyframes": build_keyframes(7), "duration": "5s", "resolution": "4k", "fps": 24}
    validation = validate(AGENTS, params)
    assert {problem.field for problem in validation.problems} == {"duration", "resolution", "fps"}
    assert validation.nearest is not None
    assert validate(AGENTS, validation.nearest).problems == ()
    assert validation.nearest.items() >= {"duration": "10s", "resolution": "1080p"}.items()


def test_no_suggestion_drops_an_invalid_flag() -> None:
    assert list_problems(loop="perhaps") == ["loop is not valid; it takes true or false."]
    assert validate(AGENTS, {"prompt": "A fox", "loop": "perhaps"}).nearest is None


SIMILAR = {
    "first_frame_url": "image_start",
    "start_frame": "image_start",
    "init_image": "image_start",
    "image": "image_start",
    "end_image": "image_end",
    "end_frame": "image_end",
    "last_frame": "image_end",
    "looping": "loop",
    "is_loop": "loop",
    "seamless": "loop",
    "seamless_loop": "loop",
    "perfect_loop": "loop",
    "extend_from": "extend",
    "extend_video": "extend",
    "continue_from": "extend",
    "continue": "extend",
    "previous_video": "extend",
    "generation_id": "extend",
    "jobid": "extend",
    "key_frames": "keyframes",
    "keyFrames": "keyframes",
    "keyframe": "keyframes",
    "keyframe_images": "keyframes",
    "keyframe_indexes": "keyframes",
    "duration_seconds": "duration",
    "hdr": "dynamic_range",
}


@pytest.mark.parametrize(("name", "meant"), SIMILAR.items())
def test_similar_names_suggest_the_right_parameter(name: str, meant: str) -> None:
    assert unknown_parameter(AGENTS, name, "x", NAMES).did_you_mean == meant


def test_problem_of_a_similar_name_lists_the_valid_values() -> None:
    [about_keyframes, about_loop] = list_problems(key_frames=[], looping="x")
    assert about_keyframes.startswith('"key_frames" is not a parameter: did you mean "keyframes"? It takes 1 to 64 ')
    assert about_loop == '"looping" is not a parameter: did you mean "loop"? It takes true or false.'


@pytest.mark.parametrize(
    ("name", "feature"),
    [
        ("image_character", "character image"),
        ("character_reference", "character image"),
        ("email", "choice of account"),
        ("reply_url", "webhook"),
        ("reply_ref", "webhook"),
        ("callback_url", "webhook"),
        ("seed", "seed"),
        ("negative_prompt", "negative prompt"),
        ("audio", "sound"),
        ("fps", "frame rate"),
        ("video_url", "editing of a video"),
        ("reframe", "editing of a video"),
    ],
)
def test_missing_feature_is_named(name: str, feature: str) -> None:
    problem = unknown_parameter(AGENTS, name, "x", NAMES)
    assert problem.code == "no_such_feature"
    [sentence] = format_problems([problem])
    assert f'"{name}" is not offered: there is no ' in sentence
    assert feature in sentence


@pytest.mark.parametrize("name", ["strength", "style", "guide_frame", "steps", "user_id", "frames", "n", "mode"])
def test_dissimilar_names_suggest_nothing(name: str) -> None:
    assert unknown_parameter(AGENTS, name, "x", NAMES).did_you_mean is None


@pytest.mark.parametrize(
    ("name", "text", "nearest"),
    [
        ("resolution", "4k", "1080p"),
        ("resolution", "draft", "360p"),
        ("resolution", "480p", "540p"),
        ("resolution", "preview", "360p"),
        ("duration", "15s", "10s"),
        ("duration", "9s", "10s"),
        ("model", "ray-v3", "ray-3.2"),
        ("model", "ray-v3-flash", "ray-3.2"),
        ("model", "uni-1", "ray-3.2"),
        ("aspect_ratio", "2:1", "16:9"),
        ("dynamic_range", "EXR", "hdr_exr"),
    ],
)
def test_unknown_values_suggest_the_nearest(name: str, text: str, nearest: str) -> None:
    validation = validate(AGENTS, {"prompt": "A fox", name: text})
    [problem] = validation.problems
    assert (problem.field, problem.code) == (name, "not_offered")
    assert nearest in problem.allowed
    assert validation.nearest is not None
    assert validation.nearest[name] == nearest
