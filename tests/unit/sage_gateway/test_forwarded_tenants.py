"""For whom the workers are asked by an operator with an issuer's token, for whom they are called as the mesh."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request
from starlette.routing import Route

from sage_client.jobs.job_views import JobView
from sage_common.api_keys import ApiKeys, Caller
from sage_common.errors import NotFoundError
from sage_gateway.credentials import Credentials
from sage_gateway.job_routes import JobRoutes
from sage_gateway.knowledge_routes import KnowledgeRoutes


class OperatorOfAcme:
    """Whoever has a token is an operator of one tenant."""

    def may_be_one(self, credential: str) -> bool:
        return True

    async def prepare(self, credential: str) -> None:
        pass

    def caller(self, token: str) -> Caller:
        return Caller("acme", True, from_issuer=True)


class Worker:
    """Remembers what it is called for, and as whom."""

    def __init__(self) -> None:
        self.called: list[tuple[str | None, str, str]] = []

    def knowledge_for(self, key: str | None, tenant: str, acting_for: str) -> Any:
        self.called.append((key, tenant, acting_for))
        raise NotFoundError("none")

    def jobs_for(self, key: str | None, acting_for: str) -> Any:
        worker = self

        class Jobs:
            async def submit(self, pipeline: object, job_id: str = "", *, tenant: str = "") -> JobView:
                worker.called.append((key, tenant, acting_for))
                raise NotFoundError("none")

        return Jobs()


async def ask(routes: list[Route], method: str, named: str) -> None:
    route = next(each for each in routes if "{" not in each.path and method in (each.methods or ()))
    headers = [(b"authorization", b"Bearer eyJ.a.b"), *([(b"x-sage-tenant", named.encode())] if named else [])]
    scope = {"type": "http", "method": method, "path": route.path, "query_string": b"", "headers": headers}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    with pytest.raises(NotFoundError):
        await route.endpoint(Request(scope, receive))


@pytest.mark.parametrize(("named", "tenant"), [("", "acme"), ("acme", "acme"), ("other", "other")])
async def test_an_operator_with_a_token_works_in_its_own_tenant_unless_it_names_another(
    named: str, tenant: str
) -> None:
    keys = ApiKeys({})
    keys.take_tokens(OperatorOfAcme())
    worker, credentials = Worker(), Credentials(keys)
    await ask(KnowledgeRoutes(worker.knowledge_for, credentials, 1.0).routes(), "GET", named)
    await ask(JobRoutes(worker.jobs_for, credentials, 1.0).routes(), "POST", named)
    assert worker.called == [(None, tenant, "")] * 2
