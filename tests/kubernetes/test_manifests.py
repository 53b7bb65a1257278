"""The overlays of deploy/kubernetes are what the code needs and the schemas allow; no cluster is needed."""

from __future__ import annotations

import datetime
import importlib
import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from fixtures.rendered_overlays import (
    OVERLAYS,
    ROOT,
    containers,
    environment,
    matches,
    name_of,
    of_kind,
    pod_of,
    rendered,
    workloads,
)

from sage_common.ports import SagePorts
from sage_common.service_settings import AccessSettings, LogSettings, NatsSettings, ServiceSettings
from sage_common.tls_settings import TlsSettings
from sage_llm_coordinator.pods.engine_pod import read_pod
from sage_platform.mesh_tls.kubernetes_secrets import ACCESS, kubernetes_secrets, tls_name
from sage_platform.mesh_tls.secured_folder import SecuredFolder
from sage_platform.probe_pages import LIVE_PATH, READY_PATH
from sage_platform.service_host import STOP_SECONDS
from sage_tools.metrics_page import metrics_by_service

SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/pyproject.toml"))
# Of operators that a cluster may have: schemas of these kinds come with them.
FOREIGN = {"ServiceMonitor", "ScaledObject"}
# What a container needs beyond its drain: closing gRPC and NATS.
CLOSING_SECONDS = 6


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def settings_class(service: str) -> type[ServiceSettings]:
    package = importlib.import_module(f"sage_{service.replace('-', '_')}.config")
    (found,) = (
        value
        for value in vars(package).values()
        if isinstance(value, type) and issubclass(value, ServiceSettings) and value.__module__ == package.__name__
    )
    return found


def section_of(service: str) -> str:
    return service.upper().replace("-", "_")


def test_every_resource_is_what_its_schema_allows(overlay: str) -> None:
    for resource in rendered(overlay):
        if resource["kind"] not in FOREIGN:
            kubernetes_validate.validate(resource, "1.37", strict=True)


def test_no_two_resources_have_one_name(overlay: str) -> None:
    names = [name_of(resource) for resource in rendered(overlay)]
    assert sorted(set(names)) == sorted(names)


def test_there_is_a_workload_for_nats_and_each_service(overlay: str) -> None:
    names = {one["metadata"]["name"] for one in workloads(overlay)}
    assert names - {"vllm"} == {"nats", *SERVICES}


def test_every_container_has_probes_and_limits(overlay: str) -> None:
    for name, container in containers(overlay):
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert probe in container, (name, probe)
            ports = {port["name"] for port in container["ports"]}
            assert container[probe]["httpGet"]["port"] in ports, (name, probe)
        limits, requests = container["resources"]["limits"], container["resources"]["requests"]
        assert {"memory", "ephemeral-storage"} <= limits.keys(), name
        assert {"cpu", "memory"} <= requests.keys(), name
        # What is asked for is there: memory cannot be taken back from a process.
        assert requests["memory"] == limits["memory"], name


def test_services_are_asked_where_they_answer(overlay: str) -> None:
    for _, container in containers(overlay):
        if container["name"] in SERVICES:
            assert container["livenessProbe"]["httpGet"] == {"path": LIVE_PATH, "port": "metrics"}
            ready = {"path": "/ready", "port": "http"} if container["name"] == "gateway" else None
            assert container["readinessProbe"]["httpGet"] == (ready or {"path": READY_PATH, "port": "metrics"})


def test_every_container_has_no_rights_but_its_own(overlay: str) -> None:
    for workload in workloads(overlay):
        name, pod = name_of(workload), workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 1000, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
        # Only who asks the API has a token for it.
        asks = workload["metadata"]["name"] == "llm-coordinator"
        assert pod["automountServiceAccountToken"] is asks, name


@pytest.mark.parametrize("service", SERVICES)
def test_ports_are_the_well_known_ones(overlay: str, service: str) -> None:
    (container,) = [one for _, one in containers(overlay) if one["name"] == service]
    section, variables = section_of(service), environment(container, overlay)
    grpc = SagePorts[f"{section}_GRPC"]
    assert variables[f"SAGE_{section}_GRPC_PORT"] == str(grpc.value)
    assert variables[f"SAGE_{section}_METRICS_PORT"] == str(grpc.metrics)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {
        "grpc": grpc,
        "metrics": grpc.metrics,
        **({"http": SagePorts.GATEWAY_HTTP} if service == "gateway" else {}),
    }


def test_nats_has_its_well_known_ports(overlay: str) -> None:
    (container,) = [one for _, one in containers(overlay) if one["name"] == "nats"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert (ports["client"], ports["monitor"]) == (SagePorts.NATS, SagePorts.NATS_MONITOR)
    (configuration,) = [
        one["data"]["nats-server.conf"]
        for one in of_kind(overlay, "ConfigMap")
        if one["metadata"]["name"].startswith("nats-")
    ]
    assert f"\nport: {ports['client']}\n" in configuration
    assert f"\nhttp: {ports['monitor']}\n" in configuration


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_in_the_environment_is_one(overlay: str, service: str) -> None:
    (container,) = [one for _, one in containers(overlay) if one["name"] == service]
    own = settings_class(service)
    for variable, value in environment(container, overlay).items():
        if not variable.startswith("SAGE_"):
            continue
        section, settings = next(
            (s.section, s)
            for s in (own, NatsSettings, AccessSettings, LogSettings, TlsSettings)
            if variable.startswith(f"SAGE_{s.section.upper()}_")
        )
        key = variable.removeprefix(f"SAGE_{section.upper()}_").lower()
        group = key.partition("_")[0]
        if group in settings.model_fields and key not in settings.model_fields:
            assert key.partition("_")[2] in settings.model_fields[group].annotation.__dataclass_fields__, variable  # type: ignore[union-attr]
        else:
            assert key in settings.model_fields, variable
        if value.startswith(("[", "{")):
            json.loads(value)


def test_a_service_can_be_reached_by_its_pods_address(overlay: str) -> None:
    for _, container in containers(overlay):
        if container["name"] not in SERVICES:
            continue
        section = section_of(container["name"])
        (address,) = [one for one in container["env"] if one["name"] == f"SAGE_{section}_ADVERTISE_HOST"]
        assert address["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
        assert environment(container, overlay)[f"SAGE_{section}_HOST"] == "0.0.0.0"


def test_a_pod_is_given_the_time_that_it_takes_to_stop(overlay: str) -> None:
    for workload in workloads(overlay):
        pod = workload["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        stop = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
        before = float(stop[-1]) if stop and stop[-1].isdecimal() else 0.0
        if container["name"] in SERVICES:
            variables = environment(container, overlay)
            drain = float(variables[f"SAGE_{section_of(container['name'])}_DRAIN_TIMEOUT_SECONDS"])
            before += drain + STOP_SECONDS + CLOSING_SECONDS
        assert pod["terminationGracePeriodSeconds"] > before, name_of(workload)


def test_the_gateway_stays_until_balancers_know_that_it_leaves(overlay: str) -> None:
    (gateway,) = [one for _, one in containers(overlay) if one["name"] == "gateway"]
    assert gateway["lifecycle"]["preStop"]["exec"]["command"][0] == "sleep"


def test_everything_that_is_referred_to_is_there(overlay: str, tmp_path: Path) -> None:
    SecuredFolder(tmp_path, datetime.datetime.now(datetime.timezone.utc)).secure()
    secrets = {one["metadata"]["name"]: one["data"] for one in kubernetes_secrets(tmp_path, "sage")}
    for workload in workloads(overlay):
        namespace, pod, name = workload["metadata"]["namespace"], pod_of(workload)["spec"], name_of(workload)
        there = {
            kind: {one["metadata"]["name"]: one for one in of_kind(overlay, kind) if _in(one, namespace)}
            for kind in ("ConfigMap", "ServiceAccount", "Service")
        }
        assert pod["serviceAccountName"] in there["ServiceAccount"], name
        if workload["kind"] == "StatefulSet":
            assert workload["spec"]["serviceName"] in there["Service"], name
        volumes = {volume["name"] for volume in pod["volumes"]}
        volumes |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())}
        for volume in pod["volumes"]:
            if "configMap" in volume:
                assert volume["configMap"]["name"] in there["ConfigMap"], name
            if "secret" in volume:
                assert volume["secret"]["secretName"] in secrets, name
                for item in volume["secret"].get("items", ()):
                    assert item["key"] in secrets[volume["secret"]["secretName"]], name
        for container in pod["containers"]:
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == volumes, name
            for source in container.get("envFrom", ()):
                assert source["configMapRef"]["name"] in there["ConfigMap"], name
            for variable in container.get("env", ()):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference and not reference.get("optional"):
                    assert reference["key"] in secrets[reference["name"]], (name, variable)


def test_each_service_has_its_own_certificate_and_no_other(overlay: str) -> None:
    for workload in workloads(overlay):
        name = workload["metadata"]["name"]
        volumes = workload["spec"]["template"]["spec"]["volumes"]
        held = {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}
        expected = {"vllm": set(), "nats": {tls_name("nats")}}.get(name, {tls_name(name), ACCESS})
        assert held == expected


def test_selectors_select_the_pods_that_are_meant(overlay: str) -> None:
    pods = [pod_of(workload) for workload in workloads(overlay)]
    for workload in workloads(overlay):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert matches(workload["spec"]["selector"], labels), name_of(workload)
        for constraint in workload["spec"]["template"]["spec"].get("topologySpreadConstraints", ()):
            assert matches(constraint["labelSelector"], labels), name_of(workload)
    for kind in ("Service", "PodDisruptionBudget"):
        for one in of_kind(overlay, kind):
            selector = one["spec"]["selector"]
            wanted = {"matchLabels": selector} if kind == "Service" else selector
            selected = [pod for pod in pods if _in(pod, one["metadata"]["namespace"]) and _has(pod, wanted)]
            assert len(selected) == 1, name_of(one)
            if kind == "Service":
                ports = {port["name"] for container in selected[0]["spec"]["containers"] for port in container["ports"]}
                assert {port["targetPort"] for port in one["spec"]["ports"]} <= ports, name_of(one)


def test_every_workload_has_a_budget_of_disruptions(overlay: str) -> None:
    budgets = {
        (one["metadata"]["namespace"], one["metadata"]["name"]) for one in of_kind(overlay, "PodDisruptionBudget")
    }
    assert budgets == {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in workloads(overlay)}


def test_a_successor_is_ready_before_its_predecessor_leaves(overlay: str) -> None:
    for one in of_kind(overlay, "Deployment"):
        assert one["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}, name_of(one)


def test_pods_of_engines_are_found_by_the_coordinator(overlay: str) -> None:
    (coordinator,) = [one for _, one in containers(overlay) if one["name"] == "llm-coordinator"]
    variables = environment(coordinator, overlay)
    label = variables["SAGE_LLM_COORDINATOR_KUBERNETES_POD_SELECTOR"]
    looked_in = json.loads(variables.get("SAGE_LLM_COORDINATOR_KUBERNETES_NAMESPACES", '["sage"]'))
    engines = [one for one in workloads(overlay) if label in one["spec"]["template"]["metadata"]["labels"]]
    assert bool(engines) == (overlay != "quickstart")
    for engine in engines:
        pod = pod_of(engine)
        assert pod["metadata"]["namespace"] in looked_in
        pod["metadata"] |= {"name": "vllm-0", "uid": "u"}
        pod["status"] = {"podIP": "10.0.0.9", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        settings = read_pod(pod).settings()
        assert settings.server_url == "http://10.0.0.9:8000/v1"
    # It may look there, and nowhere else, and do nothing but look.
    allowed = {role["metadata"]["namespace"]: rule for role in of_kind(overlay, "Role") for rule in role["rules"]}
    assert set(allowed) == set(looked_in)
    assert all(
        rule == {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
        for rule in allowed.values()
    )
    subjects = {"kind": "ServiceAccount", "name": "llm-coordinator", "namespace": "sage"}
    bindings = of_kind(overlay, "RoleBinding")
    assert {one["metadata"]["namespace"] for one in bindings} == set(looked_in)
    assert all(one["subjects"] == [subjects] for one in bindings)


def test_engines_are_scaled_by_metrics_that_there_are(overlay: str) -> None:
    known = {row.name for rows in metrics_by_service().values() for row in rows}
    for scaled in of_kind(overlay, "ScaledObject"):
        target = scaled["spec"]["scaleTargetRef"]
        (scaled_one,) = [one for one in of_kind(overlay, target["kind"]) if one["metadata"]["name"] == target["name"]]
        # Else each `kubectl apply` would set the number back.
        assert "replicas" not in scaled_one["spec"]
        queries = [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]
        assert len(queries) == 3
        for query in queries:
            named = set(re.findall(r"sage_\w+", query))
            assert named
            assert named <= known


def test_every_service_is_scraped(overlay: str) -> None:
    for monitor in of_kind(overlay, "ServiceMonitor"):
        scraped = [
            one
            for one in of_kind(overlay, "Service")
            if matches(monitor["spec"]["selector"], one["metadata"]["labels"])
        ]
        port = monitor["spec"]["endpoints"][0]["port"]
        found = {one["metadata"]["name"] for one in scraped for had in one["spec"]["ports"] if had["name"] == port}
        assert found == set(SERVICES)


def _in(resource: dict[str, Any], namespace: str) -> bool:
    return bool(resource["metadata"].get("namespace") == namespace)


def _has(pod: dict[str, Any], selector: dict[str, Any]) -> bool:
    return matches(selector, pod["metadata"]["labels"])
