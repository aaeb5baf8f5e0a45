"""Files of shots for the tests of films."""

from __future__ import annotations

from pathlib import Path

THREE_SHOTS = """
title = "The fox"
look = "35mm film."

[[shots]]
name = "waking"
prompt = "A fox wakes."
takes = 2
keep = 2

[[shots]]
prompt = "It runs."
continue_from = "waking"

[[shots]]
prompt = "A forest."
transition = "crossfade"
"""
"""It takes four orders, and the film has 14.5 s."""
TWO_SHOTS = """
[[shots]]
prompt = "A fox wakes."

[[shots]]
prompt = "A forest."
"""


def write_film(home: Path, text: str = THREE_SHOTS) -> str:
    """Write a film's file to the home folder, and return its name."""
    (home / "shots.toml").write_text(text, "utf-8")
    return "shots.toml"
