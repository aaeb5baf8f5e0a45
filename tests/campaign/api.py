"""The simulator behind a small HTTP server that adds faults to requests and keeps a ledger of them.

The server can drop a connection without a byte, cut a response anywhere, and hold an order before or after it is
carried out. Its clock, which every response shows, can be moved forward.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections import defaultdict, deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from luma_mcp.catalog import get_catalog
from luma_mcp.simulator.agents import AgentsService, AgentsSimulator
from luma_mcp.simulator.app import HOST, Simulator
from luma_mcp.simulator.state import Service, SimulatedJob

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

EMAIL = "studio@example.com"
SLOTS = 1000
TIMEOUT = 120.0
"""Seconds that a step may take on a busy machine before it counts as hanging."""
GATEWAY = frozenset({408, 499, 502, 504, *range(520, 528)})
"""Statuses of a gateway that does not know the outcome of a request."""
BODIES = (b"", b"<html>Bad gateway</html>", b"{}", b'{"err')
WITHOUT_BODY = (204, 205, 304)
HELD = float("inf")
"""Seconds of a job that ends only when the scenario ends it."""

_T = TypeVar("_T")
Cut = Literal["", "drop", "reset", "head", "body", "garbage"]


@dataclass(frozen=True, slots=True)
class Contract:
    """The differences between the APIs. All other rules apply to both.

    Attributes:
        api: its name.
        credential: the environment variable of the credential, and its value.
        orders, jobs, listing: the paths of orders, of a job's record, and of a list that shows the API's time.
        accepted: the status of an accepted order; `rejections`: the documented ones, with which nothing is carried out.
        bodies: of injected responses.
        models, resolution: of orders; `clock_model`: of the job that shows servers the API's time.
        outcomes: results of orders that a prompt can request.
        free_failures: outcomes with which the API reports that a failed job is not charged.
        lists_jobs: whether running jobs can be listed. If not, an order without a readable response is never matched
            with a job. It remains unknown and blocks identical orders for a quarter of an hour, even after a failure
            with a message. It never adopts the job of another order.
    """

    api: str
    credential: tuple[str, str]
    orders: str
    jobs: str
    listing: str
    accepted: int
    rejections: frozenset[int]
    bodies: tuple[bytes, ...]
    models: tuple[str, ...]
    clock_model: str
    resolution: str
    outcomes: tuple[str, ...]
    free_failures: tuple[str, ...]
    lists_jobs: bool


CONTRACTS = (
    Contract(
        api="useapi",
        credential=("USEAPI_TOKEN", "user:4711-campaign"),
        orders="/videos",
        jobs="/jobs/",
        listing="/jobs",
        accepted=200,
        rejections=frozenset({400, 401, 402, 403, 404, 409, 422, 429, 596}),
        bodies=(*BODIES, b'{"error": "Internal server error"}', b'{"jobid": ""}'),
        models=("ray-v3-flash", "ray-v3"),
        clock_model="ray-v3-reasoning",
        resolution="draft",
        outcomes=("fail", "moderate", "down", "lost", "broke"),
        free_failures=(),
        lists_jobs=True,
    ),
    Contract(
        api="agents",
        credential=("LUMA_AGENTS_API_KEY", "luma-api-4711-campaign"),
        orders="/generations",
        jobs="/generations/",
        listing="/files?limit=1",
        accepted=201,
        rejections=frozenset({400, 401, 402, 403, 404, 413, 422, 429}),
        bodies=(*BODIES, b'{"detail": "Internal server error"}', b'{"id": ""}'),
        models=("ray-3.2",),
        clock_model="ray-3.2",
        resolution="360p",
        outcomes=("fail", "moderate", "exhausted", "down", "lost", "broke", "limited"),
        free_failures=("fail", "moderate"),
        lists_jobs=False,
    ),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of one request.

    Attributes:
        carried_out: whether the API acts on it.
        status, body: a response that replaces the real one.
        cut: where the response is cut: before its first byte (also with a reset), or in its head or its body. With
            `garbage`, something arrives that is not HTTP.
        delay: seconds before the request is carried out, and again before the response.
        hold: where an order is held until it is released or its client disconnects.
        dated: whether the response shows the API's time.
    """

    carried_out: bool = True
    status: int | None = None
    body: bytes = b""
    cut: Cut = ""
    delay: float = 0.0
    hold: Literal["", "before", "after"] = ""
    dated: bool = True

    def __str__(self) -> str:
        parts: list[str] = []
        if self.status is not None:
            parts.append(f"{self.status} {self.body[:30]!r}")
        parts += filter(None, (self.cut and f"cut: {self.cut}", self.hold and f"held {self.hold}"))
        if not self.carried_out:
            parts.append("not carried out")
        if self.delay:
            parts.append(f"delay {self.delay}")
        if not self.dated:
            parts.append("no date")
        return ", ".join(parts) or "no fault"


NO_FAULT = Fault()


@dataclass(eq=False, slots=True)
class Post:
    """An order that arrived. `at`, `real`: its time by the API's clock and by the monotonic one.

    `status`: of the response. `was_abandoned`: its client disconnected while it was held.
    """

    contract: Contract
    prompt: str
    batch: int
    at: datetime
    real: float
    fault: Fault
    released: asyncio.Event
    is_held: bool = False
    is_done: bool = False
    was_abandoned: bool = False
    status: int = 0

    @property
    def is_inconclusive(self) -> bool:
        """Whether its client cannot know the outcome."""
        is_readable = self.status == self.contract.accepted and self.fault.status is None
        is_documented = is_readable or self.status in self.contract.rejections
        return bool(self.fault.cut) or self.was_abandoned or not is_documented

    @property
    def has_message(self) -> bool:
        """Whether the API itself responded without showing if a job was started, which a list will show soon.

        This includes statuses that a lost response cannot have.
        """
        if not self.contract.lists_jobs or self.fault.cut or self.status in GATEWAY:
            return False
        if self.fault.status is None:
            return self.status == 500
        return 300 <= self.status < 500 or b'"error"' in self.fault.body


@dataclass(eq=False, slots=True)
class LedgerJob:
    """A job of the API. `at`, `real`: as in `Post`. `is_foreign`: it was ordered by another machine."""

    job: SimulatedJob
    prompt: str
    model: str
    batch: int
    at: datetime
    real: float
    is_foreign: bool
    was_denied: bool = False
    """Whether a look-up returned that there is no such job."""

    @property
    def jobid(self) -> str:
        return self.job.jobid

    @property
    def ended(self) -> float | None:
        """Its end by the monotonic clock, which may be in the future. None while it is held."""
        return None if self.job.seconds == HELD else self.job.begun + self.job.seconds

    def runs(self, real: float) -> bool:
        """Whether it was running at that time."""
        return self.ended is None or self.ended > real


@dataclass
class _Service(Service):
    """A service whose jobs have the durations that the scenario sets, and are added to the ledger."""

    durations: dict[str, float] = field(default_factory=dict)
    on_start: Callable[[SimulatedJob], None] = field(default=lambda _: None)

    def start(self, request: dict[str, str], email: str, *, webhook: bool = False) -> SimulatedJob:
        job = super().start(request, email, webhook=webhook)
        job.seconds = self.durations.get(request["prompt"], 0.05)
        self.on_start(job)
        return job


@dataclass
class _AgentsService(_Service, AgentsService):
    """The same for the other API."""


@dataclass(slots=True)
class _Response:
    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""


class Api:
    """The simulator, its ledger and its faults. It runs in a separate thread.

    Attributes:
        contract: the API.
        batch: the number of the current batch, for the ledger.
        orders: the faults of the next orders, by prompt.
        look_ups: the faults of the next look-ups of jobs, by prompt.
        listings: the faults of the next lists.
        unlisted: prompts of jobs that are not listed during their first second.
        posts, jobs: the ledger.
        changed: notified after every change.
    """

    def __init__(self, contract: Contract, rng: random.Random) -> None:
        self.contract = contract
        self._offset = timedelta()
        self.batch = 0
        catalog, token = get_catalog(contract.api), contract.credential[1]
        if contract.api == "agents":
            agents = _AgentsService(catalog, time.monotonic, wall_clock=self.now, rng=rng, on_start=self._add_job)
            agents.per_minute = SLOTS
            self.service: _Service = agents
            self._simulator: Simulator = AgentsSimulator(agents, token=token)
        else:
            self.service = _Service(catalog, time.monotonic, wall_clock=self.now, rng=rng, on_start=self._add_job)
            self._simulator = Simulator(self.service, token=token)
        self.service.add_account(EMAIL, SLOTS)
        self.orders: dict[str, deque[Fault]] = defaultdict(deque)
        self.look_ups: dict[str, deque[Fault]] = defaultdict(deque)
        self.listings: deque[Fault] = deque()
        self.unlisted: set[str] = set()
        self.posts: list[Post] = []
        self.jobs: dict[str, LedgerJob] = {}
        self.changed = threading.Condition()
        self._is_foreign = False
        self._loop = asyncio.new_event_loop()
        self._listener: asyncio.Server | None = None
        self._address = (HOST, 0)
        self._connections: set[asyncio.Task[None]] = set()

    def now(self) -> datetime:
        """The time of day by the API's clock."""
        return datetime.now(UTC) + self._offset

    def pass_time(self, minutes: float) -> None:
        """Move the API's clock forward."""
        self._offset += timedelta(minutes=minutes)

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve while the block runs. Yields the base URL."""
        with socket.create_server(self._address) as probe:
            self._address = probe.getsockname()
        thread = threading.Thread(target=self._loop.run_forever, name="api")
        thread.start()
        try:
            self.accept()
            yield f"http://{HOST}:{self._address[1]}{self._simulator.prefix}"
        finally:
            self.refuse()
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(TIMEOUT)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    def accept(self) -> None:
        """Accept connections."""

        async def listen() -> None:
            self._listener = await asyncio.start_server(self._serve, *self._address)

        asyncio.run_coroutine_threadsafe(listen(), self._loop).result(TIMEOUT)

    def refuse(self) -> None:
        """Refuse new connections. Open connections remain open."""

        async def close() -> None:
            if self._listener:
                self._listener.close()
                self._listener = None

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(TIMEOUT)

    async def _end(self) -> None:
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def do(self, action: Callable[[], _T]) -> _T:
        """Run an action in the API's thread."""

        async def run() -> _T:
            return action()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(TIMEOUT)

    def start_foreign(self, params: dict[str, str], seconds: float) -> LedgerJob:
        """Start a job of another machine."""

        def start() -> LedgerJob:
            self._is_foreign = True
            self.service.durations[params["prompt"]] = seconds
            names = self.service.catalog.params
            request = {names[name].api_name: value for name, value in params.items()}
            # In the simulator, a job's request has the names of the catalog's choices.
            job = self.service.start({**params, **request}, EMAIL, webhook=False)
            self._is_foreign = False
            return self.jobs[job.jobid]

        return self.do(start)

    def end_job(self, job: LedgerJob) -> None:
        """End a held job."""

        def end() -> None:
            if job.job.seconds == HELD:
                job.job.seconds = max(0.001, time.monotonic() - job.job.begun)

        self.do(end)

    def release(self) -> None:
        """Continue all held orders."""

        def release() -> None:
            for post in self.posts:
                post.released.set()

        self.do(release)

    def wait(self, condition: Callable[[], object], seconds: float = TIMEOUT) -> bool:
        """Wait until a condition holds, or until the timeout."""
        with self.changed:
            return bool(self.changed.wait_for(condition, seconds))

    def notify(self) -> None:
        """Make all waiting threads check their conditions again."""
        with self.changed:
            self.changed.notify_all()

    def _add_job(self, job: SimulatedJob) -> None:
        prompt, model = job.request["prompt"], job.request["model"]
        is_foreign = self._is_foreign
        entry = LedgerJob(job, prompt, model, self.batch, self.now(), time.monotonic(), is_foreign)
        self.jobs[job.jobid] = entry

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._serve_request(reader, writer):
                    pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Respond to one request. Returns False if the connection is to be closed."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers: list[tuple[bytes, bytes]] = []
        for line in lines:
            name, _, value = line.partition(":")
            headers.append((name.strip().lower().encode("latin-1"), value.strip().encode("latin-1")))
        length = int(dict(headers).get(b"content-length", b"0"))
        body = await reader.readexactly(length)
        path = target.removeprefix(self._simulator.prefix)
        if (method, path) == ("POST", self.contract.orders):
            return await self._serve_order(target, headers, body, reader, writer)
        fault = self._choose_fault(method, path)
        await asyncio.sleep(fault.delay)
        response = await self._simulate(method, target, headers, body)
        if self.contract.lists_jobs and (method, path) == ("GET", self.contract.listing):
            self._hide_new_jobs(response)
        return await self._respond(response, fault, writer)

    def _choose_fault(self, method: str, path: str) -> Fault:
        if method == "GET" and path == self.contract.listing and self.listings:
            fault = self.listings.popleft()
            # If a good response does not show the API's time either, only the machine's clock is known.
            return fault if self.contract.lists_jobs else replace(fault, dated=True)
        job = self.jobs.get(path.removeprefix(self.contract.jobs).replace("%3A", ":").replace("%40", "@"))
        if method == "GET" and job and self.look_ups[job.prompt]:
            fault = self.look_ups[job.prompt].popleft()
            job.was_denied = job.was_denied or fault.status in (400, 403, 404)
            return fault
        return NO_FAULT

    async def _serve_order(
        self,
        target: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        prompt = json.loads(body)["prompt"]
        fault = self.orders[prompt].popleft() if self.orders[prompt] else NO_FAULT
        post = Post(self.contract, prompt, self.batch, self.now(), time.monotonic(), fault, asyncio.Event())
        self.posts.append(post)
        self.notify()
        try:
            await asyncio.sleep(fault.delay)
            if fault.hold == "before":
                await self._hold(post, reader)
            response = _Response()
            if fault.carried_out:
                response = await self._simulate("POST", target, headers, body)
            post.status = fault.status or response.status
            if fault.hold == "after":
                await self._hold(post, reader)
            await asyncio.sleep(fault.delay)
            return await self._respond(response, fault, writer)
        finally:
            post.is_done = True
            self.notify()

    async def _hold(self, post: Post, reader: asyncio.StreamReader) -> None:
        post.is_held = True
        self.notify()
        # The client sends nothing more, unless it disconnects.
        gone, released = asyncio.ensure_future(reader.read(1)), asyncio.ensure_future(post.released.wait())
        await asyncio.wait({gone, released}, return_when=asyncio.FIRST_COMPLETED)
        post.is_held = False
        post.was_abandoned = gone.done()
        for task in (gone, released):
            task.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await task

    async def _simulate(self, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes) -> _Response:
        path, _, query = target.partition("?")
        response = _Response()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path.replace("%3A", ":").replace("%40", "@"),
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": headers,
            "server": self._address[:2],
            "client": (HOST, 1),
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                response.status, response.headers = message["status"], list(message["headers"])
            else:
                response.body += message.get("body", b"")

        await self._simulator(scope, receive, send)
        return response

    def _hide_new_jobs(self, response: _Response) -> None:
        record = json.loads(response.body)
        rows: list[Any] = []
        for row in record["jobs"]:
            job = self.jobs[row["jobid"]]
            if job.prompt not in self.unlisted or time.monotonic() - job.real > 1:
                rows.append(row)
        response.body = json.dumps({"executing": len(rows), "jobs": rows}).encode()

    async def _respond(self, response: _Response, fault: Fault, writer: asyncio.StreamWriter) -> bool:
        headers = {b"content-type": b"application/json", **dict(response.headers)}
        status, body = response.status, response.body
        if fault.status is not None:
            status, body = fault.status, fault.body
            headers[b"content-type"] = b"application/json" if body.startswith(b"{") else b"text/html"
        if status in WITHOUT_BODY:
            body = b""
        headers[b"content-length"] = str(len(body)).encode()
        if fault.dated:
            headers[b"date"] = format_datetime(self.now(), usegmt=True).encode()
        head = f"HTTP/1.1 {status} Status\r\n".encode()
        for name, value in headers.items():
            head += name + b": " + value + b"\r\n"
        head += b"\r\n"
        cuts: dict[Cut, bytes] = {
            "": head + body,
            "drop": b"",
            "reset": b"",
            "head": head[: len(head) // 2],
            "body": head + body[: len(body) // 2],
            "garbage": b"\x16\x03\x01 this is not HTTP\r\n\r\n",
        }
        writer.write(cuts[fault.cut])
        if fault.cut == "reset":
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            return False
        await writer.drain()
        return not fault.cut
