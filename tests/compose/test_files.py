"""The compose files agree with the code; no engine is needed."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sage_common.ports import SagePorts
from sage_common.service_settings import AccessSettings, LogSettings, NatsSettings, ServiceSettings
from sage_llm_coordinator.servers.packaged_models import DEFAULT_MODEL, PACKAGED_MODELS
from sage_platform import subjects
from sage_platform.kv import MEMORY_BUCKET_BYTES

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "compose"
SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/pyproject.toml"))
FILES = sorted(COMPOSE.glob("compose*.yaml"))


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((COMPOSE / name).read_text(encoding="utf-8"))
    return content


def variables() -> dict[str, str]:
    lines = (COMPOSE / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def settings_class(service: str) -> type[ServiceSettings]:
    package = importlib.import_module(f"sage_{service.replace('-', '_')}.config")
    (found,) = (
        value
        for value in vars(package).values()
        if isinstance(value, type) and issubclass(value, ServiceSettings) and value.__module__ == package.__name__
    )
    return found


def test_every_service_of_the_repository_has_a_container() -> None:
    assert set(read("compose.yaml")["services"]) == {"nats", *SERVICES}


@pytest.mark.parametrize("service", SERVICES)
def test_ports_are_the_well_known_ones(service: str) -> None:
    environment = read("compose.yaml")["services"][service]["environment"]
    section = service.upper().replace("-", "_")
    port = SagePorts[f"{section}_GRPC"]

    assert environment[f"SAGE_{section}_GRPC_PORT"] == port
    assert environment[f"SAGE_{section}_METRICS_PORT"] == port.metrics


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_in_the_environment_exists(service: str) -> None:
    own = settings_class(service)
    for file in FILES:
        container = read(file.name)["services"].get(service, {})
        for variable in container.get("environment", {}):
            if not variable.startswith("SAGE_"):
                continue
            section, settings = next(
                (s.section, s)
                for s in (own, NatsSettings, AccessSettings, LogSettings)
                if variable.startswith(f"SAGE_{s.section.upper()}_")
            )
            key = variable.removeprefix(f"SAGE_{section.upper()}_").lower()
            assert key in settings.model_fields, f"{file.name}: {variable}"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="requirements.py runs in the image, on 3.11, and reads TOML")
@pytest.mark.parametrize("service", SERVICES)
def test_images_install_extras_that_exist(service: str) -> None:
    arguments = read("compose.yaml")["services"][service]["build"]["args"]
    wanted = f"sage-{service}[{arguments.get('EXTRAS', '')}]"
    program = [sys.executable, str(COMPOSE / "requirements.py"), str(ROOT), wanted]

    answer = subprocess.run(program, capture_output=True, text=True, timeout=30, check=False)

    assert arguments["SERVICE"] == service
    assert answer.returncode == 0, answer.stderr
    assert ("torch" in answer.stdout) == (service == "embed-executor")
    assert ("xllamacpp" in answer.stdout) == (service == "llm-coordinator")


def test_the_coordinators_image_has_the_packaged_model_that_its_engines_name() -> None:
    arguments = read("compose.yaml")["services"]["llm-coordinator"]["build"]["args"]
    assert arguments["MODEL_PACKAGES"] == PACKAGED_MODELS[DEFAULT_MODEL]
    assert DEFAULT_MODEL in {engine.get("model") for engine in json.loads(variables()["LLM_ENGINES"])}
    assert f"{arguments['MODEL_PACKAGES']}==" in (ROOT / "constraints.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_variable_has_a_default(file: Path) -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", file.read_text(encoding="utf-8")))
    assert used <= set(variables())


def test_no_variable_is_unused() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in FILES)
    unused = {name for name in variables() if f"${{{name}}}" not in text}
    assert unused <= {"COMPOSE_PROJECT_NAME"}


@pytest.mark.parametrize(
    ("variable", "service", "field"),
    [
        ("LLM_ENGINES", "llm-coordinator", "engines"),
        ("GATEWAY_API_KEYS", "gateway", "api_keys"),
        ("GATEWAY_ALLOWED_HOSTS", "gateway", "allowed_hosts"),
    ],
)
def test_values_in_json_are_settings(variable: str, service: str, field: str) -> None:
    settings_class(service)(**{field: json.loads(variables()[variable])})


def test_the_gateway_answers_for_its_name_in_the_network_and_the_hosts() -> None:
    allowed = json.loads(variables()["GATEWAY_ALLOWED_HOSTS"])
    assert allowed == ["gateway", *settings_class("gateway").model_fields["allowed_hosts"].default]


def test_only_the_gateway_has_ports_on_the_host() -> None:
    services = read("compose.yaml")["services"]
    assert {name for name, container in services.items() if "ports" in container} == {"gateway"}
    assert not any("container_name" in container for container in services.values())


def test_prometheus_scrapes_every_service() -> None:
    jobs = yaml.safe_load((COMPOSE / "observability" / "prometheus.yaml").read_text(encoding="utf-8"))["scrape_configs"]
    scraped = {job["job_name"]: job["dns_sd_configs"][0] for job in jobs}
    for service in SERVICES:
        port = SagePorts[f"{service.upper().replace('-', '_')}_GRPC"].metrics
        assert (scraped[service]["names"], scraped[service]["port"]) == ([service], port)


def test_nats_takes_messages_as_large_as_the_mesh_expects() -> None:
    text = (COMPOSE / "nats.conf").read_text(encoding="utf-8")
    (megabytes,) = re.findall(r"^max_payload: (\d+)MB$", text, re.MULTILINE)
    assert int(megabytes) * 1024 * 1024 == NatsSettings().max_payload_bytes


def test_nats_has_room_for_every_bucket_in_memory() -> None:
    """JetStream reserves it when a bucket is made, and refuses what it has no room for."""
    found = re.search(r"max_memory_store: (\d+)MB", (COMPOSE / "nats.conf").read_text())
    assert found
    assert int(found[1]) << 20 >= len(subjects.MEMORY_BUCKETS) * MEMORY_BUCKET_BYTES
