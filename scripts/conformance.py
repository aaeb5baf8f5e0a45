"""Runs the official MCP conformance suite against the server, in both eras of the protocol.

    python -m scripts.conformance

Installs the suite (npm, by lock file), starts `luma-ray-mcp serve --simulate --http` and the fixture server of
tests/conformance on loopback, and holds what the suite finds against tests/conformance/expected.py. Fails on a check
that fails and is not known to, and on one that is known to fail and does not. Needs the network only to install.
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
from tests.conformance.judge import TASKS_MARK, judge, table, tasks_share
from tests.conformance.suite import JUDGED, checks_of, listed, missing, undecided

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteReceiveStream
    from tests.conformance.judge import Check

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "tests" / "conformance"
SUITE = FOLDER / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
COMMANDS: dict[Server, list[str]] = {
    "luma-ray-mcp": ["-m", "luma_mcp", "serve", "--simulate", "--http", "--port", "0"],
    "fixture": ["-m", "tests.conformance.fixture_server"],
}
AT_A_TIME = 3
START_SECONDS = 60.0


@asynccontextmanager
async def serving(server: Server, state: Path) -> AsyncIterator[str]:
    """A server's URL, while it runs; what it logs is in a file in `state`."""
    surroundings = os.environ | {"LUMA_MCP_JOURNAL": "off", "XDG_STATE_HOME": str(state)}
    with (state / f"{server}.log").open("wb") as log:
        command = [sys.executable, *COMMANDS[server]]
        async with await anyio.open_process(command, cwd=ROOT, env=surroundings, stderr=log) as process:
            try:
                with anyio.fail_after(START_SECONDS):
                    first = await TextReceiveStream(cast("ByteReceiveStream", process.stdout)).receive()
                yield first.strip()
            finally:
                process.terminate()


async def run(url: str, version: str, written: Path, scenario: str | None = None) -> None:
    """One run of the suite: all that it has at a version, or one scenario of an extension."""
    what = ["--scenario", scenario, "--force"] if scenario else ["--suite", "all"]
    options = ["--url", url, *what, "--spec-version", version, "--output-dir", str(written)]
    # Its exit code says nothing: it has also run what is judged on the other server.
    await anyio.run_process([node(FOLDER), str(SUITE), "server", *options], cwd=FOLDER, check=False)


async def found(state: Path) -> list[Check]:
    """All checks of all scenarios that are judged."""
    at_a_time = anyio.CapacityLimiter(AT_A_TIME)

    async def one(url: str, version: str, written: Path, scenario: str | None = None) -> None:
        async with at_a_time:
            await run(url, version, written, scenario)

    async with (
        serving("luma-ray-mcp", state) as ours,
        serving("fixture", state) as fixture,
        anyio.create_task_group() as runs,
    ):
        for server, url in (("luma-ray-mcp", ours), ("fixture", fixture)):
            for version in VERSIONS:
                runs.start_soon(one, url, version, state / f"{server} {version}")
        for scenario in FIXTURES:
            if scenario.startswith("tasks-"):
                runs.start_soon(one, fixture, VERSIONS[0], state / f"fixture {VERSIONS[0]}", scenario)
    return sorted(
        check for server in JUDGED for at in VERSIONS for check in checks_of(state / f"{server} {at}", server, at)
    )


def main() -> int:
    """0 if everything passes that is not known to fail, and nothing else."""
    install(FOLDER)
    with tempfile.TemporaryDirectory() as temporary:
        state = Path(temporary)
        told = anyio.run(partial(anyio.run_process, [node(FOLDER), str(SUITE), "list"]))
        scenarios = listed(told.stdout.decode())
        if differing := undecided(scenarios):
            print("tests/conformance/expected.py and the suite do not agree on:", *differing)
            return 1
        checks = anyio.run(found, state)
        verdict, lost = judge(checks, KNOWN), missing(scenarios, checks)
        print(table(checks), "", sep="\n")
        if verdict.unexpected or lost:
            for log in state.glob("*.log"):
                print(f"--- the end of {log.name}", log.read_text(encoding="utf-8", errors="replace")[-4000:], sep="\n")
        for known in KNOWN:
            print(f"known: {' '.join(known[:4])}: {known.why}")
        for stale in verdict.stale:
            print(f"STALE, known to fail and does not: {' '.join(stale[:4])}")
        for check in verdict.unexpected:
            print(f"{check.status}: {' '.join(check.key)}: {check.message}")
        for name in lost:
            print(f"NOT JUDGED: {name}")
        share = tasks_share(checks)
        print(f"\ntasks-*: {share:.0%} of the checks pass (mark: {TASKS_MARK:.0%})")
        passed = Counter(check.status for check in checks)["SUCCESS"]
        failed = len(verdict.unexpected) + len(verdict.stale) + len(lost)
        print(f"{passed} passed, {failed} failed")
        return 1 if failed or share < TASKS_MARK else 0


if __name__ == "__main__":
    sys.exit(main())
