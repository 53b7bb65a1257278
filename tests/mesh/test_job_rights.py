"""Whose jobs a key shows and changes, on a mesh with keys: through the gateway as at the worker."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fixtures.process_mesh import static_mesh

import sage
from sage_benchmark.isolated_mesh import IsolatedMesh
from sage_client.jobs.job_client import open_jobs
from sage_client.jobs.jobs import Jobs
from sage_common.errors import ConflictError, NotFoundError, PermissionDeniedError, UnauthenticatedError

KEYS = {"k-acme": "acme", "k-other": "other", "k-ops": {"tenant": "ops", "operator": True}}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedMesh]:
    settings = {"SAGE_ACCESS_API_KEYS": json.dumps(KEYS)}
    with static_mesh(tmp_path_factory.mktemp("rights"), replicas={"dataflow-worker": 1}, settings=settings) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def target(request: pytest.FixtureRequest, mesh: IsolatedMesh) -> str:
    port = mesh.processes("dataflow-worker")[0].ports["grpc"]
    return mesh.gateway_url if request.param == "http" else f"grpc://127.0.0.1:{port}"


def one_record() -> sage.Pipeline:
    p = sage.Pipeline("one")
    p.source(records=[{"n": 1}]).sink("collection:out")
    return p


async def ended(jobs: Jobs, job_id: str) -> str:
    return [job.state async for job in jobs.watch(job_id)][-1]


async def test_a_job_is_its_tenants_and_the_operators(target: str) -> None:
    acme, other, ops, nobody = [
        await open_jobs(target, api_key=key) for key in ("k-acme", "k-other", "k-ops", "k-wrong")
    ]
    own = f"own-{target[:4]}"
    try:
        assert (await acme.submit(one_record(), own)).job_id == own
        assert await ended(acme, own) == "succeeded"
        for ask in (other.get, other.cancel, other.explain, other.savepoint, other.dead_letters, other.replay):
            with pytest.raises(NotFoundError, match="there is no job"):
                await ask(own)
        with pytest.raises(NotFoundError):
            await ended(other, own)
        with pytest.raises(NotFoundError):
            [piece async for piece in other.results(own)]
        assert own not in [job.job_id for job in await other.list_jobs()]
        with pytest.raises(ConflictError, match="is taken"):
            await other.submit(one_record(), own)
        with pytest.raises(PermissionDeniedError):
            await other.submit(one_record(), tenant="acme")
        with pytest.raises(UnauthenticatedError):
            await nobody.list_jobs()
        assert own in [job.job_id for job in await ops.list_jobs()]
        for_acme = await ops.submit(one_record(), tenant="acme")
        assert await ended(acme, for_acme.job_id) == "succeeded"
    finally:
        for jobs in (acme, other, ops, nobody):
            await jobs.close()
