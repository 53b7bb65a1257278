"""How many requests an engine computes at once, found where nobody said it."""

from __future__ import annotations

# A new engine begins with so many.
FIRST_LIMIT = 4
# Reports, or rounds of ended requests, with the limit in use before one more request is tried, and how that grows.
PATIENT_REPORTS = 20
MOST_PATIENT_REPORTS = 480
# Where it tells nothing: ended requests after which its throughput is compared, for each of its limit, and least.
ROUNDS = 2
LEAST_ENDED = 8
# Throughput has grown if it is by this factor more.
GROWN = 1.1
# An answer that takes at most so many times as long as those of its length on a nearly idle engine has not waited.
UNDELAYED = 1.5
# Ends within so many seconds of each other are one: seats are taken again only after the last. They are at most as many
# as there were seats; short answers that come one after the other would be one without end.
TOGETHER_SECONDS = 0.01
# Of streams that had the whole limit: where they spend less than this share of their time generating, the rest of it
# they have waited (Little's law: it is the share of the limit that runs at once).
IN_USE = 0.8
# Of what was found, how much more is tried.
TRIED_AGAIN = 8


class LearnedCapacity:
    """One engine's limit, which begins small, grows while the engine shows that it computes more, and stops there.

    Three signs are used, whichever there are. An engine that tells of its queue shows its capacity by what it runs
    while others wait. An answer that has begun has a seat: while all have, there may be more. Where neither shows, an
    answer that takes as long as on an idle engine has not waited; and throughput is measured: a limit under which it
    has not grown is above the knee of the latency curve (as in Netflix's concurrency-limits and Envoy's adaptive
    concurrency, which compare latencies; an engine that batches answers more slowly the more it runs, and is faster for
    it). What was found is tried again, more and more rarely.

    Args:
        most: ceiling of the limit.

    Attributes:
        limit: requests that may be outstanding.
        shown: requests of which the engine has shown that it computes them at once; at most ``limit``.
    """

    __slots__ = (
        "_began",
        "_best",
        "_decoded",
        "_ended",
        "_ended_at",
        "_ending",
        "_found",
        "_idle_seconds",
        "_kept",
        "_most_decoding",
        "_patience",
        "_quiet",
        "_ran",
        "_since",
        "_spent",
        "_tokens",
        "_told",
        "_tried_from",
        "_waited",
        "limit",
        "most",
        "shown",
    )

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = min(FIRST_LIMIT, most)
        self.shown = 1
        self._found = False
        self._told = False
        self._waited = self._ran = 0
        self._quiet = 0
        self._patience = PATIENT_REPORTS
        self._best = 0.0
        # The largest limit under which throughput has grown.
        self._kept = self.limit
        # Of an answer on a nearly idle engine, by the logarithm of its tokens.
        self._idle_seconds: dict[int, float] = {}
        self._since: float | None = None
        self._ended_at = float("-inf")
        # Requests that may still end together with the last one that had all seats taken beside it.
        self._ending = 0
        self._tokens = self._ended = self._began = self._most_decoding = 0
        # Seconds that the round's requests took, and those of them in which they were generated.
        self._spent = self._decoded = 0.0
        # What was found, while more than that is tried.
        self._tried_from: int | None = None

    def resize(self, most: int) -> None:
        """Change the ceiling."""
        self.most = most
        self.limit = min(self.limit, most)

    def forget(self) -> None:
        """Begin again: the engine may be another one."""
        self.__init__(self.most)  # type: ignore[misc]

    def reported(self, running: int, waiting: int, outstanding: int) -> None:
        """Learn from the engine's own count of what it runs and what waits in its queue.

        Args:
            outstanding: requests that it has from here.
        """
        self._told = self._told or running > 0
        # What has come since the engine's last step waits for the next one, whatever room there is.
        waits, self._waited = min(waiting, self._waited), waiting
        # A report between two steps misses those whose seats nobody has taken yet.
        running, self._ran = max(running, self._ran), running
        if waits:
            if running > 0:
                # Found before: what was tried beyond it is not tried again so soon.
                self._patience = min(MOST_PATIENT_REPORTS, self._patience * 2) if self._found else self._patience
                self.limit = self.shown = max(1, min(running, self.most))
                self._found = True
            self._quiet = 0
        elif outstanding >= self.limit and not waiting:
            self.shown = max(self.shown, min(running, self.limit))
            self._quiet += 1
            if not self._found:
                self._grow(max(1, self.limit // 2))
            elif self._quiet >= self._patience:
                self._quiet = 0
                self._grow(1)

    def began(self, decoding: int) -> None:
        """Learn from an answer that has begun, while ``decoding`` of them have."""
        self._began += 1
        self._most_decoding = max(self._most_decoding, decoding)
        self.shown = max(self.shown, min(decoding, self.limit))
        if not self._found and decoding >= self.limit:
            self._grow(max(1, self.limit // 2))

    def ended(self, tokens: int, seconds: float, outstanding: int, now: float, decoded: float | None = None) -> None:
        """Learn from a request that is complete, where the engine tells nothing.

        Args:
            tokens: of its prompt and answer.
            seconds: from its dispatch to its end.
            decoded: those of them since it began; None where it did not show when.
            outstanding: requests that the engine had with it.
        """
        if self._told:
            return
        length = tokens.bit_length()
        idle = self._idle_seconds.get(length)
        if outstanding <= FIRST_LIMIT:
            self._idle_seconds[length] = seconds if idle is None else idle + (seconds - idle) / LEAST_ENDED
        if idle is not None and seconds <= UNDELAYED * idle and outstanding >= self.limit and not self._found:
            self.shown = max(self.shown, self.limit)
            self._grow(1)
        together, self._ended_at = now - self._ended_at <= TOGETHER_SECONDS, now
        if outstanding >= self.limit:
            self._ending = self.limit
        elif together and self._ending > 0:
            self._ending -= 1
        else:
            self._since = None
            return
        if self._since is None:
            self._since = now
            self._tokens = self._ended = self._began = self._most_decoding = 0
            self._spent = self._decoded = 0.0
            return
        self._tokens += tokens
        if decoded is not None:
            self._spent += seconds
            self._decoded += decoded
        self._ended += 1
        if self._ended < max(LEAST_ENDED, ROUNDS * self.limit) or now <= self._since:
            return
        throughput = self._tokens / (now - self._since)
        self._since = None
        if self._began >= IN_USE * self._ended:
            self._streamed(self._most_decoding, self._decoded / self._spent if self._spent else 0.0)
        elif self._found:
            if self._waits_no_longer():
                self._found, self._best, self._kept = False, throughput, self.limit
                self._grow(max(1, self.limit // 4))
        elif throughput > GROWN * self._best:
            self._best = throughput
            self.shown = self._kept = self.limit
            self._grow(self.limit)
        else:
            # It has not grown with the limit, so the limit goes back to where it last did.
            self._found = True
            self.limit = self.shown = min(self._kept, self.limit)

    def _streamed(self, decoding: int, share: float) -> None:
        """Learn from a round of answers most of which have shown when they began.

        Args:
            decoding: most that ran at once.
            share: of their time in which they were generated.
        """
        if self._tried_from is not None:
            found, self._tried_from = self._tried_from, None
            if decoding >= self.limit:
                self._found, self._patience = False, PATIENT_REPORTS
            else:
                self.limit = self.shown = found
        elif 0 < decoding < self.limit and share < IN_USE:
            self._found = True
            self.limit = self.shown = decoding
        elif decoding >= self.limit and self._found and self._waits_no_longer():
            self._tried_from = self.limit
            self._grow(max(1, self.limit // TRIED_AGAIN))

    def _waits_no_longer(self) -> bool:
        """Count a round with what was found; return whether it was found long ago."""
        self._quiet += 1
        if self._quiet < self._patience:
            return False
        self._quiet = 0
        self._patience = min(MOST_PATIENT_REPORTS, self._patience * 2)
        return True

    def _grow(self, requests: int) -> None:
        self.limit = min(self.most, self.limit + requests)
