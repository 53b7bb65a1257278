from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from fixtures.eventually import eventually
from fixtures.issuer import AUDIENCE, Issuer, running_issuer
from fixtures.manual_clock import ManualClock

from sage_common.api_keys import ApiKeys, Caller
from sage_common.errors import (
    ConfigurationError,
    PermissionDeniedError,
    SageError,
    UnauthenticatedError,
    UnavailableError,
)
from sage_common.oidc_settings import OidcSettings
from sage_gateway.credentials import Credentials
from sage_gateway.oidc.issuer_tokens import IssuerTokens
from sage_gateway.oidc.key_source import KeySource
from sage_gateway.oidc.signing_keys import SigningKeys

NOW = 1_900_000_000.0


@pytest.fixture(scope="module")
def shared() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        issuer.add_key("second")
        yield issuer


class Gate:
    """What checks the tokens of an issuer, with clocks of the test's own."""

    def __init__(self, issuer: Issuer, **settings: Any) -> None:
        self.wall = NOW
        self.clock = ManualClock()
        chosen = OidcSettings(issuer=issuer.url, audience=AUDIENCE, **{"timeout_seconds": 0.3, **settings})
        self.signing = SigningKeys(
            KeySource(chosen), self.clock, refetch_seconds=10, fresh_seconds=chosen.jwks_fresh_seconds
        )
        self.tokens = IssuerTokens(chosen, self.signing, lambda: self.wall)
        self.keys = ApiKeys({"k": "team-k"})
        self.keys.take_tokens(self.tokens)

    async def caller(self, token: str) -> Caller:
        authorization = f"Bearer {token}"
        await self.keys.prepare(authorization)
        return self.keys.caller(authorization)


async def test_a_token_stands_for_the_tenant_that_it_claims(shared: Issuer) -> None:
    caller = await Gate(shared).caller(shared.token(now=NOW))
    assert (caller.tenant, caller.operator, caller.from_issuer) == ("team-a", False, True)


async def test_api_keys_are_taken_beside_tokens(shared: Issuer) -> None:
    gate = Gate(shared)
    assert (await gate.caller("k")).tenant == "team-k"
    with pytest.raises(UnauthenticatedError, match="API key is not known"):
        await gate.caller("another")


@pytest.mark.parametrize("roles", [["x", "sage-operator"], "x sage-operator"])
async def test_a_role_makes_an_operator(shared: Issuer, roles: object) -> None:
    assert (await Gate(shared).caller(shared.token(now=NOW, roles=roles))).operator


@pytest.mark.parametrize("roles", [["sage-operators"], "not-sage-operator", {"sage-operator": True}, None, 7])
async def test_what_is_not_the_role_makes_none(shared: Issuer, roles: object) -> None:
    assert not (await Gate(shared).caller(shared.token(now=NOW, roles=roles))).operator


async def test_claims_may_be_nested_or_have_dots_in_their_names(shared: Issuer) -> None:
    gate = Gate(shared, tenant_claim="https://x.example/tenant", roles_claim="realm_access.roles")
    claims = {"https://x.example/tenant": "team-b", "realm_access": {"roles": ["sage-operator"]}}
    caller = await gate.caller(shared.token(now=NOW, **claims))
    assert (caller.tenant, caller.operator) == ("team-b", True)


@pytest.mark.parametrize("tenant", [None, "", 7, ["team-a"], "two\nlines", "x" * 200])
async def test_a_token_without_a_tenant_is_refused_with_the_claim_that_is_missing(
    shared: Issuer, tenant: object
) -> None:
    with pytest.raises(PermissionDeniedError, match=r"claim 'tenant' .*oidc\.tenant_claim"):
        await Gate(shared).caller(shared.token(now=NOW, tenant=tenant))


async def test_an_expired_token_is_refused_after_the_leeway_and_also_when_it_was_taken_before(shared: Issuer) -> None:
    gate = Gate(shared, leeway_seconds=30)
    token = shared.token(now=NOW, seconds=60)
    assert (await gate.caller(token)).tenant == "team-a"
    gate.wall = NOW + 89
    assert (await gate.caller(token)).tenant == "team-a"
    gate.wall = NOW + 90
    with pytest.raises(UnauthenticatedError, match="expired 30 s ago"):
        await gate.caller(token)


async def test_a_clock_that_jumps_back_takes_no_token_before_its_time(shared: Issuer) -> None:
    gate = Gate(shared, leeway_seconds=30)
    token = shared.token(now=NOW)
    await gate.caller(token)
    gate.wall = NOW - 31
    with pytest.raises(UnauthenticatedError, match=r"valid in 31 s only; compare this machine's clock"):
        await gate.caller(token)


async def test_a_clock_that_jumps_asks_the_issuer_no_more_often(shared: Issuer) -> None:
    gate = Gate(shared)
    asked = shared.asked
    for wall in (NOW, NOW + 1e8, NOW - 1e8):
        gate.wall = wall
        await gate.caller(shared.token(now=wall))
    assert shared.asked - asked == 1


def forged(issuer: Issuer, header: dict[str, object], signature: bytes = b"") -> str:
    claims = {"iss": issuer.url, "aud": AUDIENCE, "tenant": "team-a", "exp": NOW + 60}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, 7, "HS256", "RS384"])
async def test_an_algorithm_that_is_not_allowed_is_refused_by_its_name(shared: Issuer, algorithm: object) -> None:
    with pytest.raises(UnauthenticatedError):
        await Gate(shared).caller(forged(shared, {"alg": algorithm, "kid": "first", "typ": "JWT"}))


async def test_a_public_key_is_no_secret_to_sign_with(shared: Issuer) -> None:
    import hashlib
    import hmac

    public = shared.keys["first"].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    unsigned = forged(shared, {"alg": "HS256", "kid": "first"}).rpartition(".")[0]
    mac = base64.urlsafe_b64encode(hmac.new(pem, unsigned.encode(), hashlib.sha256).digest()).rstrip(b"=").decode()
    with pytest.raises(UnauthenticatedError, match="signed with 'HS256'"):
        await Gate(shared).caller(f"{unsigned}.{mac}")


@pytest.mark.parametrize("algorithms", [["none"], ["HS256"], ["RS256", "HS512"], []])
def test_algorithms_that_anybody_can_sign_with_cannot_be_set(algorithms: list[str]) -> None:
    with pytest.raises(ValueError, match="choose of ES256"):
        OidcSettings(algorithms=tuple(algorithms))


async def test_a_symmetric_key_among_those_published_verifies_nothing() -> None:
    with running_issuer() as issuer:
        secret = base64.urlsafe_b64encode(b"s" * 32).rstrip(b"=").decode()
        issuer.published["shared"] = {"kty": "oct", "kid": "shared", "k": secret, "alg": "HS256"}
        token = jwt.encode({"exp": NOW + 60}, b"s" * 32, algorithm="HS256", headers={"kid": "shared"})
        with pytest.raises(UnauthenticatedError, match="signed with 'HS256'"):
            await Gate(issuer).caller(token)


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
async def test_a_key_that_names_no_algorithm_verifies_all_of_its_kind_that_are_accepted(algorithm: str) -> None:
    with running_issuer() as issuer:
        del issuer.published["first"]["alg"]
        token = issuer.token(now=NOW, algorithm=algorithm)
        assert (await Gate(issuer, algorithms=(algorithm,)).caller(token)).tenant == "team-a"
        with pytest.raises(UnauthenticatedError, match=f"signed with '{algorithm}'; accepted are ES256"):
            await Gate(issuer, algorithms=("ES256",)).caller(token)
        with pytest.raises(UnauthenticatedError, match="not for this service"):
            await Gate(issuer, algorithms=("ES256",)).caller(forged(issuer, {"alg": "ES256", "kid": "first"}))


async def test_a_key_that_names_its_algorithm_verifies_no_other(shared: Issuer) -> None:
    gate = Gate(shared, algorithms=("RS256", "RS512"))
    with pytest.raises(UnauthenticatedError, match="its key is for 'RS256', and it is signed with 'RS512'"):
        await gate.caller(shared.token(now=NOW, algorithm="RS512"))


async def test_a_changed_claim_is_a_forgery(shared: Issuer) -> None:
    head, claims, signature = shared.token(now=NOW).split(".")
    changed = json.loads(base64.urlsafe_b64decode(claims + "=="))
    changed["tenant"] = "team-b"
    claims = base64.urlsafe_b64encode(json.dumps(changed).encode()).rstrip(b"=").decode()
    with pytest.raises(UnauthenticatedError, match="signature is not its issuer's"):
        await Gate(shared).caller(f"{head}.{claims}.{signature}")


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://another.example"}, {"iss": None}, {"aud": "another"}, {"aud": None}, {"aud": ["x", "y"]},
        {"exp": None}, {"exp": "tomorrow"}, {"exp": True}, {"exp": 1e300}, {"nbf": "soon"},
    ],
)  # fmt: skip
async def test_a_token_that_is_for_others_or_has_no_times_is_refused(shared: Issuer, claims: dict[str, object]) -> None:
    with pytest.raises(UnauthenticatedError):
        await Gate(shared).caller(shared.token(now=NOW, **claims))


@pytest.mark.parametrize(
    "token", ["eyJ..", "eyJhbGciOiJSUzI1NiJ9.e30.", "eyJ" + "A" * 20_000 + ".a.b", "eyJ\xff.a.b", "eyJbW10.a.b"]
)
async def test_what_only_looks_like_a_token_is_refused(shared: Issuer, token: str) -> None:
    with pytest.raises(UnauthenticatedError):
        await Gate(shared).caller(token)


async def test_a_new_key_of_the_issuer_is_asked_for_and_invented_ones_do_not_flood_it() -> None:
    with running_issuer() as issuer:
        gate = Gate(issuer)
        await gate.caller(issuer.token(now=NOW))
        issuer.add_key("rotated")
        gate.clock.advance(11)
        assert (await gate.caller(issuer.token("rotated", now=NOW))).tenant == "team-a"
        assert issuer.asked == 2
        for number in range(20):
            header = {"alg": "RS256", "kid": f"invented-{number}"}
            with pytest.raises(UnauthenticatedError, match=r"invented-\d+', which .* does not list"):
                await gate.caller(forged(issuer, header))
        assert issuer.asked == 2


async def test_a_key_that_the_issuer_withdrew_ends_with_what_was_signed_with_it() -> None:
    with running_issuer() as issuer:
        gate = Gate(issuer, jwks_fresh_seconds=60)
        token = issuer.token(now=NOW)
        await gate.caller(token)
        del issuer.published["first"]
        issuer.add_key("second")
        gate.clock.advance(61)
        await gate.caller(token)  # the keys are asked for beside it
        await gate.caller(issuer.token("second", now=NOW))
        with pytest.raises(UnauthenticatedError, match=r"'first', which .* does not list"):
            await gate.caller(token)


async def test_an_issuer_that_goes_away_takes_no_keys_that_are_known() -> None:
    with running_issuer() as issuer:
        gate = Gate(issuer, jwks_fresh_seconds=60)
        await gate.caller(issuer.token(now=NOW))
    gate.clock.advance(61)
    assert (await gate.caller(issuer.token(now=NOW))).tenant == "team-a"


async def test_an_issuer_that_is_away_is_a_clear_error_and_its_tokens_are_taken_once_it_is_back() -> None:
    with running_issuer() as issuer:
        issuer.stalled.set()
        gate = Gate(issuer)
        token = issuer.token(now=NOW)
        for _ in range(3):  # only the first waits
            with pytest.raises(UnavailableError, match=r"issuer http://127.* cannot be read .*cannot be checked") as no:
                await asyncio.wait_for(gate.caller(token), 5)
            assert (no.value.code, no.value.retryable) == ("issuer_unreachable", True)
        assert (await gate.caller("k")).tenant == "team-k"
        issuer.stalled.clear()
        issuer.released.set()
        gate.clock.advance(11)
        assert (await gate.caller(token)).tenant == "team-a"


@pytest.mark.parametrize(
    ("path", "why"), [("/moved", "302"), ("/nowhere", "404"), ("/.well-known/openid-configuration", "keys")]
)
async def test_what_is_no_set_of_keys_is_named(shared: Issuer, path: str, why: str) -> None:
    with pytest.raises(UnavailableError, match=why):
        await Gate(shared, jwks_url=f"{shared.url}{path}").caller(shared.token(now=NOW))


@pytest.mark.parametrize("answer", [b"no HTTP\r\n\r\n", b'{"keys": ["first"]}', b"[" * 100_000])
async def test_an_issuer_that_is_broken_is_away(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"" if answer.startswith(b"no HTTP") else b"HTTP/1.0 200 OK\r\n\r\n"
        writer.write(head + answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        source = KeySource(OidcSettings(issuer=f"http://127.0.0.1:{port}", jwks_url=f"http://127.0.0.1:{port}/keys"))
        with pytest.raises(UnavailableError, match="cannot be read") as away:
            await source.fetch()
    assert away.value.code == "issuer_unreachable"


async def test_the_configuration_of_another_issuer_is_not_believed(shared: Issuer) -> None:
    settings = OidcSettings(issuer=f"{shared.url}/", audience=AUDIENCE)
    with pytest.raises(UnavailableError, match="configuration is that of the issuer"):
        await KeySource(settings).fetch()


@pytest.mark.parametrize("name", ["issuer", "jwks_url"])
def test_keys_do_not_come_over_the_network_in_the_clear(name: str) -> None:
    with pytest.raises(ValueError, match="https"):
        OidcSettings(**{name: "http://issuer.example"})  # type: ignore[arg-type]


async def test_an_issuer_without_an_audience_is_a_mistake_of_the_settings() -> None:
    settings = OidcSettings(issuer="https://issuer.example")
    with pytest.raises(ConfigurationError, match="SAGE_OIDC_AUDIENCE"):
        IssuerTokens(settings, SigningKeys(KeySource(settings), ManualClock(), refetch_seconds=1, fresh_seconds=1))


async def test_a_subject_ends_with_the_last_of_its_tokens(shared: Issuer) -> None:
    gate = Gate(shared, leeway_seconds=0)
    first = await gate.caller(shared.token(now=NOW, seconds=60))
    later = await gate.caller(shared.token(now=NOW, seconds=90))
    other = await gate.caller(shared.token(now=NOW, seconds=60, sub="grace"))
    assert first.key_id == later.key_id != other.key_id
    gate.wall = NOW + 61
    assert gate.keys.ended_because(first.key_id) is None
    assert ended_code(gate, other) == "token_expired"
    gate.wall = NOW + 91
    assert ended_code(gate, first) == "token_expired"
    gate.tokens.forget_expired()
    assert gate.tokens._valid == {}
    assert ended_code(gate, first) == "token_expired"


def ended_code(gate: Gate, caller: Caller) -> str:
    error = gate.keys.ended_because(caller.key_id)
    return "" if error is None else error.code


async def test_a_subject_ends_with_the_key_that_its_tokens_are_signed_with() -> None:
    with running_issuer() as issuer:
        gate = Gate(issuer)
        caller = await gate.caller(issuer.token(now=NOW))
        withdrawn = issuer.published.pop("first")
        issuer.add_key("second")
        gate.clock.advance(11)
        await renewed(gate, issuer)
        assert ended_code(gate, caller) == "unknown_signing_key"
        # A token by the new key is as good as the old one was.
        await gate.caller(issuer.token("second", now=NOW))
        assert ended_code(gate, caller) == ""
        # The same id for another key is another key.
        issuer.published = {"second": {**withdrawn, "kid": "second"}}
        gate.clock.advance(11)
        await renewed(gate, issuer)
        assert ended_code(gate, caller) == "unknown_signing_key"


async def test_keys_are_renewed_no_more_often_than_they_may_be_asked_for_and_hold_no_new_key_up() -> None:
    with running_issuer() as issuer:
        gate = Gate(issuer)
        caller = await gate.caller(issuer.token(now=NOW))
        gate.clock.advance(11)
        await renewed(gate, issuer)
        asked = issuer.asked
        gate.signing.renew()
        assert (gate.signing._asking, issuer.asked) == (None, asked)
        issuer.add_key("second")
        assert (await gate.caller(issuer.token("second", now=NOW))).key_id == caller.key_id


async def test_an_issuer_that_is_away_ends_no_answer() -> None:
    with running_issuer() as issuer:
        gate = Gate(issuer)
        caller = await gate.caller(issuer.token(now=NOW))
        issuer.stalled.set()
        gate.clock.advance(11)
        gate.signing.renew()
        await eventually(lambda: gate.signing._asking is None)
        issuer.released.set()
        assert ended_code(gate, caller) == ""


async def renewed(gate: Gate, issuer: Issuer) -> None:
    asked = issuer.asked
    gate.signing.renew()
    await eventually(lambda: issuer.asked == asked + 1 and gate.signing._asking is None)


async def test_a_service_is_called_as_the_mesh_for_the_bearer_of_a_token(shared: Issuer) -> None:
    gate = Gate(shared)
    credentials = Credentials(gate.keys)
    tenants, operators = (shared.token(now=NOW, roles=roles) for roles in ([], ["sage-operator"]))
    for token in (tenants, operators):
        await gate.caller(token)
    assert credentials.forwarded({"authorization": f"Bearer {tenants}"}) == (None, "team-a")
    assert credentials.forwarded({"authorization": f"Bearer {operators}"}) == (None, "")
    assert credentials.forwarded({"authorization": "Bearer k"}) == ("k", "")
    with pytest.raises(SageError):
        credentials.forwarded({"authorization": f"Bearer {tenants}x"})
