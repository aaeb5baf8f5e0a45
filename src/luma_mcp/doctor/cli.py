"""The command `doctor`: the results of the checks on one screen, or as JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

import anyio
import click
from pydantic import SecretStr

from luma_mcp.doctor.checks import CheckResult, detect, run_checks
from luma_mcp.install.command import invocation
from luma_mcp.text import one_line

MARKS = {"passed": ("✓", "green"), "failed": ("✗", "red"), "note": ("–", "yellow")}
ASCII_MARKS = {"✓": "ok", "✗": "!!", "–": "--", "→": "->", "…": "..."}
"""For terminals that cannot show the others."""


def doctor(*, simulate: bool, as_json: bool, seconds: float) -> None:
    """Print the results of all checks; end the process with 1 if one failed, with 130 on Ctrl-C."""
    # The SDK logs what a broken server writes, which is in the results.
    logging.basicConfig(handlers=[logging.NullHandler()])
    try:
        results = _run(simulate=simulate, seconds=seconds)
    except KeyboardInterrupt:
        os._exit(130)
    failures = sum(result.status == "failed" for result in results)
    if as_json:
        click.echo(json.dumps({"ok": not failures, "checks": list(map(asdict, results))}, indent=2))
    else:
        click.echo(_format_screen(results, failures))
    sys.stdout.flush()
    # Exit at once: a normal exit waits for threads, and an unreachable disk may block one.
    os._exit(bool(failures))


def _run(*, simulate: bool, seconds: float) -> Sequence[CheckResult]:
    here = detect(seconds=seconds)
    if not simulate:
        return anyio.run(run_checks, here)
    from luma_mcp.simulator.app import new_simulator, running

    # It accepts any.
    token = SecretStr(f"{here.settings.provider.begins}0-simulated")
    with running(new_simulator(api=here.settings.api)) as url:
        settings = replace(here.settings, token=token, base_url=url, email=None, simulated=True)
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
    ending = "\nAll checks passed."
    if failures:
        count = "1 problem" if failures == 1 else f"{failures} problems"
        ending = f"\n{count} found. Each fix follows the arrow; then rerun {invocation()} doctor."
    text = "\n".join([*lines, ending])
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        for mark, plain in ASCII_MARKS.items():
            text = text.replace(mark, plain)
    return text
