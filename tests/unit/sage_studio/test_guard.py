"""Whom the studio answers."""

from __future__ import annotations

from typing import Any

import pytest

from sage_common.allowed_hosts import AllowedHosts
from sage_studio.guard import Guard


async def passed(scope: Any, receive: Any, send: Any) -> None:
    kind = scope["type"]
    await send({"type": f"{kind}.response.start", "status": 200, "headers": []} if kind == "http" else {"type": "in"})


async def asked(kind: str, **headers: str) -> dict[str, Any]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "method": "GET", "headers": given}
    await Guard(passed, AllowedHosts((), ("studio.example",)))(scope, receive, send)  # type: ignore[arg-type]
    return sent[0]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost:8889"},
        {"host": "studio.example:8889", "origin": "http://studio.example:8889"},
        {"host": "127.0.0.1:8889", "origin": "http://127.0.0.1:8889"},
    ],
)
async def test_its_own_pages_at_its_own_names_are_answered(headers: dict[str, str]) -> None:
    answer = await asked("http", **headers)
    assert (answer["status"], (b"x-frame-options", b"DENY") in answer["headers"]) == (200, True)
    assert (await asked("websocket", **headers))["type"] == "in"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:8889"},
        {"host": "localhost:8889", "origin": "http://evil.example"},
        {"host": "localhost:8889", "origin": "http://localhost:8890"},
        {"host": "localhost:8889", "origin": "null"},
        {"host": "localhost:8889", "origin": "http://["},
    ],
)
async def test_other_names_and_pages_of_other_origins_are_not(headers: dict[str, str]) -> None:
    assert (await asked("http", **headers))["status"] == 403
    answer = await asked("websocket", **headers)
    assert (answer["type"], answer["code"]) == ("websocket.close", 1008)
