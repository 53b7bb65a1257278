"""A new service: its package, its contract, and its place everywhere that services are listed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from sage_common.errors import ConflictError, UnprocessableError
from sage_tools.checkout import common_version
from sage_tools.layers import packages_beside
from sage_tools.scaffold.addition import Addition
from sage_tools.scaffold.names import check_unused, checked_name, words_of
from sage_tools.scaffold.service_deployment import KUBERNETES, compose_edits, kubernetes_edits, manifest
from sage_tools.scaffold.text_edits import Edit, after, before, replaced

PORTS = "libs/python/sage_common/ports.py"
LAST_PACKAGE = "sage_dataflow_worker"
WIDTH = 120
CHECK = """
import sys
from importlib import import_module
from sage_cli.effective_settings import settings_classes
from sage_cli.mesh.services import service
from sage_platform.mesh_tls.nats_rights import permissions

name = sys.argv[1]
assert service(name).module == "sage_" + name.replace("-", "_")
assert name.replace("-", "_") in {settings.section for settings in settings_classes()}
assert permissions(name)
import_module(service(name).module + ".main")
"""


def service(root: Path, given: str) -> Addition:
    """Return what a service of this name adds. Raises InvalidRequestError, ConflictError, UnprocessableError."""
    name = checked_name(given, "service")
    words = words_of(name)
    dashed, package = words["dashed"], f"sage_{name}"
    for taken in (f"services/{dashed}", f"proto/sage/{name}", f"libs/python/{package}", f"libs/python/sage/{name}"):
        if (root / taken).exists():
            raise ConflictError(f"{taken} exists; choose another name")
    check_unused(packages_beside(root, LAST_PACKAGE), package, (f"{words['Name']}Settings", f"{words['Name']}Servicer"))
    port = _free_port((root / PORTS).read_text(encoding="utf-8"))
    home = f"services/{dashed}"
    return Addition(
        files={
            f"{home}/pyproject.toml": "service_pyproject.toml.tmpl",
            f"{home}/README.md": "service_readme.md.tmpl",
            f"{home}/{package}/__init__.py": "service_init.py.tmpl",
            f"{home}/{package}/__main__.py": "service_main_module.py.tmpl",
            f"{home}/{package}/config.py": "service_config.py.tmpl",
            f"{home}/{package}/main.py": "service_main.py.tmpl",
            f"{home}/{package}/service.py": "service_service.py.tmpl",
            f"proto/sage/{name}/v1/{name}.proto": "service.proto.tmpl",
            f"tests/unit/{package}/test_{name}_service.py": "test_service.py.tmpl",
        },
        texts={f"{KUBERNETES}/{dashed}.yaml": manifest(root, words, port)},
        words={**words, "version": common_version(root), "port": str(port), "metrics_port": str(9100 + port % 10)},
        edits={**_edits(words, port), **compose_edits(words, port), **kubernetes_edits(words, port)},
        generated=[f"libs/python/sage/{name}"],
        commands=[["-m", "sage_tools.stubs"], ["-c", CHECK, dashed]],
        next_steps=(
            "make dev, which installs the package",
            f"write the contract into proto/sage/{name}/v1/{name}.proto, run sage-dev stubs, and answer it in "
            f"{home}/{package}/service.py; main.py is where its objects meet",
            "what it publishes and reads on NATS: rights_by_identity() in sage_platform/mesh_tls/nats_rights.py",
            f"pytest tests/unit/{package} tests/architecture; then `sage up` starts it beside the others",
            "name it in ARCHITECTURE.md and in the README's table of services",
        ),
    )


def _free_port(ports: str) -> int:
    """Return a gRPC port whose last digit, which its metrics port has too, no other has."""
    taken = {int(port) % 10 for port in re.findall(r"^    \w+_GRPC = (\d+)$", ports, re.MULTILINE)}
    for port in range(50050, 50060):
        if port % 10 not in taken:
            return port
    raise UnprocessableError(f"{PORTS} has a gRPC port for each last digit; metrics ports would clash")


def _edits(words: dict[str, str], port: int) -> dict[str, list[Edit]]:
    name, dashed, constant = words["name"], words["dashed"], words["NAME"]
    package = f"sage_{name}"
    last_entry = '    ServiceEntry("dataflow-worker", SagePorts.DATAFLOW_WORKER_GRPC, edge=True),\n'
    rights = f'        "{dashed}": Rights(publish=(subjects.HELLO,), subscribe=(subjects.HEARTBEAT,)),\n'
    return {
        ".importlinter": [_in_import_contracts(package)],
        "pyproject.toml": [
            after('"sage_gateway", "sage_dataflow_worker",', f'\n  "{package}",'),
            after(":services/dataflow-worker", f":services/{dashed}"),
            after('"sage_dataflow_worker.service",', f' "{package}.service",'),
        ],
        "install.sh": [replaced("gateway dataflow-worker)", f"gateway dataflow-worker {dashed})")],
        PORTS: [after("    DATAFLOW_WORKER_GRPC = 50056\n", f"    {constant}_GRPC = {port}\n")],
        "libs/python/sage_common/setting_sources.py": [after('    "dataflow_worker",\n', f'    "{name}",\n')],
        "libs/python/sage_cli/mesh/services.py": [
            after(last_entry, f'    ServiceEntry("{dashed}", SagePorts.{constant}_GRPC),\n')
        ],
        "libs/python/sage_platform/mesh_tls/nats_rights.py": [
            _in_tuple("SERVICES", dashed),
            before("        # A program that joins the ring as an edge, or publishes jobs.\n", rights),
        ],
        "mkdocs.yml": [
            after(
                "      - The classifier: services/classifier.md\n",
                f"      - The {words['spoken']}: services/{dashed}.md\n",
            )
        ],
    }


def _in_import_contracts(package: str) -> Edit:
    """Put the package beside the last service: among the packages, in the layer, among those without torch."""

    def edit(text: str) -> str:
        in_lists = re.sub(rf"^    {LAST_PACKAGE}$", rf"\g<0>\n    {package}", text, flags=re.MULTILINE)
        return replaced(f"| {LAST_PACKAGE}\n", f"| {LAST_PACKAGE} | {package}\n")(in_lists)

    return edit


def _in_tuple(variable: str, item: str) -> Edit:
    """Add a text to a tuple of texts, which stands on one line as long as it has room there."""

    def edit(text: str) -> str:
        match = re.search(rf"^{variable} = (\([^()]*\))$", text, re.MULTILINE)
        if match is None:
            raise UnprocessableError(f"no `{variable} = (…)` of texts alone")
        names = [f'"{one}"' for one in (*ast.literal_eval(match[1]), item)]
        line = f"{variable} = ({', '.join(names)})"
        several = "".join(f"    {one},\n" for one in names)
        return text.replace(match[0], line if len(line) <= WIDTH else f"{variable} = (\n{several})")

    return edit
