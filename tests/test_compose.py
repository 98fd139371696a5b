"""The compose files, held against the route table and the promises of the documents; no engine is needed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from services.fleet.cli import cli
from tidewheel.contracts.roles import PORTS, Role

ROOT = Path(__file__).parents[1]
FILES = ("compose.yml", "compose.autotrain.yml", "compose.backtest.yml")


class Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads Compose's `!reset` and `!override` as the value that they mark."""


def _marked(loader: Loader, node: yaml.Node) -> Any:
    kinds = {yaml.MappingNode: "construct_mapping", yaml.SequenceNode: "construct_sequence"}
    return getattr(loader, kinds.get(type(node), "construct_scalar"))(node)


for tag in ("!reset", "!override"):
    Loader.add_constructor(tag, _marked)


def composed(name: str) -> dict[str, Any]:
    """One compose file as written."""
    document: dict[str, Any] = yaml.load((ROOT / name).read_text(), Loader)
    return document


@pytest.mark.parametrize("name", FILES)
def test_files_follow_the_compose_specification(name: str, tmp_path: Path) -> None:
    """Each file is valid by the vendored schema of the Compose specification."""
    plain = tmp_path / "compose.json"
    plain.write_text(json.dumps(composed(name)))
    schema = ["--builtin-schema", "vendor.compose-spec"]

    found = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema, str(plain)], capture_output=True, text=True, check=False
    )

    assert found.returncode == 0, found.stdout


def test_registered_models_have_a_volume_where_the_document_puts_them() -> None:
    """Every role has it at /app/trained_models, which the image names as TRAINED_MODELS_DIR."""
    file = composed("compose.yml")

    assert "trained_models:/app/trained_models" in file["services"]["role"]["volumes"]
    assert "trained_models" in file["volumes"]
    assert "TRAINED_MODELS_DIR=/app/trained_models" in (ROOT / "deploy" / "Dockerfile").read_text()


def test_bouncehunter_s_models_outlive_their_containers() -> None:
    """Predictor and trainer share a volume where the document's ./model_cache is; research has one of its own."""
    file, research = composed("compose.yml"), composed("compose.backtest.yml")

    assert "model_cache:/app/model_cache" in file["services"]["role"]["volumes"]
    assert "model_cache" in file["volumes"]
    assert "MODEL_CACHE_DIR=/app/model_cache" in (ROOT / "deploy" / "Dockerfile").read_text()
    folders = {
        service["environment"]["MODEL_CACHE_DIR"]
        for name, service in research["services"].items()
        if name != "postgres"
    }
    assert folders == {"/research/model_cache"}


def test_every_role_has_a_container_and_publishes_its_port_on_bind() -> None:
    """The two stacks start every role, and a port is published only on BIND."""
    services = composed("compose.yml")["services"] | composed("compose.autotrain.yml")["services"]
    started = {service["command"][1] for service in services.values() if service.get("command", [""])[0] == "serve"}
    published = {port for service in services.values() for port in service.get("ports", [])}

    assert started == set(Role)
    assert published == {f"${{BIND:-127.0.0.1}}:{port}:{port}" for port in PORTS.values()}


def test_engines_find_the_documented_hosts() -> None:
    """ml_service is the edge, ml_scheduler the keeper; the others are called as the documents call them."""
    services = composed("compose.yml")["services"] | composed("compose.autotrain.yml")["services"]
    aliases = {
        alias: name
        for name, service in services.items()
        if isinstance(service.get("networks"), dict)
        for alias in service["networks"]["trading"]["aliases"]
    }

    assert aliases == {
        "ml_service": "edge",
        "data_ingester": "ingester",
        "param_controller": "param-controller",
        "ml_scheduler": "keeper",
    }


def test_research_never_mounts_production() -> None:
    """Every role of the research stack has the research volume alone, and a ledger that says so."""
    services = composed("compose.backtest.yml")["services"]
    roles = {name: service for name, service in services.items() if name != "postgres"}

    assert all(service["volumes"] == ["research:/research"] for service in roles.values())
    assert {service["environment"]["TIDEWHEEL_LEDGER_PURPOSE"] for service in roles.values()} == {"research"}
    assert {service["environment"]["LEDGER_DB"] for service in roles.values()} == {"/research/manifest.sqlite"}


def test_research_runs_beside_production() -> None:
    """Each role that production publishes is inside only, but for the edge, which has a port of its own."""
    production = composed("compose.yml")["services"] | composed("compose.autotrain.yml")["services"]
    research = composed("compose.backtest.yml")["services"]
    published = {name: research[name].get("ports") for name, service in production.items() if "ports" in service}

    assert published.pop("edge") == ["${BIND:-127.0.0.1}:9000:8000"]
    assert all(ports == [] for ports in published.values())


def test_the_backfill_is_a_one_shot_into_the_research_volume() -> None:
    """It starts only when asked for, on the ledger of research, and what it runs is a command of ours that ends."""
    service = composed("compose.backtest.yml")["services"]["backfill"]

    assert service["profiles"] == ["backfill"] and service["restart"] == "no"
    assert service["volumes"] == ["research:/research"]
    assert service["environment"]["TIDEWHEEL_LEDGER_PURPOSE"] == "research"
    assert service["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    (command,) = service["command"]
    assert command in cli.list_commands(click.Context(cli))


def test_every_variable_of_the_example_is_documented() -> None:
    """.env.example names only variables that docs/settings.md explains."""
    lines = [line.lstrip("# ") for line in (ROOT / ".env.example").read_text().splitlines()]
    names = {line.partition("=")[0] for line in lines if line.partition("=")[0].isupper() and "=" in line}
    page = (ROOT / "docs" / "settings.md").read_text()

    assert names
    assert {name for name in names if f"`{name}`" not in page} == set()
