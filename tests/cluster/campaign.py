"""Thousands of orders on a whole deployment while its parts fail: none is billed twice, and none is lost.

    make cluster-campaign

A campaign consists of rounds. Each has one kind of fault and its own seed, which determines its orders and faults.
The processes determine the timing. `CAMPAIGN_SEED=… CAMPAIGN_ORDERS=…` repeats rounds.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from collections import deque
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psycopg
from scripts.cluster import Cluster, Replica, running_cluster
from tests.campaign.api import CONTRACTS, HELD, Contract, Cut, Fault
from tests.cluster.callers import Call, Callers, Protocol
from tests.cluster.checks import Drain, Intent, LedgerChecker
from tests.cluster.faults import STATEMENTS, DatabaseProxy, Trap, full_disk, running_proxies, small_disk, wrong_clock
from tests.cluster.webhooks import WebhookApi
from tests.postgres.server import running_server

from luma_mcp.api.protocol import FEATURES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.postgres.server import PostgresServer

logger = logging.getLogger(__name__)

USERS = ("alice", "bob", "carol", "dave")
REPLICAS = 2
ORDERS = 100
"""Orders of one round."""
WORKERS = 16
"""Number of simultaneous calls, not counting identical calls of one intent."""
LONG = 25.0
"""Seconds of a job that can be found while it runs, even if the database is down for a while."""
ATTEMPTS = 12
"""How often a user orders again without a response, or after a response that nothing was charged."""
POLLS = 30
PROTOCOLS: tuple[Protocol, ...] = ("2025-11-25", "2026-07-28", "official client")
CUTS: tuple[Cut, ...] = ("drop", "reset", "head", "body", "garbage")
UNDOCUMENTED = (202, 204, 302, 408, 418, 499, 500, 500, 502, 503, 504, 520, 524, 530, 599)
CLOCKS = (30, -30)
"""Seconds by which the clocks of the replicas are wrong. They differ by a minute."""


class Violation(AssertionError):
    """A check failed. The text contains everything that is needed to find the cause."""


@dataclass
class Deployment:
    """A deployment whose parts a campaign can break."""

    cluster: Cluster
    api: WebhookApi
    proxies: list[DatabaseProxy]
    postgres: PostgresServer
    disk: Path | None
    checker: LedgerChecker

    def repair(self) -> None:
        """Make everything work again."""
        for proxy in self.proxies:
            proxy.repair()
        self.api.release()

    def give_up_unknown(self) -> None:
        """Give up orders with an unknown outcome, as if a quarter of an hour had passed.

        Searching for the jobs of many of them is slow, and each prevents other orders from adopting jobs of its time.
        """
        self.postgres.execute("UPDATE luma_orders SET state = 'given_up' WHERE state IN ('sent', 'unknown')")


@contextmanager
def running_deployment(seed: int, contract: Contract = CONTRACTS[0]) -> Iterator[Deployment]:
    """Run a deployment for a campaign."""
    api = WebhookApi(contract, seed)
    with ExitStack() as stack:
        url = stack.enter_context(api.running())
        postgres = stack.enter_context(running_server())
        disk = stack.enter_context(small_disk(postgres))
        port = int(postgres.url.rpartition(":")[2].partition("/")[0])
        proxies = stack.enter_context(running_proxies(port, REPLICAS))
        name, credential = contract.credential
        library = stack.enter_context(wrong_clock())
        own: list[dict[str, str]] = []
        for proxy, error in zip(proxies, CLOCKS, strict=True):
            clock = {"LD_PRELOAD": str(library), "CLOCK_ERROR": str(error)}
            own.append({"LUMA_MCP_JOURNAL": postgres.url.replace(f":{port}/", f":{proxy.port}/"), **clock})
        environment = {
            "LUMA_MCP_API": contract.api,
            "LUMA_MCP_BASE_URL": url,
            name: credential,
            "LUMA_MCP_THUMBNAILS": "0",
            "LUMA_MCP_DRAIN_SECONDS": "20",
        }
        cluster = stack.enter_context(
            running_cluster(replicas=REPLICAS, environment=environment, own=own, database=postgres)
        )
        yield Deployment(cluster, api, proxies, postgres, disk, LedgerChecker(api))


@dataclass
class Round:
    """Some orders, and a kind of fault that occurs meanwhile."""

    deployment: Deployment
    seed: int
    kind: str
    count: int
    intents: list[Intent] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    drains: list[Drain] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _is_over: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._faults = random.Random(self.seed + 1)
        self._api, self._cluster = self.deployment.api, self.deployment.cluster
        self._features = FEATURES[self._api.contract.api]
        self._callers = Callers(self._cluster, USERS)

    async def run(self) -> None:
        """Run the users and the faults, then check everything."""
        try:
            await self._run()
        finally:
            await self._callers.aclose()

    async def _run(self) -> None:
        self._began = time.monotonic()
        if self._api.contract.lists_jobs:
            self._plan_traceable()
        for number in range(len(self.intents) + 1, self.count + 1):
            self._plan(number)
        pending = deque(self.intents)

        async def work() -> None:
            while pending:
                await self._act_as_user(pending.popleft())

        injection: asyncio.Future[Any] = asyncio.ensure_future(self._inject_faults())
        workers: asyncio.Future[Any] = asyncio.gather(*(work() for _ in range(WORKERS)))
        await asyncio.wait({injection, workers}, return_when=asyncio.FIRST_COMPLETED)
        self._is_over.set()
        results = await asyncio.gather(injection, workers, return_exceptions=True)
        self.deployment.repair()
        failures = [repr(result) for result in results if isinstance(result, BaseException)]
        problems = failures or [*self._check(), *await self._audit()]
        if problems:
            raise Violation(self._describe(problems))
        accepted = self.deployment.checker.accepted
        logger.info("Seed %d, %s: exceptions that applied: %s", self.seed, self.kind, dict(accepted) or "none")
        accepted.clear()
        self.deployment.give_up_unknown()

    # Orders.

    def _plan_traceable(self) -> None:
        """Plan one order whose response is lost, but whose job can be found whatever else fails."""
        user, model = self.rng.choice(USERS), self._api.contract.clock_model
        arguments = {"prompt": f"clip {self.seed}.1 of {user}", "model": model}
        intent = Intent(user, arguments, is_traceable=True)
        self.intents.append(intent)
        self._api.service.durations[intent.prompt] = LONG
        self._api.orders[intent.prompt] = deque([Fault(cut=self.rng.choice(CUTS))])

    def _plan(self, number: int) -> None:
        """Choose an order and its faults at the API."""
        rng, user = self.rng, self.rng.choice(USERS)
        arguments = {
            "prompt": f"clip {self.seed}.{number} of {user}",
            "model": rng.choice(self._api.contract.models),
            "aspect_ratio": rng.choice(("16:9", "16:9", "1:1")),
            "duration": rng.choice(("5s", "5s", "10s")),
        }
        if rng.random() < 0.05:
            arguments["prompt"] += f" simulate:{rng.choice(('fail', 'moderate', 'broke'))}"
        self.intents.append(Intent(user, arguments))
        prompt = arguments["prompt"]
        self._api.service.durations[prompt] = rng.choice((0.05, 0.5, 2.0, 4.0))
        faults = [self._choose_order_fault()]
        while rng.random() < 0.1:
            faults.append(self._choose_order_fault())
        if self.kind == "kill at the API" and rng.random() < 0.3:
            hold: Literal["before", "after"] = rng.choice(("before", "after"))
            faults[0] = Fault(hold=hold) if rng.random() < 0.7 else Fault(hold=hold, cut="drop")
        self._api.orders[prompt] = deque(faults)
        if rng.random() < 0.15:
            fault = Fault(cut=rng.choice(CUTS)) if rng.random() < 0.5 else Fault(status=rng.choice((500, 502, 503)))
            self._api.look_ups[prompt].append(fault)
            self.deployment.checker.hidden.add(prompt)

    def _choose_order_fault(self) -> Fault:
        rng, kind = self.rng, self.rng.random()
        carried_out = rng.random() < 0.6
        if kind < 0.8:
            return Fault()
        if kind < 0.87:
            return Fault(cut=rng.choice(CUTS), carried_out=carried_out)
        if kind < 0.93:
            bodies = self._api.contract.bodies
            return Fault(status=rng.choice(UNDOCUMENTED), body=rng.choice(bodies), carried_out=carried_out)
        if kind < 0.96:
            return Fault(status=429, body=b'{"error": "All slots are in use."}', carried_out=False)
        return replace(Fault(), delay=rng.choice((0.1, 0.5, 1.5)))

    async def _act_as_user(self, intent: Intent) -> None:
        """Act as the user: order, wait for the video, list and delete. Repeat calls without a response."""
        rng = random.Random(intent.prompt)
        identical = rng.choice((1, 1, 1, 2, 3))
        # A held order needs a specific replica.
        is_held = any(fault.hold for fault in self._api.orders[intent.prompt])
        place = str(rng.randrange(REPLICAS)) if is_held else None
        calls = await asyncio.gather(*(self._order(intent, rng, place) for _ in range(identical)))
        if rng.random() < 0.3:
            calls.append(await self._order(intent, rng))
        jobid = next((call.jobid for call in calls if call.jobid), None)
        if rng.random() < 0.1:
            await self._call(intent, "list_jobs", {"limit": 20}, rng)
        for _ in range(POLLS if intent.is_traceable else 0):
            if jobid:
                break
            # The response about an unknown outcome recommends this.
            listed = await self._call(intent, "list_jobs", {"text": intent.prompt}, rng)
            mine = [row for row in listed.content.get("jobs", []) if row.get("prompt") == intent.prompt]
            jobid = next((row.get("jobid") for row in mine), None)
            await asyncio.sleep(0.5)
        if jobid is None:
            return
        if not any(call.is_final for call in calls):
            await self._follow(intent, jobid, rng)
        if rng.random() < 0.1 and self._features.delete:
            await self._delete(intent, jobid, rng)

    async def _order(self, intent: Intent, rng: random.Random, place: str | None = None) -> Call:
        """Order until a response reports the outcome."""
        for _ in range(ATTEMPTS):
            arguments = {**intent.arguments, "wait_seconds": rng.choice((0, 0, 1, 2, 5))}
            call = await self._call(intent, "generate_video", arguments, rng, place)
            place = None
            kind = call.error.get("kind")
            is_refused = kind in ("journal_unavailable", "network", "upstream") and call.error.get("charged") == "no"
            if not call.problem and not is_refused:
                break
            # A held order was cut, or its replica was killed. The servers need time to notice that.
            await asyncio.sleep(rng.uniform(0.1, 1.0))
        return call

    async def _follow(self, intent: Intent, jobid: str, rng: random.Random) -> None:
        for _ in range(POLLS):
            arguments = {"jobid": jobid, "wait_seconds": rng.choice((0, 1, 3, 5))}
            call = await self._call(intent, "get_job", arguments, rng)
            if call.is_final:
                return
            if not call.content.get("state"):
                await asyncio.sleep(rng.uniform(0.1, 1.0))

    async def _delete(self, intent: Intent, jobid: str, rng: random.Random) -> None:
        call = await self._call(intent, "delete_job", {"jobid": jobid}, rng)
        intent.was_deleted = bool(call.problem) or bool(call.content.get("deleted"))

    async def _call(
        self, intent: Intent, tool: str, arguments: dict[str, Any], rng: random.Random, place: str | None = None
    ) -> Call:
        behind_proxy = self.kind == "rolling restart" or rng.random() < 0.7
        place = place or ("nginx" if behind_proxy else str(rng.randrange(REPLICAS)))
        [protocol] = rng.choices(PROTOCOLS, (45, 45, 10))
        call = await self._callers.call(intent.user, tool, arguments, place, protocol)
        intent.calls.append(call)
        self.calls.append(call)
        return call

    # Faults.

    async def _inject_faults(self) -> None:
        fault = KINDS[self.kind]
        while not self._is_over.is_set():
            await fault(self)
            if not self._is_over.is_set() and all(intent.calls for intent in self.intents):
                # Every order has started, and only polls remain.
                await self._pause(1.0, 2.0)

    async def _pause(self, least: float, most: float) -> None:
        with_timeout = asyncio.wait_for(self._is_over.wait(), self._faults.uniform(least, most))
        await asyncio.gather(with_timeout, return_exceptions=True)

    def _log_step(self, text: str) -> None:
        self.steps.append(f"{time.monotonic() - self._began:.2f} s: {text}")

    async def _run_in_thread(self, action: Callable[..., Any], *arguments: Any) -> None:
        await asyncio.to_thread(action, *arguments)

    async def no_fault(self) -> None:
        await self._pause(1.0, 1.0)

    async def _kill(self, number: int) -> None:
        replica = self._cluster.replicas[number]
        self._log_step(f"kill {replica.name}")
        await self._run_in_thread(replica.kill)
        await self._start_again(replica)

    async def _start_again(self, replica: Replica) -> None:
        await self._pause(0.0, 1.5)
        self._log_step(f"start {replica.name}")
        await self._run_in_thread(replica.start)

    async def kill_at_random(self) -> None:
        await self._pause(0.3, 2.0)
        await self._kill(self._faults.randrange(REPLICAS))

    async def kill_at_statement(self) -> None:
        number = self._faults.randrange(REPLICAS)
        step, is_after = self._faults.choice(sorted(STATEMENTS)), self._faults.random() < 0.5
        replica, proxy = self._cluster.replicas[number], self.deployment.proxies[number]
        trap = Trap(STATEMENTS[step], is_after, replica.popen.kill)
        proxy.trap = trap
        await self._run_in_thread(trap.was_triggered.wait, 5.0)
        proxy.trap = None
        if trap.was_triggered.is_set():
            self._log_step(f"kill {replica.name} {'after' if is_after else 'before'}: {step}")
            await self._run_in_thread(replica.wait)
            await self._start_again(replica)

    async def kill_at_api(self) -> None:
        held = [post for post in list(self._api.posts) if post.is_held]
        await self._run_in_thread(
            self._api.wait, lambda: any(post.is_held for post in list(self._api.posts)[-ORDERS:]), 1.0
        )
        number = self._faults.randrange(REPLICAS)
        held = [post for post in list(self._api.posts) if post.is_held]
        for post in held:
            self._log_step(f"held: {post.prompt} {post.fault}")
        if held:
            await self._kill(number)
        self._api.release()

    async def rolling_restart(self) -> None:
        for replica in self._cluster.replicas:
            await self._pause(0.5, 1.5)
            self._log_step(f"SIGTERM to {replica.name}")
            began = time.monotonic()
            await self._run_in_thread(replica.send, signal.SIGTERM)
            await self._run_in_thread(replica.wait)
            self.drains.append((began, time.monotonic()))
            self._log_step(f"start {replica.name}")
            await self._run_in_thread(replica.start)

    async def restart_nginx(self) -> None:
        await self._pause(0.5, 2.0)
        self._log_step("nginx is restarted")
        await self._run_in_thread(self._cluster.nginx.kill if self._faults.random() < 0.3 else self._cluster.nginx.stop)
        await self._run_in_thread(self._cluster.nginx.start)

    async def restart_postgres(self) -> None:
        await self._stop_postgres("fast")

    async def kill_postgres(self) -> None:
        await self._stop_postgres("immediate")

    async def _stop_postgres(self, mode: str) -> None:
        await self._pause(0.5, 2.0)
        self._log_step(f"PostgreSQL is stopped ({mode})")
        await self._run_in_thread(self.deployment.postgres.stop, mode)
        await self._pause(0.0, 2.0)
        await self._run_in_thread(self.deployment.postgres.start)
        self._log_step("PostgreSQL is started")

    async def make_read_only(self) -> None:
        await self._pause(0.3, 1.5)
        self._log_step("PostgreSQL is read-only")
        await self._run_in_thread(self._alter_system, "SET default_transaction_read_only = on")
        await self._pause(0.5, 3.0)
        await self._run_in_thread(self._alter_system, "RESET default_transaction_read_only")
        self._log_step("PostgreSQL is writable")

    def _alter_system(self, change: str) -> None:
        self.deployment.postgres.execute(f"ALTER SYSTEM {change}")
        self.deployment.postgres.execute("SELECT pg_reload_conf()")

    async def fill_disk(self) -> None:
        await self._pause(0.3, 1.0)
        if self.deployment.disk is None:
            return
        self._log_step("the disk of the database is full")
        with full_disk(self.deployment.disk):
            await self._pause(1.0, 3.0)
        self._log_step("the disk has space again")

    async def slow_database(self) -> None:
        for proxy in self.deployment.proxies:
            proxy.delay = self._faults.choice((0.0, 0.02, 0.05))
        await self._pause(1.0, 4.0)
        for proxy in self.deployment.proxies:
            proxy.delay = 0.0
        await self._pause(0.2, 1.0)

    async def stall_database(self) -> None:
        await self._pause(0.5, 1.5)
        proxy = self._faults.choice(self.deployment.proxies)
        self._log_step("the database does not respond to a replica")
        proxy.stall(stalls=True)
        await self._pause(1.0, 8.0)
        if self._faults.random() < 0.5:
            proxy.drop()
        proxy.stall(stalls=False)
        self._log_step("the database responds again")

    async def drop_connections(self) -> None:
        await self._pause(0.1, 0.8)
        for proxy in self.deployment.proxies:
            if self._faults.random() < 0.7:
                proxy.drop()

    async def refuse_connections(self) -> None:
        await self._pause(0.3, 1.5)
        refusing = self._faults.sample(self.deployment.proxies, self._faults.randint(1, REPLICAS))
        self._log_step(f"the database refuses connections of {len(refusing)} replicas")
        for proxy in refusing:
            proxy.refuses = True
            proxy.drop()
        await self._pause(0.5, 4.0)
        for proxy in refusing:
            proxy.refuses = False

    # Checks.

    def _check(self) -> list[str]:
        checker = self.deployment.checker
        checker.read()
        may_break = self.kind.startswith("kill") or self.kind == "nginx is restarted"
        problems = checker.check_waits(self.calls, may_break=may_break, drains=self.drains)
        for intent in self.intents:
            problems += checker.check(intent, database_fails=self.kind in DATABASE_FAULTS)
        return [*problems, *checker.check_isolation(self.calls), *self._api.problems]

    async def _audit(self) -> list[str]:
        """Look up every job as its user at another replica, and as other users."""
        callers, checker = self._callers, self.deployment.checker
        problems: list[str] = []
        calls: list[Call] = []
        checker.read()
        limit = asyncio.Semaphore(WORKERS)

        async def look_up(intent: Intent, jobid: str, number: int) -> None:
            async with limit:
                found = await self._look_up(intent.user, "get_job", jobid, str(number))
                calls.append(found)
                if not found.content.get("state") and not intent.was_deleted:
                    problems.extend(await self._explain(intent, jobid, found))
                if self._faults.random() < 0.2:
                    other = self._faults.choice([user for user in USERS if user != intent.user])
                    tool = self._faults.choice(("get_job", "delete_job") if self._features.delete else ("get_job",))
                    seen = await self._look_up(other, tool, jobid, str(number))
                    calls.append(seen)
                    if seen.error.get("kind") != "not_found":
                        problems.append(f"{other} reaches the job of {intent.user}: {seen}")

        async def list_all(user: str) -> None:
            calls.append(await callers.call(user, "list_jobs", {"limit": 50}, "nginx", "2026-07-28"))

        looks: list[Awaitable[None]] = [list_all(user) for user in USERS]
        for intent in self.intents:
            for job in checker.get_jobs(intent):
                looks.append(look_up(intent, job.jobid, len(looks) % REPLICAS))
        await asyncio.gather(*looks)
        return [*problems, *checker.check_isolation(calls), *(f"no response: {call}" for call in calls if call.problem)]

    async def _look_up(self, user: str, tool: str, jobid: str, place: str) -> Call:
        """Call a tool for a job. Repeat the call until the replica has noticed that the database is back."""
        for _ in range(POLLS):
            call = await self._callers.call(user, tool, {"jobid": jobid}, place, "2025-11-25")
            if call.error.get("kind") != "journal_unavailable":
                break
            await asyncio.sleep(0.5)
        return call

    async def _explain(self, intent: Intent, jobid: str, found: Call) -> list[str]:
        """Check why a job is not found: its response was lost, its order is listed as unknown, and its user knows that.

        The API lists only running jobs, without their prompts, or none at all. A job that has ended, or that may belong
        to another order, cannot be identified, and adopting the wrong one would be worse. Its order is listed and not
        placed again unless the user wants that, and its price counts towards the budget.
        """
        for _ in range(POLLS):
            arguments = {"text": intent.prompt, "limit": 100}
            listed = await self._callers.call(intent.user, "list_jobs", arguments, "nginx", "2026-07-28")
            if "may be missing" not in listed.content.get("problem", ""):
                break
            await asyncio.sleep(0.5)
        mine = [row for row in listed.content.get("jobs", []) if row.get("prompt") == intent.prompt]
        rows = [row for row in mine if "jobid" not in row and row["state"] == "unknown"]
        is_reported = any(call.problem or call.error.get("charged") == "unknown" for call in intent.orders)
        was_lost = any(post.is_inconclusive for post in self.deployment.checker.get_posts(intent))
        was_killed = self.kind.startswith("kill") and any(call.problem for call in intent.orders)
        if rows and is_reported and (was_lost or was_killed) and not intent.is_traceable:
            self.deployment.checker.accepted["listed as unknown"] += 1
            return []
        return [f"a job that cannot be found: {jobid}: {found}; {listed}; {self._read_rows(intent)}"]

    def _read_rows(self, intent: Intent) -> list[Any]:
        with psycopg.connect(self.deployment.postgres.url) as connection:
            sql = b"SELECT api, state, jobid, adopted, deleted, delivered FROM luma_orders WHERE request LIKE %s"
            return connection.execute(sql, (f"%{intent.prompt}%",)).fetchall()

    def _describe(self, problems: list[str]) -> str:
        lines = [f"SEED {self.seed}, {self.kind}, {self.count} orders", *problems, "--- steps:", *self.steps]
        text = "\n".join(problems)
        for intent in self.intents:
            jobs, posts = self.deployment.checker.get_jobs(intent), self.deployment.checker.get_posts(intent)
            if intent.prompt not in text and not any(job.jobid in text for job in jobs):
                continue
            lines.append(f"--- {intent.prompt}: {self._read_rows(intent)}")
            events = [(post.real, f"order at the API: {post.fault}, {post.status}") for post in posts]
            for job in jobs:
                ended = HELD if job.ended is None else job.ended
                events += [(job.real, f"job {job.jobid}"), (ended, f"end of {job.jobid}")]
            for call in intent.calls:
                events += [(call.sent, f"call {call.tool} at {call.place}"), (call.ended, f"response: {call}")]
            lines += [f"{real - self._began:.2f} s: {event}" for real, event in sorted(events)]
        for replica in self._cluster.replicas:
            log = replica.log.read_text(errors="replace").splitlines()
            unusual = [line for line in log if '"INFO"' not in line and "got no answer" not in line]
            lines += [f"--- log of {replica.name}:", *unusual[-40:]]
        return "\n".join(lines)


KINDS: dict[str, Callable[[Round], Awaitable[None]]] = {
    "nothing else": Round.no_fault,
    "kill at a statement": Round.kill_at_statement,
    "kill at the API": Round.kill_at_api,
    "kill at random": Round.kill_at_random,
    "rolling restart": Round.rolling_restart,
    "nginx is restarted": Round.restart_nginx,
    "PostgreSQL is restarted": Round.restart_postgres,
    "PostgreSQL is killed": Round.kill_postgres,
    "PostgreSQL is read-only": Round.make_read_only,
    "the disk is full": Round.fill_disk,
    "PostgreSQL is slow": Round.slow_database,
    "PostgreSQL does not answer": Round.stall_database,
    "connections are dropped": Round.drop_connections,
    "connections are refused": Round.refuse_connections,
}


DATABASE_FAULTS = frozenset(list(KINDS)[list(KINDS).index("PostgreSQL is restarted") :])
"""Faults with which replicas cannot immediately record the API's response."""


async def run_round(deployment: Deployment, seed: int, kind: str, count: int) -> Round:
    """Run one round with `count` orders and this kind of fault."""
    campaign_round = Round(deployment, seed, kind, count)
    await campaign_round.run()
    return campaign_round
