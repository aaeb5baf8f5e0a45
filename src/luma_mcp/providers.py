"""The APIs that videos can be ordered from: their names, addresses and credentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from luma_mcp import errors


@dataclass(frozen=True, slots=True)
class Provider:
    """One API, with the facts that users need.

    Attributes:
        name: as `LUMA_MCP_API` and `Catalog.api` name it.
        title: for texts.
        variable: the environment variable of the credential; `noun`: what the credential is called.
        begins: how a credential begins; `example`: how one looks.
        base_url: where the API is.
        console: the page where a person gets a credential, and sees jobs and bills.
        support: who can investigate a job.
        unit: what a video costs there.
        asset: what an uploaded image is called; `asset_days`: for how long it is kept, if that is documented.
        link_seconds: for how long a link to a file works, if that is documented.
        managed_by: who manages the credential and its account: the user, in the server's environment; the caller,
            who sends a credential along; or the operator of a server that serves many with one account.
    """

    name: str
    title: str
    variable: str
    noun: str
    begins: str
    example: str
    base_url: str
    console: str
    support: str
    unit: str
    asset: str
    asset_days: int | None
    link_seconds: float | None
    managed_by: Literal["user", "caller", "operator"] = "user"

    @property
    def short_noun(self) -> str:
        """Short name of the credential, for texts in which the API is clear."""
        return self.noun.rpartition(" ")[2]

    @property
    def site(self) -> str:
        """The name of the page where a person gets a credential."""
        return self.console.removeprefix("https://")

    @property
    def placeholder(self) -> str:
        """Placeholder for a credential in examples."""
        return f"{self.begins}your-{self.short_noun}-from-{self.site}"


USEAPI = Provider(
    name="useapi",
    title="useapi.net",
    variable="USEAPI_TOKEN",
    noun="API token",
    begins="user:",
    example="user:…",
    base_url="https://api.useapi.net/v1/luma",
    console="https://useapi.net",
    support="useapi.net's support",
    unit="credits",
    asset="assetRef",
    asset_days=30,
    link_seconds=None,
)
AGENTS = Provider(
    name="agents",
    title="Luma's Agents API",
    variable="LUMA_AGENTS_API_KEY",
    noun="API key",
    begins="luma-api-",
    example="luma-api-…",
    base_url="https://agents.lumalabs.ai/v1",
    console="https://platform.lumalabs.ai",
    support="Luma's support (support+luma-agents-api@lumalabs.ai)",
    unit="dollars",
    asset="file id",
    asset_days=None,
    link_seconds=3600.0,
)
PROVIDERS = {provider.name: provider for provider in (USEAPI, AGENTS)}
BY_VARIABLE = {provider.variable: provider for provider in PROVIDERS.values()}


def summarize_error(error: errors.LumaError, provider: Provider) -> str:
    """The summary of an error, in the terms of the API that it comes from."""
    match error:
        case errors.Unauthorized():
            return f"The API does not accept the {provider.short_noun}."
        case errors.PaymentRequired() if provider.unit == "dollars":
            return "The account has too few credits for this order."
        case errors.Capacity() if provider.unit == "dollars":
            return f"As many jobs are running as {provider.title} allows at once for this {provider.short_noun}."
        case errors.NotFound(what="order_input") if provider.unit == "dollars":
            return f"The API does not know a {provider.asset}, or the earlier video, of this order."
        case errors.NotFound(what="asset") if provider.unit == "dollars":
            return f"The API does not know this {provider.asset}."
        case _:
            return error.summary()
