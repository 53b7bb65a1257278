"""Where a new service is run: its container in compose, its pods in Kubernetes, and who asks it there."""

from __future__ import annotations

from pathlib import Path

from sage_common.errors import UnprocessableError
from sage_tools.scaffold.text_edits import Edit, after, before

# Services stand behind this one in every list.
LAST = "dataflow-worker"
KUBERNETES = "deploy/kubernetes/base"
# A service that keeps nothing, as a new one does.
_LIKE, _LIKE_PORT = "classifier", 50051


def metrics_port(port: int) -> int:
    """Return the metrics port of a service, from its gRPC port, as ``SagePorts.metrics`` does."""
    return 9100 + port % 10


def compose_edits(words: dict[str, str], port: int) -> dict[str, list[Edit]]:
    dashed, constant = words["dashed"], words["NAME"]
    entry = f"""  {dashed}:
    <<: *service
    image: ${{IMAGE_PREFIX}}/{dashed}:${{IMAGE_TAG}}
    build:
      context: ..
      dockerfile: compose/Dockerfile
      network: ${{BUILD_NETWORK}}
      args: {{SERVICE: {dashed}, PYTHON_IMAGE: "${{PYTHON_IMAGE}}", VERSION: "${{IMAGE_TAG}}"}}
    environment:
      <<: *environment
      SAGE_{constant}_HOST: 0.0.0.0
      SAGE_{constant}_GRPC_PORT: {port}
      SAGE_{constant}_METRICS_PORT: {metrics_port(port)}
    volumes:
      - tls-{dashed}:/etc/sage/tls:ro
    mem_limit: ${{{constant}_MEMORY}}

"""
    scraped = (
        f"  - job_name: {dashed}\n"
        "    scheme: https\n    tls_config: *mesh\n"
        f"    dns_sd_configs: [{{names: [{dashed}], type: A, port: {metrics_port(port)}, refresh_interval: 5s}}]\n"
    )
    return {
        "compose/compose.yaml": [
            after(f"      - tls-{LAST}:/tls/{LAST}\n", f"      - tls-{dashed}:/tls/{dashed}\n"),
            before("volumes:\n  # The authority's key", entry),
            after(f"  tls-{LAST}:\n", f"  tls-{dashed}:\n"),
        ],
        "compose/compose.observability.yaml": [
            after(f"  {LAST}: {{environment: *traced}}\n", f"  {dashed}: {{environment: *traced}}\n")
        ],
        "compose/observability/prometheus.yaml": [before("  # Present with compose.gpu.yaml.\n", scraped)],
        "compose/.env": [after("DATAFLOW_WORKER_MEMORY=1g\n", f"{constant}_MEMORY=256m\n")],
    }


def manifest(root: Path, words: dict[str, str], port: int) -> str:
    """Return the manifest of its pods: that of a service which keeps nothing, either, with its names and ports."""
    text = (root / KUBERNETES / f"{_LIKE}.yaml").read_text(encoding="utf-8")
    for old, new in (
        (_LIKE, words["dashed"]),
        (_LIKE.upper(), words["NAME"]),
        (str(_LIKE_PORT), str(port)),
        (str(metrics_port(_LIKE_PORT)), str(metrics_port(port))),
    ):
        text = text.replace(old, new)
    return text


def kubernetes_edits(words: dict[str, str], port: int) -> dict[str, list[Edit]]:
    """Return what lists the pods of all services, and lets who asks them through."""
    dashed = words["dashed"]
    pods = f"{{podSelector: {{matchLabels: {{app.kubernetes.io/name: {dashed}}}}}}}"
    last_port = "      ports: [{protocol: TCP, port: 50056}]\n"
    asked = f"    - to: [{pods}]\n      ports: [{{protocol: TCP, port: {port}}}]\n"
    last_pods = f"    - to: [{{podSelector: {{matchLabels: {{app.kubernetes.io/name: {LAST}}}}}}}]\n{last_port}"
    gateway = "{podSelector: {matchLabels: {app.kubernetes.io/name: gateway}}}"
    monitoring = "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}"
    return {
        f"{KUBERNETES}/kustomization.yaml": [
            after(f"  - {LAST}.yaml\n", f"  - {dashed}.yaml\n"),
            _like_the_last_image(dashed),
        ],
        f"{KUBERNETES}/network-policies.yaml": [
            after(last_pods, asked),
            _policy(f"gateway-to-{dashed}", dashed, gateway, port),
        ],
        "deploy/kubernetes/components/monitoring/scrapes.yaml": [
            _policy(f"scrapes-of-{dashed}", dashed, monitoring, metrics_port(port))
        ],
    }


def _like_the_last_image(dashed: str) -> Edit:
    def edit(text: str) -> str:
        start = text.find(f"  - {{name: sage/{LAST},")
        if start < 0:
            raise UnprocessableError(f"it has no line of the image sage/{LAST}, beside which the new one belongs")
        line = text[start : text.index("\n", start) + 1]
        return text.replace(line, line + line.replace(LAST, dashed))

    return edit


def _policy(name: str, dashed: str, asking: str, port: int) -> Edit:
    policy = f"""---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {name}
spec:
  podSelector: {{matchLabels: {{app.kubernetes.io/name: {dashed}}}}}
  policyTypes: [Ingress]
  ingress:
    - from: [{asking}]
      ports: [{{protocol: TCP, port: {port}}}]
"""
    return lambda text: text.rstrip("\n") + "\n" + policy
