"""A peer's processes, from its start to its end."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from sage_benchmark.http_client import fetch
from sage_benchmark.live.class_labels import ClassLabels
from sage_benchmark.live.peers import Peer, PeerStart
from sage_benchmark.live.simulated_pool import SimulatedPool
from sage_common.errors import UnavailableError

READY_SECONDS = 90.0
POLL_SECONDS = 0.2
STOP_SECONDS = 10.0
# Of an engine that is busy, too.
CALL_SECONDS = 30.0


class RunningPeer:
    """One peer's processes."""

    def __init__(self, peer: Peer, process: subprocess.Popen[bytes], start: PeerStart, log: Path) -> None:
        self._peer = peer
        self._process = process
        self._start = start
        self._log = log
        self._url = f"http://127.0.0.1:{start.port}"

    @property
    def name(self) -> str:
        return self._peer.name

    @property
    def urls(self) -> Sequence[str]:
        return [self._url]

    @property
    def labels(self) -> ClassLabels:
        return self._peer.labels

    def register_workers(self) -> None:
        """Tell it of its engines, where that is posted. Raises UnavailableError where it does not take it."""
        for path, body in self._peer.workers(self._start):
            self._until_answered(path, body, 1)

    def prepare(self) -> None:
        """Wait until it answers, as many times in a row as there are engines: it may still avoid one that was away."""
        models, engines = self._start.models, len(self._start.engines)
        chat: dict[str, object] = {"model": models.llm, "max_tokens": 1}
        self._until_answered(
            "/v1/chat/completions", chat | {"messages": [{"role": "user", "content": "hello"}]}, engines
        )
        if models.embedding:
            self._until_answered("/v1/embeddings", {"model": models.embedding, "input": ["hello"]}, engines)

    def _until_answered(self, path: str, body: dict[str, object], times: int) -> None:
        deadline = time.monotonic() + READY_SECONDS
        answered, said = 0, ""
        while answered < times:
            if self._process.poll() is not None:
                raise self._failed(f"ended with status {self._process.returncode}")
            said = _post(self._url + path, body)
            answered = 0 if said else answered + 1
            if said and time.monotonic() > deadline:
                raise self._failed(f"did not answer {path} within {READY_SECONDS:g} s; at last: {said}")
            if said:
                time.sleep(POLL_SECONDS)

    def cpu_seconds(self) -> Mapping[str, float]:
        main = psutil.Process(self._process.pid)
        total = 0.0
        for process in (main, *main.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue  # it has ended since it was listed
            total += times.user + times.system
        return {self._peer.name: total}

    def stop(self) -> None:
        """End it and whatever it has started."""
        try:
            family = [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            family = []
        self._process.terminate()
        _, left = psutil.wait_procs(family, timeout=STOP_SECONDS)
        for process in left:
            process.kill()
        self._process.wait(STOP_SECONDS)

    def _failed(self, what: str) -> UnavailableError:
        tail = self._log.read_text(errors="replace")[-2000:]
        return UnavailableError(f"the peer {self._peer.name} {what}; its log ends with:\n{tail}")


@contextmanager
def running_peer(
    peer: Peer, program: Path, directory: Path, pool: SimulatedPool, *, told: bool = False, patience_seconds: float = 60
) -> Iterator[RunningPeer]:
    """Run a peer for as long as the context lasts. Raises UnavailableError where it does not come up.

    Args:
        told: whether it is told how many requests each engine computes at once.
        patience_seconds: how long clients wait for an answer.
    """
    start = PeerStart(
        pool.urls,
        directory,
        models=pool.models,
        embedding_engines=pool.embedding_urls,
        slots=pool.config.max_num_seqs if told else 0,
        patience_seconds=patience_seconds,
    )
    with started_peer(peer, program, start) as running:
        yield running


@contextmanager
def started_peer(peer: Peer, program: Path, start: PeerStart) -> Iterator[RunningPeer]:
    """Run a peer for as long as the context lasts. Raises UnavailableError where it does not come up."""
    start.directory.mkdir(parents=True, exist_ok=True)
    log = start.directory / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(program.absolute()), *peer.arguments(start)],
            cwd=start.directory,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | dict(peer.environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    running = RunningPeer(peer, process, start, log)
    try:
        running.register_workers()
        running.prepare()
        yield running
    finally:
        running.stop()


def _post(url: str, body: dict[str, object]) -> str:
    """Post; return what was wrong, or nothing."""
    try:
        fetch(url, json.dumps(body).encode(), CALL_SECONDS)
    except OSError as error:
        return str(error)
    return ""
