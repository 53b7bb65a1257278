"""One call of a gateway's management API: JSON there and back."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import orjson

from sage_client.gateway_answers import object_of
from sage_client.http import HttpTransport

ROOT = "/v1/management"
CALL_SECONDS = 30.0


class RestCall:
    """Asks the gateway that ``transport`` speaks to. Failures are SageErrors."""

    def __init__(self, transport: HttpTransport) -> None:
        self.transport = transport

    async def ask(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: object = None,
        *,
        root: str = ROOT,
        timeout_seconds: float = CALL_SECONDS,
    ) -> dict[str, Any]:
        """Return the object that is answered.

        Args:
            query: parameters; those that are None or empty are left out.
        """
        given = urlencode({name: value for name, value in (query or {}).items() if value not in ("", None)})
        headers = {"accept": "application/json"}
        data = None
        if body is not None:
            headers["content-type"] = "application/json"
            data = orjson.dumps(body)
        url = f"{root}{path}{'?' if given else ''}{given}"
        async with self.transport.open(method, url, data, headers, timeout_seconds) as response:
            answer = await response.read()
        return object_of(answer)


def path_of(collection: str, name: str) -> str:
    """Return the path of one thing of a collection, whose name may hold anything."""
    return f"{collection}/{quote(name, safe='')}"
