"""Build the bundle for Claude Desktop, dist/luma-ray-mcp-VERSION.mcpb, from files that git tracks.

    python -m scripts.build_bundle [FOLDER]

The same files give the same bundle, byte for byte (with the same zlib).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from scripts.generating.project import NAME, ROOT, VERSION

PACKED = ("src", "pyproject.toml", "README.md", "LICENSE")
# Files of the bundle that have another place in the repository.
MOVED = {"manifest.json": "packaging/manifest.json", "icon.png": "packaging/icon.png"}
# The earliest time that a ZIP can have; a fixed one keeps the bundle reproducible.
EARLIEST = (1980, 1, 1, 0, 0, 0)
FOR_UV = """
# Added in the bundle: installs the versions that were tested, and no development tools.
[tool.uv]
default-groups = []
constraint-dependencies = [
{pins}
]
"""


def packed_files() -> dict[str, Path]:
    """Get the files of a bundle by their names in it."""
    command = ["git", "ls-files", "-z", "--", *PACKED]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = {name: ROOT / name for name in filter(None, listed.split("\0"))}
    return files | {name: ROOT / place for name, place in MOVED.items()}


def pins() -> list[str]:
    """Get the versions in requirements/run.txt, each with the systems that it is for, and without extras."""
    text = (ROOT / "requirements" / "run.txt").read_text(encoding="utf-8")
    found = re.findall(r"^([\w.-]+)(?:\[[\w,.-]+\])?(==[^\\\n]*?)[ ]*\\?$", text, flags=re.MULTILINE)
    return [name + rest for name, rest in found]


def content(name: str, path: Path) -> bytes:
    """Get the content of a file as it is in the bundle."""
    if name == "pyproject.toml":
        constraints = FOR_UV.format(pins="\n".join(f"  {json.dumps(pin)}," for pin in pins()))
        return path.read_bytes() + constraints.encode()
    return path.read_bytes()


def build(folder: Path) -> Path:
    """Build the bundle and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    bundle = folder / f"{NAME}-{VERSION}.mcpb"
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, path in sorted(packed_files().items()):
            entry = zipfile.ZipInfo(name, EARLIEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            # The same on every system: a plain file that everybody may read, as Unix stores it.
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content(name, path), compresslevel=9)
    return bundle


def main() -> int:
    """Return 0 once it is built."""
    bundle = build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist")
    print(f"{bundle} ({bundle.stat().st_size / 1000:.0f} kB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
