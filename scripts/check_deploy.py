"""Check what is in deploy/ without a container engine.

    python -m scripts.check_deploy

Lints the Dockerfile, the compose file and the Kubernetes manifests with their own tools, which `make deploy-test`
installs in .venv/deploy. Runs the steps of the Dockerfile as a script in an empty folder, starts the result like the
image, and calls it through nginx with deploy/nginx.conf, if nginx is installed. Everything is on loopback.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import venv
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
from scripts.generating.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = ROOT / "deploy"
TOOLS = ROOT / ".venv" / "deploy" / "bin"
START_TIMEOUT = 30.0
STOP_TIMEOUT = 60.0
# An address of this machine that the server treats as another's: it requires a token, and uses no local files.
ADDRESS = "127.0.0.2"
HOST = "video.example.com"
TOKEN = "check-deploy-0123456789-abcdefghij"  # noqa: S105 - of this run only
SECRET_KEY = "check-deploy-9876543210-zyxwvutsrq"  # noqa: S105 - likewise
HOOK = "/hooks/0123456789/proof-that-stays-out-of-logs"
# For the host name of this machine.
CERTIFICATE = ROOT / "tests" / "doctor" / "loopback.pem"
# These commands need root, and the other steps do not depend on them.
NOT_RUN = ("groupadd", "useradd")
# Converted to JSON, which resolves merged keys.
COMPOSE = "import json, sys, yaml, compose_spec as c; c.PyCompose.from_json(json.dumps(yaml.safe_load(sys.stdin)))"


@dataclass(slots=True)
class Image:
    """The result of a Dockerfile's steps, in a folder that represents the image's file system."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """The folder for /."""
        return self.folder / "root"

    @property
    def tmp(self) -> Path:
        """The folder for /tmp, the only writable one."""
        return self.folder / "tmp"

    def move(self, text: str) -> str:
        """Replace the paths of the image in a text by those on this machine."""
        places = {"/tmp": self.tmp, "/opt": self.root / "opt", "/build": self.root / "build"}  # noqa: S108 - replaced
        return re.sub(r"(?<![\w./])/(tmp|opt|build)\b", lambda match: str(places[match[0]]), text)

    def list_files(self) -> dict[str, float]:
        """List the files with the times when they were changed."""
        return {str(path): path.lstat().st_mtime for path in self.root.rglob("*")}


def parse_dockerfile(text: str) -> list[tuple[str, str]]:
    """Parse the instructions of a Dockerfile: each one's name and what follows it, on one line."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines()]


def build(folder: Path) -> Image:  # noqa: C901 - a case per instruction
    """Run the steps of the Dockerfile in an empty folder."""
    image = Image(folder)
    python = folder / "python"
    venv.create(python, with_pip=True)
    stubs = folder / "stubs"
    stubs.mkdir()
    for name in NOT_RUN:
        (stubs / name).symlink_to("/bin/true")
    image.tmp.mkdir()
    working = image.root
    base_path = f"{stubs}:{python / 'bin'}:/usr/bin:/bin"
    for name, rest in parse_dockerfile((DEPLOY / "Dockerfile").read_text(encoding="utf-8")):
        match name:
            case "FROM":
                # A stage has files of an earlier one only if it copies them.
                if image.root.exists():
                    image.root.rename(folder / "build-stage")
                image.root.mkdir()
                image.environment = {"PATH": base_path}
                working = image.root
            case "WORKDIR":
                working = Path(image.move(rest))
                working.mkdir(parents=True, exist_ok=True)
            case "COPY":
                _copy(image, shlex.split(rest), working)
            case "ENV":
                for pair in shlex.split(rest):
                    variable, _, value = pair.partition("=")
                    image.environment[variable] = image.move(value).replace("$PATH", image.environment["PATH"])
            case "RUN":
                print(f"  {rest}", flush=True)
                variables = {**image.environment, **_get_pip_settings(), "HOME": str(image.tmp)}
                script = ["bash", "-euo", "pipefail", "-c", image.move(rest)]
                subprocess.run(script, cwd=working, env=variables, check=True, stdout=subprocess.DEVNULL)
            case "HEALTHCHECK":
                image.healthcheck = json.loads(rest.partition(" CMD ")[2])
            case "ENTRYPOINT":
                image.entrypoint = json.loads(rest)
            case "CMD":
                image.command = json.loads(rest)
    return image


def _copy(image: Image, arguments: list[str], working: Path) -> None:
    sources = [argument for argument in arguments[:-1] if not argument.startswith("--")]
    target = Path(image.move(arguments[-1])) if arguments[-1].startswith("/") else working / arguments[-1]
    from_stage = arguments[0].startswith("--from=")
    if not from_stage:
        check_context(sources)
    for source in sources:
        place = image.folder / "build-stage" / source.lstrip("/") if from_stage else ROOT / source
        into = target / place.name if arguments[-1].endswith("/") else target
        into.parent.mkdir(parents=True, exist_ok=True)
        if from_stage:
            # Moved, because the scripts in it contain the path of their interpreter.
            place.rename(into)
        elif place.is_dir():
            shutil.copytree(place, into, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(place, into)


def check_context(sources: list[str]) -> None:
    """Check that the build context includes the files."""
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    included = [line[1:] for line in lines if line.startswith("!")]
    for source in sources:
        if not any(source == each or source.startswith(f"{each}/") for each in included):
            sys.exit(f"deploy/Dockerfile copies {source}, which deploy/Dockerfile.dockerignore leaves out")


def _get_pip_settings() -> dict[str, str]:
    """Get the variables that configure this machine's pip."""
    names = [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]
    return {name: os.environ[name] for name in (*names, "SSL_CERT_FILE") if name in os.environ}


@contextmanager
def serving(image: Image, ports: tuple[int, int]) -> Iterator[str]:
    """Run the image's command during the block. Yields the URL of its probes."""
    port, metrics_port = ports
    environment = {
        **image.environment,
        "TMPDIR": str(image.tmp),
        "USEAPI_TOKEN": "user:1-check",
        "LUMA_MCP_HTTP_TOKEN": TOKEN,
        "LUMA_MCP_PUBLIC_URL": f"https://{HOST}",
        "LUMA_MCP_METRICS_ADDRESS": f"127.0.0.1:{metrics_port}",
        "LUMA_MCP_DRAIN_SECONDS": "4",
        "LUMA_MCP_SECRET_KEYS": SECRET_KEY,
    }
    addresses = {"0.0.0.0": ADDRESS, "8000": str(port)}  # noqa: S104 - it is replaced
    command = [addresses.get(word, word) for word in (*image.entrypoint, *image.command)]
    command[0] = shutil.which(command[0], path=environment["PATH"]) or sys.exit(f"{command[0]} is not in the image")
    before = image.list_files()
    log = image.folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=image.root, env=environment, stdout=output, stderr=output)
    try:
        probes = f"http://127.0.0.1:{metrics_port}"
        _wait_for(f"{probes}/livez", process, log)
        health = [word.replace("9464", str(metrics_port)) for word in image.healthcheck]
        health[0] = shutil.which(health[0], path=environment["PATH"]) or health[0]
        subprocess.run(health, env=environment, check=True)
        yield probes
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_TIMEOUT)
    finally:
        process.kill()
        process.wait()
    printed = log.read_text(encoding="utf-8")
    if TOKEN in printed or SECRET_KEY in printed or HOOK in printed:
        sys.exit("the server prints a secret, and the output of a container is kept")
    changed = {path for path, when in image.list_files().items() if before.get(path) != when}
    if changed:
        sys.exit(f"the server writes outside of /tmp, which is read-only in a container: {', '.join(sorted(changed))}")


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with contextlib.suppress(httpx2.HTTPError):
            if httpx2.get(url).status_code == 200:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"{url} does not answer:\n{log.read_text(encoding='utf-8')}")
        time.sleep(0.05)


def write_nginx_config(folder: Path, port: int, server_port: int) -> Path:
    """Write deploy/nginx.conf for this machine: other addresses, files and logs, and nothing else."""
    text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    places = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "server-1:8000": f"{ADDRESS}:{server_port}",
        "server-2:8000": f"{ADDRESS}:{server_port}",
        "/etc/nginx/tls/fullchain.pem": str(CERTIFICATE),
        "/etc/nginx/tls/privkey.pem": str(CERTIFICATE),
        "/run/nginx.pid": f"{folder}/nginx.pid",
        "/dev/stdout": f"{folder}/access.log",
        "/dev/stderr": f"{folder}/error.log",
        "worker_processes auto;": "worker_processes 1; daemon off;",
    }
    for ours, here in places.items():
        if ours not in text:
            sys.exit(f"deploy/nginx.conf lacks {ours}")
        text = text.replace(ours, here)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    config = folder / "nginx.conf"
    config.write_text(text.replace("http {", f"http {{ {paths}"), encoding="utf-8")
    return config


@contextmanager
def proxying(program: str, folder: Path, port: int, server_port: int) -> Iterator[httpx2.Client]:
    """Run nginx with our configuration during the block. Yields a client that connects to it with TLS."""
    config = write_nginx_config(folder, port, server_port)
    command = [program, "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(config)]
    subprocess.run([*command, "-t", "-q"], check=True)
    process = subprocess.Popen(command)
    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    context.check_hostname = False
    try:
        with httpx2.Client(base_url=f"https://127.0.0.1:{port}", verify=context, headers={"Host": HOST}) as client:
            deadline = time.monotonic() + START_TIMEOUT
            while True:
                with contextlib.suppress(httpx2.HTTPError):
                    client.get("/")
                    break
                if time.monotonic() > deadline:
                    sys.exit("nginx does not answer")
                time.sleep(0.05)
            yield client
    finally:
        process.terminate()
        process.wait(STOP_TIMEOUT)


def call_through_nginx(client: httpx2.Client, folder: Path) -> None:
    """Check the responses through nginx, and its logs."""
    headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    authorized = headers | {"Authorization": f"Bearer {TOKEN}", "MCP-Protocol-Version": "2025-06-18"}
    found = {
        "without a token": client.post("/mcp", json=body, headers=headers).status_code,
        "with the token": client.post("/mcp", json=body, headers=authorized).status_code,
        "under another name": client.post(
            "/mcp", json=body, headers=authorized | {"Host": "other.example"}
        ).status_code,
        "too long": client.post("/mcp", content=b" " * 5_000_000, headers=authorized).status_code,
        "metrics": client.get("/metrics").status_code,
        "webhook": client.post(HOOK, json={}).status_code,
    }
    listed = client.post("/mcp", json=body, headers=authorized).text
    expected = {"without a token": 401, "with the token": 200, "under another name": 421, "too long": 413}
    expected |= {"metrics": 404, "webhook": 404}
    wrong = {name: status for name, status in found.items() if expected.get(name, status) != status}
    if wrong or "generate_video" not in listed or "join_videos" in listed:
        sys.exit(f"through nginx: {found}, expected {expected}; tools: {listed[:300]}")
    logs = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.log"))
    if "POST /mcp" not in logs or HOOK.rpartition("/")[2] in logs:
        sys.exit(f"nginx logs paths of webhooks, or no calls:\n{logs}")


def main() -> int:
    """Return 0 if all checks pass."""
    print("hadolint: the Dockerfile", flush=True)
    subprocess.run([TOOLS / "hadolint", DEPLOY / "Dockerfile"], check=True)
    print("Compose Specification: compose.yaml", flush=True)
    with (DEPLOY / "compose.yaml").open() as file:
        subprocess.run([TOOLS / "python", "-c", COMPOSE], stdin=file, check=True)
    print("Kubernetes schemas: the manifests", flush=True)
    manifests = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    subprocess.run([TOOLS / "kubernetes-validate", "--strict", "--quiet", *manifests], check=True)
    print("the steps of the Dockerfile", flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="luma-deploy-")))
        image = build(folder)
        port, metrics_port, front = _find_free_ports(3)
        print("the result, started like the image", flush=True)
        probes = stack.enter_context(serving(image, (port, metrics_port)))
        if httpx2.get(f"{probes}/readyz").status_code != 200:
            sys.exit("/readyz does not say that the server takes calls")
        nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if nginx is None:
            print("nginx is missing (Debian: apt-get install nginx-light), so deploy/nginx.conf was not checked")
        else:
            print("calls through nginx", flush=True)
            with proxying(nginx, folder, front, port) as client:
                call_through_nginx(client, folder)
    return 0


def _find_free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


if __name__ == "__main__":
    sys.exit(main())
