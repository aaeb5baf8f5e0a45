"""Delay until a finished job is detected, and number of polls, compared with fixed intervals.

    python benchmarks/polling.py

Simulates jobs with a fake clock, each followed from its creation to the first poll that finds it finished: draft 30 to
60 s, 540p around 90, 720p around 120, 1080p around 180, each ±25 % evenly; 5 % of all are outliers of 0.4 to 2.5 times
that. A poll takes no time. Exits with 1 if the schedule misses its targets: no more polls than the 5 s interval, at
most half its mean lag, and a 99th percentile of at most 6 s.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable, Iterator

from luma_mcp.api.polling import next_poll_delay
from luma_mcp.catalog.useapi import USEAPI

JOBS = 20_000
SPANS = {"draft": (30, 60), "540p": (67.5, 112.5), "720p": (90, 150), "1080p": (135, 225)}

Schedule = Callable[[str, float], float]
"""Returns the seconds to the next poll, from a job's resolution and its age."""


def jobs(rng: random.Random) -> Iterator[tuple[str, float]]:
    """Yield resolutions in turn, each with the seconds that one such job takes."""
    resolutions = list(SPANS)
    for number in range(JOBS):
        resolution = resolutions[number % len(SPANS)]
        stretch = 1.0
        if rng.random() < 0.05:
            stretch = rng.uniform(0.4, 2.5)
        yield resolution, rng.uniform(*SPANS[resolution]) * stretch


def follow(schedule: Schedule, resolution: str, seconds: float) -> tuple[float, int]:
    """Return the lag from the job's end to the poll that detects it, and the number of polls."""
    now, polls = 0.0, 0
    while now < seconds:
        now += schedule(resolution, now)
        polls += 1
    return now - seconds, polls


def measure(name: str, schedule: Schedule) -> tuple[float, float, float]:
    """Print a row, and return the mean lag, the 99th percentile of the lag, and the polls per job."""
    results = [follow(schedule, resolution, seconds) for resolution, seconds in jobs(random.Random(2026))]
    lags = sorted(lag for lag, _ in results)
    mean, percentile = statistics.fmean(lags), lags[int(len(lags) * 0.99)]
    polls = statistics.fmean(count for _, count in results)
    print(f"{name:<22}{mean:>10.2f} s{percentile:>12.2f} s{lags[-1]:>10.2f} s{polls:>14.2f}")
    return mean, percentile, polls


def main() -> int:
    """Print the table; return 0 if the schedule meets its targets."""
    print(f"{JOBS} jobs{'':<12}{'mean lag':>12}{'99 % below':>14}{'worst':>12}{'polls per job':>14}")
    ours = measure("adaptive", lambda resolution, age: next_poll_delay(age, USEAPI.typical_seconds[resolution]))
    measure("adaptive, kind unknown", lambda _, age: next_poll_delay(age, None))
    five = measure("every 5 s", lambda *_: 5.0)
    measure("every 10 s", lambda *_: 10.0)
    lag, polls = ours[0] / five[0], ours[2] / five[2]
    print(f"\ncompared with every 5 s: {lag:.2f} of the mean lag with {polls:.2f} of the polls")
    if lag <= 0.5 and ours[1] <= 6.0 and polls <= 1.0:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
