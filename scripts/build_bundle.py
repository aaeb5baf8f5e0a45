"""Packs the bundle for Claude Desktop: dist/luma-ray-mcp-VERSION.mcpb, of files that git knows.

    python -m scripts.build_bundle [FOLDER]

The same files make the same bundle, byte for byte (with the same zlib).
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
BESIDES = {"manifest.json": "packaging/manifest.json", "icon.png": "packaging/icon.png"}
"""Where else these are in the repository."""
LONG_AGO = (1980, 1, 1, 0, 0, 0)
FOR_UV = """
# Added in the bundle: what was tested is what is installed, and no tool of its developers.
[tool.uv]
default-groups = []
constraint-dependencies = [
{pins}
]
"""


def packed_files() -> dict[str, Path]:
    """What is in a bundle, by its name there."""
    command = ["git", "ls-files", "-z", "--", *PACKED]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = {name: ROOT / name for name in filter(None, listed.split("\0"))}
    return files | {name: ROOT / place for name, place in BESIDES.items()}


def pins() -> list[str]:
    """The versions in requirements/run.txt, each with the systems that it is for."""
    text = (ROOT / "requirements" / "run.txt").read_text(encoding="utf-8")
    return re.findall(r"^([\w.-]+==[^\\\n]*?)[ ]*\\?$", text, flags=re.MULTILINE)


def content(name: str, path: Path) -> bytes:
    """A file as it is packed."""
    if name == "pyproject.toml":
        told = FOR_UV.format(pins="\n".join(f"  {json.dumps(pin)}," for pin in pins()))
        return path.read_bytes() + told.encode()
    return path.read_bytes()


def build(folder: Path) -> Path:
    """Packs it.

    Returns:
        Its path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bundle = folder / f"{NAME}-{VERSION}.mcpb"
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, path in sorted(packed_files().items()):
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            # As on Unix, whatever packs it: a plain file that everybody may read.
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content(name, path), compresslevel=9)
    return bundle


def main() -> int:
    """0: it is packed."""
    bundle = build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist")
    print(f"{bundle} ({bundle.stat().st_size / 1000:.0f} kB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
