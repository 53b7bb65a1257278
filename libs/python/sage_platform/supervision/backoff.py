"""How long to wait before a restart: exponential, with jitter, forgiving after a stable time."""

from __future__ import annotations

import random

from sage_platform.supervision.process_spec import RestartPolicy


class Backoff:
    """Delays for one process. Pure but for the generator it is given."""

    def __init__(self, policy: RestartPolicy, generator: random.Random) -> None:
        self._policy = policy
        self._generator = generator
        self._failures = 0

    def next_delay_seconds(self, ready_seconds: float) -> float:
        """Return the delay before the next start.

        Args:
            ready_seconds: how long the process that has just ended had been ready; 0 when it never was.
        """
        policy = self._policy
        if ready_seconds >= policy.stable_seconds:
            self._failures = 0
        # The exponent is capped because 2.0**1024 overflows and the delay stops growing long before.
        delay = min(policy.max_seconds, policy.initial_seconds * 2.0 ** min(self._failures, 64))
        self._failures += 1
        return delay * (1 - policy.jitter * self._generator.random())
