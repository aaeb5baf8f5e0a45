"""What tools advertise of their results.

Some clients check error results against it as well; so `error` is in it, and nothing is required.
"""

from __future__ import annotations

from typing import Any, get_args

from luma_mcp.errors import Kind, Retry
from luma_mcp.service.states import ListedState

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
        "running": {"type": "array", "items": _TEXT, "description": "Jobs that hold the slots."},
        "deletable": {"type": "array", "items": _TEXT, "description": "Finished jobs that delete_job can remove."},
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
        "typical_seconds": {
            "type": "array",
            "items": _NUMBER,
            "description": "Most such jobs end from then until then.",
        },
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
        "saved_files": {"type": "array", "items": _TEXT, "description": "Absolute paths."},
        "save_problem": _TEXT,
        "assets": {"type": "object", "description": "assetRefs of the images, to use again within 30 days."},
        "image_changes": {"type": "object", "description": "What was done to which picture."},
        "note": _TEXT,
        "error": _ERROR,
    }
)

LIST_OUTPUT = _object(
    {
        "jobs": {
            "type": "array",
            "items": _object(
                {
                    "jobid": _TEXT,
                    "state": {"type": "string", "enum": list(get_args(ListedState))},
                    "created": _TEXT,
                    "prompt": _TEXT,
                    "model": _TEXT,
                    "resolution": _TEXT,
                    "aspect_ratio": _TEXT,
                    "duration": _TEXT,
                    "dynamic_range": _TEXT,
                    "account": _TEXT,
                    "elapsed_seconds": _NUMBER,
                    "saved_files": {"type": "array", "items": _TEXT},
                    "reason": {"type": "string", "description": "Why it failed."},
                    "deleted": {"type": "boolean", "description": "Its slot was freed."},
                }
            ),
        },
        "accounts": {
            "type": "array",
            "items": _object(
                {"email": _TEXT, "slots": {"type": "integer"}, "in_use": {"type": "integer"}, "problem": _TEXT}
            ),
        },
        "problem": {"type": "string", "description": "What could not be asked."},
        "next_step": _TEXT,
        "note": _TEXT,
        "error": _ERROR,
    }
)

DELETE_OUTPUT = _object(
    {
        "jobid": _TEXT,
        "deleted": {"type": "boolean"},
        "saved_files": {"type": "array", "items": _TEXT},
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
        "typical_seconds": {"type": "object", "description": "By resolution: most jobs end from then until then."},
        "typical_seconds_measured": {
            "type": "array",
            "items": _TEXT,
            "description": "Of these the times were measured on this machine.",
        },
        "output_formats": {"type": "object"},
        "schema": {"type": "object", "description": "generate_video's exact JSON Schema."},
        "error": _ERROR,
    }
)
