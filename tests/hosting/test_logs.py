"""The log of a server over HTTP: one line for each request, without secrets or personal data."""

from __future__ import annotations

import io
import json
import logging
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from pydantic import BaseModel, SecretStr, ValidationError
from tests.cli.serving import run_server
from tests.conftest import EMAIL, ERAS, TOKEN

from luma_mcp.hosting.logs import HttpRequest, RequestLog, configure_logging, current_request
from luma_mcp.service.tenants import OWNER, Tenant, current_tenant
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

FORMATS = pytest.mark.parametrize("log_format", ["text", "json"])
JOBID = f"j112226120000000000v-u12345-email:{EMAIL}:448b7068-3945-4d0f-96ce-717d25aa8e4a-bot:luma"
PROMPT = "a lighthouse that nobody may read about"
PASSWORD = "pass word/of@the#database"
DSN = "postgresql://luma:pass%20word%2Fof%40the%23database@db.internal:5432/luma?sslmode=require"
KEY = "secret-key-0123456789-abcdefghijkl"


@contextmanager
def logging_as(log_format: str, level: str = "DEBUG", **settings: Any) -> Iterator[Callable[[], str]]:
    """Configure logging as the program does. Yields the log."""
    root = logging.getLogger()
    loggers = [root, *(each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger))]
    before = [(each, each.level) for each in loggers]
    handlers = root.handlers[:]
    stream = io.StringIO()
    root.handlers.clear()
    configure_logging(Settings(log_format=log_format, log_level=level, **settings), stream=stream)
    try:
        yield stream.getvalue
    finally:
        root.handlers[:] = handlers
        for logger, its_level in before:
            logger.setLevel(its_level)


@contextmanager
def handling(request: HttpRequest, tenant: Tenant = OWNER) -> Iterator[None]:
    tokens = current_request.set(request), current_tenant.set(tenant)
    try:
        yield
    finally:
        current_request.reset(tokens[0])
        current_tenant.reset(tokens[1])


async def answer(scope: Scope, app: ASGIApp) -> list[Message]:
    """Send a request through the middleware, and return the response."""
    sent: list[Message] = []

    async def collect(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    await RequestLog(app)(scope, receive, collect)
    return sent


@FORMATS
@pytest.mark.parametrize("jobid", [JOBID, JOBID.replace(":", "%3A").replace("@", "%40")], ids=["plain", "in a URL"])
def test_jobids_do_not_reveal_e_mail_addresses(log_format: str, jobid: str) -> None:
    with logging_as(log_format) as logged:
        logging.getLogger("luma_mcp").warning("The job continues: %s", jobid)
        assert "j112226120000000000v-u12345" in logged()
        assert EMAIL.partition("@")[0] not in logged()
        assert "example" not in logged()


@FORMATS
@pytest.mark.parametrize(
    "text", [EMAIL, "Ünïcode.name+tag@exämple.co.uk", "user@localhost", f"<{EMAIL}>", f"({EMAIL})"]
)
def test_e_mail_addresses_are_masked(log_format: str, text: str) -> None:
    with logging_as(log_format) as logged:
        logging.getLogger("x").error("before %s after", text)
        line = json.loads(logged())["message"] if log_format == "json" else logged()
        assert re.search(r"before [<(]?\*\*\*[>)]? after", line), line


@FORMATS
@pytest.mark.parametrize(
    "secret",
    [
        PASSWORD,
        "pass%20word%2Fof%40the%23database",
        DSN,
        KEY,
        TOKEN,
        "user:9999-another-tenant",
        "luma-api-of-another-tenant",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.",
        "a-caller-s-opaque-token",
        "a-tenant-s-credential",
        "0123456789abcdef0123456789abcdef",
    ],
)
def test_secrets_are_masked_wherever_they_are(log_format: str, secret: str) -> None:
    secrets: dict[str, Any] = {"token": SecretStr(TOKEN), "journal": SecretStr(DSN), "secret_keys": (SecretStr(KEY),)}
    request = HttpRequest("id", "POST", "/mcp", [(b"authorization", b"Bearer a-caller-s-opaque-token")])
    mac = f"/hooks/order-1/{secret}" if len(secret) == 32 else secret
    tenant = Tenant("digest", SecretStr("a-tenant-s-credential"))
    with logging_as(log_format, **secrets) as logged, handling(request, tenant):
        logger = logging.getLogger("x")
        logger.error("in the message: %s", mac)
        logger.error(mac, exc_info=ValueError(f"in an error {mac}"))
        logger.error({"key": mac}, exc_info=ValueError({"key": mac}))
        assert secret not in logged()
        assert logged().count("***") >= 5


@FORMATS
def test_callers_cannot_forge_log_records(log_format: str) -> None:
    forged = 'ERROR x: forged\r{"level": "ERROR"}\x1b[2K\x85\u2028ERROR x: forged'
    with logging_as(log_format) as logged:
        logging.getLogger("x").error("name: %s", f"a\nb\n{forged}")
        logging.getLogger("x").error("failed", exc_info=ValueError(forged))
        lines = logged().splitlines()
    if log_format == "json":
        assert [json.loads(line)["level"] for line in lines] == ["ERROR", "ERROR"]
    else:
        beginnings = [line for line in lines if not line.startswith("    ")]
        assert beginnings == ["ERROR x: name: a", "ERROR x: failed"]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", "\n".join(lines))


def test_values_that_pydantic_rejects_are_not_logged() -> None:
    class Request(BaseModel):
        prompt: int

    with logging_as("json") as logged:
        try:
            Request.model_validate({"prompt": PROMPT})
        except ValidationError:
            logging.getLogger("x").exception("refused")
        assert "prompt" in logged()
        assert "lighthouse" not in logged()


def test_huge_line_is_masked_quickly() -> None:
    # It would take hours if each character were looked at more than a few times.
    with logging_as("json") as logged:
        logging.getLogger("x").error("%s", "x" * 3_000_000 + "@" + "y" * 3_000_000)
        assert len(logged()) < 1000


def test_a_record_has_the_request_and_the_digest_of_the_tenant() -> None:
    request = HttpRequest("request-1", "POST", "/mcp")
    with logging_as("json") as logged, handling(request, Tenant("digest", SecretStr("credential"), name="alice")):
        logging.getLogger("x").error("failed")
    record = json.loads(logged())
    assert record.pop("time").endswith("+00:00")
    expected = {"level": "ERROR", "logger": "x", "message": "failed", "request_id": "request-1", "tenant": "digest"}
    assert record == expected


def scope_of(path: str, *headers: tuple[bytes, bytes]) -> Scope:
    return {"type": "http", "method": "POST", "path": path, "query_string": b"token=in-the-url", "headers": headers}


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [
        ((b"abc-DEF_1.2",), True),
        ((b"a" * 64,), True),
        ((b"a" * 65,), False),
        ((b"",), False),
        ((b'a"b',), False),
        ((b"a b",), False),
        ((b"user@example.com",), False),
        ((b"one", b"two"), False),
        ((), False),
    ],
)
async def test_a_request_keeps_its_id_if_that_is_harmless(given: tuple[bytes, ...], *, is_kept: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        await send({"type": "http.response.start", "status": 204, "headers": []})

    scope = scope_of("/mcp", *((b"x-request-id", each) for each in given))
    [start] = await answer(scope, app)
    [(name, request_id)] = start["headers"]
    assert name == b"x-request-id"
    assert (request_id in given) == is_kept
    assert re.fullmatch(rb"[\w.-]{1,64}", request_id)


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/mcp", "/mcp"),
        ("/hooks/order-1/0123456789abcdef", "/hooks/{order}/***"),
        ("/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"),
        ("/anything\n/else", "other"),
    ],
)
async def test_each_request_has_one_line_without_what_its_url_contains(path: str, template: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        await send({"type": "http.response.start", "status": 404})
        await send({"type": "http.response.body", "body": b"12345"})

    with logging_as("json", "WARNING") as logged:
        await answer(scope_of(path), app)
    [line] = logged().splitlines()
    record = json.loads(line)
    assert template in record["message"]
    assert {"method": "POST", "status": 404, "sent_bytes": 5}.items() <= record.items()
    assert "in-the-url" not in line
    assert "0123456789abcdef" not in line


async def test_a_request_that_fails_or_whose_client_leaves_has_a_line_as_well() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        raise ValueError

    async def leave(scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing, as after a message that the client has left."""

    with logging_as("json", "WARNING") as logged:
        with pytest.raises(ValueError):  # noqa: PT011
            await answer(scope_of("/mcp"), fail)
        await answer(scope_of("/mcp"), leave)
    assert [json.loads(line)["status"] for line in logged().splitlines()] == [500, 499]


@pytest.mark.parametrize(
    ("log_format", "level", "lines"), [("text", "WARNING", 0), ("json", "ERROR", 0), ("text", "INFO", 1)]
)
async def test_lower_log_level_hides_request_lines(log_format: str, level: str, lines: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """Nothing."""

    with logging_as(log_format, level) as logged:
        await answer(scope_of("/mcp"), app)
    assert len(logged().splitlines()) == lines


class TestProgram:
    """The real program, with the most detailed log level."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @FORMATS
    @pytest.mark.parametrize("mode", ERAS)
    async def test_it_logs_requests_but_not_what_is_in_them(self, mode: str, log_format: str) -> None:
        settings = {"LUMA_MCP_LOG_FORMAT": log_format, "LUMA_MCP_LOG_LEVEL": "DEBUG"}
        with run_server("--simulate", "--speed", "100", authenticate=True, **settings, LUMA_MCP_HTTP_TOKEN=KEY) as (
            url,
            process,
        ):
            headers = {"Authorization": f"Bearer {KEY}", "X-Request-Id": "mine-1"}
            async with (
                httpx2.AsyncClient(headers=headers, timeout=60) as http,
                Client(streamable_http_client(url, http_client=http), mode=mode) as client,
            ):
                made = await client.call_tool("generate_video", {"prompt": PROMPT})
                assert made.structured_content
                await client.call_tool("get_job", {"jobid": made.structured_content["jobid"]})
                await client.call_tool("get_job", {"jobid": f"{PROMPT} {EMAIL}"})
                await client.call_tool("generate_video", {"prompt": PROMPT, "resolution": PROMPT})
                await client.list_tools()
            wrong = {"Authorization": "Bearer wrong-token-of-somebody"}
            await anyio.to_thread.run_sync(lambda: httpx2.post(f"{url}?q={PROMPT}", headers=wrong))
            process.terminate()
            logged = process.communicate(timeout=60)[1]
        for secret in (PROMPT, "lighthouse", KEY, "wrong-token", EMAIL, EMAIL.partition("@")[0]):
            assert secret not in logged
        assert len(re.findall("tools/call generate_video", logged)) == 2
        assert len(re.findall("tools/call get_job", logged)) == 2
        assert "mine-1" in logged
        assert " 401 " in logged
        if log_format == "json":
            records = [json.loads(line) for line in logged.splitlines() if line.startswith("{")]
            calls = [each for each in records if each.get("tool")]
            assert [each["outcome"] for each in calls] == ["ok", "ok", "invalid_arguments", "invalid_arguments"]
            assert {each["request_id"] for each in calls} == {"mine-1"}
            assert all(each["seconds"] >= 0 for each in calls)
