"""Each endpoint of the simulated service behaves as the API's documentation says."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import EMAIL, TOKEN

from luma_mcp.simulator.agents import AGENTS_BEHAVIORS
from luma_mcp.simulator.app import PREFIX, Fault, Simulator, new_simulator, running
from luma_mcp.simulator.state import BEHAVIORS, MAX_UPLOADS, requested_behaviors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parent.parent.parent
FOX = {"prompt": "A fox in the snow"}


@pytest.fixture
async def api(simulator: Simulator) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    base = f"http://simulated{PREFIX}"
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(simulator), base_url=base, headers=headers) as http:
        yield http


async def submit(api: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    response = await api.post("/videos", json=FOX | body)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def post_rejected(api: httpx2.AsyncClient, **body: Any) -> tuple[int, Any]:
    response = await api.post("/videos", json=body)
    return response.status_code, response.json()


async def test_response_to_an_order_is_its_record(api: httpx2.AsyncClient) -> None:
    record = await submit(api)
    assert record.keys() == {"jobid", "type", "status", "created", "request"}
    assert (record["type"], record["status"], record["created"]) == ("video", "created", "2026-11-22T00:00:00.000Z")
    assert record["request"] == FOX | {
        "model": "ray-v3-flash",
        "resolution": "draft",
        "aspect_ratio": "16:9",
        "duration": "5s",
        "dynamic_range": "sdr",
    }


async def test_an_order_can_be_a_form(api: httpx2.AsyncClient, simulator: Simulator) -> None:
    response = await api.post("/videos", files={"prompt": (None, "A fox"), "resolution": (None, "720p")})
    assert response.status_code == 200
    [job] = simulator.service.jobs.values()
    assert job.request["resolution"] == "720p"


async def test_fixed_defaults_can_conflict(api: httpx2.AsyncClient) -> None:
    status, body = await post_rejected(api, prompt="A fox", model="ray-v3-reasoning")
    assert (status, body) == (400, {"error": "Parameter resolution (draft) valid values: 720p, 1080p"})


async def test_rejections_have_the_documented_bodies(api: httpx2.AsyncClient) -> None:
    values = "ray-v3-flash, ray-v3, ray-v3-reasoning"
    assert await post_rejected(api, prompt="A fox", model="invalid-model") == (
        400,
        {"error": f"Parameter model (invalid-model) valid values: {values}"},
    )
    assert await post_rejected(api) == (400, {"error": "Parameter prompt is required"})
    assert await post_rejected(api, prompt="A fox", imageStart="u1:a") == (404, {"error": "Asset not found"})
    assert await post_rejected(api, prompt="A fox simulate:moderate") == (
        422,
        {"error": "Content moderation: prompt rejected", "code": 422},
    )
    assert await post_rejected(api, prompt="A fox simulate:broke") == (
        402,
        {"error": "Account has no subscription or subscription expired"},
    )
    status, body = await post_rejected(api, prompt="A fox simulate:expired")
    assert status == 596
    assert body["error"].startswith("Luma account has an error.")


async def test_a_wrong_token_is_unauthorized_everywhere(api: httpx2.AsyncClient) -> None:
    for method, path in (("POST", "/videos"), ("GET", "/jobs"), ("GET", "/jobs/j1-bot:luma"), ("GET", "/accounts")):
        response = await api.request(method, path, headers={"Authorization": "Bearer user:1-other"})
        assert (response.status_code, response.json()) == (401, {"error": "Unauthorized"})


async def test_an_account_runs_as_many_jobs_as_it_has_slots(api: httpx2.AsyncClient, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].concurrency = 2
    await submit(api)
    await submit(api)
    full = (429, {"error": "All configured accounts are running at maximum capacity", "code": 429})
    assert await post_rejected(api, **FOX) == full
    await pass_time(60)
    await submit(api)


async def test_assets_determine_the_account(api: httpx2.AsyncClient, simulator: Simulator) -> None:
    simulator.service.add_account("second@example.com")
    first, second = simulator.service.add_asset(EMAIL), simulator.service.add_asset("second@example.com")
    await submit(api, imageStart=second)
    [job] = simulator.service.jobs.values()
    assert job.email == "second@example.com"
    mismatch = (400, {"error": "Parameter email must match the account of the assets"})
    assert await post_rejected(api, prompt="A fox", imageStart=first, imageEnd=second) == mismatch
    assert await post_rejected(api, prompt="A fox", imageStart=first, email="second@example.com") == mismatch


async def test_a_job_runs_through_its_statuses(api: httpx2.AsyncClient, simulator: Simulator) -> None:
    jobid = (await submit(api, dynamic_range="hdr_exr", resolution="720p", aspect_ratio="9:16"))["jobid"]
    simulator.service.jobs[jobid].seconds = 100
    statuses = []
    for _ in range(11):
        record = (await api.get(f"/jobs/{jobid}")).json()
        if record["status"] not in statuses:
            statuses.append(record["status"])
        await pass_time(10)
    assert statuses == ["created", "pending", "processing", "completed"]
    assert "request" not in record
    assert (record["created"], record["updated"]) == ("2026-11-22T00:00:00.000Z", "2026-11-22T00:01:40.000Z")
    assert record["credits"] == {"dm_usage": 100, "dm_relaxed_usage": None}
    video = record["response"]["video"]
    assert (video["media_type"], video["width"], video["height"], video["duration"]) == ("video/mp4", 216, 384, 5.04)
    assert record["response"].keys() == {"video", "video_hdr_exr", "thumbnail", "last_frame"}


async def test_only_finished_jobs_can_be_deleted(
    api: httpx2.AsyncClient,
) -> None:
    jobid = (await submit(api, replyUrl="https://example.com/hook"))["jobid"]
    await pass_time(20)
    [row] = (await api.get("/jobs")).json()["jobs"]
    assert (row["jobid"], row["account"], row["replyUrl"]) == (jobid, EMAIL, "configured")
    response = await api.delete(f"/jobs/{jobid}")
    state = "Cannot delete job in state 'processing'. Wait for completion."
    assert (response.status_code, response.json()) == (409, {"error": state})
    await pass_time(60)
    assert (await api.get("/jobs")).json() == {"executing": 0, "jobs": []}
    assert (await api.delete(f"/jobs/{jobid}")).json() == {"jobid": jobid, "deleted": True}
    assert (await api.get(f"/jobs/{jobid}")).status_code == 404


@pytest.mark.parametrize(
    ("jobid", "status", "message"),
    [
        ("x", 400, "Invalid jobid"),
        ("j1v-u999-email:a:b-bot:luma", 403, "Job does not belong to this user"),
        ("j1v-u12345-email:a:b-bot:luma", 404, "Job not found"),
    ],
)
async def test_unknown_jobids(api: httpx2.AsyncClient, jobid: str, status: int, message: str) -> None:
    for method in ("GET", "DELETE"):
        response = await api.request(method, f"/jobs/{jobid}")
        assert (response.status_code, response.json()) == (status, {"error": message})


PNG = b"\x89PNG\r\n\x1a\n and more"


async def test_uploaded_images_can_be_used_in_an_order(api: httpx2.AsyncClient) -> None:
    response = await api.post(f"/assets/{EMAIL}", content=PNG, headers={"content-type": "image/png"})
    body = response.json()
    assert body.keys() == {"assetRef", "email", "upload"}
    await submit(api, imageStart=body["assetRef"], imageEnd=body["assetRef"])


@pytest.mark.parametrize(
    ("email", "kind", "body", "status"),
    [
        (EMAIL, "image/gif", b"GIF", 400),
        (EMAIL, "image/png", b"", 400),
        (EMAIL, "image/png", b"\xff\xd8\xff\xe0", 400),
        ("nobody@example.com", "image/png", PNG, 404),
    ],
)
async def test_rejected_images(api: httpx2.AsyncClient, email: str, kind: str, body: bytes, status: int) -> None:
    response = await api.post(f"/assets/{email}", content=body, headers={"content-type": kind})
    assert response.status_code == status
    assert "error" in response.json()


async def test_accounts_can_be_listed_added_renewed_and_removed(api: httpx2.AsyncClient) -> None:
    assert (await api.get("/accounts")).json()[EMAIL]["concurrency"] == 4
    live = (await api.get(f"/accounts/{EMAIL}")).json()
    assert live["sessionValid"] is True
    assert live["credits"].keys() == {"usage", "limit"}
    missing = await api.post("/accounts", json={})
    assert (missing.status_code, missing.json()) == (400, {"error": "Parameter session is required"})
    added = (await api.post("/accounts", json={"session": "cookie"})).json()
    assert added["created"] is True
    assert (await api.post("/accounts", json={"session": "cookie"})).json()["created"] is False
    removed = await api.delete(f"/accounts/{added['account']}")
    assert removed.json() == {"account": added["account"], "deleted": True, "remaining": 1}
    gone = await api.get(f"/accounts/{added['account']}")
    assert (gone.status_code, gone.content) == (404, b"")
    await api.delete(f"/accounts/{EMAIL}")
    none = await api.get("/accounts")
    assert (none.status_code, none.content) == (404, b"")


async def test_a_prompt_can_request_behaviors_of_the_job(api: httpx2.AsyncClient, simulator: Simulator) -> None:
    normal = await submit(api)
    slow = await submit(api, prompt="A snail simulate:slow")
    stuck = await submit(api, prompt="A stone simulate:stuck")
    fail = await submit(api, prompt="A ghost simulate:fail")
    jobs = simulator.service.jobs
    assert 30 <= jobs[normal["jobid"]].seconds <= 60
    assert 90 <= jobs[slow["jobid"]].seconds <= 180
    await pass_time(1_000_000)
    records = [(await api.get(f"/jobs/{record['jobid']}")).json() for record in (stuck, fail)]
    assert [record["status"] for record in records] == ["created", "failed"]
    assert records[1]["error"]
    assert records[1]["response"] is None


@pytest.mark.parametrize(("name", "status"), [("busy", 429), ("down", 500), ("lost", 504), ("moderate", 422)])
async def test_a_prompt_can_request_a_failure(
    api: httpx2.AsyncClient, simulator: Simulator, name: str, status: int
) -> None:
    response = await api.post("/videos", json={"prompt": f"A fox simulate:{name}"})
    assert response.status_code == status
    # Only the response to a lost order is lost. Its job runs.
    assert len(simulator.service.jobs) == (name == "lost")


def test_only_documented_behaviors_are_requested() -> None:
    assert requested_behaviors("A fox simulate:lost simulate:nonsense, lost") == {"lost": 0}
    assert requested_behaviors("simulate:late, simulate:takes=5. simulate:dead-link-") == {
        "late": 900,
        "takes": 5,
        "dead-link": 0,
    }


def test_documented_behaviors_exist() -> None:
    documented = set(re.findall(r"simulate:([a-z-]+)", (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")))
    assert documented == BEHAVIORS.keys() | AGENTS_BEHAVIORS.keys()


async def test_fault_replaces_one_response(api: httpx2.AsyncClient, simulator: Simulator) -> None:
    simulator.faults.append(Fault("GET", "/jobs", 503, b"{}", times=2))
    statuses = [(await api.get("/jobs")).status_code for _ in range(3)]
    assert (statuses, simulator.faults) == ([503, 503, 200], [])
    assert simulator.requests == {"GET /jobs": 3}


async def test_fault_after_the_order_loses_only_the_response(api: httpx2.AsyncClient, simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/videos", 500, after=True))
    assert (await api.post("/videos", json=FOX)).status_code == 500
    assert (len(simulator.orders), len(simulator.service.jobs)) == (1, 1)


async def test_only_the_latest_uploads_are_kept(api: httpx2.AsyncClient, simulator: Simulator) -> None:
    refs = []
    for _ in range(MAX_UPLOADS + 1):
        response = await api.post(f"/assets/{EMAIL}", content=PNG, headers={"content-type": "image/png"})
        refs.append(response.json()["assetRef"])
    assert list(simulator.service.uploads) == refs[1:]
    await submit(api, imageStart=refs[0])


async def test_the_test_account_can_have_an_expired_session(api: httpx2.AsyncClient, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].session_valid = False
    status, body = await post_rejected(api, **FOX)
    assert (status, body["error"][:12]) == (596, "Luma account")
    upload = await api.post(f"/assets/{EMAIL}", content=PNG, headers={"content-type": "image/png"})
    assert upload.status_code == 596


async def get_record(api: httpx2.AsyncClient, prompt: str) -> dict[str, Any]:
    """Order a video, and fetch its job's record three hours later."""
    jobid = (await submit(api, prompt=prompt))["jobid"]
    await pass_time(10_000)
    return dict((await api.get(f"/jobs/{jobid}")).json())


async def post_each(api: httpx2.AsyncClient, prompt: str, *times: float) -> list[int]:
    """Send the same order at these times, and return the statuses."""
    statuses: list[int] = []
    for time in times:
        await anyio.sleep_until(time)
        statuses.append((await api.post("/videos", json={"prompt": prompt})).status_code)
    return statuses


async def test_a_rejection_can_end(api: httpx2.AsyncClient) -> None:
    assert await post_each(api, "A fox simulate:busy=20", 5, 24, 26, 200) == [429, 429, 200, 200]
    assert await post_each(api, "A fox simulate:unauthorized", 201, 5000) == [401, 401]
    response = await api.post("/videos", json={"prompt": "A fox simulate:busy simulate:retry-after=8"})
    assert response.headers["retry-after"] == "8"


@pytest.mark.parametrize(
    ("behaviors", "jobs"), [("dropped", 1), ("truncated", 1), ("unstarted", 0), ("lost foreign", 2)]
)
async def test_response_can_be_lost_in_several_ways(
    api: httpx2.AsyncClient, simulator: Simulator, behaviors: str, jobs: int
) -> None:
    prompt = "A fox " + " ".join(f"simulate:{name}" for name in behaviors.split())
    answer = None
    with suppress(httpx2.ReadError, ValueError):
        answer = (await api.post("/videos", json={"prompt": prompt})).json()
    assert not answer
    assert len(simulator.service.jobs) == jobs


@pytest.mark.parametrize(("name", "status"), [("outage", 500), ("revoked", 401), ("throttled", 429)])
async def test_the_api_can_fail_after_an_order(api: httpx2.AsyncClient, name: str, status: int) -> None:
    jobid = (await submit(api, prompt=f"A fox simulate:{name}=30"))["jobid"]
    for path in ("/jobs", f"/jobs/{jobid}", "/accounts"):
        assert (await api.get(path)).status_code == status
    await pass_time(30)
    assert (await api.get(f"/jobs/{jobid}")).status_code == 200


async def test_connections_can_break_after_an_order(api: httpx2.AsyncClient) -> None:
    await submit(api, prompt="A fox simulate:unreachable")
    with pytest.raises(httpx2.ReadError):
        await api.get("/jobs")
    await pass_time(60)
    assert (await api.get("/jobs")).status_code == 200


def test_a_server_closes_a_broken_connection() -> None:
    with running(new_simulator()) as url, httpx2.Client(trust_env=False, headers={"Authorization": "Bearer x"}) as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            http.post(f"{url}/videos", json={"prompt": "A fox simulate:dropped"})
        assert http.get(f"{url}/jobs").json()["executing"] == 1


@pytest.mark.parametrize(
    ("behaviors", "seconds"),
    [("instant", 0), ("takes=7", 7), ("instant late=700", 700), ("stuck", math.inf), ("takes=9 slow", 9)],
)
async def test_a_prompt_can_set_how_long_its_job_takes(
    api: httpx2.AsyncClient, simulator: Simulator, behaviors: str, seconds: float
) -> None:
    await submit(api, prompt="A fox " + " ".join(f"simulate:{name}" for name in behaviors.split()))
    [job] = simulator.service.jobs.values()
    assert job.seconds == seconds


async def test_a_job_can_have_begun_earlier(api: httpx2.AsyncClient) -> None:
    record = await submit(api, prompt="A fox simulate:aged=86400")
    assert record["created"] == "2026-11-21T00:00:00.000Z"
    assert (await api.get(f"/jobs/{record['jobid']}")).json()["status"] == "completed"


async def test_a_failed_job_can_lack_a_reason_and_use_credits(api: httpx2.AsyncClient) -> None:
    failed = await get_record(api, "A fox simulate:fail simulate:credits=20")
    assert (failed["error"], failed["credits"]["dm_usage"]) == (
        "Generation failed: the model could not make this video",
        20,
    )
    unexplained = await get_record(api, "A fox simulate:unexplained")
    assert (unexplained["status"], unexplained["credits"], "error" in unexplained) == ("failed", None, False)


async def test_statuses_can_be_undocumented(api: httpx2.AsyncClient) -> None:
    running_job = await submit(api, prompt="A fox simulate:odd simulate:stuck")
    assert (await api.get(f"/jobs/{running_job['jobid']}")).json()["status"] == "waiting"
    finished = await get_record(api, "A fox simulate:odd")
    assert (finished["status"], finished["response"]["video"]["width"]) == ("finalized", 384)
    failed = await get_record(api, "A fox simulate:odd simulate:fail")
    assert (failed["status"], failed["error"][:10]) == ("rejected", "Generation")


@pytest.mark.parametrize(("name", "url"), [("empty", ""), ("null", "null"), ("relative", "/media/video.mp4")])
async def test_links_can_be_unusable(api: httpx2.AsyncClient, name: str, url: str) -> None:
    order = FOX | {"dynamic_range": "hdr_exr", "resolution": "720p"}
    jobid = (await submit(api, **order | {"prompt": f"A fox simulate:{name}-link simulate:instant"}))["jobid"]
    files = (await api.get(f"/jobs/{jobid}")).json()["response"]
    assert [file["url"] for file in files.values()] == [url] * 4
    assert (await get_record(api, "A fox simulate:no-link"))["response"] is None


async def test_links_can_be_dead_and_expire(api: httpx2.AsyncClient) -> None:
    dead = (await get_record(api, "A fox simulate:dead-link"))["response"]["video"]["url"]
    assert (await api.get(dead)).status_code == 404
    jobid = (await submit(api, prompt="A fox simulate:expired-link=60 simulate:instant"))["jobid"]
    url = (await api.get(f"/jobs/{jobid}")).json()["response"]["video"]["url"]
    assert (await api.get(url)).status_code == 200
    await pass_time(60)
    assert (await api.get(url)).status_code == 403


async def test_a_job_can_be_unknown_at_first_and_later(api: httpx2.AsyncClient) -> None:
    behaviors = "simulate:lagging=10 simulate:unlisted=20 simulate:takes=30 simulate:forgotten=60"
    jobid = (await submit(api, prompt=f"A fox {behaviors}"))["jobid"]
    responses: list[tuple[int, int]] = []
    for time in (9, 11, 21, 89, 91):
        await anyio.sleep_until(time)
        status = (await api.get(f"/jobs/{jobid}")).status_code
        responses.append((status, (await api.get("/jobs")).json()["executing"]))
    assert responses == [(404, 0), (200, 0), (200, 1), (200, 0), (404, 0)]


async def test_a_finished_job_can_hold_its_slot(api: httpx2.AsyncClient, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].concurrency = 1
    jobid = (await submit(api, prompt="A fox simulate:holding simulate:instant"))["jobid"]
    assert await post_each(api, "A fox", 100) == [429]
    assert (await api.get("/accounts")).json()[EMAIL]["executing"] == 1
    await api.delete(f"/jobs/{jobid}")
    assert await post_each(api, "A fox", 101) == [200]
