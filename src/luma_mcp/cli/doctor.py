"""`luma-ray-mcp doctor`: the diagnosis on one screen, or as JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from luma_mcp.cli.context import one_line, simulating
from luma_mcp.doctor.checks import examine
from luma_mcp.doctor.environment import look_around
from luma_mcp.install.paths import this_system

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luma_mcp.doctor.check_result import Finding

MARKS = {"passed": ("✓", "green"), "failed": ("✗", "red"), "note": ("–", "yellow")}
PLAIN_MARKS = {"✓": "ok", "✗": "!!", "–": "--", "→": "->", "…": "..."}
"""For terminals that cannot write the others."""


def doctor(*, simulate: bool, as_json: bool, seconds: float) -> None:
    """Prints the findings; ends the program with 1 if something failed."""
    # The SDK logs what a broken server says; it is told in the findings.
    logging.basicConfig(handlers=[logging.NullHandler()])
    here = look_around(os.environ, this_system(), Path.home(), seconds=seconds)
    with simulating(here.settings, speed=1) if simulate else nullcontext(here.settings) as settings:
        if simulate:
            here = replace(here, settings=settings, token_of=None)
        findings = anyio.run(examine, here)
        failures = sum(finding.status == "failed" for finding in findings)
        click.echo(_as_json(findings, ok=not failures) if as_json else _screen(findings, failures))
        sys.stdout.flush()
    # Without waiting for a thread that a dead disk holds.
    os._exit(1 if failures else 0)


def _as_json(findings: Sequence[Finding], *, ok: bool) -> str:
    return json.dumps({"ok": ok, "checks": [asdict(finding) for finding in findings]}, indent=2)


def _screen(findings: Sequence[Finding], failures: int) -> str:
    lines = []
    width = max(len(one_line(finding.name)) for finding in findings)
    for finding in findings:
        mark, colour = MARKS[finding.status]
        name, detail, mend = map(one_line, (finding.name, finding.detail, finding.mend))
        lines.append(f"{click.style(mark, fg=colour)} {name:<{width}}  {detail}")
        if mend:
            lines.append(f"  {'':<{width}}  → {click.style(mend, bold=True)}")
    many = "1 failure" if failures == 1 else f"{failures} failures"
    lines.append(
        "\nAll is well." if not failures else f"\n{many}. What ends each stands after →; then: luma-ray-mcp doctor"
    )
    return _writable("\n".join(lines))


def _writable(text: str) -> str:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        for sign, plain in PLAIN_MARKS.items():
            text = text.replace(sign, plain)
    return text
