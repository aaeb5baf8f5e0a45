"""The bundle for Claude Desktop: its files and its manifest. scripts/try_bundle.py starts it."""

from __future__ import annotations

import json
import re
import tomllib
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from scripts.build_bundle import build
from tests.conftest import TOKEN
from tests.packaging.documents import ROOT

from luma_mcp.providers import PROVIDERS
from luma_mcp.settings import VARIABLES, Settings

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST: dict[str, Any] = json.loads((ROOT / "packaging" / "manifest.json").read_text(encoding="utf-8"))
IN_A_CHECKOUT = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="the bundle contains the files that git tracks")
ENVIRONMENT: dict[str, str] = MANIFEST["server"]["mcp_config"]["env"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("dist"))


@IN_A_CHECKOUT
def test_bundle_is_reproducible(bundle: Path, tmp_path: Path) -> None:
    assert build(tmp_path).read_bytes() == bundle.read_bytes()


@IN_A_CHECKOUT
def test_bundle_has_only_the_necessary_files(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        names = archive.namelist()
        pyproject = tomllib.loads(archive.read("pyproject.toml").decode())
        manifest = json.loads(archive.read("manifest.json"))
    assert {name.split("/")[0] for name in names} == {
        "LICENSE",
        "README.md",
        "icon.png",
        "manifest.json",
        "pyproject.toml",
        "src",
    }
    assert manifest["server"]["entry_point"] in names
    assert not [name for name in names if "__pycache__" in name or ".venv" in name]
    assert manifest == MANIFEST
    # uv installs the tested versions, and no development tools.
    pins = pyproject["tool"]["uv"]["constraint-dependencies"]
    pinned = {re.split(r"==", pin)[0] for pin in pins}
    needed = {re.split(r"[><=]", dependency)[0] for dependency in pyproject["project"]["dependencies"]}
    assert needed <= pinned
    assert pyproject["tool"]["uv"]["default-groups"] == []


def test_icon_has_the_recommended_size() -> None:
    with Image.open(ROOT / "packaging" / MANIFEST["icon"]) as icon:
        assert (icon.format, icon.size, icon.mode) == ("PNG", (512, 512), "RGBA")


def test_credentials_are_secret_and_optional_fields() -> None:
    for name, provider in (("useapi_token", PROVIDERS["useapi"]), ("agents_key", PROVIDERS["agents"])):
        field = MANIFEST["user_config"][name]
        assert (field["sensitive"], field["required"]) == (True, False)
        assert provider.example in field["description"]
    assert MANIFEST["user_config"]["output_dir"]["type"] == "directory"


def test_every_field_sets_a_variable_of_the_server() -> None:
    assert set(ENVIRONMENT) <= {row.metadata["name"] for row in VARIABLES.values()}
    used = re.findall(r"\$\{user_config\.(\w+)\}", json.dumps(ENVIRONMENT))
    assert sorted(used) == sorted(MANIFEST["user_config"])


@pytest.mark.parametrize("empty_value", ["", "unexpanded"])
def test_empty_field_counts_as_unset(empty_value: str) -> None:
    """Claude Desktop passes on an empty text, or the placeholder itself."""
    environment = {name: "" if empty_value == "" else value for name, value in ENVIRONMENT.items()}
    assert Settings.from_environment(environment) == Settings()
    assert Settings.from_environment(environment | {"USEAPI_TOKEN": TOKEN}).output_dir is None


@pytest.mark.parametrize("field", ["useapi_token", "agents_key"])
def test_filled_field_becomes_a_setting(field: str, tmp_path: Path) -> None:
    token = {"useapi_token": TOKEN, "agents_key": "luma-api-4711"}[field]
    filled = {field: token, "output_dir": str(tmp_path), "max_jobs_per_hour": "5", "budget_per_day": "0.5"}
    environment = {
        # An empty field's variable contains the placeholder.
        name: re.sub(r"\$\{user_config\.(\w+)\}", lambda match: filled.get(match[1], match[0]), value)
        for name, value in ENVIRONMENT.items()
    }
    settings = Settings.from_environment(environment)
    assert settings.token is not None
    assert settings.token.get_secret_value() == token
    assert settings.api == ("useapi" if field == "useapi_token" else "agents")
    assert (settings.output_dir, settings.max_jobs_per_hour, settings.budget_per_day) == (tmp_path, 5, 0.5)


def test_prompts_of_the_manifest_use_each_argument() -> None:
    for prompt in MANIFEST["prompts"]:
        used = re.findall(r"\$\{arguments\.(\w+)\}", prompt["text"])
        assert sorted(set(used)) == sorted(prompt["arguments"])
