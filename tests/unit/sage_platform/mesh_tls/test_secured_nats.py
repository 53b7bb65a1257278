from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import random
import shutil
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from fixtures.eventually import eventually
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError

from sage_common.clock import MonotonicClock
from sage_common.errors import ConfigurationError, UnauthenticatedError, UnavailableError
from sage_common.service_settings import NatsSettings
from sage_platform import subjects
from sage_platform.bucket_leader import API as MOVE_LEADER
from sage_platform.issued_key_store import IssuedKeyStore
from sage_platform.kv import open_bucket, read_all
from sage_platform.mesh_tls.join_token import JoinToken
from sage_platform.mesh_tls.secured_folder import SecuredFolder
from sage_platform.nats_connection import connect
from sage_platform.nats_server import NatsServer, NatsServerOptions
from sage_platform.supervision.supervisor import Supervisor

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOW = datetime.datetime.now(datetime.timezone.utc)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secured")
    SecuredFolder(path, NOW).secure()
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    directory = tmp_path_factory.mktemp("nats")
    server = NatsServer(NatsServerOptions(directory=directory, tls_folder=certificates / "nats"))
    supervisor = Supervisor(
        [server.spec()],
        log_directory=directory,
        on_change=lambda status: None,
        clock=MonotonicClock(),
        generator=random.Random(0),
    )
    await supervisor.start()
    yield server
    await supervisor.stop()


Join = Callable[[str], contextlib.AbstractAsyncContextManager[Client]]


@pytest.fixture
def join(server: NatsServer, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> Join:
    """Connects as an identity."""

    @contextlib.asynccontextmanager
    async def joined(identity: str) -> AsyncIterator[Client]:
        monkeypatch.setenv("SAGE_TLS_FOLDER", str(certificates / identity))
        connection = await connect(NatsSettings(url=server.url, connect_timeout_seconds=3), name=identity)
        denied: list[str] = []

        async def on_error(error: Exception) -> None:
            denied.append(str(error))

        connection._error_cb = on_error
        connection.denied = denied  # type: ignore[attr-defined]
        try:
            yield connection
        finally:
            await connection.close()

    return joined


async def denials(connection: Client) -> list[str]:
    """What the server has denied so far: it answers a ping after everything that came before it."""
    await connection.flush()
    return list(connection.denied)  # type: ignore[attr-defined]


async def denial(connection: Client) -> str:
    """The first thing that the server denies."""
    await eventually(lambda: bool(connection.denied))  # type: ignore[attr-defined]
    return str(connection.denied[0]).lower()  # type: ignore[attr-defined]


async def test_a_service_talks_on_its_own_part_of_the_ring(join: Join) -> None:
    async with join("classifier") as classifier, join("gateway") as gateway:
        heard = await classifier.subscribe(subjects.CLASSIFY, queue=subjects.CLASSIFY_QUEUE)
        await classifier.flush()
        await gateway.publish(subjects.CLASSIFY, b"request")
        assert (await heard.next_msg(5)).data == b"request"
        frames = await gateway.subscribe(subjects.reply("gateway-1", "gateway"))
        await gateway.flush()
        await classifier.publish(subjects.reply("gateway-1", "gateway"), b"frame")
        assert (await frames.next_msg(5)).data == b"frame"
        assert await denials(classifier) + await denials(gateway) == []


@pytest.mark.parametrize(
    ("identity", "subject"),
    [
        ("classifier", subjects.CLASSIFY),
        ("classifier", subjects.dispatch("engine")),
        ("classifier", f"$KV.{subjects.BUCKET_KEYS}.some"),
        ("classifier", f"$JS.API.STREAM.CREATE.KV_{subjects.BUCKET_KEYS}"),
        ("embed-executor", subjects.schedule("main")),
        ("llm-coordinator", f"$KV.{subjects.BUCKET_TENANTS}.some"),
        ("scheduler", f"$JS.API.DIRECT.GET.KV_{subjects.BUCKET_RESPONSES}.$KV.{subjects.BUCKET_RESPONSES}.some"),
        ("scheduler", subjects.HEARTBEAT),
        ("gateway", subjects.dispatch("engine")),
        ("gateway", subjects.HEARTBEAT),
        ("dataflow-worker", subjects.reply("gateway-1", "gateway")),
        ("dataflow-worker", f"$KV.{subjects.BUCKET_KEYS}.some"),
        ("dataflow-worker", f"$JS.API.STREAM.MSG.GET.{subjects.FILES_STREAM}"),
        ("dataflow-worker", f"$JS.API.CONSUMER.CREATE.KV_{subjects.BUCKET_RESPONSES}.name.filter"),
        ("client", subjects.HEARTBEAT),
        ("client", subjects.reply("gateway-1", "gateway")),
    ],
)
async def test_a_service_cannot_publish_as_another(join: Join, identity: str, subject: str) -> None:
    async with join(identity) as connection:
        await connection.publish(subject, b"forged")
        denied = await denial(connection)
        assert "permissions violation for publish" in denied
        assert subject.lower() in denied


@pytest.mark.parametrize(
    ("identity", "subject"),
    [
        ("classifier", subjects.REPLY_ALL),
        ("classifier", ">"),
        ("client", subjects.replies("gateway")),
        ("client", "sage.v1.reply.*.*"),
        ("client", subjects.CLASSIFY),
        ("gateway", "_INBOX_classifier.>"),
        ("dataflow-worker", subjects.DISPATCH_ALL),
        ("embed-executor", "_INBOX.>"),
    ],
)
async def test_a_service_cannot_hear_what_is_for_another(join: Join, identity: str, subject: str) -> None:
    async with join(identity) as connection:
        await connection.subscribe(subject)
        assert "permissions violation for subscription" in await denial(connection)


async def test_every_service_reads_the_digests_of_keys_and_the_gateway_alone_makes_keys(join: Join) -> None:
    from sage_common.api_keys import ApiKeys

    async with join("gateway") as gateway, join("embed-executor") as executor:
        stores = []
        for connection in (gateway, executor):
            store = IssuedKeyStore(connection.jetstream(), ApiKeys({}))
            await store.start()
            stores.append(store)
        issued, _key = await stores[0].create("team-a")
        found = await read_all(await open_bucket(executor.jetstream(), subjects.BUCKET_KEYS))
        assert list(found) == [issued.key_id]
        with pytest.raises((NatsError, asyncio.TimeoutError)):
            await asyncio.wait_for(stores[1].create("team-b"), 0.5)
        assert f"$kv.{subjects.BUCKET_KEYS}." in await denial(executor)
        for store in stores:
            await store.stop()


async def test_a_scheduler_alone_has_servers_move_who_leads_the_leases(join: Join) -> None:
    async with join("scheduler") as scheduler:
        await open_bucket(scheduler.jetstream(), subjects.BUCKET_LEASES)
        leases, control = (f"{MOVE_LEADER}.KV_{name}" for name in (subjects.BUCKET_LEASES, subjects.BUCKET_CONTROL))
        # A server that is alone has nobody to move it to, and says so to whoever may ask.
        with pytest.raises(APIError):
            await scheduler.jetstream()._api_request(leases, timeout=5)
        assert await denials(scheduler) == []
        await scheduler.publish(control)
        assert control.lower() in await denial(scheduler)
    for identity in ("dataflow-worker", "gateway"):
        async with join(identity) as other:
            await other.publish(leases)
            assert leases.lower() in await denial(other)


async def test_the_operator_may_do_anything(join: Join) -> None:
    async with join("operator") as operator:
        heard = await operator.subscribe(">")
        await operator.publish(subjects.dispatch("engine"), b"")
        await heard.next_msg(5)
        assert await denials(operator) == []


async def test_nobody_connects_without_a_certificate(server: NatsServer, certificates: Path) -> None:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.load_verify_locations(certificates / "ca.pem")
    client = Client()
    with pytest.raises((OSError, NatsError)):
        await client.connect(server.url, tls=nobody, tls_handshake_first=True, allow_reconnect=False, connect_timeout=3)
    await client.close()


async def test_a_certificate_of_another_authority_is_refused_with_what_to_do(
    server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SecuredFolder(tmp_path / "other", NOW).secure()
    monkeypatch.setenv("SAGE_TLS_FOLDER", str(tmp_path / "other" / "gateway"))
    with pytest.raises((UnauthenticatedError, UnavailableError)) as caught:
        await connect(NatsSettings(url=server.url, connect_timeout_seconds=1), name="other")
    assert "certificate" in caught.value.message
    assert "sage mesh secure" in caught.value.message


async def test_a_client_in_the_clear_is_told_that_the_server_wants_a_certificate(server: NatsServer) -> None:
    with pytest.raises((UnauthenticatedError, UnavailableError)) as caught:
        await connect(NatsSettings(url=server.url, connect_timeout_seconds=1), name="plain")
    assert "SAGE_TLS_FOLDER" in caught.value.message


async def test_an_expired_certificate_is_refused(
    server: NatsServer, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    copy = tmp_path / "expired"
    shutil.copytree(certificates, copy)
    SecuredFolder(copy, NOW - datetime.timedelta(days=40)).secure(renew=True, days=31)
    monkeypatch.setenv("SAGE_TLS_FOLDER", str(copy / "gateway"))
    with pytest.raises((UnauthenticatedError, UnavailableError)) as caught:
        await connect(NatsSettings(url=server.url, connect_timeout_seconds=1), name="expired")
    assert "certificate" in caught.value.message


async def test_a_folder_without_a_certificate_says_what_makes_one(
    server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGE_TLS_FOLDER", str(tmp_path))
    with pytest.raises(ConfigurationError, match="sage mesh secure"):
        await connect(NatsSettings(url=server.url), name="none")


@pytest.mark.parametrize("joined", [False, True], ids=["first machine", "joined machine"])
async def test_a_revoked_certificate_loses_its_connection_and_its_successor_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, joined: bool
) -> None:
    first = SecuredFolder(tmp_path / ("first" if joined else "tls"), NOW)
    first.secure()

    def take_token() -> None:
        JoinToken(first.issued_for(["127.0.0.1"], ["nats", "classifier"]), first.mesh_token()).unpack(tmp_path / "tls")

    if joined:
        take_token()
    server = NatsServer(NatsServerOptions(directory=tmp_path / "nats", tls_folder=tmp_path / "tls" / "nats"))
    supervisor = Supervisor(
        [server.spec()],
        log_directory=tmp_path,
        on_change=lambda status: None,
        clock=MonotonicClock(),
        generator=random.Random(0),
    )
    await supervisor.start()
    stolen = shutil.copytree(tmp_path / "tls" / "classifier", tmp_path / "stolen")
    settings = NatsSettings(url=server.url, connect_timeout_seconds=1)
    reconnected, lost = asyncio.Event(), asyncio.Event()

    async def on_reconnect() -> None:
        reconnected.set()

    try:
        monkeypatch.setenv("SAGE_TLS_FOLDER", str(stolen))
        thief = await connect(settings, name="thief")
        lose = thief._disconnected_cb

        async def on_loss() -> None:
            await lose()
            lost.set()

        thief._disconnected_cb = on_loss
        monkeypatch.setenv("SAGE_TLS_FOLDER", str(tmp_path / "tls" / "classifier"))
        classifier = await connect(settings, name="classifier", on_reconnect=on_reconnect)
        first.revoke("classifier")
        if joined:
            take_token()
        (status,) = supervisor.statuses
        assert status.identity is not None
        os.kill(status.identity.pid, signal.SIGHUP)
        await asyncio.wait_for(lost.wait(), 10)
        await asyncio.wait_for(reconnected.wait(), 10)
        assert classifier.is_connected
        assert not thief.is_connected
        monkeypatch.setenv("SAGE_TLS_FOLDER", str(stolen))
        with pytest.raises((UnauthenticatedError, UnavailableError)):
            await connect(settings, name="thief again")
        await thief.close()
        await classifier.close()
    finally:
        await supervisor.stop()
