"""Load of a deployment: calls compared with a plain server, one replica compared with two, and waiting calls.

    python -m benchmarks.cluster [calls] [replicas] [waits]

Runs the deployment of `scripts/cluster.py`, with sign-in, PostgreSQL, nginx, logs and metrics, as a team has it.

- calls: the processor time of a replica for `list_options`, compared with a server that the SDK itself runs: with one
  tool, the same result and no sign-in. Both log each request.
- replicas: a mix of calls that read and write the shared database, sent to nginx. Each replica gets a
  share of a core, like a container: a process that has used its share is stopped until the next period.
- waits: calls with progress that wait for the jobs of forty people, each on its own connection. Measures their memory,
  and how often a job with many waiting calls is polled, compared with a job with one.

The targets are ratios, except that of the memory, which hardly depends on the machine. That one is for calls of
2026-07-28: for one of 2025-11-25, the SDK alone takes twice as much. Linux only. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import json
import os
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from scripts.cluster import Cluster, running_cluster

from luma_mcp.simulator.app import Simulator, new_simulator, running

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

OLD, NEW = "2025-11-25", "2026-07-28"
CALLS_TARGET = 0.8
BATCHES, BATCH = 100, 10
REPLICAS_TARGET = 1.8
SHARE, PERIOD, CLIENTS, SECONDS, ROUNDS = 0.3, 0.05, 16, 10.0, 3
WAITS, MEGABYTES, STREAMS = 2000, 150, 1.1
PEOPLE, SINGLE_JOBS, SHARED_JOBS = 40, 2, 3
"""For each person: jobs with one waiting call, and jobs with many."""
WATCHED_SECONDS, WAIT_SECONDS = 20.0, 75
STARTS = 50
"""Calls that start at the same time."""
_Arguments = dict[str, Any]
META = {
    "io.modelcontextprotocol/protocolVersion": NEW,
    "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
PLAIN = """
import json, sys
from mcp.server import MCPServer
from mcp.types import CallToolResult
server = MCPServer("plain")
answer = CallToolResult.model_validate(json.load(open(sys.argv[1])))
@server.tool()
async def list_options() -> CallToolResult:
    "Lists options."
    return answer
server.run("streamable-http", port=int(sys.argv[2]), stateless_http=True)
"""


class Client:
    """Calls tools on one connection.

    Args:
        url: the server.
        token: of the caller.
        protocol: the protocol version of the calls.
    """

    def __init__(self, url: str, token: str, protocol: str = OLD) -> None:
        self._address = urlsplit(url)
        self._token = token
        self._protocol = protocol
        self._ids = itertools.count(1)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def call(self, tool: str, *, has_progress: bool = False, **arguments: Any) -> dict[str, Any]:
        """Call a tool; return its result."""
        number = next(self._ids)
        meta: dict[str, Any] = dict(META) if self._protocol == NEW else {}
        if has_progress:
            meta["progressToken"] = number
        params = {"name": tool, "arguments": arguments, "_meta": meta}
        body = json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode()
        headers = {
            "Host": self._address.netloc,
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "MCP-Protocol-Version": self._protocol,
        }
        if self._protocol == NEW:
            headers |= {"Mcp-Method": "tools/call", "Mcp-Name": tool}
        lines = [f"POST {self._address.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        answer = await self._read_answer()
        # The last event is the response. Pings follow it.
        events = [line.removeprefix("data: ") for line in answer.splitlines() if line.startswith(("data: {", "{"))]
        message = json.loads(events[-1])
        if "result" not in message:
            raise RuntimeError(answer)
        return dict(message["result"])

    async def _read_answer(self) -> str:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = re.search(r"content-length: (\d+)", head)
        if length:
            body = await self._reader.readexactly(int(length[1]))
        else:
            body = b""
            while size := int(await self._reader.readline(), 16):
                body += (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readline()
        if " 200 " not in head.partition("\r\n")[0]:
            raise RuntimeError(head + body.decode())
        return body.decode()


def get_clock(pid: int) -> Callable[[], float]:
    """Get what tells the processor time that a process has used, in seconds."""
    clock = ctypes.c_int()
    if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise ProcessLookupError(pid)
    return lambda: time.clock_gettime(clock.value)


# Calls beside a plain server.


@contextmanager
def plain_server(answer: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Run the plain server, which gives this answer, while the block runs; its URL and process id."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        path = Path(folder, "answer.json")
        path.write_text(json.dumps(answer))
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        with Path(folder, "log").open("w") as log:
            process = subprocess.Popen([sys.executable, "-c", PLAIN, str(path), str(port)], stdout=log, stderr=log)
            try:
                yield f"http://127.0.0.1:{port}/mcp", process.pid
            finally:
                process.kill()
                process.wait()


async def measure_calls() -> bool:
    """Print the processor time of calls and the ratios. Return whether the target is met."""
    is_met = True
    with ExitStack() as stack:
        cluster = stack.enter_context(running_cluster(replicas=1))
        token, replica = cluster.mint(), cluster.replicas[0]
        async with Client(replica.url, token) as client:
            answer = await client.call("list_options")
        url, pid = stack.enter_context(plain_server(answer))
        await _wait_for(url)
        clocks = get_clock(replica.popen.pid), get_clock(pid)
        for protocol in (OLD, NEW):
            async with Client(replica.url, token, protocol) as ours, Client(url, token, protocol) as theirs:
                servers = list(zip((ours, theirs), clocks, strict=True))
                is_met &= await _compare(protocol, servers)
    return is_met


async def _compare(protocol: str, servers: list[tuple[Client, Callable[[], float]]]) -> bool:
    """Print the processor time of calls to two servers with their clocks. Return whether the first meets the target."""
    used: list[list[float]] = [[] for _ in servers]
    own = other = ratio = 0.0
    # If the target is missed, more batches are measured, and all of them count.
    for _ in range(ROUNDS):
        for _ in range(BATCHES):
            for (client, clock), seconds in zip(servers, used, strict=True):
                before = clock()
                for _ in range(BATCH):
                    await client.call("list_options")
                seconds.append((clock() - before) / BATCH)
        # The 10th percentile: other work on the machine, which empties the caches, has affected these batches least.
        own, other = (statistics.quantiles(seconds, n=10)[0] for seconds in used)
        ratio = other / own
        if ratio >= CALLS_TARGET:
            break
    print(f"list_options, {protocol}: {own * 1000:.2f} ms, plain {other * 1000:.2f} ms", end="; ")
    print(f"ratio of calls {ratio:.2f} (target: {CALLS_TARGET})")
    return ratio >= CALLS_TARGET


async def _wait_for(url: str) -> None:
    for _ in range(300):
        try:
            async with Client(url, ""):
                return
        except OSError:
            await asyncio.sleep(0.1)
    raise RuntimeError(f"{url} does not answer")


# One replica and two.


@contextmanager
def limited(pids: list[int], share: float) -> Iterator[None]:
    """Let each process use a share of a core while the block runs."""
    ended = threading.Event()

    def limit() -> None:
        clocks = {pid: get_clock(pid) for pid in pids}
        limits = {pid: clock() for pid, clock in clocks.items()}
        stopped: set[int] = set()
        next_period = 0.0
        while not ended.wait(0.001):
            if time.monotonic() >= next_period:
                next_period = time.monotonic() + PERIOD
                for pid, clock in clocks.items():
                    # Unused time is lost. Excess time is deducted from the next period.
                    limits[pid] = min(limits[pid], clock()) + share * PERIOD
            for pid, clock in clocks.items():
                is_over = clock() >= limits[pid]
                if is_over != (pid in stopped):
                    os.kill(pid, signal.SIGSTOP if is_over else signal.SIGCONT)
                    stopped ^= {pid}

    thread = threading.Thread(target=limit)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def measure_replicas() -> bool:
    """Print the calls per second and their ratio. Return whether the target is met."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    ratio = 0.0
    with running_cluster(speed=1000, slots=64, environment={"LUMA_MCP_THUMBNAILS": "0"}) as cluster:
        tokens = [cluster.mint(f"person-{number}") for number in range(CLIENTS)]
        jobids = await asyncio.gather(*(_order(cluster.url, token, "A finished fox") for token in tokens))
        pids = [replica.popen.pid for replica in cluster.replicas]
        clocks = [get_clock(pid) for pid in pids]
        with limited(pids, SHARE):
            # If the target is missed, more pairs are measured, and all of them count.
            while len(rates[2]) < ROUNDS or (ratio < REPLICAS_TARGET and len(rates[2]) < 3 * ROUNDS):
                for count, measured in rates.items():
                    await _route(cluster, count)
                    before = [clock() for clock in clocks]
                    measured.append(await _count_calls(cluster.url, tokens, jobids))
                    used = [(clock() - start) / SECONDS for clock, start in zip(clocks, before, strict=True)]
                    shares = " and ".join(f"{each:.2f}" for each in used)
                    print(f"{count} of 2 replicas: {measured[-1]:.0f} calls/s with {shares} of a core")
                ratio = statistics.median(two / one for one, two in zip(*rates.values(), strict=True))
    print(f"two replicas: {ratio:.2f} times the calls of one (target: {REPLICAS_TARGET})")
    return bool(ratio >= REPLICAS_TARGET)


async def _order(url: str, token: str, prompt: str, wait_seconds: int = 30) -> str:
    async with Client(url, token) as client:
        result = await client.call("generate_video", prompt=prompt, resolution="draft", wait_seconds=wait_seconds)
        return str(result["structuredContent"]["jobid"])


async def _route(cluster: Cluster, count: int) -> None:
    """Let nginx distribute requests among so many replicas."""
    config = cluster.folder / "nginx.conf"
    text = config.read_text().replace(" down;", " max_fails=0;")
    for replica in cluster.replicas[count:]:
        text = text.replace(f"server {replica.address} max_fails=0;", f"server {replica.address} down;")
    config.write_text(text)
    cluster.nginx.send(signal.SIGHUP)
    # nginx needs some time to replace its workers.
    await asyncio.sleep(1)


async def _count_calls(url: str, tokens: list[str], jobids: list[str]) -> float:
    """Count the calls per second, when every client calls again as soon as it has a result."""
    calls = 0
    end = time.monotonic() + SECONDS

    async def work(token: str, jobid: str) -> None:
        nonlocal calls
        async with Client(url, token) as client:
            for number in itertools.count():
                mix: list[tuple[str, _Arguments]] = [
                    ("generate_video", {"prompt": f"A fox at {time.monotonic()}", "wait_seconds": 0}),
                    ("list_jobs", {"limit": 5}),
                    ("list_options", {}),
                    ("get_job", {"jobid": jobid}),
                    ("get_job", {"jobid": jobid}),
                ]
                tool, arguments = mix[number % len(mix)]
                result = await client.call(tool, **arguments)
                if result.get("isError"):
                    raise RuntimeError(result)
                if time.monotonic() >= end:
                    return
                calls += 1

    await asyncio.gather(*(work(token, jobid) for token, jobid in zip(tokens, jobids, strict=True)))
    return calls / SECONDS


# Waiting calls.


class CountingSimulator(Simulator):
    """Counts how often each job is requested."""

    polls: Counter[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            self.polls[scope["path"].rpartition("/")[2]] += 1
        await super().__call__(scope, receive, send)


def read_megabytes(pid: int, name: str) -> float:
    """Read the memory of a process: VmRSS now, or VmHWM at most so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(rf"{name}:\s+(\d+)", status)[0]) / 1000


async def measure_waits(protocol: str) -> bool:
    """Print the memory of the waiting calls, and the polls. Return whether the targets are met."""
    simulator = CountingSimulator(new_simulator(concurrency=WAITS).service)
    simulator.polls = Counter()
    settings = {"LUMA_MCP_MAX_WAITS": str(WAITS // PEOPLE), "LUMA_MCP_DRAIN_SECONDS": str(2 * WAIT_SECONDS)}
    with (
        running(simulator) as api,
        running_cluster(replicas=1, environment={"LUMA_MCP_BASE_URL": api, **settings}) as cluster,
    ):
        replica = cluster.replicas[0]
        pid, clock = replica.popen.pid, get_clock(replica.popen.pid)
        single: list[str] = []
        shared: list[str] = []
        calls: list[tuple[str, str]] = []
        for person in range(PEOPLE):
            token = cluster.mint(f"person-{person}")
            for number in range(SINGLE_JOBS + SHARED_JOBS):
                jobid = await _order(replica.url, token, f"A fox {number} simulate:stuck", wait_seconds=0)
                is_single = number < SINGLE_JOBS
                (single if is_single else shared).append(jobid)
                callers = (WAITS // PEOPLE - SINGLE_JOBS) // SHARED_JOBS
                calls += [(token, jobid)] * (1 if is_single else callers)
        idle = read_megabytes(pid, "VmRSS")
        waiting: list[asyncio.Task[str]] = []
        for token, jobid in calls:
            waiting.append(asyncio.create_task(_wait(replica.url, token, jobid, protocol)))
            while len(waiting) % STARTS == 0 and (await _read_waits(replica.metrics)) < len(waiting):
                if any(each.done() for each in waiting):
                    raise RuntimeError("calls have ended before all were waiting: this machine is too slow")
                await asyncio.sleep(0.05)
        before, used = simulator.polls.copy(), clock()
        await asyncio.sleep(WATCHED_SECONDS)
        polls = simulator.polls - before
        used = (clock() - used) / WATCHED_SECONDS
        states = Counter(await asyncio.gather(*waiting))
        peak = read_megabytes(pid, "VmHWM")
    alone, together = (statistics.fmean(polls[jobid] for jobid in jobids) for jobids in (single, shared))
    target = f" (target: {MEGABYTES})" if protocol == NEW else ""
    print(f"{len(calls)} waiting calls, {protocol}: {peak - idle:.0f} MB above {idle:.0f} MB{target}, ", end="")
    print(f"{used:.2f} of a core; jobs in the answers: {dict(states)}")
    print(f"polls of a job: {alone:.2f} with one waiting call, {together:.2f} with {callers}: ", end="")
    print(f"{together / alone:.2f} times as many (target: {STREAMS})")
    is_small = protocol == OLD or peak - idle < MEGABYTES
    return is_small and together / alone <= STREAMS and states == {"running": WAITS}


async def _wait(url: str, token: str, jobid: str, protocol: str) -> str:
    async with Client(url, token, protocol) as client:
        result = await client.call("get_job", has_progress=True, jobid=jobid, wait_seconds=WAIT_SECONDS)
        return str(result["structuredContent"].get("state"))


async def _read_waits(metrics: str) -> int:
    address = urlsplit(metrics)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return int(float(re.findall(r"^luma_mcp_waits (\S+)", text, re.MULTILINE)[0]))


async def main() -> int:
    """Measure the named parts, or everything. Return 0 if all targets are met."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # For the connections of the waiting calls.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 3 * WAITS) if hard > 0 else 3 * WAITS, hard))
    chosen = sys.argv[1:] or ["calls", "replicas", "waits"]
    is_met = True
    if "calls" in chosen:
        is_met &= await measure_calls()
    if "replicas" in chosen:
        is_met &= await measure_replicas()
    if "waits" in chosen:
        for protocol in (NEW, OLD):
            is_met &= await measure_waits(protocol)
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
