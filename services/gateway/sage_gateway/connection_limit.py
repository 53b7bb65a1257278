"""How many connections the HTTP API holds at once, in all and from one address."""

from __future__ import annotations

from collections import Counter


class ConnectionLimit:
    """Counts connections.

    Args:
        most: at once; 0 for any number.
        most_per_address: at once from one address; 0 for any number.
    """

    def __init__(self, most: int = 0, most_per_address: int = 0) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._open = 0
        self._by_address: Counter[str] = Counter()

    def opened(self, address: str) -> str | None:
        """Count a connection; return why it is one too many, None where it is not."""
        self._open += 1
        self._by_address[address] += 1
        if self._most and self._open > self._most:
            return f"this gateway has {self._most} connections open, which is its limit"
        if self._most_per_address and self._by_address[address] > self._most_per_address:
            return f"{address} has {self._most_per_address} connections open here, which is the limit for one address"
        return None

    def closed(self, address: str) -> None:
        """Count one less."""
        self._open -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
