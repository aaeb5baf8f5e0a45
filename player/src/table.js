/** Generated from src/luma_mcp/catalog/ and src/luma_mcp/errors.py by `make docs`. */

/** When videos usually finish: [earliest, latest] in seconds, by resolution. */
export const TYPICAL = {"draft": [30, 60], "540p": [68, 112], "720p": [90, 150], "1080p": [135, 225]};

/** The resolution of a request that names none, by its model and dynamic range. */
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

/** The defaults that decide the cheapest resolution. */
export const DEFAULTS = {"model": "ray-v3-flash", "dynamic_range": "sdr"};

/** The choices of a request, in the order in which they are shown. */
export const CHOICES = ["model", "resolution", "aspect_ratio", "duration", "dynamic_range"];

/** The image inputs. */
export const IMAGES = ["image_start", "image_end", "image_character"];

/** Whether browsers play a video, by its dynamic range. */
export const PLAYS_IN_BROWSER = {"sdr": true, "hdr": false, "hdr_exr": false};

/** Every kind of error. */
export const KINDS = [
  "invalid_arguments",
  "not_configured",
  "unauthorized",
  "payment_required",
  "forbidden",
  "access_denied",
  "not_found",
  "conflict",
  "moderated",
  "capacity",
  "limit_reached",
  "budget_reached",
  "journal_unavailable",
  "account_session",
  "upstream",
  "network",
  "outcome_unknown",
  "job_failed",
  "download_failed"
];
