"""The endpoints for operators: liveness, readiness and metrics."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from mcp import Client, MCPError
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from tests.cli.commands import run_process
from tests.cli.serving import run_server
from tests.conftest import EMAIL, ERAS
from tests.hosting.test_drain import METRICS, metrics_url

from luma_mcp.api.polling import Waits
from luma_mcp.hosting.operations import FRESH, Operations, Readiness, find_database_check
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL = Settings(metrics_address=("127.0.0.1", 0))
CLOSED = "postgresql://luma:secret-password@127.0.0.1:1/luma"
"""Where no database is."""


def connected(operations: Operations) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(operations), base_url="http://operations")


@pytest.mark.parametrize(("path", "content"), [("/livez", "ok"), ("/readyz", "ok"), ("/metrics", "luma_mcp_waits 0.0")])
async def test_only_reads_are_answered(path: str, content: str) -> None:
    async with connected(Operations(LOCAL)) as http:
        answer = await http.get(path)
        assert answer.status_code == 200
        assert content in answer.text
        assert (await http.head(path)).status_code == 200
        refused = await http.post(path)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/mcp", "/metrics/", "//metrics", "/livez/../metrics", "/readyz\n"])
async def test_nothing_else_is_served_there(path: str) -> None:
    operations, sent = Operations(LOCAL), []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    await operations(scope, None, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 404


async def test_server_that_is_being_stopped_is_live_but_not_ready() -> None:
    operations = Operations(LOCAL)
    operations.waits.end(anyio.current_time() + 30)
    async with connected(operations) as http:
        assert (await http.get("/livez")).status_code == 200
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.text) == (503, "draining")
        assert "luma_mcp_draining 1.0" in (await http.get("/metrics")).text


async def test_server_without_its_database_is_live_but_not_ready() -> None:
    operations = Operations(Settings(metrics_address=("127.0.0.1", 0), journal=SecretStr(CLOSED)))
    async with connected(operations) as http:
        assert (await http.get("/livez")).status_code == 200
        ready = await http.get("/readyz")
        metrics = await http.get("/metrics")
    assert ready.status_code == 503
    assert "cannot be reached" in ready.text
    assert "secret-password" not in ready.text
    assert "luma_mcp_database_problem 1.0" in metrics.text


async def test_a_journal_in_a_file_is_not_checked() -> None:
    assert find_database_check(Settings(journal="/nonexistent/journal.db")) is None
    assert find_database_check(Settings()) is None


async def test_database_is_checked_at_most_once_per_interval() -> None:
    problems, checks = ["down", None], 0

    async def check() -> str | None:
        nonlocal checks
        checks += 1
        await anyio.sleep(0.1)
        return problems[checks - 1]

    readiness = Readiness(Waits(), check)
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(readiness.find_problem)
    assert (checks, await readiness.find_problem()) == (1, "down")
    await anyio.sleep(FRESH)
    assert (await readiness.find_problem(), checks) == (None, 2)


TRACED = """
import anyio
from mcp import Client
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from luma_mcp.hosting.operations import Operations
from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
settings = Settings.from_environment({"LUMA_MCP_JOURNAL": "off"})
server = build_server(settings)
Operations(settings).observe(server, None)

async def call():
    async with Client(server) as client:
        await client.call_tool("list_options", {})

anyio.run(call)
"""


def test_calls_are_traced_if_tracing_is_on() -> None:
    # In a process of its own, because that cannot be undone.
    done = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, check=False)
    assert "tools/call list_options" in done.stdout, done.stderr


def test_prometheus_is_not_required_without_the_address() -> None:
    code = (
        "import sys; from luma_mcp.hosting.operations import Operations; from luma_mcp.settings import Settings; "
        "Operations(Settings()); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "luma_mcp.hosting.operations" in loaded
    assert not {"prometheus_client", "psycopg", "jwt"} & set(loaded)


def test_an_address_that_cannot_be_used_is_named() -> None:
    environment = {"LUMA_MCP_METRICS_ADDRESS": "203.0.113.1:9464"}
    done = run_process("serve", "--http", "--simulate", "--port", "0", "--no-auth", environment=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "LUMA_MCP_METRICS_ADDRESS" in done.stderr


Samples = dict[tuple[str, ...], float]


def read_samples(text: str) -> Samples:
    """The samples by name and the values of their labels."""
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name, *sample.labels.values()] = sample.value
    return samples


class TestProgram:
    """The real program."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def program(self) -> Iterator[tuple[str, str]]:
        """The URL of the server, and that of its endpoints for operators."""
        with run_server("--simulate", "--speed", "100", **METRICS) as (url, process):
            yield url, metrics_url(process)

    @pytest.mark.parametrize("mode", ERAS)
    async def test_it_counts_calls_and_orders(self, program: tuple[str, str], mode: str) -> None:
        url, operator = program
        orders: list[dict[str, Any]] = [
            {"prompt": "a stuck fox simulate:stuck", "wait_seconds": 0},
            {"prompt": "a stuck fox simulate:stuck", "wait_seconds": 0},
            {"prompt": "two owls", "takes": 2},
            {"prompt": "a fox", "resolution": "huge"},
            {"prompt": "a fox simulate:moderate"},
            {"prompt": "a fox simulate:lost"},
            {"prompt": "a fox simulate:dropped simulate:unstarted"},
        ]
        async with Client(url, mode=mode) as client:
            for order in orders:
                await client.call_tool("generate_video", order)
            await client.call_tool("get_job", {"jobid": f"nobody's {EMAIL}"})
            for name in ("no_such_tool", "another\nmade up name"):
                with suppress(MCPError):
                    await client.call_tool(name, {})
        text = httpx2.get(f"{operator}/metrics").text
        samples = read_samples(text)
        found = {outcome: samples.get(("luma_mcp_orders_total", outcome), 0) for outcome in ("created", "duplicate")}
        assert found == {"created": 3, "duplicate": 1}
        assert samples["luma_mcp_orders_total", "refused"] == 2
        assert samples["luma_mcp_orders_total", "recovered"] == 1
        assert samples["luma_mcp_orders_total", "unknown"] == 1
        calls = {key[1:]: value for key, value in samples.items() if key[0] == "luma_mcp_calls_total"}
        assert calls == {
            ("ok", "generate_video"): 4,
            ("invalid_arguments", "generate_video"): 1,
            ("moderated", "generate_video"): 1,
            ("outcome_unknown", "generate_video"): 1,
            ("invalid_arguments", "get_job"): 1,
            ("protocol_error", "other"): 2,
        }
        assert samples["luma_mcp_call_seconds_count", "generate_video"] == len(orders)
        assert samples["luma_mcp_http_responses_total", "200"] >= len(orders)
        assert samples["luma_mcp_http_body_bytes_total", "sent"] > 1000
        assert samples["process_resident_memory_bytes",] > 10e6
        for private in (EMAIL, "fox", "owls", "made up", "-bot:luma", "no_such_tool"):
            assert private not in text

    async def test_waits_in_progress_are_shown(self, program: tuple[str, str]) -> None:
        url, operator = program
        waiting = anyio.Event()

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
            if message and "Job" in message:
                waiting.set()

        async def call() -> None:
            async with Client(url) as client:
                order = {"prompt": "a stuck fox simulate:stuck", "wait_seconds": 600}
                await client.call_tool("generate_video", order, progress_callback=on_progress)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await waiting.wait()
            assert "luma_mcp_waits 1.0" in httpx2.get(f"{operator}/metrics").text
            tasks.cancel_scope.cancel()

    def test_only_its_own_address_has_them(self, program: tuple[str, str]) -> None:
        url, operator = program
        for path in ("/metrics", "/livez", "/readyz"):
            assert httpx2.get(f"{url.removesuffix('/mcp')}{path}").status_code == 404
        assert httpx2.post(f"{operator}/mcp", json={}).status_code == 404
