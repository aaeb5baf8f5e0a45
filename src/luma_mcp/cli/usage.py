"""The command `usage`: who ordered what with which API, and what that cost."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import attrgetter
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
_TEXTS = _HEADINGS[:3]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of texts that spreadsheets interpret as formulas."""


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
        self._add_counts(usage)
        self.cost += usage.spent

    def add_all(self, other: TenantUsage) -> None:
        """Add what another tenant has ordered with the same API."""
        self._add_counts(other)
        self.unit = other.unit
        self.cost += other.cost

    def _add_counts(self, other: Usage | TenantUsage) -> None:
        for name in (*_COUNTS, "unpriced"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

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
    api_of: dict[str | None, str] = {}
    for name in PROVIDERS:
        for model in get_catalog(name).models:
            api_of[model.name] = name
    by_tenant: dict[tuple[str, str, str], TenantUsage] = {}
    for usage in found:
        api = api_of.get(usage.model, "")
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
        if name.startswith(_FORMULA):
            name = f"'{name}"
        writer.writerow(row.to_dict() | {"name": name})
    return text.getvalue()


def format_table(rows: Sequence[TenantUsage]) -> str:
    """Format rows as a table, with the sum of each API and what is not in the costs."""
    lines: list[Sequence[str]] = [_HEADINGS]
    unpriced = 0
    for api, of_api in groupby(rows, key=attrgetter("api")):
        total = TenantUsage("all", api, "", "")
        for row in of_api:
            total.add_all(row)
            lines.append(_format_row(row))
        lines.append(_format_row(total))
        unpriced += total.unpriced
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text: list[str] = []
    for line in lines:
        cells: list[str] = []
        for heading, cell, width in zip(_HEADINGS, line, widths, strict=True):
            cells.append(cell.ljust(width) if heading in _TEXTS else cell.rjust(width))
        text.append("  ".join(cells).rstrip())
    if unpriced:
        text.append(messages.unpriced_usage(unpriced))
    return "\n".join(text)


def _format_row(row: TenantUsage) -> tuple[str, ...]:
    tenant = row.tenant or messages.owner_of(row.credential)
    counts = [str(getattr(row, name)) for name in _COUNTS]
    cost = "not known"
    if row.unit:
        cost = format_amount(round(row.cost, 6), row.unit)
    return tenant, one_line(row.name) or "-", row.api or "not known", *counts, cost
