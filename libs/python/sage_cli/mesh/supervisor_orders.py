"""Orders to a running supervisor: one line of JSON over a Unix socket, answered by lines that say how far it is."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from sage_common import paths
from sage_common.errors import ConflictError, SageError, UnavailableError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_platform.supervision.guarded_process import socket_path

log = get_logger(__name__)

MAX_ORDER_BYTES = 64 * 1024


@dataclass(frozen=True)
class RestartOrder:
    """Restart services, one process at a time.

    Attributes:
        services: names; all where empty.
        drain_seconds: how long each old process may finish what it has under way.
    """

    services: tuple[str, ...]
    drain_seconds: float


# Carries an order out; calls what it is given with how far it is, and returns the names of the processes.
CarryOut = Callable[[RestartOrder, Callable[[str], None]], Awaitable[Sequence[str]]]


def orders_socket() -> Path:
    """Where the supervisor of this user's mesh takes orders. Raises UnavailableError: the folder is open to others."""
    # The mesh's own folder may have a path that is too long for a socket's.
    name = hashlib.sha256(str(paths.state_dir()).encode()).hexdigest()[:16]
    return socket_path(f"supervisor-{name}")


class OrderServer:
    """Takes orders, one at a time; an order goes on when its caller leaves.

    Args:
        carry_out: what does it.
    """

    def __init__(self, carry_out: CarryOut) -> None:
        self._carry_out = carry_out
        self._server: asyncio.Server | None = None
        self._order: asyncio.Task[None] | None = None
        self._path: Path | None = None

    async def start(self) -> None:
        """Listen. A mesh whose supervisor cannot runs all the same."""
        try:
            path = orders_socket()
            path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, path, limit=MAX_ORDER_BYTES)
            self._path = path
        except (OSError, SageError) as error:
            log.warning("the supervisor takes no orders; `sage restart` will not reach it", error=str(error))

    async def stop(self) -> None:
        """Give up the order that is carried out, and listen no more."""
        if self._order is not None:
            await end_tasks(self._order)
        if self._server is not None:
            self._server.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            fields = orjson.loads(await reader.readline())
            order = RestartOrder(tuple(fields["services"]), float(fields["drain_seconds"]))
        except (ValueError, KeyError, TypeError) as error:
            _write(writer, error=f"an order that is not understood: {error}", code="bad_order")
        else:
            if self._order is not None and not self._order.done():
                _write(writer, error="a restart is under way already; `sage status` shows it", code="restart_under_way")
            else:
                self._order = asyncio.create_task(self._run(order, writer), name="order")
                await asyncio.wait({self._order})
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()

    async def _run(self, order: RestartOrder, writer: asyncio.StreamWriter) -> None:
        def tell(text: str) -> None:
            log.info(text)
            _write(writer, text=text)

        try:
            _write(writer, restarted=list(await self._carry_out(order, tell)))
        except SageError as error:
            log.warning("the restart ended early", reason=error.message)
            _write(writer, error=error.message, code=error.code)
        except asyncio.CancelledError:
            _write(writer, error="the mesh is being stopped", code="stopping")
            raise
        except Exception as error:
            log.exception("the restart failed")
            _write(writer, error=f"the supervisor failed: {type(error).__name__}: {error}", code="internal_error")


def _write(writer: asyncio.StreamWriter, **fields: object) -> None:
    # Nobody may read any more.
    with contextlib.suppress(OSError, RuntimeError):
        writer.write(orjson.dumps(fields) + b"\n")


async def give_order(order: RestartOrder) -> AsyncIterator[tuple[str, list[str]]]:
    """Have the supervisor carry an order out; yield how far it is, and at the end the names of the processes.

    Raises:
        UnavailableError: it takes no orders, or the order failed; the message says what runs on.
        ConflictError: it carries another one out.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(orders_socket(), limit=MAX_ORDER_BYTES)
    except OSError as error:
        raise UnavailableError(
            f"the supervisor takes no orders ({error.strerror or error}): it may be an older version's, or still be "
            "starting; `sage status` shows it"
        ) from None
    try:
        fields = {"services": order.services, "drain_seconds": order.drain_seconds}
        writer.write(orjson.dumps(fields) + b"\n")
        while line := await reader.readline():
            answer = orjson.loads(line)
            if "error" in answer:
                kind = ConflictError if answer["code"] == "restart_under_way" else UnavailableError
                raise kind(answer["error"], code=answer["code"])
            yield answer.get("text", ""), answer.get("restarted", [])
            if "restarted" in answer:
                return
        raise UnavailableError("the supervisor ended before the restart did; `sage status` shows what runs")
    finally:
        writer.close()
