"""The command `doctor`: the results of the checks on one screen, or as JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click
from pydantic import SecretStr

from luma_mcp.doctor.checks import run_checks
from luma_mcp.doctor.environment import detect
from luma_mcp.install.command import invocation
from luma_mcp.install.paths import this_system
from luma_mcp.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luma_mcp.doctor.checks import CheckResult
    from luma_mcp.doctor.environment import Environment

INTERRUPTED = 130
"""The exit code after Ctrl-C."""
MARKS = {"passed": ("✓", "green"), "failed": ("✗", "red"), "note": ("–", "yellow")}
ASCII_MARKS = {"✓": "ok", "✗": "!!", "–": "--", "→": "->", "…": "..."}
"""For terminals that cannot show the others."""


def doctor(*, simulate: bool, as_json: bool, seconds: float) -> None:
    """Print the results of all checks; end the process with 1 if one failed, with 130 on Ctrl-C."""
    # The SDK logs what a broken server writes, which is in the results.
    logging.basicConfig(handlers=[logging.NullHandler()])
    here = detect(os.environ, this_system(), Path.home(), seconds=seconds)
    try:
        results = _run_simulated(here) if simulate else anyio.run(run_checks, here)
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)
    failures = sum(result.status == "failed" for result in results)
    if as_json:
        checks = [asdict(result) for result in results]
        click.echo(json.dumps({"ok": not failures, "checks": checks}, indent=2))
    else:
        click.echo(_format_screen(results, failures))
    sys.stdout.flush()
    # At once: a normal exit waits for threads, and a dead disk may hold one.
    os._exit(1 if failures else 0)


def _run_simulated(here: Environment) -> list[CheckResult]:
    from luma_mcp.simulator.app import TOKEN, new_simulator, running

    with running(new_simulator()) as url:
        settings = replace(here.settings, token=SecretStr(TOKEN), base_url=url, email=None, simulated=True)
        return anyio.run(run_checks, replace(here, settings=settings, token_file=None))


def _format_screen(results: Sequence[CheckResult], failures: int) -> str:
    lines = []
    width = max(len(one_line(result.name)) for result in results)
    for result in results:
        mark, colour = MARKS[result.status]
        # Details contain what the API and other programs say.
        name, detail, fix = map(one_line, (result.name, result.detail, result.fix))
        lines.append(f"{click.style(mark, fg=colour)} {name:<{width}}  {detail}")
        if fix:
            lines.append(f"  {'':<{width}}  → {click.style(fix, bold=True)}")
    then = f"Each fix follows the arrow; then rerun {invocation()} doctor."
    if failures == 0:
        lines.append("\nAll checks passed.")
    elif failures == 1:
        lines.append(f"\n1 problem found. {then}")
    else:
        lines.append(f"\n{failures} problems found. {then}")
    return _encodable("\n".join(lines))


def _encodable(text: str) -> str:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        for mark, plain in ASCII_MARKS.items():
            text = text.replace(mark, plain)
    return text
