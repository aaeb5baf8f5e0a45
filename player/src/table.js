/** Generated from src/luma_mcp/catalog/, providers.py and errors.py by `make docs`. */

/**
 * What is known of each API.
 *
 * - `variable`, `noun`, `console`: its credential, and where a person gets one.
 * - `typical`: when videos usually finish, [earliest, latest] in seconds, by resolution.
 * - `cheapest`: the resolution of a request that names none, by its model and dynamic range.
 * - `defaults`: the defaults that decide it.
 * - `inputs`: the images and other inputs.
 * - `formats`: what each dynamic range delivers; `playsInBrowser`: whether browsers play it.
 */
export const APIS = {
  "useapi": {
    "variable": "USEAPI_TOKEN",
    "noun": "API token",
    "console": "useapi.net",
    "typical": {"draft": [30, 60], "540p": [68, 112], "720p": [90, 150], "1080p": [135, 225]},
    "cheapest": {"ray-v3-flash sdr": "draft", "ray-v3-flash hdr": "540p", "ray-v3-flash hdr_exr": "540p", "ray-v3 sdr": "draft", "ray-v3 hdr": "540p", "ray-v3 hdr_exr": "540p", "ray-v3-reasoning sdr": "720p", "ray-v3-reasoning hdr": "720p", "ray-v3-reasoning hdr_exr": "720p"},
    "defaults": {"model": "ray-v3-flash", "dynamic_range": "sdr"},
    "inputs": ["image_start", "image_end", "image_character"],
    "formats": {"sdr": "H.264 MP4", "hdr": "HEVC Main 10, BT.2020, HDR10 (PQ) MP4", "hdr_exr": "HEVC Main 10, BT.2020, HDR10 (PQ) MP4 and a ZIP of EXR frames"},
    "playsInBrowser": {"sdr": true, "hdr": false, "hdr_exr": false},
  },
  "agents": {
    "variable": "LUMA_AGENTS_API_KEY",
    "noun": "API key",
    "console": "platform.lumalabs.ai",
    "typical": {"360p": [20, 60], "540p": [30, 90], "720p": [40, 120], "1080p": [60, 240]},
    "cheapest": {"ray-3.2 sdr": "360p", "ray-3.2 hdr": "720p", "ray-3.2 hdr_exr": "720p"},
    "defaults": {"model": "ray-3.2", "dynamic_range": "sdr"},
    "inputs": ["image_start", "image_end", "keyframes", "extend", "loop"],
    "formats": {"sdr": "MP4", "hdr": "HDR MP4", "hdr_exr": "HDR MP4 and EXR frames"},
    "playsInBrowser": {"sdr": true, "hdr": false, "hdr_exr": false},
  },
};

/** The choices of a request, in the order in which they are shown. */
export const CHOICES = ["model", "resolution", "aspect_ratio", "duration", "dynamic_range"];

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
