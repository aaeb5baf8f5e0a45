"""Builds the bodies of orders for Luma's Agents API. Pure.

Source: the parameter types of the official SDK `luma-agents` 0.5.0.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from luma_mcp.api.protocol import VideoRequest
from luma_mcp.catalog.validate import count_seconds

# Places of keyframes in a second.
PER_SECOND = 24


def build_body(request: VideoRequest) -> dict[str, Any]:
    """Build the body of `POST /generations` from a complete request.

    `type` and `model` are always stated: left out, they order a picture. First and last frames exist for SDR videos of
    5 s. For all others they are keyframes at the beginning and at the end.
    """
    video: dict[str, Any] = {"resolution": request.resolution, "duration": request.duration}
    if request.dynamic_range in ("hdr", "hdr_exr"):
        video["hdr"] = True
    if request.dynamic_range == "hdr_exr":
        video["exr_export"] = True
    if request.loop:
        video["loop"] = True
    video |= _build_pictures(request)
    if request.extend:
        # An earlier generation as the first frame means its continuation.
        video["start_frame"] = {"generation_id": request.extend}
    return {
        "model": request.model,
        "type": "video",
        "prompt": request.prompt,
        "aspect_ratio": request.aspect_ratio,
        "video": video,
    }


def _build_pictures(request: VideoRequest) -> dict[str, Any]:
    """Build the fields for the pictures of a request: frames, or keyframes with their places."""
    fields: dict[str, Any] = {}
    frames: dict[str, str] = {}
    if request.image_start:
        frames["start_frame"] = request.image_start
    if request.image_end:
        frames["end_frame"] = request.image_end
    pictures: dict[int, str] = {}
    for keyframe in request.keyframes or ():
        pictures[round(keyframe.seconds * PER_SECOND)] = keyframe.image
    if frames and request.dynamic_range == "sdr" and request.duration == "5s":
        for name, picture in frames.items():
            fields[name] = build_reference(picture)
    elif frames:
        places = {"start_frame": 0, "end_frame": count_seconds(request.duration or "5s") * PER_SECOND}
        for name, picture in frames.items():
            pictures[places[name]] = picture
    if pictures:
        fields["keyframe_indexes"] = sorted(pictures)
        fields["keyframes"] = [build_reference(pictures[index]) for index in fields["keyframe_indexes"]]
    return fields


def build_reference(picture: str) -> dict[str, str]:
    """Build the reference to a picture: an uploaded file's id, or else a link."""
    try:
        UUID(picture)
    except ValueError:
        return {"url": picture}
    return {"file_id": picture}
