"""Shared by all tests: virtual time, a simulated service, and a server connected to it.

Tests run on trio with a clock that jumps to the next event as soon as all tasks wait: three minutes of waiting take no
time, and nothing sleeps. Tests that need real sockets ask for asyncio.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import hypothesis
import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from tests.clock import ClockThatWaitsForThreads
from trio.testing import MockClock

from luma_mcp.api.agents.client import AgentsClient
from luma_mcp.api.useapi.client import LumaClient
from luma_mcp.catalog import get_catalog
from luma_mcp.catalog.agents import AGENTS
from luma_mcp.providers import PROVIDERS
from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings
from luma_mcp.simulator.agents import AgentsService, AgentsSimulator
from luma_mcp.simulator.app import Simulator
from luma_mcp.simulator.state import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from luma_mcp.catalog.models import Catalog

TOKEN = "user:4711-very-secret-token"
KEY = "luma-api-4711-very-secret-key"
CREDENTIALS = {"useapi": TOKEN, "agents": KEY}
"""By API."""
EMAIL = "studio@example.com"
MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
IN_MEMORY = {"LUMA_MCP_JOURNAL": "off", "LUMA_MCP_THUMBNAILS": "0"}
"""What tests do without unless they are about it."""
ERAS = ("2026-07-28", "legacy")
"""The newest version of the protocol, and the handshake before it."""
BOTH_APIS = pytest.mark.parametrize("api", CREDENTIALS)
"""Runs a test with the simulator of each API."""
ALL = bool(os.environ.get("ALL"))
"""Whether every case runs, also of tests that take long: `make test-all`."""
# The same generated requests in each run of `make test`; new ones in each run of `make test-all`.
hypothesis.settings.register_profile("luma", deadline=None, derandomize=not ALL)
hypothesis.settings.load_profile("luma")


def wall_clock() -> datetime:
    return MIDNIGHT + timedelta(seconds=anyio.current_time())


async def resolve(host: str, port: int) -> list[str]:  # noqa: ARG001
    """Resolve every name to a public address. The transport determines where the request goes."""
    return ["93.184.215.14"]


def pytest_configure() -> None:
    """Prepare this process for the tests."""
    measure_processes()
    remember_valid_schemas()


def measure_processes() -> None:
    """Measure the coverage of processes that tests start with their own environment."""
    config = os.environ.get("COVERAGE_PROCESS_CONFIG")
    if config is None:
        return
    start = subprocess.Popen.__init__

    def start_measured(self: Any, *args: Any, **options: Any) -> None:
        if options.get("env") is not None:
            options["env"] = {**options["env"], "COVERAGE_PROCESS_CONFIG": config}
        start(self, *args, **options)

    subprocess.Popen.__init__ = start_measured  # type: ignore[method-assign]


def remember_valid_schemas() -> None:
    """Check each schema only once. Every client checks the schemas of all tools, which is slow."""
    check = Draft202012Validator.check_schema
    valid: set[str] = set()

    def check_new_schema(schema: Any, *args: Any, **options: Any) -> None:
        text = json.dumps([schema, repr(args), repr(options)])
        if text not in valid:
            check(schema, *args, **options)
            valid.add(text)

    Draft202012Validator.check_schema = check_new_schema  # type: ignore[method-assign]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep only `number` evenly spaced cases of each test that is marked `sample(number)`."""
    if ALL:
        return
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sample"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    deselected: list[pytest.Item] = []
    for selected in cases.values():
        marker = selected[0].get_closest_marker("sample")
        assert marker
        [number] = marker.args
        kept = {position * len(selected) // number for position in range(number)}
        deselected += [item for position, item in enumerate(selected) if position not in kept]
    config.hook.pytest_deselected(items=deselected)
    removed = set(deselected)
    items[:] = [item for item in items if item not in removed]


def pytest_report_header() -> str:
    return describe_sample()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the sample if pytest prints no header."""
    if config.get_verbosity() < 0:
        terminalreporter.line(describe_sample())


def describe_sample() -> str:
    """Describe what is left out, in one line."""
    if ALL:
        return "cases: all, also of slow tests (ALL is set)"
    return "cases: of slow tests (marked sample), only some; all of them with make test-all (ALL=1)"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove variables of the machine on which tests must not depend."""
    variables = {provider.variable for provider in PROVIDERS.values()}
    for name in list(os.environ):
        is_ours = name.startswith("LUMA_MCP_") or name in variables
        if is_ours or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    clock = MockClock(autojump_threshold=0)
    return "trio", {"clock": clock, "instruments": [ClockThatWaitsForThreads(clock)]}


@pytest.fixture
def api() -> str:
    """The API that the simulator stands in for; `BOTH_APIS` parametrizes it."""
    return "useapi"


@pytest.fixture
def simulator(api: str) -> Simulator:
    return simulator_of(get_catalog(api), token=CREDENTIALS[api])


def simulator_of(catalog: Catalog, token: str = TOKEN) -> Simulator:
    """Build a simulated service in virtual time that offers this catalog and has one account."""
    kinds = (AgentsService, AgentsSimulator) if catalog.api == "agents" else (Service, Simulator)
    service = kinds[0](catalog, clock=anyio.current_time, wall_clock=wall_clock, rng=random.Random(1))
    service.add_account(EMAIL)
    return kinds[1](service, token=token, connection_error=httpx2.ReadError)


@pytest.fixture
def agents_simulator() -> AgentsSimulator:
    simulator = simulator_of(AGENTS, token=KEY)
    assert isinstance(simulator, AgentsSimulator)
    return simulator


@pytest.fixture
def agents(agents_simulator: AgentsSimulator) -> AgentsClient:
    return agents_client_of(httpx2.ASGITransport(agents_simulator))


def agents_client_of(transport: httpx2.AsyncBaseTransport) -> AgentsClient:
    return AgentsClient(KEY, transport=transport, jitter=lambda: 0.5, wall_clock=wall_clock, resolve=resolve)


@pytest.fixture
def luma(simulator: Simulator) -> LumaClient:
    return client_of(httpx2.ASGITransport(simulator))


def client_of(transport: httpx2.AsyncBaseTransport) -> LumaClient:
    return LumaClient(TOKEN, transport=transport, jitter=lambda: 0.5, wall_clock=wall_clock, resolve=resolve)


@pytest.fixture
def connect(api: str, simulator: Simulator) -> Callable[..., Client]:
    """Connect an MCP client to a server with the simulator. `environment` replaces all variables and the credential."""
    credential = {PROVIDERS[api].variable: CREDENTIALS[api]}

    def connect_to_server(
        *,
        mode: str = ERAS[0],
        transport: httpx2.AsyncBaseTransport | None = None,
        environment: dict[str, str] | None = None,
    ) -> Client:
        stated = credential if environment is None else environment
        settings = Settings.from_environment(IN_MEMORY | stated)
        through = transport or httpx2.ASGITransport(simulator)
        return Client(build_server(settings, transport=through, resolve=resolve, wall_clock=wall_clock), mode=mode)

    return connect_to_server
