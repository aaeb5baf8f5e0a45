"""JSON schemas of the tools, derived from the catalog.

Hosts differ in what they can read: conditions and unions at the root, `$ref` and nullable types each break one of them.
So the portable input schema is a flat object of typed properties, and states the rules between them in descriptions.
The exact one is JSON Schema 2020-12 with conditions, and accepts a request if and only if `validate` does. Output
schemas describe success and error together, name the fields that programs need most, and require none: some clients
check error results as well, and results contain more.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, get_args

from luma_mcp.api.protocol import JobState
from luma_mcp.catalog.models import (
    INHERITED,
    Catalog,
    Choice,
    ClipInput,
    Condition,
    Flag,
    Implication,
    Input,
    KeyframesInput,
    conflicts,
    implications,
)
from luma_mcp.catalog.validate import count_seconds
from luma_mcp.service import MAX_TAKES, MOST_FRAMES

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
JOBID: Schema = {"type": "string", "minLength": 1, "description": "Exactly as generate_video returned it."}
JOBIDS: Schema = {"type": "array", "items": STRING, "description": "Instead of jobid: several at once."}
_TAKES: Schema = {
    "type": "integer",
    "minimum": 1,
    "maximum": MAX_TAKES,
    "description": "How many videos to choose from; each is billed. If omitted, 1.",
}
FRAMES: Schema = {
    "type": "integer",
    "minimum": 1,
    "maximum": MOST_FRAMES,
    "description": "Show so many frames of the finished video.",
}
_SAVE: Schema = {"type": "boolean", "description": "Also save the video (and the EXR ZIP) as files on this machine."}
_NEW_TAKE: Schema = {"type": "boolean", "description": "Order another one even if an identical order is running."}
_PROMPT = "What the video shows: subject, action, camera, light, mood."


def array(items: Schema) -> Schema:
    """Build the schema of an array."""
    return {"type": "array", "items": items}


def input_object(properties: Schema, required: Iterable[str] = ()) -> Schema:
    """Build the schema of a tool's arguments."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def output_object(properties: Schema, error: Schema = OBJECT) -> Schema:
    """Build the output schema of a tool: its own properties, or `error`."""
    return {"type": "object", "properties": properties | {"error": error}}


# Of the tools whose errors can be about money. All tools together must stay small.
_ERROR: Schema = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("kind", "message", "retry", "charged", "next_action", "next_step", "jobid"), STRING),
        "suggestion": OBJECT,
    },
}

PRICE: Schema = {"price": NUMBER, **dict.fromkeys(("currency", "price_date"), STRING)}
_CREDITS = ("expected_credits", "credits_left", "credits_used")
_JOB_OUTPUT: Schema = {
    **dict.fromkeys(("jobid", "status", "outcome", "charged", "next_action", "next_step", "note"), STRING),
    "warnings": array(STRING),
    "continues": STRING,
    "state": {"type": "string", "enum": list(get_args(JobState))},
    "request": OBJECT,
    "created": STRING,
    **dict.fromkeys(("typical_seconds", "expected_credits"), array(NUMBER)),
    "credits_left": array(OBJECT),
    "cost": STRING,
    "elapsed_seconds": NUMBER,
    "video": {"type": "object", "properties": {"url": STRING, "plays_in_browser": BOOLEAN}},
    **dict.fromkeys(("exr_zip_url", "thumbnail_url", "last_frame_url"), STRING),
    "credits_used": NUMBER,
    "saved_files": array(STRING),
    "contact_sheet": OBJECT,
    "simulated": BOOLEAN,
    **dict.fromkeys(("jobs", "failed_orders"), array(OBJECT)),
}


def job_output(catalog: Catalog, *, saves: bool = True) -> Schema:
    """Build what `generate_video` and `get_job` return: about credits, or about prices where there is a price list.

    `saves`: whether videos can be saved as files.
    """
    properties = dict(_JOB_OUTPUT)
    if not saves:
        del properties["saved_files"]
    if catalog.prices:
        for name in _CREDITS:
            del properties[name]
        properties |= PRICE
    return output_object(properties, _ERROR)


def call_properties(longest_wait: int, *, saves: bool = True, **own: Schema) -> Schema:
    """Build the properties of the arguments about a call for one job: `own` ones first. `longest_wait` in seconds."""
    wait: Schema = {
        "type": "integer",
        "minimum": 0,
        "maximum": longest_wait,
        "description": "Seconds to wait for the video; 0 returns at once. If omitted, as long as your host allows.",
    }
    return own | ({"save": _SAVE} if saves else {}) | {"wait_seconds": wait}


def portable_schema(catalog: Catalog, longest_wait: int, *, saves: bool = True) -> Schema:
    """Build `generate_video`'s input schema for every host."""
    longest = catalog.texts["prompt"].max_length
    prompt = {"type": "string", "minLength": 1, "maxLength": longest, "description": _PROMPT}
    properties: Schema = {"prompt": prompt}
    for name, choice in catalog.choices.items():
        properties[name] = _portable_choice(catalog, name, choice)
    for name in catalog.images:
        properties[name] = {"type": "string", "description": _describe_image(catalog, name)}
    for name, row in catalog.inputs.items():
        sentences = [f"{row.about}.", *_describe_limits(catalog, name)]
        if isinstance(row, ClipInput):
            sentences[0] = f"{row.about}: {row.expects}."
        properties[name] = _input_schema(row) | {"description": " ".join(sentences)}
    for name, text in catalog.texts.items():
        if name != "prompt":
            properties[name] = {"type": "string", "description": f"{text.about}."}
    calling = call_properties(longest_wait, saves=saves, takes=_TAKES, new_take=_NEW_TAKE)
    return input_object(properties | calling, ["prompt"])


def exact_schema(catalog: Catalog, longest_wait: int, *, saves: bool = True) -> Schema:
    """Build `generate_video`'s input schema with every rule, as `LUMA_MCP_SCHEMA=exact` lists it."""
    request = exact_request_schema(catalog)
    calling = call_properties(longest_wait, saves=saves, takes=_TAKES, new_take=_NEW_TAKE)
    return request | {"properties": request["properties"] | calling}


@lru_cache(maxsize=8)
def exact_request_schema(catalog: Catalog) -> Schema:
    """Build the JSON Schema 2020-12 of a request: valid if and only if `validate` finds no problem."""
    properties: Schema = {}
    for name, text in {**catalog.texts, **catalog.images}.items():
        properties[name] = {"type": "string", "pattern": text.pattern, "description": f"{text.about}: {text.expects}."}
        if text.max_length:
            # The pattern and the length say what it takes.
            properties[name]["description"] = f"{text.about}."
            properties[name]["maxLength"] = text.max_length
    for name, choice in catalog.choices.items():
        properties[name] = {"type": "string", "enum": list(choice.values), "description": choice.about}
    for name, row in catalog.inputs.items():
        properties[name] = _input_schema(row, exact=True) | {"description": f"{row.about}."}
        if isinstance(row, KeyframesInput):
            longest = max(map(count_seconds, catalog.choices["duration"].values))
            properties[name]["items"]["properties"]["seconds"] |= {"minimum": 0, "maximum": longest}
    return input_object(properties, ["prompt"]) | {"allOf": _build_conditions(catalog)}


def _build_conditions(catalog: Catalog) -> list[Schema]:
    """Build the rules between parameters as conditions."""
    rules: dict[Condition, Schema] = {}
    for rule in implications(catalog):
        consequences = rules.setdefault(rule.when, {})
        if rule.values:
            consequences[rule.name] = {"enum": list(rule.values)}
        else:
            # A schema of False forbids the property; a flag may still be off.
            consequences[rule.name] = {"const": False} if _is_flag(catalog, rule.name) else False
    _add_keyframe_times(catalog, rules)
    conditions: list[Schema] = []
    for when, consequences in rules.items():
        condition: Schema = {"required": [name for name, _ in when]}
        constants: Schema = {}
        for name, value in when:
            if value is not True or _is_flag(catalog, name):
                constants[name] = {"const": value}
        if constants:
            condition["properties"] = constants
        conditions.append({"if": condition, "then": {"properties": consequences}})
    return conditions


def _is_flag(catalog: Catalog, name: str) -> bool:
    return isinstance(catalog.params[name], Flag)


def _input_schema(row: Input, *, exact: bool = False) -> Schema:
    """Build the schema of an input, without its description; with `exact`, with all limits of its own."""
    if isinstance(row, Flag):
        return {"type": "boolean"}
    if isinstance(row, ClipInput):
        return {"type": "string", "pattern": row.pattern, "maxLength": row.max_length} if exact else {"type": "string"}
    image: Schema = {"type": "string", "pattern": r"\S"} if exact else {"type": "string"}
    keyframe = input_object({"image": image, "seconds": {"type": "number"}}, ["image", "seconds"])
    return array(keyframe) | ({"minItems": 1, "maxItems": row.max_items} if exact else {})


def _add_keyframe_times(catalog: Catalog, rules: dict[Condition, Schema]) -> None:
    """Add to the rules that no keyframe is later than the longest duration that a condition leaves."""
    durations = catalog.choices["duration"].values
    limits: dict[Condition, tuple[str, ...]] = {(("duration", duration),): (duration,) for duration in durations[:-1]}
    for rule in implications(catalog):
        if rule.name == "duration":
            limits[rule.when] = rule.values
    for name, row in catalog.inputs.items():
        if isinstance(row, KeyframesInput):
            for when, left in limits.items():
                longest = max(map(count_seconds, left))
                time = {"properties": {"seconds": {"maximum": longest}}}
                # Where keyframes are forbidden altogether, that stays.
                rules.setdefault(when, {}).setdefault(name, {"items": time})


def format_rules(catalog: Catalog) -> list[str]:
    """Format the rules between parameters: `image_character: model ray-v3, dynamic_range sdr, no image_start`."""
    consequences: dict[str, list[str]] = {}
    for rule in implications(catalog):
        consequence = f"{rule.name} {' or '.join(rule.values)}" if rule.values else f"no {rule.name}"
        consequences.setdefault(_format_condition(rule), []).append(consequence)
    return [f"{when}: {', '.join(then)}" for when, then in consequences.items()]


def _portable_choice(catalog: Catalog, name: str, choice: Choice) -> Schema:
    schema: Schema = {"type": "string", "enum": list(choice.values)}
    sentences = [f"{choice.about}.", *_describe_values(catalog, name)]
    # Some clients send every default, so one is listed only if it can be combined with everything else, and never takes
    # the place of what an earlier clip or a picture gives.
    has_keyframes = any(isinstance(row, KeyframesInput) for row in catalog.inputs.values())
    is_excluded = any(conflict.get(name) == choice.default for conflict in conflicts(catalog))
    # Late keyframes need a longer clip.
    if is_excluded or (name == "duration" and has_keyframes):
        sentences.append("If omitted, the cheapest that fits.")
    elif name in INHERITED:
        sentences.append(f"If omitted, {choice.default}.")
    else:
        schema["default"] = choice.default
    rules = implications(catalog)
    limits = [f"{_format_condition(rule)}: {', '.join(rule.values)}" for rule in rules if rule.name == name]
    if limits:
        sentences.append(f"With {'; '.join(limits)}.")
    schema["description"] = " ".join(sentences)
    return schema


def _describe_values(catalog: Catalog, name: str) -> list[str]:
    """Describe the values of a choice where their names do not explain them."""
    if name == "model":
        return [f"{model.name}: {model.about}." for model in catalog.models]
    if name == "resolution":
        typical = catalog.typical_seconds.items()
        times = [f"{resolution} {(low + high) / 2:.0f} s" for resolution, (low, high) in typical]
        return [f"Typical time: {', '.join(times)}."]
    if name == "dynamic_range":
        playable = [value for value, output in catalog.outputs.items() if output.plays_in_browser]
        frames = catalog.outputs["hdr_exr"].format.rpartition(" and ")[2]
        return [f"Only {' and '.join(playable)} plays in browsers; hdr_exr adds {frames}."]
    return []


def _describe_image(catalog: Catalog, name: str) -> str:
    """Describe an image: what it takes, what it needs, and what it excludes."""
    image = catalog.images[name]
    sentences = [f"{image.about}: {image.expects}."]
    if image.frames:
        sentences.append(f"A jobid stands for its {image.frames[0].replace('_', ' ')}.")
    if name == "image_start":
        sentences.append("Omitted options are as in that video; the picture gives the shape.")
    return " ".join([*sentences, *_describe_limits(catalog, name)])


def _describe_limits(catalog: Catalog, name: str) -> list[str]:
    """Describe what an image or input needs, and what it excludes."""
    rules = [rule for rule in implications(catalog) if rule.when == ((name, True),)]
    needs = [f"{rule.name} {' or '.join(rule.values)}" for rule in rules if rule.values]
    excludes = [rule.name for rule in rules if not rule.values]
    sentences: list[str] = []
    if needs:
        sentences.append(f"Only with {' and '.join(needs)}.")
    if excludes:
        sentences.append(f"Not with {' or '.join(excludes)}.")
    return sentences


def _format_condition(rule: Implication) -> str:
    return " and ".join(name if value is True else str(value) for name, value in rule.when)
