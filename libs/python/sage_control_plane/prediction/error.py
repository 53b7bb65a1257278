"""Recent error of predictions."""

from __future__ import annotations

# Times below this count as this: an error of less does not matter.
LEAST_SECONDS = 0.01


class PercentageError:
    """Mean absolute percentage error (MAPE) of predictions, as a decayed mean; 0.2 is 20 %.

    Args:
        memory_samples: samples after which an old one counts 1/e.
    """

    __slots__ = ("_keep", "_sum", "_weight", "count")

    def __init__(self, memory_samples: float = 100.0) -> None:
        self._keep = 1 - 1 / memory_samples
        self._sum = 0.0
        self._weight = 0.0
        self.count = 0

    def record(self, predicted_seconds: float, actual_seconds: float) -> None:
        """Add one prediction with the time measured."""
        error = abs(predicted_seconds - actual_seconds) / max(actual_seconds, LEAST_SECONDS)
        self._sum = self._sum * self._keep + error
        self._weight = self._weight * self._keep + 1
        self.count += 1

    @property
    def value(self) -> float | None:
        """The error; None without predictions."""
        return self._sum / self._weight if self.count else None
