"""Two tenants with one credential: neither can see, use or change anything of the other.

Each attempt by Bob is made twice: with ids of Ada, and with ids of the same form that nobody has. He must not be
able to distinguish the results.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import Implementation, PromptReference, ResourceTemplateReference
from PIL import Image
from pydantic import SecretStr
from tests.clock import pass_time
from tests.conftest import BOTH_APIS, CREDENTIALS, EMAIL, ERAS, IN_MEMORY, TOKEN, resolve, wall_clock
from tests.hosting.serving import serving
from tests.results import read_result
from tests.server.calls import call, order, order_error
from tests.server.declaring import (
    AGREED,
    APPS,
    TASKS,
    Person,
    answer_question,
    call_raw,
    declaring,
    request_raw,
    task_request,
)
from tests.server.panel import Panel
from tests.transports import HoldingTransport, UnreliableTransport

from luma_mcp.api.protocol import VideoRequest
from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.hosting.http import build_app
from luma_mcp.journal.protocol import Order, join_api
from luma_mcp.journal.sqlite import EVERY_API, SqliteJournal
from luma_mcp.providers import PROVIDERS
from luma_mcp.server.app import build_server, build_services
from luma_mcp.service import api_id
from luma_mcp.service.tenants import OWNER, SETTLE_INTERVAL, Tenant, current_tenant
from luma_mcp.settings import Settings
from luma_mcp.simulator.app import Fault, new_simulator, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.server.mcpserver import MCPServer
    from starlette.types import ASGIApp, Receive, Scope, Send

    from luma_mcp.simulator.app import Simulator

SECRET = "The unannounced car of a client"
NOBODYS = "A thing that nobody has ever ordered"
ADA = Tenant("ada", owns_credential=False, name="Ada Lovelace")
BOB = Tenant("bob", owns_credential=False, name="Bob Ross")
CY = Tenant("cy", owns_credential=False, max_jobs_per_hour=2)
TENANTS = {tenant.id: tenant for tenant in (ADA, BOB, CY)}
FLASH = {
    "prompt": "ordered elsewhere",
    "model": "ray-v3-flash",
    "resolution": "draft",
    "aspect_ratio": "16:9",
    "duration": "5s",
    "dynamic_range": "sdr",
}
"""What an order without options makes, too."""


def draw(colour: str) -> str:
    """Make a picture as a data: URI."""
    file = io.BytesIO()
    Image.new("RGB", (320, 180), colour).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


class RecordingTransport(httpx2.AsyncBaseTransport):
    """Sends requests to the simulator, and records their URLs and bodies."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulated = httpx2.ASGITransport(simulator)
        self.requests: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        self.requests.append(unquote(f"{request.method} {request.url.path} {body.decode(errors='replace')}"))
        return await self._simulated.handle_async_request(request)


@dataclass
class Server:
    """One server for several tenants."""

    server: MCPServer[Any]
    transport: RecordingTransport

    def __post_init__(self) -> None:
        self.server.middleware.insert(0, identify)

    def connect(self, tenant: Tenant, *extensions: str, asks: Person | None = None) -> Client:
        """Connect a client of a tenant."""
        named = Implementation(name=tenant.id, version="1")
        return declaring(Client(self.server), *extensions, asks=asks, named=named)


async def identify(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Middleware in place of authentication: it trusts the tenant that a client names."""
    client = ctx.session.client_params
    token = current_tenant.set(TENANTS[client.client_info.name] if client else OWNER)
    try:
        return await call_next(ctx)
    finally:
        current_tenant.reset(token)


Start = Callable[..., Server]


@pytest.fixture
def start(api: str, simulator: Simulator, tmp_path: Path) -> Start:
    """Start a server with the simulator and the test's journal. Variables are given by name.

    `settles`: whether the server settles orders of failed machines.
    """

    def start_server(
        transport: httpx2.AsyncBaseTransport | None = None, *, settles: bool = False, **variables: str
    ) -> Server:
        own = {PROVIDERS[api].variable: CREDENTIALS[api], "LUMA_MCP_JOURNAL": str(tmp_path / "journal.db")}
        settings = replace(Settings.from_environment(IN_MEMORY | own | variables), has_local_files=False)
        recording = RecordingTransport(simulator)
        server = build_server(
            settings,
            transport=transport or recording,
            resolve=resolve,
            wall_clock=wall_clock,
            list_credentials=(lambda: [SecretStr(CREDENTIALS[api])]) if settles else None,
        )
        return Server(server, recording)

    return start_server


@dataclass(frozen=True)
class Target:
    """The targets of an attempt: a finished and a running job, an uploaded image, a prompt and an account."""

    finished: str
    running: str
    asset: str
    prompt: str
    email: str

    @property
    def ids(self) -> tuple[str, ...]:
        return self.finished, self.running, self.asset


async def prepare(ada: Client) -> Target:
    """Let Ada order a video with a picture, and one that keeps running."""
    _, made = await order(ada, SECRET, image_start=draw("red"), wait_seconds=300)
    assert made["state"] == "completed"
    _, running = await order(ada, f"{SECRET} simulate:stuck")
    return Target(made["jobid"], running["jobid"], made["assets"]["image_start"], SECRET, EMAIL)


def invent(target: Target) -> Target:
    """Invent ids of the same form, which nobody has."""

    def change(text: str) -> str:
        changed = text
        for digit in re.findall(r"[0-9a-f]{4,}", text):
            changed = changed.replace(digit, "".join(reversed(digit)) if digit != digit[::-1] else "0" * len(digit))
        assert changed != text
        return changed

    finished, running, asset = map(change, target.ids)
    return Target(finished, running, asset, NOBODYS, "nobody@example.com")


Attempt = Callable[[Client, Target], Awaitable[Any]]


def tool(name: str, /, **arguments: str | int | list[Any]) -> Attempt:
    """Build an attempt that calls a tool. Placeholders such as `{finished}` in the arguments name its target."""

    async def attempt(bob: Client, target: Target) -> Any:
        return await call_raw(bob, name, **fill(arguments, target))

    return attempt


def make(**arguments: str | int | list[Any]) -> Attempt:
    return tool("generate_video", prompt="A fox", wait_seconds=0, **arguments)


def read(uri: str) -> Attempt:
    async def attempt(bob: Client, target: Target) -> Any:
        return await request_raw(bob, "resources/read", uri=fill(uri, target))

    return attempt


def complete(ref: PromptReference | ResourceTemplateReference, name: str, typed: str) -> Attempt:
    async def attempt(bob: Client, target: Target) -> Any:
        found = await bob.complete(ref, {"name": name, "value": fill(typed, target)})
        return found.model_dump(mode="json")

    return attempt


def task(method: str, jobid: str, **params: Any) -> Attempt:
    async def attempt(bob: Client, target: Target) -> Any:
        return await task_request(bob, method, fill(jobid, target), **params)

    return attempt


def fill(value: Any, target: Target) -> Any:
    """Replace the placeholders of an attempt."""
    if isinstance(value, dict):
        return {name: fill(each, target) for name, each in value.items()}
    if isinstance(value, list):
        return [fill(each, target) for each in value]
    if not isinstance(value, str):
        return value
    facts = {name: getattr(target, name) for name in ("finished", "running", "asset", "prompt", "email")}
    facts |= {
        "encoded": quote(target.finished, safe=""),
        "begin": target.finished[:6],
        "upper": target.finished.upper(),
    }
    return value.format(**facts)


JOB = ResourceTemplateReference(type="ref/resource", uri="luma://jobs/{jobid}")
ATTEMPTS: dict[str, Attempt] = {
    "get": tool("get_job", jobid="{finished}", wait_seconds=0),
    "get what runs": tool("get_job", jobid="{running}", wait_seconds=0),
    "wait": tool("get_job", jobid="{finished}", wait_seconds=300),
    "wait for what runs": tool("get_job", jobid="{running}", wait_seconds=300),
    "get several": tool("get_job", jobids=["{finished}", "{running}"], wait_seconds=0),
    "wait for several": tool("get_job", jobids=["{running}", "{finished}"], wait_seconds=60),
    "get an image as a job": tool("get_job", jobid="{asset}", wait_seconds=0),
    "get with frames": tool("get_job", jobid="{finished}", frames=4, wait_seconds=0),
    "get with spaces": tool("get_job", jobid=" {finished}\n", wait_seconds=0),
    "get with quotes": tool("get_job", jobid='"{finished}"', wait_seconds=0),
    "get in capitals": tool("get_job", jobid="{upper}", wait_seconds=0),
    "get percent-encoded": tool("get_job", jobid="{encoded}", wait_seconds=0),
    "get by a path": tool("get_job", jobid="../jobs/{finished}", wait_seconds=0),
    "get with a query": tool("get_job", jobid="{finished}?all=1", wait_seconds=0),
    "get with SQL": tool("get_job", jobid="{finished}' OR '1'='1", wait_seconds=0),
    "get by a pattern": tool("get_job", jobid="{begin}%", wait_seconds=0),
    "save": tool("get_job", jobid="{finished}", save=1, wait_seconds=0),
    "delete": tool("delete_job", jobid="{finished}"),
    "delete what runs": tool("delete_job", jobid="{running}"),
    "start with its last frame": make(image_start="{finished}"),
    "start with what runs": make(image_start="{running}"),
    "start with a quoted jobid": make(image_start="'{finished}'"),
    "end with its last frame": make(image_end="{finished}"),
    "start with its picture": make(image_start="{asset}"),
    "end with its picture": make(image_end="{asset}"),
    "start with its picture and end with the own": make(image_start="{asset}", image_end=draw("blue")),
    "start with both": make(image_start="{finished}", image_end="{asset}"),
    "show its character": make(image_character="{asset}"),
    "show a character of its video": make(image_character="{finished}"),
    "a keyframe of its video": make(keyframes=[{"image": "{finished}", "seconds": 1}]),
    "a keyframe of its picture": make(keyframes=[{"image": "{asset}", "seconds": 1}]),
    "extend": make(extend="{finished}"),
    "extend what runs": make(extend="{running}"),
    "extend an image": make(extend="{asset}"),
    "takes that start with it": make(image_start="{finished}", takes=2),
    "another take that starts with it": make(image_start="{asset}", new_take=1),
    "choose the account": make(email="{email}"),
    "choose the account of a picture": make(email="{email}", image_start=draw("blue")),
    "join": tool("join_videos", videos=["{finished}", "{running}"]),
    "list": tool("list_jobs"),
    "list many": tool("list_jobs", limit=100),
    "list what runs": tool("list_jobs", state="running"),
    "list what is completed": tool("list_jobs", state="completed"),
    "list what is unknown": tool("list_jobs", state="unknown"),
    "list what was deleted": tool("list_jobs", state="deleted"),
    "list by the prompt": tool("list_jobs", text="{prompt}"),
    "list the last hour": tool("list_jobs", since="1h"),
    "options": tool("list_options"),
    "options of the same model": tool("list_options", resolution="720p"),
    "read the job": read("luma://jobs/{finished}"),
    "read the job percent-encoded": read("luma://jobs/{encoded}"),
    "read what runs": read("luma://jobs/{running}"),
    "read the preview": read("luma://jobs/{finished}/preview"),
    "read the list": read("luma://jobs"),
    "complete a jobid": complete(JOB, "jobid", ""),
    "complete the beginning": complete(JOB, "jobid", "{begin}"),
    "complete a clip": complete(PromptReference(type="ref/prompt", name="continue_clip"), "jobid", ""),
    "complete a picture": complete(PromptReference(type="ref/prompt", name="animate_picture"), "picture", "{begin}"),
    "get the task": task("tasks/get", "{finished}"),
    "get the task of what runs": task("tasks/get", "{running}"),
    "update the task": task("tasks/update", "{running}", inputResponses={}),
    "cancel the task": task("tasks/cancel", "{running}"),
}


def test_there_are_many_attempts() -> None:
    assert len(ATTEMPTS) >= 40


async def describe(attempt: Attempt, bob: Client, target: Target) -> str:
    """Format the whole result of an attempt, without the ids of its target."""
    try:
        answer = await attempt(bob, target)
    except MCPError as error:
        answer = error.error.model_dump(mode="json")
    text = json.dumps(answer, ensure_ascii=False)
    assert SECRET not in text.replace(target.prompt, "")
    for number, each in enumerate((*target.ids, target.prompt, target.email)):
        for form in (each, quote(each, safe=""), each.upper(), each[:6] + "%"):
            text = text.replace(form, f"<{number}>")
    # Long values are shortened when they are repeated.
    return re.sub(r"[^\s\"']*…[^\s\"']*", "<shortened>", text)


@BOTH_APIS
async def test_no_attempt_reaches_another_tenant(start: Start, simulator: Simulator) -> None:
    server = start()
    differing: dict[str, tuple[str, str]] = {}
    async with server.connect(ADA) as ada, server.connect(BOB, TASKS) as bob:
        target = await prepare(ada)
        made_up = invent(target)
        before = dict(simulator.service.jobs), simulator.requests["DELETE /jobs/…"]
        for name, attempt in ATTEMPTS.items():
            of_nobody = await describe(attempt, bob, made_up)
            server.transport.requests.clear()
            of_ada = await describe(attempt, bob, target)
            if of_ada != of_nobody:
                differing[name] = of_ada, of_nobody
            assert EMAIL not in of_ada, name
            for request in server.transport.requests:
                assert not any(each in request for each in (*target.ids, SECRET)), name
            assert (simulator.service.jobs, simulator.requests["DELETE /jobs/…"]) == before, name
        # All of it is there for Ada.
        for jobid, state in ((target.finished, "completed"), (target.running, "running")):
            assert (await call(ada, "get_job", jobid=jobid, wait_seconds=0))[1]["state"] == state
    assert differing == {}


@BOTH_APIS
async def test_identical_orders_of_two_tenants_are_two_jobs(start: Start, simulator: Simulator) -> None:
    server = start()
    async with server.connect(ADA) as ada, server.connect(BOB) as bob:
        _, of_ada = await order(ada)
        _, of_bob = await order(bob)
        _, again = await order(bob)
    assert (of_ada["outcome"], of_bob["outcome"], again["outcome"]) == ("created", "created", "duplicate")
    assert again["jobid"] == of_bob["jobid"] != of_ada["jobid"]
    assert len(simulator.service.jobs) == 2


@BOTH_APIS
async def test_each_tenant_has_the_hourly_limit(start: Start, simulator: Simulator) -> None:
    server = start(LUMA_MCP_MAX_JOBS_PER_HOUR="1")
    async with server.connect(ADA) as ada, server.connect(BOB) as bob, server.connect(CY) as cy:
        await order(ada)
        await order(bob)
        for tenant in (ada, bob):
            assert (await order_error(tenant, "An owl"))["kind"] == "limit_reached"
        # Cy has a limit of her own.
        for prompt in ("A fox", "An owl"):
            await order(cy, prompt)
        assert (await order_error(cy, "A hare"))["kind"] == "limit_reached"
    assert len(simulator.service.jobs) == 4


@pytest.mark.parametrize("api", ["agents"])
async def test_each_tenant_has_the_budget(start: Start) -> None:
    server = start(LUMA_MCP_BUDGET_PER_DAY="0.40")
    async with server.connect(ADA) as ada, server.connect(BOB) as bob:
        await order(ada, resolution="720p", duration="5s")
        error = await order_error(ada, "An owl", resolution="720p", duration="5s")
        _, of_bob = await order(bob, "An owl", resolution="720p", duration="5s")
    assert error["kind"] == "budget_reached"
    assert of_bob["outcome"] == "created"


async def test_full_slots_name_no_job_of_others(start: Start, simulator: Simulator) -> None:
    simulator.service.add_account(EMAIL, 2)
    server = start()
    async with server.connect(ADA) as ada, server.connect(BOB) as bob:
        _, of_ada = await order(ada, f"{SECRET} simulate:stuck")
        _, of_bob = await order(bob, "A fox simulate:stuck")
        error = await order_error(bob, "An owl")
    assert (error["kind"], error["charged"], error["running"]) == ("capacity", "no", [of_bob["jobid"]])
    text = json.dumps(error)
    assert "Others order with the same account." in text
    for hidden in (of_ada["jobid"], SECRET, "2 of 2", "in use:"):
        assert hidden not in text


async def test_lost_order_names_no_job_of_others(start: Start, simulator: Simulator) -> None:
    """One of the two possible jobs is another tenant's."""
    lost = UnreliableTransport(simulator, httpx2.ReadError(""), delivered=True)
    server = start(lost)
    async with server.connect(BOB) as bob:
        elsewhere = simulator.service.start(FLASH, EMAIL, webhook=False)
        error = await order_error(bob)
        again = await order_error(bob)
    assert len(simulator.service.jobs) == 2
    for each in (error, again):
        assert (each["kind"], each["charged"]) == ("outcome_unknown", "unknown")
        assert "Its job was not found." in each["message"]
        assert "running" not in each
        assert not any(jobid in json.dumps(each) for jobid in (*simulator.service.jobs, elsewhere.jobid))


async def test_lost_job_is_found_beside_those_of_others(start: Start, simulator: Simulator) -> None:
    server = start(UnreliableTransport(simulator, None, httpx2.ReadError(""), delivered=True))
    async with server.connect(ADA) as ada, server.connect(BOB) as bob:
        _, of_ada = await order(ada)
        _, of_bob = await order(bob)
    assert (of_ada["outcome"], of_bob["outcome"]) == ("created", "recovered")
    assert [of_ada["jobid"], of_bob["jobid"]] == list(simulator.service.jobs)


async def test_job_that_another_tenant_may_have_ordered_is_not_adopted(start: Start, simulator: Simulator) -> None:
    """Ada's order is in flight, and its job is in the list, when the response to Bob's order is lost."""
    held, server = HoldingTransport(simulator), start()
    slow = start(held)
    async with slow.connect(ADA) as ada, anyio.create_task_group() as tasks:
        tasks.start_soon(order, ada)
        await held.delivered.wait()
        # Bob's order never arrives, although it was sent.
        server = start(UnreliableTransport(simulator, httpx2.ReadError("")))
        async with server.connect(BOB) as bob:
            error = await order_error(bob)
        held.may_answer.set()
    [jobid] = simulator.service.jobs
    assert (error["kind"], error["charged"]) == ("outcome_unknown", "unknown")
    async with slow.connect(ADA) as ada:
        _, listed = await call(ada, "list_jobs")
    assert [job.get("jobid") for job in listed["jobs"]] == [jobid]


@pytest.mark.parametrize("variables", [{}, {"LUMA_MCP_EMAIL": EMAIL}], ids=["any account", "the default account"])
async def test_accounts_and_credits_are_not_shown(start: Start, *, variables: dict[str, str]) -> None:
    server = start(**variables)
    async with server.connect(BOB) as bob:
        results = [await order(bob, image_start=draw("red"), wait_seconds=300), await call(bob, "list_options")]
        results.append(await call(bob, "list_jobs"))
        jobid = results[0][1]["jobid"]
        results.append(await call(bob, "get_job", jobid=jobid))
        # Without a picture, the account is a parameter of the request.
        results.append(await order(bob, "An owl"))
    for text, content in results:
        for whole in (text, json.dumps(content)):
            # An e-mail address is a part of these ids, which are the caller's.
            assert EMAIL not in re.sub(rf"[\w-]*email:{EMAIL}[\w:-]*", "", whole)
            assert "left" not in whole
        assert content.keys().isdisjoint({"accounts", "credits_left", "error"})


async def test_expired_session_is_for_the_operator(start: Start, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].session_valid = False
    server = start(LUMA_MCP_EMAIL=EMAIL)
    async with server.connect(BOB) as bob:
        for arguments in ({}, {"image_start": draw("red")}):
            error = await order_error(bob, **arguments)
            assert (error["kind"], error["charged"]) == ("account_session", "no")
            assert "the operator of this server must look after its account" in error["next_step"]
            assert EMAIL not in json.dumps(error)


@BOTH_APIS
async def test_unusable_journal_says_so_instead_of_not_found(
    start: Start, simulator: Simulator, tmp_path: Path
) -> None:
    server = start()
    async with server.connect(ADA) as ada:
        _, of_ada = await order(ada)
    (tmp_path / "other.db").write_bytes(b"no database" * 1000)
    server = start(LUMA_MCP_JOURNAL=str(tmp_path / "other.db"))
    async with server.connect(BOB) as bob:
        _, of_bob = await order(bob)
        requests = Counter(simulator.requests)
        for jobid in (of_ada["jobid"], "no jobid"):
            result = await bob.call_tool("get_job", {"jobid": jobid, "wait_seconds": 60})
            _, content = read_result(result)
            error = content["error"]
            assert (error["kind"], error["retry"]) == ("journal_unavailable", "later")
            assert "Which jobs are yours cannot be looked up at present" in error["message"]
            assert error["next_step"] == "Nothing was spent. Try again in a minute."
        refused = await order_error(bob, image_start=of_ada["jobid"])
        assert (refused["kind"], refused["charged"]) == ("journal_unavailable", "no")
        assert simulator.requests == requests
        # What this server has ordered itself is Bob's for sure.
        _, content = await call(bob, "get_job", jobid=of_bob["jobid"], wait_seconds=300)
        assert content["state"] == "completed"


@pytest.mark.parametrize("state_of", ["ada", "bob"])
async def test_confirmation_counts_only_for_its_tenant(start: Start, simulator: Simulator, state_of: str) -> None:
    server = start(LUMA_MCP_CONFIRM="always")
    arguments = {"prompt": "A fox", "wait_seconds": 0}
    async with server.connect(ADA, asks=Person()) as ada, server.connect(BOB, asks=Person()) as bob:
        caller = {"ada": ada, "bob": bob}[state_of]
        question = await call_raw(caller, "generate_video", **arguments)
        if caller is bob:
            await answer_question(bob, "generate_video", question, AGREED, **arguments)
            assert len(simulator.service.jobs) == 1
            return
        with pytest.raises(MCPError):
            await answer_question(bob, "generate_video", question, AGREED, **arguments)
    assert simulator.service.jobs == {}


@BOTH_APIS
async def test_one_wait_more_than_allowed_returns_at_once(start: Start, simulator: Simulator) -> None:
    server = start(LUMA_MCP_MAX_WAITS="1")
    async with server.connect(ADA) as ada, server.connect(BOB) as bob, anyio.create_task_group() as tasks:
        jobids = [(await order(client, "A fox simulate:stuck"))[1]["jobid"] for client in (ada, bob)]
        tasks.start_soon(partial(call, ada, "get_job", jobid=jobids[0], wait_seconds=300))
        await pass_time(5)
        before = anyio.current_time()
        text, looked = await call(ada, "get_job", jobid=jobids[0], wait_seconds=300)
        _, ordered = await order(ada, "An owl", wait_seconds=300)
        _, several = await call(ada, "get_job", jobids=[jobids[0], ordered["jobid"]], wait_seconds=300)
        assert anyio.current_time() - before < 5
        assert (looked["state"], ordered["state"], ordered["outcome"]) == ("running", "running", "created")
        for content in (looked, ordered, several):
            assert "this server lets 1 of your calls wait at the same time" in content["note"]
            assert content["next_action"] == "get_job"
        assert "This call did not wait" in text
        # Bob waits all the same.
        await call(bob, "get_job", jobid=jobids[1], wait_seconds=60)
        assert anyio.current_time() - before >= 60
    async with server.connect(ADA) as ada:
        before = anyio.current_time()
        await call(ada, "get_job", jobid=jobids[0], wait_seconds=60)
        assert anyio.current_time() - before >= 60
    assert len(simulator.service.jobs) == 3


async def test_message_of_the_api_names_no_account(start: Start, simulator: Simulator) -> None:
    body = json.dumps({"error": f"Account {EMAIL} (user:4711-{EMAIL}) does not allow this"}).encode()
    simulator.faults.append(Fault("POST", "/videos", 400, body))
    server = start()
    async with server.connect(BOB) as bob:
        error = await order_error(bob)
    assert error["reason"] == "Account … (…) does not allow this"
    assert EMAIL not in json.dumps(error)


async def test_who_ordered_is_recorded_for_the_operator(start: Start, tmp_path: Path) -> None:
    server = start()
    async with server.connect(ADA) as ada, server.connect(CY) as cy:
        await order(ada)
        await order(cy)
    async with aclosing(SqliteJournal(tmp_path / "journal.db", api=EVERY_API, wall_clock=wall_clock)) as journal:
        usage = await journal.summarize_usage()
    assert [(row.tenant, row.ordered_by, row.orders) for row in usage] == [("ada", "Ada Lovelace", 1), ("cy", "", 1)]


@BOTH_APIS
async def test_orders_of_a_failed_machine_are_settled(start: Start, simulator: Simulator, tmp_path: Path) -> None:
    """Its process ended before the response arrived, and nobody of that tenant calls again."""
    api = simulator.service.catalog.api
    credential = api_id(PROVIDERS[api].base_url, CREDENTIALS[api])
    journal = SqliteJournal(tmp_path / "journal.db", api=join_api(credential, "ada"), wall_clock=wall_clock)
    request = VideoRequest.from_params(FLASH if api == "useapi" else {"prompt": "A fox", "model": "ray-3.2"})
    sent = Order("fox", request, wall_clock(), by_api_clock=True)
    await journal.insert_pending(sent, allow_duplicate=False, windows=())
    await journal.mark_sending(sent)
    if api == "useapi":
        simulator.service.start(FLASH, EMAIL, webhook=False)
    server = start(settles=True)
    async with server.connect(BOB):
        await pass_time(SETTLE_INTERVAL + 10)
        [found] = await journal.list_latest(1)
        if api == "useapi":
            assert (found.state, found.jobid) == ("running", next(iter(simulator.service.jobs)))
        else:
            # Nothing lists the jobs of this API: its age shows when there can be none.
            assert found.state == "unknown"
            await pass_time(20 * 60)
            [found] = await journal.list_latest(1)
            assert found.state == "given_up"
    await journal.aclose()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("mode", ERAS)
async def test_tenants_are_isolated_over_http(tmp_path: Path, mode: str) -> None:
    """The tenant of a request is that of its handler, in both versions of the protocol."""
    simulator = new_simulator(speed=1000)
    with running(simulator) as url:
        settings = Settings.from_environment(
            {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_BASE_URL": url, "LUMA_MCP_JOURNAL": str(tmp_path / "journal.db")}
        )
        settings = replace(settings, has_local_files=False, thumbnails=False)
        app = NamedTenant(build_app(build_server(settings), settings, host="127.0.0.1"))
        with serving(app) as origin:
            async with connect_over_http(origin, "ada", mode) as ada, connect_over_http(origin, "bob", mode) as bob:
                _, made = await order(ada, SECRET, wait_seconds=60)
                result = await bob.call_tool("get_job", {"jobid": made["jobid"], "wait_seconds": 0})
                _, listed = await call(bob, "list_jobs")
                _, of_ada = await call(ada, "list_jobs")
    assert read_result(result)[1]["error"]["kind"] == "not_found"
    assert (listed["jobs"], [job["jobid"] for job in of_ada["jobs"]]) == ([], [made["jobid"]])


class NamedTenant:
    """ASGI middleware in place of authentication: it trusts the tenant that a request names."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = dict(scope.get("headers", ())).get(b"x-tenant", b"").decode()
        token = current_tenant.set(TENANTS.get(name, OWNER))
        try:
            await self._app(scope, receive, send)
        finally:
            current_tenant.reset(token)


@asynccontextmanager
async def connect_over_http(origin: str, tenant: str, mode: str, *extensions: str) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(headers={"X-Tenant": tenant}, timeout=60) as http:
        client = Client(streamable_http_client(f"{origin}/mcp", http_client=http), mode=mode)
        async with declaring(client, *extensions) as connected:
            yield connected


# Pictures that arrive in parts.

PICTURE = base64.b64decode(draw("red").partition(",")[2])


async def try_upload(bob: Panel) -> list[Any]:
    """Let Bob try everything with the id of an upload. Return the results."""
    return [
        await bob.call(offset=50, data=base64.b64encode(PICTURE[50:]).decode()),
        await bob.call(action="preview"),
        await bob.call(**bob.build_end(PICTURE)),
        await bob.call(action="discard"),
        await bob.count_received(),
    ]


@BOTH_APIS
async def test_an_upload_of_another_tenant_is_not_reached(start: Start, simulator: Simulator, api: str) -> None:
    server = start()
    async with server.connect(ADA, APPS) as ada, server.connect(BOB, APPS) as bob:
        of_ada, of_nobody = Panel.open(ada), Panel.open(bob)
        await of_ada.send(PICTURE)
        same = Panel(bob, of_ada.upload)
        assert await try_upload(same) == await try_upload(of_nobody)
        # It is all there for Ada. What Bob sends with the same id is his.
        assert await of_ada.count_received() == len(PICTURE)
        await same.send(PICTURE)
        answers = [await of_ada.finish(PICTURE), await same.finish(PICTURE)]
    # Nobody learns that somebody has uploaded the same picture, nor whose account it is.
    assert answers[0]["asset"] != answers[1]["asset"]
    assert simulator.requests["POST /assets/…" if api == "useapi" else "POST /files"] == 2
    for answer in answers:
        asset = answer.pop("asset")
        assert EMAIL not in json.dumps(answer)
        assert simulator.service.find_upload(asset) == PICTURE


@BOTH_APIS
async def test_a_picture_of_the_panel_is_its_tenants(start: Start) -> None:
    server = start()
    async with server.connect(ADA, APPS) as ada, server.connect(BOB, APPS) as bob:
        panel = Panel.open(ada)
        await panel.send(PICTURE)
        asset = (await panel.finish(PICTURE))["asset"]
        _, of_ada = await order(ada, image_start=asset)
        error = await order_error(bob, image_start=asset)
    assert of_ada["assets"] == {"image_start": asset}
    assert (error["kind"], error["charged"]) == ("invalid_arguments", "no")


@pytest.mark.parametrize("api", ["useapi"])
async def test_the_account_of_the_operator_cannot_be_chosen(start: Start) -> None:
    async with start().connect(ADA, APPS) as ada:
        panel = Panel.open(ada)
        await panel.send(PICTURE)
        error = await panel.error(**panel.build_end(PICTURE), email=EMAIL)
    assert [problem["field"] for problem in error["problems"]] == ["email"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_picture_is_uploaded_over_http_at_any_replica(tmp_path: Path) -> None:
    """Each part has the maximum size, and each goes to another replica than the previous one."""
    file = io.BytesIO()
    Image.effect_noise((1000, 1000), 90).save(file, "PNG")
    data = file.getvalue()
    simulator = new_simulator(speed=1000)
    with running(simulator) as url:
        settings = Settings.from_environment(
            {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_BASE_URL": url, "LUMA_MCP_JOURNAL": str(tmp_path / "journal.db")}
        )
        settings = replace(settings, has_local_files=False, thumbnails=False)

        def build_replica() -> ASGIApp:
            return NamedTenant(build_app(build_server(settings), settings, host="127.0.0.1"))

        with serving(build_replica()) as one, serving(build_replica()) as two:
            async with (
                connect_over_http(one, "ada", ERAS[0], APPS) as first,
                connect_over_http(two, "ada", ERAS[0], APPS) as second,
                connect_over_http(two, "bob", ERAS[0], APPS) as bob,
            ):
                panel = Panel.open(first)
                opened = await first.call_tool("add_picture", {})
                assert opened.structured_content
                part = opened.structured_content["part_bytes"]
                for offset, client in zip(range(0, len(data), part), (first, second) * 9, strict=False):
                    panel.client = client
                    received = await panel.send_part(offset, data[offset : offset + part])
                    assert received == min(len(data), offset + part)
                assert await Panel(bob, panel.upload).count_received() == 0
                done = await panel.finish(data)
                _, made = await order(first, image_start=done["asset"])
    assert simulator.service.find_upload(done["asset"]) == data
    assert made["assets"] == {"image_start": done["asset"]}


def test_tenants_share_the_limits_of_decoding() -> None:
    """Decoding a video can take more than a gigabyte."""
    services = build_services(Settings(token=SecretStr(TOKEN)), USEAPI)
    decoders = []
    for tenant in (ADA, BOB):
        token = current_tenant.set(tenant)
        service = services.get()
        current_tenant.reset(token)
        assert service
        decoders.append(service.films.decoder)
    assert decoders[0] is decoders[1]
