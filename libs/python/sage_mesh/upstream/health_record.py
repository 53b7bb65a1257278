"""When a run of failed health checks makes an engine unhealthy. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

# A busy engine may miss a check; a refused connection needs no second opinion.
TIMEOUTS_UNTIL_UNHEALTHY = 3


@dataclass(slots=True)
class HealthRecord:
    """The verdicts on one engine.

    Attributes:
        healthy: None until the first verdict.
        reason: why it is unhealthy; empty when healthy.
        missed: checks in a row that timed out.
    """

    healthy: bool | None = None
    reason: str = ""
    missed: int = 0

    def passed(self) -> bool:
        """A check succeeded; return whether the engine had not been healthy before."""
        recovered = self.healthy is not True
        self.healthy, self.reason, self.missed = True, "", 0
        return recovered

    def failed(self, reason: str) -> None:
        """A check failed for certain: refused, or answered with an error."""
        self.healthy, self.reason = False, reason

    def timed_out(self, reason: str) -> None:
        """A check was not answered in time."""
        self.missed += 1
        if self.healthy is not True or self.missed >= TIMEOUTS_UNTIL_UNHEALTHY:
            self.failed(reason)
