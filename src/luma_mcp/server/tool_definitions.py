"""The tools as they are advertised: names, schemas, hints, icons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.types import ToolAnnotations
from pydantic import ConfigDict

from luma_mcp.server import output_schemas, schemas
from luma_mcp.server.confirmation import Questions, asks_first
from luma_mcp.server.icons import icons
from luma_mcp.server.ui import player_meta

if TYPE_CHECKING:
    from luma_mcp.server.confirmation import Handler
    from luma_mcp.server.tools import Tools
    from luma_mcp.settings import Settings

GENERATE_VIDEO = (
    "Make a video from a text prompt, optionally from images. Costs credits: call once per video. Returns the video's "
    "link, or a jobid for get_job if it is not ready within wait_seconds. Impossible combinations are refused before "
    "anything is spent, with one that works. The same order again while it runs returns the running job."
)
GET_JOB = "Look at a video job and wait for it, or save its files. Free; use it until the video is ready."
LIST_JOBS = "List running jobs and those ordered from this machine, newest first, and the slots in use. Free."
DELETE_JOB = "Remove a finished job, and free its slot. A running job can be neither stopped nor deleted. Files stay."
LIST_OPTIONS = (
    "What generate_video can make: models, resolutions, durations, dynamic ranges, image inputs, defaults and usual "
    "times. Fix some values to see what still goes with them. Free."
)


class RawArguments(ArgModelBase):
    """Takes whatever a client sends and hands it to the tool whole; the tool words every refusal itself."""

    model_config = ConfigDict(extra="allow")

    def model_dump_one_level(self) -> dict[str, Any]:
        """The tool function's keyword arguments."""
        return {"raw": dict(self.__pydantic_extra__ or {})}


def tools(settings: Settings, calls: Tools) -> list[Tool]:
    """All of them."""
    longest = settings.max_wait_seconds
    schema = schemas.exact_schema if settings.schema == "exact" else schemas.portable_schema
    return [
        _tool(
            calls.generate_video,
            title="Make a video",
            description=GENERATE_VIDEO,
            input_schema=schema(longest),
            output_schema=output_schemas.JOB_OUTPUT,
            # Not destructive: it only ever adds a job; not idempotent: each call orders, and bills, another one.
            annotations=_hints(idempotent=False),
            meta=player_meta(),
            questions=Questions(settings, calls.studio) if settings.confirm != "never" else None,
        ),
        _tool(
            calls.get_job,
            title="Look at a video job",
            description=GET_JOB,
            input_schema=schemas.get_job_schema(longest),
            output_schema=output_schemas.JOB_OUTPUT,
            # Free, but it may save files.
            annotations=_hints(),
            meta=player_meta(),
        ),
        _tool(
            calls.list_jobs,
            title="List video jobs",
            description=LIST_JOBS,
            input_schema=schemas.list_jobs_schema(),
            output_schema=output_schemas.LIST_OUTPUT,
            annotations=_hints(read_only=True),
        ),
        _tool(
            calls.delete_job,
            title="Delete a finished video job",
            description=DELETE_JOB,
            input_schema=schemas.delete_job_schema(),
            output_schema=output_schemas.DELETE_OUTPUT,
            annotations=_hints(destructive=True),
        ),
        _tool(
            calls.list_options,
            title="List video options",
            description=LIST_OPTIONS,
            input_schema=schemas.list_options_schema(),
            output_schema=output_schemas.OPTIONS_OUTPUT,
            annotations=_hints(read_only=True, open_world=False),
        ),
    ]


def _hints(
    *, read_only: bool = False, destructive: bool = False, idempotent: bool = True, open_world: bool = True
) -> ToolAnnotations:
    return ToolAnnotations(
        read_only_hint=read_only, destructive_hint=destructive, idempotent_hint=idempotent, open_world_hint=open_world
    )


def _tool(
    function: Handler,
    *,
    title: str,
    description: str,
    input_schema: dict[str, Any],
    output_schema: dict[str, Any],
    annotations: ToolAnnotations,
    meta: dict[str, Any] | None = None,
    questions: Questions | None = None,
) -> Tool:
    """A tool with the schemas that are given, taking its arguments raw."""
    about: dict[str, Any] = {
        "title": title,
        "description": description,
        "annotations": annotations,
        "icons": icons(function.__name__),
        "meta": meta,
        "parameters": input_schema,
        "fn_metadata": FuncMetadata(arg_model=RawArguments, output_schema=output_schema),
    }
    if questions:
        return Tool.from_function(asks_first(function, questions), structured_output=False).model_copy(update=about)
    return Tool(fn=function, name=function.__name__, is_async=True, context_kwarg="ctx", **about)
