"""The command `usage`: who ordered what with which API, and what that cost."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import anyio
import click

from luma_mcp.catalog import get_catalog
from luma_mcp.cli import context, messages
from luma_mcp.cli.clips import print_json
from luma_mcp.errors import JournalUnavailable, format_amount
from luma_mcp.journal.protocol import Usage
from luma_mcp.journal.sqlite import EVERY_API
from luma_mcp.providers import PROVIDERS
from luma_mcp.service import journal_place
from luma_mcp.service.service import open_journal
from luma_mcp.settings import Settings
from luma_mcp.text import one_line

_COUNTS = ("orders", "completed", "failed", "running", "unknown")
_COLUMNS = ("tenant", "name", "api", *_COUNTS, "cost", "unit", "unpriced", "credential")
_HEADINGS = ("tenant", "name", "API", *_COUNTS, "cost")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that spreadsheets take for a formula."""


@dataclass(slots=True)
class TenantUsage:
    """What one tenant has ordered with one credential of an API.

    Attributes:
        tenant: its id; empty for whoever owns the credential.
        api: the API; empty if the models of the orders belong to none that is known.
        unit: of `cost`; empty if that is not known.
        credential: the id of the API and the credential.
        unpriced: how many orders are not in `cost`, because what they cost is not known.
    """

    tenant: str
    api: str
    unit: str
    credential: str
    names: list[str] = field(default_factory=list)
    orders: int = 0
    completed: int = 0
    failed: int = 0
    running: int = 0
    unknown: int = 0
    cost: float = 0.0
    unpriced: int = 0

    @property
    def name(self) -> str:
        """Who it is, with earlier names."""
        return ", ".join(self.names)

    def add(self, usage: Usage) -> None:
        """Add the usage of one of its models."""
        if usage.ordered_by and usage.ordered_by not in self.names:
            self.names.append(usage.ordered_by)
        for name in (*_COUNTS, "unpriced"):
            setattr(self, name, getattr(self, name) + getattr(usage, name))
        self.cost += usage.spent

    def to_dict(self) -> dict[str, Any]:
        """Return the values by column."""
        return {name: getattr(self, name) for name in _COLUMNS} | {"cost": round(self.cost, 6)}


def report_usage(settings: Settings, since: datetime | None, *, as_json: bool, as_csv: bool) -> None:
    """Print who ordered what: as a table, as one JSON object a line, or as CSV."""
    if journal_place(settings) is None:
        raise click.ClickException(messages.USAGE_NEEDS_JOURNAL)
    try:
        found = anyio.run(_fetch, settings, since)
    except JournalUnavailable as error:
        raise click.ClickException(messages.journal_unreadable(error.problem)) from None
    rows = combine(found)
    if as_json:
        for row in rows:
            print_json(row.to_dict())
    elif as_csv:
        click.echo(format_csv(rows), nl=False)
    elif rows:
        click.echo(format_table(rows))
    else:
        click.echo(messages.NO_USAGE)


async def _fetch(settings: Settings, since: datetime | None) -> list[Usage]:
    async with aclosing(open_journal(settings, api=EVERY_API, wall_clock=context.now)) as journal:
        return await journal.summarize_usage(since)


def combine(found: Iterable[Usage]) -> list[TenantUsage]:
    """Combine the usage of models to that of tenants; by API, those first who have spent most."""
    api_of = {model.name: name for name in PROVIDERS for model in get_catalog(name).models}
    by_tenant: dict[tuple[str, str, str], TenantUsage] = {}
    for usage in found:
        api = api_of.get(usage.model or "", "")
        key = (api, usage.credential, usage.tenant)
        if key not in by_tenant:
            unit = PROVIDERS[api].unit if api else ""
            by_tenant[key] = TenantUsage(usage.tenant, api, unit, usage.credential)
        by_tenant[key].add(usage)
    return sorted(by_tenant.values(), key=lambda row: (row.api, -row.cost, row.tenant, row.credential))


def format_csv(rows: Sequence[TenantUsage]) -> str:
    """Format rows as CSV with a line of headings."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        # Names are chosen by users, and spreadsheets execute what looks like a formula.
        name = one_line(row.name)
        writer.writerow(row.to_dict() | {"name": f"'{name}" if name.startswith(_FORMULA) else name})
    return text.getvalue()


def format_table(rows: Sequence[TenantUsage]) -> str:
    """Format rows as a table, with the sum of each API and what is not in the costs."""
    lines: list[Sequence[str]] = [_HEADINGS]
    for api in dict.fromkeys(row.api for row in rows):
        of_api = [row for row in rows if row.api == api]
        lines += [_format_row(row) for row in of_api]
        total = TenantUsage("all", api, of_api[0].unit, "")
        for row in of_api:
            for name in (*_COUNTS, "unpriced", "cost"):
                setattr(total, name, getattr(total, name) + getattr(row, name))
        lines.append(_format_row(total))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text: list[str] = []
    for line in lines:
        cells = [
            cell.ljust(width) if number < 3 else cell.rjust(width) for number, (cell, width) in _pair(line, widths)
        ]
        text.append("  ".join(cells).rstrip())
    unpriced = sum(row.unpriced for row in rows)
    if unpriced:
        text.append(messages.unpriced_usage(unpriced))
    return "\n".join(text)


def _pair(line: Sequence[str], widths: Sequence[int]) -> Iterable[tuple[int, tuple[str, int]]]:
    return enumerate(zip(line, widths, strict=True))


def _format_row(row: TenantUsage) -> tuple[str, ...]:
    tenant = row.tenant or messages.owner_of(row.credential)
    counts = [str(getattr(row, name)) for name in _COUNTS]
    cost = format_amount(round(row.cost, 6), row.unit) if row.unit else "not known"
    return tenant, one_line(row.name) or "-", row.api or "not known", *counts, cost
