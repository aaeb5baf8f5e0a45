"""Whose orders they are. A server of one person has one tenant, `OWNER`; one that serves many has one for each caller.

What belongs to a tenant is found by its `VideoService`, which has the tenant's credential and part of the journal.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from pydantic import SecretStr


@dataclass(frozen=True, slots=True)
class Tenant:
    """One person or team, as far as the service needs to know it.

    Attributes:
        id: a digest that distinguishes tenants and reveals nothing; empty for the one owner of a server.
        credential: that of the paid API; None: the one of the settings.
        owns_credential: whether all that its account contains is the tenant's. If not, the account is the operator's
            and others order with it, so the API is never asked about what the tenant's part of the journal lacks.
        name: who it is, for the operator's report on usage; in no log and in no answer.
        max_jobs_per_hour, budget_per_day, max_waits: its limits; None: those of the settings.
        scopes: what it may do; None: everything.
    """

    id: str = ""
    credential: SecretStr | None = None
    owns_credential: bool = True
    name: str = ""
    max_jobs_per_hour: int | None = None
    budget_per_day: float | None = None
    max_waits: int | None = None
    scopes: frozenset[str] | None = None


OWNER = Tenant()
current_tenant: ContextVar[Tenant] = ContextVar("current_tenant", default=OWNER)
"""The tenant of the request that is being handled. The layer that authenticates requests sets it."""
