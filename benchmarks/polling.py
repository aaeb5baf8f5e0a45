"""How late a finished job is seen, and how often the API is asked, beside loops with a fixed pace.

    python benchmarks/polling.py

Simulates jobs with a fake clock, each watched from its creation to the first look that finds it finished:
draft 30 to 60 s, 540p around 90, 720p around 120, 1080p around 180, each ±25 % evenly; 5 % of all are
outliers of 0.4 to 2.5 times that. A look takes no time. Exits with 1 if the schedule misses its marks:
no more looks than the 5 s loop, at most half its mean lag, and a 99th percentile of at most 6 s.
"""

from __future__ import annotations

import random
import statistics
import sys
from typing import TYPE_CHECKING

from luma_mcp.api.polling import next_poll_delay
from luma_mcp.catalog.useapi import TYPICAL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JOBS = 20_000
SPANS = {"draft": (30, 60), "540p": (67.5, 112.5), "720p": (90, 150), "1080p": (135, 225)}
Pace = "Callable[[str, float], float]"


def jobs(chance: random.Random) -> Iterator[tuple[str, float]]:
    """Kinds in turn, each with the seconds that one such job takes."""
    for number in range(JOBS):
        kind = list(SPANS)[number % len(SPANS)]
        stretch = chance.uniform(0.4, 2.5) if chance.random() < 0.05 else 1.0
        yield kind, chance.uniform(*SPANS[kind]) * stretch


def watch(pace: Callable[[str, float], float], kind: str, seconds: float) -> tuple[float, int]:
    """The lag from the job's end to its being seen, and the number of looks."""
    now, looks = 0.0, 0
    while True:
        now += pace(kind, now)
        looks += 1
        if now >= seconds:
            return now - seconds, looks


def measure(name: str, pace: Callable[[str, float], float]) -> tuple[float, float, float]:
    """Prints a row, and returns mean lag, 99th percentile of the lag, and looks per job."""
    seen = [watch(pace, kind, seconds) for kind, seconds in jobs(random.Random(2026))]
    lags = sorted(lag for lag, _ in seen)
    mean, late = statistics.fmean(lags), lags[int(len(lags) * 0.99)]
    looks = statistics.fmean(count for _, count in seen)
    print(f"{name:<22}{mean:>10.2f} s{late:>12.2f} s{lags[-1]:>10.2f} s{looks:>14.2f}")
    return mean, late, looks


def main() -> int:
    """Prints the table; 0 if the schedule reaches its marks."""
    print(f"{JOBS} jobs{'':<12}{'mean lag':>12}{'99 % below':>14}{'worst':>12}{'looks per job':>14}")
    ours = measure("adaptive", lambda kind, age: next_poll_delay(age, TYPICAL_SECONDS[kind]))
    measure("adaptive, kind unknown", lambda _, age: next_poll_delay(age, None))
    five = measure("every 5 s", lambda *_: 5.0)
    measure("every 10 s", lambda *_: 10.0)
    print(f"\nagainst the 5 s loop: {ours[0] / five[0]:.2f} of its mean lag with {ours[2] / five[2]:.2f} of its looks")
    return 0 if ours[0] <= five[0] / 2 and ours[1] <= 6.0 and ours[2] <= five[2] else 1


if __name__ == "__main__":
    sys.exit(main())
