"""What tools advertise of their results.

Some clients check error results against it as well; so `error` is in it, and nothing is required.
"""

from __future__ import annotations

from typing import Any, get_args

from luma_mcp.errors import Kind, Retry

_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


_ERROR = _object(
    {
        "kind": {"type": "string", "enum": list(get_args(Kind))},
        "message": _TEXT,
        "retry": {"type": "string", "enum": list(get_args(Retry))},
        "status": {"type": "integer"},
        "jobid": _TEXT,
        "problems": {
            "type": "array",
            "items": _object(
                {"field": _TEXT, "value": {}, "message": _TEXT, "allowed": {"type": "array", "items": _TEXT}}
            ),
        },
        "suggestion": {"type": "object", "description": "Complete valid arguments."},
    }
)

JOB_OUTPUT = _object(
    {
        "jobid": _TEXT,
        "status": {"type": "string", "description": "The API's own word."},
        "state": {"type": "string", "enum": ["running", "completed", "failed"]},
        "next_step": {"type": "string", "description": "The one thing to do next, while there is one."},
        "request": {"type": "object", "description": "What was ordered, every value explicit, where it is known."},
        "created": _TEXT,
        "updated": _TEXT,
        "elapsed_seconds": _NUMBER,
        "video": _object(
            {
                "url": _TEXT,
                "width": {"type": "integer"},
                "height": {"type": "integer"},
                "duration_seconds": _NUMBER,
                "format": _TEXT,
                "plays_in_browser": {"type": "boolean"},
            }
        ),
        "exr_zip_url": _TEXT,
        "thumbnail_url": _TEXT,
        "last_frame_url": _TEXT,
        "credits_used": _NUMBER,
        "note": _TEXT,
        "error": _ERROR,
    }
)

OPTIONS_OUTPUT = _object(
    {
        "source": _TEXT,
        "models": {"type": "array", "items": {"type": "object"}},
        "parameters": {"type": "object", "description": "All values of each parameter."},
        "defaults": {"type": "object", "description": "Used for what is left out, where they fit."},
        "chosen": {"type": "object", "description": "What was fixed in this call."},
        "allowed": {"type": "object", "description": "The values still possible for the rest."},
        "rules": {"type": "array", "items": _TEXT},
        "typical_seconds": {"type": "object"},
        "output_formats": {"type": "object"},
        "schema": {"type": "object", "description": "generate_video's exact JSON Schema."},
        "error": _ERROR,
    }
)
