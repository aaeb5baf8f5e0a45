"""Write what runs the published package by name: server.json and the one-click links.

    python -m scripts.release_files FOLDER

These files are never committed. Until a version is published under our name, whatever runs that name from a package
index runs somebody else's code, with the user's API token in its environment.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from scripts.generating.links import links_block
from scripts.generating.registry import server_json


def write_release_files(folder: Path) -> list[Path]:
    """Write both files and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    server, links = folder / "server.json", folder / "links.md"
    server.write_text(json.dumps(server_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    links.write_text(f"## Install with one click\n\n{links_block()}\n", encoding="utf-8")
    return [server, links]


if __name__ == "__main__":
    for path in write_release_files(Path(sys.argv[1])):
        print(path)
