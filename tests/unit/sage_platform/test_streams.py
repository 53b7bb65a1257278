from __future__ import annotations

import pytest
from nats.js.errors import BadRequestError
from structlog.testing import capture_logs

from sage_platform import streams

PEERS_AWAY = BadRequestError(code=400, err_code=10005, description="no suitable peers for placement, peer offline")
TAKEN = BadRequestError(code=400, err_code=10058, description="stream name already in use")


class Server:
    """Answers with errors first."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.asked = 0

    async def create(self) -> None:
        self.asked += 1
        if self._errors:
            raise self._errors.pop(0)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_PEERS_SECONDS", 0)


async def test_servers_of_a_cluster_that_find_each_other_are_waited_for_and_that_is_said_once() -> None:
    server = Server(PEERS_AWAY, PEERS_AWAY)
    with capture_logs() as logs:
        await streams.make("KV_leases", server.create)
    assert server.asked == 3
    assert [(line["event"], line["stream"]) for line in logs] == [
        ("waiting for servers of the NATS cluster", "KV_leases")
    ]


async def test_any_other_refusal_is_told_at_once() -> None:
    server = Server(TAKEN)
    with pytest.raises(BadRequestError):
        await streams.make("KV_leases", server.create)
    assert server.asked == 1
    assert not streams.are_peers_away(TAKEN)


async def test_servers_that_do_not_come_are_given_up_with_the_servers_own_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "_MADE_SECONDS", 0)
    with pytest.raises(BadRequestError, match="no suitable peers"):
        await streams.make("KV_leases", Server(*[PEERS_AWAY] * 3).create)
