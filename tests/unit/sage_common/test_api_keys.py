"""Who calls, by the key that is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage_common.api_keys import ANYBODY, ApiKeys, Caller, KeyHolder, refuse_if_no_operator
from sage_common.config import load
from sage_common.errors import ConfigurationError, PermissionDeniedError, UnauthenticatedError, UnavailableError
from sage_common.issued_keys import IssuedKey, key_digest
from sage_common.service_settings import AccessSettings, NatsSettings, ServiceSettings

KEYS = ApiKeys(
    {"k-acme": "acme", "k-chief": KeyHolder(tenant="acme", operator=True), "k-ops": "ops"}, ["ops"], "mesh-token"
)


@pytest.mark.parametrize(
    ("key", "caller"),
    [
        ("k-acme", Caller("acme", False)),
        ("k-chief", Caller("acme", True)),
        ("k-ops", Caller("ops", True)),
        ("mesh-token", ANYBODY),
    ],
)
def test_a_key_says_who_calls(key: str, caller: Caller) -> None:
    assert KEYS.caller(f"Bearer {key}") == caller


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer k-nobody", "Basic k-ops", "k-ops", "Bearer K-OPS"])
def test_without_a_known_key_nobody_calls(value: str | None) -> None:
    with pytest.raises(UnauthenticatedError):
        KEYS.caller(value)


def test_without_keys_everybody_may_do_everything() -> None:
    keys = ApiKeys({}, mesh_token="mesh-token")
    assert not keys.required
    assert keys.caller(None) == ANYBODY


def test_work_for_another_tenant_is_an_operators_right() -> None:
    assert Caller("acme", False).acts_for(None) == "acme"
    assert Caller("acme", False).acts_for("acme") == "acme"
    with pytest.raises(PermissionDeniedError, match="another tenant's"):
        Caller("acme", False).acts_for("rival")
    assert Caller("ops", True).acts_for("rival") == "rival"
    assert ANYBODY.acts_for(None) is None


def test_orders_are_for_operators_and_the_refusal_says_how_to_become_one() -> None:
    refuse_if_no_operator(Caller("ops", True))
    with pytest.raises(PermissionDeniedError, match=r'"operator": true'):
        refuse_if_no_operator(Caller("acme", False))


def test_keys_set_for_the_gateway_hold_for_every_service(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another setting of that section is none of this one's business.
    monkeypatch.setenv("SAGE_GATEWAY_PORT", "0")
    monkeypatch.setenv("SAGE_GATEWAY_API_KEYS", '{"k-gateway": "acme"}')
    monkeypatch.setenv("SAGE_GATEWAY_OPERATORS", "acme")
    monkeypatch.setenv("SAGE_ACCESS_API_KEYS", '{"k-chief": {"tenant": "ops", "operator": true}}')
    keys = ServiceSettings.model_construct().known_keys(load(AccessSettings))
    assert keys.caller("Bearer k-gateway") == Caller("acme", True)
    assert keys.caller("Bearer k-chief") == Caller("ops", True)


def test_keys_in_the_config_file_hold_for_every_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "gateway: {port: 1, api_keys: {k-file: acme}}\naccess: {mesh_token_file: TOKEN}\n".replace(
            "TOKEN", str(tmp_path / "token")
        )
    )
    (tmp_path / "token").write_text("from-file\n")
    monkeypatch.setenv("SAGE_CONFIG_FILE", str(file))
    keys = ServiceSettings.model_construct().known_keys(load(AccessSettings))
    assert keys.caller("Bearer k-file") == Caller("acme", False)
    assert keys.caller("Bearer from-file") == ANYBODY


def test_a_token_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        load(AccessSettings, mesh_token_file=str(tmp_path / "nowhere")).token()


def test_no_representation_shows_a_secret() -> None:
    access = load(AccessSettings, api_keys={"canary-key": "acme"}, mesh_token="canary-token")
    nats = load(NatsSettings, url="nats://user:canary-password@nats.example:4222", token="canary-token")
    assert "canary" not in f"{access!r} {access} {KEYS!r} {vars(KEYS)} {nats!r}"
    assert "canary" not in nats.shown_url
    assert nats.shown_url == "nats://***@nats.example:4222"


def test_the_meshs_own_token_is_for_the_nats_server_of_this_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "sage").mkdir()
    (tmp_path / "sage" / "mesh.token").write_text("of-this-mesh")
    assert load(NatsSettings, url="nats://127.0.0.1:4222").current_token() == "of-this-mesh"
    for url in ("nats://nats.example:4222", "nats://127.0.0.1:1,nats://nats.example:2", "nats://user:pw@127.0.0.1:1"):
        assert load(NatsSettings, url=url).current_token() == ""
    assert load(NatsSettings, url="nats://nats.example:4222", token="given").current_token() == "given"


@pytest.mark.parametrize(
    "keys",
    [
        '{"canary-key": 7}',
        '{"canary-key": {"tenan": "acme"}}',
        '{"canary-key": {"tenant": "canary", "operator": "no?"}}',
        "canary-key",
    ],
)
def test_a_wrong_setting_is_named_without_the_secret_in_it(keys: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_ACCESS_API_KEYS", keys)
    with pytest.raises(ConfigurationError, match=r"(?i)api_keys") as caught:
        load(AccessSettings)
    assert "canary" not in caught.value.message


def _issued(key: str = "sage-k", **fields: object) -> IssuedKey:
    return IssuedKey("k", key_digest(key), "acme", **fields)  # type: ignore[arg-type]


def test_an_issued_key_says_who_calls_beside_those_of_the_settings() -> None:
    keys = ApiKeys({"k-acme": "acme"}, ["acme"])
    keys.set_issued([_issued()])
    assert keys.caller("Bearer sage-k") == Caller("acme", True, "k")
    assert keys.caller("Bearer k-acme") == Caller("acme", True)


@pytest.mark.parametrize(
    ("fields", "now", "reason"),
    [
        ({"expires_at": 100.0}, 99.9, None),
        ({"expires_at": 100.0}, 100.0, "has expired"),
        ({"revoked_at": 100.0}, 100.0, "was revoked"),
        # By the clock of this machine, which is behind the one that has revoked it, that is still to come.
        ({"revoked_at": 100.0}, 99.0, "was revoked"),
    ],
)
def test_an_issued_key_ends(fields: dict[str, float], now: float, reason: str | None) -> None:
    keys = ApiKeys({}, now=lambda: now)
    keys.set_issued([_issued(**fields)])
    if reason is None:
        assert keys.caller("Bearer sage-k").tenant == "acme"
    else:
        with pytest.raises(UnauthenticatedError, match=reason):
            keys.caller("Bearer sage-k")


def test_keys_that_have_all_ended_do_not_open_the_mesh() -> None:
    keys = ApiKeys({}, now=lambda: 200.0)
    keys.set_issued([_issued(revoked_at=100.0)])
    with pytest.raises(UnauthenticatedError):
        keys.caller(None)
    keys.set_issued([])
    assert keys.caller(None) == ANYBODY


def test_until_the_issued_keys_were_read_nobody_is_let_in_but_who_is_known_without_them() -> None:
    keys = ApiKeys({"k-acme": "acme"}, mesh_token="mesh-token")
    keys.await_issued()
    assert keys.caller("Bearer k-acme").tenant == "acme"
    assert keys.caller("Bearer mesh-token") == ANYBODY
    for value in (None, "Bearer sage-k"):
        with pytest.raises(UnavailableError, match="could not be read"):
            keys.caller(value)
    keys.set_issued([_issued()])
    assert keys.caller("Bearer sage-k").tenant == "acme"


def test_a_mesh_may_ask_for_keys_before_there_is_one() -> None:
    with pytest.raises(UnauthenticatedError):
        ApiKeys({}, always_required=True).caller(None)
