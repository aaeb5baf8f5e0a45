"""The simulated service's answers in the API's shapes, and the media behind their URLs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luma_mcp.simulator.state import CREDITS, timestamp

if TYPE_CHECKING:
    from luma_mcp.simulator.state import Service, SimulatedAccount, SimulatedJob

MEDIA = Path(__file__).parent / "media"
"""Made by `scripts/simulator_media.py`: small files of the right shape, not of the size that was asked for."""
SIZES = {
    "9:16": (216, 384),
    "3:4": (288, 384),
    "1:1": (320, 320),
    "4:3": (384, 288),
    "16:9": (384, 216),
    "21:9": (448, 192),
}
SECONDS = {"5s": 5.04, "10s": 10.04}


def created_record(job: SimulatedJob) -> dict[str, Any]:
    """The answer of `POST /videos`."""
    record = {"jobid": job.jobid, "type": "video", "status": "created", "created": timestamp(job.created)}
    return record | {"request": job.request}


def job_record(service: Service, job: SimulatedJob, media_url: str) -> dict[str, Any]:
    """The answer of `GET /jobs/{jobid}`. It does not repeat the request, as the API's does not."""
    status = service.status(job)
    finished = status in ("completed", "failed")
    record: dict[str, Any] = {
        "jobid": job.jobid,
        "type": "video",
        "status": status,
        "created": timestamp(job.created),
        "updated": timestamp(job.created + timedelta(seconds=job.seconds)) if finished else None,
        "response": None,
        "credits": None,
    }
    if status == "failed":
        record["error"] = job.fails
    if status == "completed":
        record["response"] = _outputs(job, f"{media_url}/{job.key}")
        record["credits"] = {"dm_usage": CREDITS[job.request["resolution"]], "dm_relaxed_usage": None}
    return record


def _outputs(job: SimulatedJob, url: str) -> dict[str, Any]:
    ratio, duration = job.request["aspect_ratio"], job.request["duration"]
    grade = "sdr" if job.request["dynamic_range"] == "sdr" else "hdr"
    width, height = SIZES[ratio]
    stem = ratio.replace(":", "x")
    size = {"width": width, "height": height}
    zipped = {"media_type": "application/zip", "url": f"{url}/frames-exr.zip"}
    return {
        "video": {
            "media_type": "video/mp4",
            "url": f"{url}/{stem}-{duration}-{grade}.mp4",
            **size,
            "duration": SECONDS[duration],
        },
        "video_hdr_exr": zipped if job.request["dynamic_range"] == "hdr_exr" else None,
        "thumbnail": {"media_type": "image/jpeg", "url": f"{url}/{stem}-thumbnail.jpg", **size},
        "last_frame": {"media_type": "image/jpeg", "url": f"{url}/{stem}-last_frame.jpg", **size},
    }


def executing_record(service: Service) -> dict[str, Any]:
    """The answer of `GET /jobs`."""
    rows = []
    for job in service.executing():
        row = {"jobid": job.jobid, "type": "video", "account": job.email, "model": job.request["model"]}
        row["created"] = timestamp(job.created)
        rows.append(row | ({"replyUrl": "configured"} if job.webhook else {}))
    return {"executing": len(rows), "jobs": rows}


def account_record(service: Service, account: SimulatedAccount, *, live: bool = False) -> dict[str, Any]:
    """A row of `GET /accounts`; with `live`, the answer of `GET /accounts/{email}`."""
    now = service.wall_clock()
    record: dict[str, Any] = {
        "account": account.email,
        "email": account.email,
        "user_id": account.user_id,
        "concurrency": account.concurrency,
        "luma_session_expires": f"{now + timedelta(days=20):%Y-%m-%d}",
        "updated": f"{now:%Y-%m-%d %H:%M:%S} UTC",
        "executing": len(service.executing(account.email)),
    }
    if not account.session_valid:
        record["error"] = "Session expired"
    if live:
        record |= {"sessionValid": account.session_valid, "credits": {"usage": 1200, "limit": 10000}}
    return record
