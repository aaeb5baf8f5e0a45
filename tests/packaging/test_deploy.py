"""The files in deploy/ match the server and have no secrets. scripts/check_deploy.py builds and runs them."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest
from scripts.check_deploy import parse_dockerfile
from scripts.generating.project import REGISTRY_NAME
from tests.packaging.documents import ROOT, find_blocks

from luma_mcp import __version__
from luma_mcp.hosting.drain import ORDERS
from luma_mcp.hosting.tenants_file import TenantsFile
from luma_mcp.settings import VARIABLES, Settings

if TYPE_CHECKING:
    from pathlib import Path

DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and path.name not in (".env", "tenants.toml"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
STEPS = parse_dockerfile(DOCKERFILE)
COMPOSE = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
NGINX = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
MANIFESTS = {path.name: path.read_text(encoding="utf-8") for path in (DEPLOY / "kubernetes").glob("*.yaml")}
# For PostgreSQL's image and for obstore.
OTHER_VARIABLES = {
    "POSTGRES_USER",
    "POSTGRES_DB",
    "POSTGRES_PASSWORD",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_REGION",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_variable_is_known_to_the_server(path: Path) -> None:
    known = {row.metadata["name"] for row in VARIABLES.values()}
    named = set(re.findall(r"\b(?:LUMA|USEAPI|POSTGRES|AWS)_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    assert named <= known | OTHER_VARIABLES


def test_image_has_the_registry_name_and_an_unprivileged_user() -> None:
    labels = " ".join(rest for name, rest in STEPS if name == "LABEL")
    assert f'io.modelcontextprotocol.server.name="{REGISTRY_NAME}"' in labels
    [user] = [rest for name, rest in STEPS if name == "USER"]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    # Both stages have the same base image, named in one place.
    assert [rest.split()[0] for name, rest in STEPS if name == "FROM"] == ["${BASE}", "${BASE}"]
    # Releases pin it by digest.
    assert re.search(r"^ARG BASE=python:3\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?$", DOCKERFILE, flags=re.MULTILINE)


def test_image_installs_only_packages_pinned_by_hash() -> None:
    for name, rest in STEPS:
        if name == "RUN" and " install " in rest:
            assert "--require-hashes" in rest or "--no-deps dist/" in rest, rest
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = (ROOT / "requirements" / "server.txt").read_text(encoding="utf-8").casefold()
    needed = [*project["dependencies"], *project["optional-dependencies"]["server"]]
    for requirement in [*needed, *project["optional-dependencies"]["film"]]:
        # The name includes the extras.
        package = re.split(r"[<>=]", requirement)[0]
        assert f"\n{package}==" in f"\n{pinned}", package


def test_image_has_the_versions_that_are_tested() -> None:
    def read(name: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        for package, version in re.findall(r"^([\w.-]+)(?:\[[\w,.-]+\])?==(\S+)", text, flags=re.MULTILINE):
            found.setdefault(package, set()).add(version)
        return found

    tested = read("dev.txt")
    for name in ("server.txt", "build.txt"):
        for package, versions in read(name).items():
            assert versions == tested[package], package


def test_grace_period_is_longer_than_a_shutdown() -> None:
    longest = Settings().drain_seconds + ORDERS
    [compose] = re.findall(r"stop_grace_period: (\d+)s\n  depends_on:\n    migrate", COMPOSE)
    [kubernetes] = re.findall(r"terminationGracePeriodSeconds: (\d+)", MANIFESTS["server.yaml"])
    assert min(int(compose), int(kubernetes)) > longest


def test_manifests_have_this_version_and_no_secret() -> None:
    text = "\n".join(MANIFESTS.values())
    assert set(re.findall(r"image: \S+:(\S+)", text)) == {__version__}
    assert "kind: Secret\n" not in text
    kinds = re.findall(r"^kind: (\w+)$", text, flags=re.MULTILINE)
    assert {"Deployment", "Service", "Ingress", "PodDisruptionBudget", "HorizontalPodAutoscaler"} <= set(kinds)
    assert {"Job", "NetworkPolicy", "ConfigMap"} <= set(kinds)
    # The pods of the server and of the migration.
    assert text.count("readOnlyRootFilesystem: true") == text.count("runAsNonRoot: true") == 2


def test_env_example_has_every_variable_of_compose_and_no_secret() -> None:
    lines = (DEPLOY / ".env.example").read_text(encoding="utf-8").splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(re.findall(r"\$\{(\w+)", COMPOSE)) == set(example)
    assert {name for name, value in example.items() if value} == {"LUMA_MCP_PUBLIC_URL"}
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"deploy/.env", "deploy/tenants.toml", "deploy/tls/"} <= set(ignored)


def test_nginx_does_not_retry_orders_and_streams_responses() -> None:
    directives = re.sub(r"#.*", "", NGINX)
    assert "non_idempotent" not in directives
    assert (
        directives.count("max_fails=0") == len(re.findall(r"^\s+server server-", directives, flags=re.MULTILINE)) == 2
    )
    for directive in (
        "proxy_http_version 1.1;",
        'proxy_set_header Connection "";',
        "proxy_set_header Host $host;",
        "proxy_buffering off;",
        "proxy_read_timeout 300s;",
    ):
        assert directive in directives
    # A proxy_set_header in a location would replace all of those above.
    assert directives.rindex("proxy_set_header") < directives.index("listen 443")
    assert "$request " not in directives
    hooks = directives[directives.index("location /hooks/") :].partition("}")[0]
    assert "access_log off;" in hooks
    assert "error_log /dev/null;" in hooks


def test_tenants_file_in_the_documents_is_valid(tmp_path: Path) -> None:
    [block] = [block for block in find_blocks("toml") if block.page == "docs/hosting.md"]
    path = tmp_path / "tenants.toml"
    path.write_text(block.text, encoding="utf-8")
    path.chmod(0o600)
    tenants = TenantsFile(path, Settings())
    claims = {"sub": "1", "upn": "anna@example.com", "groups": ["film"]}
    anna = tenants.find("id", claims, frozenset())
    assert anna
    assert (anna.max_jobs_per_hour, anna.budget_per_day, anna.max_waits) == (10, 5, 4)
    assert anna.credential
    assert tenants.find("id", {"sub": "2", "groups": ["nobody"]}, frozenset()) is None


def test_variables_in_the_documents_are_known_to_the_server() -> None:
    known = {row.metadata["name"] for row in VARIABLES.values()}
    lines = [line for block in find_blocks("sh") if block.page == "docs/hosting.md" for line in block.text.splitlines()]
    variables = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
    assert variables.keys() <= known
    for name, value in variables.items():
        if name == "LUMA_MCP_OAUTH_ISSUER":
            assert Settings.from_environment({name: value}).oauth_issuer == value
