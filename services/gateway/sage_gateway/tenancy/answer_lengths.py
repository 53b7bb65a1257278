"""How long answers are whose callers set no limit, and a limit where a tenant has not enough left for more."""

from __future__ import annotations

from collections import OrderedDict, deque
from math import ceil

from sage_mesh import exact_json

# Answers that are remembered of a tenant and a model, and how many make a rule.
REMEMBERED = 32
LEAST_KNOWN = 4
MOST_PAIRS = 10_000
# By how much an answer may be longer than the longest of those.
HEADROOM = 1.25
LEAST_TOKENS = 16
# Of what is assumed of an answer, where nothing is known of its kind.
UNKNOWN_SHARE = 0.125


class AnswerLengths:
    """Learns, for each tenant and model, what answers come to."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()

    def add(self, tenant: str, model: str, tokens: int) -> None:
        """Take in what an answer has come to."""
        key = (tenant, model)
        self._known.setdefault(key, deque(maxlen=REMEMBERED)).append(tokens)
        self._known.move_to_end(key)
        if len(self._known) > MOST_PAIRS:
            self._known.popitem(last=False)

    def usual(self, tenant: str, model: str, assumed: int) -> int:
        """Return how many tokens the next answer surely may have, at most ``assumed``.

        One that was cut there counts as one that long, so that the next may be longer.
        """
        known = self._known.get((tenant, model), ())
        tokens = ceil(HEADROOM * max(known)) if len(known) >= LEAST_KNOWN else ceil(UNKNOWN_SHARE * assumed)
        return min(assumed, max(LEAST_TOKENS, tokens))


def with_most_tokens(body: bytes, most: int) -> bytes | None:
    """Return the body of a chat or a completion with a limit on its answer; None where it asks for more at least."""
    value = exact_json.read(body)
    least = value.get("min_tokens")
    if isinstance(least, int) and least > most:
        return None
    value["max_tokens"] = most
    return exact_json.write(value)
