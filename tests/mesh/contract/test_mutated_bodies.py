"""Spoilt bodies of every operation: each is answered, as its API answers, and nothing stays behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import aiohttp
import pytest
from fixtures.eventually import eventually
from fixtures.request_bodies import SEEDS, SeedRequest, mutations
from fixtures.vendor_errors import error_of

from sage_benchmark.isolated_mesh import IsolatedMesh

AT_ONCE = 16
ANSWER_SECONDS = 30.0
MOST_GROWTH_BYTES = 48 * 1024 * 1024
FAILED = (500, 502)


class Sender:
    """Sends requests with an operator's key and looks at each answer."""

    def __init__(self, http: aiohttp.ClientSession, key: str) -> None:
        self._http = http
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []

    async def send(self, request: SeedRequest, body: bytes) -> None:
        async with self._http.request(request.method, request.path, data=body, headers=self._headers) as response:
            answer = await response.read()
        self.statuses[response.status] += 1
        try:
            assert response.status not in FAILED, answer
            if response.status >= 400:
                error_of(request.path, response.status, answer)
        except (AssertionError, KeyError, ValueError) as error:
            self.wrong.append(f"{request.method} {request.path} {body[:300]!r}: {response.status} {error}")

    async def send_all(self, requests: Iterator[tuple[SeedRequest, bytes]]) -> None:
        async def take() -> None:
            for request, body in requests:
                await self.send(request, body)

        await asyncio.gather(*(take() for _ in range(AT_ONCE)))


async def spoil(mesh: IsolatedMesh, key: str, count: int, seed: int) -> Counter[int]:
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(mesh.gateway_url, timeout=timeout) as http:
        sender = Sender(http, key)
        # What is loaded and cached at the first use of each operation does not count.
        await sender.send_all(mutations(len(SEEDS) * 4, seed + 1))
        sender.statuses.clear()
        gateway = mesh.process("gateway")
        before, open_files = gateway.memory_info().rss, gateway.num_fds()
        await sender.send_all(mutations(count, seed))
        assert not sender.wrong, "\n".join(sender.wrong[:20])
        assert gateway.memory_info().rss - before < MOST_GROWTH_BYTES
        assert sender.statuses.total() == count
        chat = next(request for request in SEEDS if request.path == "/v1/chat/completions")
        async with http.post(chat.path, json=chat.body, headers=sender._headers) as answer:
            assert answer.status == 200
        statuses = sender.statuses
    await eventually(lambda: gateway.num_fds() <= open_files, seconds=10)
    return statuses


async def test_every_body_is_taken_before_it_is_spoilt(rough_mesh: IsolatedMesh, operator_key: str) -> None:
    """Else nothing would be spoilt but what is refused anyway."""
    async with aiohttp.ClientSession(rough_mesh.gateway_url) as http:
        headers = {"authorization": f"Bearer {operator_key}"}
        for request in SEEDS:
            async with http.request(request.method, request.path, json=request.body, headers=headers) as response:
                answer = await response.text()
            assert request.code in answer if request.code else response.status in (200, 201), (request, answer)


async def test_spoilt_bodies_are_answered_and_leave_nothing(rough_mesh: IsolatedMesh, operator_key: str) -> None:
    statuses = await spoil(rough_mesh, operator_key, 1000, seed=7)
    assert statuses[400] > 300
    assert statuses[200] > 50


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_ten_thousand_spoilt_bodies_are_answered_and_leave_nothing(
    rough_mesh: IsolatedMesh, operator_key: str
) -> None:
    statuses = await spoil(rough_mesh, operator_key, 10_000, seed=70)
    assert statuses[400] > 3000
