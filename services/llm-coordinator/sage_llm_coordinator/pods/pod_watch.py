"""Follows the pods of one namespace: a list, then a watch from its version, and the list again where that is lost.

While the API does not answer, the pods count as they were: engines that run are not to go because a control plane
does. Each fault is logged once, not at every try.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sage_common.logging import get_logger
from sage_llm_coordinator.pods.engine_pod import EnginePod, read_pod
from sage_llm_coordinator.pods.pod_source import Change, ExpiredVersionError, PodSource, PodSourceError

log = get_logger(__name__)

FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 30.0


class PodWatch:
    """Keeps the pods of a namespace.

    Args:
        on_change: called after each change of ``pods``.
        sleep: waits between tries.
        generator: of the delays' jitter.

    Attributes:
        pods: by uid.
        listed: whether they have been listed yet.
        current: whether the API answers.
    """

    def __init__(
        self,
        namespace: str,
        source: PodSource,
        on_change: Callable[[], None],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        generator: random.Random | None = None,
    ) -> None:
        self.namespace = namespace
        self._source = source
        self._on_change = on_change
        self._sleep = sleep
        self._generator = generator or random.Random()
        self._version: str | None = None
        self._failures = 0
        self._fault = ""
        self.pods: dict[str, EnginePod] = {}
        self.listed = False
        self.current = False

    async def run(self) -> None:
        """Follow them until cancelled."""
        while True:
            try:
                version = await self._list() if self._version is None else self._version
                async for event in self._source.watch(version):
                    self._version = event.version
                    self._well()
                    if event.change is not Change.BOOKMARK:
                        self._apply(event.change, event.pod)
                # One that ends by itself has shown that the API answers; one that does so at once would spin.
                self._well()
                await self._sleep(FIRST_DELAY_SECONDS * self._generator.random())
            except ExpiredVersionError as error:
                self._version = None
                await self._back_off(error, 0.0)
            except PodSourceError as error:
                await self._back_off(error, error.retry_after_seconds)

    async def _list(self) -> str:
        pods, version = await self._source.list()
        self.pods = {pod.uid: pod for pod in map(_read, pods) if pod is not None}
        self.listed = True
        self._version = version
        self._well()
        self._on_change()
        return version

    def _apply(self, change: Change, raw: Mapping[str, Any]) -> None:
        pod = _read(raw)
        if pod is None:
            return
        if change is Change.DELETED:
            self.pods.pop(pod.uid, None)
        else:
            self.pods[pod.uid] = pod
        self._on_change()

    def _well(self) -> None:
        if self._fault:
            log.info("pods are followed again", namespace=self.namespace)
        self._fault, self._failures, self.current = "", 0, True

    async def _back_off(self, error: PodSourceError, seconds: float | None) -> None:
        """Wait before the next try: as the API asks, or longer with each failure in a row."""
        self.current = False
        if str(error) != self._fault:
            self._fault = str(error)
            log.warning("pods cannot be followed; those known stay", namespace=self.namespace, error=self._fault)
        delay = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(self._failures, 16))
        delay *= 0.5 + self._generator.random() / 2
        # A version that has expired is listed again at once, the first time.
        await self._sleep(delay if seconds is None else max(seconds, delay if self._failures else 0.0))
        self._failures += 1


def _read(raw: Mapping[str, Any]) -> EnginePod | None:
    try:
        return read_pod(raw)
    except ValueError as error:
        log.error("a pod cannot be read; it is left alone", error=str(error))
        return None
