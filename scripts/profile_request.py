"""Count how many of our functions one `generate_video` call runs, from the tool handler to the result.

    python -m scripts.profile_request [--limit 190] [--list]

Runs the server in memory with an MCP client, a simulated Luma API and a journal on disk, orders one video and waits for
it. Counted are the distinct functions of `luma_mcp` that run in any thread during the first call on a new server,
including lambdas and generator expressions. Not counted are the simulator, which stands in for the network, what
importing a module or defining a class runs, and list, set and dict comprehensions, which are functions of their own
only before Python 3.12. A later call runs fewer: its number is printed for comparison.

Fails if the first call runs more functions than `--limit`. It ran 202 before the code was restructured in November
2026, and 110 afterwards; what has been added since then protects orders: repeats, clocks, jobs of others. `--list`
prints the functions.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
from mcp import Client

import luma_mcp
from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings
from luma_mcp.simulator.app import PREFIX, TOKEN, new_simulator

if TYPE_CHECKING:
    from types import CodeType, FrameType

LIMIT = 190
PACKAGE = Path(luma_mcp.__file__).parent
SIMULATOR = PACKAGE / "simulator"
COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>"})
# Fast enough to finish before the first poll, so that the number does not depend on this machine.
SPEED = 1_000
REQUEST = {"prompt": "A fox in the snow", "resolution": "720p"}


class Profiler:
    """Records which functions of the package run, in every thread that starts after it."""

    def __init__(self) -> None:
        self._codes: set[CodeType] = set()
        self._is_recording = False
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if self._is_recording and event == "call":
            self._codes.add(frame.f_code)

    def start(self) -> None:
        """Forget what was recorded, and record."""
        self._codes.clear()
        self._is_recording = True

    def stop(self) -> list[str]:
        """Stop recording and return the functions of the package as `path:line name`, sorted."""
        self._is_recording = False
        functions: list[str] = []
        for code in self._codes:
            path = Path(code.co_filename)
            # Without this flag it is the body of a module or class.
            is_function = code.co_flags & inspect.CO_NEWLOCALS and code.co_flags & inspect.CO_OPTIMIZED
            if code.co_name in COMPREHENSIONS:
                continue
            if is_function and path.is_relative_to(PACKAGE) and not path.is_relative_to(SIMULATOR):
                functions.append(f"{path.relative_to(PACKAGE)}:{code.co_firstlineno} {code.co_qualname}")
        return sorted(functions)


async def profile_calls(profiler: Profiler, folder: Path) -> tuple[list[str], list[str]]:
    """Get the functions that the first and a second call on a new server run."""
    environment = {
        "USEAPI_TOKEN": TOKEN,
        # Nothing listens there: the transport carries every request to the simulator.
        "LUMA_MCP_BASE_URL": f"http://127.0.0.1{PREFIX}",
        "LUMA_MCP_JOURNAL": str(folder / "journal.db"),
    }
    settings = Settings.from_environment(environment)
    transport = httpx2.ASGITransport(new_simulator(speed=SPEED))
    calls: list[list[str]] = []
    async with Client(build_server(settings, catalog=USEAPI, transport=transport)) as client:
        # What a client does before its first call is not part of that call.
        await client.list_tools()
        for _ in range(2):
            profiler.start()
            result = await client.call_tool("generate_video", REQUEST)
            calls.append(profiler.stop())
            content = result.structured_content or {}
            if content.get("state") != "completed":
                sys.exit(f"the call did not return a video: {result}")
    first, second = calls
    return first, second


def count_modules(functions: list[str]) -> int:
    """Count the files that these functions are in."""
    return len({function.partition(":")[0] for function in functions})


def main() -> int:
    """Return 0 if the first call is within the limit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=int, default=LIMIT)
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    profiler = Profiler()
    with tempfile.TemporaryDirectory() as folder:
        first, second = anyio.run(profile_calls, profiler, Path(folder))
    if options.list:
        print("\n".join(first))
    print(f"first call: {len(first)} functions in {count_modules(first)} modules (limit: {options.limit})")
    print(f"second call: {len(second)} functions in {count_modules(second)} modules")
    return 1 if len(first) > options.limit else 0


if __name__ == "__main__":
    sys.exit(main())
