"""Tool schemas, derived from the matrix: a portable one that every host accepts, and an exact one.

Hosts differ in what they can read (conditions and unions at the root, `$ref`, nullable types each break one
of them). So the portable schema has nothing but a flat object of typed properties, and tells the rules
between them in its descriptions. The exact one is JSON Schema 2020-12 with conditions, and accepts a request
if and only if `check` does.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from luma_mcp.catalog.rules import Implication, conflicts, implications
from luma_mcp.catalog.useapi import CHOICES, FRAMES, IMAGES, MODELS, TEXTS, TYPICAL_SECONDS, Choice
from luma_mcp.server.call_options import DEFAULT_LIMIT, LIMIT, NEW_TAKE, SAVE, SCHEMA, STATE, STATES, WAIT
from luma_mcp.service.states import MOST

Schema = dict[str, Any]

PROMPT = "What the video shows: subject, action, camera, light, mood."
OPTIONS = ("model", "resolution", "duration", "dynamic_range")
"""What `list_options` can be asked to fix."""


def portable_schema(longest_wait: int) -> Schema:
    """`generate_video`'s input schema for every host."""
    properties: Schema = {
        "prompt": {"type": "string", "minLength": 1, "maxLength": TEXTS["prompt"].max_length, "description": PROMPT}
    }
    properties |= {name: _choice(name, choice) for name, choice in CHOICES.items()}
    properties |= {name: _image(name) for name in IMAGES}
    properties |= {n: {"type": "string", "description": f"{TEXTS[n].about}."} for n in TEXTS if n != "prompt"}
    return _object(properties | _about_call(longest_wait), ["prompt"])


def get_job_schema(longest_wait: int) -> Schema:
    """`get_job`'s input schema."""
    about_call = {name: rule for name, rule in _about_call(longest_wait).items() if name != NEW_TAKE}
    return _object(_JOBID | about_call, ["jobid"])


def list_jobs_schema() -> Schema:
    """`list_jobs`' input schema."""
    limit = {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT, "description": "Most to list."}
    state = {"type": "string", "enum": list(STATES), "description": "Only these. unknown: its answer was lost."}
    return _object({LIMIT: limit, STATE: state}, [])


def delete_job_schema() -> Schema:
    """`delete_job`'s input schema."""
    return _object(_JOBID, ["jobid"])


def list_options_schema() -> Schema:
    """`list_options`' input schema."""
    properties: Schema = {
        n: {"type": "string", "enum": list(CHOICES[n].values), "description": f"{CHOICES[n].about} to fix."}
        for n in OPTIONS
    }
    properties[SCHEMA] = {"type": "boolean", "description": "Also return generate_video's exact JSON Schema."}
    return _object(properties, [])


@cache
def exact_request_schema() -> Schema:
    """JSON Schema 2020-12 of a request: valid if and only if `check` finds no problem."""
    properties: Schema = {}
    for name, text in {**TEXTS, **IMAGES}.items():
        properties[name] = {"type": "string", "pattern": text.pattern, "description": f"{text.about}: {text.expects}."}
        if text.max_length:
            properties[name]["maxLength"] = text.max_length
    properties |= {n: {"type": "string", "enum": list(c.values), "description": c.about} for n, c in CHOICES.items()}
    return _object(properties, ["prompt"]) | {"allOf": _conditions()}


def exact_schema(longest_wait: int) -> Schema:
    """The exact schema with the tool's own parameter, as `LUMA_MCP_SCHEMA=exact` advertises it."""
    request = exact_request_schema()
    return request | {"properties": request["properties"] | _about_call(longest_wait)}


_JOBID: Schema = {"jobid": {"type": "string", "minLength": 1, "description": "Exactly as generate_video returned it."}}


def _about_call(longest_wait: int) -> Schema:
    """The parameters that say nothing of the video."""
    return {
        SAVE: {"type": "boolean", "description": "Also save the video (and the EXR ZIP) as files on this machine."},
        NEW_TAKE: {"type": "boolean", "description": "Order another even if the same order is running."},
        WAIT: {
            "type": "integer",
            "minimum": 0,
            "maximum": longest_wait,
            "description": "Seconds to wait for the video; 0 returns at once. If omitted, what your host allows.",
        },
    }


_MORE = {
    "model": "".join(f" {m.name}: {m.about}." for m in MODELS),
    "resolution": f" Typical time: {', '.join(f'{r} {sum(t) / 2:.0f} s' for r, t in TYPICAL_SECONDS.items())}.",
    "dynamic_range": " Only sdr plays in browsers; hdr_exr adds a ZIP of EXR frames.",
}


def _object(properties: Schema, required: list[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _choice(name: str, choice: Choice) -> Schema:
    """A default is advertised only where it fits everything else: some clients fill defaults in by themselves."""
    schema: Schema = {"type": "string", "enum": list(choice.values)}
    about = f"{choice.about}.{_MORE.get(name, '')}"
    if any(c.get(name) == choice.default for c in conflicts()):
        about += " If omitted, the cheapest that fits."
    else:
        schema["default"] = choice.default
    limits = "; ".join(f"{_spoken(i)}: {', '.join(i.values)}" for i in implications() if i.name == name)
    return schema | {"description": f"{about} With {limits}." if limits else about}


def _image(name: str) -> Schema:
    """An image's rules are told from its side: what it needs, and what it excludes."""
    rules = [i for i in implications() if i.when == ((name, True),)]
    needs = " and ".join(f"{i.name} {' or '.join(i.values)}" for i in rules if i.values)
    excludes = " or ".join(i.name for i in rules if not i.values)
    frame = FRAMES[name][0].replace("_", " ")
    about = f"{IMAGES[name].about}: {IMAGES[name].expects}. A jobid stands for its {frame}."
    about += f" Only with {needs}." if needs else ""
    return {"type": "string", "description": about + (f" Not with {excludes}." if excludes else "")}


def restrictions() -> list[str]:
    """The rules between parameters in words: `image_character: model ray-v3, dynamic_range sdr, no image_start`."""
    spoken: dict[str, list[str]] = {}
    for rule in implications():
        then = f"{rule.name} {' or '.join(rule.values)}" if rule.values else f"no {rule.name}"
        spoken.setdefault(_spoken(rule), []).append(then)
    return [f"{when}: {', '.join(then)}" for when, then in spoken.items()]


def _spoken(rule: Implication) -> str:
    return " and ".join(name if value is True else str(value) for name, value in rule.when)


def _conditions() -> list[Schema]:
    """The rules between parameters, as `if` and `then`."""
    found: dict[tuple[tuple[str, str | bool], ...], Schema] = {}
    for rule in implications():
        found.setdefault(rule.when, {})[rule.name] = {"enum": list(rule.values)} if rule.values else False
    return [{"if": _chosen(when), "then": {"properties": then}} for when, then in found.items()]


def _chosen(when: tuple[tuple[str, str | bool], ...]) -> Schema:
    constants = {name: {"const": value} for name, value in when if value is not True}
    return {"required": [name for name, _ in when]} | ({"properties": constants} if constants else {})
