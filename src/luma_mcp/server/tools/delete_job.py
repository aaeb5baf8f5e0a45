"""`delete_job`: delete a finished job."""

from __future__ import annotations

from typing import Any

from luma_mcp.errors import LumaError
from luma_mcp.server import messages, schemas
from luma_mcp.server.results import build_result
from luma_mcp.server.schemas import BOOLEAN, STRING, array
from luma_mcp.server.tools import CallToolResult, Context, ServerContext, Tool, build_tool
from luma_mcp.server.tools.get_job import parse_job_arguments
from luma_mcp.text import without_none

DESCRIPTION = (
    "Delete a finished job: its links stop working, saved files stay. Ask the user first. Nothing stops a running job."
)
WITHOUT_SAVING = "Delete a finished job: its links stop working. Ask the user first. Nothing stops a running job."
WITH_STORE = (
    "Delete a finished job; a copy in this server's storage stays. Ask the user first. Nothing stops a running job."
)


def definition(context: ServerContext) -> Tool:
    """Build the tool."""
    output = {"jobid": STRING, "deleted": BOOLEAN, "saved_files": array(STRING), "note": STRING}
    description = DESCRIPTION
    if not context.settings.has_local_files:
        description = WITH_STORE if context.settings.store else WITHOUT_SAVING
        del output["saved_files"]
    return build_tool(
        context,
        handle,
        name="delete_job",
        title="Delete a finished video job",
        description=description,
        input_schema=schemas.input_object({"jobid": schemas.JOBID}, ["jobid"]),
        output_schema=schemas.output_object(output),
        # Idempotent as well: a job that is already gone is a success.
        destructive=True,
    )


async def handle(context: ServerContext, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:  # noqa: ARG001
    """Delete the job."""
    service = context.require_service()
    jobid, _ = parse_job_arguments(context, raw, ())
    try:
        deleted = await service.delete(jobid)
    except LumaError as error:
        error.jobid = error.jobid or jobid
        raise
    note = messages.deleted_note(
        deleted.saved_files,
        was_known=deleted.was_known,
        saves=context.settings.has_local_files,
        is_stored=deleted.is_stored,
    )
    content = {"jobid": jobid, "deleted": True, "note": note, "saved_files": list(deleted.saved_files) or None}
    return build_result(note, without_none(content))
