"""Run a whole deployment on this machine, without a container engine: what docs/hosting.md describes, on loopback.

    python -m scripts.cluster

PostgreSQL, nginx, two replicas of the server, the simulated API and an identity provider, each a process of its own.
Needs PostgreSQL, nginx and npm; everything is ended and removed at Ctrl-C.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
from scripts.node_packages import install, node
from tests.postgres.server import PostgresServer, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FOLDER = Path(__file__).parent.parent / "tests" / "cluster"
START_TIMEOUT = 30.0
STOP_TIMEOUT = 30.0
SECRET_KEY = "cluster-key-0123456789-abcdefghijkl"  # noqa: S105 - of this machine only
NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 8m;
    # In memory: started by root, its workers are another user, who may not write into this folder.
    client_body_buffer_size 8m;
    upstream replicas {{
        {servers}
        keepalive 64;
        # Before the server ends an idle connection, which would lose a request that is just being sent.
        keepalive_timeout 5s;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://replicas;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_buffering off;
            proxy_read_timeout 300s;
        }}
    }}
}}
"""


@dataclass
class Process:
    """A program of the deployment. It can be ended in several ways, and started again on its port."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    address: str
    _popen: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start it, without waiting."""
        with self.log.open("ab") as output:
            # Its own process group, so that Ctrl-C reaches only this script, which stops them one after the other.
            self._popen = subprocess.Popen(
                self.command, env=dict(self.environment), stdout=output, stderr=output, start_new_session=True
            )

    def wait_ready(self) -> None:
        """Wait until it listens at its address."""
        deadline = time.monotonic() + START_TIMEOUT
        host, _, port = self.address.partition(":")
        while True:
            with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
                return
            if self.popen.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{self.name} did not start:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.launch()
        self.wait_ready()

    @property
    def popen(self) -> subprocess.Popen[bytes]:
        """The process as it was last started."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._popen

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    def wait(self) -> int:
        """Wait until it has ended; its exit code."""
        return self.popen.wait(STOP_TIMEOUT)

    def kill(self) -> None:
        """End it at once, as the failure of a machine does."""
        self.send(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """End it in an orderly way, or at once if it takes too long."""
        if self._popen is None or self._popen.poll() is not None:
            return
        self.send(signal.SIGTERM)
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.kill()


@dataclass
class Replica(Process):
    """One server process. `url`: where it serves MCP; `metrics`: where it serves /livez, /readyz and /metrics."""

    url: str = ""
    metrics: str = ""


@dataclass
class Cluster:
    """The running deployment.

    Attributes:
        url: what clients connect to: nginx, which distributes requests among the replicas.
        api: the simulated API's base URL.
        issuer: the identity provider.
    """

    url: str
    api: str
    issuer: str
    replicas: list[Replica]
    nginx: Process
    postgres: PostgresServer
    dsn: str
    folder: Path
    processes: list[Process] = field(default_factory=list)

    def mint(self, user: str = "alice", **claims: str) -> str:
        """Get a token; see `mint` in tests/cluster/identity.mjs for what can be wrong with it."""
        return httpx2.get(f"{self.issuer}/mint", params={"user": user, **claims}).raise_for_status().text


@contextmanager
def running_cluster(
    *,
    replicas: int = 2,
    speed: float = 8.0,
    slots: int = 4,
    environment: Mapping[str, str] | None = None,
    own: Sequence[Mapping[str, str]] = (),
    database: PostgresServer | None = None,
) -> Iterator[Cluster]:
    """Run a deployment for as long as the block lasts.

    Args:
        replicas: how many.
        speed: how many times faster than Luma the simulated API is.
        slots: how many jobs it runs at a time.
        environment: more settings of the replicas.
        own: the same for each of them alone.
        database: a server that runs already; by default one is started.
    """
    install(FOLDER)
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx is None:
        sys.exit("nginx is missing (Debian: apt-get install nginx-light)")
    command = str(Path(sys.executable).with_name("luma-ray-mcp"))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="luma-cluster-")))
        postgres = database or stack.enter_context(running_server())
        front, api_port, issuer_port, *ports = _free_ports(3 + 2 * replicas)
        url, issuer = f"http://127.0.0.1:{front}/mcp", f"http://127.0.0.1:{issuer_port}"
        api = f"http://127.0.0.1:{api_port}/v1/luma"
        plain = {name: os.environ[name] for name in ("PATH", "LANG", "VIRTUAL_ENV") if name in os.environ}
        plain["HOME"] = str(folder)
        simulator = Process(
            "the simulated API",
            [command, "simulator", "--port", str(api_port), "--speed", str(speed), "--slots", str(slots)],
            plain,
            folder / "simulator.log",
            f"127.0.0.1:{api_port}",
        )
        identity = Process(
            "the identity provider",
            [node(FOLDER), str(FOLDER / "identity.mjs")],
            {**plain, "PORT": str(issuer_port), "RESOURCE": url},
            folder / "identity.log",
            f"127.0.0.1:{issuer_port}",
        )
        settings = {
            **plain,
            "USEAPI_TOKEN": "user:1-cluster",
            "LUMA_MCP_BASE_URL": api,
            "LUMA_MCP_JOURNAL": postgres.url,
            "LUMA_MCP_PUBLIC_URL": url.removesuffix("/mcp"),
            "LUMA_MCP_OAUTH_ISSUER": issuer,
            "LUMA_MCP_SECRET_KEYS": SECRET_KEY,
            "LUMA_MCP_LOG_FORMAT": "json",
            **(environment or {}),
        }
        servers: list[Replica] = []
        for number in range(replicas):
            more = own[number] if own else {}
            server_ports = ports[2 * number : 2 * number + 2]
            servers.append(_build_replica(number, command, {**settings, **more}, folder, server_ports))
        config = folder / "nginx.conf"
        upstreams = "\n        ".join(f"server {each.address} max_fails=0;" for each in servers)
        config.write_text(NGINX.format(folder=folder, port=front, servers=upstreams))
        proxy = Process(
            "nginx",
            [nginx, "-p", str(folder), "-e", str(folder / "nginx.log"), "-c", str(config)],
            plain,
            folder / "nginx.log",
            f"127.0.0.1:{front}",
        )
        everything = [simulator, identity, *servers, proxy]
        # The newest first, so that no process calls one that has ended.
        for process in everything:
            stack.callback(process.stop)
        _start_all([simulator, identity])
        _start_all(servers)
        proxy.start()
        yield Cluster(url, api, issuer, servers, proxy, postgres, postgres.url, folder, everything)


def _build_replica(number: int, command: str, settings: Mapping[str, str], folder: Path, ports: list[int]) -> Replica:
    port, metrics_port = ports
    state = folder / f"replica-{number + 1}"
    metrics = f"127.0.0.1:{metrics_port}"
    return Replica(
        f"replica {number + 1}",
        [command, "serve", "--http", "--port", str(port)],
        {**settings, "LUMA_MCP_METRICS_ADDRESS": metrics, "XDG_STATE_HOME": str(state)},
        folder / f"replica-{number + 1}.log",
        f"127.0.0.1:{port}",
        url=f"http://127.0.0.1:{port}/mcp",
        metrics=f"http://{metrics}",
    )


def _start_all(processes: Sequence[Process]) -> None:
    for process in processes:
        process.launch()
    for process in processes:
        process.wait_ready()


def _free_ports(count: int) -> list[int]:
    """Find so many different ports that nothing listens at."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def main() -> int:
    """Run until Ctrl-C."""
    # A shell that starts it in the background makes it ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt), running_cluster() as cluster:
        print(f"URL:    {cluster.url}")
        print(f"Token:  {cluster.mint()}")
        print(f"        (of alice, for an hour; of bob: curl '{cluster.issuer}/mint?user=bob')")
        print(f"Logs:   {cluster.folder}")
        for replica in cluster.replicas:
            print(f"{replica.name}: {replica.url}, {replica.metrics}/metrics")
        print("Ctrl-C ends everything.", flush=True)
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
