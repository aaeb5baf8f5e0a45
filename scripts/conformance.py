"""Run the official MCP conformance suite against the server, at two versions of the protocol.

    python -m scripts.conformance

Installs the suite (npm, by lock file), starts `luma-ray-mcp serve --simulate --http` and the fixture server of
tests/conformance on loopback, and compares the results with tests/conformance/expected.py. Fails on a check that fails
without being known to, and on one that is known to fail but passes. Needs the network only to install.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import anyio
from anyio.streams.text import TextReceiveStream
from scripts.node_packages import install, node
from tests.conformance.expected import FIXTURES, KNOWN, VERSIONS, Server
from tests.conformance.suite import SCENARIOS, find_missing, find_undecided, parse_list, read_checks
from tests.conformance.verdict import MIN_TASKS_SHARE, compare, format_table, tasks_share

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteReceiveStream
    from tests.conformance.verdict import Check

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "tests" / "conformance"
SUITE = FOLDER / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
COMMANDS: dict[Server, list[str]] = {
    "luma-ray-mcp": ["-m", "luma_mcp", "serve", "--simulate", "--http", "--port", "0", "--no-auth"],
    "fixture": ["-m", "tests.conformance.fixture_server"],
}
CONCURRENT_RUNS = 3
START_SECONDS = 60.0


@asynccontextmanager
async def serving(server: Server, state: Path) -> AsyncIterator[str]:
    """Run a server and yield its URL; its log is a file in `state`."""
    environment = os.environ | {"LUMA_MCP_JOURNAL": "off", "XDG_STATE_HOME": str(state)}
    with (state / f"{server}.log").open("wb") as log:
        command = [sys.executable, *COMMANDS[server]]
        async with await anyio.open_process(command, cwd=ROOT, env=environment, stderr=log) as process:
            try:
                with anyio.fail_after(START_SECONDS):
                    first = await TextReceiveStream(cast("ByteReceiveStream", process.stdout)).receive()
                yield first.strip()
            finally:
                process.terminate()


async def run_suite(url: str, version: str, output: Path, scenario: str | None = None) -> None:
    """Run the suite once: everything at a version, or one scenario of an extension."""
    selection = ["--scenario", scenario, "--force"] if scenario else ["--suite", "all"]
    options = ["--url", url, *selection, "--spec-version", version, "--output-dir", str(output)]
    # The exit code is ignored, because this run includes tests that need the other server.
    await anyio.run_process([node(FOLDER), str(SUITE), "server", *options], cwd=FOLDER, check=False)


async def run_all(state: Path) -> list[Check]:
    """Run everything, and return the checks of the tested scenarios."""
    limiter = anyio.CapacityLimiter(CONCURRENT_RUNS)

    async def run_one(url: str, version: str, output: Path, scenario: str | None = None) -> None:
        async with limiter:
            await run_suite(url, version, output, scenario)

    async with (
        serving("luma-ray-mcp", state) as ours,
        serving("fixture", state) as fixture,
        anyio.create_task_group() as runs,
    ):
        for server, url in (("luma-ray-mcp", ours), ("fixture", fixture)):
            for version in VERSIONS:
                runs.start_soon(run_one, url, version, state / f"{server} {version}")
        for scenario in FIXTURES:
            if scenario.startswith("tasks-"):
                runs.start_soon(run_one, fixture, VERSIONS[0], state / f"fixture {VERSIONS[0]}", scenario)
    return sorted(
        check for server in SCENARIOS for at in VERSIONS for check in read_checks(state / f"{server} {at}", server, at)
    )


def main() -> int:
    """Return 0 if exactly the checks fail that are known to fail."""
    install(FOLDER)
    with tempfile.TemporaryDirectory() as temporary:
        state = Path(temporary)
        listing = anyio.run(partial(anyio.run_process, [node(FOLDER), str(SUITE), "list"]))
        scenarios = parse_list(listing.stdout.decode())
        if differing := find_undecided(scenarios):
            print("tests/conformance/expected.py and the suite do not agree on:", *differing)
            return 1
        checks = anyio.run(run_all, state)
        verdict, lost = compare(checks, KNOWN), find_missing(scenarios, checks)
        print(format_table(checks), "", sep="\n")
        if verdict.unexpected or lost:
            for log in state.glob("*.log"):
                print(f"--- the end of {log.name}", log.read_text(encoding="utf-8", errors="replace")[-4000:], sep="\n")
        for known in KNOWN:
            print(f"known: {' '.join(known[:4])}: {known.why}")
        for stale in verdict.stale:
            print(f"STALE, known to fail but passes: {' '.join(stale[:4])}")
        for check in verdict.unexpected:
            print(f"{check.status}: {' '.join(check.key)}: {check.message}")
        for name in lost:
            print(f"NOT TESTED: {name}")
        share = tasks_share(checks)
        print(f"\ntasks-*: {share:.0%} of the checks pass (at least {MIN_TASKS_SHARE:.0%} must)")
        passed = Counter(check.status for check in checks)["SUCCESS"]
        failed = len(verdict.unexpected) + len(verdict.stale) + len(lost)
        print(f"{passed} passed, {failed} failed")
        return 1 if failed or share < MIN_TASKS_SHARE else 0


if __name__ == "__main__":
    sys.exit(main())
