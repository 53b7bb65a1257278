"""The compose files agree with the code; no engine is needed."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from fixtures.eventually import eventually

from sage_client.settings import ClientSettings
from sage_common.ports import SagePorts
from sage_common.service_settings import AccessSettings, LogSettings, NatsSettings, ServiceSettings
from sage_common.telemetry_settings import TelemetrySettings
from sage_common.tls_settings import TlsSettings
from sage_llm_coordinator.servers.packaged_models import DEFAULT_MODEL, PACKAGED_MODELS
from sage_platform import subjects
from sage_platform.kv import MEMORY_BUCKET_BYTES
from sage_platform.mesh_tls.__main__ import main as secure
from sage_platform.nats_connection import connect
from sage_platform.nats_server import find_program
from sage_platform.supervision import bound_to_parent
from sage_studio.config import StudioSettings

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
    assert set(read("compose.yaml")["services"]) == {"secure", "nats", "studio", *SERVICES}


@pytest.mark.parametrize("service", SERVICES)
def test_each_container_has_its_own_certificate_and_no_other(service: str) -> None:
    container = read("compose.yaml")["services"][service]
    assert container["environment"]["SAGE_TLS_FOLDER"] == "/etc/sage/tls"
    assert [volume for volume in container["volumes"] if volume.startswith("tls")] == [
        f"tls-{service}:/etc/sage/tls:ro"
    ]
    assert f"tls-{service}:/tls/{service}" in read("compose.yaml")["services"]["secure"]["volumes"]
    assert container["depends_on"]["secure"] == {"condition": "service_completed_successfully"}


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
                for s in (own, NatsSettings, AccessSettings, LogSettings, TlsSettings, TelemetrySettings)
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


def test_only_the_gateway_and_the_studio_have_ports_on_the_host() -> None:
    services = read("compose.yaml")["services"]
    assert {name for name, container in services.items() if "ports" in container} == {"gateway", "studio"}
    assert not any("container_name" in container for container in services.values())


def test_the_studio_is_left_out_unless_asked_for_and_has_nothing_of_the_mesh_but_the_gateway() -> None:
    services = read("compose.yaml")["services"]
    studio = services["studio"]
    assert [name for name, container in services.items() if "profiles" in container] == ["studio"]
    assert studio["profiles"] == ["studio"]
    assert studio["depends_on"] == {"gateway": {"condition": "service_healthy"}}
    assert studio["environment"]["SAGE_STUDIO_PORT"] == SagePorts.STUDIO
    # The authority's certificate, to know the gateway by; no identity, no token.
    assert studio["volumes"] == ["tls-authority:/etc/sage/authority:ro"]
    assert "tls-authority:/authority" in services["secure"]["volumes"]
    secrets = {"SAGE_TLS_FOLDER", "SAGE_ACCESS_MESH_TOKEN", "SAGE_ACCESS_API_KEYS", "SAGE_NATS_URL"}
    assert not secrets & studio["environment"].keys()
    for variable in studio["environment"]:
        section, _, key = variable.removeprefix("SAGE_").lower().partition("_")
        settings = {"studio": StudioSettings, "client": ClientSettings, "log": LogSettings}[section]
        assert key in settings.model_fields, variable
    StudioSettings(allowed_hosts=json.loads(variables()["STUDIO_ALLOWED_HOSTS"]))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="requirements.py runs in the image, on 3.11, and reads TOML")
def test_the_studios_image_has_what_its_extra_needs() -> None:
    arguments = read("compose.yaml")["services"]["studio"]["build"]["args"]
    assert (arguments["PROJECT"], arguments["MODULE"]) == ("libs/python", "sage_studio")
    wanted = f"{arguments['DISTRIBUTION']}[{arguments['EXTRAS']}]"
    program = [sys.executable, str(COMPOSE / "requirements.py"), str(ROOT), wanted]
    needed = subprocess.run(program, capture_output=True, text=True, timeout=30, check=True).stdout
    assert "nicegui" in needed
    assert "torch" not in needed


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


def started(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command)


async def test_nats_runs_as_configured_with_the_certificates_that_are_made_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = f"{os.getuid()}:{os.getgid()}"
    command = read("compose.yaml")["services"]["secure"]["command"]
    assert command[:3] == ["/tls", "--owner", "10001:10001"]
    assert command[-2:] == ["--authority-into", "/authority"]
    (authority := tmp_path / "apart").mkdir()
    asked = ["--owner", owner, "--host", "gateway", "--host", "localhost", "--authority-into", str(authority)]
    assert secure([str(tmp_path), *asked]) == 0
    assert [path.name for path in authority.iterdir()] == ["ca.pem"]
    assert (authority / "ca.pem").read_bytes() == (tmp_path / "gateway" / "ca.pem").read_bytes()
    configuration = (COMPOSE / "nats.conf").read_text(encoding="utf-8")
    for there, here in (("/etc/nats/tls", tmp_path / "nats"), ("/data", tmp_path / "data")):
        configuration = configuration.replace(there, str(here))
    configuration = configuration.replace("http: 8222", "http: 127.0.0.1:-1").replace("port: 4222", "port: -1")
    (tmp_path / "nats-server.conf").write_text(configuration.replace("tls/authorization", "nats/authorization"))
    base = bound_to_parent.command([str(find_program()), "-c", str(tmp_path / "nats-server.conf"), "-a", "127.0.0.1"])
    log = tmp_path / "nats.log"
    process = started([*base, "--ports_file_dir", str(tmp_path), "-l", str(log)])
    try:
        ports = tmp_path / f"nats-server_{process.pid}.ports"
        await eventually(lambda: (ports.is_file() and bool(ports.read_text())) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        port = json.loads(ports.read_text())["nats"][0].rpartition(":")[2]
        monkeypatch.setenv("SAGE_TLS_FOLDER", str(tmp_path / "gateway"))
        connection = await connect(NatsSettings(url=f"nats://127.0.0.1:{port}"), name="gateway")
        assert (await connection.jetstream().account_info()).streams == 0
        await connection.close()
    finally:
        process.terminate()
        process.wait(10)


def test_what_cannot_be_secured_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert secure([str(tmp_path / "file")]) == 1
    assert "cannot secure the mesh in" in capsys.readouterr().err
