"""Whatever schemathesis makes of the description, every answer of a real mesh is one that is described."""

from __future__ import annotations

import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case, checks

from sage_benchmark.isolated_mesh import IsolatedMesh
from sage_gateway.openapi.served import document_json

SCHEMA = schemathesis.openapi.from_dict(orjson.loads(document_json()))
ANSWER_SECONDS = 20.0
# SAGE failed, or an engine of its own did: whatever was asked, neither may happen.
FAILED = (500, 502)
DESCRIBED = [
    checks.CHECKS.get_one(name)
    for name in (
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
    )
]


def examples(number: int) -> settings:
    return settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


def ask(case: Case, mesh: IsolatedMesh, key: str) -> None:
    response = case.call(base_url=mesh.gateway_url, headers={"authorization": f"Bearer {key}"}, timeout=ANSWER_SECONDS)
    assert response.status_code not in FAILED, response.text
    case.validate_response(response, checks=DESCRIBED)


@SCHEMA.parametrize()
@examples(5)
def test_every_answer_is_described(case: Case, rough_mesh: IsolatedMesh, operator_key: str) -> None:
    ask(case, rough_mesh, operator_key)


@pytest.mark.soak
@pytest.mark.timeout(600)
@SCHEMA.parametrize()
@examples(100)
def test_many_answers_are_described(case: Case, rough_mesh: IsolatedMesh, operator_key: str) -> None:
    ask(case, rough_mesh, operator_key)
