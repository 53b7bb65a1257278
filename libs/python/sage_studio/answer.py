"""An answer as it streams: its text and its times."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class StreamedAnswer:
    """Collects the pieces of one answer. Times are seconds of one clock.

    Attributes:
        pieces: that had text.
        tokens: of the answer as its engine counts them; None until its end, and where it does not say.
    """

    asked_at: float
    text: str = ""
    first_at: float | None = None
    last_at: float | None = None
    pieces: int = 0
    tokens: int | None = None
    request_id: str = ""
    engine: str = ""
    finish_reason: str = ""

    def add(self, text: str, now: float) -> None:
        """Take a piece."""
        if not text:
            return
        if self.first_at is None:
            self.first_at = now
        self.last_at = now
        self.pieces += 1
        self.text += text

    @property
    def ttft_ms(self) -> float | None:
        """Milliseconds to the first text; None until then."""
        return None if self.first_at is None else (self.first_at - self.asked_at) * 1000

    @property
    def tpot_ms(self) -> float | None:
        """Milliseconds a token after the first, or a piece while the tokens are not known; None for less than two."""
        count = self.tokens or self.pieces
        if self.first_at is None or self.last_at is None or count < 2:
            return None
        return (self.last_at - self.first_at) * 1000 / (count - 1)
