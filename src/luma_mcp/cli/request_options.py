"""The options of `generate` that are parameters of a request: those that the API in use offers, from its catalog."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import click

from luma_mcp.catalog import get_catalog
from luma_mcp.catalog.models import Catalog, Choice, ClipInput, Flag, Input
from luma_mcp.cli import messages
from luma_mcp.providers import PROVIDERS, Provider


class AliasChoice(click.Choice[str]):
    """A choice that knows other names of its values."""

    def __init__(self, choice: Choice, aliases: Mapping[str, str]) -> None:
        super().__init__(choice.values)
        self._aliases = aliases

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Get the value that a name stands for."""
        return super().convert(self._aliases.get(value, value), param, ctx)


class KeyframeType(click.ParamType[Any]):
    """An image and its time in the clip: `photo.jpg@2.5`."""

    name = "keyframe"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Split a keyframe at its last `@`: a link may have others."""
        image, _, time = str(value).rpartition("@")
        try:
            seconds = float(time.strip().removesuffix("s"))
        except ValueError:
            seconds = math.nan
        if not image or not math.isfinite(seconds):
            self.fail(messages.not_a_keyframe(value), param, ctx)
        return {"image": image, "seconds": seconds}


def build_options(catalog: Catalog) -> list[click.Option]:
    """Build an option for each parameter that is useful in a terminal. The prompt is an argument."""
    found: list[click.Option] = []
    for name, image in catalog.images.items():
        found.append(click.Option([_flag(name), name], metavar="IMAGE", help=f"{image.about}."))
    for name, row in catalog.inputs.items():
        found.append(_build_input(name, row))
    for name, choice in catalog.choices.items():
        kind = AliasChoice(choice, catalog.aliases.get(name, {}))
        found.append(click.Option([_flag(name), name], type=kind, help=choice.about))
    if email := catalog.texts.get("email"):
        found.append(click.Option(["--email"], help=f"{email.about}."))
    return found


def _build_input(name: str, row: Input) -> click.Option:
    if isinstance(row, Flag):
        # No default: what was left out is not in the request.
        return click.Option([_flag(name), name], is_flag=True, default=None, help=f"{row.about}.")
    if isinstance(row, ClipInput):
        return click.Option([_flag(name), name], metavar="JOBID", help=f"{row.about}.")
    # One option for each item of the list.
    option = _flag(name.removesuffix("s"))
    about = f"{row.about}: give it again for each."
    return click.Option([option, name], type=KeyframeType(), multiple=True, metavar="IMAGE@SECONDS", help=about)


def find_other_api(option: str, provider: Provider) -> Provider | None:
    """Find the API that has an option which the one in use lacks."""
    for other in PROVIDERS.values():
        names = [name for each in build_options(get_catalog(other.name)) for name in each.opts]
        if other != provider and option in names:
            return other
    return None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
