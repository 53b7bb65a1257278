"""Fixtures that every suite may use."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

# Before anything imports it: the suite's processes share the cores already, and the frames of tests are small. With a
# thread a core, each of thousands of calls waits until the busy machine has woken one of them.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

from fixtures.nats import NatsProcess, start_nats

from sage_common.service_settings import NatsSettings
from sage_platform.nats_connection import connect
from sage_platform.ring import Ring

# A machine that is busy is no reason for a property to be false; examples are the same in every run.
settings.register_profile("sage", deadline=None, derandomize=True)
settings.load_profile("sage")


def pytest_configure() -> None:
    """Import all tests before anything is collected."""
    gc.disable()


def _stay_frozen() -> None:
    """In place of ``gc.unfreeze``."""


def pytest_collection_finish() -> None:
    """Keep what the tests' imports have made out of every later collection: a tenth of the time would go into it.

    Also of those that ``settle_garbage_collector`` makes: an engine that loads its model in a test's process would
    have all of it walked, for seconds.
    """
    gc.collect()
    gc.freeze()
    gc.unfreeze = _stay_frozen
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Collect nothing while a failure is told.

    What is collected may warn, and so have another traceback told in the middle of this one; Python 3.11's parser,
    which both need, counts its depth for both together, and raises SystemError. It ended whole runs.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return (yield)
    finally:
        if was_enabled:
            gc.enable()


@pytest.fixture(autouse=True)
def isolated_user_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own files."""
    for variable, name in (
        ("XDG_CONFIG_HOME", "config"),
        ("XDG_DATA_HOME", "data"),
        ("XDG_STATE_HOME", "state"),
        ("XDG_CACHE_HOME", "cache"),
    ):
        monkeypatch.setenv(variable, str(tmp_path / "xdg" / name))


@pytest.fixture(autouse=True)
def own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a command or a service that ran in this process has made of the logs is over with its test."""
    configure = structlog.configure

    def uncached(**how: Any) -> None:
        # Loggers of modules would go on writing to where the test that first used them wanted it.
        configure(**{**how, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", uncached)
    monkeypatch.setattr("sage_common.logging._LoggerOnUse.configure", None)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsProcess]:
    """A real nats-server with JetStream on a free port."""
    process = start_nats(tmp_path_factory.mktemp("nats"))
    yield process
    process.stop()


@pytest.fixture
async def ring(nats_server: NatsProcess) -> AsyncIterator[Ring]:
    """A started ring on its own connection."""
    connection = await connect(NatsSettings(url=nats_server.url), name="test")
    ring = Ring(connection)
    await ring.start()
    yield ring
    await ring.close()
    await connection.close()
