"""The gate as a whole: in front of an application, and over the answers that bearers are getting."""

from __future__ import annotations

import time

import pytest
from fixtures.eventually import eventually
from fixtures.issuer import AUDIENCE, running_issuer

from sage_common.api_keys import ApiKeys
from sage_common.errors import SageError, UnauthenticatedError
from sage_common.oidc_settings import OidcSettings
from sage_gateway.answers_by_key import AnswersByKey
from sage_gateway.asgi import Message, Receive, Scope, Send
from sage_gateway.oidc import token_gate
from sage_gateway.oidc.token_gate import TokenGate
from sage_mesh.reply import Reply


async def test_a_bearer_is_let_in_and_its_answer_ends_when_its_token_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_gate, "LOOK_SECONDS", 0.01)
    stopped: list[SageError] = []
    keys, tenants = ApiKeys({}), []
    answers = AnswersByKey(keys.ended_because)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        (value,) = (value for name, value in scope["headers"] if name == b"authorization")
        caller = keys.caller(value.decode())
        tenants.append(caller.tenant)
        with answers.holding(caller.key_id, Reply("r", stopped.append)):
            await eventually(lambda: answers.end_invalid() or bool(stopped))

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    with running_issuer() as issuer:
        gate = TokenGate(OidcSettings(issuer=issuer.url, audience=AUDIENCE, leeway_seconds=0), keys, answers)
        try:
            token = issuer.token(now=time.time(), seconds=2)
            scope = {"type": "http", "headers": [(b"host", b"x"), (b"authorization", f"Bearer {token}".encode())]}
            await gate.over(app)(scope, receive, send)
        finally:
            await gate.stop()
    assert tenants == ["team-a"]
    assert isinstance(stopped[0], UnauthenticatedError)
    assert stopped[0].code == "token_expired"


async def test_keys_are_asked_for_again_while_a_bearer_gets_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_gate, "LOOK_SECONDS", 0.01)
    stopped: list[SageError] = []
    keys = ApiKeys({})
    answers = AnswersByKey(keys.ended_because)
    with running_issuer() as issuer:
        settings = OidcSettings(issuer=issuer.url, audience=AUDIENCE, refetch_seconds=0.05)
        gate = TokenGate(settings, keys, answers)
        try:
            authorization = f"Bearer {issuer.token(now=time.time())}"
            await keys.prepare(authorization)
            with answers.holding(keys.caller(authorization).key_id, Reply("r", stopped.append)):
                answers.end_invalid()
                assert not stopped
                issuer.published.clear()
                issuer.add_key("second")
                await eventually(lambda: answers.end_invalid() or bool(stopped))
        finally:
            await gate.stop()
    assert "withdrew the key" in stopped[0].message


async def test_an_issuer_that_is_away_does_not_hold_up_the_start_or_the_stop() -> None:
    gate = TokenGate(OidcSettings(issuer="http://127.0.0.1:9", audience=AUDIENCE), ApiKeys({}), AnswersByKey())
    await gate.stop()
