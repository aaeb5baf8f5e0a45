"""Build the wheel and the sdist once, and run the tests against the installed wheel, away from the sources.

    python -m scripts.try_wheel [--lowest] [--dist FOLDER] [-- ARGUMENTS OF PYTEST]

By default with the pinned packages of requirements/. With --lowest, with the lowest version that pyproject.toml allows
of each package that it names; that needs uv, which is installed if it is missing. A wheel in FOLDER is used as it is.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.generating.project import NAME, PROJECT, ROOT, VERSION
from scripts.try_bundle import uv

PIP = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet")
EXTRAS = ("film", "otel")


def get_wheel(folder: Path, scratch: Path) -> Path:
    """Get the wheel in the folder. Without one, build it and the sdist from a copy of the sources."""
    wheel = folder / f"{NAME.replace('-', '_')}-{VERSION}-py3-none-any.whl"
    if not wheel.exists():
        copy_sources(scratch, without="node_modules")
        subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=scratch, check=True)
    return wheel


def write_lowest(folder: Path) -> Path:
    """Write requirements with the lowest versions of what pyproject.toml names, and all else, and return their path."""
    resolve = [uv(folder / "uv"), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "pyproject.toml"]
    resolve += [part for extra in EXTRAS for part in ("--extra", extra)]
    resolve += ["--python-version", f"{sys.version_info.major}.{sys.version_info.minor}"]
    lowest_of_all, direct, everything = (folder / f"{name}.txt" for name in ("lowest", "direct", "everything"))
    subprocess.run([*resolve, "--resolution", "lowest-direct", "-o", str(lowest_of_all)], cwd=ROOT, check=True)
    named = [*PROJECT["dependencies"], *(d for extra in EXTRAS for d in PROJECT["optional-dependencies"][extra])]
    names = {re.split(r"[^\w.-]", requirement)[0] for requirement in named}
    lines = lowest_of_all.read_text(encoding="utf-8").splitlines()
    direct.write_text("\n".join(line for line in lines if line.partition("==")[0] in names), encoding="utf-8")
    subprocess.run([*resolve, "--group", "dev", "-c", str(direct), "-o", str(everything)], cwd=ROOT, check=True)
    print(direct.read_text(encoding="utf-8"), flush=True)
    return everything


def create_environment(folder: Path, wheel: Path, requirements: Path, *hashes: str) -> Path:
    """Create an environment with the wheel in it, and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    subprocess.run([str(python), *PIP, *hashes, "-r", str(requirements)], check=True)
    subprocess.run([str(python), *PIP, "--no-deps", str(wheel)], check=True)
    return python


def copy_sources(folder: Path, *, without: str) -> None:
    """Copy what is in the repository and not ignored, without folders of that name."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in sorted(set(filter(None, listed.split("\0")))):
        if {without, "node_modules"} & set(Path(name).parts) or not (ROOT / name).is_file():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)


def main() -> int:
    """Return the exit code of the tests."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lowest", action="store_true")
    parser.add_argument("--dist", type=Path)
    parser.add_argument("pytest", nargs="*", default=["-n", "3", "--dist", "worksteal", "-q"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=NAME) as name:
        scratch = Path(name).resolve()
        wheel = get_wheel((options.dist or scratch / "dist").resolve(), scratch / "sources")
        if options.lowest:
            python = create_environment(scratch / "venv", wheel, write_lowest(scratch))
        else:
            python = create_environment(scratch / "venv", wheel, ROOT / "requirements" / "dev.txt", "--require-hashes")
        checkout = scratch / "checkout"
        copy_sources(checkout, without="src")
        place = subprocess.run(
            [str(python), "-c", "import luma_mcp; print(luma_mcp.__file__)"],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        if not place.startswith(str(scratch / "venv")):
            sys.exit(f"the tests would run against {place}, not against the wheel")
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        run = [str(python), "-m", "pytest", *options.pytest]
        return subprocess.run(run, cwd=checkout, env=variables, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
