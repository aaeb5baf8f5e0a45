"""Random scenarios: three servers with one journal, orders, and all kinds of simultaneous faults."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.campaign.api import CONTRACTS, HELD, TIMEOUT, Api, Cut, Fault
from tests.campaign.checks import Destruction, LedgerChecker, UnusablePeriod, describe_server
from tests.campaign.servers import Call, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SERVERS = 3
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - only for private temporary folders
DISK_BYTES = 512 * 1024
LONGEST_LIST = 100
UNDOCUMENTED = (
    *(200, 201, 202, 204, 206, 207, 300, 301, 302, 303, 304, 307, 308),
    *(405, 406, 408, 410, 411, 412, 413, 414, 415, 418, 421, 423, 425, 426, 431, 451, 499),
    *(500, 500, 500, 501, 502, 502, 503, 503, 504, 505, 507, 508, 511, 520, 521, 522, 523, 524, 525, 526, 527, 530),
    *(590, 595, 597, 598, 599),
    *(409, 596),
)
"""Each API documents some of these."""
CUTS: tuple[Cut, ...] = ("drop", "reset", "head", "body", "garbage")
CLOCK_ERRORS = (-3 * 86_400.0, -1_800.0, 45.0, 1_800.0, 86_400.0, 3 * 365 * 86_400.0)


class Violation(AssertionError):
    """A check failed. The text contains everything that is needed to find the cause."""


class Scenario:
    """An API, a journal and three servers, and the steps that change them.

    `seed` determines the API and the steps. The processes determine the timing.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.contract = CONTRACTS[seed % len(CONTRACTS)]
        self._undocumented = [status for status in UNDOCUMENTED if status not in self.contract.rejections]
        self.api = Api(self.contract, random.Random(seed))
        self.checker = LedgerChecker(self.api, is_required=self.rng.random() < 0.2)
        self.steps: list[str] = []
        self.kinds: Counter[str] = Counter()
        self.servers: list[Server] = []
        self.cpu_seconds = 0.0
        self._resources = ExitStack()
        self._prompts: list[tuple[str, dict[str, Any]]] = []
        self._started = 0
        self._batch: list[Call] = []
        self._all_servers: list[Server] = []
        self._copy: tuple[Path, int] | None = None
        self._has_disk = False
        self._foreign = 0
        self._clock_job = ""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            parent = IN_MEMORY if IN_MEMORY.is_dir() else None
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=parent)))
            self.logs = root / "logs"
            self.folder = root / "state"
            self.aside = root / "aside"
            for folder in (self.logs, self.folder, self.aside):
                folder.mkdir()
            if self.rng.random() < 0.3:
                stack.enter_context(self._disk())
            self.journal = self.folder / "journal.db"
            self.url = stack.enter_context(self.api.running())
            stack.callback(self._kill_all)
            self._clock_job = self._start_foreign(self.contract.clock_model, HELD)
            for number in range(SERVERS):
                self._start_server(number)
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Put the journal on a separate small disk if this process may mount one."""
        mount, umount = shutil.which("mount"), shutil.which("umount")
        if sys.platform != "linux" or os.geteuid() != 0 or not mount or not umount:
            yield
            return
        command = [mount, "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(self.folder)]
        self._has_disk = subprocess.run(command, capture_output=True, check=False).returncode == 0
        try:
            yield
        finally:
            if self._has_disk:
                subprocess.run([umount, "-l", str(self.folder)], capture_output=True, check=False)

    # Running.

    def run(self, orders: int) -> None:
        """Take steps until `orders` orders have arrived at the API, then look up every job."""
        try:
            while len(self.api.posts) < orders:
                self._step()
            self._finish()
        except Violation:
            raise
        except Exception as error:
            raise Violation(self._describe([f"{type(error).__name__}: {error}"])) from error

    def _step(self) -> None:
        steps: list[tuple[float, Callable[[], None]]] = [
            (10, self._order),
            (3, self._order_in_an_outage),
            (4, self._order_and_kill),
            (4, self._order_and_cancel),
            (2, self._order_without_reading),
            (3, self._order_while_the_file_changes),
            (2, self._order_during_a_short_lock),
            (1.5, self._order_without_the_journal),
            (2, self._end_jobs),
            (2, self._get_job),
            (1.5, self._restart),
            (1, self._change_file),
            (1, self._pass_time),
            (0.7, self._list),
            (1, self._foreign_jobs),
            (1, self._keep_copy),
        ]
        weights = [weight for weight, _ in steps]
        [(_, step)] = self.rng.choices(steps, weights)
        self.kinds[step.__name__.strip("_")] += 1
        self.api.batch += 1
        self._batch = []
        step()
        self._settle()

    def _settle(self) -> None:
        """Wait for all responses, and check everything."""
        self.api.release()
        self._wait_for_responses(self._batch)
        # A cancelled call may still be delivering its order.
        self.api.wait(lambda: all(post.is_done for post in self.api.posts))
        problems = [*self.checker.check_billed_once(), *self.checker.check_responses(self._batch)]
        for server in self._all_servers:
            problems += [f"{server} {problem}" for problem in server.problems]
        for call in self._batch:
            if call.responses and not call.is_warned:
                call.server.touched.add(self.checker.generation)
        if problems:
            raise Violation(self._describe(problems))

    def _wait_for_responses(self, calls: list[Call]) -> None:
        if not self.api.wait(lambda: all(call.is_over for call in calls)):
            missing = [
                f"no response: {call.tool} {call.arguments} on {call.server}" for call in calls if not call.is_over
            ]
            raise Violation(self._describe(missing))

    def _finish(self) -> None:
        """End all jobs and servers, and look up every job with a new server."""
        self._end_all_jobs()
        self.api.batch += 1
        self._batch = []
        for server in self._list_running():
            self._batch.append(server.begin("get_job", {"jobid": self._clock_job, "wait_seconds": 0}, self.api.batch))
        self._wait_for_responses(self._batch)
        kills = self.rng.random() < 0.3
        self._log_step(f"finish: {'kill' if kills else 'stop'} all servers, and list the jobs with a fresh one")
        for server in self._list_running():
            self._end_server(server, kills=kills)
        fresh = self._start_server(SERVERS, clock_error=0.0)
        call = fresh.begin("list_jobs", {"limit": LONGEST_LIST}, self.api.batch)
        self._wait_for_responses([call])
        problems = self.checker.check_found(call.content.get("jobs", []))
        if problems:
            raise Violation(self._describe([*problems, call.text]))

    def _describe(self, problems: list[str]) -> str:
        head = f"SEED {self.seed}, API {self.contract.api}, journal required: {self.checker.is_required}"
        lines = [head, *problems, "--- steps:", *self.steps]
        lines.append("--- orders at the API:")
        begun = self.api.posts[0].real if self.api.posts else 0.0
        for post in self.api.posts:
            place = f"batch {post.batch}, {post.real - begun:.2f} s, {post.at:%H:%M:%S}"
            lines.append(f"{place}: {post.prompt}: {post.fault}, {post.status}")
        lines.append("--- jobs at the API:")
        for job in self.api.jobs.values():
            ended = "held" if job.ended is None else f"ended {job.ended - begun:.2f} s"
            foreign = ", foreign" if job.is_foreign else ""
            lines.append(f"batch {job.batch}, {job.real - begun:.2f} s, {ended}: {job.prompt}{foreign}: {job.jobid}")
        lines.append("--- calls:")
        for call in self.checker.calls:
            end = "killed" if call.was_killed else "cancelled" if call.was_cancelled else "answered"
            times = f"{call.sent - begun:.2f} s to {(call.ended or 0) - begun:.2f} s"
            lines.append(f"batch {call.batch}, {times}, {call.server}, {call.arguments}, {end}: {call.text[:600]}")
        lines += [describe_server(server) for server in self._all_servers]
        return "\n".join(lines)

    def _log_step(self, text: str) -> None:
        self.steps.append(f"{self.api.batch}: {text}")

    # Servers.

    def _list_running(self) -> list[Server]:
        return [server for server in self.servers if server.is_alive]

    def _start_server(self, number: int, clock_error: float | None = None) -> Server:
        self._started += 1
        if clock_error is None:
            clock_error = self.rng.choice(CLOCK_ERRORS) if self.rng.random() < 0.15 else 0.0
        name, value = self.contract.credential
        environment = {
            "PATH": os.defpath,
            name: value,
            "LUMA_MCP_BASE_URL": self.url,
            "LUMA_MCP_JOURNAL": str(self.journal),
            "LUMA_MCP_JOURNAL_REQUIRED": str(int(self.checker.is_required)),
            "LUMA_MCP_THUMBNAILS": "0",
        }
        name = f"server {number + 1}, process {self._started}"
        log = self.logs / f"{self._started}.log"
        server = Server(name, environment, log, clock_error, self.api.notify)
        self._all_servers.append(server)
        if number < len(self.servers):
            self.servers[number] = server
        else:
            self.servers.append(server)
        if not self.api.wait(lambda: server.is_ready):
            raise Violation(self._describe([f"{server} did not start"]))
        return server

    def _end_server(self, server: Server, *, kills: bool) -> None:
        if kills:
            server.kill()
        else:
            server.stop()
        self.cpu_seconds += server.cpu_seconds

    def _replace_server(self, server: Server, *, kills: bool) -> None:
        self._log_step(f"{'kill' if kills else 'stop'} {server}, and start it again")
        number = self.servers.index(server)
        self._end_server(server, kills=kills)
        self._start_server(number)

    def _kill_all(self) -> None:
        for server in self._list_running():
            self._end_server(server, kills=True)

    # Orders.

    def _new_request(self) -> dict[str, Any]:
        number = len(self._prompts) + 1
        arguments = {
            "prompt": f"Clip {number}",
            "model": self.rng.choice(self.contract.models),
            "aspect_ratio": self.rng.choice(("16:9", "16:9", "1:1")),
            "duration": self.rng.choice(("5s", "5s", "10s")),
        }
        if self.rng.random() < 0.1:
            arguments["prompt"] += f" simulate:{self.rng.choice(self.contract.outcomes)}"
        self._prompts.append((arguments["prompt"], arguments))
        return arguments

    def _choose_request(self, new: float) -> dict[str, Any]:
        """Choose a new request with probability `new`, otherwise an earlier one."""
        if not self._prompts or self.rng.random() < new:
            return self._new_request()
        recent = self._prompts[-12:]
        return self.rng.choice(recent)[1]

    def _choose_order_fault(self) -> Fault:
        rng, kind = self.rng, self.rng.random()
        carried_out = rng.random() < 0.6
        fault = Fault(dated=rng.random() > 0.1)
        if kind < 0.4:
            return fault
        if kind < 0.65:
            fault = replace(fault, cut=rng.choice(CUTS), carried_out=carried_out)
        elif kind < 0.85:
            status = rng.choice(self._undocumented)
            fault = replace(fault, status=status, body=rng.choice(self.contract.bodies), carried_out=carried_out)
        else:
            body = rng.choice((b'{"error": "The API rejects this."}', b"", b"<html>"))
            fault = replace(fault, status=rng.choice(sorted(self.contract.rejections)), body=body, carried_out=False)
        if rng.random() < 0.15:
            fault = replace(fault, delay=rng.choice((0.1, 0.5)))
        return fault

    def _choose_read_fault(self) -> Fault:
        rng, kind = self.rng, self.rng.random()
        if kind < 0.3:
            return Fault(cut=rng.choice(CUTS))
        if kind < 0.8:
            statuses = (*self._undocumented, *self.contract.rejections)
            return Fault(status=rng.choice(statuses), body=rng.choice(self.contract.bodies))
        return Fault(delay=rng.choice((0.2, 1.0)), dated=rng.random() < 0.5)

    def _plan(self, arguments: dict[str, Any], fault: Fault | None = None) -> None:
        """Choose the faults of the order and of look-ups of its job, and the duration of the job."""
        prompt, rng = arguments["prompt"], self.rng
        first = fault or self._choose_order_fault()
        faults = deque([first])
        if rng.random() < 0.3:
            faults.append(self._choose_order_fault())
        self.api.orders[prompt] = faults
        self.api.service.durations[prompt] = rng.choice((0.05, 0.3, HELD, HELD))
        self.api.look_ups[prompt] = deque()
        if rng.random() < 0.3:
            self.api.look_ups[prompt].append(self._choose_read_fault())
        if rng.random() < 0.1:
            self.api.unlisted.add(prompt)
        while rng.random() < 0.15:
            self.api.listings.append(self._choose_read_fault())
        held = "" if self.api.service.durations[prompt] != HELD else ", the job is held"
        looked_up = "; ".join(map(str, self.api.look_ups[prompt]))
        self._log_step(f"  {prompt}: {'; then '.join(map(str, faults))}{held}. Look-ups: {looked_up or 'true'}")

    def _begin(self, server: Server, arguments: dict[str, Any], **options: Any) -> Call:
        chosen = {"wait_seconds": self.rng.choice((0, 0, 0, 1, 2)), **options}
        call = server.begin("generate_video", {**arguments, **chosen}, self.api.batch)
        self._log_step(f"  order {call.arguments} from {server}")
        self._batch.append(call)
        self.checker.calls.append(call)
        return call

    def _begin_some(self, most: int = 5) -> None:
        """Order several videos at the same time, some of them from several servers."""
        chosen: dict[str, dict[str, Any]] = {}
        for _ in range(self.rng.randint(1, most)):
            arguments = self._choose_request(new=0.65)
            chosen[arguments["prompt"]] = arguments
        for arguments in chosen.values():
            self._plan(arguments)
        for arguments in chosen.values():
            kind = self.rng.random()
            alive = self._list_running()
            if kind < 0.1:
                self._begin(self.rng.choice(alive), arguments, new_take=True)
            elif kind < 0.35:
                for server in self.rng.sample(alive, self.rng.randint(2, len(alive))):
                    self._begin(server, arguments)
            else:
                self._begin(self.rng.choice(alive), arguments)

    def _order(self) -> None:
        self._log_step("order")
        self._begin_some()

    def _order_in_an_outage(self) -> None:
        self._log_step("the API refuses connections")
        self.api.refuse()
        self._begin_some(3)
        ends_soon = self.rng.random() < 0.5
        if not ends_soon:
            self._wait_for_responses(self._batch)
        else:
            # Waiting servers try again.
            self.api.wait(lambda: all(call.is_over for call in self._batch), 0.5)
        self.api.accept()

    def _begin_target(self, hold: str) -> tuple[dict[str, Any], list[Call]]:
        """Place an order, held at the API, from one or several servers. Wait until it is held, if it arrives."""
        arguments = self._choose_request(new=0.7)
        fault = self._choose_order_fault()
        if hold == "before":
            fault = replace(fault, hold="before")
        elif hold == "after":
            fault = replace(fault, hold="after", carried_out=True)
            if fault.status in self.contract.rejections:
                fault = replace(fault, status=None)
        self._plan(arguments, fault)
        servers = self.rng.sample(self._list_running(), self.rng.choice((1, 1, 2)))
        calls = [self._begin(server, arguments, wait_seconds=self.rng.choice((0, 2, 5))) for server in servers]
        batch = self.api.batch

        def has_arrived() -> bool:
            posts = [post for post in self.api.posts if post.prompt == arguments["prompt"] and post.batch == batch]
            if not hold:
                return any(post.is_done for post in posts)
            return any(post.is_held for post in posts)

        if hold != "at once":
            self.api.wait(lambda: has_arrived() or all(call.is_over for call in calls))
        return arguments, calls

    def _choose_hold(self) -> str:
        return self.rng.choice(("at once", "before", "after", ""))

    def _order_and_kill(self) -> None:
        hold = self._choose_hold()
        self._log_step(f"order, and kill (held: {hold or 'no'})")
        if self.rng.random() < 0.5:
            self._begin_some(2)
        arguments, calls = self._begin_target(hold)
        self._replace_server(self.rng.choice(calls).server, kills=True)
        self.api.release()
        self._wait_for_responses(self._batch)
        if self.rng.random() < 0.7:
            self._log_step("order it again")
            self.api.wait(lambda: all(post.is_done for post in self.api.posts))
            self._settle()
            self.api.batch += 1
            self._batch = []
            self._begin(self.rng.choice(self._list_running()), arguments)

    def _order_and_cancel(self) -> None:
        hold = self._choose_hold()
        self._log_step(f"order, and cancel (held: {hold or 'no'})")
        if self.rng.random() < 0.5:
            self._begin_some(2)
        arguments, calls = self._begin_target(hold)
        for call in calls:
            if self.rng.random() < 0.8:
                self._log_step(f"  cancel the call on {call.server}")
                call.server.cancel(call)
        self.api.release()
        self._wait_for_responses(self._batch)
        if self.rng.random() < 0.7:
            # The server responds to another call only after finishing what the cancelled call had started.
            self._settle()
            self.api.batch += 1
            self._batch = []
            if self.rng.random() < 0.6:
                self._end_all_jobs()
            if self.rng.random() < 0.3:
                self._list_on(self.rng.choice(self._list_running()))
            self._log_step("order it again")
            self._begin(self.rng.choice(self._list_running()), arguments)

    def _order_without_reading(self) -> None:
        server = self.rng.choice(self._list_running())
        self._log_step(f"{server} is not read")
        server.stop_reading()
        # Enough responses to fill the pipe.
        for _ in range(6):
            self._batch.append(server.begin("list_options", {}, self.api.batch))
        arguments = self._choose_request(new=0.8)
        self._plan(arguments)
        self._begin(server, arguments)
        others = [other for other in self._list_running() if other is not server]
        calls = [self._begin(other, arguments) for other in others[: self.rng.randint(0, len(others))]]
        self._wait_for_responses(calls)
        if self.rng.random() < 0.4:
            self._replace_server(server, kills=True)
        else:
            server.continue_reading()

    # Jobs and time.

    def _end_jobs(self) -> None:
        self._log_step("held jobs end")
        for job in list(self.api.jobs.values()):
            if job.ended is None and job.jobid != self._clock_job and self.rng.random() < 0.7:
                self.api.end_job(job)

    def _end_all_jobs(self) -> None:
        for job in list(self.api.jobs.values()):
            if job.jobid != self._clock_job:
                self.api.end_job(job)

    def _get_job(self) -> None:
        jobids = [job.jobid for job in self.api.jobs.values() if not job.is_foreign]
        if not jobids:
            return
        jobid = self.rng.choice(jobids[-10:])
        server = self.rng.choice(self._list_running())
        self._log_step(f"get_job {jobid} from {server}")
        call = server.begin("get_job", {"jobid": jobid, "wait_seconds": 0}, self.api.batch)
        self.checker.calls.append(call)
        self._batch.append(call)

    def _list(self) -> None:
        self._list_on(self.rng.choice(self._list_running()))

    def _list_on(self, server: Server) -> None:
        self._log_step(f"list_jobs from {server}")
        call = server.begin("list_jobs", {"limit": LONGEST_LIST}, self.api.batch)
        self._batch.append(call)
        self._wait_for_responses([call])

    def _restart(self) -> None:
        self._replace_server(self.rng.choice(self._list_running()), kills=self.rng.random() < 0.4)

    def _pass_time(self) -> None:
        minutes = self.rng.choice((3, 11, 20))
        self._log_step(f"{minutes} minutes pass")
        self.api.pass_time(minutes)
        # Clocks do not jump while a server runs, so every server must see the new time at once.
        for server in self._list_running():
            self._batch.append(server.begin("get_job", {"jobid": self._clock_job, "wait_seconds": 0}, self.api.batch))
        self._wait_for_responses(self._batch)

    def _start_foreign(self, model: str, seconds: float) -> str:
        self._foreign += 1
        params = {
            "prompt": f"Foreign {self._foreign}",
            "model": model,
            "resolution": "720p" if model == "ray-v3-reasoning" else self.contract.resolution,
            "aspect_ratio": self.rng.choice(("16:9", "1:1", "9:16")),
            "duration": self.rng.choice(("5s", "10s")),
            "dynamic_range": "sdr",
        }
        return self.api.start_foreign(params, seconds).jobid

    def _foreign_jobs(self) -> None:
        self._log_step("jobs of another machine, and orders")
        for _ in range(self.rng.randint(1, 2)):
            model, seconds = self.rng.choice(self.contract.models), self.rng.choice((0.5, 0.5, 3.0, 3.0, HELD))
            if self.rng.random() < 0.5:
                jobid = self._start_foreign(model, seconds)
                self._log_step(f"  before: {model} for {seconds} s: {jobid}")
            arguments, _ = self._begin_target(self.rng.choice(("before", "after")))
            if self.rng.random() < 0.7:
                jobid = self._start_foreign(self.rng.choice((model, arguments["model"])), seconds)
                self._log_step(f"  during: for {seconds} s: {jobid}")
            self.api.release()

    # The journal.

    def _keep_copy(self) -> None:
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"{self.journal.as_uri()}?mode=ro", uri=True)) as source:
            path = self.aside / f"copy-{self.api.batch}.db"
            with closing(sqlite3.connect(path)) as target:
                source.backup(target)
            self._copy = path, self.checker.generation
            self._log_step("keep a copy of the journal")

    def _destroy(self, *, is_clean: bool) -> None:
        kinds = ["removed", "removed with all", "moved away"]
        if self._copy:
            kinds += ["replaced", "overwritten"] if is_clean else ["replaced"]
        kind = self.rng.choice(kinds)
        self._log_step(f"the journal is {kind}")
        if not self.journal.exists():
            return
        if kind == "moved away":
            shutil.move(self.journal, self.aside / f"moved-{self.api.batch}.db")
        elif kind == "replaced" and self._copy:
            new = self.folder / "restored.db"
            shutil.copyfile(self._copy[0], new)
            new.replace(self.journal)
        elif kind == "overwritten" and self._copy:
            shutil.copyfile(self._copy[0], self.journal)
        else:
            self.journal.unlink()
            if kind == "removed with all":
                for path in self.folder.glob("journal.db*"):
                    path.unlink(missing_ok=True)
        self.checker.destructions.append(Destruction(kind, time.monotonic(), self.checker.generation, is_clean))
        self.checker.generation += 1

    def _change_file(self) -> None:
        self._destroy(is_clean=True)
        if self.rng.random() < 0.7:
            self._begin_some(3)

    def _order_while_the_file_changes(self) -> None:
        hold = self._choose_hold()
        self._log_step(f"order, and change the journal's file (held: {hold or 'no'})")
        arguments, _ = self._begin_target(hold)
        self._destroy(is_clean=False)
        if self.rng.random() < 0.5:
            self._begin(self.rng.choice(self._list_running()), arguments)
        self.api.release()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with closing(sqlite3.connect(self.journal, isolation_level=None, timeout=TIMEOUT)) as database:
            database.execute("BEGIN EXCLUSIVE")
            yield

    def _order_during_a_short_lock(self) -> None:
        if not self.journal.exists():
            return
        self._log_step("the journal is locked for a moment")
        with self._locked():
            self._begin_some(3)
            self.api.wait(lambda: False, self.rng.choice((0.1, 0.5, 1.0)))

    def _order_without_the_journal(self) -> None:
        if not self.journal.exists():
            return
        kinds: dict[str, Callable[[], Any]] = {"locked": self._locked, "read-only": self._read_only}
        if self._has_disk:
            kinds["on a full disk"] = self._full
        kind = self.rng.choice(sorted(kinds))
        self._log_step(f"the journal is {kind}")
        period = UnusablePeriod(time.monotonic())
        self.checker.unusable.append(period)
        with kinds[kind]():
            for _ in range(self.rng.randint(1, 3)):
                self._begin_some(3)
                if self.rng.random() < 0.3:
                    self._replace_server(self.rng.choice(self._list_running()), kills=True)
                self._wait_for_responses(self._batch)
                self._settle()
                self.api.batch += 1
                self._batch = []
            self._log_step(f"the journal is no longer {kind}")
        period.until = time.monotonic()
        for server in self._list_running():
            if self.rng.random() < 0.8:
                self._replace_server(server, kills=self.rng.random() < 0.3)

    @contextmanager
    def _read_only(self) -> Iterator[None]:
        """Make the folder read-only, and perhaps the file."""
        if self.rng.random() < 0.5:
            self.journal.chmod(0o400)
        self.folder.chmod(0o500)
        try:
            yield
        finally:
            self.folder.chmod(0o700)
            self.journal.chmod(0o600)

    @contextmanager
    def _full(self) -> Iterator[None]:
        filler = self.folder / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            for size in (4096, 1):
                with suppress(OSError):
                    for _ in range(DISK_BYTES):
                        if file.write(b"\0" * size) < size:
                            break
        try:
            yield
        finally:
            filler.unlink(missing_ok=True)


def run_scenario(seed: int, orders: int) -> Scenario:
    """Run one scenario with this number of orders."""
    with Scenario(seed) as scenario:
        scenario.run(orders)
    return scenario
