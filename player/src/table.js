/** Generated from src/luma_mcp/matrix.py and src/luma_mcp/errors.py: make docs. */

/** From when until when a video usually ends, in seconds, by its resolution. */
export const TYPICAL = {"draft": [30, 60], "540p": [68, 112], "720p": [90, 150], "1080p": [135, 225]};

/** The resolution of an order that names none, by its model and dynamic range. */
export const CHEAPEST = {
  "ray-v3-flash sdr": "draft",
  "ray-v3-flash hdr": "540p",
  "ray-v3-flash hdr_exr": "540p",
  "ray-v3 sdr": "draft",
  "ray-v3 hdr": "540p",
  "ray-v3 hdr_exr": "540p",
  "ray-v3-reasoning sdr": "720p",
  "ray-v3-reasoning hdr": "720p",
  "ray-v3-reasoning hdr_exr": "720p"
};

export const DEFAULTS = {"model": "ray-v3-flash", "dynamic_range": "sdr"};

/** Every kind of error. */
export const KINDS = [
  "invalid_arguments",
  "not_configured",
  "unauthorized",
  "payment_required",
  "forbidden",
  "not_found",
  "conflict",
  "moderated",
  "capacity",
  "limit_reached",
  "account_session",
  "upstream",
  "network",
  "outcome_unknown",
  "job_failed"
];
