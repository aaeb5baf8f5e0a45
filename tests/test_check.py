"""`check`, the exact schema, the simulator and the tests' own table must agree, request by request."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from tests import table

from luma_mcp.catalog.useapi import API_NAMES, CHOICES, IMAGES
from luma_mcp.catalog.validate import check, check_options
from luma_mcp.server.schemas import exact_request_schema
from luma_mcp.simulator.app import PREFIX, Simulator
from luma_mcp.simulator.state import Service

EMAIL = "studio@example.com"
HEADERS = {"Authorization": "Bearer any"}


def accepts(request: dict[str, Any]) -> bool:
    return Draft202012Validator(exact_request_schema()).is_valid(request)


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """The words of the caller that are not in the other request."""
    return {name for name, value in before.items() if after.get(name) != value}


@cache
def valid_but_for_the_ratio(images: frozenset[str]) -> list[dict[str, str]]:
    """The table's valid requests with these images or fewer, at one aspect ratio: no rule is about that."""
    every = table.full_product({n: f"u1:{n}" for n in table.IMAGES})
    return [r for r in every if r["aspect_ratio"] == "1:1" and table.is_valid(r) and set(r) & set(IMAGES) <= images]


def fewest_changes(request: dict[str, str]) -> int:
    images = {n: f"u1:{n}" for n in IMAGES if n in request}
    asked = request | {"aspect_ratio": "1:1"} | images
    return min(len(changed(asked, valid)) for valid in valid_but_for_the_ratio(frozenset(images)))


async def test_all_3456_requests_are_judged_alike_and_every_refusal_suggests_the_nearest_valid_one() -> None:
    service = Service(clock=lambda: 0.0, chance=random.Random(1))
    service.add_account(EMAIL, concurrency=10_000)
    images = {name: service.add_asset(EMAIL) for name in table.IMAGES}
    transport = httpx2.ASGITransport(Simulator(service))
    exact = Draft202012Validator(exact_request_schema())
    seen = {True: 0, False: 0}
    async with httpx2.AsyncClient(transport=transport, base_url=f"http://simulated{PREFIX}", headers=HEADERS) as http:

        async def is_taken(request: dict[str, str]) -> bool:
            response = await http.post("/videos", json={API_NAMES[n]: v for n, v in request.items()})
            service.jobs.clear()
            assert response.status_code in (200, 400)
            return response.status_code == 200

        for request in table.full_product(images):
            valid = table.is_valid(request)
            verdict = check(request)
            assert (not verdict.problems) == valid, request
            assert exact.is_valid(request) == valid, request
            assert await is_taken(request) == valid, request
            seen[valid] += 1
            assert verdict.nearest is not None
            if valid:
                assert verdict.nearest == request
                continue
            assert not check(verdict.nearest).problems, request
            assert table.is_valid(verdict.nearest), request
            assert exact.is_valid(verdict.nearest), request
            assert await is_taken(verdict.nearest), request
            assert len(changed(request, verdict.nearest)) == fewest_changes(request), request
            assert {p.field for p in verdict.problems} == changed(request, verdict.nearest), request
            for problem in verdict.problems:
                assert verdict.nearest.get(problem.field) in (problem.allowed or (None,)), request
    assert seen == {True: 840, False: 2616}


@pytest.mark.parametrize(
    ("words", "resolved"),
    [
        ({}, {"model": "ray-v3-flash", "resolution": "draft", "duration": "5s", "dynamic_range": "sdr"}),
        ({"model": "ray-v3-reasoning"}, {"resolution": "720p", "dynamic_range": "sdr", "duration": "5s"}),
        ({"dynamic_range": "hdr"}, {"model": "ray-v3-flash", "resolution": "540p", "duration": "5s"}),
        ({"dynamic_range": "hdr_exr"}, {"model": "ray-v3-flash", "resolution": "540p", "duration": "5s"}),
        ({"image_character": "u1:a"}, {"model": "ray-v3", "resolution": "draft", "dynamic_range": "sdr"}),
        ({"duration": "10s", "resolution": "1080p"}, {"model": "ray-v3-flash", "dynamic_range": "sdr"}),
    ],
)
def test_what_is_left_out_becomes_the_cheapest_that_fits(words: dict[str, str], resolved: dict[str, str]) -> None:
    verdict = check({"prompt": "A fox", **words})
    assert verdict.problems == ()
    assert verdict.nearest is not None
    assert verdict.nearest.items() >= (words | resolved | {"aspect_ratio": "16:9"}).items()


def test_all_problems_are_told_at_once_each_with_what_would_do() -> None:
    verdict = check({"prompt": "A fox", "model": "ray-v3-reasoning", "resolution": "draft", "dynamic_range": "hdr"})
    assert [(p.field, p.allowed) for p in verdict.problems] == [("resolution", ("720p", "1080p"))]
    assert verdict.problems[0].message == (
        'resolution "draft" does not go with model "ray-v3-reasoning" or dynamic_range "hdr"; use "720p" or "1080p".'
    )
    verdict = check({"prompt": "A fox", "dynamic_range": "hdr", "duration": "10s", "resolution": "8k", "email": "me"})
    assert {(p.field, p.allowed) for p in verdict.problems} == {
        ("email", ()),
        ("resolution", ("540p", "720p", "1080p")),
        ("duration", ("5s",)),
    }


@pytest.mark.parametrize(
    ("name", "word", "nearest"),
    [
        ("resolution", "480p", "540p"),
        ("resolution", "2160p", "1080p"),
        ("duration", "8s", "10s"),
        ("duration", "6s", "5s"),
        ("model", "ray-v3-reason", "ray-v3-reasoning"),
        ("dynamic_range", "hdr-exr", "hdr_exr"),
        ("resolution", "4k", "1080p"),
        ("resolution", "1920x1080", "1080p"),
        ("aspect_ratio", "2:1", "16:9"),
        ("aspect_ratio", "4:5", "3:4"),
        ("aspect_ratio", "1080x1920", "9:16"),
        ("aspect_ratio", "vertical", "9:16"),
    ],
)
def test_an_unknown_word_becomes_the_value_it_is_nearest_to(name: str, word: str, nearest: str) -> None:
    verdict = check({"prompt": "A fox", name: word})
    assert [p.field for p in verdict.problems] == [name]
    assert verdict.nearest is not None
    assert verdict.nearest[name] == nearest


@pytest.mark.parametrize("prompt", [None, "", "   ", "x" * 2001, 7])
def test_a_prompt_is_never_invented_or_shortened(prompt: Any) -> None:
    verdict = check({"prompt": prompt} if prompt is not None else {})
    assert [p.field for p in verdict.problems] == ["prompt"]
    assert verdict.nearest is None


@pytest.mark.parametrize("image", ["  ", "half a \ud83d", 7, ["a.png"]], ids=repr)
def test_an_image_that_cannot_be_used_is_refused_and_not_dropped_from_a_suggestion(image: Any) -> None:
    verdict = check({"prompt": "A fox", "image_start": image})
    assert [p.field for p in verdict.problems] == ["image_start"]
    assert verdict.nearest is None


@pytest.mark.parametrize(("name", "value"), [("email", "me"), ("reply_url", "ftp://example.com"), ("reply_ref", " ")])
def test_a_text_that_cannot_be_used_is_not_dropped_from_a_suggestion_either(name: str, value: str) -> None:
    verdict = check({"prompt": "A fox", name: value})
    assert [p.field for p in verdict.problems] == [name]
    assert verdict.nearest is None


def test_a_partial_choice_can_be_judged_before_there_is_a_prompt() -> None:
    assert check_options({"model": "ray-v3-reasoning"}).problems == ()
    verdict = check_options({"model": "ray-v3-reasoning", "resolution": "540p"})
    assert [p.field for p in verdict.problems] == ["resolution"]
    assert verdict.nearest == {"model": "ray-v3-reasoning", "resolution": "720p"}


odd = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.lists(st.text(max_size=2), max_size=2))
words = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.one_of(st.text(max_size=2002), odd),
        **{name: st.one_of(st.sampled_from(choice.values), odd) for name, choice in CHOICES.items()},
        **{name: st.one_of(st.sampled_from(["u1:a", "x", "a:b\n", "https://x/y"]), odd) for name in IMAGES},
        "email": st.one_of(st.sampled_from(["a@example.com", "a b@c"]), odd),
        "reply_url": st.one_of(st.sampled_from(["https://example.com/hook", "ftp://x", "http://" + "x" * 1024]), odd),
        "reply_ref": odd,
        "lenght": odd,
    },
)


@given(words)
@settings(max_examples=500, deadline=None)
def test_the_exact_schema_accepts_whatever_words_check_accepts_and_nothing_else(request: dict[str, Any]) -> None:
    verdict = check(request)
    assert accepts(request) == (not verdict.problems)
    if verdict.nearest is not None:
        assert not check(verdict.nearest).problems
        assert accepts(verdict.nearest)
