"""How commands refuse: options that would be without effect, and words that a terminal would obey."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

BEFORE_A_COMMAND = "{option} stands behind the command, not before it."
NOT_OVER_HTTP = "{option} goes with --http, which is missing."
NOT_SIMULATED = "{option} goes with --simulate, which is missing."


class Plain(click.Group):
    """Whatever a command ends with: what came from the API in it is shown, and not obeyed by the terminal."""

    def invoke(self, context: click.Context) -> Any:
        """Runs the command.

        Raises:
            click.ClickException: as the command has raised it, but plain.
        """
        try:
            return super().invoke(context)
        except click.ClickException as error:
            from luma_mcp.api.useapi.responses import plain

            error.message = plain(error.message)  # type: ignore[misc]  # click prints this very one
            raise


def refuse(context: click.Context, why: str, *options: str) -> None:
    """Refuses options that would be without effect.

    Raises:
        click.UsageError: one was given; `why` with its name.
    """
    for name in options:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(why.format(option=f"--{name}"), context)
